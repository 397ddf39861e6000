//! From the words of a command line to what is to be done.

use crate::args::words::{self, Error, Given, Sorted, Vocabulary};
use crate::args::{Cli, Command, KernelLine, later};
use crate::data;
use crate::messages::{Failure, exit};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// Options of record and live with which they run no program.
const WITHOUT_PROGRAM: [&str; 2] = ["list-event", "pid"];

/// Options that the data directory, which may come from somewhere else, must not give: they run programs, write files or
/// send data.
const NOT_BY_DEFAULT: [&str; 7] = ["script", "python", "logfile", "record", "run-cmd", "host", "token"];

/// Options of `record` that ask for what commands that read recordings show anyway.
const SHOWN_ANYWAY: [&str; 1] = ["kernel"];

const DOING: &str = "reading the command line";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Request {
    /// Carry out a command.
    Run {
        /// Boxed, as it is large and there is only one.
        command: Box<Command>,
        /// What to say first.
        notes: Vec<String>,
    },
    /// Show a text and end with a code.
    Show { text: clap::builder::StyledStr, code: u8, paged: bool },
    /// Show the version.
    Version,
}

/// The definition of all options, ready for help texts.
pub(crate) fn definition() -> clap::Command {
    let mut definition = Cli::command();
    definition.build();
    definition
}

/// Works out what `words` (without the program's own name) ask for. Options of `defaults`, words of an option
/// file, come before those of the command line, which therefore win.
pub(crate) fn understand(words: Vec<OsString>, defaults: &[OsString]) -> Result<Request, Failure> {
    if words.first().is_some_and(|word| word == "kernel") {
        return kernel(words);
    }
    let mut definition = definition();
    let vocabulary = Vocabulary::new(&definition);
    let nothing = words.is_empty();
    let mut sorted = vocabulary.sort(words).map_err(|error| bad_words(&error))?;
    let mut notes = Vec::new();
    option_files(&vocabulary, &mut sorted, &mut notes)?;
    let name = sorted.command.clone().unwrap_or_else(|| "live".to_owned());
    if matches!(name.as_str(), "record" | "live") || name == "script" && sorted.has("record") {
        script_options(&vocabulary, &mut sorted)?;
    }
    if let Some((command, part)) = later::COMMANDS.iter().find(|(command, _)| *command == name) {
        let cause = format!("the command '{command}' is not there yet: {part} later");
        return Err(Failure::because(exit::TROUBLE, DOING, cause).next("`fathom --help` lists the commands"));
    }
    if sorted.has("help") {
        let text = match sorted.command.as_ref().and_then(|name| definition.find_subcommand_mut(name)) {
            Some(command) => command.render_help(),
            None => definition.render_help(),
        };
        return Ok(Request::Show { text, code: exit::SUCCESS, paged: true });
    }
    if sorted.has("version") {
        return Ok(Request::Version);
    }
    if let Some(later) = sorted.later.first() {
        let cause = format!("--{} is not there yet: {} later", later.long, later.part);
        let next = format!("leave it out; `fathom {name} --help` lists the options of {name}");
        return Err(Failure::because(exit::TROUBLE, DOING, cause).next(next));
    }
    let no_program = matches!(name.as_str(), "record" | "live")
        && sorted.rest.is_empty()
        && !WITHOUT_PROGRAM.iter().any(|option| sorted.has(option));
    if sorted.unknown.is_none() && (sorted.has("usage") || no_program) {
        let code = if sorted.has("usage") || nothing { exit::SUCCESS } else { exit::TROUBLE };
        return Ok(Request::Show { text: usage(&definition).into(), code, paged: false });
    }
    let line = clap_line(&vocabulary, &name, sorted, defaults, &mut notes)?;
    match Cli::try_parse_from(line) {
        Ok(cli) => Ok(Request::Run { command: Box::new(cli.command), notes }),
        Err(error) => Err(bad_line(&error, &name)),
    }
}

/// A kernel command. Its words are clap's business alone: no options before the command, none of other commands.
fn kernel(words: Vec<OsString>) -> Result<Request, Failure> {
    use clap::error::ErrorKind;
    match KernelLine::try_parse_from(words) {
        Ok(line) => {
            let command = Box::new(Command::Kernel(Box::new(line.kernel)));
            Ok(Request::Run { command, notes: Vec::new() })
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Ok(Request::Show { text: error.render(), code: exit::SUCCESS, paged: true })
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Ok(Request::Show { text: error.render(), code: exit::TROUBLE, paged: false })
        }
        Err(error) => Err(bad_line(&error, "kernel COMMAND")),
    }
}

