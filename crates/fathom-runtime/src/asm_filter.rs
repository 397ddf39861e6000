//! The hooks of programs that are recorded with filters, triggers, time limits or arguments.
//!
//! They are those of `asm.rs` with a gate in front: what is left out leaves at once, without a frame and without
//! reading the clock; what something is said about goes to Rust; all else is recorded as ever. An entry that may be too
//! short is *held*: its time stays in the frame, and only the exit decides whether both are written.
//!
//! In order, an entry asks: have the filters changed (the session's epoch)? is the frame on top dead? is this function
//! never recorded? are we in a function that is left out with all it calls? is anything said about it? is the gate
//! closed (too deep, outside of the functions asked for, switched off)?

use crate::asm::{LANE_PAGES, LANES_IN_PAGE, RETURNS};
use crate::macros::{
    begin_function, call_function, end_function, lanes, leave_alone, pop_scratch, restore_vectors,
    return_rules, save_vectors, store_record, to_lane,
};
use core::arch::global_asm;
use fathom_abi::plan::{RANGE_IN, RANGE_NEVER, RANGE_OUT, RANGE_RULE};

/// rcx = this thread's block, or to `90f` when it has none, when the filters have changed, or when the frame on top is
/// dead. r11 is the slot. Leaves the top frame in rax.
macro_rules! gate {
    () => {
        concat!(
            "mov rcx, qword ptr [rip + fathom_tls@gottpoff]\n",
            "mov rcx, qword ptr fs:[rcx]\n",
            "test rcx, rcx\n",
            "jz 90f\n",
            "mov rax, qword ptr [rip + {EPOCH}]\n",
            "mov eax, dword ptr [rax]\n",
            "cmp eax, dword ptr [rcx + {SEEN}]\n",
            "jne 90f\n",
            "mov rax, qword ptr [rcx]\n",
            "cmp qword ptr [rax], r11\n",
            "jbe 90f\n",
        )
    };
}

/// With the function's flags in edx and the top frame in rax: goes to `80f` to leave it out, to `90f` when Rust has
/// to decide, to `85f` for a function that is left out with all it calls. The last jump is `$last`, with the carry clear
/// if the gate is closed.
macro_rules! decide {
    ($last:literal) => {
        concat!(
            "test dl, {NEVER}\n",
            "jnz 80f\n",
            "cmp dword ptr [rcx + {OUTSIDE}], 0\n",
            "jne 80f\n",
            "test dl, {RULE}\n",
            "jz 82f\n",
            "test dl, {OUT}\n",
            "jnz 85f\n",
            "test dl, {IN}\n",
            "jz 90f\n",
            "cmp dword ptr [rcx + {INSIDE}], 0\n",
            "je 90f\n",
            "82: cmp rax, qword ptr [rcx + {GATE}]\n",
            $last,
            "\n",
        )
    };
}

/// With the top frame in rax: rdx = the caller's return address, or to `90f` when it is one of ours or there is no room.
macro_rules! room {
    () => {
        concat!(
            "mov rdx, qword ptr [r11]\n",
            "lea r10, [rip + fathom_filter_returns]\n",
            "sub r10, rdx\n",
            "cmp r10, -{RETURNS}\n",
            "ja 90f\n",
            "cmp rax, qword ptr [rcx + {LIMIT}]\n",
            "jae 90f\n",
        )
    };
}

/// The frame of a function that is left out with all it calls, whose old return address is in rdx: no clock, no record.
macro_rules! push_outside {
    () => {
        concat!(
            "add rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "mov qword ptr [rax + 8], rdx\n",
            "mov qword ptr [rax + 16], 0\n",
            "inc dword ptr [rcx + {OUTSIDE}]\n",
            "mov qword ptr [rax], r11\n",
        )
    };
}

/// The frame in rax is filled but for its time and its slot: the entry is held.
macro_rules! hold {
    () => {
        concat!(
            "mov r10, rax\n",
            "rdtsc\n",
            "shl rdx, 32\n",
            "or rax, rdx\n",
            "mov qword ptr [r10 + 24], rax\n",
            "mov qword ptr [r10], r11\n",
        )
    };
}

