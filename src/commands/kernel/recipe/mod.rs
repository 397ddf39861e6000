//! `kernel recipe`: scenarios of kernel tracing, each with what it found out in words.

mod run;
mod sink;

use super::Context;
use crate::args::kernel::recipe::{Recipe as Args, WorkloadArgs};
use crate::messages::{Failure, exit};
use fathom_btf::Btf;
use fathom_filter::nearest::nearest;
use fathom_recipes::script::{self, Style};
use fathom_recipes::text::{bullet, wrap};
use fathom_recipes::{Chosen, Kind, Need, Options, RECIPES, Recipe, Scope, Workload};
use fathom_tracefs::{Naming, Plan, Tracefs, pids, shell};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

/// Columns that explanations are broken at.
const WIDTH: usize = 100;

/// How long a recipe looks if nothing else says when it ends.
const LOOK: Duration = Duration::from_secs(5);

/// How long a workload goes on unless asked otherwise.
const WORK: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    match (args.what.as_deref(), args.name.as_deref()) {
        (None | Some("list"), None) => {
            super::show(&list(), context)?;
            Ok(exit::SUCCESS)
        }
        (Some("show"), Some(name)) => show(find(name)?, args, context),
        (Some("show"), None) => Err(wrong("show wants the name of a recipe")),
        (Some(_), Some(word)) => {
            Err(wrong(format!("'{word}' is one word too many: a command to look at stands behind --")))
        }
        (Some(name), None) => look(find(name)?, args, context),
        (None, Some(_)) => Err(wrong("the name of a recipe is missing")),
    }
}

fn wrong(why: impl std::fmt::Display) -> Failure {
    Failure::because(exit::TROUBLE, "reading the command line", why)
}

fn find(name: &str) -> Result<&'static Recipe, Failure> {
    fathom_recipes::find(name).ok_or_else(|| {
        let near = nearest(name, RECIPES.iter().map(|recipe| recipe.name));
        let hint = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
        wrong(format!("there is no recipe '{name}'{hint}")).next("`fathom kernel recipe list` names them all")
    })
}

/// All recipes as a table.
fn list() -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{:<14} {:<9} WHAT IT SHOWS", "RECIPE", "WORKLOAD");
    for recipe in RECIPES {
        let workload = if recipe.workload.is_some() { "yes" } else { "no" };
        let _ = writeln!(out, "{:<14} {workload:<9} {}", recipe.name, recipe.purpose);
    }
    out.push_str("\n`fathom kernel recipe show NAME` explains one; `fathom kernel recipe NAME --workload` makes it happen and looks.\n");
    out
}

/// The kernel's type information, where it can be read.
fn btf() -> Option<Btf> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
    Btf::parse(bytes).ok()
}

/// The type information is large, and few recipes have a use for it.
fn btf_for(recipe: &Recipe) -> Option<Btf> {
    recipe.items.iter().any(|item| matches!(item.kind, Kind::Probe(_))).then(btf).flatten()
}

fn options(args: &Args, tracefs: &Tracefs) -> Result<Options, Failure> {
    let setting_up = |error: fathom_tracefs::Error| Failure::new(exit::TROUBLE, "choosing the tasks", error);
    let mut tasks = Vec::new();
    for pid in args.who.pids.iter().flatten() {
        tasks.push(pids::existing(tracefs, pid.cast_unsigned()).map_err(setting_up)?);
    }
    for comm in &args.who.comms {
        tasks.extend(pids::by_name(tracefs, comm).map_err(setting_up)?);
    }
    if args.who.follow && !tasks.is_empty() {
        tasks = pids::family(tracefs, &tasks);
    }
    tasks.sort_unstable();
    tasks.dedup();
    Ok(Options {
        tasks,
        command: args.how.workload || !args.command.is_empty(),
        follow: args.who.follow,
        depth: args.how.depth,
        no_graph: args.how.no_graph,
        no_stacks: args.how.no_stack,
        device: args.who.dev.clone(),
        cpus: args.who.cpus.as_deref().map(pids::cpu_list).transpose().map_err(setting_up)?,
        buffer_kb: args.how.buffer_size.map(|bytes| bytes.div_ceil(1024)),
    })
}

fn chosen(recipe: &'static Recipe, args: &Args, tracefs: &Tracefs) -> Result<Chosen, Failure> {
    let options = options(args, tracefs)?;
    let btf = btf_for(recipe);
    fathom_recipes::choose(recipe, &options, tracefs, btf.as_ref()).map_err(|error| {
        let doing = format!("choosing what the recipe {} needs on this kernel", recipe.name);
        Failure::new(exit::TROUBLE, doing, error)
            .next("`fathom kernel doctor` says what this kernel can trace")
    })
}

