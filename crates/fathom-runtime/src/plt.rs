//! Library calls: GOT entries lead to stubs, stubs to the hook, the hook to the function.
//!
//! What is special about a function (returns twice, starts a process, ends frames) comes from the plan as a
//! [`kind`]; no name is compared here.

use crate::init::{Plan, c_string, variable};
use crate::slow::{self, Busy, block_of};
use crate::state::{CYG, PROCESS};
use crate::{asm, init, segment, state, sys};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use fathom_abi::ENV_DIR;
use fathom_abi::plan::{SLOT_LAZY, SLOT_READ_ONLY, SLOT_RECORD, Slot, kind};
use fathom_abi::record::{ADDR_SHIFT, EXIT, MAGIC, TYPE_MASK};

/// One hooked function. The first three fields are known to the assembly.
#[repr(C)]
pub(crate) struct Function {
    /// Where the call goes.
    target: usize,
    /// Record word without depth.
    word: u64,
    /// 0: the fast path may handle it.
    special: u8,
    kind: u8,
    record: u8,
    reserved: [u8; 5],
    /// See [`Slot::gadget`].
    gadget: usize,
}

const _: () = assert!(size_of::<Function>() == 32);

/// Functions that a process can hook. Two megabytes of address space.
const CAPACITY: usize = 1 << 16;

/// The functions, by the index that their stub pushes.
pub(crate) static TABLE: AtomicPtr<Function> = AtomicPtr::new(core::ptr::null_mut());
static COUNT: AtomicU32 = AtomicU32::new(0);

/// What libc and the loader give us.
static DLSYM: AtomicUsize = AtomicUsize::new(0);
static DLVSYM: AtomicUsize = AtomicUsize::new(0);
static ENVIRON: AtomicUsize = AtomicUsize::new(0);

core::arch::global_asm!(
    ".weak dlsym",
    ".weak dlvsym",
    ".hidden fathom_weak_dlsym",
    ".globl fathom_weak_dlsym",
    "fathom_weak_dlsym: mov rax, qword ptr [rip + dlsym@GOTPCREL]",
    "ret",
    ".hidden fathom_weak_dlvsym",
    ".globl fathom_weak_dlvsym",
    "fathom_weak_dlvsym: mov rax, qword ptr [rip + dlvsym@GOTPCREL]",
    "ret",
);

unsafe extern "C" {
    fn fathom_weak_dlsym() -> usize;
    fn fathom_weak_dlvsym() -> usize;
}

const RTLD_DEFAULT: usize = 0;
const RTLD_NEXT: usize = usize::MAX;

/// A symbol by name; 0 when there is none. Constructor and dlopen only: takes the loader's locks.
fn lookup(handle: usize, name: &[u8], version: Option<&[u8]>) -> usize {
    let (dlsym, dlvsym) = (DLSYM.load(Ordering::Relaxed), DLVSYM.load(Ordering::Relaxed));
    // SAFETY: the functions have these signatures in every libc; names are NUL-terminated.
    unsafe {
        match version {
            Some(version) if dlvsym != 0 => {
                let f: extern "C" fn(usize, *const u8, *const u8) -> usize = core::mem::transmute(dlvsym);
                f(handle, name.as_ptr(), version.as_ptr())
            }
            _ if dlsym != 0 => {
                let f: extern "C" fn(usize, *const u8) -> usize = core::mem::transmute(dlsym);
                f(handle, name.as_ptr())
            }
            _ => 0,
        }
    }
}

