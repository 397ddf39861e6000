//! The hooks themselves: what the compiler's calls, the patched sites, the PLT and the replaced return addresses
//! arrive at.
//!
//! Each fast path is straight code that preserves every register it does not own (a caller compiled with
//! interprocedural register allocation may count on any of them), stores one frame and one record, and leaves for
//! Rust only when something is unusual. Layout constants are those of `state.rs`, where they are pinned.
//!
//! # Why a signal handler may interrupt anything here
//!
//! Handlers run hooks on the same shadow stack and the same segment, and are balanced: when one returns, `TOP` is
//! what it was. So:
//! - a frame is reserved (`TOP` stored) before it is filled, and an unfilled frame has `SLOT = 0`, which sends nested
//!   hooks to the slow path, where it is left alone. `SLOT` is stored last, and cleared before `TOP` goes down;
//! - a record is reserved by one unlocked `xadd`, which a handler of the same thread cannot split. The clock is read
//!   afterwards, so a handler's records may lie behind an older one with a younger time; the recorder repairs that.
//!
//! # Two ways in, two ways out
//!
//! A compiler's call of `mcount` or `__fentry__` has its return address replaced by that of [`fathom_return`]. The
//! processor predicts returns from the calls it has seen, so each such return costs a misprediction, about as much
//! as reading the clock. Where control arrives by a jump instead (patched entries, the PLT), the hook **calls** the
//! function, and that call's own return address is the replacement: every return is predicted.
//!
//! The call is indirect, and one for all functions would have its target predicted from the branches before it: in a large
//! program these are new ones time and again, and what is predicted then is the function of the call before. So
//! there are many such calls, the *lanes*, and each function has its own, shared with others only in programs of many
//! functions: the last target is the right one. A lane is static code, because unwinders find their information by address:
//!
//! ```text
//! stub:  push index              lane:  call enter     the common way in; carry: leave the function alone
//!        jmp [lane]                     call [target]
//!                                       jmp exit       the common way out
//! ```
//!
//! # Unwinding
//!
//! The pages of return code carry a DWARF expression that finds the original return address in the shadow
//! stacks: see `docs/unwinding.md`. Nothing is registered and nothing is interposed for it.

use crate::asm_filter;
use crate::macros::{
    begin_function, call_function, end_function, lanes, leave_alone, pop_scratch, restore_vectors,
    return_rules, save_vectors, store_record, to_lane,
};
use crate::rules::FILTERING;
use core::arch::{global_asm, naked_asm};
use core::sync::atomic::Ordering;

/// The body of an entry hook. `$slot` leaves the address of the function's return address in r11; the hook's own
/// return address is an address inside the function.
macro_rules! entry_hook {
    ($slot:literal, $filter:literal) => {
        concat!(
            ".cfi_startproc\n",
            "cmp byte ptr [rip + {FILTERING}], 0\n",
            "jne ",
            $filter,
            "\n",
            "push rax\n.cfi_adjust_cfa_offset 8\n",
            "push rcx\n.cfi_adjust_cfa_offset 8\n",
            "push rdx\n.cfi_adjust_cfa_offset 8\n",
            "push r10\n.cfi_adjust_cfa_offset 8\n",
            "push r11\n.cfi_adjust_cfa_offset 8\n",
            $slot,
            "\n",
            "mov rcx, qword ptr [rip + fathom_tls@gottpoff]\n",
            "mov rcx, qword ptr fs:[rcx]\n",
            "test rcx, rcx\n",
            "jz 90f\n",
            "mov rax, qword ptr [rcx]\n",
            "mov rdx, qword ptr [r11]\n",
            "cmp qword ptr [rax], r11\n",
            "jbe 90f\n",
            "lea r10, [rip + fathom_returns]\n",
            "sub r10, rdx\n",
            "cmp r10, -{RETURNS}\n",
            "ja 90f\n",
            "cmp rax, qword ptr [rcx + {LIMIT}]\n",
            "jae 90f\n",
            "add rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "mov qword ptr [rax + 8], rdx\n",
            "mov rdx, qword ptr [rsp + 40]\n",
            "lea r10, [rax + rax - 2 * {BIAS}]\n",
            "shl rdx, 16\n",
            "and r10d, 0xffc0\n",
            "lea r10, [rdx + r10 + 0x28]\n",
            "mov qword ptr [rax + 16], r10\n",
            "mov qword ptr [rax], r11\n",
            "lea rax, [rip + fathom_return]\n",
            "mov qword ptr [r11], rax\n",
            store_record!("91f"),
            "80:\n",
            ".cfi_remember_state\n",
            "pop r11\n.cfi_adjust_cfa_offset -8\n",
            "pop r10\n.cfi_adjust_cfa_offset -8\n",
            "pop rdx\n.cfi_adjust_cfa_offset -8\n",
            "pop rcx\n.cfi_adjust_cfa_offset -8\n",
            "pop rax\n.cfi_adjust_cfa_offset -8\n",
            "ret\n",
            ".cfi_restore_state\n",
            "90: mov r10, qword ptr [rsp + 40]\n",
            "call fathom_to_slow_entry\n",
            "jmp 80b\n",
            "91: call fathom_to_slow_record\n",
            "jmp 80b\n",
            ".cfi_endproc\n",
        )
    };
}

