//! Programs that were never built to be traced, with every function patched that can be: the same output and status as
//! untraced. The rows are `tests/torture.rows`.

use super::{Context, Outcome};
use crate::blocks;
use crate::run::{run, run_ok, tail};
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);

/// One program and what it is to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) program: String,
    args: Vec<String>,
    patch: Vec<String>,
    /// Options of a second recording.
    filter: Vec<String>,
    /// A file that it takes besides, and the package that has it.
    needs: Option<(String, String)>,
    /// Only in the tier of its own.
    pub(crate) long: bool,
}

/// Reads the rows.
pub(crate) fn load(file: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("in {}", file.display()))
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let rows = blocks::parse(text)?.into_iter().map(|block| {
        let mut row = Row { name: block.name, ..Row::default() };
        for line in block.lines {
            let value = line.value;
            match line.key.as_str() {
                "RUN" => row.program = value,
                "ARG" => row.args.push(value),
                "PATCH" => row.patch.push(value),
                "FILTER" => row.filter = value.split_whitespace().map(str::to_owned).collect(),
                "NEEDS" => {
                    let (file, package) = value.split_once(' ').context(line.at)?;
                    row.needs = Some((file.to_owned(), package.to_owned()));
                }
                "LONG" => row.long = value == "yes",
                _ => bail!("{}: no such key", line.at),
            }
        }
        Ok(row)
    });
    let rows: Vec<Row> = rows.collect::<Result<_>>()?;
    if let Some(row) = rows.iter().find(|row| row.program.is_empty() || row.patch.is_empty()) {
        bail!("row {} has no RUN or no PATCH", row.name);
    }
    Ok(rows)
}

/// Runs a row untraced and traced.
pub(crate) fn check(context: &Context, row: &Row) -> Result<Outcome> {
    if !Path::new(&row.program).exists() {
        return Ok(Outcome::Skipped(format!("{} is not installed", row.program)));
    }
    if let Some((file, package)) = row.needs.as_ref().filter(|(file, _)| !Path::new(file).exists()) {
        return Ok(Outcome::Skipped(format!("{file} of {package} is not installed")));
    }
    let dir = context.work.join("torture").join(&row.name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let untraced = run(Command::new(&row.program).args(&row.args), &dir, LIMIT)?;
    let mut ways = vec![&[][..]];
    if !row.filter.is_empty() {
        ways.push(&row.filter[..]);
    }
    for options in ways {
        let mut record = Command::new(&context.fathom);
        record.args(["record", "--no-event", "--no-libcall", "-d", "data"]);
        for pattern in &row.patch {
            record.args(["-P", pattern]);
        }
        record.args(options).arg(&row.program).args(&row.args);
        let traced = run(&mut record, &dir, LIMIT)?;
        let said = || format!("\nwith {options:?}, stderr: {}", tail(&traced.stderr, 1500));
        if traced.stdout != untraced.stdout {
            bail!(
                "stdout differs: {:?}, untraced {:?}{}",
                tail(&traced.stdout, 300),
                tail(&untraced.stdout, 300),
                said()
            );
        }
        // The command exits with 1 for any status, with 2 for a signal.
        let expected = untraced.status.code().map_or(2, |code| i32::from(code != 0));
        if traced.status.code() != Some(expected) {
            bail!("record {}, the program {} untraced{}", traced.end(), untraced.end(), said());
        }
        if traced.stderr.contains("could not be set") || traced.stderr.contains("-P patched nothing") {
            bail!("not all was patched{}", said());
        }
    }
    let mut report = Command::new(&context.fathom);
    let shown = run_ok(report.args(["report", "--no-pager", "-d", "data"]), &dir, LIMIT)?.stdout;
    if shown.lines().count() < 10 {
        bail!("hardly anything was recorded: {}", tail(&shown, 500));
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let rows =
            parse("# x\nNAME a\nRUN /bin/a\nARG b c\nPATCH .\nPATCH .@lib\nFILTER -D 3\nLONG yes\n").unwrap();
        assert_eq!(rows[0].args, ["b c"]);
        assert_eq!(rows[0].patch, [".", ".@lib"]);
        assert_eq!(rows[0].filter, ["-D", "3"]);
        assert!(rows[0].long);
        assert!(
            parse("RUN x\n").is_err()
                && parse("NAME a\nRUN b\n").is_err()
                && parse("NAME a\nHOW b\n").is_err()
        );
    }
}
