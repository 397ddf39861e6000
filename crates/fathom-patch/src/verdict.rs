//! The proof for one function.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind};
use rustc_hash::FxHashSet;

use crate::marks::Marks;
use crate::reason::Reason;
use crate::relocate::relocate;
use crate::site::{HOP, JUMP, Site};
use crate::starts::{Ground, Start};
use crate::sweep::{FLAGS, Found, Piece, flags_read};
use crate::unwind::{Cfa, Guards, Rows, Unwind};

/// Everything that is known of a module.
pub(crate) struct Knowledge<'k, 'd> {
    pub(crate) ground: &'k Ground<'d>,
    pub(crate) unwind: &'k Unwind<'d>,
    pub(crate) guards: &'k Guards,
    pub(crate) found: &'k Found,
    /// Labels, landing pads, entries of jump tables.
    pub(crate) labels: &'k Marks,
    /// Words that the loader changes.
    pub(crate) relocated: &'k Marks,
    /// Targets of calls behind which flags are looked at, and what these jump to at their ends.
    pub(crate) flags_out: &'k FxHashSet<u64>,
    /// Whether all tables could be followed.
    pub(crate) tables_are_known: bool,
    /// Functions that look at where they return to, or end with a jump to one that does.
    pub(crate) watched: FxHashSet<u64>,
}

/// A function, and what was decided.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) verdict: Verdict,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    /// As it is.
    Jump(Site),
    /// Only if there is an island for it; else for this reason not at all.
    Hop(Site, Reason),
    No(Reason),
}

impl Knowledge<'_, '_> {
    /// Judges a place where a function could begin; `None` if there is no reason to believe that one does. `next` is the
    /// next such place.
    pub(crate) fn judge(&self, start: &Start, next: u64, rows: &mut Rows) -> Option<Judged> {
        let evidence = self.evidence(start).ok_or(Reason::Bounds);
        if !start.is_named && evidence.is_err() && !start.is_special {
            return None;
        }
        let end = self.end(start, next);
        let evidence = if start.is_special { Err(Reason::Special) } else { evidence };
        let verdict = match evidence.and_then(|()| self.prove(start, end, rows)) {
            Ok(at) => self.site(at, end),
            Err(reason) => Verdict::No(reason),
        };
        // A part of a function that something leads to.
        if !start.is_named && matches!(verdict, Verdict::No(Reason::Frame)) {
            return None;
        }
        Some(Judged { start: start.addr, end: self.code_end(start.addr, end), verdict })
    }

    /// Finds the functions that look at where they return to, and all that end with a jump to one of them: it would see
    /// what stands there in their place.
    pub(crate) fn find_watched(&self) -> FxHashSet<u64> {
        let named = self.ground.starts.iter().filter(|start| start.sees_return).map(|start| start.addr);
        let seen = self.found.pieces.iter().filter(|piece| piece.sees_return || piece.pops_arguments);
        let seen = seen.filter_map(|piece| self.start(piece.start)).map(|start| start.addr);
        let mut todo: Vec<u64> = named.chain(seen).chain(self.ground.watchers.iter().copied()).collect();
        let mut all = FxHashSet::default();
        while let Some(addr) = todo.pop() {
            if !all.insert(addr) {
                continue;
            }
            // Also behind an `endbr64`.
            for &(from, to) in self.entries(addr, addr.saturating_add(4)) {
                let is_entry = to == addr || (to == addr + 4 && self.bytes(addr, to) == ENDBR64);
                if let Some(start) = self.owner(from).and_then(|owner| self.start(owner))
                    && is_entry
                {
                    todo.push(start.addr);
                }
            }
        }
        all
    }

    /// Whether two sources say that a function begins there.
    fn evidence(&self, start: &Start) -> Option<()> {
        let addr = start.addr;
        let is_used = self.found.called.contains(addr) || self.found.pointed.contains(addr);
        // Where there is no unwind information at all, it cannot speak against a symbol.
        let is_silent = self.unwind.covering(addr).is_none() && start.named_end > addr;
        let sources = [start.is_named, start.has_frame || is_silent, is_used, start.is_exported];
        let count = sources.into_iter().filter(|&source| source).count();
        (count >= 2).then_some(())
    }

    /// The largest end that any source names, up to what begins next outside of the function's own unwind information.
    fn end(&self, start: &Start, next: u64) -> u64 {
        let framed = self.unwind.starting_at(start.addr).map_or(start.addr, |frame| frame.range.end);
        let end = match framed.max(start.named_end) {
            end if end == start.addr => next,
            end => end,
        };
        end.min(next.max(framed)).min(self.ground.range.end)
    }

