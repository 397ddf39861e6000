//! Filters of events (`-F`): `EVENTS : EXPRESSION`, as in *trace-cmd-report(1)*.

use fathom_ftrace::{Endian, Field, FieldKind, Format};
use regex::bytes::{Regex, RegexBuilder};

/// Why a filter cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    /// A pattern of events is not a regular expression.
    #[error("filter '{filter}': '{pattern}' is not a regular expression")]
    Pattern {
        /// The filter as it was given.
        filter: String,
        /// The pattern.
        pattern: String,
    },
    /// The expression cannot be read.
    #[error("filter '{filter}': {what} at '{rest}'")]
    Expression {
        /// The filter as it was given.
        filter: String,
        /// What was expected.
        what: &'static str,
        /// What stands there.
        rest: String,
    },
}

/// Events by name.
#[derive(Debug, Clone)]
pub struct EventPattern {
    text: String,
    system: Option<Regex>,
    event: Regex,
}

impl EventPattern {
    /// `SYSTEM/EVENT`, or one name for both; each a regular expression that matches the whole name.
    ///
    /// # Errors
    /// A name that is no regular expression.
    pub fn new(text: &str) -> Result<Self, FilterError> {
        let whole = |pattern: &str| {
            let built =
                RegexBuilder::new(&format!("^(?:{})$", pattern.trim())).case_insensitive(true).build();
            built.map_err(|_| FilterError::Pattern { filter: text.to_owned(), pattern: pattern.to_owned() })
        };
        Ok(match text.split_once('/') {
            Some((system, event)) => {
                Self { text: text.to_owned(), system: Some(whole(system)?), event: whole(event)? }
            }
            None => Self { text: text.to_owned(), system: None, event: whole(text)? },
        })
    }

    /// As it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it names this event.
    pub(crate) fn matches(&self, format: &Format) -> bool {
        let event = self.event.is_match(format.name.as_bytes());
        match &self.system {
            Some(system) => event && system.is_match(format.system.as_bytes()),
            None => event || self.event.is_match(format.system.as_bytes()),
        }
    }
}

/// A filter as it was written.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    negative: bool,
    events: Vec<EventPattern>,
    condition: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Matches,
    MatchesNot,
}

#[derive(Debug, Clone)]
enum Node {
    Number(i64),
    Text(Vec<u8>),
    Name(String),
    Not(Box<Node>),
    Both(Box<Node>, Box<Node>),
    Either(Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Compute(u8, Box<Node>, Box<Node>),
    Pattern(Regex),
}

impl Node {
    /// The expression, with what does not exist made false.
    fn text(&self, exists: &dyn Fn(&str) -> bool) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("\"{}\"", String::from_utf8_lossy(text)),
            Self::Name(name) => name.clone(),
            Self::Pattern(pattern) => format!("\"{}\"", pattern.as_str()),
            Self::Not(node) => match node.text(exists).as_str() {
                "FALSE" => "TRUE".to_owned(),
                "TRUE" => "FALSE".to_owned(),
                text => format!("!({text})"),
            },
            Self::Both(left, right) => match (left.text(exists), right.text(exists)) {
                (left, right) if left == "FALSE" || right == "FALSE" => "FALSE".to_owned(),
                (left, right) => format!("({left}) && ({right})"),
            },
            Self::Either(left, right) => match (left.text(exists), right.text(exists)) {
                (left, right) if left == "FALSE" => right,
                (left, right) if right == "FALSE" => left,
                (left, right) => format!("({left}) || ({right})"),
            },
            Self::Compare(comparison, left, right) => {
                if !left.exists(exists) || !right.exists(exists) {
                    return "FALSE".to_owned();
                }
                let sign = COMPARISONS.iter().find(|(_, known)| known == comparison);
                let sign = sign.map_or("", |(sign, _)| *sign);
                format!("{} {sign} {}", left.text(exists), right.text(exists))
            }
            Self::Compute(sign, left, right) => {
                format!("{} {} {}", left.text(exists), char::from(*sign), right.text(exists))
            }
        }
    }

    fn exists(&self, exists: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Name(name) => exists(name),
            Self::Not(node) => node.exists(exists),
            Self::Both(left, right)
            | Self::Either(left, right)
            | Self::Compare(_, left, right)
            | Self::Compute(_, left, right) => left.exists(exists) && right.exists(exists),
            Self::Number(_) | Self::Text(_) | Self::Pattern(_) => true,
        }
    }
}

