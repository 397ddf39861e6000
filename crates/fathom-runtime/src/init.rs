//! Coming up: the process (constructor, hello, plan), its threads, and forked children.

use crate::state::{self, BITS, Block, NONE, PROCESS, THREADS};
use crate::{patch, plt, probes, rules, segment, sys};
use core::sync::atomic::Ordering;
use fathom_abi::arena::{self, Header};
use fathom_abi::record::{ENTRY, TYPE_MASK};
use fathom_abi::{ENV_DIR, VERSION, plan};

/// Longest path of the arena's directory.
const PATH: usize = 512;

/// A NUL-terminated string in place.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Text<N> {
        Text { bytes: [0; N], len: 0 }
    }

    /// Appends; false when there is no room.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let end = self.len + bytes.len();
        if end >= N {
            return false;
        }
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
        self.bytes[end] = 0;
        true
    }

    /// Appends a number in decimal.
    pub(crate) fn push_number(&mut self, mut n: u32) -> bool {
        let mut digits = [0u8; 10];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                return self.push(&digits[at..]);
            }
        }
    }

    /// With the NUL.
    pub(crate) fn with_nul(&self) -> &[u8] {
        &self.bytes[..=self.len]
    }
}

/// The arena's directory. Written by the constructor only.
static mut DIR: Text<PATH> = Text::new();

fn dir() -> &'static [u8] {
    // SAFETY: written once, by the constructor, before any reader.
    unsafe {
        let dir = &raw const DIR;
        &(&(*dir).bytes)[..(*dir).len]
    }
}

/// A string from C.
///
/// # Safety
/// `at` points to a NUL-terminated string that lives on.
pub(crate) unsafe fn c_string(at: *const u8) -> &'static [u8] {
    let mut len = 0;
    // SAFETY: up to the NUL.
    unsafe {
        while *at.add(len) != 0 {
            len += 1;
        }
        core::slice::from_raw_parts(at, len)
    }
}

#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn(i32, *const *const u8, *const *const u8) = constructor;

#[unsafe(link_section = ".fini_array")]
#[used]
static DESTRUCTOR: extern "C" fn() = crate::filter::destructor;

/// Runs before everything else of the program (`-z initfirst`). glibc passes the environment.
extern "C" fn constructor(_argc: i32, _argv: *const *const u8, envp: *const *const u8) {
    if envp.is_null() {
        return;
    }
    let mut at = envp;
    // SAFETY: the environment is an array of strings that ends with null.
    while let Some(entry) = unsafe { (!(*at).is_null()).then(|| c_string(*at)) } {
        if let Some(value) = variable(entry, ENV_DIR.as_bytes()) {
            // SAFETY: no other thread exists yet.
            let stored = unsafe {
                let dir = &raw mut DIR;
                (*dir).push(value)
            };
            if stored {
                plt::keep_environment(envp);
                // SAFETY: as glibc passes it, before anything could have moved it.
                unsafe { crate::memory::find_executable(envp) };
                start();
            }
            return;
        }
        // SAFETY: not at the end yet.
        at = unsafe { at.add(1) };
    }
}

/// The value when `entry` is `name=value`.
pub(crate) fn variable<'a>(entry: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    entry.strip_prefix(name)?.strip_prefix(b"=")
}

/// A file in the arena's directory.
fn file(parts: &[&[u8]], numbers: &[u32]) -> Text<{ PATH + 64 }> {
    let mut path = Text::new();
    let mut ok = path.push(dir());
    for (i, part) in parts.iter().enumerate() {
        ok = ok && path.push(part);
        if let Some(&n) = numbers.get(i) {
            ok = ok && path.push_number(n);
        }
    }
    debug_assert!(ok);
    path
}

fn start() {
    let Some(header) = map_arena() else { return };
    // SAFETY: mapped for the life of the process.
    let h = unsafe { &*header };
    let index = h.next_session.fetch_add(1, Ordering::Relaxed);
    if index >= h.session_count {
        h.lost_sessions.fetch_add(1, Ordering::Relaxed);
        return;
    }
    PROCESS.pid.store(sys::getpid(), Ordering::Relaxed);
    PROCESS.session.store(index, Ordering::Relaxed);
    PROCESS.arena.store(header, Ordering::Release);
    let s = segment::session(index);
    s.pid.store(sys::getpid(), Ordering::Relaxed);
    s.sid.store(sys::random(), Ordering::Relaxed);
    s.start.store(segment::now(), Ordering::Relaxed);
    rules::follow_session();
    plt::find_libc();
    hello(0, 0);
}