    fn pieces(&self, from: u64, to: u64) -> &[Piece] {
        let pieces = &self.found.pieces;
        let first = pieces.partition_point(|piece| piece.start < from);
        let last = pieces.partition_point(|piece| piece.start < to);
        pieces.get(first..last).unwrap_or_default()
    }

    /// The end without padding.
    fn code_end(&self, start: u64, end: u64) -> u64 {
        let last = self.pieces(start, end).last();
        last.map_or(end, |piece| piece.padding.min(end).max(piece.start.min(end)))
    }

    /// Proves what does not depend on how many bytes are overwritten. Gives the address at which they begin.
    fn prove(&self, start: &Start, end: u64, rows: &mut Rows) -> Result<u64, Reason> {
        let addr = start.addr;
        self.prove_frame(start, rows)?;
        let pieces = self.pieces(addr, end);
        if pieces.is_empty() || pieces.iter().any(|piece| piece.is_undecodable) {
            return Err(Reason::Undecodable);
        }
        if pieces.iter().any(|piece| piece.pops_arguments) {
            return Err(Reason::Frame);
        }
        if pieces.iter().any(|piece| piece.sees_return) || self.watched.contains(&addr) {
            return Err(Reason::ReturnAddress);
        }
        let jumps = pieces.iter().any(|piece| piece.jumps_indirectly);
        if jumps && (!self.tables_are_known || pieces.iter().any(|piece| piece.names_itself)) {
            return Err(Reason::ComputedJump);
        }
        let bytes = self.bytes(addr, end);
        let at = if bytes.starts_with(&ENDBR64) { addr + ENDBR64.len() as u64 } else { addr };
        self.prove_no_loop(addr, at, end)?;
        if self.flags_out.contains(&addr) {
            return Err(Reason::FlagsOut);
        }
        if self.takes_flags(addr) {
            return Err(Reason::FlagsIn);
        }
        Ok(at)
    }

    /// At the entry the return address is on top of the stack.
    fn prove_frame(&self, start: &Start, rows: &mut Rows) -> Result<(), Reason> {
        if start.has_frame {
            let frame = self.unwind.starting_at(start.addr);
            return if frame.is_some_and(|frame| frame.begins_as_function) {
                Ok(())
            } else {
                Err(Reason::Frame)
            };
        }
        match self.unwind.rule_at(start.addr, rows) {
            // Another way into a function, as assembly has them.
            Some(Cfa::Rsp(8)) | None => Ok(()),
            Some(_) => Err(Reason::Inside),
        }
    }

    /// No jump to the entry comes from the function itself, or from a part of it that lies elsewhere.
    fn prove_no_loop(&self, addr: u64, at: u64, end: u64) -> Result<(), Reason> {
        for &(from, to) in self.entries(addr, at) {
            let is_entry = to == addr || to == at;
            if is_entry && self.owner(from).is_none_or(|owner| owner >= addr && owner < end) {
                return Err(Reason::Loop);
            }
        }
        if at != addr
            && (self.found.pointed.contains(at) || self.found.called.contains(at) || self.labels.contains(at))
        {
            return Err(Reason::Target);
        }
        Ok(())
    }

    /// What begins last at or before an address.
    fn start(&self, addr: u64) -> Option<&Start> {
        let starts = &self.ground.starts;
        starts.get(starts.partition_point(|start| start.addr <= addr).checked_sub(1)?)
    }

    /// The jumps to addresses from one to another.
    fn entries(&self, first: u64, last: u64) -> &[(u64, u64)] {
        let entered = &self.found.entered;
        let from = entered.partition_point(|&(_, to)| to < first);
        let to = entered.partition_point(|&(_, to)| to <= last);
        entered.get(from..to).unwrap_or_default()
    }

    /// An address in the function that a jump belongs to: where it is itself, or, in a part that was split off from a
    /// function (a compiler does that with one function at a time), where that is entered from.
    fn owner(&self, from: u64) -> Option<u64> {
        let part = self.start(from)?;
        if self.evidence(part).is_some() {
            return Some(from);
        }
        let is_function = |&addr: &u64| self.start(addr).is_some_and(|start| self.evidence(start).is_some());
        self.entries(part.addr, part.addr).iter().map(|entry| entry.0).take(OWNERS).find(is_function)
    }

    fn bytes(&self, from: u64, to: u64) -> &[u8] {
        let index = self.ground.code.partition_point(|part| part.0 <= from).checked_sub(1);
        let Some(&(start, bytes)) = index.and_then(|index| self.ground.code.get(index)) else { return &[] };
        let place = |addr: u64| usize::try_from(addr - start).unwrap_or(usize::MAX);
        bytes.get(place(from)..place(to.max(from)).min(bytes.len())).unwrap_or_default()
    }

