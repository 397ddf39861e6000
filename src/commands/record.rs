//! `record`: runs a program and saves its calls.

use super::companion::Companion;
use super::network::Away;
use super::{Context, list_event};
use crate::args::events::Events;
use crate::args::filters::Filters;
use crate::args::source::Source;
use crate::args::tuning::{Clock, Patches};
use crate::args::{Record, Recording};
use crate::data;
use crate::messages::{Failure, exit};
use fathom_record::{
    EventPatterns, KernelOptions, LibCalls, Losses, Options, Outcome, PatchSpec, Progress, Selection, Status,
    TaskEvents, TraceClock,
};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

pub(crate) fn run(args: &Record, context: &Context) -> Result<u8, Failure> {
    if args.recording.list_event.wanted(&args.events) {
        return list_event::run(args.program.program.first().map(OsString::as_os_str), context);
    }
    let kept = args.common.data.clone().unwrap_or_else(|| data::default_target(context.name));
    let selection = args.recorded.selection(&args.filters)?;
    let asked = Asked {
        recording: &args.recording,
        selection,
        filters: &args.filters,
        events: &args.events,
        no_libcall: args.no_libcall,
        source: args.source,
        kernel: args.recording.in_kernel.options(args.kernel),
        program: &args.program.program,
        progress: None,
        early: false,
    };
    let (nop, keep_pid) = (args.recording.tuning.nop, args.recording.tuning.keep_pid);
    let shown = data::shown_events(&args.events, &args.filters);
    let companion = Companion::load(&args.script, args.filters.pattern(), shown, &asked, context)?;
    let progress = companion.as_ref().and_then(Companion::progress);
    let away = Away::start(&args.sending, &kept, !keep_pid && !nop)?;
    let asked = Asked { progress, early: away.as_ref().is_some_and(Away::is_early), ..asked };
    let dir = away.as_ref().map_or(&kept, |away| &away.dir).clone();
    let outcome = match (record(asked, &dir, context), away) {
        (Ok(outcome), Some(away)) if !nop => {
            let script = companion.map(|companion| run_script(companion, &dir, &outcome, context));
            if args.recording.time {
                print_times(&outcome)?;
            }
            after(away.finish(context), code(outcome.status), context)?;
            script.transpose()?;
            return Ok(code(outcome.status));
        }
        (recorded, away) => {
            if let Some(away) = away {
                away.abandon();
            }
            recorded?
        }
    };
    if args.recording.time {
        print_times(&outcome)?;
    }
    if let Some(companion) = companion.filter(|_| !nop) {
        run_script(companion, &dir, &outcome, context)?;
    }
    Ok(code(outcome.status))
}

fn run_script(companion: Companion, dir: &Path, outcome: &Outcome, context: &Context) -> Result<(), Failure> {
    after(companion.finish(dir, context), code(outcome.status), context)
}

/// What comes of a script or of sending when the recording is done: how the program ended is the more important thing to pass on.
pub(crate) fn after(what: Result<(), Failure>, code: u8, context: &Context) -> Result<(), Failure> {
    match what {
        Err(failure) if code != exit::SUCCESS && !failure.is_broken_pipe() => {
            context.log.error(&failure);
            Ok(())
        }
        other => other,
    }
}

/// What a recording is asked for, by either command that makes one.
pub(crate) struct Asked<'a> {
    pub(crate) recording: &'a Recording,
    pub(crate) selection: Selection,
    pub(crate) filters: &'a Filters,
    pub(crate) events: &'a Events,
    pub(crate) no_libcall: bool,
    pub(crate) source: Source,
    pub(crate) kernel: KernelOptions,
    /// The program and its arguments.
    pub(crate) program: &'a [OsString],
    /// Who reads along while the recording is made.
    pub(crate) progress: Option<Sender<Progress>>,
    /// Whether the recording is taken away while it is made.
    pub(crate) early: bool,
}

