//! Every helper and conversion that a print fmt may have, on a record made by hand; and any format on any record.

mod common;

use fathom_ftrace::{
    Context, EntryStyle, Events, Format, Formatter, Kallsyms, Machine, Names, Options, Pointers, Texts,
};
use proptest::prelude::*;

const HEAD: &str = "name: made
ID: 7
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] text;\toffset:8;\tsize:4;\tsigned:1;
\tfield:__rel_loc u32[] words;\toffset:12;\tsize:4;\tsigned:0;
\tfield:u8 bytes[16];\toffset:16;\tsize:16;\tsigned:0;
\tfield:s64 number;\toffset:32;\tsize:8;\tsigned:1;
\tfield:void * ip;\toffset:40;\tsize:8;\tsigned:0;
\tfield:const char * name;\toffset:48;\tsize:8;\tsigned:0;
\tfield:char comm[8];\toffset:56;\tsize:8;\tsigned:0;
\tfield:u32 small;\toffset:64;\tsize:4;\tsigned:0;

print fmt: ";

fn record() -> Vec<u8> {
    let mut record = vec![7, 0, 0, 0, 42, 0, 0, 0];
    record.extend((6u32 << 16 | 68).to_le_bytes());
    // From the end of the field itself, at 16.
    record.extend((8u32 << 16 | 60).to_le_bytes());
    record.extend([2, 0, 0x1f, 0x90, 10, 0, 2, 15, 0, 1, 2, 3, 4, 5, 6, 7]);
    record.extend((-5i64).to_le_bytes());
    record.extend(0xffff_ffff_8100_0004_u64.to_le_bytes());
    record.extend(0xffff_ffff_8200_0000_u64.to_le_bytes());
    record.extend(b"task\0xyz");
    record.extend(0x8000_0005_u32.to_le_bytes());
    record.extend(b"hello\0..");
    record.extend(17u32.to_le_bytes());
    record.extend(34u32.to_le_bytes());
    record
}

fn names() -> Names {
    Names {
        symbols: Kallsyms::parse("ffffffff81000000 T vfs_open\nffffffff810000f0 T next\t[mod]\n"),
        texts: Texts::parse(b"0xffffffff82000000 : \"a constant\"\n"),
    }
}

fn print_with(print_fmt: &str, record: &[u8], pointers: Pointers) -> String {
    let mut events = Events::default();
    events.add(Format::parse("system", &format!("{HEAD}{print_fmt}\n"), Machine::LITTLE64).unwrap());
    let constants = |name: &str| (name == "FROM_BTF").then_some(3);
    let formatter = Formatter::new(&events, &Options { hz: Some(250), constants: &constants });
    let names = names();
    let context = Context { machine: Machine::LITTLE64, names: &names, pointers };
    let mut out = Vec::new();
    assert!(formatter.message(&mut out, record, &context));
    String::from_utf8(out).unwrap()
}

fn print(print_fmt: &str) -> String {
    print_with(print_fmt, &record(), Pointers::Padded)
}

