//! Demangles the names on standard input: `demangle [full]`, as `NAME<tab>READABLE`.

use fathom_symbols::demangle::{Style, demangle};
use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let style = if std::env::args().nth(1).as_deref() == Some("full") { Style::Full } else { Style::Simple };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for name in std::io::stdin().lock().lines() {
        let name = name?;
        writeln!(out, "{name}\t{}", demangle(&name, style))?;
    }
    Ok(())
}
