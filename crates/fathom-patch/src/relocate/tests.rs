use super::*;

/// The bytes, and the fixups as `kind@offset=target`.
fn moved(bytes: &[u8], need: usize) -> Result<(usize, String), Reason> {
    let moved = relocate(bytes, 0x1000, need)?;
    let code: Vec<String> = moved.code.iter().map(|byte| format!("{byte:02x}")).collect();
    let fixups: Vec<String> =
        moved.fixups.iter().map(|fixup| format!("{:?}@{}={:x}", fixup.kind, fixup.at, fixup.to)).collect();
    Ok((moved.len, format!("{} | {}", code.join(" "), fixups.join(" "))))
}

#[track_caller]
fn check(bytes: &[u8], len: usize, expected: &str) {
    assert_eq!(moved(bytes, 5), Ok((len, expected.to_owned())), "{bytes:02x?}");
}

#[test]
fn plain_instructions_are_copied() {
    // push rbp; mov rbp, rsp; sub rsp, 16
    check(
        &[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10],
        8,
        "55 48 89 e5 48 83 ec 10 e9 00 00 00 00 | Distance@9=1008",
    );
}

#[test]
fn nops_are_left_out() {
    check(&[0x0f, 0x1f, 0x44, 0, 0], 5, "e9 00 00 00 00 | Distance@1=1005");
    check(&[0x90, 0x90, 0x55, 0x66, 0x90], 5, "55 e9 00 00 00 00 | Distance@2=1005");
}

#[test]
fn operands_relative_to_rip() {
    // mov rax, [rip + 0x10]
    check(
        &[0x48, 0x8b, 0x05, 0x10, 0, 0, 0],
        7,
        "48 8b 05 00 00 00 00 e9 00 00 00 00 | Distance@3=1017 Distance@8=1007",
    );
    // cmp dword ptr [rip + 0x10], 7: the distance counts from behind the number
    check(
        &[0x83, 0x3d, 0x10, 0, 0, 0, 7],
        7,
        "83 3d 00 00 00 00 07 e9 00 00 00 00 | Distance@2=1016 Distance@8=1007",
    );
    // mov eax, [eip + 0x10] wraps at 32 bits
    assert_eq!(moved(&[0x67, 0x8b, 0x05, 0x10, 0, 0, 0], 5), Err(Reason::Unmovable));
}

#[test]
fn jumps_are_widened() {
    // test edi, edi; je +0x10; nop
    check(
        &[0x85, 0xff, 0x74, 0x10, 0x90],
        5,
        "85 ff 0f 84 00 00 00 00 e9 00 00 00 00 | Distance@4=1014 Distance@9=1005",
    );
    // jne near
    check(&[0x0f, 0x85, 0, 1, 0, 0], 6, "0f 85 00 00 00 00 e9 00 00 00 00 | Distance@2=1106 Distance@7=1006");
    // A jump never goes on: what is behind it does not matter.
    check(&[0xeb, 0x09, 0xff, 0xff, 0xff], 2, "e9 00 00 00 00 | Distance@1=100b");
    // jrcxz; loop
    check(
        &[0xe3, 0x10, 0xe2, 0xfe, 0x90],
        5,
        "e3 02 eb 05 e9 00 00 00 00 e2 02 eb 05 e9 00 00 00 00 e9 00 00 00 00 \
         | Distance@5=1012 Distance@14=1002 Distance@19=1005",
    );
}

#[test]
fn calls_return_into_the_function() {
    // call +0x20
    check(
        &[0xe8, 0x20, 0, 0, 0],
        5,
        "ff 35 05 00 00 00 e9 00 00 00 00 00 00 00 00 00 00 00 00 \
         | Address@11=1005 Distance@7=1025",
    );
    // xor eax, eax; call [rip + 8]
    check(
        &[0x31, 0xc0, 0xff, 0x15, 8, 0, 0, 0],
        8,
        "31 c0 ff 35 06 00 00 00 ff 25 00 00 00 00 00 00 00 00 00 00 00 00 \
         | Address@14=1008 Distance@10=1010",
    );
    // push rbx; push rbp; push r12; call r8 would return into what is overwritten
    assert_eq!(moved(&[0x53, 0x41, 0xff, 0xd0, 0x90], 5), Err(Reason::Unmovable));
    // xor eax, eax; call r8
    check(
        &[0x31, 0xc0, 0x41, 0xff, 0xd0],
        5,
        "31 c0 ff 35 03 00 00 00 41 ff e0 00 00 00 00 00 00 00 00 \
         | Address@11=1005",
    );
    // nop; call [rsp + 8]
    assert_eq!(moved(&[0x90, 0xff, 0x54, 0x24, 8], 5), Err(Reason::Unmovable));
}

#[test]
fn what_never_goes_on_has_no_jump() {
    // xor eax, eax; ret
    check(&[0x31, 0xc0, 0xc3, 0x90, 0x90], 3, "31 c0 c3 | ");
    check(&[0xe9, 0, 1, 0, 0], 5, "e9 00 00 00 00 | Distance@1=1105");
    // jmp [rip + 8]
    check(&[0xff, 0x25, 8, 0, 0, 0], 6, "ff 25 00 00 00 00 | Distance@2=100e");
    // notrack jmp rax
    check(&[0x3e, 0xff, 0xe0, 0x90, 0x90], 3, "3e ff e0 | ");
    check(&[0x0f, 0x0b, 0x90, 0x90, 0x90], 2, "0f 0b | ");
    // mov eax, 39; syscall
    check(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05], 5, "b8 27 00 00 00 e9 00 00 00 00 | Distance@6=1005");
    check(&[0x0f, 0x05, 0x90, 0x90, 0xc3], 5, "0f 05 c3 | ");
}

#[test]
fn what_cannot_be_moved() {
    assert_eq!(moved(&[0xcf, 0x90, 0x90, 0x90, 0x90], 5), Err(Reason::Unmovable));
    assert_eq!(moved(&[0xcb, 0x90, 0x90, 0x90, 0x90], 5), Err(Reason::Unmovable));
    assert_eq!(moved(&[0xc7, 0xf8, 0x10, 0, 0, 0], 5), Err(Reason::Unmovable));
    assert_eq!(moved(&[0x06, 0x90, 0x90, 0x90, 0x90], 5), Err(Reason::Undecodable));
    assert_eq!(moved(&[0x55, 0x48], 5), Err(Reason::Undecodable));
}