/// The body of an entry hook that the compiler calls; see the plain one.
macro_rules! entry_hook {
    ($name:literal, $slot:literal) => {
        concat!(
            ".p2align 6\n",
            begin_function!($name),
            ".cfi_startproc\n",
            "push rax\n.cfi_adjust_cfa_offset 8\n",
            "push rcx\n.cfi_adjust_cfa_offset 8\n",
            "push rdx\n.cfi_adjust_cfa_offset 8\n",
            "push r10\n.cfi_adjust_cfa_offset 8\n",
            "push r11\n.cfi_adjust_cfa_offset 8\n",
            $slot,
            "\n",
            gate!(),
            // What is known about the address: one word, the address above eight bits of flags.
            "mov r10, qword ptr [rsp + 40]\n",
            "imul rdx, r10, {MIX}\n",
            "shr edx, {SHIFT}\n",
            "push rax\n.cfi_adjust_cfa_offset 8\n",
            "lea rax, [rip + {SITES}]\n",
            "mov rdx, qword ptr [rax + 8 * rdx]\n",
            "pop rax\n.cfi_adjust_cfa_offset -8\n",
            "shl r10, 8\n",
            "xor r10, rdx\n",
            "cmp r10, 255\n",
            "ja 90f\n",
            decide!("jae 80f"),
            room!(),
            "add rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "mov qword ptr [rax + 8], rdx\n",
            "mov rdx, qword ptr [rsp + 40]\n",
            "lea r10, [rax + rax - 2 * {BIAS}]\n",
            "sub r10d, dword ptr [rcx + {HIDDEN}]\n",
            "shl rdx, 16\n",
            "and r10d, 0xffc0\n",
            "lea r10, [rdx + r10 + 0x28]\n",
            "mov qword ptr [rax + 16], r10\n",
            "test dword ptr [rcx + {FLAGS}], {HOLDING}\n",
            "jnz 86f\n",
            "mov qword ptr [rax], r11\n",
            "lea rax, [rip + fathom_filter_return]\n",
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
            "85:\n",
            room!(),
            push_outside!(),
            "jmp 87f\n",
            "86:\n",
            hold!(),
            "87: lea rax, [rip + fathom_filter_return]\n",
            "mov qword ptr [r11], rax\n",
            "jmp 80b\n",
            "90: mov r10, qword ptr [rsp + 40]\n",
            "call fathom_to_filter_entry\n",
            "jmp 80b\n",
            "91: call fathom_to_slow_record\n",
            "jmp 80b\n",
            ".cfi_endproc\n",
            end_function!($name),
        )
    };
}

global_asm!(
    ".text",
    entry_hook!("fathom_filter_fentry", "lea r11, [rsp + 48]"),
    entry_hook!("fathom_filter_mcount", "lea r11, [rbp + 8]"),
    EPOCH = sym crate::rules::EPOCH,
    SITES = sym crate::rules::SITES,
    MIX = const crate::rules::MIX,
    SHIFT = const crate::rules::SHIFT,
    RETURNS = const RETURNS,
    SEEN = const crate::state::SEEN_OFFSET,
    FLAGS = const crate::state::FLAGS_OFFSET,
    HOLDING = const crate::state::HOLDING,
    OUTSIDE = const crate::state::OUTSIDE_OFFSET,
    INSIDE = const crate::state::INSIDE_OFFSET,
    GATE = const crate::state::GATE_OFFSET,
    HIDDEN = const crate::state::HIDDEN_OFFSET,
    NEVER = const RANGE_NEVER,
    RULE = const RANGE_RULE,
    OUT = const RANGE_OUT,
    IN = const RANGE_IN,
    LIMIT = const crate::state::LIMIT_OFFSET,
    BIAS = const crate::state::SHADOW_BIAS,
    BUF = const crate::state::BUF_OFFSET,
);

