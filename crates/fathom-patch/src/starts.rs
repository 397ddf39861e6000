//! Where functions could begin, and where something is known to begin or end.

use std::ops::Range;

use fathom_symbols::Image;
use rustc_hash::FxHashSet;

use crate::marks::Marks;
use crate::special;
use crate::sweep::Raw;
use crate::unwind::Unwind;

/// A place where a function could begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) addr: u64,
    /// The largest end that symbols name; `addr` if none does.
    pub(crate) named_end: u64,
    /// A symbol of its own, that of no split-off part.
    pub(crate) is_named: bool,
    /// Other modules can call it.
    pub(crate) is_exported: bool,
    /// See [`special`].
    pub(crate) is_special: bool,
    /// See [`special::sees_return`].
    pub(crate) sees_return: bool,
    /// Unwind information begins there.
    pub(crate) has_frame: bool,
}

/// What is known before the code is looked at.
pub(crate) struct Ground<'d> {
    /// The code without library-call stubs, ascending: first address and bytes.
    pub(crate) code: Vec<Raw<'d>>,
    /// From the first to the last byte of code.
    pub(crate) range: Range<u64>,
    /// Ascending.
    pub(crate) starts: Vec<Start>,
    /// Everything that has a name, and other places that must stay as they are.
    pub(crate) labels: Marks,
    /// The same places as `starts`.
    pub(crate) marks: Marks,
    /// Stubs and slots of library functions that look at where they return to.
    pub(crate) watchers: Vec<u64>,
    /// Where symbols and frames end.
    ends: Vec<u64>,
}