/// What a recipe explains, and what it would set here.
fn show(recipe: &'static Recipe, args: &Args, context: &Context) -> Result<u8, Failure> {
    let mut out = explained(recipe);
    match super::tracefs(&args.place, context).and_then(|tracefs| chosen(recipe, args, &tracefs)) {
        Ok(chosen) => {
            out.push_str("\nWhat it sets on this kernel\n");
            set_here(&mut out, &chosen);
        }
        Err(failure) => {
            out.push_str("\nWhat it sets, the newest names first\n");
            for item in recipe.items {
                bullet(&mut out, &format!("{}: {}", item.role, item.names.join(", ")), WIDTH);
            }
            let _ = writeln!(out, "\nWhat it can do on this kernel is not known: {failure}");
        }
    }
    parameters(&mut out, recipe);
    out.push_str("\nWhat to look at next\n");
    for next in recipe.next {
        bullet(&mut out, next, WIDTH);
    }
    super::show(&out, context)?;
    Ok(exit::SUCCESS)
}

fn explained(recipe: &Recipe) -> String {
    let mut out = format!("{}: {}\n\nWhat it teaches\n", recipe.name, recipe.purpose);
    for paragraph in recipe.teaches {
        bullet(&mut out, paragraph, WIDTH);
    }
    out
}

fn set_here(out: &mut String, chosen: &Chosen) {
    let there = |choice: &&fathom_recipes::Choice| choice.name.is_some() || choice.item.need != Need::Extra;
    for choice in chosen.choices.iter().filter(there) {
        let kind = match choice.item.kind {
            Kind::Event => "event",
            Kind::EventWithStack => "event with stack",
            Kind::Graph => "call graph from",
            Kind::NotGraph => "no call graph of",
            Kind::Probe(_) => "probe at",
            Kind::ReturnProbe => "probe at the return of",
        };
        let mut text = match &choice.name {
            Some(name) => format!("{kind} {name}: {}", choice.item.role),
            None => format!("(not here) {kind} {}: {}", choice.item.names.join(", "), choice.item.role),
        };
        if !choice.note.is_empty() {
            let _ = write!(text, " [{}]", choice.note);
        } else if choice.name.is_none() && choice.item.need == Need::Must {
            text.push_str(" [it cannot be done without]");
        }
        bullet(out, &text, WIDTH);
    }
    for probe in &chosen.settings.probes {
        if !probe.args.is_empty() {
            bullet(out, &format!("arguments of the probe at {}: {}", probe.place, probe.args), WIDTH);
        }
    }
    let mut rest = format!("traced: {}", chosen.scope);
    if let Some(kb) = chosen.settings.buffer_kb {
        let _ = write!(rest, "; {kb} KiB of buffer for each CPU");
    }
    if let Some(depth) = chosen.settings.max_depth {
        let _ = write!(rest, "; {depth} levels of calls");
    }
    if let Some(clock) = &chosen.settings.clock {
        let _ = write!(rest, "; clock {clock}");
    }
    bullet(out, &rest, WIDTH);
}

fn parameters(out: &mut String, recipe: &Recipe) {
    out.push_str("\nParameters\n");
    let about = match recipe.scope {
        Scope::Machine => "only that task; without, the whole machine",
        Scope::Tasks => {
            "only that task; without, the command after -- or the workload, else the whole machine"
        }
        Scope::Named(_) => "these tasks rather than those that are found by name",
        Scope::Target { .. } => {
            "what is done to the task and what it does itself; without, the whole machine"
        }
    };
    bullet(out, &format!("--pid PID, --comm NAME: {about}"), WIDTH);
    bullet(
        out,
        "--duration TIME, --cpu LIST, --buffer-size SIZE, --stream, --log FILE, -o FILE, --script",
        WIDTH,
    );
    for option in recipe.options {
        bullet(out, &format!("{}: {}", option.flag(), option.help()), WIDTH);
    }
    match recipe.workload {
        Some((_, what)) => bullet(out, &format!("--workload: {what}"), WIDTH),
        None => bullet(out, "-- COMMAND: runs it and looks while it runs", WIDTH),
    }
}