/// Finds the few libc functions that the runtime uses, where there is a libc.
pub(crate) fn find_libc() {
    // SAFETY: two loads of weak symbols' addresses.
    unsafe {
        DLSYM.store(fathom_weak_dlsym(), Ordering::Relaxed);
        DLVSYM.store(fathom_weak_dlvsym(), Ordering::Relaxed);
    }
    ENVIRON.store(lookup(RTLD_DEFAULT, b"environ\0", None), Ordering::Relaxed);
    let create = lookup(RTLD_DEFAULT, b"pthread_key_create\0", None);
    let set = lookup(RTLD_DEFAULT, b"pthread_setspecific\0", None);
    if create == 0 || set == 0 {
        return;
    }
    /// Keys below this are stored in the thread's descriptor.
    const FIRST_LEVEL: u32 = 32;
    let mut key = 0u32;
    // SAFETY: `pthread_key_create(key, destructor)`.
    let failed = unsafe {
        let create: extern "C" fn(*mut u32, extern "C" fn(usize)) -> i32 = core::mem::transmute(create);
        create(&raw mut key, init::thread_end)
    };
    if failed == 0 && key < FIRST_LEVEL {
        PROCESS.setspecific.store(set, Ordering::Relaxed);
        PROCESS.key.store(key + 1, Ordering::Relaxed);
    }
}

/// Hooks the slots of a plan. Returns how many could not be.
pub(crate) fn apply(plan: &Plan) -> u32 {
    if plan.slots.is_empty() {
        return 0;
    }
    if TABLE.load(Ordering::Relaxed).is_null() {
        match sys::map(CAPACITY * size_of::<Function>(), sys::MAP_NORESERVE) {
            Some(table) => TABLE.store(table.cast(), Ordering::Release),
            None => return plan.slots.len() as u32,
        }
    }
    let first = COUNT.load(Ordering::Relaxed) as usize;
    let room = CAPACITY - first;
    let slots = &plan.slots[..plan.slots.len().min(room)];
    let Some(stubs) = Stubs::make(first, slots.len()) else { return plan.slots.len() as u32 };
    let mut failed = (plan.slots.len() - slots.len()) as u32;
    let mut page = Page::none();
    for (i, slot) in slots.iter().enumerate() {
        let Some(target) = target_of(slot, plan.strings) else {
            failed += 1;
            continue;
        };
        let special = slot.kind != kind::NORMAL || slot.flags & SLOT_RECORD == 0;
        // SAFETY: the table has room for `first + i`, and no stub leads there yet.
        unsafe {
            TABLE.load(Ordering::Relaxed).add(first + i).write(Function {
                target,
                word: (slot.addr << ADDR_SHIFT) | MAGIC,
                special: u8::from(special),
                kind: slot.kind,
                record: slot.flags & SLOT_RECORD,
                reserved: [0; 5],
                gadget: slot.gadget as usize,
            });
        }
        if slot.flags & SLOT_READ_ONLY != 0 && !page.open(slot.got as usize) {
            failed += 1;
            continue;
        }
        // SAFETY: the recorder has found a GOT entry here, writable or made so.
        unsafe { (*(slot.got as *const AtomicUsize)).store(stubs.address(i), Ordering::Release) };
    }
    page.close();
    COUNT.store((first + slots.len()) as u32, Ordering::Relaxed);
    failed
}

/// Where a GOT entry leads, or has to lead once it is bound. `None` when it cannot be known.
fn target_of(slot: &Slot, strings: &'static [u8]) -> Option<usize> {
    // SAFETY: the recorder has found a GOT entry here.
    let now = unsafe { (slot.got as *const usize).read() };
    let own_plt = |at: usize| (slot.lazy_from as usize..slot.lazy_to as usize).contains(&at);
    if slot.flags & SLOT_LAZY == 0 || !own_plt(now) {
        return (now != 0).then_some(now);
    }
    let name = text(strings, slot.name)?;
    let version = if slot.version == u32::MAX { None } else { Some(text(strings, slot.version)?) };
    let found = lookup(RTLD_DEFAULT, name, version);
    // A non-PIE program's own PLT entry can be the function's official address: look behind it.
    let found = if own_plt(found) { lookup(RTLD_NEXT, name, version) } else { found };
    (found != 0 && !own_plt(found)).then_some(found)
}