/// Maps the arena that the recorder has made.
fn map_arena() -> Option<*mut Header> {
    let path = file(&[b"/arena"], &[]);
    let fd = sys::open(path.with_nul(), sys::O_RDWR);
    if fd < 0 {
        return None;
    }
    let mapped = map_shared(fd, 4096).and_then(|first| {
        // SAFETY: one page is mapped, and the header fits.
        let h = unsafe { &*first.cast::<Header>() };
        let ok = h.magic == arena::MAGIC && h.version == VERSION;
        let len = h.data as usize + h.segment_count as usize * h.segment_size as usize;
        // SAFETY: our own mapping, not used any more.
        unsafe { sys::call(sys::MUNMAP, [first as usize, 4096, 0, 0, 0, 0]) };
        if ok { map_shared(fd, len) } else { None }
    });
    sys::close(fd);
    mapped.map(<*mut u8>::cast)
}

fn map_shared(fd: isize, len: usize) -> Option<*mut u8> {
    // SAFETY: a mapping at an address of the kernel's choice.
    let at = unsafe {
        sys::call(sys::MMAP, [0, len, sys::PROT_READ | sys::PROT_WRITE, sys::MAP_SHARED, fd as usize, 0])
    };
    (at > 0).then_some(at as *mut u8)
}

/// Tells the recorder which modules are mapped, waits for its plan and applies it. Runs in the constructor, and
/// after a dlopen at `time` by thread `tid`.
fn hello(time: u64, tid: i32) {
    let index = PROCESS.session.load(Ordering::Relaxed);
    let s = segment::session(index);
    let generation = s.generation.load(Ordering::Relaxed) + 1;
    if !write_hello(index, generation) {
        return;
    }
    s.dlopen_time.store(time, Ordering::Relaxed);
    s.dlopen_tid.store(tid, Ordering::Relaxed);
    s.has_plan.store(0, Ordering::Relaxed);
    s.generation.store(generation, Ordering::Relaxed);
    s.state.store(arena::SESSION_HELLO, Ordering::Release);
    let doorbell = &segment::header().doorbell;
    doorbell.fetch_add(1, Ordering::Release);
    sys::wake(doorbell);
    if !answered(s) || s.has_plan.load(Ordering::Relaxed) == 0 {
        return;
    }
    if let Some(plan) = load_plan(b"/plan-", index, generation) {
        // Before the hooks: they are led to what the rules need.
        let installed = rules::install(&plan);
        let no_memory = u32::from(installed == rules::Installed::NoMemory);
        let failed = segment::because(arena::CAUSE_MEMORY, no_memory)
            + plt::apply(&plan)
            + patch::apply(&plan)
            + segment::because(arena::CAUSE_BYTES, probes::apply(&plan));
        s.failed.fetch_add(failed, Ordering::Relaxed);
        plan.done(installed == rules::Installed::Rules);
    }
}

/// `hello-<session>-<generation>`: the path of the executable, a newline, and /proc/self/maps.
fn write_hello(index: u32, generation: u32) -> bool {
    let path = file(&[b"/hello-", b"-"], &[index, generation]);
    let fd = sys::open(path.with_nul(), sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL);
    if fd < 0 {
        return false;
    }
    let mut buffer = [0u8; 4096];
    // SAFETY: the path is a string and the buffer is valid for its length.
    let n = unsafe {
        sys::call(
            sys::READLINK,
            [c"/proc/self/exe".as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len() - 1, 0, 0, 0],
        )
    };
    let n = n.max(0) as usize;
    buffer[n] = b'\n';
    let mut ok = sys::write_all(fd, &buffer[..=n]);
    let maps = sys::open(b"/proc/self/maps\0", sys::O_RDONLY);
    while ok && maps >= 0 {
        let n = sys::read(maps, &mut buffer);
        if n <= 0 {
            break;
        }
        ok = sys::write_all(fd, &buffer[..n as usize]);
    }
    if maps >= 0 {
        sys::close(maps);
    }
    sys::close(fd);
    ok
}

