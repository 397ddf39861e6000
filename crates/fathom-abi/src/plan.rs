//! What the recorder wants done in one process image. Absolute addresses: a plan fits one address space only.
//!
//! ```text
//!  Header
//!  [Slot; slots]      function pointers (GOT entries) to replace
//!  [Site; sites]      function entries to patch
//!  [Range; ranges]    functions that something is said about, ascending by address
//!  [Rule; rules]      what is said
//!  [Fetch; fetches]   values to record
//!  [Probe; probes]    static probes to switch on, ascending by address
//!  [Operand; operands] where their arguments are
//!  [Text; texts]      code that is changed, ascending by address
//!  [Detour; detours]  functions to patch that were not compiled for it, ascending by address
//!  [Fixup; fixups]    what depends on where their code is put
//!  [Sled; sleds]      ends of functions to patch that were compiled for it, ascending by address
//!  code               the instructions that their patches overwrite, for any address
//!  strings            NUL-terminated
//! ```
//!
//! Ranges, rules and fetches replace what an earlier plan said about functions; slots, sites, detours, sleds and probes
//! add to it. A file `rules-<session>-<number>` is a plan without those that the recorder makes while the program runs.

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
    /// How many ranges.
    pub ranges: u32,
    /// How many rules.
    pub rules: u32,
    /// How many fetches.
    pub fetches: u32,
    /// `MODE_` bits. Whether [`MODE_FILTER`] is among them is decided by the first plan of a process image.
    pub mode: u32,
    /// Levels that are recorded.
    pub depth: u32,
    /// Frames of the shadow stack, 0 for as many as there is room for.
    pub max_stack: u32,
    /// Bytes that a function must have to be recorded.
    pub size: u32,
    /// Signals with [`SIGNAL_ON`] and its like: how many of `signals` are used.
    pub signal_count: u32,
    /// Raw clock units that a call must take to be recorded.
    pub time: u64,
    /// Address of a variable to watch, 0 for none.
    pub watch: u64,
    /// Its size in bytes, 1 to 8.
    pub watch_size: u64,
    /// Number and action of signals.
    pub signals: [[u8; 2]; 8],
    /// How many probes.
    pub probes: u32,
    /// How many operands.
    pub operands: u32,
    /// How many texts.
    pub texts: u32,
    /// How many detours.
    pub detours: u32,
    /// How many fixups.
    pub fixups: u32,
    /// Bytes of code.
    pub code: u32,
    /// How many sleds.
    pub sleds: u32,
    /// Zero.
    pub reserved: u32,
}

/// Calls are recorded by filters and triggers. Without it the hooks do nothing but record.
pub const MODE_FILTER: u32 = 1;
/// There are functions with [`crate::decide::FILTER_IN`].
pub const MODE_OPT_IN: u32 = 2;
/// There are functions with [`crate::decide::CALLER`]: only they make calls worth recording.
pub const MODE_CALLERS: u32 = 4;
/// Recording is switched off at first.
pub const MODE_OFF: u32 = 8;
/// Some rule changes the size limit: the size of every function counts.
pub const MODE_SIZES: u32 = 16;
/// Entries can wait until it is known how long the call took: there is a time limit somewhere, or a caller filter.
pub const MODE_HOLD: u32 = 32;
/// The number of the processor is recorded when it changes.
pub const MODE_WATCH_CPU: u32 = 64;
/// Return addresses are left alone; a call is taken to end when the next one begins further out.
pub const MODE_ESTIMATE: u32 = 128;
/// The plan says whether recording is on (`MODE_OFF`); without it that stays as it is.
pub const MODE_SWITCH: u32 = 256;
/// Static probes may be switched on, by this plan or a later one: they need SIGILL.
pub const MODE_PROBES: u32 = 512;

/// A signal switches recording on.
pub const SIGNAL_ON: u8 = 1;
/// A signal switches recording off.
pub const SIGNAL_OFF: u8 = 2;
/// A signal ends the recording.
pub const SIGNAL_FINISH: u8 = 3;

