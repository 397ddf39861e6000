//! Static probes for a plan: from the notes of a file to absolute addresses and operands.

use crate::EventPatterns;
use crate::plan::{self, Module};
use fathom_abi::plan::{
    NO_REGISTER, OPERAND_CONSTANT, OPERAND_MEMORY, OPERAND_REGISTER, OPERAND_SECOND_BYTE, OPERAND_VECTOR,
    Operand, PROBE_ARGS, Probe,
};
use fathom_abi::record::{PROBE_FLOAT, PROBE_SIGNED};
use fathom_symbols::elf::Image;
use fathom_symbols::sdt::{Operand as Place, Register, SdtArg, SdtProbe};
use std::collections::HashMap;

/// A probe of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// `provider:name`.
    name: String,
    /// Relative address.
    at: u64,
    /// Relative address of its counter.
    semaphore: Option<u64>,
    /// Its arguments. Of those with the mark, the number is a relative address.
    operands: Vec<(Operand, bool)>,
}

/// The probes of a plan.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    pub(crate) probes: Vec<Probe>,
    pub(crate) operands: Vec<Operand>,
}

/// The events that probes are recorded as, by name.
#[derive(Default)]
pub(crate) struct Ids {
    ids: HashMap<String, u32>,
    new: Vec<(u64, String)>,
}

impl Ids {
    fn of(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = fathom_store::event_id::USER as u32 + self.ids.len() as u32;
        self.ids.insert(name.to_owned(), id);
        self.new.push((u64::from(id), name.to_owned()));
        id
    }

    /// Those that nobody has asked for yet.
    pub(crate) fn take_new(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.new)
    }
}

/// Takes the probes of a file up. Notes that do not lead to code are left out.
pub(crate) fn read(image: &Image, events: &EventPatterns, known: &mut plan::Known) {
    let probes = image.sdt_probes();
    let code = image.code();
    let is_code = |at: u64| code.iter().any(|(from, bytes)| at.wrapping_sub(*from) < bytes.len() as u64);
    let wanted = |probe: &&SdtProbe| events.has_probe(&probe.provider, &probe.name) && is_code(probe.addr);
    let symbols = image.symbols();
    let symbol = |name: &str| symbols.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.addr);
    let one = |probe: &SdtProbe| Known {
        name: probe.full_name(),
        at: probe.addr,
        semaphore: probe.semaphore,
        operands: probe.args.iter().take(PROBE_ARGS).map(|arg| operand(arg, probe.addr, &symbol)).collect(),
    };
    known.probes = probes.iter().filter(wanted).map(one).collect();
    known.probe_names = probes.into_iter().map(|probe| (probe.provider, probe.name)).collect();
}

/// Where an argument of the probe at `at` is, and whether its number is relative to the module.
fn operand(arg: &SdtArg, at: u64, symbol: &dyn Fn(&str) -> Option<u64>) -> (Operand, bool) {
    let signed = if arg.signed { PROBE_SIGNED } else { 0 };
    let shape = arg.size | signed | if arg.float { PROBE_FLOAT } else { 0 };
    let none = Operand { shape, base: NO_REGISTER, index: NO_REGISTER, scale: 1, ..Operand::default() };
    match &arg.operand {
        Place::Register(Register::General(base)) => {
            (Operand { kind: OPERAND_REGISTER, base: *base, ..none }, false)
        }
        Place::Register(Register::SecondByte(base)) => {
            (Operand { kind: OPERAND_SECOND_BYTE, base: *base, ..none }, false)
        }
        Place::Register(Register::Vector(base)) => {
            (Operand { kind: OPERAND_VECTOR, base: *base, ..none }, false)
        }
        Place::Constant(number) => {
            (Operand { kind: OPERAND_CONSTANT, number: number.cast_unsigned(), ..none }, false)
        }
        Place::Memory { base, index, scale, disp, symbol: name } => {
            let general = |register: &Option<Register>| match register {
                Some(Register::General(number)) => *number,
                _ => NO_REGISTER,
            };
            let by_ip = *base == Some(Register::Ip);
            let start = match name {
                Some(name) => symbol(name),
                // Behind the probe.
                None => Some(if by_ip { at + 1 } else { 0 }),
            };
            let Some(start) = start else { return (none, false) };
            let made = Operand {
                kind: OPERAND_MEMORY,
                number: start.wrapping_add_signed(*disp),
                base: general(base),
                index: general(index),
                scale: *scale,
                ..none
            };
            (made, by_ip || name.is_some())
        }
        Place::Register(Register::Ip) | Place::Other(_) => (none, false),
    }
}

