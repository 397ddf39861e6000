//! `-fxray-instrument`: NOPs at both ends of a function, which become calls of hooks. No return address is replaced.
//!
//! ```text
//!            as compiled          patched
//!  entry     jmp +9; nop (9)      call stub; nop (6)
//!  exit      ret; nop (10)        call stub; ret; nop (5)
//!  tail      jmp +9; nop (9)      call stub; nop (6)      in front of a jump to another function
//! ```
//!
//! At all three rsp is where the caller's return address is, and nothing below it is in use. The stubs push the index of the
//! function and jump to the hook, which returns behind the call: every return is predicted, and unwinders see a call.
//!
//! A frame's slot is the place of the call's own return address, one word below the caller's, marked with [`CYG`]: a library
//! function's hook may have a frame with the caller's.

use crate::areas::{self, Area};
use crate::calls::{Function, Stubs};
use crate::cyg;
use crate::fetch::{Arguments, Results};
use crate::macros::{begin_function, end_function, restore_vectors, save_vectors, store_record};
use crate::patch::{Opened, call, map_near, recorded};
use crate::rules::FILTERING;
use crate::segment::because;
use crate::state::CYG;
use core::arch::global_asm;
use fathom_abi::arena::{CAUSE_BYTES, CAUSE_MEMORY, CAUSE_PAGES};
use fathom_abi::plan::{SLED, SLED_ENTRY, SLED_EXIT, SLED_EXIT_CODE, SLED_JUMP_CODE, Sled, Text};