global_asm!(
    // From an entry hook: r11 is the slot, r10 an address in the function, and on the stack are (behind the return
    // address) r11, r10, rdx, rcx, rax.
    ".hidden fathom_to_filter_entry",
    ".globl fathom_to_filter_entry",
    ".type fathom_to_filter_entry,@function",
    "fathom_to_filter_entry:",
    ".cfi_startproc",
    "push rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbp, 0",
    "mov rbp, rsp\n.cfi_def_cfa_register rbp",
    "push rax",
    "push r9\npush r8\npush qword ptr [rbp + 40]\npush qword ptr [rbp + 32]\npush rsi\npush rdi",
    "mov rdi, rsp",
    "sub rsp, 256\nand rsp, -16",
    save_vectors!(),
    "mov rsi, rsp",
    "mov rdx, r11",
    "mov rcx, r10",
    "call {entry}",
    restore_vectors!(),
    "lea rsp, [rbp - 56]",
    "pop rdi\npop rsi\nadd rsp, 16\npop r8\npop r9",
    "pop rax",
    "pop rbp\n.cfi_def_cfa rsp, 8",
    "ret",
    ".cfi_endproc",
    ".size fathom_to_filter_entry, . - fathom_to_filter_entry",
    // From an exit: r11 is the slot, r10 the address of the saved rcx, behind which are rdx and rax. Returns where to go
    // in rax.
    ".hidden fathom_to_filter_exit",
    ".globl fathom_to_filter_exit",
    ".type fathom_to_filter_exit,@function",
    "fathom_to_filter_exit:",
    ".cfi_startproc",
    "push rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbp, 0",
    "mov rbp, rsp\n.cfi_def_cfa_register rbp",
    "push rdi\npush rsi\npush r8\npush r9\npush r10\npush r11",
    "sub rsp, 256\nand rsp, -16",
    save_vectors!(),
    "mov rdi, r11",
    "mov rsi, r10",
    "mov rdx, rsp",
    "call {exit}",
    restore_vectors!(),
    "lea rsp, [rbp - 48]",
    "pop r11\npop r10\npop r9\npop r8\npop rsi\npop rdi",
    "pop rbp\n.cfi_def_cfa rsp, 8",
    "ret",
    ".cfi_endproc",
    ".size fathom_to_filter_exit, . - fathom_to_filter_exit",
    entry = sym crate::filter::slow_entry,
    exit = sym crate::filter::slow_exit,
);

/// The end of a call; see the plain one.
macro_rules! exit_hook {
    ($save:literal, $slot:literal, $result:literal, $restore:literal, $leave:literal) => {
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
            "jz 72f\n",
            "mov rax, qword ptr [rip + {EPOCH}]\n",
            "mov eax, dword ptr [rax]\n",
            "cmp eax, dword ptr [rcx + {SEEN}]\n",
            "jne 72f\n",
            "mov rax, qword ptr [rcx]\n",
            "cmp qword ptr [rax], r11\n",
            "jne 72f\n",
            "mov r10, qword ptr [rax + 24]\n",
            "test r10, r10\n",
            // Something is said about it.
            "js 72f\n",
            "jnz 76f\n",
            "test dword ptr [rcx + {FLAGS}], {OFF}\n",
            "jnz 72f\n",
            "mov rdx, qword ptr [rax + 8]\n",
            "mov qword ptr [r11], rdx\n",
            // From here on the return address is where the slot was: RA is at CFA - 9.
            ".cfi_remember_state\n",
            ".cfi_escape 0x10, 0x10, 0x02, 0x39, 0x1c\n",
            "mov r10, qword ptr [rax + 16]\n",
            "mov qword ptr [rax], 0\n",
            "sub rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "test r10, r10\n",
            "jz 77f\n",
            "or r10, 1\n",
            store_record!("73f"),
            "71:\n",
            ".cfi_remember_state\n",
            $restore,
            "pop rdx\n.cfi_adjust_cfa_offset -8\n",
            "pop rax\n.cfi_adjust_cfa_offset -8\n",
            $leave,
            "\n.cfi_restore_state\n",
            "73: call fathom_to_slow_record\n",
            "jmp 71b\n",
            "77: dec dword ptr [rcx + {OUTSIDE}]\n",
            "jmp 71b\n",
            ".cfi_restore_state\n",
            // Held: long enough to be written?
            "76: rdtsc\n",
            "shl rdx, 32\n",
            "or rax, rdx\n",
            "sub rax, r10\n",
            "cmp rax, qword ptr [rcx + {THRESHOLD}]\n",
            "jae 72f\n",
            "mov rax, qword ptr [rcx]\n",
            "mov rdx, qword ptr [rax + 8]\n",
            "mov qword ptr [r11], rdx\n",
            "mov qword ptr [rax], 0\n",
            "mov qword ptr [rax + 24], 0\n",
            "sub rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "jmp 71b\n",
            "72: lea r10, [rsp + ",
            $result,
            "]\n",
            "call fathom_to_filter_exit\n",
            "mov qword ptr [rsp + ",
            $slot,
            "], rax\n",
            "jmp 71b\n",
        )
    };
}