impl Probes {
    /// Adds those of a module that is mapped. Modules come by address.
    pub(crate) fn add(&mut self, module: &Module, known: &[Known], ids: &mut Ids) {
        let from = self.probes.len();
        for probe in known {
            let first = self.operands.len() as u32;
            self.operands.extend(probe.operands.iter().map(|(operand, relative)| {
                let start = if *relative { module.start } else { 0 };
                Operand { number: operand.number.wrapping_add(start), ..*operand }
            }));
            // One that cannot be written to is left as it is; then the arguments may not be worked out.
            let is_writable =
                |at: &u64| module.writable.iter().any(|(from, to)| *from <= *at && *at + 2 <= *to);
            let semaphore = probe.semaphore.map(|at| module.start.wrapping_add(at)).filter(is_writable);
            self.probes.push(Probe {
                addr: module.start.wrapping_add(probe.at),
                semaphore: semaphore.unwrap_or(0),
                id: ids.of(&probe.name),
                first,
                count: probe.operands.len() as u32,
                reserved: 0,
            });
        }
        self.probes[from..].sort_by_key(|probe| probe.addr);
        self.probes.dedup_by_key(|probe| probe.addr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_symbols::sdt::parse_arguments;
    use std::path::PathBuf;

    fn operands(text: &str) -> Vec<(Operand, bool)> {
        let symbol = |name: &str| (name == "g").then_some(0x4000);
        parse_arguments(text).iter().map(|arg| operand(arg, 0x1000, &symbol)).collect()
    }

    #[test]
    fn operands_of_notes() {
        let plain = Operand { base: NO_REGISTER, index: NO_REGISTER, scale: 1, ..Operand::default() };
        let memory = Operand { kind: OPERAND_MEMORY, shape: 4, ..plain };
        let expected = [
            (Operand { kind: OPERAND_REGISTER, shape: 4 | PROBE_SIGNED, base: 7, ..plain }, false),
            (Operand { kind: OPERAND_SECOND_BYTE, shape: 1, base: 3, ..plain }, false),
            (Operand { kind: OPERAND_VECTOR, shape: 8 | PROBE_FLOAT, base: 12, ..plain }, false),
            (Operand { kind: OPERAND_CONSTANT, shape: 4 | PROBE_SIGNED, number: u64::MAX, ..plain }, false),
            (Operand { number: 16, base: 5, index: 0, scale: 8, ..memory }, false),
            (Operand { number: 0x4004, ..memory }, true),
            (Operand { number: 0x1009, ..memory }, true),
            (Operand { number: 0x4000, index: 1, scale: 4, ..memory }, true),
            (Operand { shape: 4, ..plain }, false),
            (Operand { shape: 8, ..plain }, false),
        ];
        let text = "-4@%edi 1@%bh 8f@%xmm12 -4@$-1 4@16(%rbp,%rax,8) 4@g+4(%rip) 4@8(%rip) 4@g(,%rcx,4) \
                    4@other(%rip) 8@[sp]";
        assert_eq!(operands(text), expected);
    }

    #[test]
    fn probes_of_modules_are_sorted_and_named_once() {
        let module = |start: u64| Module {
            path: PathBuf::from("/m"),
            start,
            end: start + 0x10000,
            permissions: "r-xp".to_owned(),
            writable: vec![(start + 0x3000, start + 0x4000)],
            executable: vec![(start, start + 0x3000)],
            file: (0, 0, 0),
        };
        let known = |name: &str, at, semaphore, args| Known {
            name: name.to_owned(),
            at,
            semaphore,
            operands: operands(args),
        };
        let list = [
            known("a:x", 0x1010, Some(0x3ffe), "4@g(%rip)"),
            known("a:y", 0x1000, Some(0x3fff), "4@8(%rsp) 4@$1"),
            known("a:x", 0x1020, None, ""),
            known("a:y", 0x1020, None, ""),
        ];
        let (mut probes, mut ids) = (Probes::default(), Ids::default());
        probes.add(&module(0x10_0000), &list, &mut ids);
        probes.add(&module(0x20_0000), &list[..1], &mut ids);
        let found: Vec<_> =
            probes.probes.iter().map(|p| (p.addr, p.semaphore, p.id, p.first, p.count)).collect();
        let expected = [
            (0x10_1000, 0, 1_000_001, 1, 2),
            (0x10_1010, 0x10_3ffe, 1_000_000, 0, 1),
            (0x10_1020, 0, 1_000_000, 3, 0),
            (0x20_1010, 0x20_3ffe, 1_000_000, 3, 1),
        ];
        assert_eq!(found, expected);
        assert_eq!([probes.operands[0].number, probes.operands[1].number], [0x10_4000, 8]);
        assert_eq!(probes.operands[3].number, 0x20_4000);
        let names = [(1_000_000, "a:x".to_owned()), (1_000_001, "a:y".to_owned())];
        assert_eq!((ids.take_new(), ids.take_new()), (names.to_vec(), vec![]));
    }
}
