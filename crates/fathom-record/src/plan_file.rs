//! A plan as the bytes that the runtime maps.

use crate::rules::Compiled;
use fathom_abi::VERSION;
use fathom_abi::plan::{self, Detour, Fetch, Fixup, Operand, Probe, Range, Rule, Site, Sled, Slot, Text};

/// What a plan is to change in a process.
#[derive(Default)]
pub(crate) struct Hooks<'p> {
    pub(crate) slots: &'p [Slot],
    pub(crate) sites: &'p [Site],
    pub(crate) probes: &'p [Probe],
    pub(crate) operands: &'p [Operand],
    pub(crate) texts: &'p [Text],
    pub(crate) detours: &'p [Detour],
    pub(crate) fixups: &'p [Fixup],
    pub(crate) sleds: &'p [Sled],
    pub(crate) code: &'p [u8],
    pub(crate) strings: &'p [u8],
}

/// All of a plan.
pub(crate) fn bytes(hooks: &Hooks<'_>, rules: &Compiled) -> Vec<u8> {
    let mut out = Vec::new();
    header(&mut out, hooks, rules);
    hooks.slots.iter().for_each(|one| slot(&mut out, one));
    hooks.sites.iter().for_each(|one| site(&mut out, one));
    rules.ranges.iter().for_each(|one| range(&mut out, one));
    rules.rules.iter().for_each(|one| rule(&mut out, one));
    rules.fetches.iter().for_each(|one| fetch(&mut out, one));
    hooks.probes.iter().for_each(|one| probe(&mut out, one));
    hooks.operands.iter().for_each(|one| operand(&mut out, one));
    hooks.texts.iter().for_each(|one| text(&mut out, one));
    hooks.detours.iter().for_each(|one| detour(&mut out, one));
    hooks.fixups.iter().for_each(|one| fixup(&mut out, one));
    hooks.sleds.iter().for_each(|one| sled(&mut out, one));
    out.extend(hooks.code);
    out.extend(hooks.strings);
    out
}

fn header(out: &mut Vec<u8>, hooks: &Hooks<'_>, rules: &Compiled) {
    out.extend(plan::MAGIC.to_le_bytes());
    let mut signals = [[0u8; 2]; 8];
    let count = rules.signals.len().min(signals.len());
    signals[..count].copy_from_slice(&rules.signals[..count]);
    let (ranges, all_rules, fetches) = (rules.ranges.len(), rules.rules.len(), rules.fetches.len());
    let (slots, sites, strings) = (hooks.slots.len(), hooks.sites.len(), hooks.strings.len());
    for n in [VERSION as usize, slots, sites, strings, ranges, all_rules, fetches] {
        out.extend((n as u32).to_le_bytes());
    }
    for n in [rules.mode, rules.depth, rules.max_stack, rules.size, count as u32] {
        out.extend(n.to_le_bytes());
    }
    for n in [rules.time, rules.watch.0, rules.watch.1] {
        out.extend(n.to_le_bytes());
    }
    out.extend(signals.as_flattened());
    let (texts, detours, fixups) = (hooks.texts.len(), hooks.detours.len(), hooks.fixups.len());
    for n in [hooks.probes.len(), hooks.operands.len(), texts, detours, fixups, hooks.code.len()] {
        out.extend((n as u32).to_le_bytes());
    }
    out.extend((hooks.sleds.len() as u32).to_le_bytes());
    out.extend([0; 4]);
}

fn slot(out: &mut Vec<u8>, slot: &Slot) {
    for n in [slot.got, slot.addr, slot.lazy_from, slot.lazy_to] {
        out.extend(n.to_le_bytes());
    }
    out.extend(slot.name.to_le_bytes());
    out.extend(slot.version.to_le_bytes());
    out.extend(slot.gadget.to_le_bytes());
    out.extend([slot.kind, slot.flags]);
    out.extend(slot.reserved);
}

fn site(out: &mut Vec<u8>, site: &Site) {
    out.extend(site.addr.to_le_bytes());
    out.extend(site.expect);
    out.extend([site.len, site.calls, site.silence, site.again]);
    out.extend(site.reserved);
}

fn sled(out: &mut Vec<u8>, sled: &Sled) {
    out.extend(sled.addr.to_le_bytes());
    out.extend(sled.function.to_le_bytes());
    out.extend([sled.kind, sled.again]);
    out.extend(sled.reserved);
}

fn range(out: &mut Vec<u8>, range: &Range) {
    out.extend(range.start.to_le_bytes());
    for n in [range.len, range.size, range.rule, range.flags] {
        out.extend(n.to_le_bytes());
    }
}

