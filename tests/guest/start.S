/*
 * The first instructions of the test guest, from reset to C, and its timer
 * interrupt. The guest is its own firmware (qemu -bios): the image's last 64
 * KiB lie below 4 GiB in ROM. This switches to 32-bit protected mode without
 * paging, copies the image to 1 MiB, where it is linked to run, and calls
 * main in guest.c.
 *
 * The segment descriptors have their "accessed" bit set from the beginning:
 * a processor that wanted to set it could not, they are in ROM.
 */
        .intel_syntax noprefix

        .equ    ROM, 0xffff0000
        .equ    RAM, 0x100000
        .equ    STACK, 0x90000
        .equ    IMAGE_SIZE, 0x10000

        .section .text.start, "ax"
        .code32
        .globl  settings, image_start
image_start:
settings:                               /* written by the rig: see guest.c */
        .ascii  "VMFGUEST"
        .fill   248, 1, 0

protected:
        mov     ax, 16
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        mov     esp, STACK
        cld
        mov     esi, ROM
        mov     edi, RAM
        mov     ecx, IMAGE_SIZE / 4
        rep movsd
        mov     edi, offset bss_start
        mov     ecx, offset bss_end
        sub     ecx, edi
        shr     ecx, 2
        xor     eax, eax
        rep stosd
        mov     eax, offset in_ram
        jmp     eax
in_ram:
        lgdt    [gdt_pointer]
        lidt    [idt_pointer]
        call    main
1:      hlt
        jmp     1b

/*
 * Beats: one byte, and the long form after every 128th. Goes back without
 * iret, which KVM's emulator does not know outside real mode.
 */
        .globl  on_timer
on_timer:
        push    eax
        inc     dword ptr [beat]
        mov     eax, [beat]
        or      al, 0x80
        out     0xe9, al
        test    al, 0x7f
        jnz     1f
        pushad
        call    say_state
        popad
1:      mov     al, 0x20
        out     0x20, al
        pop     eax
        push    dword ptr [esp + 8]
        popfd
        retf    4                       /* stack: eip, cs, eflags */

        .code16
real:
        cli
        .equ    rom_gdt_pointer, rom_pointer - image_start
        lgdtd   cs:[rom_gdt_pointer]
        mov     eax, cr0
        and     eax, 0x9fffffff         /* caches on */
        or      al, 1
        mov     cr0, eax
        .equ    rom_protected, protected - RAM + ROM
        ljmpd   8, offset rom_protected

        .balign 8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
        .equ    rom_gdt, gdt - RAM + ROM
rom_pointer:
        .word   23
        .long   rom_gdt
gdt_pointer:
        .word   23
        .long   gdt
idt_pointer:
        .word   8 * 33 - 1
        .long   idt

        .section .note.GNU-stack, "", @progbits

        .section .reset, "ax"
        .code16
        .byte   0xe9                    /* jmp real, 16-bit relative */
        .word   real - (image_start + 0xfff3)
        .byte   0x90