#[test]
fn helpers_and_conversions() {
    let cases = [
        r#""%s|%10s|%-6s|%.2s|%.*s", __get_str(text), REC->comm, REC->comm, REC->comm, 3, __get_str(text)"#,
        r#""%d %u %x %lx %llu %#x %hhd", REC->number, REC->number, REC->number, REC->number, REC->small, 0, REC->number"#,
        r#""%ps %pS %p %p", REC->ip, REC->ip, REC->ip, ((void *)0)"#,
        r#""%s", REC->name"#,
        r#""%s %s", __print_symbolic(REC->bytes[9], { 0, "zero" }, { 1, "one" }), __print_symbolic(9, { 0, "zero" })"#,
        r#""%s|%s|%s", __print_flags(REC->small, "|", { 1, "A" }, { 4, "B" }), __print_flags(0, "", { 1, "A" }), __print_flags(5, "", { 1, "A" }, { 4, "B" })"#,
        r#""%s %s", __print_hex(REC->bytes, 4), __print_hex_str(REC->bytes, 4)"#,
        r#""%s %s", __print_array(__get_rel_dynamic_array(words), 2, 4), __print_dynamic_array(words, sizeof(u32))"#,
        r#""%d %u", __get_rel_dynamic_array_len(words), ((u32 *)__get_rel_dynamic_array(words))[1]"#,
        r#""%pISpc %pI4 %pM %pU", REC->bytes, &REC->bytes[4], REC->bytes, REC->bytes"#,
        r#""%*phN %*pbl %s", 4, REC->bytes, 64, REC->bytes, __get_rel_bitmask(words)"#,
        r#""%c%c", 'A', __get_str(text)[1]"#,
        r#""%s" " and " "%s", REC->number < 0 ? "below" : "above", REC->small ? __get_str(text) : "none""#,
        r#""%d %d", REC->number < 1U, (int)REC->small < 1U"#,
        r#""%lu.%09lu", __print_ns_to_secs(1234567890123ULL), __print_ns_without_secs(1234567890123ULL)"#,
        r#""%u %d %d", jiffies_to_msecs(25), __builtin_expect(!!(REC->small), 0), FROM_BTF"#,
        r#""%d", ({ int x = (REC->bytes[8]); int y = (128); ((x) < (y) ? (x) : (y)); })"#,
        r#""%0*llx 100%%", (int)8 * 2, REC->small"#,
        r#""%s", __print_hex_dump("p ", 2, 16, 1, REC->bytes, 16, 1)"#,
        r##""%s %zu", __print_symbolic(REC->bytes[8], { 0, "#" "DE" }), sizeof(struct page)"##,
    ];
    let shown: Vec<String> = cases.iter().map(|case| format!("{case}\n    {}", print(case))).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn what_cannot_be_evaluated_is_printed_as_fields() {
    let mut shown = Vec::new();
    for case in [
        "\"%d\", UNKNOWN_NAME",
        "\"%s\", kernel_function(REC->ip)",
        "\"%d %d\", REC->small",
        "REC->x",
        "\"%pd\", REC->ip",
    ] {
        let mut events = Events::default();
        events.add(Format::parse("system", &format!("{HEAD}{case}\n"), Machine::LITTLE64).unwrap());
        let formatter = Formatter::new(&events, &Options::default());
        shown.push(formatter.not_evaluable()[0].to_string());
    }
    shown.push(print("\"%d\", UNKNOWN_NAME"));
    // A record that ends too early is not left out either.
    shown.push(print_with("\"%d\", REC->small", &record()[..20], Pointers::Padded));
    shown.push(print_with("\"%d\", REC->small / (REC->bytes[8])", &record(), Pointers::Padded));
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn addresses_as_trace_cmd_prints_them() {
    assert_eq!(
        print_with("\"%p %p\", REC->ip, ((void *)0)", &record(), Pointers::Prefixed),
        "0xffffffff81000004 (nil)"
    );
}

#[test]
fn hostile_expressions_end() {
    for case in [
        format!("\"%d\", {}1{}", "(".repeat(5000), ")".repeat(5000)),
        format!("\"%d\", {}1", "!".repeat(5000)),
        format!("\"%d\", 1{}", "+REC->small".repeat(5000)),
        format!("\"%d\", {}1", "1 ? 1 : ".repeat(5000)),
        "\"%999999999d %.999999999s\", 1, \"x\"".to_owned(),
    ] {
        let text = print(&case);
        assert!(text.len() < 20_000, "{}", text.len());
    }
}

/// All events of a real kernel.
fn formatter() -> &'static (Vec<u16>, Formatter) {
    static FORMATTER: std::sync::OnceLock<(Vec<u16>, Formatter)> = std::sync::OnceLock::new();
    FORMATTER.get_or_init(|| {
        let bed = common::Bed::open("6.12");
        let events = bed.events("probes");
        let ids = events.iter().map(|format| format.id).collect();
        (ids, Formatter::new(&events, &Options::default()))
    })
}

proptest! {
    #[test]
    fn any_record_has_a_text(which in any::<prop::sample::Index>(), rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let (ids, formatter) = formatter();
        let id = ids[which.index(ids.len())];
        let record = [&id.to_le_bytes()[..], &rest].concat();
        let names = names();
        let context = Context { machine: Machine::LITTLE64, names: &names, pointers: Pointers::Padded };
        let mut out = Vec::new();
        prop_assert!(formatter.message(&mut out, &record, &context));
        formatter.kernel_text(&mut out, 1, &record, &context, &EntryStyle::default());
        prop_assert_eq!(out.last(), Some(&b'\n'));
    }
}