pub(crate) fn rule(out: &mut Vec<u8>, rule: &Rule) {
    let decide = &rule.decide;
    out.extend(decide.flags.to_le_bytes());
    out.extend(decide.depth.to_le_bytes());
    out.extend(decide.time.to_le_bytes());
    out.extend(decide.size.to_le_bytes());
    out.extend(decide.reserved.to_le_bytes());
    out.extend(rule.fetch.to_le_bytes());
    out.extend(rule.args.to_le_bytes());
    out.extend(rule.retvals.to_le_bytes());
    out.extend(rule.reads.to_le_bytes());
    out.extend([rule.condition, rule.condition_arg, rule.condition_size, rule.condition_signed]);
    out.extend(rule.condition_value.to_le_bytes());
}

pub(crate) fn fetch(out: &mut Vec<u8>, fetch: &Fetch) {
    out.extend([fetch.kind, fetch.parts]);
    out.extend(fetch.size.to_le_bytes());
    out.extend(fetch.number.to_le_bytes());
    for part in &fetch.part {
        out.extend([part.from, part.size]);
        out.extend(part.index.to_le_bytes());
        out.extend(part.offset.to_le_bytes());
    }
    out.extend(fetch.absent.to_le_bytes());
}

fn probe(out: &mut Vec<u8>, probe: &Probe) {
    out.extend(probe.addr.to_le_bytes());
    out.extend(probe.semaphore.to_le_bytes());
    for n in [probe.id, probe.first, probe.count, probe.reserved] {
        out.extend(n.to_le_bytes());
    }
}

fn operand(out: &mut Vec<u8>, operand: &Operand) {
    out.extend(operand.number.to_le_bytes());
    out.extend([operand.kind, operand.shape, operand.base, operand.index, operand.scale]);
    out.extend(operand.reserved);
}

fn text(out: &mut Vec<u8>, text: &Text) {
    for n in [text.start, text.end] {
        out.extend(n.to_le_bytes());
    }
}

fn detour(out: &mut Vec<u8>, detour: &Detour) {
    for n in [detour.addr, detour.at, detour.island] {
        out.extend(n.to_le_bytes());
    }
    for n in [detour.code, detour.fixup] {
        out.extend(n.to_le_bytes());
    }
    out.extend(detour.expect);
    out.extend(detour.island_expect);
    out.extend([detour.expect_len, detour.code_len, detour.fixups, detour.again]);
    out.extend(detour.reserved);
}

fn fixup(out: &mut Vec<u8>, fixup: &Fixup) {
    out.extend(fixup.to.to_le_bytes());
    out.extend([fixup.at, fixup.kind]);
    out.extend(fixup.reserved);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_structures() {
        let mut out = Vec::new();
        header(&mut out, &Hooks::default(), &Compiled::default());
        assert_eq!(out.len(), size_of::<plan::Header>());
        let mut out = Vec::new();
        rule(&mut out, &Rule::default());
        assert_eq!(out.len(), size_of::<Rule>());
        let mut out = Vec::new();
        fetch(&mut out, &Fetch::default());
        assert_eq!(out.len(), size_of::<Fetch>());
        let mut out = Vec::new();
        range(&mut out, &Range { start: 0, len: 0, size: 0, rule: 0, flags: 0 });
        assert_eq!(out.len(), size_of::<Range>());
        let mut out = Vec::new();
        site(
            &mut out,
            &Site { addr: 0, expect: [0; 8], len: 0, calls: 0, silence: 0, again: 0, reserved: [0; 4] },
        );
        assert_eq!(out.len(), size_of::<Site>());
        let mut out = Vec::new();
        probe(&mut out, &Probe { addr: 0, semaphore: 0, id: 0, first: 0, count: 0, reserved: 0 });
        assert_eq!(out.len(), size_of::<Probe>());
        let mut out = Vec::new();
        operand(&mut out, &Operand::default());
        assert_eq!(out.len(), size_of::<Operand>());
        let mut out = Vec::new();
        text(&mut out, &Text { start: 0, end: 0 });
        assert_eq!(out.len(), size_of::<Text>());
        let mut out = Vec::new();
        detour(
            &mut out,
            &Detour {
                addr: 0,
                at: 0,
                island: 0,
                code: 0,
                fixup: 0,
                expect: [0; 20],
                island_expect: [0; 5],
                expect_len: 0,
                code_len: 0,
                fixups: 0,
                again: 0,
                reserved: [0; 3],
            },
        );
        assert_eq!(out.len(), size_of::<Detour>());
        let mut out = Vec::new();
        fixup(&mut out, &Fixup { to: 0, at: 0, kind: 0, reserved: [0; 6] });
        assert_eq!(out.len(), size_of::<Fixup>());
        let mut out = Vec::new();
        sled(&mut out, &Sled { addr: 0, function: 0, kind: 0, again: 0, reserved: [0; 6] });
        assert_eq!(out.len(), size_of::<Sled>());
    }
}
