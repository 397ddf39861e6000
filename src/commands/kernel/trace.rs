//! `kernel trace`: sets the kernel up, shows or saves what it records, and puts everything back.

use super::ending::Ending;
use super::{Context, GATE, SETTING_UP, settings};
use crate::args::kernel::trace::Trace;
use crate::messages::{Failure, exit};
use crate::output::Output;
use fathom_kernel::command::exit_code;
use fathom_kernel::{Error, Knowledge, Recorder, Stopped, Summary, Text};
use fathom_tracefs::shell::{self, Style};
use fathom_tracefs::{Naming, Plan, Settings, Task, Tracefs};
use std::time::Duration;

/// How long the recorder sleeps at most when buffers are not yet half full: then a slow trace is on disk, too.
const RECORD: Duration = Duration::from_millis(500);
/// The same when it is shown: what a person takes for at once.
const SHOW: Duration = Duration::from_millis(60);

pub(crate) fn run(args: &Trace, context: &Context) -> Result<u8, Failure> {
    let tracefs = super::tracefs(&args.place, context)?;
    if !args.output.show_commands {
        super::clean_up(&args.place, &tracefs, context)?;
    }
    let (settings, notes) = settings::of(args, &tracefs)?;
    notes.iter().for_each(|note| context.log.note(note));
    if args.output.show_commands {
        return show_commands(args, &settings, &tracefs, context);
    }
    trace(args, settings, &tracefs, context)
}

fn show_commands(
    args: &Trace,
    settings: &Settings,
    tracefs: &Tracefs,
    context: &Context,
) -> Result<u8, Failure> {
    let naming = Naming::plain();
    let place = Plan::likely_place(tracefs, settings, &naming);
    let plan = Plan::build(tracefs, settings, &naming, place)
        .map_err(|error| Failure::new(exit::TROUBLE, "making the plan", error))?;
    plan.notes.iter().for_each(|note| context.log.note(note));
    let command: Vec<String> = args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let seconds = args.output.duration.map(|time| time.as_secs_f64());
    let text = shell::lines(&plan, Style { root: tracefs.root(), command: &command, seconds });
    super::show(&text, context)?;
    Ok(exit::SUCCESS)
}

fn trace(args: &Trace, mut settings: Settings, tracefs: &Tracefs, context: &Context) -> Result<u8, Failure> {
    // From here on a signal is a flag, so that nothing is left half done.
    let mut ending = Ending::prepare()?;
    let command = match args.command.as_slice() {
        [] => None,
        words => Some(Stopped::start(&GATE, words).map_err(starting)?),
    };
    let pid = command.as_ref().map(Stopped::pid);
    for task in &mut settings.tasks {
        if let (Task::Command, Some(pid)) = (*task, pid) {
            *task = Task::Id(pid);
        }
    }
    let file = args.output.output.as_deref();
    let recorder =
        Recorder::begin(tracefs, &settings, &super::journals(&args.place), file).map_err(setting_up)?;
    let plan = recorder.session().plan();
    plan.notes.iter().for_each(|note| context.log.note(note));
    let (summary, code) = if args.output.stream || args.output.output.is_none() {
        let knowledge = Knowledge::of(recorder.session(), recorder.tables()).map_err(setting_up)?;
        let shown = Shown { text: Text::new(&knowledge), out: context.plain_output()?, tracefs };
        record(recorder, &mut ending, args.output.duration, command, Some(shown))?
    } else {
        record(recorder, &mut ending, args.output.duration, command, None)?
    };
    conclude(args, &summary, context)?;
    Ok(code)
}

/// What is shown as it happens.
struct Shown<'k> {
    text: Text<'k>,
    out: Output,
    tracefs: &'k Tracefs,
}

/// Takes pages until the end.
fn record(
    mut recorder: Recorder,
    ending: &mut Ending,
    duration: Option<Duration>,
    mut command: Option<Stopped>,
    mut shown: Option<Shown<'_>>,
) -> Result<(Summary, u8), Failure> {
    let most = if shown.is_some() { SHOW } else { RECORD };
    let mut code = exit::SUCCESS;
    recorder.start().map_err(setting_up)?;
    if let Some(command) = &mut command {
        command.go().map_err(starting)?;
    }
    // What came before can take longer than all of it on a slow machine.
    ending.after(duration);
    let mut gone = None;
    loop {
        recorder.wait(ending.wait(most), &[ending.wake()]).map_err(recording)?;
        ending.awake();
        let ended = command.as_mut().map(Stopped::ended).transpose().map_err(recording)?.flatten();
        if let Some(error) = drain(&mut recorder, shown.as_mut()).map_err(recording)? {
            gone = Some(error);
            break;
        }
        if let Some(status) = ended {
            code = exit_code(status);
            break;
        }
        if ending.asked() || ending.over() {
            break;
        }
    }
    let summary = recorder
        .end(|cpu, pages| {
            if let Some(shown) = &mut shown {
                shown.text.pages(cpu, pages);
            }
            Ok(())
        })
        .map_err(recording)?;
    if let (Some(mut shown), None) = (shown, &gone) {
        let ended = shown.text.end(shown.tracefs, &mut shown.out);
        gone = ended.err().map(Error::into_output).transpose().map_err(recording)?;
    }
    match gone {
        // Who has seen enough closes the pipe.
        Some(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(recording(Error::Output(error))),
        _ => Ok((summary, code)),
    }
}

/// Takes what there is; gives the error of an output that takes no more.
fn drain(recorder: &mut Recorder, shown: Option<&mut Shown<'_>>) -> Result<Option<std::io::Error>, Error> {
    let Some(shown) = shown else {
        recorder.save()?;
        return Ok(None);
    };
    recorder.drain(|cpu, pages| {
        shown.text.pages(cpu, pages);
        Ok(())
    })?;
    match shown.text.round(shown.tracefs, &mut shown.out) {
        Ok(()) => Ok(None),
        Err(error) => error.into_output().map(Some),
    }
}

fn starting(error: Error) -> Failure {
    Failure::new(exit::TROUBLE, "starting the command", error)
}

fn setting_up(error: Error) -> Failure {
    Failure::new(exit::TROUBLE, SETTING_UP, error)
}

fn recording(error: Error) -> Failure {
    match error {
        Error::Output(error) => Failure::new(exit::TROUBLE, "writing to the standard output", error),
        error => Failure::new(exit::TROUBLE, "recording the kernel", error),
    }
}

/// What is to be said at the end.
fn conclude(args: &Trace, summary: &Summary, context: &Context) -> Result<(), Failure> {
    let mut text = String::new();
    for (event, histogram) in &summary.histograms {
        text.push_str(&format!("# {event}\n{}\n", histogram.trim_end()));
    }
    if let Some(snapshot) = &summary.snapshot {
        text.push_str(&format!("# snapshot\n{snapshot}"));
    }
    if !text.is_empty() {
        super::show(&text, context)?;
    }
    for stats in summary.stats.iter().filter(|stats| stats.lost() > 0) {
        let (cpu, lost) = (stats.cpu, stats.lost());
        context.log.warn(&format!("{lost} events of CPU {cpu} were lost; a larger --buffer-size loses less"));
    }
    for problem in &summary.problems {
        context.log.warn(&format!("putting everything back: {problem}"));
    }
    if let Some(file) = &args.output.output {
        let events: u64 = summary.stats.iter().map(|stats| stats.read).sum();
        let lost = summary.lost();
        context.log.note(&format!("{events} events saved in {}, {lost} lost", file.display()));
    }
    Ok(())
}
