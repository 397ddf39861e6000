//! Which names are chosen on which kernel, and what scripts come of it.

use fathom_recipes::script::{self, Style};
use fathom_recipes::{Chosen, Options, RECIPES, Workload, choose, find};
use fathom_tracefs::{Naming, Plan, Task, Tracefs};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A tracefs of plain files with these functions, and the events that recipes name but for some.
struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    fn new(functions: &[&str], without: &[&str]) -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file("available_filter_functions", &functions.join("\n"));
        file("available_tracers", "function_graph function nop\n");
        for (name, text) in [
            ("current_tracer", "nop\n"),
            ("tracing_on", "1\n"),
            ("trace_clock", "[local] global mono\n"),
            ("buffer_size_kb", "7 (expanded: 1408)\n"),
            ("saved_cmdlines_size", "128\n"),
            ("set_event_pid", ""),
            ("set_ftrace_pid", "no pid\n"),
            ("set_graph_function", "#### all functions enabled ####\n"),
            ("set_graph_notrace", "#### no functions disabled ####\n"),
            ("max_graph_depth", "0\n"),
            ("kprobe_events", ""),
            ("dynamic_events", ""),
            ("tracing_cpumask", "3\n"),
            ("options/event-fork", "0\n"),
            ("options/function-fork", "0\n"),
            ("options/stacktrace", "0\n"),
            ("trace", ""),
        ] {
            file(name, text);
        }
        std::fs::create_dir_all(dir.path().join("instances")).unwrap();
        for item in RECIPES.iter().flat_map(|recipe| recipe.items) {
            for name in item.names.iter().filter(|name| name.contains(':')) {
                let name = name.split(" if ").next().unwrap();
                if !without.contains(&name) {
                    let base = format!("events/{}", name.replace(':', "/"));
                    file(&format!("{base}/enable"), "0\n");
                    file(&format!("{base}/filter"), "none\n");
                    file(&format!("{base}/trigger"), "");
                }
            }
        }
        // Tasks that recipes look for by name.
        for (pid, comm) in [(1, "init"), (16, "ksoftirqd/0"), (25, "ksoftirqd/1")] {
            file(&format!("proc/{pid}/comm"), &format!("{comm}\n"));
            file(&format!("proc/{pid}/task/{pid}/comm"), &format!("{comm}\n"));
        }
        file("proc/sys/kernel/osrelease", "6.12.0\n");
        Fake { dir }
    }

    fn modern() -> Fake {
        let functions = [
            "__sysvec_apic_timer_interrupt",
            "__common_interrupt",
            "wb_workfn",
            "dev_hard_start_xmit",
            "enqueue_task_fair",
            "dequeue_task_fair",
            "handle_mm_fault",
            "irq_exit_rcu",
            "irq_enter_rcu",
            "stack_trace_save",
            "arch_stack_walk",
        ];
        let old = [
            "vmscan:mm_vmscan_writepage",
            "timer:hrtimer_expire_entry",
            "timer:hrtimer_expire_exit",
            "kmem:kmalloc_node",
        ];
        Fake::new(&functions, &old)
    }

    /// Names of before 5.8.
    fn old() -> Fake {
        let functions = [
            "smp_apic_timer_interrupt",
            "do_IRQ",
            "wb_workfn",
            "dev_hard_start_xmit",
            "enqueue_task_fair",
            "dequeue_task_fair",
            "handle_mm_fault",
            "irq_exit",
            "irq_enter",
        ];
        let new = [
            "vmscan:mm_vmscan_write_folio",
            "lock:contention_begin",
            "lock:contention_end",
            "exceptions:page_fault_user",
        ];
        Fake::new(&functions, &new)
    }

    fn tracefs(&self) -> Tracefs {
        Tracefs::at(self.dir.path()).with_proc(self.dir.path().join("proc"))
    }

    fn choose(&self, name: &str, options: &Options) -> Result<Chosen, String> {
        choose(find(name).unwrap(), options, &self.tracefs(), None).map_err(|error| error.to_string())
    }
}

fn told(chosen: &Chosen) -> String {
    let mut out = String::new();
    for choice in &chosen.choices {
        let name = choice.name.as_deref().unwrap_or("-");
        let _ = writeln!(out, "{}: {name} {}", choice.item.role, choice.note);
    }
    let settings = &chosen.settings;
    let _ = writeln!(
        out,
        "tracer {:?}, depth {:?}, tasks {:?}",
        settings.tracer, settings.max_depth, settings.tasks
    );
    out
}

