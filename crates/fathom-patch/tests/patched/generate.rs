//! Functions of every shape, as assembly.

use std::fmt::Write as _;

/// Numbers that look like chance and are the same every time (xorshift64).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// Instructions that a prologue can begin with: no frame, any registers but rsp.
const PLAIN: &[&str] = &[
    "mov eax, edi",
    "lea rax, [rdi + rsi*2 + 5]",
    "xor eax, eax",
    "add r11, r10",
    "mov rdx, qword ptr [rip + cells + 8]",
    "add dword ptr [rip + cells + 16], 7",
    "cmp byte ptr [rip + cells + 3], 9",
    "lea rcx, [rip + cells]",
    "movups xmm3, xmmword ptr [rip + cells + 16]",
    "mov qword ptr [rip + cells + 24], 0x12345",
    "test edi, edi",
    "mov r9, 0x1122334455667788",
    "nop",
    "nop dword ptr [rax + rax]",
    "cmp esi, 4",
    "movzx edx, sil",
    "pxor xmm12, xmm1",
    "vpaddd xmm9, xmm2, xmm3",
    "inc r8d",
    "bswap rbx",
];

/// What turns flags into registers.
const FLAGS: &[&str] =
    &["setc al", "sete cl", "sbb edx, edx", "cmovs r8, r9", "seto r10b", "adc r11d, 0", "lahf"];

/// A jump that a prologue can have, to the label 2.
const JUMPS: &[&str] = &["je 2f", "jrcxz 2f", "loop 2f", "jmp 2f", "js 2f", "loopne 2f", "jecxz 2f"];

/// The text of `count` functions, f0 and so on; some call functions with lower numbers.
pub(crate) fn program(seed: u64, count: usize) -> String {
    let mut chance = Chance::new(seed);
    let mut text = String::from(".intel_syntax noprefix\n.text\n");
    let mut callable = Vec::new();
    for n in 0..count {
        let align =
            chance.one_of(&[".p2align 4", ".p2align 4", ".p2align 4,0xcc", ".p2align 2", "", ".p2align 5"]);
        let end = ["", "endbr64"][chance.below(4) / 3];
        // Without a frame of its own the unwind rules stay what they are at the beginning.
        // Who calls a function that has arguments on the stack has to put some there.
        let has_arguments = chance.below(12) == 0;
        let body = if has_arguments { with_arguments(&mut chance) } else { shape(&mut chance, n, &callable) };
        if !has_arguments {
            callable.push(n);
        }
        let has_cfi = chance.below(2) == 0
            && !body.contains("push")
            && !body.contains("pop")
            && !body.contains("sub rsp");
        let (cfi, cfi_end) = if has_cfi { (".cfi_startproc", ".cfi_endproc") } else { ("", "") };
        let _ = write!(
            text,
            "{align}\n.globl f{n}\n.type f{n},@function\nf{n}:\n{cfi}\n{end}\n{body}\n{cfi_end}\n.size f{n}, .-f{n}\n{}",
            // Something that is no padding.
            if chance.below(6) == 0 { ".byte 0x0f, 0x0b\n" } else { "" }
        );
    }
    text.push_str(".section .data.rel.ro,\"aw\"\n.globl functions\nfunctions:\n");
    for n in 0..count {
        let _ = writeln!(text, ".quad f{n}");
    }
    text.push_str(".globl names\nnames:\n");
    for n in 0..count {
        let _ = writeln!(text, ".quad name{n}");
    }
    text.push_str(".section .rodata\n.globl count\n.p2align 2\n");
    let _ = writeln!(text, "count: .long {count}");
    for n in 0..count {
        let _ = writeln!(text, "name{n}: .asciz \"f{n}\"");
    }
    text.push_str(".data\n.p2align 4\n.globl data_start_, data_end_\ndata_start_:\ncells: .quad 1, 2, 3, 4, 5, 6\n.space 80\n");
    text.push_str("data_end_:\n.section .note.GNU-stack,\"\",@progbits\n");
    text
}

fn some(chance: &mut Chance, from: &[&str], most: usize) -> String {
    (0..chance.below(most + 1)).fold(String::new(), |text, _| text + chance.one_of(from) + "\n")
}

fn with_arguments(chance: &mut Chance) -> String {
    let plain = some(chance, PLAIN, 2);
    match chance.below(3) {
        0 => format!("mov ecx, dword ptr [rsp + 8]\n{plain}mov rbp, qword ptr [rsp + 16]\nret"),
        1 => format!("{plain}push rbp\nmov rbp, rsp\nmov rax, qword ptr [rbp + 16]\n{plain}pop rbp\nret"),
        _ => {
            format!("push rbx\nsub rsp, 16\n{plain}mov rdx, qword ptr [rsp + 40]\nadd rsp, 16\npop rbx\nret")
        }
    }
}

