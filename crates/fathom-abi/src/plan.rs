//! What the recorder wants done in one process image. Absolute addresses: a plan fits one address space only.
//!
//! ```text
//!  Header
//!  [Slot; slots]      function pointers (GOT entries) to replace
//!  [Site; sites]      function entries to patch
//!  strings            NUL-terminated
//! ```

/// "fplan\0\0\1" in memory order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"fplan\0\0\x01");

/// Start of a plan file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`crate::VERSION`].
    pub version: u32,
    /// How many slots.
    pub slots: u32,
    /// How many sites.
    pub sites: u32,
    /// Bytes of strings.
    pub strings: u32,
}

/// What is special about a library function. The hook acts on this instead of on names.
pub mod kind {
    /// Nothing: entry and exit are recorded.
    pub const NORMAL: u8 = 0;
    /// Its return must not be touched (it returns twice, or looks at its caller): the exit is recorded at once.
    pub const PAIR: u8 = 1;
    /// vfork: as `PAIR`, and until the parent runs again records belong to the child.
    pub const VFORK: u8 = 2;
    /// longjmp: as `PAIR`, and the frames that it leaves end now.
    pub const LONGJMP: u8 = 3;
    /// A step of exception handling after which frames below the caller are gone: they end now. Not recorded.
    pub const LANDING: u8 = 4;
    /// dlopen: as `CALLER`, and the recorder is told about the new modules afterwards.
    pub const DLOPEN: u8 = 5;
    /// dlclose: the recorder must know the modules of an earlier dlopen before they go.
    pub const DLCLOSE: u8 = 6;
    /// swapcontext and its like: as `PAIR`, and the thread has more than one stack from now on.
    pub const CONTEXT: u8 = 7;
    /// The exec family with the environment in the variable `environ`.
    pub const EXEC: u8 = 8;
    /// execve, execvpe, fexecve: the environment is the third argument.
    pub const EXEC_ENV3: u8 = 9;
    /// execveat: the environment is the fourth argument.
    pub const EXEC_ENV4: u8 = 10;
    /// posix_spawn, posix_spawnp: the environment is the sixth argument.
    pub const SPAWN_ENV6: u8 = 11;
    /// execle: the environment follows the argument list's NULL.
    pub const EXECLE: u8 = 12;
    /// It looks at its return address to know which module calls (dlsym, dlmopen): it returns through
    /// [`super::Slot::gadget`], or, where the module has none, is treated as `PAIR`.
    pub const CALLER: u8 = 13;
}

/// The call is recorded (otherwise the slot is hooked for its `kind` only).
pub const SLOT_RECORD: u8 = 1;
/// The page of the slot is read-only and has to be made writable for a moment.
pub const SLOT_READ_ONLY: u8 = 2;
/// The slot belongs to lazy binding: while it points into `lazy_from..lazy_to` it is not resolved yet.
pub const SLOT_LAZY: u8 = 4;

/// One function pointer in a module's GOT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Address of the pointer.
    pub got: u64,
    /// Address that the call is recorded under.
    pub addr: u64,
    /// Start of the module's PLT code.
    pub lazy_from: u64,
    /// End of the module's PLT code.
    pub lazy_to: u64,
    /// Offset of the function's name in the strings.
    pub name: u32,
    /// Offset of its version's name in the strings, `u32::MAX` when it has none.
    pub version: u32,
    /// Address of a return instruction in the module that no unwind information covers; 0 when there is none.
    pub gadget: u64,
    /// See [`kind`].
    pub kind: u8,
    /// `SLOT_` bits.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// One function entry that can be patched.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Address of its first byte.
    pub addr: u64,
    /// The bytes that must stand there, in memory order; zero padded.
    pub expect: [u8; 8],
    /// How many of them. The function goes on behind them.
    pub len: u8,
    /// 1 when they call the entry hook (`-mfentry`), 0 when they are NOPs.
    pub calls: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(size_of::<Slot>() == 56);
const _: () = assert!(size_of::<Site>() == 24);
