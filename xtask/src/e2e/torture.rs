//! Programs that were never built to be traced, with every function patched that can be: the same output and status as
//! untraced. The rows are `tests/torture.rows`.

use super::{Context, Outcome};
use crate::blocks;
use crate::paths::{self, cargo};
use crate::run::{run, run_ok, tail};
use crate::{setup, sources};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
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
    /// Options of the recordings.
    record: Vec<String>,
    /// Options of a second recording.
    filter: Vec<String>,
    /// Files that it takes besides, and the packages that have them.
    needs: Vec<(String, String)>,
    /// What `{program}` stands for.
    built: Option<Built>,
    /// Only in the tier of its own.
    pub(crate) long: bool,
}

/// A Rust program that is built in release mode for a row.
#[derive(Debug, Clone, PartialEq)]
enum Built {
    /// A published one: crate, version and program.
    Published(String, String, String),
    /// One of `tests/torture`, which has its name.
    Own(String),
}

impl Built {
    /// Builds it if need be, with the toolchain that builds everything, and says where it is.
    fn build(&self, context: &Context) -> Result<PathBuf> {
        let target = context.cache.join("rust");
        let mut command = cargo();
        // Debug information is what arguments are read by.
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "true").env("CARGO_TARGET_DIR", &target);
        let program = match self {
            Built::Published(name, version, program) => {
                command.args(["install", "--quiet", "--locked", "--no-track", "--version", version, name]);
                command.arg("--root").arg(&context.cache);
                let program = context.cache.join("bin").join(program);
                if program.exists() {
                    return Ok(program);
                }
                program
            }
            Built::Own(name) => {
                let manifest = tests().join(name).join("Cargo.toml");
                command.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]).arg(manifest);
                target.join("release").join(name)
            }
        };
        run_ok(&mut command, &context.work, LIMIT)?;
        Ok(program)
    }
}

fn tests() -> PathBuf {
    paths::root().join("tests/torture")
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
                "RECORD" => row.record = value.split_whitespace().map(str::to_owned).collect(),
                "FILTER" => row.filter = value.split_whitespace().map(str::to_owned).collect(),
                "NEEDS" => {
                    let (file, package) = value.split_once(' ').context(line.at)?;
                    row.needs.push((file.to_owned(), package.to_owned()));
                }
                "CRATE" => match value.split_whitespace().collect::<Vec<_>>()[..] {
                    [name, version, program] => {
                        row.built = Some(Built::Published(name.into(), version.into(), program.into()));
                    }
                    [name] => row.built = Some(Built::Own(name.to_owned())),
                    _ => bail!("{}: a crate, or a published one's name, version and program", line.at),
                },
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

/// Installs what the rows need, where that is allowed.
pub(crate) fn install(rows: &[Row]) {
    let needs = rows.iter().flat_map(|row| &row.needs);
    let mut packages: Vec<&str> =
        needs.filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| package.as_str()).collect();
    packages.sort_unstable();
    packages.dedup();
    setup::ensure_packages(&packages);
}

/// Runs a row untraced and traced.
pub(crate) fn check(context: &Context, row: &Row) -> Result<Outcome> {
    if let Some((file, package)) = row.needs.iter().find(|(file, _)| !Path::new(file).exists()) {
        return Ok(Outcome::Skipped(format!("{file} of {package} is not installed")));
    }
    let row = &filled_in(context, row)?;
    if !Path::new(&row.program).exists() {
        return Ok(Outcome::Skipped(format!("{} is not installed", row.program)));
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
        record.args(&row.record).args(options).arg(&row.program).args(&row.args);
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

/// The row with what `{program}`, `{tests}` (the directory of the rows' scripts), `{root}` (the checkout) and `{sqlite}` (the
/// sources of SQLite) stand for.
fn filled_in(context: &Context, row: &Row) -> Result<Row> {
    let mut row = row.clone();
    let program = row.built.as_ref().map(|built| built.build(context)).transpose()?;
    let program = program.map(|program| program.display().to_string()).unwrap_or_default();
    for text in row.args.iter_mut().chain([&mut row.program]) {
        for (name, value) in [("{program}", program.as_str()), ("{tests}", &tests().display().to_string())] {
            *text = text.replace(name, value);
        }
        *text = text.replace("{root}", &paths::root().display().to_string());
        if text.contains("{sqlite}") {
            *text = text.replace("{sqlite}", &sources::locate()?.sqlite.display().to_string());
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let rows =
            parse("# x\nNAME a\nRUN /bin/a\nARG b c\nPATCH .\nPATCH .@lib\nFILTER -D 3\nRECORD -D 9\nNEEDS /x p\nNEEDS /y q\n\
             CRATE a 1.2 b\nLONG yes\n").unwrap();
        assert_eq!(rows[0].args, ["b c"]);
        assert_eq!(rows[0].patch, [".", ".@lib"]);
        assert_eq!(rows[0].filter, ["-D", "3"]);
        assert_eq!((rows[0].record.join(" "), rows[0].needs.len()), ("-D 9".to_owned(), 2));
        assert_eq!(rows[0].built, Some(Built::Published("a".into(), "1.2".into(), "b".into())));
        assert!(rows[0].long);
        assert!(
            parse("RUN x\n").is_err()
                && parse("NAME a\nRUN b\n").is_err()
                && parse("NAME a\nHOW b\n").is_err()
        );
    }
}
