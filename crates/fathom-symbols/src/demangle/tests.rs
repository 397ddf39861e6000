//! Tests: against what uftrace 0.13 shows, of what it cannot show, and of what enemies make.

use super::*;
use proptest::prelude::*;

fn simple_name(name: &str) -> String {
    demangle(name, Style::Simple).into_owned()
}

#[test]
fn same_as_uftrace() {
    let rows = include_str!("../../tests/data/simple-names.tsv");
    let rows: Vec<_> = rows.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(rows.len() > 500);
    let wrong: Vec<_> = rows
        .iter()
        .map(|&(name, expected)| (name, expected, simple_name(name)))
        .filter(|(_, expected, own)| expected != own)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn more_than_uftrace() {
    for (name, expected) in [
        ("_Z6taggedB4tag1B4tag2v", "tagged::tag1::tag2"),
        ("_ZNK1n1m1AssERKS1_", "n::m::A::operator<=>"),
        ("_Z2npPDoFviERA4_iOiPVKcenhDiDnMN1n1m1AES8_z", "np"),
        ("_ZSt12construct_atIiJiEEDTgsnwcvPvLi0E_T_pispcl7declvalIT0_EEEEPS1_DpOS2_", "std::construct_at"),
        (
            "_ZSt12construct_atIcJRKcEEDTgsnwcvPvLi0E_T_pispclsr3stdE7declvalIT0_EEEEPS3_DpOS4_",
            "std::construct_at",
        ),
        ("_ZNSt8functionIFiiEEC1IUliE_vEEOT_", "std::function::function"),
        ("_ZN1AawEv", "A::operator co_await"),
        ("_ZDC1a1bE", "[a, b]"),
        ("_Z3fooDF16_", "foo"),
        ("_Z3fooITk1CiEvT_", "foo"),
        ("_ZW3foo3barv", "bar"),
        ("_ZZ4mainENKUlTyT_E_clIiEEDaS_", "main::$_0::operator()"),
        ("__device_stub__Z3foov", "__device_stub_foo"),
    ] {
        assert_eq!(simple_name(name), expected, "{name}");
    }
}

#[test]
fn rust_names() {
    for (name, expected) in [
        ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
        ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE.llvm.123", "core::fmt::Write::write_fmt"),
        (
            "_ZN3std2rt10lang_start28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
            "std::rt::lang_start::{{closure}}",
        ),
        (
            "_ZN102_$LT$core..iter..adapters..map..Map$LT$I$C$F$GT$$u20$as$u20$core..iter..traits..iterator..\
             Iterator$GT$4fold17ha2903d9ae13a5a4bE",
            "<core::iter::adapters::map::Map<I,F>>::fold",
        ),
        ("_ZN3vte15Parser$LT$_$GT$14action_collect17h0b0c8454017f4baaE", "vte::Parser<_>::action_collect"),
        ("_RNvC7mycrate3foo", "mycrate::foo"),
        ("_RNvCs1234_7mycrate3foo.llvm.1", "mycrate::foo"),
        ("_RNvNtNtCs9ltgdHTiPiY_4core3ptr8non_null3new@VERSION", "core::ptr::non_null::new"),
        (
            "_RNvMs3_NtCslNYArtu3iFV_5alloc7raw_vecINtB5_6RawVecINtNtCscVRU3O3AmtS_12nu_ansi_term7display17\
             AnsiGenericStringeEE8grow_oneBR_",
            "alloc::raw_vec::RawVec::grow_one",
        ),
        (
            "_RNvXs_NtNtCsdadwybgsbvk_12rustc_middle2ty6regionNtB4_6RegionNtNtCsdoLGDhjbLAL_13rustc_type_ir5\
             visit5Flags22outer_exclusive_binder",
            "<rustc_middle::ty::region::Region>::outer_exclusive_binder",
        ),
        (
            "_RINvNtCsgEmfK2I1SDS_4core9panicking21assert_matches_failedINtNtB4_6option6OptionNtCsdoLGDhjbLAL_13\
             rustc_type_ir11ClosureKindEECsdadwybgsbvk_12rustc_middle",
            "core::panicking::assert_matches_failed",
        ),
    ] {
        assert_eq!(simple_name(name), expected, "{name}");
    }
}

#[test]
fn full_names() {
    for (name, expected) in [
        (
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "std::vector<int, std::allocator<int> >::push_back(int const&)",
        ),
        ("_ZN1A1BC2Ev@@VERSION", "A::B::B()"),
        (
            "_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h10f4a10cbafad09aE",
            "<&T as core::fmt::Debug>::fmt",
        ),
        ("_RNvC7mycrate3foo", "mycrate::foo"),
        ("main", "main"),
        ("_Znonsense", "_Znonsense"),
    ] {
        assert_eq!(demangle(name, Style::Full), expected, "{name}");
    }
    assert_eq!(demangle("_ZN1AC1Ev", Style::None), "_ZN1AC1Ev");
}

#[test]
fn plain_names_are_borrowed() {
    assert!(matches!(demangle("main", Style::Simple), Cow::Borrowed("main")));
    assert!(matches!(demangle("_Z", Style::Simple), Cow::Borrowed("_Z")));
}

/// Nesting that would overflow the stack, and ambiguities that would take exponential time.
#[test]
fn hostile_names_end_soon() {
    let started = std::time::Instant::now();
    for (open, close) in [
        ("1aI", "E"),
        ("N1aI", "EE"),
        ("1aIX", "EE"),
        ("1aIXsr1aI", "EE"),
        ("1aIXsr1bI1cIX", "EE"),
        ("Z", "E"),
        ("PF", "E"),
        ("M", ""),
        ("1aIJ", "E"),
        ("1aIL_Z", "EE"),
        ("N1aUl", "E_E"),
        ("1aITt", "E"),
        ("DT", "E"),
        ("cv", ""),
        ("T_I", "E"),
    ] {
        for count in [10, 100, 1000, 30_000] {
            let name = format!("_Z{}1x{}v", open.repeat(count), close.repeat(count));
            let _ = demangle(&name, Style::Simple);
            if count <= 1000 {
                let _ = demangle(&name, Style::Full);
            }
        }
    }
    // Each substitution names two of the one before: the full form has 2^40 parts.
    let mut bomb = "_Z1fSt4pairIiiE".to_owned();
    for n in 0..36 {
        let id = if n == 0 { "S_".to_owned() } else { format!("S{}_", char::from_digit(n - 1, 36).unwrap()) };
        bomb.push_str(&format!("St4pairI{0}{0}E", id.to_uppercase()));
    }
    let _ = demangle(&bomb, Style::Full);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn any_text(name in "(_Z|_R|_ZN|_GLOBAL__sub_I_)?\\PC{0,40}") {
        for style in [Style::Simple, Style::Full, Style::None] {
            let _ = demangle(&name, style);
        }
    }

    #[test]
    fn grammar_soup(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "N", "E", "Z", "I", "X", "L", "S_", "St", "Sa", "T_", "1a", "3foo", "C1", "D2", "Ul", "Ut_", "E_", "v",
                "i", "cv", "cl", "sr", "fp_", "B2tg", "J", "F", "P", "K", "M", "A3_", "Dp", "DT", "gs", "nw", "_", "0",
                "Q", "Ty", "Tn", "li", "$", ".", "17h0123456789abcdef", "é",
            ]),
            0..40,
        ),
        rust in any::<bool>(),
    ) {
        let name = format!("{}{}", if rust { "_R" } else { "_Z" }, parts.concat());
        for style in [Style::Simple, Style::Full] {
            let _ = demangle(&name, style);
        }
    }

    #[test]
    fn damaged_names(row in 0usize..600, cut in 0usize..200, byte in 0usize..200, new in 0x20u8..0x7f) {
        let rows = include_str!("../../tests/data/simple-names.tsv");
        let name = rows.lines().nth(row).and_then(|line| line.split('\t').next()).unwrap_or("_Z");
        let _ = demangle(name.get(..cut).unwrap_or(name), Style::Simple);
        let mut bytes = name.as_bytes().to_vec();
        if let Some(byte) = bytes.get_mut(byte) {
            *byte = new;
        }
        let _ = demangle(&String::from_utf8_lossy(&bytes), Style::Simple);
    }
}
