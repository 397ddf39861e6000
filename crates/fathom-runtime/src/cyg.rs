//! `-finstrument-functions`: the compiler calls a hook at both ends, and no return address is replaced.
//!
//! A frame's slot is the stack pointer at the call of the enter hook, marked with [`CYG`]; it only orders the frame
//! among the others. The function's address stands where other frames keep the return address.

use crate::fetch::{Arguments, Results};
use crate::filter;
use crate::rules::FILTERING;
use crate::slow::{self, Busy, block_of};
use crate::state::{self, BITS, CYG, Frame, UNFILLED};
use core::arch::naked_asm;
use core::sync::atomic::Ordering;
use fathom_abi::record::ADDR_SHIFT;

/// Called by the compiler at the start of each function, inlined ones included.
///
/// # Safety
/// For compiler-made calls only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __cyg_profile_func_enter(_function: usize, _site: usize) {
    naked_asm!(
        ".cfi_startproc",
        "lea r11, [rsp + 8 + {CYG}]",
        "cmp byte ptr [rip + {FILTERING}], 0",
        "jne 2f",
        "mov rcx, qword ptr [rip + fathom_tls@gottpoff]",
        "mov rcx, qword ptr fs:[rcx]",
        "test rcx, rcx",
        "jz 2f",
        "mov rax, qword ptr [rcx]",
        "cmp qword ptr [rax], r11",
        "jbe 2f",
        "cmp rax, qword ptr [rcx + {LIMIT}]",
        "jae 2f",
        "add rax, 32",
        "mov qword ptr [rcx], rax",
        "mov qword ptr [rax + 8], rdi",
        "lea r10, [rax + rax - 2 * {BIAS}]",
        "shl rdi, 16",
        "and r10d, 0xffc0",
        "lea r10, [rdi + r10 + 0x28]",
        "mov qword ptr [rax + 16], r10",
        "mov qword ptr [rax], r11",
        "mov eax, 16",
        "xadd qword ptr [rcx + {BUF}], rax",
        "cmp rax, qword ptr [rcx + {BUF} + 8]",
        "jae 4f",
        "mov rcx, rax",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "mov qword ptr [rcx], rax",
        "mov qword ptr [rcx + 8], r10",
        "ret",
        // Programs that make their own stacks may not have aligned them.
        "2: mov rsi, r11",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "mov rbp, rsp",
        ".cfi_remember_state",
        ".cfi_def_cfa_register rbp",
        "and rsp, -16",
        "call {enter}",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_restore_state",
        ".cfi_def_cfa_offset 8",
        "4: mov rdi, rcx",
        "mov rsi, r10",
        "mov rdx, rax",
        "jmp {record}",
        ".cfi_endproc",
        FILTERING = sym FILTERING,
        CYG = const CYG,
        LIMIT = const state::LIMIT_OFFSET,
        BIAS = const state::SHADOW_BIAS,
        BUF = const state::BUF_OFFSET,
        enter = sym slow_enter,
        record = sym slow::slow_record,
    )
}

/// Called by the compiler at each end of a function.
///
/// # Safety
/// For compiler-made calls only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __cyg_profile_func_exit(_function: usize, _site: usize) {
    naked_asm!(
        ".cfi_startproc",
        "cmp byte ptr [rip + {FILTERING}], 0",
        "jne 5f",
        "mov rcx, qword ptr [rip + fathom_tls@gottpoff]",
        "mov rcx, qword ptr fs:[rcx]",
        "test rcx, rcx",
        "jz 5f",
        "mov rax, qword ptr [rcx]",
        "cmp qword ptr [rax + 8], rdi",
        "jne 5f",
        "test byte ptr [rax], {CYG}",
        "jz 5f",
        "mov r10, qword ptr [rax + 16]",
        "mov qword ptr [rax], 0",
        "sub rax, 32",
        "mov qword ptr [rcx], rax",
        "or r10, 1",
        "mov eax, 16",
        "xadd qword ptr [rcx + {BUF}], rax",
        "cmp rax, qword ptr [rcx + {BUF} + 8]",
        "jae 4f",
        "mov rcx, rax",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "mov qword ptr [rcx], rax",
        "mov qword ptr [rcx + 8], r10",
        "ret",
        "5: lea rsi, [rsp + 8]",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "mov rbp, rsp",
        ".cfi_remember_state",
        ".cfi_def_cfa_register rbp",
        "and rsp, -16",
        "call {exit}",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_restore_state",
        ".cfi_def_cfa_offset 8",
        "4: mov rdi, rcx",
        "mov rsi, r10",
        "mov rdx, rax",
        "jmp {record}",
        ".cfi_endproc",
        FILTERING = sym FILTERING,
        CYG = const CYG,
        BUF = const state::BUF_OFFSET,
        exit = sym slow_exit,
        record = sym slow::slow_record,
    )
}