#[test]
fn every_recipe_can_be_done_on_kernels_of_all_ages() {
    for fake in [Fake::modern(), Fake::old()] {
        for recipe in RECIPES {
            let chosen = fake.choose(recipe.name, &Options::default()).unwrap();
            let plan = Plan::build(
                &fake.tracefs(),
                &chosen.settings,
                &Naming::plain(),
                fathom_tracefs::plan::Place::Top,
            );
            assert!(plan.is_ok(), "{}: {plan:?}", recipe.name);
        }
    }
}

#[test]
fn names_are_chosen_by_what_there_is() {
    let (modern, old) = (Fake::modern(), Fake::old());
    let mut out = String::new();
    for name in ["softirq", "interrupt", "memory", "network", "ksoftirqd", "page-faults"] {
        for (age, fake) in [("modern", &modern), ("old", &old)] {
            let _ =
                writeln!(out, "## {name}, {age}\n{}", told(&fake.choose(name, &Options::default()).unwrap()));
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_lacking_and_what_does_not_fit_is_said() {
    let bare = Fake::new(&["vfs_read"], &["sched:sched_switch", "sched:sched_waking"]);
    let fake = Fake::modern();
    let options = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options
    };
    let said = [
        bare.choose("interrupt", &Options::default()),
        bare.choose("sched-latency", &Options::default()),
        bare.choose("runqueue", &Options::default()),
        fake.choose("irq", &options(|options| options.depth = Some(3))),
        fake.choose("softirq", &options(|options| options.device = Some("x".to_owned()))),
        fake.choose("memory", &options(|options| options.no_graph = true)),
        fake.choose("block-io", &options(|options| options.device = Some("../x".to_owned()))),
    ]
    .map(|result| result.map(|chosen| told(&chosen)).unwrap_err());
    let text = said.join("\n");
    let text = text.split(" (there are ").next().unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn a_pid_of_signal_is_both_ends() {
    let options = Options { tasks: vec![42], ..Options::default() };
    let chosen = Fake::modern().choose("signal", &options).unwrap();
    let told: Vec<String> = chosen
        .settings
        .events
        .iter()
        .map(|event| {
            format!("{}: {:?} {:?}", event.name, event.filter.as_deref().unwrap_or(""), event.triggers)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    signal_generate: "common_pid == 42 || pid == 42" ["stacktrace if common_pid == 42 || pid == 42"]
    signal_deliver: "common_pid == 42" ["stacktrace if common_pid == 42"]
    "#);
    assert!(chosen.settings.tasks.is_empty(), "the kernel's pid filter would hide the senders");
}

#[test]
fn scripts_are_shell() {
    let fake = Fake::modern();
    for recipe in RECIPES {
        for command in [false, true] {
            let options = Options { command, ..Options::default() };
            let chosen = fake.choose(recipe.name, &options).unwrap();
            let place = Plan::likely_place(&fake.tracefs(), &chosen.settings, &Naming::plain());
            let plan = Plan::build(&fake.tracefs(), &chosen.settings, &Naming::plain(), place).unwrap();
            let words = ["ls".to_owned(), "-l".to_owned(), "it's".to_owned()];
            let style = Style {
                root: Path::new("/sys/kernel/tracing"),
                command: if command { &words } else { &[] },
                of_command: chosen.settings.tasks.contains(&Task::Command),
                by_name: script::named(recipe, false),
                seconds: 5,
                stream: command,
                log: (recipe.name == "irq").then_some(Path::new("irq.log")),
            };
            let text = script::script(recipe, &plan, style);
            let mut shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut shell.stdin.take().unwrap(), text.as_bytes()).unwrap();
            assert!(shell.wait().unwrap().success(), "{text}");
            if matches!((recipe.name, command), ("ksoftirqd" | "irq", false) | ("network", true)) {
                insta::assert_snapshot!(format!("script_{}", recipe.name), text);
            }
        }
    }
}

#[test]
fn every_recipe_is_whole() {
    let mut names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
    let wanted = "irq softirq ksoftirqd interrupt memory runqueue signal writeback network sched-latency wakeup off-cpu block-io syscalls page-faults oom futex workqueue kmalloc net-rx exec";
    assert_eq!(names.join(" "), wanted);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RECIPES.len());
    for recipe in RECIPES {
        assert!(
            !recipe.teaches.is_empty() && !recipe.next.is_empty() && !recipe.measures.is_empty(),
            "{}",
            recipe.name
        );
        let (workload, _) = recipe.workload.unwrap();
        assert_eq!(Workload::of_name(workload.name()), Some(workload));
        let mut ids: Vec<&str> = recipe.measures.iter().map(|measure| measure.id).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{}: {ids:?}", recipe.name);
    }
}