/// `-pg -mfentry`: called before the function's first instruction.
///
/// # Safety
/// For compiler-made calls only.
#[unsafe(naked)]
#[unsafe(export_name = "__fentry__")]
pub(crate) unsafe extern "C" fn fentry() {
    naked_asm!(
        entry_hook!("lea r11, [rsp + 48]", "fathom_filter_fentry"),
        FILTERING = sym crate::rules::FILTERING,
        RETURNS = const RETURNS,
        LIMIT = const crate::state::LIMIT_OFFSET,
        BIAS = const crate::state::SHADOW_BIAS,
        BUF = const crate::state::BUF_OFFSET,
    )
}

/// `-pg`: called after the function has set up rbp, so its return address is above the saved one.
///
/// # Safety
/// For compiler-made calls only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mcount() {
    naked_asm!(
        entry_hook!("lea r11, [rbp + 8]", "fathom_filter_mcount"),
        FILTERING = sym crate::rules::FILTERING,
        RETURNS = const RETURNS,
        LIMIT = const crate::state::LIMIT_OFFSET,
        BIAS = const crate::state::SHADOW_BIAS,
        BUF = const crate::state::BUF_OFFSET,
    )
}

/// The other name that glibc has for [`mcount`].
///
/// # Safety
/// For compiler-made calls only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn _mcount() {
    naked_asm!(
        entry_hook!("lea r11, [rbp + 8]", "fathom_filter_mcount"),
        FILTERING = sym crate::rules::FILTERING,
        RETURNS = const RETURNS,
        LIMIT = const crate::state::LIMIT_OFFSET,
        BIAS = const crate::state::SHADOW_BIAS,
        BUF = const crate::state::BUF_OFFSET,
    )
}

/// Calls a Rust function from a hook: everything that Rust may change and that the hook has not saved.
/// r10 and r11 are the arguments; what is left in rax comes back in rax.
macro_rules! to_rust {
    ($name:literal, $args:literal, $target:literal) => {
        concat!(
            begin_function!($name),
            ".cfi_startproc\n",
            "push rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbp, 0\n",
            "mov rbp, rsp\n.cfi_def_cfa_register rbp\n",
            "push rdi\npush rsi\npush r8\npush r9\npush r10\npush r11\n",
            "sub rsp, 256\n",
            "and rsp, -16\n",
            save_vectors!(),
            $args,
            "\n",
            "call ",
            $target,
            "\n",
            restore_vectors!(),
            "lea rsp, [rbp - 48]\n",
            "pop r11\npop r10\npop r9\npop r8\npop rsi\npop rdi\n",
            "pop rbp\n.cfi_def_cfa rsp, 8\n",
            "ret\n",
            ".cfi_endproc\n",
            end_function!($name),
        )
    };
}

