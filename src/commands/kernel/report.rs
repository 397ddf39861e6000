//! `kernel report`: the text of a kernel recording.

use super::Context;
use crate::args::kernel::report::{About, Item, Report};
use crate::messages::{Failure, exit};
use fathom_tracedat::report::{
    self, EventPattern, Filter, FormatPattern, Input, PluginOptions, Question, Settings,
};
use std::path::Path;

pub(crate) fn run(args: &Report, context: &Context) -> Result<u8, Failure> {
    if let Some((name, instead)) = args.absent.given() {
        let doing = format!("option {name}");
        return Err(
            Failure::because(exit::TROUBLE, doing, "fathom kernel report does not have it").next(instead)
        );
    }
    let settings = settings(args)?;
    let inputs = inputs(args)?;
    let mut notes = Vec::new();
    let good = print(args, &settings, &inputs, &mut notes, context)?;
    if !args.quiet {
        let unmatched =
            settings.filters.iter().flat_map(|filter| report::unmatched(&inputs, filter.events()));
        notes.extend(unmatched.map(|pattern| format!("'{pattern}' is no event of the recording")));
        for note in notes {
            context.log.warn(&note);
        }
    }
    Ok(if good { exit::SUCCESS } else { exit::TROUBLE })
}

fn print(
    args: &Report,
    settings: &Settings,
    inputs: &[Input],
    notes: &mut Vec<String>,
    context: &Context,
) -> Result<bool, Failure> {
    let mut out = context.output()?;
    let doing = || "printing the recording".to_owned();
    let failed = |error: fathom_tracedat::Error| Failure::new(exit::UNREADABLE, doing(), error);
    let mut good = true;
    if args.test_filters {
        let text = report::describe_filters(inputs, settings, notes);
        std::io::Write::write_all(&mut out, text.as_bytes())
            .map_err(|error| Failure::new(exit::TROUBLE, doing(), error))?;
    } else if let Some(question) = question(&args.about)? {
        good = report::info(inputs, &question, settings, notes, &mut out).map_err(failed)?;
    } else {
        let found = report::events(inputs, settings, &mut out).map_err(failed)?;
        notes.extend(found);
    }
    out.finish().map_err(|error| Failure::new(exit::TROUBLE, doing(), error))?;
    Ok(good)
}

fn question(about: &About) -> Result<Option<Question>, Failure> {
    if let Some(pattern) = &about.event {
        let pattern = FormatPattern::new(pattern).map_err(wrong)?;
        return Ok(Some(Question::Formats(Some(pattern))));
    }
    let questions = [
        (about.byte_order, Question::ByteOrder),
        (about.functions, Question::Functions),
        (about.printk, Question::PrintkTexts),
        (about.event_names, Question::EventNames),
        (about.events, Question::Formats(None)),
        (about.check_events, Question::CheckFormats),
        (about.stat, Question::Statistics),
        (about.uname, Question::Uname),
        (about.version, Question::Version),
        (about.cpus, Question::Cpus),
        (about.first_event, Question::FirstEvents),
        (about.last_event, Question::LastEvents),
    ];
    Ok(questions.into_iter().find(|(asked, _)| *asked).map(|(_, question)| question))
}

/// An option whose value is wrong.
fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::because(exit::TROUBLE, "reading the options", error)
}

fn settings(args: &Report) -> Result<Settings, Failure> {
    let patterns = |list: &[String]| -> Result<Vec<EventPattern>, Failure> {
        list.iter().map(|text| EventPattern::new(text).map_err(wrong)).collect()
    };
    let mut filters = Vec::new();
    let mut negative = false;
    for item in &args.ordered.items {
        match item {
            Item::Invert => negative = true,
            Item::Filter(text) => filters.push(Filter::new(text, negative).map_err(wrong)?),
            Item::Input(_) | Item::Offset(_) | Item::Hertz(_) => {}
        }
    }
    Ok(Settings {
        plugins: !args.no_plugins,
        raw: args.raw,
        latency: args.latency,
        nanoseconds: args.times.nanoseconds,
        differences: args.times.ts_diff,
        aligned: args.times.align_ts,
        date: !args.times.nodate,
        raw_times: args.times.raw_ts,
        cpus: args.cpu.as_ref().map(|list| list.0.clone()).unwrap_or_default(),
        without_hardirq: args.without_hardirq,
        without_softirq: args.without_softirq,
        filters,
        raw_events: patterns(&args.raw_events)?,
        plain_events: patterns(&args.plain_events)?,
        wakeups: args.wakeups,
        check_times: args.times.ts_check,
        options: plugin_options(&args.plugin_options)?,
    })
}

fn plugin_options(list: &[String]) -> Result<PluginOptions, Failure> {
    let mut options = PluginOptions::default();
    for text in list {
        options.set(text).map_err(wrong)?;
    }
    Ok(options)
}

/// The recordings with what the options around them say.
fn inputs(args: &Report) -> Result<Vec<Input>, Failure> {
    let mut inputs: Vec<Input> = Vec::new();
    let mut hertz = None;
    let named = args.ordered.items.iter().any(|item| matches!(item, Item::Input(_)));
    if !named || args.file.is_some() {
        let file = args.file.as_deref().unwrap_or(Path::new("trace.dat"));
        inputs.push(open(file)?);
    }
    // The file without an option stands at the end of the line, so what precedes it is about it too.
    for item in &args.ordered.items {
        match item {
            Item::Input(path) => {
                let mut input = open(path)?;
                input.hertz = hertz;
                inputs.push(input);
            }
            Item::Offset(offset) => match inputs.last_mut() {
                Some(input) => input.offset = *offset,
                None => return Err(wrong("--ts-offset must come after the file it is about (-i FILE)")),
            },
            Item::Hertz(rate) => match inputs.last_mut() {
                Some(input) => input.hertz = Some(*rate),
                None => hertz = Some(*rate),
            },
            Item::Invert | Item::Filter(_) => {}
        }
    }
    Ok(inputs)
}

fn open(path: &Path) -> Result<Input, Failure> {
    let opened = fathom_tracedat::open(path).map(Input::new);
    opened.map_err(|error| {
        let failure = Failure::new(exit::UNREADABLE, "reading the recording", error);
        if path.exists() { failure } else { failure.next("fathom kernel trace -o FILE records one") }
    })
}