/// No rule.
pub const NO_RULE: u32 = u32::MAX;

/// One function.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Length in bytes of what an address in the function can be taken from.
    pub len: u32,
    /// Size that filters compare.
    pub size: u32,
    /// Index of its rule, or [`NO_RULE`].
    pub rule: u32,
    /// `RANGE_` bits.
    pub flags: u32,
}

/// Calls are not recorded, whatever the state: nothing needs to be looked up.
pub const RANGE_NEVER: u32 = 1;
/// The rule matters.
pub const RANGE_RULE: u32 = 2;
/// The rule is nothing but [`crate::decide::FILTER_OUT`].
pub const RANGE_OUT: u32 = 4;
/// The rule is nothing but [`crate::decide::FILTER_IN`], and there are no limits of depth that it would reset: inside
/// of another one it changes nothing.
pub const RANGE_IN: u32 = 8;

/// What to do at the calls of a function.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Rule {
    /// Its part in the decision. `time` is in raw clock units.
    pub decide: crate::decide::Rule,
    /// Index of the first fetch; those of the arguments come first.
    pub fetch: u32,
    /// How many arguments.
    pub args: u16,
    /// How many return values (0 or 1).
    pub retvals: u16,
    /// `READ_` bits.
    pub reads: u32,
    /// When this is not zero, [`crate::decide::FILTER_IN`] and `FILTER_OUT` count only if the condition holds.
    pub condition: u8,
    /// Integer argument of the condition, from 0.
    pub condition_arg: u8,
    /// Its size in bytes.
    pub condition_size: u8,
    /// Whether it is compared as a signed number.
    pub condition_signed: u8,
    /// What it is compared with.
    pub condition_value: u64,
}

/// Memory use from /proc/self/statm.
pub const READ_STATM: u32 = 1;
/// Page faults.
pub const READ_PAGE_FAULT: u32 = 2;
/// Cycles and instructions.
pub const READ_CYCLES: u32 = 4;
/// Cache references and misses.
pub const READ_CACHE: u32 = 8;
/// Branches and mispredictions.
pub const READ_BRANCH: u32 = 16;

/// Equal.
pub const CONDITION_EQ: u8 = 1;
/// Not equal.
pub const CONDITION_NE: u8 = 2;
/// Greater.
pub const CONDITION_GT: u8 = 3;
/// Greater or equal.
pub const CONDITION_GE: u8 = 4;
/// Less.
pub const CONDITION_LT: u8 = 5;
/// Less or equal.
pub const CONDITION_LE: u8 = 6;
/// Any common bit.
pub const CONDITION_AND: u8 = 7;

/// One value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Fetch {
    /// `FETCH_`.
    pub kind: u8,
    /// Parts in use, up to 3.
    pub parts: u8,
    /// Bytes to record, for all but texts.
    pub size: u16,
    /// Bytes of an element for `FETCH_SEQUENCE`, distance from the pointer for `FETCH_MEMORY`.
    pub number: i32,
    /// Where the parts come from.
    pub part: [Part; 3],
    /// With a third part, of a text or a sequence: the value is absent when that part is this.
    pub absent: u64,
}

/// The parts' bytes one after the other, then zeros up to the size.
pub const FETCH_BYTES: u8 = 0;
/// Length (16 bits) and text up to its NUL, at the address that the first part says.
pub const FETCH_TEXT: u8 = 1;
/// Length and text at the address that the first part says, as long as the second says.
pub const FETCH_TEXT_LENGTH: u8 = 2;
/// Bytes at a distance from the address that the first part says.
pub const FETCH_MEMORY: u8 = 3;
/// Number of elements (64 bits) as the second part says, and as many as fit into the size, from the address that the
/// first part says, then zeros.
pub const FETCH_SEQUENCE: u8 = 4;

/// Number of elements of a sequence that is absent.
pub const SEQUENCE_ABSENT: u64 = u64::MAX;
/// Number of elements of a sequence that cannot be read.
pub const SEQUENCE_UNREADABLE: u64 = u64::MAX - 1;

