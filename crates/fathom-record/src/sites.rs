//! Places that compilers have left in functions for those who trace them: calls of `__fentry__`, NOPs, sleds.
//!
//! Functions whose place is of no use here are patched like those that have none.

use crate::patterns::Patterns;
use crate::plan::Known;
use fathom_abi::plan::{SLED, SLED_ENTRY, SLED_EXIT, SLED_EXIT_CODE, SLED_JUMP_CODE, SLED_TAIL};
use fathom_symbols::SymbolTable;
use fathom_symbols::elf::{Image, Instrumentation, SledKind};

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// One end of a function that was compiled with `-fxray-instrument`. Relative addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sled {
    pub(crate) at: u64,
    pub(crate) function: u64,
    /// `SLED_`.
    pub(crate) kind: u8,
}

/// Finds the places of the functions that the patterns name, and all calls.
pub(crate) fn read(image: &Image, patch: &Patterns, module: &str, known: &mut Known) {
    read_calls(image, known);
    if !patch.is_empty() {
        let found = image.instrumentation();
        let symbols = image.symbols();
        let is_wanted = |name: &str| patch.matches(name, module);
        read_nops(image, &found, (&symbols, &is_wanted), known);
        read_sleds(image, &found, (&symbols, &is_wanted), known);
    }
    known.sites.sort_unstable();
    known.sites.dedup();
}

/// Symbols, and which names are asked for.
type Wanted<'w> = (&'w SymbolTable, &'w dyn Fn(&str) -> bool);

/// `-fpatchable-function-entry`, and `-mfentry -mnop-mcount`.
fn read_nops(image: &Image, found: &Instrumentation, (symbols, is_wanted): Wanted<'_>, known: &mut Known) {
    let mut places: Vec<u64> = found.patchable.iter().chain(&found.mcount_sites).copied().collect();
    if places.is_empty() {
        return;
    }
    places.sort_unstable();
    places.dedup();
    let starts: Vec<u64> = symbols.iter().filter(|s| s.kind.is_function()).map(|s| s.addr).collect();
    for place in places {
        let Some((function, at)) = entry_of(image, &starts, place) else { continue };
        let Some(symbol) = symbols.find(function).filter(|symbol| is_wanted(symbol.name)) else { continue };
        // The area may end where its section does, so fewer bytes will do.
        let bytes = (CALL..=MAX_SITE).rev().find_map(|len| image.data_at(at, len as u64));
        // Where there is not enough room, the function is like one without a site.
        if symbol.addr == function {
            known.sites.extend(bytes.and_then(patchable).map(|area| (at, area.to_vec(), false)));
        }
    }
}

/// The function that a place belongs to, among the (ascending) addresses of all, and where it is entered: control comes
/// to the NOPs behind its first byte or behind its `endbr64`, not to those in front of it (`N,M`). `None` for a place further
/// inside, as `-mnop-mcount` has them without `-mfentry`.
fn entry_of(image: &Image, starts: &[u64], place: u64) -> Option<(u64, u64)> {
    /// The longest run of NOPs in front of a function that is believed, in bytes.
    const AREA: u64 = 256;
    let skip = |function: u64| {
        let endbr = image.data_at(function, 4).is_some_and(|bytes| bytes == ENDBR64);
        function + if endbr { 4 } else { 0 }
    };
    let next = starts.partition_point(|&start| start <= place);
    if let Some(&function) = next.checked_sub(1).and_then(|before| starts.get(before))
        && (place == function || place == skip(function))
    {
        return Some((function, skip(function)));
    }
    let &function = starts.get(next).filter(|&&start| start - place <= AREA)?;
    let mut rest = image.data_at(place, function - place)?;
    while !rest.is_empty() {
        rest = rest.get(nop(rest)?..)?;
    }
    Some((function, skip(function)))
}