/// A hook that is jumped to; see the plain one.
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
            "mov r10d, dword ptr [rsp + ",
            $index,
            "]\n",
            "lea rdx, [rip + {TABLE}]\n",
            "lea r11, [rsp + ",
            $slot,
            "]\n",
            "shl r10, 5\n",
            "add r10, rdx\n",
            "cmp byte ptr [r10 + 16], 0\n",
            "jne 90f\n",
            gate!(),
            "movzx edx, byte ptr [r10 + 19]\n",
            decide!("jb 70f"),
            // Left out: on to the function, as if nothing had been here. Straight on: this is what has to cost little.
            "80: mov rdx, qword ptr [r10]\n",
            "mov qword ptr [rsp + ",
            $index,
            "], rdx\n",
            ".cfi_remember_state\n",
            pop_scratch!($restore),
            "stc\n",
            "ret\n",
            ".cfi_restore_state\n",
            "70:\n",
            // The frame's fields need the register; the function's are needed again.
            "push r10\n.cfi_adjust_cfa_offset 8\n",
            "mov rdx, qword ptr [r11]\n",
            "lea r10, [rip + fathom_filter_returns]\n",
            "sub r10, rdx\n",
            "cmp r10, -{RETURNS}\n",
            "pop r10\n.cfi_adjust_cfa_offset -8\n",
            "ja 90f\n",
            "cmp rax, qword ptr [rcx + {LIMIT}]\n",
            "jae 90f\n",
            "add rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "mov qword ptr [rax + 8], rdx\n",
            "mov rdx, qword ptr [r10]\n",
            "mov qword ptr [rsp + ",
            $index,
            "], rdx\n",
            "lea rdx, [rax + rax - 2 * {BIAS}]\n",
            "sub edx, dword ptr [rcx + {HIDDEN}]\n",
            "and edx, 0xffc0\n",
            "or rdx, qword ptr [r10 + 8]\n",
            "mov r10, rdx\n",
            "mov qword ptr [rax + 16], r10\n",
            "test dword ptr [rcx + {FLAGS}], {HOLDING}\n",
            "jnz 86f\n",
            "mov qword ptr [rax], r11\n",
            store_record!("95f"),
            "jmp 83f\n",
            "86:\n",
            hold!(),
            "jmp 83f\n",
            "85:\n",
            "push r10\n.cfi_adjust_cfa_offset 8\n",
            "mov rdx, qword ptr [r11]\n",
            "lea r10, [rip + fathom_filter_returns]\n",
            "sub r10, rdx\n",
            "cmp r10, -{RETURNS}\n",
            "pop r10\n.cfi_adjust_cfa_offset -8\n",
            "ja 90f\n",
            "cmp rax, qword ptr [rcx + {LIMIT}]\n",
            "jae 90f\n",
            push_outside!(),
            "mov rdx, qword ptr [r10]\n",
            "mov qword ptr [rsp + ",
            $index,
            "], rdx\n",
            "jmp 83f\n",
            to_lane!($restore),
        )
    };
}

/// What a lane does behind the way in; straight on for functions that are left out.
macro_rules! leave_or_call {
    ($exit:literal) => {
        concat!("jnc 60f\n", leave_alone!(), "60: ", call_function!($exit))
    };
}

