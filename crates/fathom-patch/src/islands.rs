//! Padding between functions, given to functions that are too short for a jump.

use std::collections::BTreeMap;

use crate::site::{HOP, Island, JUMP};
use crate::sweep::Piece;

/// Padding that is left.
pub(crate) struct Islands {
    /// First address, and address behind.
    free: BTreeMap<u64, u64>,
}

impl Islands {
    /// All padding that nothing runs in. `is_reached` tells whether anything leads to an address.
    pub(crate) fn of(pieces: &[Piece], is_reached: impl Fn(u64) -> bool) -> Islands {
        let mut free = BTreeMap::new();
        let mut is_open = true;
        let mut end = 0;
        for piece in pieces {
            // Sections have no code between them, but one may begin where nothing runs in from.
            let is_first = piece.start != end;
            let is_all = piece.padding == piece.start;
            if piece.padding < piece.end && !(is_all && (is_open || is_first)) {
                let mut from = piece.padding;
                for addr in piece.padding..piece.end {
                    if is_reached(addr) {
                        push(&mut free, from, addr);
                        from = addr + 1;
                    }
                }
                push(&mut free, from, piece.end);
            }
            is_open = if is_all { is_open || is_first } else { piece.is_open };
            end = piece.end;
        }
        Islands { free }
    }

    /// Takes a range that is overwritten out of the padding.
    pub(crate) fn take(&mut self, from: u64, to: u64) {
        while let Some((&start, &end)) = self.free.range(..to).next_back().filter(|part| *part.1 > from) {
            self.free.remove(&start);
            push(&mut self.free, to.max(start), end);
            push(&mut self.free, start, from.min(end));
        }
    }

    /// Finds room for a jump within reach of a hop at `at`, and takes it. `bytes` gives what stands there.
    pub(crate) fn find(&mut self, at: u64, bytes: impl Fn(u64) -> Option<[u8; JUMP]>) -> Option<Island> {
        let from = at + HOP as u64;
        let lowest = from.saturating_sub(128);
        let highest = from.checked_add(127)?;
        let first = self.free.range(..=lowest).next_back().map_or(lowest, |(&start, _)| start);
        let room = self.free.range(first..=highest).find_map(|(&start, &end)| {
            let place = start.max(lowest);
            (place <= highest && end.checked_sub(place)? >= JUMP as u64).then_some(place)
        })?;
        let original = bytes(room)?;
        self.take(room, room + JUMP as u64);
        Some(Island { at: room, original })
    }
}

fn push(free: &mut BTreeMap<u64, u64>, from: u64, to: u64) {
    if from < to {
        free.insert(from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: u64, end: u64, padding: u64, is_open: bool) -> Piece {
        Piece { start, end, padding, is_open, ..Piece::default() }
    }

    #[test]
    fn padding_is_given_once() {
        let pieces = [
            piece(0x100, 0x10b, 0x103, false),
            piece(0x10b, 0x110, 0x10b, false),
            piece(0x110, 0x120, 0x120, true),
            // NOPs that are run into.
            piece(0x120, 0x130, 0x120, false),
        ];
        let mut islands = Islands::of(&pieces, |addr| addr == 0x104);
        assert_eq!(islands.free, [(0x103, 0x104), (0x105, 0x10b), (0x10b, 0x110)].into());
        let at = |at| Some([at as u8; JUMP]);
        assert_eq!(islands.find(0x100, at), Some(Island { at: 0x105, original: [5; 5] }));
        assert_eq!(islands.find(0x110, at), Some(Island { at: 0x10b, original: [0xb; 5] }));
        assert_eq!(islands.find(0x110, at), None);
        assert_eq!(islands.free, [(0x103, 0x104), (0x10a, 0x10b)].into());
    }

    #[test]
    fn hops_reach_so_far() {
        let islands = || Islands { free: [(0x1000, 0x1010)].into() };
        let at = |_| Some([0; JUMP]);
        assert_eq!(islands().find(0x1000 - 2 - 127, at).unwrap().at, 0x1000);
        assert_eq!(islands().find(0x1000 - 2 - 128, at), None);
        assert_eq!(islands().find(0x1010 - 2 + 123, at).unwrap().at, 0x100b);
        assert_eq!(islands().find(0x1010 - 2 + 124, at), None);
    }

    #[test]
    fn taking_cuts() {
        let mut islands = Islands { free: [(0x10, 0x20), (0x20, 0x30), (0x40, 0x50)].into() };
        islands.take(0x18, 0x22);
        assert_eq!(islands.free, [(0x10, 0x18), (0x22, 0x30), (0x40, 0x50)].into());
        islands.take(0x44, 0x48);
        assert_eq!(islands.free, [(0x10, 0x18), (0x22, 0x30), (0x40, 0x44), (0x48, 0x50)].into());
        islands.take(0, 0x100);
        assert!(islands.free.is_empty());
    }
}
