//! Options that say what is recorded with calls, and how.

use super::filters::Filters;
use crate::filtering::bad_spec;
use crate::messages::{Failure, exit};
use clap::{ArgAction, Args};
use fathom_filter::SpecKind;
use fathom_filter::nearest::nearest;
use fathom_record::{Selection, SignalAction};

/// What is recorded besides the times of calls.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What is recorded")]
pub(crate) struct Recorded {
    /// Record arguments of FUNC, for example FUNC@arg1,arg2/s; without a list those that its types tell
    #[arg(short = 'A', long, value_name = "FUNC[@ARG,…]", action = ArgAction::Append)]
    argument: Vec<String>,
    /// Record the return value of FUNC, for example FUNC@retval/x; FUNC alone takes the type that is known
    #[arg(short = 'R', long, value_name = "FUNC[@retval]", action = ArgAction::Append)]
    retval: Vec<String>,
    /// Record arguments and return values of all functions whose types are known
    #[arg(short = 'a', long)]
    auto_args: bool,
    /// Record the processor (cpu) or a global variable (var:NAME) whenever it changes
    #[arg(short = 'W', long, value_name = "cpu|var:NAME", action = ArgAction::Append)]
    watch: Vec<String>,
    /// What to do when the program gets a signal: trace_on, trace_off or finish
    #[arg(long, value_name = "SIGNAL@ACTION", action = ArgAction::Append)]
    signal: Vec<String>,
    /// Leave return addresses alone and estimate when calls end
    #[arg(short = 'e', long)]
    estimate_return: bool,
}

impl Recorded {
    /// What to record, by these options and the filters.
    pub(crate) fn selection(&self, filters: &Filters) -> Result<Selection, Failure> {
        let mut specs = filters.specs().map_err(bad_spec)?;
        for (kind, texts) in [(SpecKind::Argument, &self.argument), (SpecKind::Retval, &self.retval)] {
            for text in texts {
                specs.push(kind, text).map_err(bad_spec)?;
            }
        }
        let mut selection = Selection {
            specs,
            depth: filters.depth().unwrap_or(0),
            time: filters.time(),
            size: filters.size(),
            on: filters.is_on(),
            auto_args: self.auto_args,
            estimate: self.estimate_return,
            ..Selection::default()
        };
        for point in self.watch.iter().flat_map(|list| list.split(';')) {
            watch(&mut selection, point)?;
        }
        for text in self.signal.iter().flat_map(|list| list.split(';')) {
            selection.signals.push(signal(text)?);
        }
        Ok(selection)
    }
}

fn wrong(option: &str, value: &str, why: &str) -> Failure {
    Failure::because(exit::TROUBLE, "reading the command line", format!("{option} {value}: {why}"))
}

fn watch(selection: &mut Selection, point: &str) -> Result<(), Failure> {
    match point.split_once(':') {
        None if point == "cpu" => selection.watch_cpu = true,
        Some(("var", name)) if !name.is_empty() => {
            if selection.watch_variable.replace(name.to_owned()).is_some() {
                return Err(wrong("-W", point, "only one variable can be watched"));
            }
        }
        _ => {
            return Err(wrong(
                "-W",
                point,
                "what can be watched is cpu, or var: and the name of a global variable",
            ));
        }
    }
    Ok(())
}

/// Names of ordinary signals without `SIG`, with their numbers.
fn signals() -> impl Iterator<Item = (&'static str, u8)> {
    (1..32u8).filter_map(|number| {
        let name = signal_hook::low_level::signal_name(number.into())?;
        Some((name.strip_prefix("SIG").unwrap_or(name), number))
    })
}

/// The first and the last real-time signal that programs may use.
const REALTIME: (i32, i32) = (34, 64);

fn signal(text: &str) -> Result<(u8, SignalAction), Failure> {
    let Some((name, action)) = text.split_once('@') else {
        return Err(wrong("--signal", text, "a signal and an action are needed, for example USR1@finish"));
    };
    let number = signal_number(name.trim()).ok_or_else(|| {
        let plain = name.trim().to_ascii_uppercase();
        let plain = plain.strip_prefix("SIG").unwrap_or(&plain);
        let meant = nearest(plain, signals().map(|(name, _)| name));
        let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        wrong("--signal", text, &format!("there is no signal '{name}'{hint}"))
    })?;
    if matches!(number, 9 | 19) {
        return Err(wrong("--signal", text, "no program can act on that signal"));
    }
    let action = match action.trim().to_ascii_lowercase().as_str() {
        "trace_on" | "traceon" | "trace-on" => SignalAction::TraceOn,
        "trace_off" | "traceoff" | "trace-off" => SignalAction::TraceOff,
        "finish" => SignalAction::Finish,
        other => {
            let meant = nearest(other, ["trace_on", "trace_off", "finish"]);
            let hint = meant.map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
            let why = format!(
                "'{action}' is no action for a signal{hint}: they are trace_on, trace_off and finish"
            );
            return Err(wrong("--signal", text, &why));
        }
    };
    Ok((number, action))
}

/// A number, `USR1`, `SIGUSR1`, `RTMIN+3`, `SIGRTMAX-1`.
fn signal_number(name: &str) -> Option<u8> {
    if let Ok(number) = name.parse::<u8>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let alias = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        name => name,
    };
    if let Some((_, number)) = signals().find(|(known, _)| *known == alias) {
        return Some(number);
    }
    let (base, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (REALTIME.0, rest),
        (_, Some(rest)) => (REALTIME.1, rest),
        _ => return None,
    };
    let offset = if rest.is_empty() { 0 } else { rest.parse::<i32>().ok()? };
    let number = base.checked_add(offset)?;
    (REALTIME.0..=REALTIME.1).contains(&number).then_some(number as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(signal_number("USR1"), Some(10));
        assert_eq!(signal_number("sigusr2"), Some(12));
        assert_eq!(signal_number("15"), Some(15));
        assert_eq!(signal_number("RTMIN+3"), Some(37));
        assert_eq!(signal_number("SIGRTMAX-1"), Some(63));
        assert_eq!(signal_number("RTMAX+1"), None);
        assert_eq!(signal_number("0"), None);
        assert_eq!(signal_number("USR3"), None);
    }

    #[test]
    fn actions_of_signals() {
        assert_eq!(signal("USR1@finish").ok(), Some((10, SignalAction::Finish)));
        assert_eq!(signal("2@traceoff").ok(), Some((2, SignalAction::TraceOff)));
        for (text, says) in [
            ("USR1", "for example USR1@finish"),
            ("USR3@finish", "did you mean USR1"),
            ("USR1@finsh", "did you mean finish"),
            ("KILL@finish", "no program"),
        ] {
            let error = signal(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