/// Adds what the files of `--opt-file` say. It counts as typed after the command line: lists grow, single values are
/// replaced; command and program are taken from a file only where the command line has none.
fn option_files(
    vocabulary: &Vocabulary,
    sorted: &mut Sorted,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let named = sorted.options.iter().filter(|option| option.long == "opt-file");
    let files: Vec<PathBuf> = named.filter_map(|option| Some(PathBuf::from(option.value.clone()?))).collect();
    for file in files {
        let name = file.display();
        let doing = || format!("reading the options of --opt-file {name}");
        let text = data::option_file(&file).map_err(|error| Failure::new(exit::TROUBLE, doing(), error))?;
        let bad =
            |cause: String| Err(Failure::because(exit::TROUBLE, doing(), cause).next("correct the file"));
        let more = match vocabulary.sort(words::split(&text)) {
            Ok(more) => more,
            Err(error) => return bad(error.to_string()),
        };
        if let Some(unknown) = &more.unknown {
            return bad(format!("there is no option '{}'", unknown.to_string_lossy()));
        }
        if more.has("opt-file") {
            return bad("an option file cannot name another one".to_owned());
        }
        match (&sorted.command, more.command) {
            (None, command) => sorted.command = command,
            (Some(typed), Some(other)) if *typed != other => {
                notes.push(format!("the command '{other}' of {name} is ignored: '{typed}' was typed"));
            }
            _ => {}
        }
        sorted.options.extend(more.options);
        sorted.later.extend(more.later);
        if sorted.rest.is_empty() {
            sorted.rest = more.rest;
        } else if let Some(word) = more.rest.first() {
            notes.push(format!("'{}' of {name} is ignored: another one was typed", word.to_string_lossy()));
        }
    }
    Ok(())
}

/// Adds what the head of a script asks a recording for. What is typed goes before.
fn script_options(vocabulary: &Vocabulary, sorted: &mut Sorted) -> Result<(), Failure> {
    let named = sorted.options.iter().rev().find(|option| option.long == "script");
    let Some(file) = named.and_then(|option| option.value.clone()) else { return Ok(()) };
    let source = fathom_script::Source::find(file.as_ref());
    // What cannot be read is the command's business.
    let Ok((language, text)) = source.read() else { return Ok(()) };
    let name = source.name();
    let bad = |cause: String| {
        let next = "correct the comment with uftrace-option in it, or remove it";
        Failure::because(exit::TROUBLE, format!("{DOING}: the head of script '{name}'"), cause).next(next)
    };
    let more = vocabulary.sort(words::split(fathom_script::header_options(language, &text)));
    let more = more.map_err(|error| bad(error.to_string()))?;
    if let Some(unknown) = &more.unknown {
        return bad_option(unknown, bad);
    }
    if let Some(later) = more.later.first() {
        return Err(bad(format!("--{} is not there yet: {} later", later.long, later.part)));
    }
    sorted.options.splice(0..0, more.options);
    Ok(())
}

fn bad_option(unknown: &std::ffi::OsStr, bad: impl Fn(String) -> Failure) -> Result<(), Failure> {
    Err(bad(format!("there is no option '{}'", unknown.to_string_lossy())))
}

/// The command line as clap takes it.
fn clap_line(
    vocabulary: &Vocabulary,
    name: &str,
    sorted: Sorted,
    defaults: &[OsString],
    notes: &mut Vec<String>,
) -> Result<Vec<OsString>, Failure> {
    let mut line = vec![OsString::from("fathom"), OsString::from(name)];
    let from_file = vocabulary
        .sort(defaults.to_vec())
        .map_err(|error| bad_words(&error).next("correct default.opts in the data directory, or empty it"))?;
    for later in &from_file.later {
        notes.push(format!("--{} of default.opts is not there yet: {} later", later.long, later.part));
    }
    notes.extend(from_file.unknown.iter().map(|word| {
        format!("default.opts: there is no option '{}', the rest is left out", word.to_string_lossy())
    }));
    let (left_out, from_file): (Vec<_>, Vec<_>) =
        from_file.options.iter().partition(|option| NOT_BY_DEFAULT.contains(&option.long.as_str()));
    let refused =
        |option: &&Given| format!("--{} of default.opts is left out: it has to be typed", option.long);
    notes.extend(left_out.iter().map(refused));
    let given = from_file.into_iter().map(|option| (option, false));
    let all: Vec<_> = given.chain(sorted.options.iter().map(|option| (option, true))).collect();
    let dropped = exclusive(&all, notes);
    for (option, typed) in all {
        if Some(option.long.as_str()) == dropped {
            continue;
        }
        if vocabulary.belongs(name, &option.long) {
            line.push(option.word());
        } else if typed && !SHOWN_ANYWAY.contains(&option.long.as_str()) {
            notes.push(format!("--{} means nothing to {name}", option.long));
        }
    }
    if let Some(unknown) = sorted.unknown {
        line.push(unknown);
        return Ok(line);
    }
    let wanted = match name {
        "graph" | "info" => 1,
        _ if vocabulary.takes_words(name) => usize::MAX,
        _ => 0,
    };
    let ignored = sorted.rest.iter().skip(wanted).map(|word| word.to_string_lossy().into_owned());
    let ignored = ignored.collect::<Vec<_>>().join(" ");
    if !ignored.is_empty() {
        notes.push(format!("{name} has no use for '{ignored}'"));
    }
    if wanted > 0 {
        line.push("--".into());
        line.extend(sorted.rest.into_iter().take(wanted));
    }
    Ok(line)
}

