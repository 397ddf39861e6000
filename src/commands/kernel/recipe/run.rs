//! A recipe is carried out: set up, looked at, summed up, put back.

use super::sink::{Sink, logging};
use super::{LOOK, WORK, paragraph};
use crate::args::kernel::recipe::Recipe as Args;
use crate::commands::Context;
use crate::commands::kernel::GATE;
use crate::commands::kernel::ending::Ending;
use crate::commands::kernel::{SETTING_UP, journals};
use crate::messages::{Failure, exit};
use fathom_kernel::command::exit_code;
use fathom_kernel::{Error, Recorder, Stopped};
use fathom_recipes::text::{self, Limits};
use fathom_recipes::{Chosen, Recipe};
use fathom_tracefs::{Task, Tracefs};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

/// How often records are shown while they come.
const SHOW: Duration = Duration::from_millis(200);

/// How much longer than asked for a workload may take before it is ended.
const PATIENCE: Duration = Duration::from_secs(60);

fn setting_up(error: Error) -> Failure {
    Failure::new(exit::TROUBLE, SETTING_UP, error)
}

fn recording(error: Error) -> Failure {
    Failure::new(exit::TROUBLE, "recording the kernel", error)
}

pub(super) fn run(
    recipe: &'static Recipe,
    args: &Args,
    chosen: Chosen,
    words: &[OsString],
    tracefs: &Tracefs,
    context: &Context,
) -> Result<u8, Failure> {
    // From here on a signal is a flag, so that nothing is left half done.
    let mut ending = Ending::prepare()?;
    let starting = |error| Failure::new(exit::TROUBLE, "starting the command", error);
    let mut command = match words {
        [] => None,
        words => Some(Stopped::start(&GATE, words).map_err(starting)?),
    };
    let mut settings = chosen.settings;
    for task in &mut settings.tasks {
        if let (Task::Command, Some(command)) = (*task, &command) {
            *task = Task::Id(command.pid());
        }
    }
    // A busy buffer is read early, so that little is lost.
    settings.buffer_percent = Some(25);
    let recorder = Recorder::begin(tracefs, &settings, &journals(&args.place), args.output.output.as_deref())
        .map_err(setting_up)?;
    let stream = args.output.stream;
    let keep = args.output.records.unwrap_or(if stream { 0 } else { 10 });
    let mut sink = Sink::new(recipe, &recorder, keep)?;
    let watched: Vec<i64> = settings
        .tasks
        .iter()
        .filter_map(|task| match task {
            Task::Id(id) => Some(i64::from(*id)),
            Task::Command => None,
        })
        .collect();
    if !watched.is_empty() {
        sink.watch(watched);
    }
    if stream {
        sink.stream = Some(context.plain_output()?);
    }
    if let Some(path) = &args.output.log {
        let file = File::create(path).map_err(|error| {
            Failure::new(exit::TROUBLE, format!("making the log file '{}'", path.display()), error)
        })?;
        sink.log = Some(BufWriter::new(file));
    }
    if !sink.has_symbols() {
        context
            .log
            .warn("functions have no names: /proc/kallsyms does not show addresses (kernel.kptr_restrict)");
    }
    recorder.start().map_err(setting_up)?;
    if let Some(command) = &mut command {
        command.go().map_err(starting)?;
    }
    let time = match (args.how.workload, &command) {
        (true, _) => Some(args.how.duration.unwrap_or(WORK) * 10 + PATIENCE),
        (false, Some(_)) => args.how.duration,
        (false, None) => args.how.duration.or(if stream { None } else { Some(LOOK) }),
    };
    ending.after(time);
    let (code, lost, problems) = record(recorder, &mut ending, command, &mut sink)?;
    for problem in problems {
        context.log.warn(&format!("putting everything back: {problem}"));
    }
    if args.how.workload && code != exit::SUCCESS {
        context.log.warn(&format!("the workload could not do all that it was to do (exit code {code})"));
    }
    conclude(recipe, args, sink, lost, &chosen.scope, context)?;
    Ok(if args.how.workload { exit::SUCCESS } else { code })
}