/// Where a piece of a value is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// `FROM_`.
    pub from: u8,
    /// Bytes.
    pub size: u8,
    /// Register or stack word, by `from`.
    pub index: u16,
    /// With `FROM_LOAD`: bytes from the address.
    pub offset: i32,
}

/// An integer argument register: rdi, rsi, rdx, rcx, r8, r9.
pub const FROM_INTEGER: u8 = 0;
/// A vector register xmm0 to xmm15.
pub const FROM_VECTOR: u8 = 1;
/// A word of the stack in front of the return address, from 1; more than 8 bytes are taken from the next ones.
pub const FROM_STACK: u8 = 2;
/// rax (0), rdx (1) or rcx (2) behind a return.
pub const FROM_RESULT: u8 = 3;
/// st(0) (0) or st(1) (1) behind a return.
pub const FROM_X87: u8 = 4;
/// The value is in memory: this bit is added to those above, and `offset` counts.
pub const FROM_LOAD: u8 = 0x80;

/// The most bytes of a text that are recorded; a longer one ends in three dots.
pub const TEXT_LIMIT: usize = 98;
/// The most bytes of all values of a call.
pub const PAYLOAD_LIMIT: usize = 1020;

const _: () = assert!(size_of::<Range>() == 24);
const _: () = assert!(size_of::<Rule>() == 48);
const _: () = assert!(size_of::<Fetch>() == 40);

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
    /// The process may end in it: what filters still hold back is written if it is long enough.
    pub const FLUSH: u8 = 14;
    /// signal and its like: the first argument is a signal that gets another handler, or is blocked.
    pub const SIGNAL: u8 = 15;
    /// sigaction: as `SIGNAL`, and the second argument says what is blocked while its handler runs.
    pub const SIGACTION: u8 = 16;
    /// sigsuspend: the first argument is a set of signals to block.
    pub const SIGNAL_SET1: u8 = 17;
    /// sigprocmask and its like: the second argument is a set of signals.
    pub const SIGNAL_SET2: u8 = 18;
    /// ppoll: the fourth argument is a set of signals to block.
    pub const SIGNAL_SET4: u8 = 19;
    /// epoll_pwait: the fifth argument is a set of signals to block.
    pub const SIGNAL_SET5: u8 = 20;
    /// pselect: the sixth argument is a set of signals to block.
    pub const SIGNAL_SET6: u8 = 21;
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
    /// 1 when the site is to become a NOP instead: its function is never recorded.
    pub silence: u8,
    /// 1 when an earlier plan may have patched it: other bytes than those expected are no failure.
    pub again: u8,
    /// Zero.
    pub reserved: [u8; 4],
}

/// A mapping of code that sites or detours lie in. It can be read and executed, and is left so.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
}

/// A function that was not compiled to be patched. The bytes at its beginning become a jump to a stub; the instructions
/// that were there are run from a copy.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Detour {
    /// The function's first byte: what its calls are recorded under.
    pub addr: u64,
    /// The first byte that is overwritten. There is a jump of [`DETOUR_JUMP`] bytes at it, or with an island a hop of
    /// [`DETOUR_HOP`] bytes to that.
    pub at: u64,
    /// Address of padding that takes the jump where the function is too short for it; 0 when it is not needed.
    pub island: u64,
    /// Offset of its instructions in the plan's code.
    pub code: u32,
    /// Index of their first fixup.
    pub fixup: u32,
    /// The bytes that must stand at `at`.
    pub expect: [u8; 20],
    /// The bytes that must stand at the island.
    pub island_expect: [u8; DETOUR_JUMP],
    /// How many bytes must stand at `at`.
    pub expect_len: u8,
    /// How many bytes of code there are.
    pub code_len: u8,
    /// How many fixups.
    pub fixups: u8,
    /// 1 when an earlier plan may have patched it: other bytes than those expected are no failure.
    pub again: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Bytes of a jump with a distance of 32 bits.
