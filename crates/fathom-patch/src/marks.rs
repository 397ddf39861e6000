//! A set of addresses in code.

use std::ops::Range;

/// A bit for each byte of the code's range.
pub(crate) struct Marks {
    start: u64,
    end: u64,
    bits: Vec<u64>,
}

impl Marks {
    /// An empty set for addresses in `range`; others are ignored.
    pub(crate) fn new(range: Range<u64>) -> Marks {
        let len = range.end.saturating_sub(range.start);
        // The range is that of bytes in memory.
        let words = usize::try_from(len.div_ceil(64)).unwrap_or(0);
        Marks { start: range.start, end: range.end, bits: vec![0; words] }
    }

    pub(crate) fn insert(&mut self, addr: u64) {
        if let Some((word, bit)) = self.place(addr)
            && let Some(word) = self.bits.get_mut(word)
        {
            *word |= bit;
        }
    }

    pub(crate) fn contains(&self, addr: u64) -> bool {
        self.place(addr).is_some_and(|(word, bit)| self.bits.get(word).is_some_and(|word| word & bit != 0))
    }

    /// Whether any address of a (short) range is in the set.
    pub(crate) fn any(&self, range: Range<u64>) -> bool {
        range.into_iter().any(|addr| self.contains(addr))
    }

    /// Adds all of another set for the same addresses.
    pub(crate) fn absorb(&mut self, other: &Marks) {
        for (word, more) in self.bits.iter_mut().zip(&other.bits) {
            *word |= more;
        }
    }

    fn place(&self, addr: u64) -> Option<(usize, u64)> {
        if addr < self.start || addr >= self.end {
            return None;
        }
        let at = addr - self.start;
        Some((usize::try_from(at / 64).ok()?, 1 << (at % 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_is_inside() {
        let mut marks = Marks::new(0x1000..0x1100);
        for addr in [0x1000, 0x103f, 0x1040, 0x10ff, 0xfff, 0x1100, u64::MAX] {
            marks.insert(addr);
        }
        assert!(
            marks.contains(0x1000)
                && marks.contains(0x103f)
                && marks.contains(0x1040)
                && marks.contains(0x10ff)
        );
        assert!(!marks.contains(0xfff) && !marks.contains(0x1100) && !marks.contains(0x1001));
        assert!(marks.any(0x1001..0x1040) && !marks.any(0x1001..0x103f) && !marks.any(0x1041..0x1041));
    }
}
