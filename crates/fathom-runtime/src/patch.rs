//! Entries that are patched: the NOPs of `-fpatchable-function-entry`, the calls of `-mfentry`, and the beginnings of
//! functions that were not compiled for it. They become jumps to the stubs of call hooks, near the module.
//!
//! What is written where, and that it may be, the recorder has proven; here bytes are compared and copied. A detour's stub
//! is followed by its copy of the instructions that the jump overwrites, which is what the call hook calls. Functions that were
//! compiled with places at both ends are the business of [`sleds`].

use crate::areas::Area;
use crate::calls::{Function, Stubs};
use crate::init::Plan;
use crate::segment::because;
use crate::{areas, plt, sleds, sys};
use fathom_abi::arena::{CAUSE_BYTES, CAUSE_MEMORY, CAUSE_PAGES, CAUSE_TEXT};
use fathom_abi::plan::{DETOUR_HOP, DETOUR_JUMP, Detour, FIXUP_ADDRESS, Fixup, Site, Text, kind};
use fathom_abi::record::{ADDR_SHIFT, MAGIC};

/// Length of a call or jump with a 32-bit distance.
const CODE: usize = DETOUR_JUMP;
/// A stub is at most this far from its site.
const REACH: usize = 1 << 30;
const JUMP: u8 = 0xe9;
const CALL: u8 = 0xe8;
const HOP: u8 = 0xeb;
/// The NOP of this length (Intel's manual, volume 2, table 4-12).
const NOP: [u8; CODE] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
const PAGE: usize = 4096;

/// Patches the sites, detours and sleds of a plan, which are sorted by address. Returns how many could not be.
pub(crate) fn apply(plan: &Plan) -> u32 {
    let mut failed = 0;
    let (mut sites, mut detours, mut sleds) = (plan.sites, plan.detours, plan.sleds);
    for text in plan.texts {
        // The stubs of all that is patched in a text are in one place.
        let (here, others) = sites.split_at(sites.partition_point(|site| site.addr < text.end));
        sites = others;
        failed += in_reach(here, |site| site.addr, |group| patch_sites(group, text));
        let (here, others) = detours.split_at(detours.partition_point(|detour| detour.at < text.end));
        detours = others;
        failed += in_reach(here, |detour| detour.at, |group| patch_detours(group, plan, text));
        let (here, others) = sleds.split_at(sleds.partition_point(|sled| sled.addr < text.end));
        sleds = others;
        failed += in_reach(here, |sled| sled.addr, |group| sleds::patch(group, text));
    }
    // All lie in some text.
    failed + because(CAUSE_TEXT, (sites.len() + detours.len() + sleds.len()) as u32)
}

/// Does the work in groups, each of which can have its stubs in one place.
fn in_reach<T>(all: &[T], address: impl Fn(&T) -> u64, mut work: impl FnMut(&[T]) -> u32) -> u32 {
    let mut failed = 0;
    let mut rest = all;
    while let Some(first) = rest.first() {
        let from = address(first);
        let count = rest.partition_point(|one| address(one) - from < (REACH / 2) as u64);
        let (group, others) = rest.split_at(count.max(1));
        rest = others;
        failed += work(group);
    }
    failed
}

/// Memory within reach of jumps from `from` to `to`: below, or else above, with room for a heap that grows.
pub(crate) fn map_near(from: usize, to: usize, len: usize) -> Option<usize> {
    const STEP: usize = 64 << 10;
    const HEAP: usize = 256 << 20;
    let len = len.next_multiple_of(PAGE);
    let mut at = (from & !(STEP - 1)).saturating_sub(len.next_multiple_of(STEP));
    while at > STEP && from - at < REACH {
        if map_at(at, len) {
            return Some(at);
        }
        at -= STEP;
    }
    at = to.next_multiple_of(STEP) + HEAP;
    while at + len - from < REACH + REACH / 2 {
        if map_at(at, len) {
            return Some(at);
        }
        at += STEP;
    }
    None
}

/// Maps memory at an address if nothing is mapped there.
fn map_at(at: usize, len: usize) -> bool {
    let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_FIXED_NOREPLACE;
    // SAFETY: NOREPLACE refuses where something is mapped.
    let got =
        unsafe { sys::call(sys::MMAP, [at, len, sys::PROT_READ | sys::PROT_WRITE, flags, usize::MAX, 0]) };
    if got > 0 && got != at as isize {
        // A kernel that takes the address for a hint.
        // SAFETY: our own mapping.
        unsafe { sys::call(sys::MUNMAP, [got as usize, len, 0, 0, 0, 0]) };
    }
    got == at as isize
}