/// The words of a command that does the workload for some time.
fn workload_words(workload: Workload, time: Duration) -> Result<Vec<OsString>, Failure> {
    let me = std::env::current_exe()
        .map_err(|error| Failure::new(exit::TROUBLE, "finding this program's own file", error))?;
    let time = format!("{}ms", time.as_millis());
    let mut words = vec![me.into_os_string()];
    words.extend(["kernel", "workload", workload.name(), "--time", &time].map(OsString::from));
    Ok(words)
}

/// The command to look at: that of the user, or the workload.
fn command(recipe: &Recipe, args: &Args) -> Result<Vec<OsString>, Failure> {
    match (args.how.workload, recipe.workload) {
        (true, Some((workload, _))) => workload_words(workload, args.how.duration.unwrap_or(WORK)),
        (true, None) => Err(wrong(format!("the recipe {} has no workload", recipe.name))),
        (false, _) => Ok(args.command.clone()),
    }
}

fn look(recipe: &'static Recipe, args: &Args, context: &Context) -> Result<u8, Failure> {
    let tracefs = super::tracefs(&args.place, context)?;
    if !args.output.script && !args.output.show_commands {
        super::clean_up(&args.place, &tracefs, context)?;
    }
    let chosen = chosen(recipe, args, &tracefs)?;
    let words = command(recipe, args)?;
    if args.output.script || args.output.show_commands {
        return as_shell(recipe, args, &chosen, &words, &tracefs, context);
    }
    for choice in &chosen.choices {
        let note = &choice.note;
        match &choice.name {
            None if !args.how.no_graph && choice.item.need != Need::Extra => {
                context.log.warn(&format!(
                    "{}: {} ({} is not here)",
                    choice.item.role,
                    note,
                    choice.item.names.join(", ")
                ));
            }
            Some(name) if !note.is_empty() => {
                context.log.note(&format!("{}: {name}; {note}", choice.item.role))
            }
            _ => {}
        }
    }
    run::run(recipe, args, chosen, &words, &tracefs, context)
}

fn as_shell(
    recipe: &'static Recipe,
    args: &Args,
    chosen: &Chosen,
    words: &[OsString],
    tracefs: &Tracefs,
    context: &Context,
) -> Result<u8, Failure> {
    let naming = Naming::plain();
    let place = Plan::likely_place(tracefs, &chosen.settings, &naming);
    let plan = Plan::build(tracefs, &chosen.settings, &naming, place)
        .map_err(|error| Failure::new(exit::TROUBLE, "making the plan", error))?;
    let command: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let duration = args.how.duration.unwrap_or(LOOK);
    let text = if args.output.script {
        // The script goes to tracefs; names of files are meant from here.
        let log =
            args.output.log.as_ref().map(|log| std::path::absolute(log).unwrap_or_else(|_| log.clone()));
        let of_command = chosen.settings.tasks.contains(&fathom_tracefs::Task::Command);
        let style = Style {
            root: tracefs.root(),
            command: &command,
            of_command,
            by_name: script::named(recipe, !(args.who.pids.is_empty() && args.who.comms.is_empty())),
            seconds: duration.as_secs().max(1),
            stream: args.output.stream,
            log: log.as_deref(),
        };
        script::script(recipe, &plan, style)
    } else {
        let seconds = Some(duration.as_secs_f64());
        shell::lines(&plan, shell::Style { root: tracefs.root(), command: &command, seconds })
    };
    super::show(&text, context)?;
    Ok(exit::SUCCESS)
}

/// The hidden command: does a workload, or a child's part in one.
pub(crate) fn workload(args: &WorkloadArgs) -> Result<u8, Failure> {
    let doing = || format!("the workload {}", args.name);
    let failed = |error| Failure::new(exit::TROUBLE, doing(), anyhow::Error::from(error));
    if let Some(part) = &args.part {
        fathom_recipes::workload::part(part).map_err(failed)?;
        return Ok(exit::SUCCESS);
    }
    let workload = Workload::of_name(&args.name)
        .ok_or_else(|| Failure::because(exit::TROUBLE, doing(), "there is none of that name"))?;
    let me = std::env::current_exe()
        .map_err(|error| Failure::new(exit::TROUBLE, "finding this program's own file", error))?;
    let child = |part: &str| {
        let mut command = Command::new(&me);
        command.args(["kernel", "workload", &args.name, "--part", part]);
        command
    };
    let run = fathom_recipes::workload::Run { time: args.time.unwrap_or(WORK), child: &child };
    workload.run(&run).map_err(failed)?;
    Ok(exit::SUCCESS)
}

/// A paragraph for the reader.
fn paragraph(text: &str) -> String {
    let mut out = String::new();
    wrap(&mut out, "", text, WIDTH);
    out
}