pub const DETOUR_JUMP: usize = 5;
/// Bytes of a jump with a distance of 8 bits.
pub const DETOUR_HOP: usize = 2;

/// A place in the code of a detour that depends on where the code is. Little-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixup {
    /// What it leads to.
    pub to: u64,
    /// Offset in the detour's code.
    pub at: u8,
    /// `FIXUP_`.
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// 32 bits: the distance of `to` from behind these four bytes.
pub const FIXUP_DISTANCE: u8 = 0;
/// 64 bits: `to` itself.
pub const FIXUP_ADDRESS: u8 = 1;

/// One end of a function compiled with `-fxray-instrument`. As the compiler leaves it it does nothing: a jump over a NOP, or a
/// return in front of one ([`SLED_JUMP_CODE`], [`SLED_EXIT_CODE`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sled {
    /// Its first address.
    pub addr: u64,
    /// The function's first byte: what its calls are recorded under.
    pub function: u64,
    /// `SLED_`.
    pub kind: u8,
    /// 1 when an earlier plan may have patched it: other bytes than those expected are no failure.
    pub again: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// The function begins.
pub const SLED_ENTRY: u8 = 0;
/// It returns.
pub const SLED_EXIT: u8 = 1;
/// It jumps to another function in place of a return.
pub const SLED_TAIL: u8 = 2;

/// Bytes of a sled.
pub const SLED: usize = 11;
/// What a compiler makes of an entry, and of what is in front of a jump to another function: a jump over a NOP.
pub const SLED_JUMP_CODE: [u8; SLED] = [0xeb, 0x09, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 2, 0, 0];
/// What it makes of an exit: a return, and a NOP.
pub const SLED_EXIT_CODE: [u8; SLED] = [0xc3, 0x2e, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 2, 0, 0];

/// A static probe: a NOP of one byte.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its address.
    pub addr: u64,
    /// Address of a 16-bit counter that has to be above zero for the program to work out the arguments; 0 for none.
    pub semaphore: u64,
    /// Id of the event that it is recorded as.
    pub id: u32,
    /// Index of its first operand.
    pub first: u32,
    /// How many operands, up to [`PROBE_ARGS`].
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

/// The most arguments of a probe.
pub const PROBE_ARGS: usize = 64;

/// Where an argument of a probe is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operand {
    /// The constant, or what is added to the registers of an address.
    pub number: u64,
    /// `OPERAND_`.
    pub kind: u8,
    /// As it stands in the record, see [`crate::record::PROBE_SIGNED`].
    pub shape: u8,
    /// Number of the register, or of the base of an address; [`NO_REGISTER`] for none.
    pub base: u8,
    /// Register that is added `scale` times to an address, [`NO_REGISTER`] for none.
    pub index: u8,
    /// 1, 2, 4 or 8.
    pub scale: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// It is not known where the argument is.
pub const OPERAND_UNKNOWN: u8 = 0;
/// In a general register, by the number that instructions have for it: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
pub const OPERAND_REGISTER: u8 = 1;
/// In the second byte of rax, rcx, rdx or rbx.
pub const OPERAND_SECOND_BYTE: u8 = 2;
/// In the low bytes of xmm0 to xmm15.
pub const OPERAND_VECTOR: u8 = 3;
/// In memory.
pub const OPERAND_MEMORY: u8 = 4;
/// It is the number.
pub const OPERAND_CONSTANT: u8 = 5;
/// No register.
pub const NO_REGISTER: u8 = u8::MAX;

const _: () = assert!(size_of::<Header>() == 128);
const _: () = assert!(size_of::<Text>() == 16);
const _: () = assert!(size_of::<Detour>() == 64);
const _: () = assert!(size_of::<Fixup>() == 16);
const _: () = assert!(size_of::<Sled>() == 24);
const _: () = assert!(size_of::<Probe>() == 32);
const _: () = assert!(size_of::<Operand>() == 16);
const _: () = assert!(size_of::<Slot>() == 56);
const _: () = assert!(size_of::<Site>() == 24);
