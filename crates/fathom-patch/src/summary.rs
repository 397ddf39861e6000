//! How much of a module is patched.

use crate::reason::Reason;
use crate::{Analysis, JUMP};

/// Counts of an [`Analysis`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Functions.
    pub functions: usize,
    /// Functions that can be patched.
    pub sites: usize,
    /// Those of them that need an island.
    pub islands: usize,
    /// Those of them whose jump reaches over their end into padding.
    pub padded: usize,
    /// Functions of [`Summary::LARGE`] bytes or more.
    pub large: usize,
    /// Those of them that can be patched.
    pub large_sites: usize,
    /// Functions that cannot be patched, by reason, in the order of [`Reason::ALL`].
    pub reasons: [usize; Reason::ALL.len()],
    /// Those of them that are large.
    pub large_reasons: [usize; Reason::ALL.len()],
}

impl Summary {
    /// From how many bytes on a function is large.
    pub const LARGE: u64 = 16;

    /// Counts.
    pub fn of(analysis: &Analysis) -> Summary {
        let mut summary = Summary::default();
        for function in &analysis.functions {
            let is_large = function.end.saturating_sub(function.start) >= Summary::LARGE;
            summary.functions += 1;
            summary.large += usize::from(is_large);
            match &function.verdict {
                Ok(site) => {
                    summary.sites += 1;
                    summary.large_sites += usize::from(is_large);
                    summary.islands += usize::from(site.island.is_some());
                    let end = site.at.saturating_add(JUMP as u64);
                    summary.padded += usize::from(site.island.is_none() && end > function.end);
                }
                Err(reason) => {
                    // A reason's number is its place in `ALL`.
                    summary.reasons[*reason as usize] += 1;
                    summary.large_reasons[*reason as usize] += usize::from(is_large);
                }
            }
        }
        summary
    }

    /// Percent of all functions that can be patched.
    pub fn coverage(&self) -> f64 {
        percent(self.sites, self.functions)
    }

    /// Percent of the large functions that can be patched.
    pub fn large_coverage(&self) -> f64 {
        percent(self.large_sites, self.large)
    }

    /// Each reason that there is, with how many functions and how many large functions it is for, the most frequent first.
    pub fn by_reason(&self) -> Vec<(Reason, usize, usize)> {
        let counts = self.reasons.into_iter().zip(self.large_reasons);
        let mut all: Vec<_> =
            Reason::ALL.into_iter().zip(counts).map(|(reason, (all, large))| (reason, all, large)).collect();
        all.retain(|&(_, count, _)| count > 0);
        all.sort_by_key(|&(_, count, _)| std::cmp::Reverse(count));
        all
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}
