//! Puts records back in order that a signal handler has got in between.
//!
//! A hook first changes the shadow stack and then reserves the place of its record. A handler that runs between the
//! two records its calls in front of the hook's own record, at the depth that the hook has made. The times tell nothing
//! (the hook reads the clock last), but the depths do: an entry one deeper than possible has its caller's entry behind
//! the handler's records, an entry one less deep than possible has the exit behind them.

use fathom_abi::record::{
    DATA_MAGIC, DEPTH_MASK, DEPTH_SHIFT, EVENT, EXIT, LOST, MAGIC, MAGIC_MASK, MORE, TYPE_MASK,
};

const DEPTHS: u64 = DEPTH_MASK >> DEPTH_SHIFT;
/// Records of entries and exits have the magic and not this bit of the type.
const ORDINARY_MASK: u64 = (7 << 3) | LOST;

fn depth(word: u64) -> u64 {
    (word & DEPTH_MASK) >> DEPTH_SHIFT
}

/// Whether it is a piece of the payload of the record in front of it.
pub(crate) fn is_data(word: u64) -> bool {
    word & MAGIC_MASK == DATA_MAGIC
}

/// Whether it is an event, which may stand anywhere.
pub(crate) fn is_event(word: u64) -> bool {
    word & (MAGIC_MASK | TYPE_MASK) == MAGIC | EVENT
}

/// Reorders records (time, word). The first `own` of them are at hand, the others come after them and are looked at for
/// late ones; those may change then. `next` is the depth that the next entry of the task has, as far as it is known:
/// before and after the call that of the first record and of the one behind `own`.
pub(crate) fn repair(records: &mut [[u64; 2]], own: usize, next: &mut Option<u64>) {
    let mut expected = next.unwrap_or(u64::MAX);
    let mut at = 0;
    while at < own {
        let word = records[at][1];
        let d = depth(word);
        if is_data(word) || is_event(word) {
            // They say nothing about calls.
        } else if word & ORDINARY_MASK != MAGIC {
            expected = u64::MAX;
        } else if word & EXIT != 0 {
            expected = d;
        } else {
            if d != expected && expected != u64::MAX && late(records, at, expected) {
                continue;
            }
            expected = (d + 1) & DEPTHS;
        }
        at += 1;
    }
    *next = (expected != u64::MAX).then_some(expected);
}

/// How many records are where they belong whatever comes behind them. `next` is as in [`repair`], of the first record
/// before and of the one behind those after the call.
pub(crate) fn in_order(records: &[[u64; 2]], next: &mut Option<u64>) -> usize {
    let mut expected = next.unwrap_or(u64::MAX);
    let mut fits = |record: &[u64; 2]| {
        let (word, d) = (record[1], depth(record[1]));
        if is_data(word) || is_event(word) {
            return true;
        }
        let entry = word & ORDINARY_MASK == MAGIC && word & EXIT == 0;
        let off_by_one = d == expected.wrapping_add(1) & DEPTHS || (d + 1) & DEPTHS == expected;
        if entry && expected != u64::MAX && off_by_one {
            return false;
        }
        expected = match word & ORDINARY_MASK == MAGIC {
            true if entry => (d + 1) & DEPTHS,
            true => d,
            false => u64::MAX,
        };
        true
    };
    let count = records.iter().take_while(|record| fits(record)).count();
    *next = (expected != u64::MAX).then_some(expected);
    count
}

/// How many records there are without a last one whose payload may go on behind them.
pub(crate) fn without_cut_payload(records: &[[u64; 2]]) -> usize {
    match records.iter().rposition(|record| !is_data(record[1])) {
        Some(last) if records[last][1] & MORE != 0 => last,
        _ => records.len(),
    }
}