impl<'d> Ground<'d> {
    pub(crate) fn of(image: &'d Image, unwind: &Unwind<'d>) -> Ground<'d> {
        let code = code_of(image);
        let first = code.first().map_or(0, |part| part.0);
        let last = code.iter().map(|part| part.0.saturating_add(part.1.len() as u64)).max().unwrap_or(first);
        let range = first..last;
        let mut ground = Ground {
            code,
            starts: Vec::new(),
            labels: Marks::new(range.clone()),
            marks: Marks::new(range.clone()),
            watchers: Vec::new(),
            ends: Vec::new(),
            range,
        };
        ground.read_labels(image, unwind);
        for frame in unwind.frames() {
            if ground.has_code(frame.range.start) {
                ground.ends.push(frame.range.end);
                ground.starts.push(Start {
                    addr: frame.range.start,
                    named_end: frame.range.start,
                    has_frame: true,
                    is_special: frame.is_signal,
                    ..Start::default()
                });
            }
        }
        for probe in image.sdt_probes() {
            ground.labels.insert(probe.addr);
        }
        if let Some(entry) = image.entry().filter(|&entry| ground.has_code(entry)) {
            ground.starts.push(Start { addr: entry, named_end: entry, is_special: true, ..Start::default() });
        }
        let slots = image.plt_slots();
        for slot in &slots {
            if special::sees_return(&slot.name) {
                ground.watchers.extend([slot.plt, slot.got].into_iter().filter(|&addr| addr != 0));
            }
        }
        ground.merge();
        // Without section headers they are not told from other code otherwise.
        let stubs: FxHashSet<u64> = slots.iter().map(|slot| slot.plt).collect();
        for start in ground.starts.iter_mut().filter(|start| stubs.contains(&start.addr)) {
            start.is_special = true;
        }
        ground.keep_areas(&image.instrumentation().patchable);
        for &watcher in &ground.watchers {
            ground.marks.insert(watcher);
        }
        ground
    }

    /// Whether an address is in code that could be functions.
    fn has_code(&self, addr: u64) -> bool {
        let index = self.code.partition_point(|part| part.0 <= addr).checked_sub(1);
        let part = index.and_then(|index| self.code.get(index));
        part.is_some_and(|&(start, bytes)| addr - start < bytes.len() as u64)
    }

    fn read_labels(&mut self, image: &Image, unwind: &Unwind<'_>) {
        for label in image.labels() {
            if !self.has_code(label.addr) {
                continue;
            }
            self.labels.insert(label.addr);
            let is_part = label.name.contains(".cold");
            let has_frame = || unwind.starting_at(label.addr).is_some();
            if !label.is_function && (is_part || !has_frame()) {
                continue;
            }
            let end = label.addr.saturating_add(label.size);
            self.ends.push(end);
            self.starts.push(Start {
                addr: label.addr,
                named_end: end,
                is_named: !is_part,
                is_exported: label.is_exported,
                is_special: special::is_special(&label.name),
                sees_return: special::sees_return(&label.name),
                has_frame: false,
            });
        }
    }

    /// NOPs that a compiler has put in front of functions are no padding: they are patched in another way.
    fn keep_areas(&mut self, sites: &[u64]) {
        for &site in sites {
            let next = self.starts.partition_point(|start| start.addr <= site);
            let Some(next) = self.starts.get(next).map(|start| start.addr) else { continue };
            let before =
                self.starts.get(self.starts.partition_point(|start| start.addr <= site).wrapping_sub(1));
            let is_inside = before.is_some_and(|before| site < before.named_end.max(before.addr + 1));
            if !is_inside && next - site <= AREA {
                (site..next).for_each(|addr| self.labels.insert(addr));
            }
        }
    }

    /// One start at each address.
    fn merge(&mut self) {
        self.starts.sort_unstable_by_key(|start| start.addr);
        self.starts.dedup_by(|later, kept| {
            if later.addr != kept.addr {
                return false;
            }
            kept.named_end = kept.named_end.max(later.named_end);
            kept.is_named |= later.is_named;
            kept.is_exported |= later.is_exported;
            kept.is_special |= later.is_special;
            kept.sees_return |= later.sees_return;
            kept.has_frame |= later.has_frame;
            true
        });
        for start in &self.starts {
            self.marks.insert(start.addr);
        }
    }

    /// The code, cut wherever something begins or ends.
    pub(crate) fn pieces(&self) -> Vec<Raw<'d>> {
        let mut cuts: Vec<u64> =
            self.starts.iter().map(|start| start.addr).chain(self.ends.iter().copied()).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces = Vec::with_capacity(cuts.len() + self.code.len());
        for &(start, bytes) in &self.code {
            let end = start.saturating_add(bytes.len() as u64);
            let from = cuts.partition_point(|&cut| cut <= start);
            let inside = cuts.get(from..).unwrap_or_default().iter().copied().take_while(|&cut| cut < end);
            let (mut at, mut rest) = (start, bytes);
            for cut in inside {
                // `cut` lies in `rest`.
                let (piece, others) = rest.split_at((cut - at) as usize);
                pieces.push((at, piece));
                (at, rest) = (cut, others);
            }
            pieces.push((at, rest));
        }
        pieces
    }
}

/// The longest run of NOPs in front of a function that is believed, in bytes.
const AREA: u64 = 256;

/// The code, without what is no function: stubs of library calls.
pub(crate) fn code_of(image: &Image) -> Vec<Raw<'_>> {
    let stubs: FxHashSet<u64> = image
        .sections()
        .iter()
        .filter(|section| section.name.starts_with(".plt"))
        .map(|section| section.addr.wrapping_sub(image.link_base()))
        .collect();
    let mut code = image.code();
    // Section headers are not what is loaded by: they can say what they like.
    let is_loaded = |start: u64, bytes: &[u8]| {
        image.data_at(start, bytes.len() as u64).is_some_and(|loaded| std::ptr::eq(loaded, bytes))
    };
    code.retain(|&(start, bytes)| !stubs.contains(&start) && !bytes.is_empty() && is_loaded(start, bytes));
    code.sort_by_key(|part| part.0);
    // Sections that overlap are no linker's.
    let mut end = 0;
    code.retain(|(start, bytes)| {
        let is_next = *start >= end && start.checked_add(bytes.len() as u64).is_some();
        if is_next {
            end = start + bytes.len() as u64;
        }
        is_next
    });
    code
}