/// `-fxray-instrument`: all ends of a function, or none.
fn read_sleds(image: &Image, found: &Instrumentation, (symbols, is_wanted): Wanted<'_>, known: &mut Known) {
    let mut all = found.sleds.clone();
    all.sort_unstable();
    all.dedup_by_key(|sled| sled.at);
    for ends in all.chunk_by(|a, b| a.function == b.function) {
        let Some(function) = ends.first().map(|sled| sled.function) else { continue };
        let symbol = symbols.find(function).filter(|symbol| symbol.addr == function);
        if !symbol.is_some_and(|symbol| is_wanted(symbol.name)) {
            continue;
        }
        let begins = ends.iter().filter(|sled| sled.kind == SledKind::Entry);
        let begins_once = begins.clone().count() == 1
            && begins.clone().all(|sled| entry_of(image, &[function], sled.at).is_some());
        if begins_once && ends.iter().all(|sled| is_as_compiled(image, sled)) {
            known.sleds.extend(ends.iter().map(|sled| Sled {
                at: sled.at,
                function,
                kind: match sled.kind {
                    SledKind::Entry => SLED_ENTRY,
                    SledKind::Exit => SLED_EXIT,
                    SledKind::Tail => SLED_TAIL,
                },
            }));
        }
    }
    known.sleds.sort_unstable();
}

/// Whether a sled is what the compiler makes of one. In front of a conditional jump to another function the flags would have
/// to be preserved.
fn is_as_compiled(image: &Image, sled: &fathom_symbols::elf::Sled) -> bool {
    let code = if sled.kind == SledKind::Exit { SLED_EXIT_CODE } else { SLED_JUMP_CODE };
    let behind = image.data_at(sled.at.wrapping_add(SLED as u64), 2);
    let is_conditional = matches!(behind, Some([0x70..=0x7f, _] | [0x0f, 0x80..=0x8f]));
    image.data_at(sled.at, SLED as u64) == Some(&code) && !(sled.kind == SledKind::Tail && is_conditional)
}

/// Finds the calls of `__fentry__` at the starts of functions. They work as they are; jumps instead of them keep the
/// processor's return prediction right.
fn read_calls(image: &Image, known: &mut Known) {
    let Some(hook) = known.slots.iter().find(|slot| slot.name == "__fentry__") else { return };
    let target = |code: &[u8], end: u64| {
        let distance = code.last_chunk().map(|d| i32::from_le_bytes(*d));
        end.wrapping_add_signed(i64::from(distance.unwrap_or_default()))
    };
    for symbol in image.symbols().iter().filter(|s| s.kind.is_function()) {
        let endbr = image.data_at(symbol.addr, 4).is_some_and(|b| b == ENDBR64);
        let at = symbol.addr + if endbr { 4 } else { 0 };
        let code = match image.data_at(at, 6) {
            Some(code) if code.starts_with(&[0xe8]) && target(&code[..5], at + 5) == hook.plt => &code[..5],
            Some(code) if code.starts_with(&[0xff, 0x15]) && target(code, at + 6) == hook.got => code,
            _ => continue,
        };
        known.sites.push((at, code.to_vec(), true));
    }
}

/// Length of a call with a 32-bit distance, which has to fit into a site.
pub(crate) const CALL: usize = 5;
/// How much of a site the runtime can compare and skip.
const MAX_SITE: usize = 8;

/// The whole NOPs at the start of `code` that make room for a call: five of one byte from gcc, one long NOP from clang.
fn patchable(code: &[u8]) -> Option<&[u8]> {
    let mut len = 0;
    while len < CALL {
        len += nop(code.get(len..)?)?;
    }
    code.get(..len)
}