/// The pages of a text that are written to, while they can be.
pub(crate) struct Opened(usize, usize);

impl Opened {
    /// Makes the pages from `first` to the byte at `last` writable, as far as they are in the text. They stay executable:
    /// after a dlopen other threads may run here.
    pub(crate) fn pages(text: &Text, first: u64, last: u64) -> Option<Opened> {
        let from = first.max(text.start) as usize & !(PAGE - 1);
        let to = (last.min(text.end - 1) as usize + 1).next_multiple_of(PAGE);
        plt::protect(from, to - from, sys::PROT_READ | sys::PROT_WRITE | sys::PROT_EXEC)
            .then_some(Opened(from, to))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        plt::protect(self.0, self.1 - self.0, sys::PROT_READ | sys::PROT_EXEC);
    }
}

fn patch_sites(sites: &[Site], text: &Text) -> u32 {
    let all = sites.len() as u32;
    let (Some(first), Some(last)) = (sites.first(), sites.last()) else { return 0 };
    if first.again != 0 && !sites.iter().any(is_as_expected) {
        return 0;
    }
    // All stubs first: they have to be executable before anybody is led to them.
    let range = (first.addr as usize, last.addr as usize);
    let len = Stubs::len(sites.len());
    let fits = |stubs| site_stubs_fit(sites, stubs);
    let (mut stub, made) = match areas::find(range, (sites.len(), len), fits) {
        Some(stubs) => (stubs, sites.len()),
        None => {
            let Some(memory) = map_near(range.0, range.1, len) else { return because(CAUSE_MEMORY, all) };
            let mut stubs = Stubs::begin(memory, len);
            let begin = stubs.next_stub();
            let made =
                sites.iter().take_while(|site| site.silence != 0 || add_stub(site, &mut stubs)).count();
            if !stubs.finish() {
                return because(CAUSE_PAGES, all);
            }
            areas::keep(Area { range, count: sites.len(), bytes: len, stubs: begin });
            (begin, made)
        }
    };
    let end = last.addr + size_of_val(&last.expect) as u64;
    let Some(_opened) = Opened::pages(text, first.addr, end) else { return because(CAUSE_PAGES, all) };
    let (full, mut failed) = (because(CAUSE_MEMORY, (sites.len() - made) as u32), 0);
    for site in &sites[..made] {
        let code = if site.silence != 0 {
            NOP
        } else {
            let jump = jump(site.addr as usize, stub);
            stub += Stubs::SIZE;
            jump
        };
        failed += u32::from(!patch(site, code) && site.again == 0);
    }
    full + because(CAUSE_BYTES, failed)
}

/// A function whose calls are recorded under `addr` and go on at `target`.
pub(crate) fn recorded(addr: u64, target: usize) -> Function {
    Function {
        target,
        word: (addr << ADDR_SHIFT) | MAGIC,
        special: 0,
        kind: kind::NORMAL,
        record: 1,
        filter: 0.into(),
        reserved: [0; 4],
        gadget: 0,
    }
}

/// What the stub of a site is for.
fn of_site(site: &Site) -> Function {
    let body = site.addr + u64::from(site.len);
    recorded(body, body as usize)
}

/// Makes the stub of a site; false when there is no room.
fn add_stub(site: &Site, stubs: &mut Stubs) -> bool {
    stubs.add(of_site(site), site.calls == 0).is_some()
}

/// Whether earlier stubs are those of these sites.
fn site_stubs_fit(sites: &[Site], mut stub: usize) -> bool {
    sites.iter().filter(|site| site.silence == 0).all(|site| {
        let fits = Stubs::is_for(stub, &of_site(site));
        stub += Stubs::SIZE;
        fits
    })
}

/// A jump between two addresses that are in reach of each other.
fn jump(from: usize, to: usize) -> [u8; CODE] {
    let distance = to as isize - (from + CODE) as isize;
    let d = (distance as i32).to_le_bytes();
    [JUMP, d[0], d[1], d[2], d[3]]
}