/// Waits for the recorder's answer. False when it shows no life for three seconds.
fn answered(s: &arena::Session) -> bool {
    const PATIENCE: u64 = 3_000_000_000;
    let h = segment::header();
    let mut beat = h.heartbeat.0.load(Ordering::Relaxed);
    let mut since = sys::monotonic();
    while s.state.load(Ordering::Acquire) != arena::SESSION_ANSWERED {
        if h.recorder_gone.load(Ordering::Relaxed) != 0 {
            return false;
        }
        sys::wait(&s.state, arena::SESSION_HELLO, 100_000_000);
        let now = h.heartbeat.0.load(Ordering::Relaxed);
        if now != beat {
            (beat, since) = (now, sys::monotonic());
        } else if sys::monotonic() - since > PATIENCE {
            h.recorder_gone.store(1, Ordering::Relaxed);
        }
    }
    true
}

/// A plan file in memory.
pub(crate) struct Plan {
    pub(crate) head: plan::Header,
    pub(crate) ranges: &'static [plan::Range],
    pub(crate) rules: &'static [plan::Rule],
    pub(crate) fetches: &'static [plan::Fetch],
    pub(crate) slots: &'static [plan::Slot],
    pub(crate) sites: &'static [plan::Site],
    pub(crate) probes: &'static [plan::Probe],
    pub(crate) operands: &'static [plan::Operand],
    pub(crate) texts: &'static [plan::Text],
    pub(crate) detours: &'static [plan::Detour],
    pub(crate) fixups: &'static [plan::Fixup],
    pub(crate) sleds: &'static [plan::Sled],
    pub(crate) code: &'static [u8],
    pub(crate) strings: &'static [u8],
    /// Address and length of the mapping.
    mapping: (usize, usize),
}

impl Plan {
    /// It has been applied: gives the memory back, so that one plan for each dlopen does not add up. Its rules, if they are
    /// those that count now, and probes are read for as long as the process runs and stay.
    pub(crate) fn done(self, has_rules: bool) {
        let (at, len) = self.mapping;
        let is_read = has_rules || !self.probes.is_empty();
        // Texts and what comes behind them is about hooks, as are the strings.
        let kept = if is_read { (self.texts.as_ptr() as usize - at).next_multiple_of(4096) } else { 0 };
        if kept < len {
            // SAFETY: our own mapping; nothing but rules and probes is referred to later.
            unsafe { sys::call(sys::MUNMAP, [at + kept, len - kept, 0, 0, 0, 0]) };
        }
    }
}

/// Maps the plan of that kind, session and number.
pub(crate) fn load_plan(kind: &[u8], index: u32, number: u32) -> Option<Plan> {
    let path = file(&[kind, b"-"], &[index, number]);
    let fd = sys::open(path.with_nul(), sys::O_RDONLY);
    if fd < 0 {
        return None;
    }
    let mut head = [0u64; size_of::<plan::Header>() / 8];
    // SAFETY: plain memory of this size.
    let bytes =
        unsafe { core::slice::from_raw_parts_mut(head.as_mut_ptr().cast::<u8>(), size_of::<plan::Header>()) };
    let n = sys::read(fd, bytes);
    // SAFETY: as large and as aligned as the header, which is plain data.
    let h = unsafe { head.as_ptr().cast::<plan::Header>().read() };
    if n as usize != size_of::<plan::Header>() || h.magic != plan::MAGIC || h.version != VERSION {
        sys::close(fd);
        return None;
    }
    let slots = size_of::<plan::Header>();
    let sites = slots + h.slots as usize * size_of::<plan::Slot>();
    let ranges = sites + h.sites as usize * size_of::<plan::Site>();
    let rules = ranges + h.ranges as usize * size_of::<plan::Range>();
    let fetches = rules + h.rules as usize * size_of::<plan::Rule>();
    let probes = fetches + h.fetches as usize * size_of::<plan::Fetch>();
    let operands = probes + h.probes as usize * size_of::<plan::Probe>();
    let texts = operands + h.operands as usize * size_of::<plan::Operand>();
    let detours = texts + h.texts as usize * size_of::<plan::Text>();
    let fixups = detours + h.detours as usize * size_of::<plan::Detour>();
    let sleds = fixups + h.fixups as usize * size_of::<plan::Fixup>();
    let code = sleds + h.sleds as usize * size_of::<plan::Sled>();
    let strings = code + h.code as usize;
    let len = strings + h.strings as usize;
    // SAFETY: a mapping at an address of the kernel's choice, kept until [`Plan::done`].
    let at = unsafe { sys::call(sys::MMAP, [0, len, sys::PROT_READ, sys::MAP_PRIVATE, fd as usize, 0]) };
    sys::close(fd);
    if at <= 0 {
        return None;
    }
    let at = at as *const u8;
    // SAFETY: the recorder writes files of exactly this length before it answers; offsets keep the alignment.
    unsafe {
        Some(Plan {
            head: h,
            ranges: core::slice::from_raw_parts(at.add(ranges).cast(), h.ranges as usize),
            rules: core::slice::from_raw_parts(at.add(rules).cast(), h.rules as usize),
            fetches: core::slice::from_raw_parts(at.add(fetches).cast(), h.fetches as usize),
            slots: core::slice::from_raw_parts(at.add(slots).cast(), h.slots as usize),
            sites: core::slice::from_raw_parts(at.add(sites).cast(), h.sites as usize),
            probes: core::slice::from_raw_parts(at.add(probes).cast(), h.probes as usize),
            operands: core::slice::from_raw_parts(at.add(operands).cast(), h.operands as usize),
            texts: core::slice::from_raw_parts(at.add(texts).cast(), h.texts as usize),
            detours: core::slice::from_raw_parts(at.add(detours).cast(), h.detours as usize),
            fixups: core::slice::from_raw_parts(at.add(fixups).cast(), h.fixups as usize),
            sleds: core::slice::from_raw_parts(at.add(sleds).cast(), h.sleds as usize),
            code: core::slice::from_raw_parts(at.add(code), h.code as usize),
            strings: core::slice::from_raw_parts(at.add(strings), h.strings as usize),
            mapping: (at as usize, len),
        })
    }
}

