//! Values for Python, in the interpreter's own format (`pickle`, protocol 2; documented in its `pickletools`): it is read
//! by compiled code, and every Python 3 knows it.

use crate::Value;

/// A list being written.
#[derive(Debug, Default)]
pub(super) struct List {
    bytes: Vec<u8>,
    len: usize,
}

impl List {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How much has been written.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a text.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.len += 1;
        put_text(&mut self.bytes, text);
    }

    /// Appends the arguments of a call: always a tuple.
    pub(super) fn arguments<'a>(&mut self, values: impl Iterator<Item = Value<'a>>) {
        self.len += 1;
        self.bytes.push(b'(');
        for value in values {
            put(&mut self.bytes, &value);
        }
        self.bytes.push(b't');
    }

    /// Appends a return value: the value itself, or a tuple where there are several.
    pub(super) fn result<'a>(&mut self, mut values: impl Iterator<Item = Value<'a>>) {
        match (values.next(), values.next()) {
            (Some(only), None) => {
                self.len += 1;
                put(&mut self.bytes, &only);
            }
            (first, second) => self.arguments(first.into_iter().chain(second).chain(values)),
        }
    }

    /// The list, and begins a new one.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut all = vec![0x80, 2, b']', b'('];
        all.append(&mut self.bytes);
        all.extend(b"e.");
        self.len = 0;
        all
    }
}

/// The dictionary of `uftrace_begin`.
pub(super) fn begin(begin: &crate::Begin) -> Vec<u8> {
    let mut all = vec![0x80, 2, b'}', b'('];
    put_text(&mut all, b"record");
    all.push(if begin.record { 0x88 } else { 0x89 });
    put_text(&mut all, b"version");
    put_text(&mut all, begin.version.as_bytes());
    put_text(&mut all, b"cmds");
    all.push(b'(');
    for word in &begin.cmds {
        put_text(&mut all, word.as_bytes());
    }
    all.extend(b"tu.");
    all
}

fn put(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Signed(number) => put_number(out, i128::from(*number)),
        Value::Unsigned(number) => put_number(out, i128::from(*number)),
        Value::Float(number) => {
            out.push(b'G');
            out.extend(number.to_be_bytes());
        }
        Value::Text(text) => put_text(out, text),
    }
}

fn put_number(out: &mut Vec<u8>, number: i128) {
    if let Ok(small) = i32::try_from(number) {
        out.push(b'J');
        out.extend(small.to_le_bytes());
    } else {
        // Two's complement, 8 bytes and one for the sign.
        out.extend([0x8a, 9]);
        out.extend(number.to_le_bytes().iter().take(9));
    }
}

/// Text of the program may be anything; what is not UTF-8 is marked.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    out.push(b'X');
    // Payloads and names are far shorter than 4 GiB.
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What Python makes of it.
    fn loaded(bytes: &[u8]) -> String {
        let program = "import pickle, sys; print(pickle.load(sys.stdin.buffer), end='')";
        let mut python = Command::new("python3");
        python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn python_reads_values() {
        let mut list = List::default();
        let numbers = [Value::Signed(-3), Value::Unsigned(1 << 63), Value::Unsigned(0xffff_fffd)];
        list.arguments(numbers.into_iter());
        list.result([Value::Float(1.5)].into_iter());
        list.result([Value::Text(b"a\xff\n\"".into()), Value::Signed(i64::MIN)].into_iter());
        list.result(std::iter::empty());
        list.text("ä".as_bytes());
        assert_eq!((list.len(), list.size() > 20), (5, true));
        let want =
            "[(-3, 9223372036854775808, 4294967293), 1.5, ('a\u{fffd}\\n\"', -9223372036854775808), (), 'ä']";
        assert_eq!(loaded(&list.take()), want);
        assert_eq!(loaded(&list.take()), "[]");
    }

    #[test]
    fn python_reads_the_beginning() {
        let all = crate::Begin { record: true, version: "v1".into(), cmds: vec!["./a".into(), "x".into()] };
        assert_eq!(loaded(&begin(&all)), "{'record': True, 'version': 'v1', 'cmds': ('./a', 'x')}");
        let none = crate::Begin::default();
        assert_eq!(loaded(&begin(&none)), "{'record': False, 'version': '', 'cmds': ()}");
    }
}
