//! `kernel trace`: sets the kernel up, shows or saves what it records, and puts everything back.

use super::ending::Ending;
use super::{Context, SETTING_UP, settings};
use crate::args::kernel::trace::Trace;
use crate::messages::{Failure, exit};
use fathom_kernel::command::exit_code;
use fathom_kernel::{Error, Recorder, Stopped, Summary};
use fathom_tracefs::shell::{self, Style};
use fathom_tracefs::{Naming, Plan, Settings, Task, Tracefs};
use std::time::Duration;

/// How long the recorder sleeps at most when buffers are not yet half full: then a slow trace is on disk, too.
const RECORD: Duration = Duration::from_millis(500);

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
    let mut command = match args.command.as_slice() {
        [] => None,
        words => Some(Stopped::start(&["kernel", "run-stopped", "--"], words).map_err(starting)?),
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
    recorder.start().map_err(setting_up)?;
    if let Some(command) = &mut command {
        command.go().map_err(starting)?;
    }
    ending.after(args.output.duration);
    let (summary, code) = record(recorder, &mut ending, command)?;
    conclude(args, &summary, context)?;
    Ok(code)
}

/// Takes pages until the end.
fn record(
    mut recorder: Recorder,
    ending: &mut Ending,
    mut command: Option<Stopped>,
) -> Result<(Summary, u8), Failure> {
    let mut code = exit::SUCCESS;
    loop {
        recorder.wait(ending.wait(RECORD), &[ending.wake()]).map_err(recording)?;
        ending.awake();
        recorder.drain(|_, _| Ok(())).map_err(recording)?;
        let ended = command.as_mut().map(Stopped::ended).transpose().map_err(recording)?.flatten();
        if let Some(status) = ended {
            code = exit_code(status);
            break;
        }
        if ending.asked() || ending.over() {
            break;
        }
    }
    let summary = recorder.end(|_, _| Ok(())).map_err(recording)?;
    Ok((summary, code))
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