global_asm!(
    // One pointer and one word of state per thread; zero means that the thread has not been seen yet.
    ".section .tbss,\"awT\",@nobits",
    ".p2align 4",
    ".hidden fathom_tls",
    ".globl fathom_tls",
    ".type fathom_tls,@object",
    ".size fathom_tls, 16",
    "fathom_tls: .zero 16",
    ".text",
);

global_asm!(
    to_rust!("fathom_to_slow_entry", "mov rdi, r11\nmov rsi, r10", "{entry}"),
    to_rust!("fathom_to_slow_record", "mov rdi, rcx\nmov rsi, r10\nmov rdx, rax", "{record}"),
    to_rust!("fathom_to_slow_exit", "mov rdi, r11", "{exit}"),
    to_rust!("fathom_to_after", "mov rdi, r11", "{after}"),
    entry = sym crate::slow::slow_entry,
    record = sym crate::slow::slow_record,
    exit = sym crate::slow::slow_exit,
    after = sym crate::calls::after,
);

/// The end of a call: finds the frame, records the exit, puts the original return address back where it was and leaves
/// by `$leave`. rsp is one word above the slot. `$save` pushes what must not change besides rax and rdx, `$slot` is how
/// far that leaves rsp below the slot, `$restore` undoes it.
macro_rules! exit_hook {
    ($save:literal, $slot:literal, $restore:literal, $leave:literal) => {
        concat!(
            "lea rsp, [rsp - 8]\n.cfi_adjust_cfa_offset 8\n",
            "push rax\n.cfi_adjust_cfa_offset 8\n",
            "push rdx\n.cfi_adjust_cfa_offset 8\n",
            $save,
            "lea r11, [rsp + ",
            $slot,
            "]\n",
            "mov rcx, qword ptr [rip + fathom_tls@gottpoff]\n",
            "mov rcx, qword ptr fs:[rcx]\n",
            "test rcx, rcx\n",
            "jz 92f\n",
            "mov rax, qword ptr [rcx]\n",
            "cmp qword ptr [rax], r11\n",
            "jne 92f\n",
            "mov rdx, qword ptr [rax + 8]\n",
            "mov qword ptr [r11], rdx\n",
            // From here on the return address is where the slot was: RA is at CFA - 9.
            ".cfi_remember_state\n",
            ".cfi_escape 0x10, 0x10, 0x02, 0x39, 0x1c\n",
            "mov r10, qword ptr [rax + 16]\n",
            "mov qword ptr [rax], 0\n",
            "sub rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "or r10, 1\n",
            store_record!("93f"),
            "81:\n",
            ".cfi_remember_state\n",
            $restore,
            "pop rdx\n.cfi_adjust_cfa_offset -8\n",
            "pop rax\n.cfi_adjust_cfa_offset -8\n",
            $leave,
            "\n.cfi_restore_state\n",
            "93: call fathom_to_slow_record\n",
            "jmp 81b\n",
            ".cfi_restore_state\n",
            "92: call fathom_to_slow_exit\n",
            "mov qword ptr [rsp + ",
            $slot,
            "], rax\n",
            "jmp 81b\n",
        )
    };
}

/// Bytes of the pages of return code, lanes included. Addresses in it are never a program's own.
pub(crate) const RETURNS: usize = 4096 * (1 + 2 * LANE_PAGES);
/// Pages of lanes that a call hook has.
pub(crate) const LANE_PAGES: usize = 4;
/// Each of them begins with the distance to the list of threads.
pub(crate) const LANES_IN_PAGE: usize = 127;
/// Bytes of a lane.
const LANE: usize = 32;
/// Lanes of a call hook.
pub(crate) const LANES: usize = LANE_PAGES * LANES_IN_PAGE;