/// A block for a thread that comes here for the first time.
pub(crate) fn thread(near: usize) -> Option<*mut Block> {
    let arena = PROCESS.arena.load(Ordering::Acquire);
    if arena.is_null() || state::thread_state() != 0 {
        return None;
    }
    state::set_thread_state(1);
    let (tid, pid) = (sys::gettid(), sys::getpid());
    let known = PROCESS.pid.load(Ordering::Relaxed);
    if known != pid {
        // A forked child whose forking thread has not recorded anything yet.
        PROCESS.lock.store(false, Ordering::Relaxed);
        PROCESS.pid.store(pid, Ordering::Relaxed);
    }
    let Some(block) = state::take_block(tid, pid, near) else {
        segment::header().lost_tasks.fetch_add(1, Ordering::Relaxed);
        state::set_thread_state(2);
        return None;
    };
    // SAFETY: ours alone now.
    let b = unsafe { &mut *block };
    b.careful = segment::header().clock != arena::CLOCK_TSC;
    b.task = segment::new_task(tid, pid, (known != pid).then_some(known), segment::now());
    state::set_current(block);
    state::set_thread_state(0);
    arm_thread_end();
    Some(block)
}

/// Asks libc to call [`thread_end`] when this thread ends.
pub(crate) fn arm_thread_end() {
    let key = PROCESS.key.load(Ordering::Relaxed);
    let set = PROCESS.setspecific.load(Ordering::Relaxed);
    if key == 0 || set == 0 {
        return;
    }
    // SAFETY: `pthread_setspecific(key, value)`. Keys this small live in the thread's own descriptor (glibc): no
    // allocation, safe in a signal handler.
    unsafe {
        let set: extern "C" fn(u32, usize) -> i32 = core::mem::transmute(set);
        set(key - 1, 1);
    }
}