    /// Whether a function reads flags before it computes them, or leads to one that does. Where that is not found out
    /// within so many instructions, it counts as if it did.
    fn takes_flags(&self, start: u64) -> bool {
        let mut todo = vec![(start, FLAGS)];
        let mut budget = FLAG_DISTANCE;
        while let Some((at, mut open)) = todo.pop() {
            let bytes = self.bytes(at, self.ground.range.end);
            let mut decoder = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE);
            while open != 0 && decoder.can_decode() {
                budget -= 1;
                let instruction = decoder.decode();
                if budget == 0 || flags_read(&instruction) & open != 0 {
                    return true;
                }
                open &= !instruction.rflags_modified();
                if instruction.op0_kind() == OpKind::NearBranch64 {
                    todo.push((instruction.near_branch64(), open));
                }
                let goes_on = matches!(
                    instruction.flow_control(),
                    FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::Exception
                );
                if !goes_on && instruction.mnemonic() != Mnemonic::Syscall {
                    break;
                }
            }
        }
        false
    }

    /// How the function is patched at `at`: by a jump, or else by a hop.
    fn site(&self, at: u64, end: u64) -> Verdict {
        match self.overwrite(at, end, JUMP) {
            Ok(site) => Verdict::Jump(site),
            Err(reason) => match self.overwrite(at, end, HOP) {
                Ok(site) => Verdict::Hop(site, reason),
                Err(_) => Verdict::No(reason),
            },
        }
    }

    /// Proves that `need` bytes can be overwritten, which may reach over the function's end into padding.
    fn overwrite(&self, at: u64, end: u64, need: usize) -> Result<Site, Reason> {
        let to = at.checked_add(need as u64).ok_or(Reason::Short)?;
        if self.labels_inside(at, to.min(end)) {
            return Err(Reason::Target);
        }
        if to > end && self.labels_inside(end.max(at + 1) - 1, to) {
            return Err(Reason::Short);
        }
        let moved = relocate(self.bytes(at, end), at, need);
        let moved = match moved {
            // The last instruction would be the next function's.
            Err(Reason::Undecodable) if to > end => return Err(Reason::Short),
            moved => moved?,
        };
        let moved_to = at.saturating_add(moved.len as u64);
        if to > end && !self.is_padding(end.max(moved_to), to) {
            return Err(Reason::Short);
        }
        if self.is_guarded(at, moved_to.max(to)) {
            return Err(Reason::Unwinder);
        }
        if self.relocated.any(at..moved_to.max(to)) {
            return Err(Reason::Relocated);
        }
        let original = self.bytes(at, moved_to.max(to)).to_vec();
        if original.len() < need {
            return Err(Reason::Short);
        }
        Ok(Site { at, original, island: None, code: moved.code, fixups: moved.fixups })
    }

    /// Whether anything leads behind the first of some bytes.
    fn labels_inside(&self, at: u64, to: u64) -> bool {
        let inside = at.wrapping_add(1)..to;
        self.found.jumped.any(inside.clone())
            || self.found.called.any(inside.clone())
            || self.found.pointed.any(inside.clone())
            || self.labels.any(inside.clone())
            || self.ground.marks.any(inside)
    }

    /// Whether anything leads to an address.
    pub(crate) fn leads_to(&self, addr: u64) -> bool {
        self.labels_inside(addr.wrapping_sub(1), addr.saturating_add(1)) || self.relocated.contains(addr)
    }

    /// The bytes of a jump.
    pub(crate) fn jump_at(&self, addr: u64) -> Option<[u8; JUMP]> {
        self.bytes(addr, addr.checked_add(JUMP as u64)?).try_into().ok()
    }

    /// Whether nothing runs in a range, which lies behind code that never goes on.
    fn is_padding(&self, from: u64, to: u64) -> bool {
        let pieces = &self.found.pieces;
        let mut index = pieces.partition_point(|piece| piece.end <= from);
        while let Some(piece) = pieces.get(index).filter(|piece| piece.start < to) {
            let before = index.checked_sub(1).and_then(|index| pieces.get(index));
            let is_reached = piece.padding == piece.start && before.is_none_or(|before| before.is_open);
            if piece.padding > from.max(piece.start) || is_reached {
                return false;
            }
            index += 1;
        }
        pieces.get(index.wrapping_sub(1)).is_some_and(|last| last.end >= to)
    }

    fn is_guarded(&self, at: u64, to: u64) -> bool {
        // Ranges do not overlap, and so it is the last one, unless that is empty.
        let ranges = &self.guards.ranges;
        let last = ranges.partition_point(|range| range.start < to);
        ranges.get(last.saturating_sub(8)..last).unwrap_or_default().iter().any(|range| range.end > at)
    }
}

pub(crate) const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// How many instructions are looked at for flags that are taken.
const FLAG_DISTANCE: usize = 512;

/// How many ways into a part that was split off are looked at for its function.
const OWNERS: usize = 16;