/// The address of a lane.
pub(crate) fn lane(hook: usize, number: usize) -> usize {
    let number = number % LANES;
    hook + number / LANES_IN_PAGE * 4096 + (1 + number % LANES_IN_PAGE) * LANE
}

/// The way in of a call hook: called by a lane, with the index of the function and then the caller's return address on the
/// stack. `$save` and `$restore` are for r11, `$index` is how far the index is then from rsp, and `$slot` the slot.
macro_rules! call_hook {
    ($save:literal, $index:literal, $slot:literal, $restore:literal) => {
        concat!(
            ".cfi_startproc\n",
            ".cfi_def_cfa rsp, 24\n",
            "push rax\n.cfi_adjust_cfa_offset 8\n",
            "push rcx\n.cfi_adjust_cfa_offset 8\n",
            "push rdx\n.cfi_adjust_cfa_offset 8\n",
            "push r10\n.cfi_adjust_cfa_offset 8\n",
            $save,
            "mov edx, dword ptr [rsp + ",
            $index,
            "]\n",
            "lea rax, [rip + {table}]\n",
            "lea r11, [rsp + ",
            $slot,
            "]\n",
            "shl rdx, 5\n",
            "add rdx, rax\n",
            "cmp byte ptr [rdx + 16], 0\n",
            "jne 90f\n",
            "mov rcx, qword ptr [rip + fathom_tls@gottpoff]\n",
            "mov rcx, qword ptr fs:[rcx]\n",
            "test rcx, rcx\n",
            "jz 90f\n",
            "mov rax, qword ptr [rcx]\n",
            "cmp qword ptr [rax], r11\n",
            "jbe 90f\n",
            "cmp rax, qword ptr [rcx + {LIMIT}]\n",
            "jae 90f\n",
            "lea r10, [rip + fathom_returns]\n",
            "sub r10, qword ptr [r11]\n",
            "cmp r10, -{RETURNS}\n",
            "ja 90f\n",
            "mov r10, qword ptr [r11]\n",
            "add rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "mov qword ptr [rax + 8], r10\n",
            "lea r10, [rax + rax - 2 * {BIAS}]\n",
            "and r10d, 0xffc0\n",
            "or r10, qword ptr [rdx + 8]\n",
            "mov rdx, qword ptr [rdx]\n",
            "mov qword ptr [rax + 16], r10\n",
            "mov qword ptr [rax], r11\n",
            "mov qword ptr [rsp + ",
            $index,
            "], rdx\n",
            store_record!("95f"),
            to_lane!($restore),
        )
    };
}

/// What a lane does behind the way in.
macro_rules! call_or_leave {
    ($exit:literal) => {
        concat!("jc 60f\n", call_function!($exit), "60: ", leave_alone!())
    };
}

