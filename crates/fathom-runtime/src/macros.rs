//! Pieces of assembly that the plain and the filtering hooks share. Text, because a GAS macro of one `global_asm!` is not
//! visible in another.

/// Reads the clock and stores the record. In: rcx = block, r10 = word. Out: rax, rcx, rdx are gone. Jumps to
/// `$slow` with rcx = block, r10 = word, rax = the place that was not there, when the segment is full or this thread has
/// none.
macro_rules! store_record {
    ($slow:literal) => {
        concat!(
            "mov eax, 16\n",
            "xadd qword ptr [rcx + {BUF}], rax\n",
            "cmp rax, qword ptr [rcx + {BUF} + 8]\n",
            "jae ",
            $slow,
            "\n",
            "mov rcx, rax\n",
            "rdtsc\n",
            "shl rdx, 32\n",
            "or rax, rdx\n",
            "mov qword ptr [rcx], rax\n",
            "mov qword ptr [rcx + 8], r10\n",
        )
    };
}

/// Unwind rules where rsp is slot + 8 and the return address is in the shadow stack. See `docs/unwinding.md`.
macro_rules! return_rules {
    () => {
        concat!(
            // CFA = slot + 9: unlike slot or slot + 8 it differs from the callee's and the caller's.
            ".cfi_def_cfa rsp, 1\n",
            // rsp = CFA - 1
            ".cfi_escape 0x16, 0x07, 0x02, 0x31, 0x1c\n",
            // RA = orig of the frame whose slot is CFA - 9, searched from the top of each thread's shadow stack. The
            // list of threads is found from the first word of the page that the program counter is in.
            ".cfi_escape 0x16, 0x10, 0x38, 0x39, 0x1c, 0x12, 0x80, 0x00, 0x0b, 0x00, 0xf0, 0x1a, 0x12, 0x06, 0x22, 0x06, 0x12, 0x28, 0x03, 0x00, 0x2f, 0x24, 0x00, 0x12, 0x06, 0x12, 0x06, 0x15, 0x03, 0x29, 0x28, 0x17, 0x00, 0x12, 0x15, 0x02, 0x23, 0x08, 0x06, 0x2b, 0x28, 0x07, 0x00, 0x13, 0x23, 0x10, 0x06, 0x2f, 0xde, 0xff, 0x08, 0x20, 0x1c, 0x2f, 0xe1, 0xff, 0x23, 0x08, 0x06\n",
        )
    };
}

/// Saves the vector registers from rsp upwards; 256 bytes.
macro_rules! save_vectors {
    () => {
        "movups xmmword ptr [rsp], xmm0\nmovups xmmword ptr [rsp+16], xmm1\nmovups xmmword ptr [rsp+32], xmm2\nmovups xmmword ptr [rsp+48], xmm3\nmovups xmmword ptr [rsp+64], xmm4\nmovups xmmword ptr [rsp+80], xmm5\nmovups xmmword ptr [rsp+96], xmm6\nmovups xmmword ptr [rsp+112], xmm7\nmovups xmmword ptr [rsp+128], xmm8\nmovups xmmword ptr [rsp+144], xmm9\nmovups xmmword ptr [rsp+160], xmm10\nmovups xmmword ptr [rsp+176], xmm11\nmovups xmmword ptr [rsp+192], xmm12\nmovups xmmword ptr [rsp+208], xmm13\nmovups xmmword ptr [rsp+224], xmm14\nmovups xmmword ptr [rsp+240], xmm15\n"
    };
}