impl Filter {
    /// Reads a filter. A negative one takes events away that match it.
    ///
    /// # Errors
    /// What in the text is wrong, and where.
    pub fn new(text: &str, negative: bool) -> Result<Self, FilterError> {
        let (events, condition) = match text.split_once(':') {
            Some((events, condition)) => (events, Some(condition)),
            None => (text, None),
        };
        let events = events.split(',').map(|event| EventPattern::new(event.trim()));
        let events = events.collect::<Result<_, _>>().map_err(|error| match error {
            FilterError::Pattern { pattern, .. } => FilterError::Pattern { filter: text.to_owned(), pattern },
            other => other,
        })?;
        let condition = condition.map(|condition| Parser::read(text, condition)).transpose()?;
        Ok(Self { text: text.to_owned(), negative, events, condition })
    }

    /// The filter as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The patterns of the events that it is about.
    #[must_use]
    pub fn events(&self) -> &[EventPattern] {
        &self.events
    }

    /// The condition as it is for an event: comparisons of fields that the event does not have are false.
    pub(crate) fn condition_for(&self, format: &Format) -> String {
        let Some(condition) = &self.condition else { return "TRUE".to_owned() };
        condition.text(&|name| format.field(name).is_some() || matches!(name, "COMM" | "CPU" | "TIMESTAMP"))
    }

    /// Whether it takes events away.
    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether it is about this event.
    pub(crate) fn concerns(&self, format: &Format) -> bool {
        self.events.iter().any(|event| event.matches(format))
    }
}

struct Parser<'a> {
    filter: &'a str,
    rest: &'a str,
    depth: usize,
}

/// Nesting beyond this is not meant.
const MAX_DEPTH: usize = 100;