/// Of the options that exclude each other the last one typed counts; gives the other one, if it was given too.
fn exclusive(options: &[(&Given, bool)], notes: &mut Vec<String>) -> Option<&'static str> {
    const PAIR: [&str; 2] = ["time-filter", "time-range"];
    let place = |name: &str| options.iter().rposition(|(option, _)| option.long == name);
    let [Some(filter), Some(range)] = PAIR.map(place) else { return None };
    let typed = |at: usize| options.get(at).is_some_and(|(_, typed)| *typed);
    let (kept, dropped) = if (typed(filter), filter) > (typed(range), range) { (0, 1) } else { (1, 0) };
    let (kept, dropped) = (PAIR[kept], PAIR[dropped]);
    // What an option file says is only a default.
    if typed(if dropped == PAIR[0] { filter } else { range }) {
        notes.push(format!("--{dropped} cannot be used with --{kept}, which comes later; it is left out"));
    }
    Some(dropped)
}

fn bad_words(error: &Error) -> Failure {
    Failure::because(exit::TROUBLE, DOING, error)
        .next("`fathom COMMAND --help` lists the options of a command")
}

/// What clap has to say, in our form: its first paragraph is what is wrong, tips are what to do.
fn bad_line(error: &clap::Error, name: &str) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.trim().split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let cause: Vec<&str> = first.trim_start_matches("error: ").lines().map(str::trim).collect();
    let mut next: Vec<String> = paragraphs
        .flat_map(str::lines)
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        .map(ToOwned::to_owned)
        .collect();
    next.push(format!("`fathom {name} --help` lists the options of {name}"));
    Failure::because(exit::TROUBLE, DOING, cause.join(" ")).next(next.join("\n  "))
}