/// Takes records until the end. Gives the command's exit code, what the kernel lost, and what could not be put back.
fn record(
    mut recorder: Recorder,
    ending: &mut Ending,
    mut command: Option<Stopped>,
    sink: &mut Sink,
) -> Result<(u8, u64, Vec<fathom_tracefs::Error>), Failure> {
    let mut code = exit::SUCCESS;
    let mut shown = Instant::now();
    let mut trouble = None;
    loop {
        recorder.wait(ending.wait(SHOW), &[ending.wake()]).map_err(recording)?;
        ending.awake();
        recorder
            .drain(|cpu, pages| {
                sink.pages(cpu, pages);
                Ok(())
            })
            .map_err(recording)?;
        // Under load there are many rounds, and each sorts what it has.
        if shown.elapsed() >= SHOW / 2 {
            shown = Instant::now();
            if let Err(failure) = sink.round(Some(&recorder), false) {
                trouble = Some(failure);
                break;
            }
        }
        if let Some(status) = command.as_mut().map(Stopped::ended).transpose().map_err(recording)?.flatten() {
            code = exit_code(status);
            break;
        }
        if ending.asked() || ending.over() {
            break;
        }
    }
    let names = recorder.session().tracefs().read_bytes("saved_cmdlines").unwrap_or_default();
    sink.names.update(&names);
    let summary = recorder
        .end(|cpu, pages| {
            sink.pages(cpu, pages);
            Ok(())
        })
        .map_err(recording)?;
    if let Some(failure) = trouble {
        return Err(failure);
    }
    sink.round(None, true)?;
    let lost = summary.lost();
    Ok((code, lost, summary.problems))
}

fn conclude(
    recipe: &Recipe,
    args: &Args,
    mut sink: Sink,
    lost: u64,
    scope: &str,
    context: &Context,
) -> Result<(), Failure> {
    let last = sink.last();
    let (records, damaged) = (sink.records, sink.damaged);
    let stream = sink.stream.take();
    let log = sink.log.take();
    let (mut summary, names) = sink.finish();
    // The kernel counts what was overwritten, the pages only tell what is missing between them.
    summary.lost = summary.lost.max(lost);
    let limits = Limits { rows: usize::from(args.output.top), ..Limits::default() };
    let mut report = text::summary(recipe, &summary, &names, limits);
    if !scope.is_empty() {
        report = report.replacen('\n', &format!(" [{scope}]\n"), 1);
    }
    let mut out = String::new();
    if !last.is_empty() {
        let shown = args.output.records.unwrap_or(10).min(usize::try_from(records).unwrap_or(usize::MAX));
        out.push_str(&paragraph(&format!(
            "The last records ({shown} of {records}; --stream shows all as they come, --log FILE and -o FILE save them)"
        )));
        out.push_str(&last);
        out.push('\n');
    }
    if stream.is_some() && records > 0 {
        out.push('\n');
    }
    out.push_str(&report);
    if damaged > 0 {
        context.log.warn(&format!("{damaged} records or pages could not be read"));
    }
    match stream {
        Some(mut output) => {
            let written = output.write_all(out.as_bytes()).and_then(|()| output.finish());
            written.map_err(super::sink::writing)?;
        }
        None => crate::commands::kernel::show(&out, context)?,
    }
    if let (Some(mut log), Some(path)) = (log, &args.output.log) {
        log.write_all(format!("\n{report}").as_bytes()).and_then(|()| log.flush()).map_err(logging)?;
        context.log.note(&format!("{records} records and the summary are saved in {}", path.display()));
    }
    if let Some(path) = &args.output.output {
        context.log.note(&format!(
            "the records are saved in {}; `fathom kernel report {0}` shows them",
            path.display()
        ));
    }
    Ok(())
}
