# Stands in the place of a function: shows its registers and stack at the call to whoever watches, calls the function,
# and shows what it returns. `probe_target` is the function, `probe_x87` says that it returns a long double.
    .intel_syntax noprefix
    .text
    .globl probe
probe:
    mov [rip + probe_registers], rdi
    mov [rip + probe_registers + 8], rsi
    mov [rip + probe_registers + 16], rdx
    mov [rip + probe_registers + 24], rcx
    mov [rip + probe_registers + 32], r8
    mov [rip + probe_registers + 40], r9
    movups [rip + probe_registers + 64], xmm0
    movups [rip + probe_registers + 80], xmm1
    movups [rip + probe_registers + 96], xmm2
    movups [rip + probe_registers + 112], xmm3
    movups [rip + probe_registers + 128], xmm4
    movups [rip + probe_registers + 144], xmm5
    movups [rip + probe_registers + 160], xmm6
    movups [rip + probe_registers + 176], xmm7
    mov [rip + probe_registers + 208], rsp
    pop r11
    mov [rip + probe_return], r11
    push r11
    sub rsp, 8
    call probe_entry
    add rsp, 16
    mov rdi, [rip + probe_registers]
    mov rsi, [rip + probe_registers + 8]
    mov rdx, [rip + probe_registers + 16]
    mov rcx, [rip + probe_registers + 24]
    mov r8, [rip + probe_registers + 32]
    mov r9, [rip + probe_registers + 40]
    movups xmm0, [rip + probe_registers + 64]
    movups xmm1, [rip + probe_registers + 80]
    movups xmm2, [rip + probe_registers + 96]
    movups xmm3, [rip + probe_registers + 112]
    movups xmm4, [rip + probe_registers + 128]
    movups xmm5, [rip + probe_registers + 144]
    movups xmm6, [rip + probe_registers + 160]
    movups xmm7, [rip + probe_registers + 176]
    call [rip + probe_target]
    mov [rip + probe_registers + 48], rax
    mov [rip + probe_registers + 16], rdx
    mov [rip + probe_registers + 24], rcx
    movups [rip + probe_registers + 64], xmm0
    movups [rip + probe_registers + 80], xmm1
    cmp qword ptr [rip + probe_x87], 0
    je 1f
    fld st(0)
    fstp tbyte ptr [rip + probe_registers + 192]
1:
    call probe_exit
    mov rax, [rip + probe_registers + 48]
    mov rdx, [rip + probe_registers + 16]
    mov rcx, [rip + probe_registers + 24]
    movups xmm0, [rip + probe_registers + 64]
    movups xmm1, [rip + probe_registers + 80]
    push [rip + probe_return]
    ret

    .data
    .balign 16
    .globl probe_registers, probe_target, probe_x87
# rdi rsi rdx rcx r8 r9 rax, xmm0 to xmm7 at 64, st0 at 192, rsp at 208
probe_registers: .fill 28, 8, 0
probe_target: .quad 0
probe_x87: .quad 0
probe_return: .quad 0
    .att_syntax prefix