/// What follows the call. Six bytes: a NOP, or the return and a NOP.
const GO_ON: [u8; 6] = [0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00];
const RETURN: [u8; 6] = [0xc3, 0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Patches sleds in a text, ascending by address. Returns how many could not be.
pub(crate) fn patch(sleds: &[Sled], text: &Text) -> u32 {
    let all = sleds.len() as u32;
    let (Some(first), Some(last)) = (sleds.first(), sleds.last()) else { return 0 };
    if first.again != 0 && !sleds.iter().any(|sled| is_as_compiled(sled, text)) {
        return 0;
    }
    // All stubs first: they have to be executable before anybody is led to them.
    let range = (first.addr as usize, last.addr as usize);
    let len = Stubs::len(sleds.len());
    let (mut stub, made) = match areas::find(range, (sleds.len(), len), |stubs| stubs_fit(sleds, stubs)) {
        Some(stubs) => (stubs, sleds.len()),
        None => {
            let Some(memory) = map_near(range.0, range.1, len) else { return because(CAUSE_MEMORY, all) };
            let hooks = [fathom_sled_enter as *const () as usize, fathom_sled_exit as *const () as usize];
            let mut stubs = Stubs::begin_two(memory, len, hooks);
            let begin = stubs.next_stub();
            let made = sleds.iter().take_while(|sled| add_stub(sled, &mut stubs)).count();
            if !stubs.finish() {
                return because(CAUSE_PAGES, all);
            }
            areas::keep(Area { range, count: sleds.len(), bytes: len, stubs: begin });
            (begin, made)
        }
    };
    let Some(_opened) = Opened::pages(text, first.addr, last.addr + SLED as u64) else {
        return because(CAUSE_PAGES, all);
    };
    let (full, mut failed) = (because(CAUSE_MEMORY, (sleds.len() - made) as u32), 0);
    for sled in &sleds[..made] {
        if is_as_compiled(sled, text) {
            let rest = if sled.kind == SLED_EXIT { RETURN } else { GO_ON };
            let mut code = [0; SLED];
            let (head, tail) = code.split_at_mut(SLED - rest.len());
            head.copy_from_slice(&call(sled.addr as usize, stub));
            tail.copy_from_slice(&rest);
            // SAFETY: the bytes are in the text, whose pages are writable, and were what the compiler put there.
            unsafe { (sled.addr as *mut [u8; SLED]).write(code) };
        } else {
            failed += u32::from(sled.again == 0);
        }
        stub += Stubs::SIZE;
    }
    full + because(CAUSE_BYTES, failed)
}

/// What the stub of a sled is for.
fn of_sled(sled: &Sled) -> Function {
    Function { kind: sled.kind, ..recorded(sled.function, sled.function as usize) }
}

/// Makes the stub of a sled; false when there is no room.
fn add_stub(sled: &Sled, stubs: &mut Stubs) -> bool {
    stubs.add(of_sled(sled), sled.kind != SLED_ENTRY).is_some()
}

/// Whether earlier stubs are those of these sleds.
fn stubs_fit(sleds: &[Sled], mut stub: usize) -> bool {
    sleds.iter().all(|sled| {
        let fits = Stubs::is_for(stub, &of_sled(sled));
        stub += Stubs::SIZE;
        fits
    })
}

/// Whether a sled is in the text, and nobody has patched it.
fn is_as_compiled(sled: &Sled, text: &Text) -> bool {
    let code = if sled.kind == SLED_EXIT { &SLED_EXIT_CODE } else { &SLED_JUMP_CODE };
    sled.addr >= text.start
        && sled.addr <= text.end - SLED as u64
        // SAFETY: inside of a mapping that can be read.
        && unsafe { (sled.addr as *const [u8; SLED]).read() } == *code
}

/// The body of a hook. On the stack are the index of the function, the address behind the call in the sled (where that
/// stands is the frame's slot, r11), and the caller's return address. `$fast` is what is done where nothing is unusual, with
/// r10 = the function's entry in the table, rcx = the block, rax = the top frame; everything else `$slow` does.
macro_rules! hook {
    ($name:literal, $fast:expr, $slow:literal) => {
        concat!(
            ".p2align 6\n",
            begin_function!($name),
            ".cfi_startproc\n",
            ".cfi_def_cfa rsp, 16\n",
            "push rax\n.cfi_adjust_cfa_offset 8\n",
            "push rdx\n.cfi_adjust_cfa_offset 8\n",
            "push rcx\n.cfi_adjust_cfa_offset 8\n",
            "push r10\n.cfi_adjust_cfa_offset 8\n",
            "push r11\n.cfi_adjust_cfa_offset 8\n",
            "lea r11, [rsp + 48]\n",
            "mov r10d, dword ptr [rsp + 40]\n",
            "lea rdx, [rip + {TABLE}]\n",
            "shl r10, 5\n",
            "add r10, rdx\n",
            "cmp byte ptr [rip + {FILTERING}], 0\n",
            "jne 90f\n",
            "mov rcx, qword ptr [rip + fathom_tls@gottpoff]\n",
            "mov rcx, qword ptr fs:[rcx]\n",
            "test rcx, rcx\n",
            "jz 90f\n",
            "mov rax, qword ptr [rcx]\n",
            $fast,
            store_record!("91f"),
            "80:\n",
            ".cfi_remember_state\n",
            "pop r11\n.cfi_adjust_cfa_offset -8\n",
            "pop r10\n.cfi_adjust_cfa_offset -8\n",
            "pop rcx\n.cfi_adjust_cfa_offset -8\n",
            "pop rdx\n.cfi_adjust_cfa_offset -8\n",
            "pop rax\n.cfi_adjust_cfa_offset -8\n",
            "lea rsp, [rsp + 8]\n.cfi_adjust_cfa_offset -8\n",
            "ret\n",
            ".cfi_restore_state\n",
            "90: call ",
            $slow,
            "\njmp 80b\n",
            "91: call fathom_to_slow_record\n",
            "jmp 80b\n",
            ".cfi_endproc\n",
            end_function!($name),
        )
    };
}

/// Calls Rust from a hook: with the saved argument registers or results, the vector registers, the slot, and the function.
macro_rules! to_rust {
    ($name:literal, $registers:literal, $target:literal) => {
        concat!(
            begin_function!($name),
            ".cfi_startproc\n",
            "push rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbp, 0\n",
            "mov rbp, rsp\n.cfi_def_cfa_register rbp\n",
            // Behind the return address are r11, r10, rcx, rdx, rax.
            "push r9\npush r8\npush qword ptr [rbp + 32]\npush qword ptr [rbp + 40]\npush rsi\npush rdi\n",
            $registers,
            "\nsub rsp, 256\nand rsp, -16\n",
            save_vectors!(),
            "mov rsi, rsp\n",
            "mov rdx, r11\n",
            "mov rcx, r10\n",
            "call ",
            $target,
            "\n",
            restore_vectors!(),
            "lea rsp, [rbp - 48]\n",
            "pop rdi\npop rsi\nadd rsp, 16\npop r8\npop r9\n",
            "pop rbp\n.cfi_def_cfa rsp, 8\n",
            "ret\n",
            ".cfi_endproc\n",
            end_function!($name),
        )
    };
}

global_asm!(
    ".text",
    hook!(
        "fathom_sled_enter",
        concat!(
            "lea r11, [r11 + {CYG}]\n",
            "cmp qword ptr [rax], r11\n",
            "jbe 92f\n",
            "cmp rax, qword ptr [rcx + {LIMIT}]\n",
            "jae 92f\n",
            "add rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "mov rdx, qword ptr [r10]\n",
            "mov qword ptr [rax + 8], rdx\n",
            "lea rdx, [rax + rax - 2 * {BIAS}]\n",
            "and edx, 0xffc0\n",
            "or rdx, qword ptr [r10 + 8]\n",
            "mov r10, rdx\n",
            "mov qword ptr [rax + 16], r10\n",
            "mov qword ptr [rax], r11\n",
            "jmp 93f\n",
            "92: sub r11, {CYG}\n",
            "jmp 90f\n",
            "93:\n",
        ),
        "fathom_to_sled_enter"
    ),
    hook!(
        "fathom_sled_exit",
        concat!(
            "lea rdx, [r11 + {CYG}]\n",
            "cmp qword ptr [rax], rdx\n",
            "jne 90f\n",
            "mov rdx, qword ptr [r10]\n",
            "cmp qword ptr [rax + 8], rdx\n",
            "jne 90f\n",
            "mov r10, qword ptr [rax + 16]\n",
            "mov qword ptr [rax], 0\n",
            "sub rax, 32\n",
            "mov qword ptr [rcx], rax\n",
            "or r10, 1\n",
        ),
        "fathom_to_sled_exit"
    ),
    to_rust!("fathom_to_sled_enter", "mov rdi, rsp", "{enter}"),
    to_rust!("fathom_to_sled_exit", "lea rdi, [rbp + 32]", "{exit}"),
    TABLE = sym crate::calls::TABLE,
    FILTERING = sym FILTERING,
    CYG = const CYG,
    LIMIT = const crate::state::LIMIT_OFFSET,
    BIAS = const crate::state::SHADOW_BIAS,
    BUF = const crate::state::BUF_OFFSET,
    enter = sym slow_enter,
    exit = sym slow_exit,
);

unsafe extern "C" {
    /// The hook of entries. Only its address is used.
    fn fathom_sled_enter();
    /// The hook of exits and tail calls. Only its address is used.
    fn fathom_sled_exit();
}

/// An entry that the fast path did not take.
extern "C" fn slow_enter(integers: &[usize; 6], vectors: *const u8, slot: usize, f: &Function) {
    // The caller's return address is one word further up.
    let arguments = Arguments { integers, vectors, stack: slot + 16 };
    cyg::enter(f.target, slot | CYG, &arguments);
}

/// An exit that the fast path did not take. In front of a jump to another function no result is known.
extern "C" fn slow_exit(integers: &[usize; 3], vectors: *const u8, slot: usize, f: &Function) {
    let results = Results { integers, vectors };
    cyg::exit(f.target, slot, (f.kind == SLED_EXIT).then_some(&results));
}