/// A NUL-terminated string of a plan, with its NUL.
fn text(strings: &'static [u8], at: u32) -> Option<&'static [u8]> {
    let rest = strings.get(at as usize..)?;
    let end = rest.iter().position(|&c| c == 0)?;
    Some(&rest[..=end])
}

/// A read-only page that is writable for a moment.
struct Page(usize);

impl Page {
    fn none() -> Page {
        Page(0)
    }

    fn open(&mut self, address: usize) -> bool {
        let page = address & !0xfff;
        if self.0 == page {
            return true;
        }
        self.close();
        if protect(page, 4096, sys::PROT_READ | sys::PROT_WRITE) {
            self.0 = page;
        }
        self.0 == page
    }

    fn close(&mut self) {
        if self.0 != 0 {
            protect(self.0, 4096, sys::PROT_READ);
            self.0 = 0;
        }
    }
}

pub(crate) fn protect(at: usize, len: usize, prot: usize) -> bool {
    // SAFETY: only for pages that the plan names (RELRO, code) and for our own.
    unsafe { sys::call(sys::MPROTECT, [at, len, prot, 0, 0, 0]) == 0 }
}

/// Code that pushes an index and jumps to the hook, for a run of indexes.
struct Stubs(usize);

impl Stubs {
    const SIZE: usize = 16;

    fn make(first: usize, count: usize) -> Option<Stubs> {
        let len = (16 + count * Self::SIZE).next_multiple_of(4096);
        let at = sys::map(len, 0)? as usize;
        // SAFETY: our own fresh memory. The first word is the hook's address, which each stub jumps through.
        unsafe {
            (at as *mut usize).write(asm::fathom_plt as *const () as usize);
            for i in 0..count {
                let stub = at + 16 + i * Self::SIZE;
                let mut code = [0xccu8; Self::SIZE];
                code[0] = 0x68; // push imm32
                code[1..5].copy_from_slice(&((first + i) as u32).to_le_bytes());
                code[5..7].copy_from_slice(&[0xff, 0x25]); // jmp [rip + disp32]
                code[7..11].copy_from_slice(&((at as isize - (stub + 11) as isize) as i32).to_le_bytes());
                (stub as *mut [u8; Self::SIZE]).write(code);
            }
        }
        protect(at, len, sys::PROT_READ | sys::PROT_EXEC).then_some(Stubs(at + 16))
    }

    fn address(&self, i: usize) -> usize {
        self.0 + i * Self::SIZE
    }
}

/// The argument registers of a call, in order; changed values take effect.
pub(crate) type Registers = [usize; 6];

/// Where a library call goes on.
#[repr(C)]
pub(crate) struct Way {
    /// The function.
    target: usize,
    /// A return instruction to return through; 0 for the plain way.
    gadget: usize,
}

/// A library call that the fast path did not take.
pub(crate) extern "C" fn slow_plt(registers: &mut Registers, index: usize, slot: usize) -> Way {
    // SAFETY: stubs push indexes of filled entries.
    let f = unsafe { &*TABLE.load(Ordering::Acquire).add(index) };
    if matches!(f.kind, kind::EXEC..=kind::EXECLE) {
        pass_environment(f.kind, registers, slot);
    }
    let plain = Way { target: f.target, gadget: 0 };
    let Some(block) = block_of(slot) else { return plain };
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    let Some(_busy) = Busy::enter(unsafe { &*block }) else {
        b.lost += 2 * u64::from(f.record);
        return plain;
    };
    if matches!(f.kind, kind::DLOPEN | kind::DLCLOSE) && b.dlopen != 0 && slot < b.dlopen {
        // A dlopen inside a dlopen, or a dlclose in a constructor: tell what is known up to now.
        init::opened(b);
    }
    slow::prepare(b, slot);
    match f.kind {
        kind::NORMAL | kind::DLCLOSE | kind::EXEC..=kind::EXECLE if f.record != 0 => {
            slow::enter(b, slot, f.word & !0xff)
        }
        kind::NORMAL | kind::DLCLOSE | kind::EXEC..=kind::EXECLE => {}
        kind::LANDING => slow::reap(b, slot),
        kind::CALLER | kind::DLOPEN if f.gadget != 0 => {
            if call_back(b, f, slot) {
                return Way { target: f.target, gadget: f.gadget };
            }
        }
        _ => returns_twice(b, f, registers, slot),
    }
    plain
}

/// Notes a call that returns to [`after`]. False when there is no room for its frame.
fn call_back(b: &mut state::Block, f: &Function, slot: usize) -> bool {
    slow::reap(b, slot);
    // Eight bytes below the return address is where the address of `fathom_after` will stand.
    let Some(w) = slow::push(b, (slot - 8) | CYG, AFTER, f.word & !0xff) else { return false };
    if f.record != 0 {
        segment::append(b, w);
    } else {
        // SAFETY: the frame was just pushed.
        unsafe { (*b.top).word = 0 };
    }
    if f.kind == kind::DLOPEN {
        b.dlopen = slot;
        b.dlopen_time = segment::now();
    }
    true
}

/// Stands in a frame where `-finstrument-functions` keeps a function's address.
const AFTER: usize = 1;

/// A function that was called by [`call_back`] has returned; `slot` is where its caller's return address is.
pub(crate) extern "C" fn after(slot: usize) {
    let block = state::current();
    if block.is_null() {
        return;
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    let Some(_busy) = Busy::enter(unsafe { &*block }) else {
        b.lost += 1;
        return;
    };
    slow::prepare(b, slot - 8);
    let mut at = b.top;
    while at >= b.base {
        // SAFETY: between base and top.
        let frame = unsafe { &*at };
        if frame.slot == (slot - 8) | CYG && frame.orig == AFTER {
            slow::end(b, at, slot - 8);
            break;
        }
        at = at.wrapping_sub(1);
    }
    if b.dlopen != 0 {
        init::opened(b);
    }
}

/// Kinds whose return address must not be touched: the exit is recorded at once.
fn returns_twice(b: &mut state::Block, f: &Function, registers: &Registers, slot: usize) {
    slow::reap(b, slot);
    if f.record != 0 {
        let frame = b.top.wrapping_add(1);
        let w = slow::with_depth(f.word, slow::depth_of(b, frame));
        segment::append(b, w);
        segment::append(b, (w & !TYPE_MASK) | EXIT);
    }
    match f.kind {
        kind::VFORK => segment::begin_vfork(b),
        kind::CONTEXT => b.contexts = true,
        kind::LONGJMP => {
            if let Some(to) = jump_target(registers[0]) {
                slow::unwind_to(b, to);
            }
        }
        kind::DLOPEN => {
            b.dlopen = slot;
            b.dlopen_time = segment::now();
            b.limit = core::ptr::null_mut();
        }
        _ => {}
    }
}

/// The stack pointer in glibc's `jmp_buf`: word 6, rotated and mixed with the thread's pointer guard.
fn jump_target(buffer: usize) -> Option<usize> {
    let mangled = sys::peek(buffer + 6 * 8)?;
    let guard: usize;
    // SAFETY: glibc keeps the pointer guard at fs:0x30.
    unsafe { core::arch::asm!("mov {}, qword ptr fs:[0x30]", out(reg) guard, options(nostack, readonly)) };
    Some(mangled.rotate_right(0x11) ^ guard)
}

/// Our two variables as the constructor found them, each with its NUL.
struct Environment {
    preload: init::Text<4096>,
    dir: init::Text<1024>,
}

static mut ENVIRONMENT: Environment = Environment { preload: init::Text::new(), dir: init::Text::new() };

/// Copies the variables that programs started with an environment of their own need.
pub(crate) fn keep_environment(envp: *const *const u8) {
    // SAFETY: the constructor runs alone; `envp` is the process's environment.
    unsafe {
        let kept = &mut *(&raw mut ENVIRONMENT);
        for i in 0.. {
            let entry = *envp.add(i);
            if entry.is_null() {
                return;
            }
            let entry = c_string(entry);
            if variable(entry, b"LD_PRELOAD").is_some() {
                kept.preload.push(entry);
            } else if variable(entry, ENV_DIR.as_bytes()).is_some() {
                kept.dir.push(entry);
            }
        }
    }
}

/// Makes sure that the program about to be started will be traced too.
fn pass_environment(kind: u8, registers: &mut Registers, slot: usize) {
    match kind {
        kind::EXEC => {
            let environ = ENVIRON.load(Ordering::Relaxed) as *mut usize;
            if !environ.is_null() {
                // SAFETY: libc's variable; programs change it in the same way.
                unsafe {
                    if let Some(new) = with_ours(*environ) {
                        *environ = new;
                    }
                }
            }
        }
        kind::EXEC_ENV3 => replace(&mut registers[2]),
        kind::EXEC_ENV4 => replace(&mut registers[3]),
        kind::SPAWN_ENV6 => replace(&mut registers[5]),
        _ => {
            // execle(path, arg, ..., NULL, envp): from the second register on, then the caller's stack.
            let stack = (slot + 8) as *mut usize;
            let mut ended = false;
            for i in 1.. {
                let argument = match registers.get_mut(i) {
                    Some(register) => register,
                    // SAFETY: the caller has passed the list up to its NULL and one more.
                    None => unsafe { &mut *stack.add(i - 6) },
                };
                if ended {
                    replace(argument);
                    return;
                }
                ended = *argument == 0;
            }
        }
    }
}

fn replace(envp: &mut usize) {
    if let Some(new) = with_ours(*envp) {
        *envp = new;
    }
}

/// A copy of an environment with our variables in it; `None` when they are there already.
fn with_ours(envp: usize) -> Option<usize> {
    let envp = envp as *const *const u8;
    // SAFETY: written by the constructor only.
    let kept = unsafe { &*(&raw const ENVIRONMENT) };
    let (mut count, mut has_dir, mut theirs) = (0, false, None);
    // SAFETY: the program passes it to exec: an array of strings that ends with null, or null.
    unsafe {
        while !envp.is_null() && !(*envp.add(count)).is_null() {
            let entry = c_string(*envp.add(count));
            has_dir |= variable(entry, ENV_DIR.as_bytes()).is_some();
            theirs = variable(entry, b"LD_PRELOAD").or(theirs);
            count += 1;
        }
    }
    let ours = kept.preload.with_nul();
    let our_value = variable(&ours[..ours.len() - 1], b"LD_PRELOAD")?;
    let our_library = our_value.split(|&c| c == b':').next()?;
    if has_dir && theirs.is_some_and(|v| v.split(|&c| c == b':' || c == b' ').any(|p| p == our_library)) {
        return None;
    }
    let theirs = theirs.unwrap_or_default();
    let len = (count + 3) * 8 + ours.len() + theirs.len() + 2;
    let memory = sys::map(len.next_multiple_of(4096), 0)?;
    let list = memory.cast::<*const u8>();
    let preload = memory.wrapping_add((count + 3) * 8);
    let mut n = 0;
    // SAFETY: the mapping has room for count + 3 pointers and the joined string.
    unsafe {
        for i in 0..count {
            let entry = *envp.add(i);
            let bytes = c_string(entry);
            if variable(bytes, b"LD_PRELOAD").is_none() && variable(bytes, ENV_DIR.as_bytes()).is_none() {
                *list.add(n) = entry;
                n += 1;
            }
        }
        *list.add(n) = kept.dir.with_nul().as_ptr();
        *list.add(n + 1) = preload;
        let head = b"LD_PRELOAD=";
        let mut at = preload;
        for part in [head.as_slice(), our_library, if theirs.is_empty() { b"" } else { b":" }, theirs] {
            core::ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
            at = at.add(part.len());
        }
    }
    Some(memory as usize)
}