/// Undoes [`save_vectors`].
macro_rules! restore_vectors {
    () => {
        "movups xmm0, xmmword ptr [rsp]\nmovups xmm1, xmmword ptr [rsp+16]\nmovups xmm2, xmmword ptr [rsp+32]\nmovups xmm3, xmmword ptr [rsp+48]\nmovups xmm4, xmmword ptr [rsp+64]\nmovups xmm5, xmmword ptr [rsp+80]\nmovups xmm6, xmmword ptr [rsp+96]\nmovups xmm7, xmmword ptr [rsp+112]\nmovups xmm8, xmmword ptr [rsp+128]\nmovups xmm9, xmmword ptr [rsp+144]\nmovups xmm10, xmmword ptr [rsp+160]\nmovups xmm11, xmmword ptr [rsp+176]\nmovups xmm12, xmmword ptr [rsp+192]\nmovups xmm13, xmmword ptr [rsp+208]\nmovups xmm14, xmmword ptr [rsp+224]\nmovups xmm15, xmmword ptr [rsp+240]\n"
    };
}

/// Undoes what a call hook saved: `$restore` for r11, then the scratch registers.
macro_rules! pop_scratch {
    ($restore:literal) => {
        concat!(
            $restore,
            "pop r10\n.cfi_adjust_cfa_offset -8\n",
            "pop rdx\n.cfi_adjust_cfa_offset -8\n",
            "pop rcx\n.cfi_adjust_cfa_offset -8\n",
            "pop rax\n.cfi_adjust_cfa_offset -8\n",
        )
    };
}

/// The end of a call hook's way in: back to the lane, with carry when the function is only to be jumped to. At `83` the
/// lane calls it; its address is where the index was. At `95` is what [`store_record`] jumps to when there is no room, and at
/// `90` what is left to Rust.
macro_rules! to_lane {
    ($restore:literal) => {
        concat!(
            "83: clc\n",
            ".cfi_remember_state\n",
            pop_scratch!($restore),
            "ret\n",
            ".cfi_restore_state\n",
            "95: call fathom_to_slow_record\n",
            "jmp 83b\n",
            "90:\n",
            pop_scratch!($restore),
            "call fathom_to_slow_call\n",
            "ret\n",
            ".cfi_endproc\n",
        )
    };
}

/// The beginning of a function that only this library sees.
macro_rules! begin_function {
    ($name:literal) => {
        concat!(".hidden ", $name, "\n.globl ", $name, "\n.type ", $name, ",@function\n", $name, ":\n")
    };
}

/// Its end.
macro_rules! end_function {
    ($name:literal) => {
        concat!(".size ", $name, ", . - ", $name, "\n")
    };
}

/// In a lane: calls the function and goes on to the way out. The target is where the index was. Behind the first instruction
/// it is below rsp, but within the red zone; the call writes its return address into the slot.
macro_rules! call_function {
    ($exit:literal) => {
        concat!("lea rsp, [rsp + 16]\n", "call qword ptr [rsp - 16]\n", "jmp ", $exit, "\n")
    };
}

/// In a lane: jumps to the function, as if nothing had been here.
macro_rules! leave_alone {
    () => {
        "lea rsp, [rsp + 8]\njmp qword ptr [rsp - 8]\n"
    };
}

/// The lanes of a call hook; see `asm.rs`. `$go_on` is what they do behind the way in. A stub jumps to one with the index of
/// the function and the caller's return address on the stack.
macro_rules! lanes {
    ($name:literal, $enter:literal, $go_on:expr) => {
        concat!(
            ".p2align 12\n",
            begin_function!($name),
            ".cfi_startproc\n",
            return_rules!(),
            ".rept {LANE_PAGES}\n",
            ".p2align 12\n",
            ".quad {threads} - .\n",
            ".rept {LANES_IN_PAGE}\n",
            ".p2align 5, 0xcc\n",
            "call ",
            $enter,
            "\n",
            $go_on,
            ".endr\n",
            ".endr\n",
            ".cfi_endproc\n",
            ".p2align 12, 0xcc\n",
            end_function!($name),
        )
    };
}

pub(crate) use {
    begin_function, call_function, end_function, lanes, leave_alone, pop_scratch, restore_vectors,
    return_rules, save_vectors, store_record, to_lane,
};
