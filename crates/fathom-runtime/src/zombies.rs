//! Return addresses of frames that were given up although their slots still held the replaced address.
//!
//! If such a frame returns after all (several stacks inside one, which cannot be told from a longjmp), the
//! program goes on where it should; only its exit has been recorded too early.

use crate::asm::is_ours;
use crate::state::{Block, Zombie};
use crate::sys;

/// Entries of the table, a power of two.
const SIZE: usize = 4096;

fn table(b: &mut Block) -> Option<&mut [Zombie]> {
    if b.zombies.is_null() {
        b.zombies = sys::map(SIZE * size_of::<Zombie>(), 0)?.cast();
    }
    // SAFETY: mapped above with this size, zeroed, and only this thread uses it.
    Some(unsafe { core::slice::from_raw_parts_mut(b.zombies, SIZE) })
}

fn hash(slot: usize) -> usize {
    (slot >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (usize::BITS - SIZE.trailing_zeros())
}

/// Remembers where `slot` returns to; false when there is no room, and then the frame must be kept.
pub(crate) fn keep(b: &mut Block, slot: usize, orig: usize) -> bool {
    let Some(table) = table(b) else { return false };
    for sweep in [false, true] {
        if sweep {
            drop_dead(table);
        }
        let mut free = None;
        for i in 0..SIZE {
            let entry = &table[(hash(slot) + i) % SIZE];
            if entry.slot == slot {
                free = Some(i);
                break;
            }
            if entry.slot == 0 {
                free = free.or(Some(i));
                break;
            }
            if i == 64 {
                break;
            }
        }
        if let Some(i) = free {
            table[(hash(slot) + i) % SIZE] = Zombie { slot, orig };
            return true;
        }
    }
    false
}

/// Drops what has been overwritten since. Rebuilds the table in place, so that probing chains stay whole.
fn drop_dead(table: &mut [Zombie]) {
    for zombie in table.iter_mut() {
        if zombie.slot != 0 && !sys::peek(zombie.slot).is_some_and(is_ours) {
            *zombie = Zombie { slot: 0, orig: 0 };
        }
    }
    for i in 0..SIZE {
        let (slot, orig) = (table[i].slot, table[i].orig);
        if slot == 0 {
            continue;
        }
        table[i] = Zombie { slot: 0, orig: 0 };
        let mut at = hash(slot);
        while table[at % SIZE].slot != 0 {
            at += 1;
        }
        table[at % SIZE] = Zombie { slot, orig };
    }
}

/// Where `slot` returns to.
pub(crate) fn find(b: &mut Block, slot: usize) -> Option<usize> {
    if b.zombies.is_null() {
        return None;
    }
    let table = table(b)?;
    for i in 0..SIZE {
        let entry = &table[(hash(slot) + i) % SIZE];
        if entry.slot == slot {
            return Some(entry.orig);
        }
        if entry.slot == 0 {
            return None;
        }
    }
    None
}

/// Forgets everything: the thread is gone.
pub(crate) fn clear(b: &mut Block) {
    if let Some(table) = table(b) {
        table.fill_with(|| Zombie { slot: 0, orig: 0 });
    }
}
