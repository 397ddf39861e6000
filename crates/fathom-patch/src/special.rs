//! Functions that are not patched because of what they do, known by their names.
//!
//! Names only add to what the code itself shows (functions that read their return address, that end in no return, whose
//! frame is a signal's): a stripped library has kept the names that others call it by, and these are among them.

/// Whether a function must not be patched.
pub(crate) fn is_special(name: &str) -> bool {
    let bare = name.trim_start_matches('_');
    returns_twice(bare)
        || switches_stack(bare)
        || unwinds(name)
        || starts_and_ends(name)
        || is_thunk(name)
        || is_hook(name)
        || in_dynamic_linker(name)
}

/// Whether a function looks at where it returns to, returns twice, or returns with another stack: what ends with a jump to it
/// must not have its return address replaced either.
pub(crate) fn sees_return(name: &str) -> bool {
    let bare = name.trim_start_matches('_');
    returns_twice(bare)
        || switches_stack(bare)
        || is_hook(name)
        || matches!(bare, "dlopen" | "dlsym" | "dlvsym" | "dlmopen" | "backtrace" | "dl_sym" | "dl_vsym")
}

/// They return twice, or with another stack pointer than they were called with.
fn returns_twice(bare: &str) -> bool {
    matches!(
        bare,
        "setjmp"
            | "sigsetjmp"
            | "setjmp_syscall"
            | "longjmp"
            | "siglongjmp"
            | "longjmp_chk"
            | "vfork"
            | "libc_vfork"
            | "libc_longjmp"
            | "libc_siglongjmp"
            | "longjmp_unwind"
            | "GI___sigsetjmp"
            | "clone"
            | "clone3"
            | "clone_internal"
            | "clone2"
    )
}

/// They go on on another stack.
fn switches_stack(bare: &str) -> bool {
    matches!(
        bare,
        "getcontext"
            | "setcontext"
            | "swapcontext"
            | "makecontext"
            | "start_context"
            | "push___start_context"
            | "morestack"
            | "splitstack_getcontext"
            | "splitstack_setcontext"
            | "jump_fcontext"
            | "make_fcontext"
            | "ontop_fcontext"
            | "tsan_switch_to_fiber"
    ) || bare.starts_with("morestack")
}

/// They walk the stack and count on their own place on it.
fn unwinds(name: &str) -> bool {
    name.starts_with("_Unwind_")
        || name.starts_with("uw_")
        || name.starts_with("__unw_")
        || name.starts_with("unw_")
        || matches!(
            name,
            "__cxa_throw"
                | "__cxa_rethrow"
                | "__cxa_begin_catch"
                | "__cxa_end_catch"
                | "__cxa_call_unexpected"
                | "__cxa_call_terminate"
                | "__gxx_personality_v0"
                | "__gcc_personality_v0"
                | "rust_eh_personality"
                | "backtrace"
                | "__backtrace"
                | "__frame_state_for"
                | "_Jv_Throw"
                | "__libunwind_Registers_x86_64_jumpto"
                | "__register_frame"
                | "__register_frame_info"
                | "__deregister_frame"
                | "__deregister_frame_info"
                | "dl_iterate_phdr"
                | "__dl_iterate_phdr"
        )
}

/// They run before or after everything, or are entered by no call.
fn starts_and_ends(name: &str) -> bool {
    matches!(
        name,
        "_start"
            | "__libc_start_main"
            | "__libc_start_main_impl"
            | "__libc_start_call_main"
            | "_dl_start"
            | "_dl_start_user"
            | "_dl_relocate_static_pie"
            | "__restore_rt"
            | "__restore"
            | "_init"
            | "_fini"
            | "start_thread"
            | "__libc_setup_tls"
            | "__libc_init_secure"
            | "__libc_csu_init"
            | "__libc_csu_irel"
            | "__stack_chk_fail"
            | "__stack_chk_fail_local"
            | "__chk_fail"
            | "__fortify_fail"
            | "__nptl_deallocate_tsd"
            | "__nptl_free_tcb"
            | "__syscall_cancel_arch"
            | "_dl_fini"
            | "_dl_call_fini"
            | "__do_global_dtors_aux"
            | "frame_dummy"
            | "register_tm_clones"
            | "deregister_tm_clones"
            | "apply_irel"
            | "__cpu_indicator_init"
            | "__init_cpu_features"
    )
}