global_asm!(
    ".section .text.fathom_returns, \"ax\", @progbits",
    ".p2align 12",
    ".hidden fathom_returns",
    ".globl fathom_returns",
    "fathom_returns:",
    ".quad {threads} - .",
    ".hidden fathom_return",
    ".globl fathom_return",
    ".type fathom_return,@function",
    ".cfi_startproc",
    return_rules!(),
    // Unwinders look up the address before a return address.
    "nop",
    "fathom_return:",
    // The word below rsp is safe from signal frames (red zone). A jump, not a return: the processor's return
    // predictor has already been misled once by the replaced address.
    exit_hook!("", "16", "", "lea rsp, [rsp + 8]\n.cfi_adjust_cfa_offset -8\njmp qword ptr [rsp - 8]"),
    ".cfi_endproc",
    ".size fathom_return, . - fathom_return",
    // For functions whose callers count on nothing but the calling convention: library functions, and those compiled
    // with -pg. r11 is free, and so is at the end all but the result.
    ".p2align 6",
    "fathom_enter_plain:",
    call_hook!("", "40", "48", ""),
    ".p2align 6",
    ".cfi_startproc",
    return_rules!(),
    "fathom_exit_plain:",
    exit_hook!("", "16", "", "ret"),
    ".cfi_endproc",
    // For patched functions: a caller that was compiled together with them may know which registers they leave alone
    // (-fipa-ra). All are preserved.
    ".p2align 6",
    "fathom_enter_careful:",
    call_hook!(
        "push r11\n.cfi_adjust_cfa_offset 8\n",
        "48",
        "56",
        "pop r11\n.cfi_adjust_cfa_offset -8\n"
    ),
    ".p2align 6",
    ".cfi_startproc",
    return_rules!(),
    "fathom_exit_careful:",
    exit_hook!(
        "push rcx\n.cfi_adjust_cfa_offset 8\npush r10\n.cfi_adjust_cfa_offset 8\npush r11\n.cfi_adjust_cfa_offset 8\n",
        "40",
        "pop r11\n.cfi_adjust_cfa_offset -8\npop r10\n.cfi_adjust_cfa_offset -8\npop rcx\n.cfi_adjust_cfa_offset -8\n",
        "ret"
    ),
    ".cfi_endproc",
    lanes!("fathom_call_plain", "fathom_enter_plain", call_or_leave!("fathom_exit_plain")),
    lanes!("fathom_call_careful", "fathom_enter_careful", call_or_leave!("fathom_exit_careful")),
    // An error if the code does not fit in its pages.
    ".org fathom_returns + {RETURNS}, 0xcc",
    ".text",
    LANE_PAGES = const LANE_PAGES,
    LANES_IN_PAGE = const LANES_IN_PAGE,
    threads = sym crate::state::THREADS,
    table = sym crate::calls::TABLE,
    RETURNS = const RETURNS,
    LIMIT = const crate::state::LIMIT_OFFSET,
    BIAS = const crate::state::SHADOW_BIAS,
    BUF = const crate::state::BUF_OFFSET,
);

global_asm!(
    // Behind a function that was called through a bare return: rsp is where the caller's return address is.
    ".p2align 4",
    ".hidden fathom_after",
    ".globl fathom_after",
    ".type fathom_after,@function",
    ".cfi_startproc",
    "nop",
    "fathom_after:",
    "push rax\n.cfi_adjust_cfa_offset 8",
    "push rdx\n.cfi_adjust_cfa_offset 8",
    "lea r11, [rsp + 16]",
    "call fathom_to_after",
    "pop rdx\n.cfi_adjust_cfa_offset -8",
    "pop rax\n.cfi_adjust_cfa_offset -8",
    "ret",
    ".cfi_endproc",
    ".size fathom_after, . - fathom_after",
);

global_asm!(
    // Called by a call hook with all registers as they were; behind the return address are that of the lane, the index
    // of the function, and the slot. Special functions, first calls, unusual stacks: the six argument registers are in memory for the
    // slow path, which may change them (environment of exec).
    ".hidden fathom_to_slow_call",
    ".globl fathom_to_slow_call",
    ".type fathom_to_slow_call,@function",
    "fathom_to_slow_call:",
    ".cfi_startproc",
    ".cfi_def_cfa rsp, 32",
    "push rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbp, 0",
    "mov rbp, rsp\n.cfi_def_cfa_register rbp",
    "push rax\npush r10\npush r11\npush r11",
    "push r9\npush r8\npush rcx\npush rdx\npush rsi\npush rdi",
    "mov rdi, rsp",
    "mov rsi, qword ptr [rbp + 24]",
    "lea rdx, [rbp + 32]",
    "sub rsp, 256\nand rsp, -16",
    save_vectors!(),
    "mov rcx, rsp",
    "call {slow}",
    restore_vectors!(),
    "mov qword ptr [rbp + 24], rax",
    // Carry: the function is to be jumped to.
    "cmp rdx, 1",
    "ja 97f",
    // Nothing from here to the lane changes the flags.
    ".cfi_remember_state",
    "lea rsp, [rbp - 80]",
    "pop rdi\npop rsi\npop rdx\npop rcx\npop r8\npop r9\npop r11\npop r11\npop r10\npop rax",
    "pop rbp\n.cfi_def_cfa rsp, 32",
    "ret",
    ".cfi_restore_state",
    "97: mov qword ptr [rbp - 16], rdx",
    "lea rsp, [rbp - 80]",
    "pop rdi\npop rsi\npop rdx\npop rcx\npop r8\npop r9\npop r11\npop r11\npop r10\npop rax",
    "pop rbp\n.cfi_def_cfa rsp, 32",
    "mov r11, qword ptr [rsp + 16]",
    "lea rsp, [rsp + 24]\n.cfi_adjust_cfa_offset -24",
    // The function wants to be called from the caller's module: it returns to a bare return instruction there, and
    // that returns to fathom_after, with the stack as the caller expects it.
    "lea rax, [rip + fathom_after]",
    "push rax\n.cfi_adjust_cfa_offset 8",
    "push r10\n.cfi_adjust_cfa_offset 8",
    "jmp r11",
    ".cfi_endproc",
    ".size fathom_to_slow_call, . - fathom_to_slow_call",
    slow = sym crate::calls::slow_call,
);