/// Length of the NOP at the start of `code`: `90` or `0f 1f /0`, with prefixes that do not make another instruction of
/// it (Intel's manual, volume 2, NOP and table 2-2 for the lengths of operands).
fn nop(code: &[u8]) -> Option<usize> {
    // Operand and address size, cs, ds, es, ss, fs, gs. With f3 it would be pause.
    const PREFIXES: [u8; 8] = [0x66, 0x67, 0x2e, 0x3e, 0x26, 0x36, 0x64, 0x65];
    let prefixes = code.iter().take_while(|b| PREFIXES.contains(b)).count();
    let len = match code.get(prefixes..)? {
        [0x90, ..] => 1,
        [0x0f, 0x1f, operand, rest @ ..] if operand & 0o070 == 0 => {
            let (mode, base) = (operand >> 6, operand & 7);
            // An index byte follows; its own base may stand for a distance of four bytes.
            let index = if mode != 3 && base == 4 { Some(rest.first()? & 7) } else { None };
            let distance = match mode {
                0 if index.unwrap_or(base) == 5 => 4,
                1 => 1,
                2 => 4,
                _ => 0,
            };
            3 + usize::from(index.is_some()) + distance
        }
        _ => return None,
    };
    let len = prefixes + len;
    (len <= code.len()).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Match, PatchSpec};
    use std::process::Command;

    /// What is found in a small program that a compiler has made, all functions asked for.
    fn found(compiler: &str) -> (tempfile::TempDir, Image, Known) {
        let dir = tempfile::tempdir().unwrap();
        let source = "int leaf(int x) { return x * 3; } int tail(int x) { return leaf(x + 1); }
            int main(int c, char **v) { return tail(c) + leaf(c); }";
        std::fs::write(dir.path().join("a.c"), source).unwrap();
        let mut words = compiler.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["-fno-inline", "-o", "a", "a.c"]).current_dir(dir.path());
        let output = command.output().unwrap_or_else(|error| panic!("the tests need {compiler}: {error}"));
        assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
        let image = Image::open(dir.path().join("a")).unwrap();
        let all = PatchSpec { pattern: ".".into(), unpatch: false };
        let mut known = Known { slots: image.plt_slots(), ..Known::default() };
        read(&image, &Patterns::new(&[all], Match::Regex, "a").unwrap(), "a", &mut known);
        (dir, image, known)
    }

    #[test]
    fn control_comes_to_every_site() {
        for (options, distance) in [
            ("gcc -O2 -fpatchable-function-entry=5", Some(0)),
            ("gcc -O2 -fpatchable-function-entry=5 -fcf-protection", Some(4)),
            // Room for a call, but only with what is in front of the function.
            ("gcc -O2 -fpatchable-function-entry=7,2", Some(0)),
            ("gcc -O2 -fpatchable-function-entry=7,2 -fcf-protection", Some(4)),
            ("gcc -O2 -fpatchable-function-entry=7,3", None),
            ("gcc -O2 -fpatchable-function-entry=16,16", None),
            ("gcc -O2 -fpatchable-function-entry=16,11 -fcf-protection", Some(4)),
            ("gcc -O0 -fpatchable-function-entry=3", None),
            ("gcc -O2 -pg -mfentry -mnop-mcount -mrecord-mcount -fno-pie -no-pie", Some(0)),
            // Behind the prologue.
            ("gcc -O2 -pg -mnop-mcount -mrecord-mcount -fno-pie -no-pie", None),
            ("clang -O2 -fpatchable-function-entry=7,2", Some(0)),
            ("clang -O2 -fpatchable-function-entry=5 -fcf-protection", Some(4)),
        ] {
            let (_dir, image, known) = found(options);
            let symbols = image.symbols();
            let mut names = Vec::new();
            for (at, bytes, calls) in &known.sites {
                let symbol = symbols.find(*at).unwrap();
                assert_eq!(
                    (*at - symbol.addr, *calls),
                    (distance.unwrap(), false),
                    "{options}: {}",
                    symbol.name
                );
                assert_eq!(image.data_at(*at, bytes.len() as u64), Some(&bytes[..]));
                names.push(symbol.name.to_owned());
            }
            names.sort();
            let expected: &[&str] = if distance.is_some() { &["leaf", "main", "tail"] } else { &[] };
            assert_eq!(names, expected, "{options}");
        }
    }

    #[test]
    fn sleds_are_all_or_none() {
        for (options, tails) in [("-O0", 0), ("-O2", 1), ("-O2 -fcf-protection", 1), ("-O2 -no-pie", 1)] {
            let compiler = format!(
                "clang -fxray-instrument -fxray-instruction-threshold=1 -fnoxray-link-deps {options}"
            );
            let (_dir, image, known) = found(&compiler);
            let count = |kind| known.sleds.iter().filter(|sled| sled.kind == kind).count();
            assert_eq!([SLED_ENTRY, SLED_EXIT, SLED_TAIL].map(count), [3, 3 - tails, tails], "{options}");
            let symbols = image.symbols();
            for sled in &known.sleds {
                let symbol = symbols.find(sled.at).unwrap();
                assert_eq!(symbol.addr, sled.function);
                assert!(sled.kind != SLED_ENTRY || sled.at - sled.function <= 4);
            }
            assert!(known.sleds.is_sorted());
            // One that is something else makes the function one without.
            let mut bytes = image.data().to_vec();
            let at = known.sleds.iter().find(|sled| sled.kind == SLED_EXIT).unwrap();
            let base = known.sleds[0];
            let place = bytes.windows(SLED).position(|code| code == SLED_JUMP_CODE).unwrap();
            bytes[place + (at.at - base.at) as usize + 4] ^= 1;
            let damaged = Image::parse(bytes).unwrap();
            let mut rest = Known::default();
            read_sleds(&damaged, &damaged.instrumentation(), (&damaged.symbols(), &|_| true), &mut rest);
            assert!(rest.sleds.iter().all(|sled| sled.function != at.function) && !rest.sleds.is_empty());
        }
    }

    #[test]
    fn nops_with_room_for_a_call() {
        // As objdump reads them.
        let areas: [&[u8]; 12] = [
            &[0x90; 5],
            &[0x0f, 0x1f, 0x44, 0x00, 0x08],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x67, 0x0f, 0x1f, 0x04, 0x00],
            &[0x66, 0x0f, 0x1f, 0x04, 0x00],
            &[0x66, 0x0f, 0x1f, 0x40, 0x00],
            &[0x66, 0x66, 0x66, 0x66, 0x90],
            &[0x90, 0x0f, 0x1f, 0x40, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x08],
            &[0x0f, 0x1f, 0x80, 0x00, 0x02, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02, 0x00, 0x00],
            &[0x0f, 0x1f, 0x04, 0x05, 0x00, 0x00, 0x00, 0x00],
        ];
        for area in areas {
            assert_eq!(patchable(area), Some(area), "{area:x?}");
            let push_rbp = [area, &[0x55]].concat();
            assert_eq!(patchable(&push_rbp), Some(area), "{area:x?}");
            assert_eq!(patchable(&area[..area.len() - 1]), None, "{area:x?} cut off");
        }
        // More one-byte NOPs than needed stay where they are.
        assert_eq!(patchable(&[0x90; 8]), Some(&[0x90; 5][..]));
    }

    #[test]
    fn other_code_is_not_patched() {
        let code: [&[u8]; 9] = [
            &[],
            &[0x90, 0x90, 0x90, 0x55, 0x48, 0x89, 0xe5],
            // pause
            &[0xf3, 0x90, 0x90, 0x90, 0x90, 0x90],
            // xchg r8, rax
            &[0x41, 0x90, 0x90, 0x90, 0x90, 0x90],
            // endbr64
            &[0xf3, 0x0f, 0x1e, 0xfa, 0x90],
            // 0f 1f /1 is reserved
            &[0x0f, 0x1f, 0x4c, 0x00, 0x08],
            // lea
            &[0x3e, 0x8d, 0x74, 0x26, 0x00],
            // ten bytes: what follows the first five would be left
            &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02],
            &[0x66, 0x66, 0x66, 0x66, 0x66],
        ];
        for code in code {
            assert_eq!(patchable(code), None, "{code:x?}");
        }
    }
}
