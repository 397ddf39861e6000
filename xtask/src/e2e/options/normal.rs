//! What the commands print, without times, ids, addresses and the interleaving of tasks.

use super::row::{Read, Row};
use crate::e2e::text;

/// The comparable form of a command's output.
pub(crate) fn form(read: &Read, row: &Row, output: &str) -> String {
    let command = if read.live { "replay" } else { read.words.first().map_or("", String::as_str) };
    match command {
        "replay" => replay(output, row.events, row.vague),
        "report" => report(output),
        "graph" => lines(text::graph_shape(output).lines().map(|line| {
            let line = addresses(line);
            // ` backtrace #0: hit 1, time   0.371 us`
            line.split(", time ").next().unwrap_or(&line).to_owned()
        })),
        "dump" => dump(output),
        _ => lines(output.lines().map(addresses)),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    let mut out = String::new();
    for line in lines {
        if !line.trim().is_empty() && !is_start_up(line.trim_start_matches([' ', '|', '+', '-'])) {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

/// What the C library and the instrumentation call before `main`, which depends on neither option nor program.
fn is_start_up(line: &str) -> bool {
    let name = line.rsplit(") ").next().unwrap_or(line);
    ["__monstartup", "__cxa_atexit", "__cxa_finalize"]
        .iter()
        .any(|start| line.starts_with(start) || name.starts_with(start))
}

/// The calls of a replay. `events`: calls with nothing but a pre-emption inside are leaves; `vague`: without the numbers
/// in comments.
pub(crate) fn replay(output: &str, events: bool, vague: bool) -> String {
    let kept = |line: &&str| {
        // Whether a task is pre-empted is chance.
        !line.contains("(pre-empted)")
            && !line.split_once('|').is_some_and(|(_, call)| is_start_up(call.trim_start()))
    };
    let kept: Vec<&str> = output.lines().filter(kept).collect();
    let text = match kept.iter().any(|line| line.contains("] | ")) {
        true => text::replay(&kept.join("\n"), false),
        // Nothing to show, or no fields (`-f none`).
        false => lines(kept.into_iter().filter(|line| !line.starts_with('#')).map(str::to_owned)),
    };
    let text = if events { text::leaves_closed(&text) } else { text };
    lines(text.lines().map(|line| if vague { numbers(&addresses(line)) } else { addresses(line) }))
}

/// Calls and names, sorted: the order is that of times.
pub(crate) fn report(output: &str) -> String {
    match text::report(output) {
        Ok(calls) => {
            let named = calls.iter().filter(|(name, _)| !is_start_up(name));
            named.map(|(name, calls)| format!("{calls} {name}\n")).collect()
        }
        Err(_) => lines(output.lines().map(addresses)),
    }
}

/// The records of each task without their times.
fn dump(output: &str) -> String {
    let mut out = Vec::new();
    for line in output.lines().skip_while(|line| !line.starts_with("reading ")) {
        if line.starts_with("reading ") {
            // A task without records is none.
            out.pop_if(|last: &mut String| last == "reading");
            out.push("reading".to_owned());
        } else if let Some((_, record)) = line.split_once(": [") {
            if !record.split_once("] ").is_some_and(|(_, call)| is_start_up(call)) {
                out.push(format!("[{}", in_brackets(record)));
            }
        } else {
            out.push(addresses(line));
        }
    }
    out.pop_if(|last| last == "reading");
    lines(out.into_iter())
}

/// `main(55dcd812e333)` without the address.
fn in_brackets(record: &str) -> String {
    let address = |text: &str| text.len() >= 9 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match record.rfind('(').and_then(|open| Some((open, open + record[open..].find(')')?))) {
        Some((open, close)) if address(&record[open + 1..close]) => {
            format!("{}(ADDR{}", &record[..open], &record[close..])
        }
        _ => record.to_owned(),
    }
}

/// Hexadecimal numbers that are long enough to be addresses are replaced.
fn addresses(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("0x") {
        let digits = rest[at + 2..].bytes().take_while(u8::is_ascii_hexdigit).count();
        out.push_str(&rest[..at]);
        // An address of user space has twelve digits; a value with all bits set sixteen.
        match (9..=13).contains(&digits) {
            true => out.push_str("ADDR"),
            false => out.push_str(&rest[at..at + 2 + digits]),
        }
        rest = &rest[at + 2 + digits..];
    }
    out + rest
}

/// Numbers in comments are replaced.
fn numbers(line: &str) -> String {
    let Some((call, comment)) = line.split_once("/*") else { return line.to_owned() };
    let mut out = format!("{call}/*");
    let mut in_number = false;
    for c in comment.chars() {
        let digit = c.is_ascii_digit() || (in_number && c == '.');
        if digit && !in_number {
            out.push('N');
        } else if !digit {
            out.push(c);
        }
        in_number = digit;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_replaced() {
        assert_eq!(
            addresses("f(0x7ffd12345678, 0x10) = 0xffffffffffffffff;"),
            "f(ADDR, 0x10) = 0xffffffffffffffff;"
        );
        assert_eq!(numbers("f2(); /* vmrss=+12KB, 3.5 */"), "f2(); /* vmrss=+NKB, N */");
        assert_eq!(in_brackets("entry] main(55dcd812e333) depth: 0"), "entry] main(ADDR) depth: 0");
        assert_eq!(in_brackets("entry] operator()(int) depth: 0"), "entry] operator()(int) depth: 0");
    }

    #[test]
    fn starting_up_is_left_out() {
        let output = "   1.4 us [ 70] | __monstartup();\n  [ 70] | main() {\n   1 us [ 70] |   leaf(0x555512345678);\n   2 us [ 70] | } /* main */\n";
        let found = form(&Read { words: vec!["replay".into()], ..Read::default() }, &Row::default(), output);
        assert_eq!(found, "main() {\n  leaf(ADDR);\n} /* main */\n");
    }
}