/// A call between two addresses that are in reach of each other.
pub(crate) fn call(from: usize, to: usize) -> [u8; CODE] {
    let [_, d @ ..] = jump(from, to);
    [CALL, d[0], d[1], d[2], d[3]]
}

/// Whether a site is what the recorder expected.
fn is_as_expected(site: &Site) -> bool {
    let (at, len) = (site.addr as usize, usize::from(site.len));
    // SAFETY: inside of a mapping that can be read.
    let now = unsafe { core::slice::from_raw_parts(at as *const u8, len) };
    len >= CODE && len <= site.expect.len() && now == &site.expect[..len]
}

/// Puts code into a site, if it is what the recorder expected.
fn patch(site: &Site, code: [u8; CODE]) -> bool {
    let (at, len) = (site.addr as usize, usize::from(site.len));
    if !is_as_expected(site) {
        return false;
    }
    if code == NOP {
        // What follows is run now. Before, it was never come to.
        // SAFETY: inside the mapping that was made writable.
        unsafe { core::slice::from_raw_parts_mut((at + CODE) as *mut u8, len - CODE) }.fill(0x90);
    }
    // SAFETY: as above; the bytes are what the recorder expected.
    unsafe { (at as *mut [u8; CODE]).write(code) };
    true
}

fn patch_detours(detours: &[Detour], plan: &Plan, text: &Text) -> u32 {
    let all = detours.len() as u32;
    let (Some(first), Some(last)) = (detours.first(), detours.last()) else { return 0 };
    if first.again != 0 && !detours.iter().any(|detour| holds(detour, text)) {
        return 0;
    }
    let range = (first.at as usize, last.at as usize);
    let fits = |stubs| detour_stubs_fit(detours, plan, text, stubs);
    let bytes = Stubs::len_of(detours.iter().map(room).sum());
    let stubs = areas::find(range, (detours.len(), bytes), fits).or_else(|| {
        let memory = map_near(range.0, range.1, bytes)?;
        let stubs = add_detours(detours, plan, text, Stubs::begin(memory, bytes))?;
        areas::keep(Area { range, count: detours.len(), bytes, stubs });
        Some(stubs)
    });
    let Some(mut stub) = stubs else { return because(CAUSE_MEMORY, all) };
    // An island may be in front of the first function, or behind the last.
    let nearest = detours.iter().map(|d| if d.island == 0 { d.at } else { d.at.min(d.island) }).min();
    let farthest = detours.iter().map(|d| d.at.max(d.island)).max();
    let (from, to) = (nearest.unwrap_or(first.at), farthest.unwrap_or(last.at));
    let Some(_opened) = Opened::pages(text, from, to + last.expect.len() as u64) else {
        return because(CAUSE_PAGES, all);
    };
    let (mut full, mut differ) = (0, 0);
    for detour in detours {
        // SAFETY: one of the stubs.
        let made = unsafe { (stub as *const u8).read() } != 0;
        if made {
            divert(detour, stub);
        } else if holds(detour, text) {
            full += 1;
        } else {
            // What an earlier plan has patched has changed for that.
            differ += u32::from(detour.again == 0);
        }
        stub += room(detour);
    }
    because(CAUSE_MEMORY, full) + because(CAUSE_BYTES, differ)
}

/// Bytes of a detour's stub and code.
fn room(detour: &Detour) -> usize {
    Stubs::size_with(usize::from(detour.code_len))
}

/// Makes the stubs of detours; the address of the first. Those that cannot be made begin with a zero.
fn add_detours(detours: &[Detour], plan: &Plan, text: &Text, mut stubs: Stubs) -> Option<usize> {
    let begin = stubs.next_stub();
    for detour in detours {
        let stub = stubs.next_stub();
        // All are compared before any is written: what must stand at one may reach into the padding of another.
        if !(holds(detour, text) && add_detour(detour, plan, &mut stubs)) {
            // It was not led to, and is told from the others by its first byte.
            // SAFETY: inside our memory, of which this stub has its share.
            unsafe { (stub as *mut u8).write(0) };
        }
        stubs.skip(stub + room(detour) - stubs.next_stub());
    }
    stubs.finish().then_some(begin)
}