/// The commands in short, in the layout of the peer.
fn usage(definition: &clap::Command) -> String {
    let about = definition.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text =
        format!(" fathom -- {about}\n\n usage: fathom [COMMAND] [OPTION...] [<program>]\n\n COMMAND:\n");
    for command in definition.get_subcommands().filter(|command| !command.is_hide_set()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("   {:<15} {about}\n", command.get_name()));
    }
    text.push_str("\n Try `fathom --help' or `man fathom' for more information.\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Request, Failure> {
        understand(line.split_whitespace().map(OsString::from).collect(), &[])
    }

    fn refusal(line: &str) -> String {
        ask(line).unwrap_err().to_string()
    }

    #[test]
    fn later_options_are_refused_by_name() {
        insta::assert_snapshot!(refusal("info --system"), @r"
        reading the command line: --system is not there yet: the state of the current machine comes later
          leave it out; `fathom info --help` lists the options of info
        ");
    }

    #[test]
    fn the_head_of_a_script_has_options() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.lua");
        std::fs::write(&file, "-- uftrace-option: -D 3 -F 'a b'\n").unwrap();
        let line = |rest: &str| format!("record -S {} {rest}", file.display());
        let Ok(Request::Run { command, .. }) = ask(&line("./a")) else { panic!() };
        let Command::Record(record) = *command else { panic!() };
        assert_eq!((record.filters.depth(), record.filters.specs().unwrap().iter().count()), (Some(3), 1));
        let Ok(Request::Run { command, .. }) = ask(&line("-D 5 ./a")) else { panic!() };
        let Command::Record(record) = *command else { panic!() };
        assert_eq!(record.filters.depth(), Some(5));
        // Recordings that are there are shown as the user says.
        let Ok(Request::Run { command, .. }) = ask(&line("").replace("record", "script")) else { panic!() };
        let Command::Script(script) = *command else { panic!() };
        assert_eq!(script.filters.depth(), None);
    }

    #[test]
    fn data_directories_cannot_run_programs() {
        let defaults = ["-S", "evil.py", "--python", "evil", "--logfile=x", "-D", "2"].map(OsString::from);
        let words = ["script", "-S", "mine.py"].map(OsString::from).to_vec();
        let Ok(Request::Run { command, notes }) = understand(words, &defaults) else { panic!() };
        let Command::Script(script) = *command else { panic!() };
        assert_eq!(script.script.script.as_deref(), Some("mine.py".as_ref()));
        assert_eq!((script.script.python, script.common.logfile, notes.len()), ("python3".into(), None, 3));
    }

    #[test]
    fn every_later_option_is_refused() {
        for later in later::OPTIONS {
            let value = if later.value { " 1" } else { "" };
            let text = refusal(&format!("--{}{value} ./a", later.long));
            assert!(text.contains(&format!("--{} is not there yet", later.long)), "{text}");
            if let Some(short) = later.short {
                let text = refusal(&format!("-{short}{value} ./a"));
                assert!(text.contains("is not there yet"), "{text}");
            }
        }
    }

    #[test]
    fn mistakes_are_explained() {
        insta::assert_snapshot!(refusal("--colum-view replay"), @r"
        reading the command line: unexpected argument '--colum-view' found
          a similar argument exists: '--column-view'
          `fathom replay --help` lists the options of replay
        ");
        insta::assert_snapshot!(refusal("replay --color=purple"), @r"
        reading the command line: invalid value 'purple' for '--color <WHEN>' [possible values: yes, no, auto]
          `fathom replay --help` lists the options of replay
        ");
        insta::assert_snapshot!(refusal("record -b 12q ./a"), @r"
        reading the command line: invalid value '12q' for '--buffer <SIZE>': a size is a number, with k, m or g if wanted, for example 256k, not '12q'
          `fathom record --help` lists the options of record
        ");
        insta::assert_snapshot!(refusal("report --avg-total --avg-self"), @r"
        reading the command line: the argument '--avg-total' cannot be used with '--avg-self'
          `fathom report --help` lists the options of report
        ");
        insta::assert_snapshot!(refusal("dump --format=html"), @r"
        reading the command line: invalid value 'html' for '--format <FORMAT>' [possible values: normal, chrome, flame-graph, graphviz, mermaid]
          `fathom dump --help` lists the options of dump
        ");
        insta::assert_snapshot!(refusal("dump -d"), @r"
        reading the command line: option '-d' needs a value, and none follows
          `fathom COMMAND --help` lists the options of a command
        ");
    }

    #[test]
    fn without_a_program_the_usage_is_shown() {
        for (line, want) in
            [("", 0), ("record", 1), ("live", 1), ("-d x", 1), ("--usage", 0), ("record --usage", 0)]
        {
            let Ok(Request::Show { text, code, .. }) = ask(line) else { panic!("{line}") };
            assert_eq!(code, want, "{line}");
            assert!(text.to_string().contains("\n   record          "), "{text}");
        }
    }

    #[test]
    fn options_of_other_commands_are_accepted_and_named() {
        let Ok(Request::Run { notes, .. }) = ask("replay --force --no-pager some words") else { panic!() };
        assert_eq!(notes, ["--force means nothing to replay", "replay has no use for 'some words'"]);
        let Ok(Request::Run { notes, .. }) = ask("report -k") else { panic!() };
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn the_program_keeps_its_words() {
        let Ok(Request::Run { command, .. }) = ask("-v record ./a --data x -- -F") else { panic!() };
        let Command::Record(record) = *command else { panic!() };
        assert_eq!(record.program.program, ["./a", "--data", "x", "--", "-F"]);
        assert_eq!((record.common.verbose, record.common.data), (1, None));
        let Ok(Request::Run { command, .. }) = ask("./a replay") else { panic!() };
        let Command::Live(live) = *command else { panic!() };
        assert_eq!(live.program.program, ["./a", "replay"]);
    }

    #[test]
    fn the_last_of_equal_options_wins_and_lists_grow() {
        let Ok(Request::Run { command, .. }) = ask("report -d a -d b -s call -s total") else { panic!() };
        let Command::Report(report) = *command else { panic!() };
        assert_eq!(report.common.data.as_deref(), Some("b".as_ref()));
        assert_eq!(report.sort, ["call", "total"]);
    }

    #[test]
    fn option_files_come_before_the_command_line() {
        let defaults = ["-t", "1us", "--color=yes", "--column-offset=4"].map(OsString::from);
        let words = ["replay", "--color=no"].map(OsString::from).to_vec();
        let Ok(Request::Run { command, notes }) = understand(words, &defaults) else { panic!() };
        let Command::Replay(replay) = *command else { panic!() };
        assert_eq!(replay.common.color, crate::args::Color::No);
        assert_eq!(replay.text.column_offset, 4);
        assert_eq!((replay.filters.time(), notes), (1000, Vec::new()));
    }

    #[test]
    fn time_filter_and_time_range_exclude_each_other() {
        let seen = |line: &str, defaults: &[&str]| {
            let words = line.split_whitespace().map(OsString::from).collect();
            let defaults: Vec<_> = defaults.iter().map(OsString::from).collect();
            let Ok(Request::Run { command, notes }) = understand(words, &defaults) else { panic!("{line}") };
            let Command::Replay(replay) = *command else { panic!("{line}") };
            (replay.filters.time(), replay.selection.time_range.is_some(), notes.len())
        };
        assert_eq!(seen("replay -t 1us", &[]), (1000, false, 0));
        assert_eq!(seen("replay -t 1us -r 1us~", &[]), (0, true, 1));
        assert_eq!(seen("replay -r 1us~ -t 1us", &[]), (1000, false, 1));
        assert_eq!(seen("replay -r 1us~", &["-t", "1us"]), (0, true, 0));
        assert_eq!(seen("replay -t 2us", &["-r", "1us~"]), (2000, false, 0));
    }

    #[test]
    fn filters_keep_their_order() {
        let Ok(Request::Run { command, .. }) = ask("replay -N a -F b;!c -T d@trace -N e") else { panic!() };
        let Command::Replay(replay) = *command else { panic!() };
        let specs = replay.filters.specs().unwrap();
        let list: Vec<_> = specs.iter().map(fathom_filter::Spec::shown).collect();
        assert_eq!(list, ["-N a", "-F b", "-F !c", "-T d@trace", "-N e"]);
    }

    /// The request of a line with `--opt-file FILE` of this text in place of `FILE`.
    fn with_file(line: &str, text: &str) -> Result<Request, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        ask(&line.replace("FILE", &format!("--opt-file {}", file.path().display())))
    }

    #[test]
    fn option_files_count_as_typed_last() {
        let text = "# what we look at\nreport -s 'call' --color=no\n";
        let Ok(Request::Run { command, .. }) = with_file("FILE -s total --color=yes", text) else { panic!() };
        let Command::Report(report) = *command else { panic!() };
        assert_eq!(report.sort, ["total", "call"]);
        assert_eq!(report.common.color, crate::args::Color::No);
        let Ok(Request::Run { command, notes }) = with_file("record FILE", "live -b 64k ./a 'x y'") else {
            panic!()
        };
        let Command::Record(record) = *command else { panic!() };
        assert_eq!(
            (record.program.program, record.recording.buffer),
            (vec!["./a".into(), "x y".into()], Some(65536))
        );
        assert!(notes.len() == 1 && notes[0].starts_with("the command 'live' of "), "{notes:?}");
        let Ok(Request::Run { command, notes }) = with_file("record FILE ./b", "./a") else { panic!() };
        let Command::Record(record) = *command else { panic!() };
        assert_eq!(record.program.program, ["./b"]);
        assert!(notes[0].starts_with("'./a' of "), "{notes:?}");
    }

    #[test]
    fn bad_option_files_are_named() {
        let missing = refusal("replay --opt-file no-such-file");
        assert!(missing.contains("--opt-file no-such-file: No such file"), "{missing}");
        for (text, part) in
            [("--colunm", "there is no option '--colunm'"), ("--opt-file x", "another one"), ("-d", "'-d'")]
        {
            let text = with_file("replay FILE", text).unwrap_err().to_string();
            assert!(text.contains(part) && text.contains("--opt-file /"), "{text}");
        }
        assert!(refusal("replay --opt-file /dev/null").contains("no ordinary file"));
    }

    #[test]
    fn patch_lists_keep_their_order() {
        let Ok(Request::Run { command, .. }) = ask("record -P a;!b -U c -P d ./a") else { panic!() };
        let Command::Record(record) = *command else { panic!() };
        let list: Vec<_> =
            record.recording.patches.list.iter().map(|(name, not)| (name.as_str(), *not)).collect();
        assert_eq!(list, [("a", false), ("b", true), ("c", true), ("d", false)]);
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