/// An entry that the fast path did not take.
extern "C" fn slow_enter(function: usize, slot: usize) {
    let vectors = [0u8; 256];
    enter(function, slot, &Arguments { integers: &[0; 6], vectors: vectors.as_ptr(), stack: 0 });
}

/// Pushes a frame for a function and records the entry, as far as the rules want it.
pub(crate) fn enter(function: usize, slot: usize, arguments: &Arguments<'_>) {
    let Some(block) = block_of(slot) else { return };
    if FILTERING.load(Ordering::Relaxed) {
        return filtered_enter(block, function, slot, arguments);
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    let Some(_busy) = Busy::enter(block) else {
        crate::segment::lose(b, 1);
        return;
    };
    slow::prepare(b, slot & !BITS);
    slow::reap(b, slot & !BITS);
    if let Some(w) = slow::push(b, slot, function, (function as u64) << ADDR_SHIFT) {
        crate::segment::append(b, w);
    }
}

/// An entry where rules decide. A frame in any case: it pairs the exit, which comes in any case.
fn filtered_enter(block: *mut state::Block, function: usize, slot: usize, arguments: &Arguments<'_>) {
    if !filter::take_care(block, slot & !BITS) {
        return;
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    if !filter::reap(b, slot & !BITS) {
        return;
    }
    if !filter::push_at(b, slot, function, (function as u64) << ADDR_SHIFT, arguments) {
        filter::push_hidden(b, slot, function);
    }
}

/// An exit whose frame is not on top: frames above it were left by a longjmp, or belong to another stack.
extern "C" fn slow_exit(function: usize, near: usize) {
    exit(function, near, None);
}

/// Takes the frame of a function off and records its exit, with what it returns where that is known.
pub(crate) fn exit(function: usize, near: usize, results: Option<&Results<'_>>) {
    let block = state::current();
    if block.is_null() {
        return;
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    if FILTERING.load(Ordering::Relaxed) {
        // SAFETY: the top frame, or the one below all.
        let top = unsafe { &*b.top };
        if top.slot & CYG != 0 && top.orig == function && filter::take_care(block, near) {
            slow::pop_with(b, results);
            return;
        }
    }
    let Some(_busy) = Busy::enter(block) else {
        crate::segment::lose(b, 1);
        return;
    };
    slow::prepare(b, near);
    if FILTERING.load(Ordering::Relaxed) {
        filter::catch_up(b);
    }
    let Some(at) = find(b, function, near) else { return };
    let mut above = b.top;
    while above > at && !b.contexts {
        // SAFETY: between `at` and the top.
        if unsafe { (*above).slot & CYG != 0 || (*above).slot & !BITS < near } {
            slow::give_up_and_remove(b, above, near);
        }
        above = above.wrapping_sub(1);
    }
    slow::remove_with(b, at, results);
}

/// The frame of a function: the one that was entered with this stack pointer, else the innermost.
fn find(b: &state::Block, function: usize, near: usize) -> Option<*mut Frame> {
    let mut innermost = None;
    let mut at = b.top;
    while at >= b.base {
        // SAFETY: between base and top.
        let f = unsafe { &*at };
        if f.slot != UNFILLED && f.slot & CYG != 0 && f.orig == function {
            if f.slot & !BITS == near & !BITS {
                return Some(at);
            }
            innermost = innermost.or(Some(at));
        }
        at = at.wrapping_sub(1);
    }
    innermost
}
