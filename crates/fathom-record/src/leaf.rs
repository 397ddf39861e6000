//! Functions that certainly call nothing, found without a disassembler: by bytes that could begin an instruction that
//! leaves the function. Bytes that are something else in truth make a function look as if it did, never the reverse.

/// Whether no instruction in `code`, which begins at the module-relative address `start`, can lead out of it but for a
/// return and calls of `hooks` (addresses of PLT entries or GOT entries).
pub(crate) fn calls_nothing(code: &[u8], start: u64, hooks: &[u64]) -> bool {
    let end = start + code.len() as u64;
    let long = |at: usize| code.get(at..)?.first_chunk::<4>().map(|d| i64::from(i32::from_le_bytes(*d)));
    let target = |next: usize, distance: i64| (start + next as u64).wrapping_add_signed(distance);
    let inside = |address: u64| (start..end).contains(&address);
    let mut at = 0;
    while let Some(&byte) = code.get(at) {
        let following = code.get(at + 1).copied().unwrap_or(0);
        match byte {
            // call or jump with a 32-bit distance
            0xe8 | 0xe9 => match long(at + 1).map(|distance| target(at + 5, distance)) {
                Some(to) if byte == 0xe8 && hooks.contains(&to) => at += 4,
                Some(to) if byte == 0xe9 && inside(to) => {}
                _ => return false,
            },
            // call through the GOT, and all else of that group: indirect calls and jumps, some arithmetic
            0xff => match long(at + 2).map(|distance| target(at + 6, distance)) {
                Some(slot) if following == 0x15 && hooks.contains(&slot) => at += 5,
                _ => return false,
            },
            // jumps with an 8-bit distance
            0xeb | 0x70..=0x7f | 0xe0..=0xe3 if !inside(target(at + 2, i64::from(following as i8))) => {
                return false;
            }
            // those with a condition and a 32-bit distance
            0x0f if matches!(following, 0x80..=0x8f)
                && !long(at + 2).is_some_and(|distance| inside(target(at + 6, distance))) =>
            {
                return false;
            }
            _ => {}
        }
        at += 1;
    }
    true
}

/// Whether something in `code`, which begins at the module-relative address `start`, could be a call of one of `hooks`
/// (addresses of PLT entries or GOT entries).
pub(crate) fn calls_any(code: &[u8], start: u64, hooks: &[u64]) -> bool {
    let to = |next: usize, distance: &[u8]| {
        let distance = distance.first_chunk().map_or(0, |d| i32::from_le_bytes(*d));
        (start + next as u64).wrapping_add_signed(i64::from(distance))
    };
    let direct = code.windows(5).enumerate().filter(|(_, c)| c[0] == 0xe8);
    let through = code.windows(6).enumerate().filter(|(_, c)| c[..2] == [0xff, 0x15]);
    let mut targets =
        direct.map(|(at, c)| to(at + 5, &c[1..])).chain(through.map(|(at, c)| to(at + 6, &c[2..])));
    targets.any(|target| hooks.contains(&target))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// push rbp; mov rbp, rsp; call hook; pop rbp; ret
    fn with_call(distance: i32) -> Vec<u8> {
        let mut code = vec![0x55, 0x48, 0x89, 0xe5, 0xe8];
        code.extend(distance.to_le_bytes());
        code.extend([0x5d, 0xc3]);
        code
    }

    #[test]
    fn only_calls_of_hooks_are_allowed() {
        // The call ends 9 bytes behind the start at 0x1000.
        assert!(calls_nothing(&with_call(0x100), 0x1000, &[0x1109]));
        assert!(!calls_nothing(&with_call(0x100), 0x1000, &[0x1108]));
        assert!(calls_nothing(&[0xf3, 0x0f, 0x1e, 0xfa, 0xc3], 0x1000, &[]));
        // call *rax
        assert!(!calls_nothing(&[0xff, 0xd0, 0xc3], 0x1000, &[]));
        // call *[rip + 0x10], a hook's GOT entry
        let code = [0xff, 0x15, 0x10, 0, 0, 0, 0xc3];
        assert!(calls_nothing(&code, 0x1000, &[0x1016]) && !calls_nothing(&code, 0x1000, &[]));
    }

    #[test]
    fn calls_of_hooks_are_found() {
        assert!(calls_any(&with_call(0x100), 0x1000, &[0x1109]));
        assert!(!calls_any(&with_call(0x100), 0x1000, &[0x1108]));
        // call *[rip + 0x10]
        let code = [0xff, 0x15, 0x10, 0, 0, 0, 0xc3];
        assert!(calls_any(&code, 0x1000, &[0x1016]) && !calls_any(&code, 0x1000, &[0x1017]));
        assert!(!calls_any(&[0xe8, 0, 0], 0x1000, &[0x1000]));
    }

    #[test]
    fn jumps_have_to_stay_inside() {
        // jmp to itself, and to what is behind
        assert!(calls_nothing(&[0xeb, 0xfe, 0xc3], 0x1000, &[]));
        assert!(!calls_nothing(&[0xeb, 0x20, 0xc3], 0x1000, &[]));
        // je +0x10000
        assert!(!calls_nothing(&[0x0f, 0x84, 0, 0, 1, 0, 0xc3], 0x1000, &[]));
        assert!(calls_nothing(&[0x0f, 0x84, 0, 0, 0, 0, 0xc3], 0x1000, &[]));
        // jmp +0x100 as a tail call
        assert!(!calls_nothing(&[0xe9, 0, 1, 0, 0], 0x1000, &[]));
    }
}