global_asm!(
    ".section .text.fathom_filter_returns, \"ax\", @progbits",
    ".p2align 12",
    ".hidden fathom_filter_returns",
    ".globl fathom_filter_returns",
    "fathom_filter_returns:",
    ".quad {threads} - .",
    ".hidden fathom_filter_return",
    ".globl fathom_filter_return",
    ".type fathom_filter_return,@function",
    ".cfi_startproc",
    return_rules!(),
    // Unwinders look up the address before a return address.
    "nop",
    "fathom_filter_return:",
    exit_hook!(
        "push rcx\n.cfi_adjust_cfa_offset 8\n",
        "24",
        "0",
        "pop rcx\n.cfi_adjust_cfa_offset -8\n",
        "lea rsp, [rsp + 8]\n.cfi_adjust_cfa_offset -8\njmp qword ptr [rsp - 8]"
    ),
    ".cfi_endproc",
    ".size fathom_filter_return, . - fathom_filter_return",
    ".p2align 6",
    "fathom_filter_enter_plain:",
    call_hook!("", "40", "48", ""),
    ".p2align 6",
    ".cfi_startproc",
    return_rules!(),
    "fathom_filter_exit_plain:",
    exit_hook!(
        "push rcx\n.cfi_adjust_cfa_offset 8\n",
        "24",
        "0",
        "pop rcx\n.cfi_adjust_cfa_offset -8\n",
        "ret"
    ),
    ".cfi_endproc",
    ".p2align 6",
    "fathom_filter_enter_careful:",
    call_hook!(
        "push r11\n.cfi_adjust_cfa_offset 8\n",
        "48",
        "56",
        "pop r11\n.cfi_adjust_cfa_offset -8\n"
    ),
    ".p2align 6",
    ".cfi_startproc",
    return_rules!(),
    "fathom_filter_exit_careful:",
    exit_hook!(
        "push rcx\n.cfi_adjust_cfa_offset 8\npush r10\n.cfi_adjust_cfa_offset 8\npush r11\n.cfi_adjust_cfa_offset 8\n",
        "40",
        "16",
        "pop r11\n.cfi_adjust_cfa_offset -8\npop r10\n.cfi_adjust_cfa_offset -8\npop rcx\n.cfi_adjust_cfa_offset -8\n",
        "ret"
    ),
    ".cfi_endproc",
    lanes!(
        "fathom_filter_call_plain",
        "fathom_filter_enter_plain",
        leave_or_call!("fathom_filter_exit_plain")
    ),
    lanes!(
        "fathom_filter_call_careful",
        "fathom_filter_enter_careful",
        leave_or_call!("fathom_filter_exit_careful")
    ),
    // An error if the code does not fit in its pages.
    ".org fathom_filter_returns + {RETURNS}, 0xcc",
    ".text",
    LANE_PAGES = const LANE_PAGES,
    LANES_IN_PAGE = const LANES_IN_PAGE,
    threads = sym crate::state::THREADS,
    TABLE = sym crate::calls::TABLE,
    EPOCH = sym crate::rules::EPOCH,
    RETURNS = const RETURNS,
    SEEN = const crate::state::SEEN_OFFSET,
    FLAGS = const crate::state::FLAGS_OFFSET,
    HOLDING = const crate::state::HOLDING,
    OFF = const crate::state::OFF,
    OUTSIDE = const crate::state::OUTSIDE_OFFSET,
    INSIDE = const crate::state::INSIDE_OFFSET,
    GATE = const crate::state::GATE_OFFSET,
    THRESHOLD = const crate::state::THRESHOLD_OFFSET,
    HIDDEN = const crate::state::HIDDEN_OFFSET,
    NEVER = const RANGE_NEVER,
    RULE = const RANGE_RULE,
    OUT = const RANGE_OUT,
    IN = const RANGE_IN,
    LIMIT = const crate::state::LIMIT_OFFSET,
    BIAS = const crate::state::SHADOW_BIAS,
    BUF = const crate::state::BUF_OFFSET,
);

unsafe extern "C" {
    /// The return trampoline of replaced return addresses. Only its address is used.
    pub(crate) fn fathom_filter_return();
    /// The page of return code. Only its address is used.
    pub(crate) fn fathom_filter_returns();
    /// The call hook of library functions and of `-mfentry`. Only its address is used.
    pub(crate) fn fathom_filter_call_plain();
    /// The call hook of other patched functions. Only its address is used.
    pub(crate) fn fathom_filter_call_careful();
}