fn shape(chance: &mut Chance, n: usize, callable: &[usize]) -> String {
    let other = if callable.is_empty() { 0 } else { callable[chance.below(callable.len())] };
    let plain = some(chance, PLAIN, 4);
    let more = some(chance, PLAIN, 3);
    let flags = format!("cmp edi, esi\n{}", some(chance, FLAGS, 2));
    let call = if callable.is_empty() { "nop".to_owned() } else { format!("call f{other}") };
    let tail = if callable.is_empty() { "ret".to_owned() } else { format!("jmp f{other}") };
    match chance.below(22) {
        0 | 1 => format!("{plain}{flags}{more}ret"),
        2 => ["ret", "xor eax, eax\nret", "mov eax, edi\nret", "lea rax, [rdi + 1]\nret", "inc eax\nret"]
            [chance.below(5)]
        .to_owned(),
        3 => format!(
            "push rbp\nmov rbp, rsp\n{plain}push rbx\npush r12\n{flags}{call}\npop r12\npop rbx\nleave\nret"
        ),
        4 => format!(
            "sub rsp, 24\n{plain}mov qword ptr [rsp + 8], rdi\n{call}\nmov rdi, qword ptr [rsp + 8]\nadd rsp, 24\nret"
        ),
        5 | 6 => {
            let jump = chance.one_of(JUMPS);
            format!("test edi, edi\n{jump}\n{more}2: {flags}ret")
        }
        7 => format!("{}\n{more}\n2: {plain}{flags}ret", chance.one_of(JUMPS)),
        // Round and round, back to the beginning.
        8 => format!("add rax, 3\nshr edi, 1\njnz f{n}\n{flags}ret"),
        9 => "9: add rax, 3\nshr rdi, 3\njz 2f\njmp 9b\n2: ret".to_owned(),
        // Back to what would be overwritten.
        10 => format!("xor eax, eax\n1: add eax, edi\n{flags}shr edi, 1\njnz 1b\nret"),
        11 => format!("nop\n1: add rax, 1\nshr rsi, 7\njnz 1b\n{more}ret"),
        12 => format!("{plain}{tail}"),
        13 => format!("test sil, 1\njz 2f\n{tail}\n2: {more}ret"),
        14 => tail,
        // A call at the very beginning.
        15 => format!("{call}\n{plain}{flags}ret"),
        16 if !callable.is_empty() => {
            format!("xor eax, eax\ncall qword ptr [rip + functions + {}]\n{more}ret", 8 * other)
        }
        17 => format!(
            "mov edx, edi\nand edx, 3\nlea rcx, [rip + 7f]\nmovsxd rdx, dword ptr [rcx + rdx*4]\nadd rdx, rcx\njmp rdx\n\
             1: inc rax\nret\n2: {more}ret\n3: {plain}4: xor edx, edx\nret\n\
             .section .rodata\n.p2align 2\n7: .long 1b-7b, 2b-7b, 3b-7b, 4b-7b\n.text"
        ),
        // A table that leads to what would be overwritten.
        18 => "nop\n1: add rax, 1\n2: shr edi, 1\njz 3f\nmov ecx, edi\nand ecx, 1\nlea rdx, [rip + 7f]\n\
             movsxd rcx, dword ptr [rdx + rcx*4]\nadd rcx, rdx\njmp rcx\n3: ret\n\
             .section .rodata\n.p2align 2\n7: .long 1b-7b, 2b-7b\n.text"
            .to_owned(),
        // The same with addresses.
        19 => format!(
            "nop\n1: add rax, 1\n2: shr edi, 1\njz 3f\nmov ecx, edi\nand ecx, 1\nlea rdx, [rip + 7f]\n\
             jmp qword ptr [rdx + rcx*8]\n3: {flags}ret\n\
             .section .data.rel.ro,\"aw\"\n.p2align 3\n7: .quad 1b, 2b\n.text"
        ),
        20 => ["mov rax, qword ptr [rsp]\nret", "pop rdx\nxor eax, eax\njmp rdx"][chance.below(2)].to_owned(),
        // Flags from the caller, flags to the caller, arguments that the callee takes away.
        _ => match chance.below(3) {
            0 => format!(
                "{plain}cmp edi, esi\ncall 5f\nadd rax, 1\nret\n.size f{n}, .-f{n}\n.type g{n},@function\n.p2align 4\ng{n}:\n\
                 5: mov ecx, 3\nsbb eax, eax\nadd eax, ecx\nret\n.size g{n}, .-g{n}"
            ),
            1 => format!(
                "{plain}call 5f\nsetc al\nmovzx eax, al\nret\n.size f{n}, .-f{n}\n.type g{n},@function\n.p2align 4\ng{n}:\n\
                 5: mov ecx, 3\ncmp edi, esi\nret\n.size g{n}, .-g{n}"
            ),
            _ => format!(
                "{plain}push rdi\ncall 5f\nret\n.size f{n}, .-f{n}\n.type g{n},@function\n.p2align 4\ng{n}:\n\
                 5: mov rax, qword ptr [rsp + 8]\nmov ecx, 1\nret 8\n.size g{n}, .-g{n}"
            ),
        },
    }
}