/// Destructor of our key. Runs in each round of destructors and works in the last, after all others.
pub(crate) extern "C" fn thread_end(_value: usize) {
    const LAST_ROUND: u8 = 4;
    let block = state::current();
    if block.is_null() {
        return;
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    b.rounds += 1;
    if b.rounds < LAST_ROUND {
        arm_thread_end();
        return;
    }
    let _quiet = sys::NoSignals::begin();
    // What pthread_exit or a cancellation has left ends here. Functions of the C library that are on the way to here will
    // still return, and there is nobody then who knows where to.
    crate::slow::unhook_all(b);
    while !b.is_empty() {
        crate::slow::pop(b);
    }
    segment::close_task(b);
    state::set_current(core::ptr::null_mut());
    state::release(b);
}

/// The memory that a fork wipes was found empty, and the process is not the one that we know: we are the child.
/// `record` is the word that is about to be written.
pub(crate) fn forked(b: &mut Block, record: Option<u64>) {
    let _quiet = sys::NoSignals::begin();
    let parent = PROCESS.pid.swap(sys::getpid(), Ordering::Relaxed);
    PROCESS.lock.store(false, Ordering::Relaxed);
    let me = core::ptr::from_mut(b);
    let mut at = THREADS.load(Ordering::Acquire);
    while !at.is_null() {
        // SAFETY: blocks are never unmapped, and their threads do not exist in this process.
        let other = unsafe { &mut *at };
        if at != me && other.used.load(Ordering::Relaxed) {
            state::release(other);
        }
        at = other.next;
    }
    segment::adopt(b, parent);
    match record {
        Some(w) if w & TYPE_MASK == ENTRY => segment::inherit(b, None, true),
        Some(w) => segment::inherit(b, Some(w), false),
        None => segment::inherit(b, None, false),
    }
}

/// The dlopen that this thread was in has returned: the recorder learns what is mapped now.
pub(crate) fn opened(b: &mut Block) {
    let (time, tid) = (b.dlopen_time, b.tid);
    b.dlopen = 0;
    b.limit = b.real_limit;
    if b.task != NONE {
        let _locked = state::Locked::take();
        own_session();
        hello(time, tid);
    }
}

/// A forked child shares its parent's session, but must not share the mailbox: it gets a slot of its own under the
/// same name. Called under the lock.
fn own_session() {
    let pid = sys::getpid();
    let parents = segment::session(PROCESS.session.load(Ordering::Relaxed));
    if parents.pid.load(Ordering::Relaxed) == pid {
        return;
    }
    let h = segment::header();
    let index = h.next_session.fetch_add(1, Ordering::Relaxed);
    if index >= h.session_count {
        h.lost_sessions.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let own = segment::session(index);
    own.pid.store(pid, Ordering::Relaxed);
    own.sid.store(parents.sid.load(Ordering::Relaxed), Ordering::Relaxed);
    own.start.store(segment::now(), Ordering::Relaxed);
    own.derived.store(1, Ordering::Relaxed);
    PROCESS.session.store(index, Ordering::Relaxed);
    rules::follow_session();
}

/// Whether an address is on the stack that the thread began on.
pub(crate) fn on_own_stack(b: &mut Block, address: usize) -> bool {
    if b.stack_to == 0 {
        let (from, to) = find_mapping(b.stack_from & !BITS).unwrap_or((usize::MAX, usize::MAX));
        (b.stack_from, b.stack_to) = (from, to);
    }
    (b.stack_from..b.stack_to).contains(&address)
}

/// The mapping that contains an address. The main thread's stack is given room to grow.
fn find_mapping(address: usize) -> Option<(usize, usize)> {
    /// The kernel keeps at least 128 MiB free below the main stack.
    const GROWTH: usize = 64 << 20;
    let fd = sys::open(b"/proc/self/maps\0", sys::O_RDONLY);
    if fd < 0 {
        return None;
    }
    let mut buffer = [0u8; 2048];
    let (mut line, mut number, mut bounds, mut stack) = (0, 0usize, (0, 0), 0);
    let mut found = None;
    // Reads "from-to" at the start of each line, and whether the line ends in "[stack]".
    'all: loop {
        let n = sys::read(fd, &mut buffer);
        if n <= 0 {
            break;
        }
        for &c in &buffer[..n as usize] {
            match (line, c) {
                (_, b'\n') => {
                    if bounds.0 <= address && address < bounds.1 {
                        let from =
                            if stack > 0 { bounds.0.min(bounds.1.saturating_sub(GROWTH)) } else { bounds.0 };
                        found = Some((from, bounds.1));
                        break 'all;
                    }
                    (line, number, stack) = (0, 0, 0);
                }
                (0, b'-') => (bounds.0, number, line) = (number, 0, 1),
                (1, b' ') => (bounds.1, number, line) = (number, 0, 2),
                (0 | 1, _) => number = number << 4 | (c as char).to_digit(16).unwrap_or(0) as usize,
                (_, b'[') => line = 3,
                (3, b's') => stack = 1,
                (3, _) => line = 2,
                _ => {}
            }
        }
    }
    sys::close(fd);
    found
}
