//! Library calls: GOT entries are made to lead to call hooks; and the environment that started programs need.

use crate::calls::{Function, Registers, Stubs};
use crate::init::{Plan, c_string, variable};
use crate::state::PROCESS;
use crate::{init, segment, sys};
use core::sync::atomic::{AtomicUsize, Ordering};
use fathom_abi::ENV_DIR;
use fathom_abi::arena::{CAUSE_FUNCTION, CAUSE_MEMORY, CAUSE_PAGES};
use fathom_abi::plan::{SLOT_LAZY, SLOT_READ_ONLY, SLOT_RECORD, Slot, kind};
use fathom_abi::record::{ADDR_SHIFT, MAGIC};

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
    let all = plan.slots.len();
    let len = Stubs::len(all);
    let Some(memory) = (if all == 0 { None } else { sys::map(len, 0) }) else {
        return segment::because(CAUSE_MEMORY, all as u32);
    };
    let stubs = Stubs::begin(memory as usize, len);
    // The stubs have to be executable before anybody is led to them, so the slots are changed in a second round. Which
    // slot has which stub follows from their order.
    let first = stubs.next_stub();
    let Some(made) = add_all(stubs, plan) else { return segment::because(CAUSE_PAGES, all as u32) };
    let mut page = Page::none();
    let mut stub = first;
    let mut hooked = 0;
    for slot in plan.slots.iter().filter(|slot| target_of(slot, plan.strings).is_some()).take(made) {
        if slot.flags & SLOT_READ_ONLY == 0 || page.open(slot.got as usize) {
            // SAFETY: the recorder has found a GOT entry here, writable or made so.
            unsafe { (*(slot.got as *const AtomicUsize)).store(stub, Ordering::Release) };
            hooked += 1;
        }
        stub += Stubs::SIZE;
    }
    page.close();
    segment::because(CAUSE_FUNCTION, (all - hooked) as u32)
}

/// Makes the stubs of all slots whose functions are known, in order; how many.
fn add_all(mut stubs: Stubs, plan: &Plan) -> Option<usize> {
    let mut made = 0;
    for slot in plan.slots {
        let Some(target) = target_of(slot, plan.strings) else { continue };
        let special = slot.kind != kind::NORMAL || slot.flags & SLOT_RECORD == 0;
        let function = Function {
            target,
            word: (slot.addr << ADDR_SHIFT) | MAGIC,
            special: u8::from(special),
            kind: slot.kind,
            record: slot.flags & SLOT_RECORD,
            filter: 0.into(),
            reserved: [0; 4],
            gadget: slot.gadget as usize,
        };
        if stubs.add(function, false).is_none() {
            break;
        }
        made += 1;
    }
    stubs.finish().then_some(made)
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
        let kept = &raw mut ENVIRONMENT;
        for i in 0.. {
            let entry = *envp.add(i);
            if entry.is_null() {
                return;
            }
            let entry = c_string(entry);
            if variable(entry, b"LD_PRELOAD").is_some() {
                (*kept).preload.push(entry);
            } else if variable(entry, ENV_DIR.as_bytes()).is_some() {
                (*kept).dir.push(entry);
            }
        }
    }
}

/// Makes sure that the program about to be started will be traced too.
pub(crate) fn pass_environment(kind: u8, registers: &mut Registers, slot: usize) {
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
    let kept: &Environment = unsafe {
        let kept = &raw const ENVIRONMENT;
        &*kept
    };
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
