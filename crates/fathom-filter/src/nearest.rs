//! The word that was probably meant.

/// How far two words are apart: letters inserted, left out, replaced, or swapped with their neighbour. Case is ignored.
fn distance(a: &str, b: &str) -> usize {
    let fold = |text: &str| text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>();
    let (a, b) = (fold(a), fold(b));
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut cost = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

/// Looks for the word nearest to another one.
#[derive(Clone, Debug, Default)]
pub struct Nearest {
    wanted: String,
    found: Option<(usize, String)>,
}

/// Names longer than this are not compared.
const LONGEST: usize = 256;

impl Nearest {
    /// For a word that was given.
    pub fn new(wanted: &str) -> Nearest {
        Nearest { wanted: wanted.to_owned(), found: None }
    }

    /// Looks at a word that exists.
    pub fn see(&mut self, word: &str) {
        if word.len() > LONGEST || self.wanted.len() > LONGEST || self.wanted.is_empty() {
            return;
        }
        // A third of the letters can be wrong. More, and it is another word.
        let limit = match &self.found {
            None => self.wanted.len().div_ceil(3),
            // A word that only goes on is as near as others, but likelier.
            Some((found, _)) => found - usize::from(!word.starts_with(&self.wanted)),
        };
        // `f` for `ns::f` is no slip of the finger.
        let inner = word.rsplit("::").next().unwrap_or(word);
        let distance = match () {
            () if inner.len() < word.len() && inner == self.wanted => 1,
            () if word.len().abs_diff(self.wanted.len()) > limit => return,
            () => distance(&self.wanted, word).max(1),
        };
        if distance <= limit {
            self.found = Some((distance, word.to_owned()));
        }
    }

    /// The nearest of the words seen, if any is near.
    pub fn found(&self) -> Option<&str> {
        self.found.as_ref().map(|(_, word)| word.as_str())
    }
}

/// The word nearest to `wanted`, if any is near.
pub fn nearest<'w>(wanted: &str, words: impl IntoIterator<Item = &'w str>) -> Option<String> {
    let mut nearest = Nearest::new(wanted);
    words.into_iter().for_each(|word| nearest.see(word));
    nearest.found().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger() {
        let words = ["depth", "time", "size", "trace"];
        let near = |word: &str| nearest(word, words);
        assert_eq!(near("dpeth").as_deref(), Some("depth"));
        assert_eq!(near("tiem").as_deref(), Some("time"));
        assert_eq!(near("trce").as_deref(), Some("trace"));
        assert_eq!(near("elephant"), None);
        assert_eq!(near(""), None);
    }

    #[test]
    fn names_in_name_spaces() {
        assert_eq!(nearest("run", ["main", "ns::run", "runs2x"]).as_deref(), Some("ns::run"));
        assert_eq!(nearest("Main", ["main"]).as_deref(), Some("main"));
    }

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
