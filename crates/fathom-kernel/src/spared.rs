//! A recorder that the kernel spares when memory runs out.
//!
//! Not for what it records: children that were started before keep what they have.

use std::fs;

const FILE: &str = "/proc/self/oom_score_adj";

/// Of -1000 (never) to 1000 (first): after everybody else but what must never be killed.
const SPARED: i32 = -900;

/// While this lives, the kernel kills other processes first. Whoever looks at memory pressure needs the recorder most when
/// memory runs out; killed, it would also leave the kernel's buffers behind, which are much larger than itself.
#[derive(Debug)]
pub(crate) struct Spared {
    /// What to put back; none where it is not permitted (it needs CAP_SYS_RESOURCE), or was so already.
    before: Option<i32>,
}

impl Spared {
    pub(crate) fn begin() -> Spared {
        let before = now().filter(|&before| before > SPARED);
        Spared { before: before.filter(|_| fs::write(FILE, SPARED.to_string()).is_ok()) }
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // A higher value is always permitted.
            let _ = fs::write(FILE, before.to_string());
        }
    }
}

fn now() -> Option<i32> {
    fs::read_to_string(FILE).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_is_put_back() {
        let before = now();
        let spared = Spared::begin();
        let expected = if spared.before.is_some() { Some(SPARED) } else { before };
        assert_eq!(now(), expected);
        drop(spared);
        assert_eq!(now(), before);
    }
}