/// Records into `dir` and tells what could not be kept; also the first half of live.
pub(crate) fn record(asked: Asked<'_>, dir: &Path, context: &Context) -> Result<Outcome, Failure> {
    let Asked {
        recording: args,
        mut selection,
        filters,
        events,
        no_libcall,
        source,
        kernel,
        program,
        progress,
        early,
    } = asked;
    let Some((program, program_args)) = program.split_first() else {
        return Err(Failure::because(exit::TROUBLE, "recording", "no program is named"));
    };
    let doing = || format!("recording '{}'", program.to_string_lossy());
    let libcalls = match (no_libcall, args.nest_libcall) {
        (true, _) => LibCalls::None,
        (false, true) => LibCalls::Nested,
        (false, false) => LibCalls::Executable,
    };
    let patterns = EventPatterns::new(events.event.iter().map(String::as_str), filters.pattern());
    let patterns = patterns.map_err(|error| failure(error, "reading --Event".to_owned()))?;
    let program_file = find_program(program);
    selection.max_stack = args.tuning.max_stack;
    let task_events = task_events(events, &patterns, filters.no_sched());
    selection.events = patterns;
    let options = Options {
        program: program_file,
        args: program_args.to_vec(),
        dir: dir.to_path_buf(),
        cmdline: command_line(),
        version: context.version().split_once(' ').map(|(_, version)| version.to_owned()).unwrap_or_default(),
        libcalls,
        force: args.force || args.nest_libcall,
        patch: patches(&args.patches),
        matching: filters.pattern(),
        plan_cache: args.tuning.plan_cache(),
        bind_not: args.no_pltbind,
        randomize: !args.no_randomize_addr,
        task_events,
        kernel,
        runtime: runtime(args, context)?,
        segment_size: args.buffer,
        selection,
        agent: args.agent.agent,
        source_lines: source.srcline,
        verbose: context.log.level("mcount"),
        clock: clock(args.tuning.clock),
        keep_pid: args.tuning.keep_pid,
        priority: args.tuning.rt_prio,
        reading_options: filters.time_words().unwrap_or_default(),
        early,
        progress,
    };
    if options.kernel.depth.is_none() {
        for spec in options.selection.specs.kernel().iter() {
            context
                .log
                .note(&format!("{}: without --kernel no functions of the kernel are recorded", spec.shown()));
        }
    }
    for text in args.tuning.notes() {
        context.log.note(&text);
    }
    let run = if args.tuning.nop { fathom_record::run_only } else { fathom_record::record };
    let outcome = run(&options).map_err(|error| failure(error, doing()))?;
    if args.tuning.nop {
        context.log.note("--nop: nothing is recorded");
    }
    for text in outcome.notes.iter().cloned().chain(losses(&outcome.losses)) {
        context.log.warn(&text);
    }
    if args.patch_report {
        eprint!("{}", outcome.patches);
    }
    if let Status::Signaled(signal) = outcome.status {
        let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown");
        context.log.warn(&format!("the program was killed by signal {signal} ({name})"));
    }
    Ok(outcome)
}

/// The recorder's messages carry what to do next behind a tab.
fn failure(error: fathom_record::Error, doing: String) -> Failure {
    let text = error.to_string();
    match text.split_once("\n\t") {
        Some((what, next)) => Failure::because(exit::TROUBLE, doing, what.trim_end_matches('.'))
            .next(next.replace("\n\t", "\n  ")),
        None => Failure::new(exit::TROUBLE, doing, error),
    }
}