/// Whether earlier stubs and their code are those of these detours, none of which is patched.
fn detour_stubs_fit(detours: &[Detour], plan: &Plan, text: &Text, mut stub: usize) -> bool {
    detours.iter().all(|detour| {
        let code = stub + Stubs::SIZE;
        let mut wanted = [0; u8::MAX as usize];
        let Some(place) = wanted.get_mut(..usize::from(detour.code_len)) else { return false };
        let fits = holds(detour, text)
            && Stubs::is_for(stub, &recorded(detour.addr, code))
            && relocate(detour, plan, place, code)
            // SAFETY: inside of a group of stubs with as many bytes, which can be read.
            && unsafe { core::slice::from_raw_parts(code as *const u8, place.len()) } == place;
        stub += room(detour);
        fits
    })
}

/// Makes the stub of a detour, and its code behind it. False when there is no room, or when something that the code is about
/// is too far away.
fn add_detour(detour: &Detour, plan: &Plan, stubs: &mut Stubs) -> bool {
    let target = stubs.next_stub() + Stubs::SIZE;
    if stubs.add(recorded(detour.addr, target), true).is_none() {
        return false;
    }
    let Some(place) = stubs.add_code(usize::from(detour.code_len)) else { return false };
    let base = place.as_ptr() as usize;
    relocate(detour, plan, place, base)
}

/// Writes the code of a detour as it is when it is run at `base`. `place` has its length. False when something that the code is
/// about is too far away.
fn relocate(detour: &Detour, plan: &Plan, place: &mut [u8], base: usize) -> bool {
    let (from, first) = (detour.code as usize, detour.fixup as usize);
    let Some(code) = plan.code.get(from..from + place.len()) else { return false };
    let Some(fixups) = plan.fixups.get(first..first + usize::from(detour.fixups)) else { return false };
    place.copy_from_slice(code);
    fixups.iter().all(|fixup| fix(fixup, place, base as u64))
}

/// Fills in a place of code that will be run at `base`.
fn fix(fixup: &Fixup, code: &mut [u8], base: u64) -> bool {
    let at = usize::from(fixup.at);
    if fixup.kind == FIXUP_ADDRESS {
        let Some(place) = code.get_mut(at..at + 8) else { return false };
        place.copy_from_slice(&fixup.to.to_le_bytes());
        return true;
    }
    let distance = fixup.to.wrapping_sub(base + at as u64 + 4) as i64;
    match (i32::try_from(distance), code.get_mut(at..at + 4)) {
        (Ok(distance), Some(place)) => {
            place.copy_from_slice(&distance.to_le_bytes());
            true
        }
        _ => false,
    }
}

/// Whether all bytes that a detour is about lie in the text and are what the recorder expected.
fn holds(detour: &Detour, text: &Text) -> bool {
    let len = usize::from(detour.expect_len);
    let (at, island) = (detour.at as usize, detour.island as usize);
    let inside = |from: usize, len: usize| from >= text.start as usize && from + len <= text.end as usize;
    let written = if island == 0 { CODE } else { DETOUR_HOP };
    if len < written || len > detour.expect.len() || !inside(at, len) {
        return false;
    }
    // SAFETY: inside of a mapping that can be read.
    if unsafe { core::slice::from_raw_parts(at as *const u8, len) } != &detour.expect[..len] {
        return false;
    }
    if island == 0 {
        return true;
    }
    // SAFETY: as above.
    inside(island, CODE)
        && hop(at, island).is_some()
        && unsafe { (island as *const [u8; CODE]).read() } == detour.island_expect
}

/// A jump between two addresses that are near each other, if they are.
fn hop(from: usize, to: usize) -> Option<[u8; DETOUR_HOP]> {
    let distance = i8::try_from(to as isize - (from + DETOUR_HOP) as isize).ok()?;
    Some([HOP, distance as u8])
}

/// Leads a function to its stub. All that it is about [`holds`], and its pages are writable.
fn divert(detour: &Detour, stub: usize) {
    let (at, island) = (detour.at as usize, detour.island as usize);
    if island == 0 {
        // SAFETY: the bytes are in the text and were what the recorder expected.
        unsafe { (at as *mut [u8; CODE]).write(jump(at, stub)) };
    } else if let Some(hop) = hop(at, island) {
        // The way on before the way to it.
        // SAFETY: as above.
        unsafe {
            (island as *mut [u8; CODE]).write(jump(island, stub));
            (at as *mut [u8; DETOUR_HOP]).write(hop);
        }
    }
}