/// Compilers call them in ways of their own.
fn is_thunk(name: &str) -> bool {
    name.starts_with("__x86.get_pc_thunk")
        || name.starts_with("__x86_return_thunk")
        || name.starts_with("__x86_indirect_thunk")
        || name.starts_with("__llvm_retpoline")
        || name.starts_with("__llvm_lvi_thunk")
        || name.starts_with("__asan_")
        || name.starts_with("__tsan_")
        || name.starts_with("__msan_")
        || name.starts_with("__xray_")
        || matches!(
            name,
            "__tls_get_addr"
                | "___tls_get_addr"
                | "__tls_get_addr_slow"
                | "__tls_desc"
                | "_ITM_beginTransaction"
                | "__chkstk"
                | "___chkstk_ms"
                | "__rust_probestack"
                | "__cfi_check"
                | "__cfi_slowpath"
        )
}

/// Tracers' own functions, which look at where they were called from.
fn is_hook(name: &str) -> bool {
    matches!(
        name,
        "mcount"
            | "_mcount"
            | "__mcount"
            | "__fentry__"
            | "__mcount_internal"
            | "mcount_internal"
            | "__cyg_profile_func_enter"
            | "__cyg_profile_func_exit"
            | "_mcleanup"
            | "__monstartup"
            | "__gmon_start__"
    )
}

/// Parts of the dynamic linker, in it or in a static program: they run inside of first calls, with arguments of others in
/// the registers, or ask from where they were called.
fn in_dynamic_linker(name: &str) -> bool {
    name.starts_with("_dl_runtime_")
        || name.starts_with("_dl_tlsdesc_")
        || name.starts_with("_dl_fixup")
        || name.starts_with("_dl_profile_fixup")
        || matches!(
            name,
            "dlopen"
                | "__dlopen"
                | "dlsym"
                | "__dlsym"
                | "dlvsym"
                | "__dlvsym"
                | "dlmopen"
                | "__dlmopen"
                | "dlclose"
                | "__dlclose"
                | "_dl_sym"
                | "_dl_vsym"
                | "do_sym"
                | "_dl_open"
                | "dl_open_worker"
                | "dl_open_worker_begin"
                | "_dl_catch_exception"
                | "_dl_catch_error"
                | "_dl_signal_exception"
                | "_dl_signal_error"
                | "_dl_debug_state"
                | "_dl_addr"
                | "_dl_find_object"
                | "_dl_find_dso_for_object"
                | "_dl_lookup_symbol_x"
                | "do_lookup_x"
                | "check_match"
                | "__libc_early_init"
                | "_dl_allocate_tls"
                | "_dl_allocate_tls_init"
                | "_dl_deallocate_tls"
                | "_dl_sysinfo_int80"
                | "_dl_vdso_vsym"
        )
}

#[cfg(test)]
mod tests {
    use super::is_special;

    #[test]
    fn some_names() {
        for name in [
            "setjmp",
            "_setjmp",
            "__sigsetjmp",
            "__vfork",
            "longjmp",
            "____longjmp_chk",
            "swapcontext",
            "_Unwind_Resume",
            "__cxa_throw",
            "_start",
            "__restore_rt",
            "__x86_indirect_thunk_rax",
            "__x86.get_pc_thunk.bx",
            "_dl_runtime_resolve_xsavec",
            "__tls_get_addr",
            "dlsym",
            "__clone",
            "__fentry__",
            "uw_init_context_1",
            "start_thread",
        ] {
            assert!(is_special(name), "{name}");
        }
        for name in
            ["main", "_ZN3foo3barEv", "setjmpx", "malloc", "clone_expr", "_init_cache", "", "_", "start"]
        {
            assert!(!is_special(name), "{name}");
        }
    }
}