/// The file that the shell would run. What is not found is left to the recorder to complain about.
pub(crate) fn find_program(name: &std::ffi::OsStr) -> PathBuf {
    let path = Path::new(name);
    if path.components().count() != 1 || name.to_string_lossy().contains('/') {
        return path.to_path_buf();
    }
    let places = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let found = std::env::split_paths(&places).map(|dir| dir.join(path)).find(|file| is_executable(file));
    // A plain name that is nowhere in PATH must not be taken for a file that happens to be here.
    found.unwrap_or_else(|| path.to_path_buf())
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// What was typed, for the header of the recording.
fn command_line() -> String {
    let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

fn patches(given: &Patches) -> Vec<PatchSpec> {
    let specs = given.list.iter();
    specs.map(|(pattern, unpatch)| PatchSpec { pattern: pattern.clone(), unpatch: *unpatch }).collect()
}

fn clock(given: Clock) -> TraceClock {
    match given {
        Clock::Monotonic => TraceClock::Monotonic,
        Clock::Raw => TraceClock::MonotonicRaw,
        Clock::Boot => TraceClock::Boot,
        Clock::Realtime => TraceClock::Realtime,
    }
}

/// Which scheduler and task events to record: what is named, else what is not switched off. Some filters switch the
/// scheduler's off.
fn task_events(events: &Events, named: &EventPatterns, filters: bool) -> TaskEvents {
    match (named.is_empty(), events.no_event, events.no_sched || filters) {
        (false, _, _) => named.task_events(),
        (true, true, _) => TaskEvents::None,
        (true, false, true) => TaskEvents::Tasks,
        (true, false, false) => TaskEvents::All,
    }
}

/// The runtime to use instead of the built-in one.
fn runtime(args: &Recording, context: &Context) -> Result<Option<PathBuf>, Failure> {
    const NAMES: [&str; 2] = ["libfathom-runtime.so", "libfathom_runtime.so"];
    let inside = |dir: &Path| NAMES.iter().map(|name| dir.join(name)).find(|path| path.is_file());
    if let Some(path) = &args.runtime {
        let found =
            if path.is_dir() { inside(path) } else { Some(path.clone()).filter(|path| path.is_file()) };
        return found.map(Some).ok_or_else(|| {
            let doing = format!("looking for the runtime '{}'", path.display());
            Failure::because(exit::TROUBLE, doing, "there is no such file")
                .next("leave --runtime out to use the built-in one")
        });
    }
    // Where others have their library there is usually none of ours, which is no reason to fail.
    let found = args.libmcount_path.as_deref().and_then(inside);
    if let (None, Some(dir)) = (&found, &args.libmcount_path) {
        context.log.detail(
            "mcount",
            &format!("no {} in '{}', the built-in runtime is used", NAMES[0], dir.display()),
        );
    }
    Ok(found)
}

/// What was not recorded, in words.
fn losses(losses: &Losses) -> Vec<String> {
    let counts = [
        (losses.records, "records are lost; a larger --buffer may help"),
        (losses.too_deep, "calls were too deep to be recorded"),
        (losses.tasks, "threads were not recorded"),
        (losses.sessions, "program starts were not recorded"),
        (losses.events, "scheduler and task events are lost"),
        (losses.kernel, "records of the kernel are lost; a larger --kernel-buffer may help"),
        (losses.damaged, "records were damaged, probably by the program itself"),
    ];
    counts.iter().filter(|(count, _)| *count > 0).map(|(count, text)| format!("{count} {text}")).collect()
}

/// The exit code for how the program ended.
pub(crate) fn code(status: Status) -> u8 {
    match status {
        Status::Exited(0) | Status::Stopped => exit::SUCCESS,
        Status::Exited(_) => exit::TROUBLE,
        Status::Signaled(_) => exit::KILLED,
    }
}

/// What `--time` shows, in the layout of the peer.
pub(crate) fn print_times(outcome: &Outcome) -> Result<(), Failure> {
    let text = times(outcome.elapsed, outcome.system, outcome.user);
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(exit::TROUBLE, "writing to the standard output", error))
}

fn times(elapsed: Duration, system: Duration, user: Duration) -> String {
    let cpu = |time: Duration| format!("{:6}.{:06}000 sec", time.as_secs(), time.subsec_micros());
    let elapsed = format!("{}.{:09} sec", elapsed.as_secs(), elapsed.subsec_nanos());
    format!("elapsed time: {elapsed:>20}\n system time: {}\n   user time: {}\n", cpu(system), cpu(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_aligned() {
        let text = times(Duration::new(0, 5_471_332), Duration::ZERO, Duration::from_micros(5030));
        insta::assert_snapshot!(text, @r"
        elapsed time:      0.005471332 sec
         system time:      0.000000000 sec
           user time:      0.005030000 sec
        ");
    }

    #[test]
    fn programs_are_looked_for_in_path() {
        let found = find_program("sh".as_ref());
        assert!(found.is_absolute() && found.ends_with("sh"), "{found:?}");
        assert_eq!(find_program("./sh".as_ref()), Path::new("./sh"));
        assert_eq!(find_program("no-such-program-anywhere".as_ref()), Path::new("no-such-program-anywhere"));
    }

    #[test]
    fn exit_codes_follow_the_program() {
        let codes = [Status::Exited(0), Status::Exited(7), Status::Signaled(9), Status::Stopped].map(code);
        assert_eq!(codes, [0, 1, 2, 0]);
    }
}