unsafe extern "C" {
    /// The return trampoline of replaced return addresses. Only its address is used.
    pub(crate) fn fathom_return();
    /// The page of return code. Only its address is used.
    pub(crate) fn fathom_returns();
    /// The call hook of library functions and of `-mfentry`. Only its address is used.
    pub(crate) fn fathom_call_plain();
    /// The call hook of other patched functions. Only its address is used.
    pub(crate) fn fathom_call_careful();
}

// The compiler calls these whatever the code says. libc's would do, but use vector registers that the hooks have
// not saved; and they must stay invisible to the program, which has its own.
global_asm!(
    ".hidden memcpy\n.globl memcpy\nmemcpy: mov rax, rdi\nmov rcx, rdx\nrep movsb\nret",
    ".hidden memmove\n.globl memmove\nmemmove: mov rax, rdi\nmov rcx, rdx",
    "cmp rdi, rsi\njbe 1f\nlea rdx, [rsi + rcx]\ncmp rdi, rdx\njae 1f",
    "lea rdi, [rdi + rcx - 1]\nlea rsi, [rsi + rcx - 1]\nstd\nrep movsb\ncld\nret",
    "1: rep movsb\nret",
    ".hidden memset\n.globl memset\nmemset: mov r8, rdi\nmov eax, esi\nmov rcx, rdx\nrep stosb\nmov rax, r8\nret",
    ".hidden bcmp\n.globl bcmp\nbcmp: xor eax, eax\nmov rcx, rdx\ncmp rax, rax\nrepe cmpsb\nsetne al\nret",
    ".hidden memcmp\n.globl memcmp\nmemcmp: xor eax, eax\nmov rcx, rdx\ncmp rax, rax\nrepe cmpsb\nje 1f",
    "movzx eax, byte ptr [rdi - 1]\nmovzx ecx, byte ptr [rsi - 1]\nsub eax, ecx\n1: ret",
    ".hidden strlen\n.globl strlen\nstrlen: mov rax, rdi\n1: cmp byte ptr [rax], 0\nje 2f\ninc rax\njmp 1b",
    "2: sub rax, rdi\nret",
);

/// Address that replaces return addresses.
#[inline]
pub(crate) fn return_address() -> usize {
    if FILTERING.load(Ordering::Relaxed) {
        asm_filter::fathom_filter_return as *const () as usize
    } else {
        fathom_return as *const () as usize
    }
}

/// Whether an address is one that stands in a slot for the original.
#[inline]
pub(crate) fn is_ours(address: usize) -> bool {
    let page = if FILTERING.load(Ordering::Relaxed) {
        asm_filter::fathom_filter_returns as *const () as usize
    } else {
        fathom_returns as *const () as usize
    };
    address.wrapping_sub(page) < RETURNS
}