const COMPARISONS: [(&str, Comparison); 8] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessEqual),
    (">=", Comparison::GreaterEqual),
    ("=~", Comparison::Matches),
    ("!~", Comparison::MatchesNot),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl<'a> Parser<'a> {
    fn read(filter: &'a str, text: &'a str) -> Result<Node, FilterError> {
        let mut parser = Self { filter, rest: text, depth: 0 };
        let node = parser.either()?;
        if parser.rest.trim().is_empty() { Ok(node) } else { Err(parser.error("an operator expected")) }
    }

    fn error(&self, what: &'static str) -> FilterError {
        let rest = self.rest.trim();
        let rest = if rest.is_empty() { "its end" } else { rest };
        FilterError::Expression { filter: self.filter.to_owned(), what, rest: rest.to_owned() }
    }

    fn sign(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn either(&mut self) -> Result<Node, FilterError> {
        let mut left = self.both()?;
        while self.sign("||") {
            left = Node::Either(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Node, FilterError> {
        let mut left = self.not()?;
        while self.sign("&&") {
            left = Node::Both(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Node, FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("less nesting expected"));
        }
        let node = if self.rest.trim_start().starts_with('!') && !self.rest.trim_start().starts_with("!=") {
            self.sign("!");
            Node::Not(Box::new(self.not()?))
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node, FilterError> {
        let left = self.sum()?;
        for (sign, comparison) in COMPARISONS {
            if !self.sign(sign) {
                continue;
            }
            let right = self.sum()?;
            let right = match (comparison, right) {
                (Comparison::Matches | Comparison::MatchesNot, Node::Text(pattern)) => {
                    let pattern = String::from_utf8_lossy(&pattern);
                    let built = RegexBuilder::new(&pattern).case_insensitive(true).build();
                    Node::Pattern(built.map_err(|_| FilterError::Pattern {
                        filter: self.filter.to_owned(),
                        pattern: pattern.clone().into_owned(),
                    })?)
                }
                (Comparison::Matches | Comparison::MatchesNot, _) => {
                    return Err(self.error("a pattern in quotes expected"));
                }
                (_, right) => right,
            };
            return Ok(Node::Compare(comparison, Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Node, FilterError> {
        let mut left = self.operand()?;
        loop {
            let rest = self.rest.trim_start();
            let Some(sign) = rest.bytes().next().filter(|sign| b"&|^+-*/%".contains(sign)) else {
                return Ok(left);
            };
            if rest.starts_with("&&") || rest.starts_with("||") {
                return Ok(left);
            }
            self.rest = &rest[1..];
            left = Node::Compute(sign, Box::new(left), Box::new(self.operand()?));
        }
    }

    fn operand(&mut self) -> Result<Node, FilterError> {
        if self.sign("(") {
            let node = self.either()?;
            return if self.sign(")") { Ok(node) } else { Err(self.error("')' expected")) };
        }
        let rest = self.rest.trim_start();
        let Some(first) = rest.chars().next() else { return Err(self.error("a field or a value expected")) };
        if first == '"' || first == '\'' {
            let Some(end) = rest[1..].find(first) else {
                return Err(self.error("a closing quote expected"));
            };
            self.rest = &rest[end + 2..];
            return Ok(Node::Text(rest.as_bytes()[1..=end].to_vec()));
        }
        let negative = rest.starts_with('-');
        let word = if negative { &rest[1..] } else { rest };
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        let (word, behind) = word.split_at(end);
        if word.is_empty() {
            return Err(self.error("a field or a value expected"));
        }
        let node = if word.starts_with(|c: char| c.is_ascii_digit()) {
            let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
            let number = match hex {
                Some(hex) => u64::from_str_radix(hex, 16).ok(),
                None => word.parse().ok(),
            };
            let Some(number) = number else { return Err(self.error("a number expected")) };
            let number = number.cast_signed();
            Node::Number(if negative { number.wrapping_neg() } else { number })
        } else if negative {
            return Err(self.error("a number expected"));
        } else {
            Node::Name(word.to_owned())
        };
        self.rest = behind;
        Ok(node)
    }
}

/// What is known of a record besides its fields.
pub(crate) struct Record<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) endian: Endian,
    pub(crate) cpu: u32,
    pub(crate) time: u64,
    pub(crate) name: &'a [u8],
}

/// A filter for the records of one event.
#[derive(Debug, Clone)]
pub(crate) struct EventFilter {
    negative: bool,
    condition: Option<Node>,
    fields: Vec<Field>,
}

enum Value<'a> {
    Number(i64),
    Text(&'a [u8]),
}

impl EventFilter {
    /// Those of `filters` that are about the event. `None`: none of its records is printed.
    pub(crate) fn of(filters: &[Filter], format: &Format) -> Option<Vec<Self>> {
        let own: Vec<Self> = filters
            .iter()
            .filter(|filter| filter.concerns(format))
            .map(|filter| Self {
                negative: filter.negative,
                condition: filter.condition.clone(),
                fields: format.common.iter().chain(&format.fields).cloned().collect(),
            })
            .collect();
        let wanted =
            filters.iter().all(|filter| filter.negative) || own.iter().any(|filter| !filter.negative);
        wanted.then_some(own)
    }

    /// Whether a record passes all filters of its event.
    pub(crate) fn pass(filters: &[Self], record: &Record<'_>) -> bool {
        let mut positive = filters.iter().filter(|filter| !filter.negative).peekable();
        if positive.peek().is_some() && !positive.any(|filter| filter.matches(record)) {
            return false;
        }
        !filters.iter().any(|filter| filter.negative && filter.matches(record))
    }

    fn matches(&self, record: &Record<'_>) -> bool {
        self.condition.as_ref().is_none_or(|condition| self.truth(condition, record))
    }

    /// Whether it is true; what an event does not have makes a comparison false.
    fn truth(&self, node: &Node, record: &Record<'_>) -> bool {
        match node {
            Node::Not(node) => !self.truth(node, record),
            Node::Both(left, right) => self.truth(left, record) && self.truth(right, record),
            Node::Either(left, right) => self.truth(left, record) || self.truth(right, record),
            Node::Compare(comparison, left, right) => {
                self.compare(*comparison, left, right, record).unwrap_or(false)
            }
            other => match self.value(other, record) {
                Some(Value::Number(number)) => number != 0,
                Some(Value::Text(text)) => !text.is_empty(),
                None => false,
            },
        }
    }

    fn compare(
        &self,
        comparison: Comparison,
        left: &Node,
        right: &Node,
        record: &Record<'_>,
    ) -> Option<bool> {
        let value = self.value(left, record)?;
        if let Node::Pattern(pattern) = right {
            let Value::Text(text) = value else { return None };
            return Some(pattern.is_match(text) == (comparison == Comparison::Matches));
        }
        let order = match (value, self.value(right, record)?) {
            (Value::Number(left), Value::Number(right)) => left.cmp(&right),
            (Value::Text(left), Value::Text(right)) => left.cmp(right),
            _ => return None,
        };
        Some(match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterEqual => order.is_ge(),
            Comparison::Matches | Comparison::MatchesNot => return None,
        })
    }

    fn value<'a>(&'a self, node: &'a Node, record: &'a Record<'_>) -> Option<Value<'a>> {
        Some(match node {
            Node::Number(number) => Value::Number(*number),
            Node::Text(text) => Value::Text(text),
            Node::Name(name) => return self.named(name, record),
            Node::Compute(sign, left, right) => {
                let (Value::Number(left), Value::Number(right)) =
                    (self.value(left, record)?, self.value(right, record)?)
                else {
                    return None;
                };
                Value::Number(match sign {
                    b'&' => left & right,
                    b'|' => left | right,
                    b'^' => left ^ right,
                    b'+' => left.wrapping_add(right),
                    b'-' => left.wrapping_sub(right),
                    b'*' => left.wrapping_mul(right),
                    b'/' => left.checked_div(right)?,
                    _ => left.checked_rem(right)?,
                })
            }
            Node::Pattern(_) => return None,
            other => Value::Number(i64::from(self.truth(other, record))),
        })
    }

    fn named<'a>(&'a self, name: &str, record: &'a Record<'_>) -> Option<Value<'a>> {
        if let Some(field) = self.fields.iter().find(|field| field.name == name) {
            return match field.kind {
                FieldKind::Int | FieldKind::Pointer => {
                    field.i64(record.bytes, record.endian).map(Value::Number)
                }
                _ => field.text(record.bytes, record.endian).map(Value::Text),
            };
        }
        match name {
            "COMM" => Some(Value::Text(record.name)),
            "CPU" => Some(Value::Number(record.cpu.into())),
            "TIMESTAMP" => Some(Value::Number(record.time.cast_signed())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text: &str| Filter::new(text, false).err().map(|error| error.to_string());
        assert_eq!(message("sched_switch: prev_pid == 0 || (a & 1) && !b"), None);
        assert_eq!(
            message("sched_switch: prev_pid =").as_deref(),
            Some("filter 'sched_switch: prev_pid =': an operator expected at '='")
        );
        assert_eq!(
            message("sched: (a == 1").as_deref(),
            Some("filter 'sched: (a == 1': ')' expected at 'its end'")
        );
        assert_eq!(
            message("sched[: a == 1").as_deref(),
            Some("filter 'sched[: a == 1': 'sched[' is not a regular expression")
        );
        assert!(message(&format!("a: {}b", "!".repeat(1000))).is_some());
    }
}
