//! What other users of tracefs are doing. It is named and not touched.

use crate::Tracefs;

/// What is going on at the top level, in words: a tracer, enabled events. Nothing if it is free.
pub fn at_top(tracefs: &Tracefs) -> Vec<String> {
    let mut users = Vec::new();
    let tracer = tracefs.read("current_tracer").unwrap_or_default();
    if !matches!(tracer.trim(), "nop" | "") {
        users.push(format!("the tracer {} runs", tracer.trim()));
    }
    let events = tracefs.read("set_event").unwrap_or_default();
    let events: Vec<&str> = events.lines().filter(|line| !line.trim().is_empty()).collect();
    match events.as_slice() {
        [] => {}
        [one] => users.push(format!("the event {one} is enabled")),
        [first, ..] => users.push(format!("{} events are enabled, as {first}", events.len())),
    }
    users
}

/// Where graphs of functions are made at this time, in words.
pub(crate) fn graphs(tracefs: &Tracefs) -> Vec<String> {
    let runs = |file: &str| tracefs.read(file).is_ok_and(|tracer| tracer.trim() == "function_graph");
    let mut users = Vec::new();
    if runs("current_tracer") {
        users.push("the tracer function_graph runs".to_owned());
    }
    for instance in tracefs.list("instances").unwrap_or_default() {
        if runs(&format!("instances/{instance}/current_tracer")) {
            users.push(format!("the tracer function_graph runs in the instance '{instance}'"));
        }
    }
    users
}

/// All that others have left or are doing in tracefs, in words.
pub fn all(tracefs: &Tracefs) -> Vec<String> {
    let mut found = at_top(tracefs);
    for (file, what) in [
        ("set_event_pid", "a filter of tasks for events"),
        ("set_ftrace_pid", "a filter of tasks for functions"),
        ("set_ftrace_filter", "a filter of functions"),
        ("set_ftrace_notrace", "a filter of functions to leave out"),
        ("set_graph_function", "functions to graph"),
        ("set_graph_notrace", "functions not to graph"),
    ] {
        let text = tracefs.read(file).unwrap_or_default();
        let set = |line: &str| !line.trim().is_empty() && !line.starts_with('#') && line.trim() != "no pid";
        if text.lines().any(set) {
            found.push(format!("{what} is set ({file})"));
        }
    }
    let probes = tracefs.read("dynamic_events").unwrap_or_default();
    let probes = probes.lines().filter(|line| !line.trim().is_empty() && !is_ours(line)).count();
    if probes > 0 {
        found.push(format!("{probes} probes or synthetic events are defined (dynamic_events)"));
    }
    for instance in tracefs.list("instances").unwrap_or_default() {
        if !instance.starts_with("fathom-") {
            found.push(format!("there is an instance '{instance}'"));
        }
    }
    found
}

fn is_ours(line: &str) -> bool {
    line.split_once(':').is_some_and(|(_, name)| name.starts_with("fathom_"))
}