/// If the entry at `at` belongs to a handler that came in between, moves the late record in front of it.
#[cold]
fn late(records: &mut [[u64; 2]], at: usize, expected: u64) -> bool {
    let d = depth(records[at][1]);
    let (kind, wanted) = if d == (expected + 1) & DEPTHS {
        (0, expected)
    } else if (d + 1) & DEPTHS == expected {
        (EXIT, d)
    } else {
        return false;
    };
    // The handler's calls, one or more whole ones at this depth.
    let mut open = 0u64;
    for i in at..records.len() {
        let word = records[i][1];
        if is_data(word) || is_event(word) {
            continue;
        }
        if word & ORDINARY_MASK != MAGIC {
            return false;
        }
        let is_exit = word & TYPE_MASK == EXIT;
        if open == 0 && i > at && depth(word) == wanted && word & TYPE_MASK == kind {
            let data = records[i + 1..].iter().take_while(|r| is_data(r[1])).count();
            let end = i + 1 + data;
            // What is looked at may end before the payload does.
            if end == records.len() && data > 0 {
                return false;
            }
            records[at..end].rotate_right(1 + data);
            return true;
        }
        if !is_exit {
            if open == 0 && depth(word) != d {
                return false;
            }
            open += 1;
        } else if open == 0 {
            return false;
        } else {
            open -= 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_abi::record::{ENTRY, word};
    use proptest::prelude::*;

    /// `>f` enters function f, `<f` leaves it, at the given depth.
    fn records(text: &str) -> Vec<[u64; 2]> {
        text.split_whitespace()
            .map(|r| {
                let (kind, rest) = r.split_at(1);
                let (name, depth) = rest.split_at(1);
                let kind = if kind == ">" { ENTRY } else { EXIT };
                [0, word(kind, depth.parse().unwrap(), u64::from(name.as_bytes()[0]))]
            })
            .collect()
    }

    fn check(before: &str, after: &str) {
        let mut got = records(before);
        let own = got.len();
        repair(&mut got, own, &mut Some(0));
        assert_eq!(got, records(after), "{before}");
    }

    #[test]
    fn an_entry_behind_a_handler() {
        check(">m0 >h2 <h2 >f1 <f1 <m0", ">m0 >f1 >h2 <h2 <f1 <m0");
        check(">m0 >h2 >i3 <i3 <h2 >h2 <h2 >f1 <f1 <m0", ">m0 >f1 >h2 >i3 <i3 <h2 >h2 <h2 <f1 <m0");
    }

    #[test]
    fn an_exit_behind_a_handler() {
        check(">m0 >f1 >h1 <h1 <f1 <m0", ">m0 >f1 <f1 >h1 <h1 <m0");
    }

    #[test]
    fn what_is_in_order_or_cannot_be_explained_stays() {
        for text in [">m0 >f1 <f1 >g1 <g1 <m0", ">m0 >h2 <h2 <m0", ">m0 >h5 <h5 <m0", ">m0 >h2"] {
            check(text, text);
        }
    }

    #[test]
    fn the_depth_is_known_across_segments() {
        let mut next = Some(0);
        repair(&mut records(">m0"), 1, &mut next);
        assert_eq!(next, Some(1));
        let mut got = records(">h2 <h2 >f1");
        repair(&mut got, 3, &mut next);
        assert_eq!(got, records(">f1 >h2 <h2"));
    }

    #[test]
    fn late_records_are_found_in_the_next_segment() {
        let mut next = Some(0);
        let mut got = records(">m0 >h2 <h2 >f1 <f1");
        repair(&mut got, 3, &mut next);
        assert_eq!(got, records(">m0 >f1 >h2 <h2 <f1"));
        // Behind the third record, the handler's entry, comes its exit.
        assert_eq!(next, Some(3));
    }

    #[test]
    fn payloads_go_with_their_records() {
        use fathom_abi::record::{MORE, data_word};
        let data = |n| [n, data_word(n, 8)];
        let mut got = records(">m0 >h2 <h2 >f1 <f1 <m0");
        got[3][1] |= MORE;
        got[1][1] |= MORE;
        got.insert(4, data(1));
        got.insert(4, data(2));
        got.insert(2, data(3));
        let own = got.len();
        repair(&mut got, own, &mut Some(0));
        let mut wanted = records(">m0 >f1 >h2 <h2 <f1 <m0");
        wanted[1][1] |= MORE;
        wanted[2][1] |= MORE;
        wanted.insert(3, data(3));
        wanted.insert(2, data(1));
        wanted.insert(2, data(2));
        assert_eq!(got, wanted);
    }

    #[test]
    fn what_may_have_to_wait_for_a_later_record() {
        let count = |text: &str| {
            let mut next = Some(0);
            (in_order(&records(text), &mut next), next)
        };
        assert_eq!(count(">m0 >f1 <f1 >g1"), (4, Some(2)));
        // A handler's call, whose caller's entry is not there yet.
        assert_eq!(count(">m0 >h2 <h2"), (1, Some(1)));
        assert_eq!(count(">m0 >f1 >h1 <h1"), (2, Some(2)));
        // After a longjmp over many levels.
        assert_eq!(count(">m0 >f1 >g2 >h3 >i1"), (5, Some(2)));
        assert_eq!(in_order(&records(">h5 <h5"), &mut None), 2);
    }

    #[test]
    fn the_last_payload_may_go_on() {
        use fathom_abi::record::data_word;
        let mut all = records(">m0 >f1");
        assert_eq!(without_cut_payload(&all), 2);
        all[1][1] |= MORE;
        assert_eq!(without_cut_payload(&all), 1);
        all.push([1, data_word(1, 8)]);
        assert_eq!(without_cut_payload(&all), 1);
        all.extend(records("<f1"));
        assert_eq!(without_cut_payload(&all), 4);
    }

    proptest! {
        /// Any well-nested run of calls stays as it is.
        #[test]
        fn nested_calls_stay(steps in proptest::collection::vec(any::<bool>(), 0..200)) {
            let mut depth = 0;
            let mut all = Vec::new();
            for enter in steps {
                if enter {
                    all.push([0, word(ENTRY, depth, 7)]);
                    depth += 1;
                } else if depth > 0 {
                    depth -= 1;
                    all.push([0, word(EXIT, depth, 7)]);
                }
            }
            let mut got = all.clone();
            let own = got.len();
            repair(&mut got, own, &mut Some(0));
            prop_assert_eq!(got, all);
        }
    }
}
