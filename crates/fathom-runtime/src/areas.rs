//! Where the stubs of patched functions are: a library that is unloaded and comes back to its place gets the same again.

use core::cell::UnsafeCell;

/// The stubs of one group of patches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    /// First and last address that is patched.
    pub(crate) range: (usize, usize),
    /// How many places.
    pub(crate) count: usize,
    /// Bytes of all their stubs.
    pub(crate) bytes: usize,
    /// Address of the first stub.
    pub(crate) stubs: usize,
}

/// The areas that are remembered. Of more, the oldest are forgotten, and stay mapped.
const CAPACITY: usize = 512;

struct Areas(UnsafeCell<(usize, [Area; CAPACITY])>);

// SAFETY: only used under the lock of the process.
unsafe impl Sync for Areas {}

static AREAS: Areas =
    Areas(UnsafeCell::new((0, [Area { range: (0, 0), count: 0, bytes: 0, stubs: 0 }; CAPACITY])));

/// The first stub of an earlier group of so many places in the same range, with as many bytes of stubs, if `fits` says that these
/// are the ones that are needed. Under the lock of the process.
pub(crate) fn find(
    range: (usize, usize),
    (count, bytes): (usize, usize),
    fits: impl Fn(usize) -> bool,
) -> Option<usize> {
    // SAFETY: nobody else has the lock.
    let (_, areas) = unsafe { &*AREAS.0.get() };
    let alike = areas.iter().filter(|area| (area.range, area.count, area.bytes) == (range, count, bytes));
    alike.map(|area| area.stubs).find(|&stubs| fits(stubs))
}

/// Remembers a group. Under the lock of the process.
pub(crate) fn keep(area: Area) {
    // SAFETY: nobody else has the lock.
    let (next, areas) = unsafe { &mut *AREAS.0.get() };
    if let Some(place) = areas.get_mut(*next % CAPACITY) {
        *place = area;
    }
    *next = (*next + 1) % CAPACITY;
}
