//! Names that kernels have changed: which of them this kernel has.

use crate::error::UnknownName;
use crate::functions::{is_glob, matches};
use crate::{Error, Functions, Tracefs};
use fathom_filter::nearest::{Nearest, nearest};
use std::cell::OnceCell;

/// What a name is a name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function.
    Function,
    /// An event, as `vmscan/mm_vmscan_write_folio`.
    Event,
}

/// One thing of the kernel, under the names it had.
#[derive(Debug)]
pub struct Role {
    /// What it is, in words.
    pub what: &'static str,
    /// Functions or events.
    pub kind: Kind,
    /// Its names, those that are to be taken first in front: the newest, and those of other machines at the end.
    pub names: &'static [&'static str],
}

/// The table. Names that are `noinstr` (`do_IRQ`, `sysvec_*`, `common_interrupt`, `asm_*`) are seen in stacks and cannot
/// be traced; they stand here so that who writes one is led to the function that can be.
pub const ROLES: &[Role] = &[
    Role {
        what: "the local timer interrupt",
        kind: Kind::Function,
        names: &[
            "__sysvec_apic_timer_interrupt",
            "sysvec_apic_timer_interrupt",
            "asm_sysvec_apic_timer_interrupt",
            "smp_apic_timer_interrupt",
            "apic_timer_interrupt",
            "arch_timer_handler_virt",
            "arch_timer_handler_phys",
            "hrtimer_interrupt",
        ],
    },
    Role {
        what: "a device's interrupt",
        kind: Kind::Function,
        names: &[
            "__common_interrupt",
            "common_interrupt",
            "asm_common_interrupt",
            "do_IRQ",
            "generic_handle_domain_irq",
            "gic_handle_irq",
            "handle_irq_event",
        ],
    },
    Role {
        what: "the loop of soft interrupts",
        kind: Kind::Function,
        names: &["handle_softirqs", "__do_softirq"],
    },
    Role {
        what: "the way out of an interrupt",
        kind: Kind::Function,
        names: &["irq_exit_rcu", "__irq_exit_rcu", "irq_exit"],
    },
    Role { what: "the way into an interrupt", kind: Kind::Function, names: &["irq_enter_rcu", "irq_enter"] },
    Role {
        what: "a reschedule interrupt",
        kind: Kind::Function,
        names: &[
            "__sysvec_reschedule_ipi",
            "sysvec_reschedule_ipi",
            "smp_reschedule_interrupt",
            "scheduler_ipi",
        ],
    },
    Role {
        what: "a call by another CPU",
        kind: Kind::Function,
        names: &[
            "__sysvec_call_function_single",
            "sysvec_call_function_single",
            "smp_call_function_single_interrupt",
            "generic_smp_call_function_single_interrupt",
        ],
    },
    Role {
        what: "a page fault",
        kind: Kind::Function,
        names: &[
            "handle_mm_fault",
            "do_user_addr_fault",
            "exc_page_fault",
            "asm_exc_page_fault",
            "__do_page_fault",
            "do_page_fault",
        ],
    },
    Role {
        what: "write-back work",
        kind: Kind::Function,
        names: &["wb_workfn", "bdi_writeback_workfn", "wb_writeback"],
    },
    Role {
        what: "the start of a process",
        kind: Kind::Function,
        names: &["kernel_clone", "_do_fork", "do_fork"],
    },
    Role {
        what: "opening a file",
        kind: Kind::Function,
        names: &["do_sys_openat2", "do_sys_open", "sys_open"],
    },
    Role {
        what: "putting a page into the cache",
        kind: Kind::Function,
        names: &["filemap_add_folio", "add_to_page_cache_lru"],
    },
    Role {
        what: "marking a page dirty",
        kind: Kind::Function,
        names: &["folio_mark_dirty", "set_page_dirty"],
    },
    Role {
        what: "marking a page as used",
        kind: Kind::Function,
        names: &["folio_mark_accessed", "mark_page_accessed"],
    },
    Role { what: "waking a task", kind: Kind::Function, names: &["try_to_wake_up"] },
    Role {
        what: "writing a page out",
        kind: Kind::Event,
        names: &["vmscan/mm_vmscan_write_folio", "vmscan/mm_vmscan_writepage"],
    },
    Role {
        what: "the local timer's tick",
        kind: Kind::Event,
        names: &["irq_vectors/local_timer_entry", "timer/hrtimer_expire_entry"],
    },
    Role {
        what: "a page fault of a program",
        kind: Kind::Event,
        names: &["exceptions/page_fault_user", "exceptions/page_fault"],
    },
];

/// The name that this kernel has for what another kernel called `name`, and what it is in words. `has` says whether there
/// is such a function or event.
pub fn modern(kind: Kind, name: &str, has: impl Fn(&str) -> bool) -> Option<(&'static str, &'static str)> {
    let role = ROLES.iter().find(|role| role.kind == kind && role.names.contains(&name))?;
    role.names.iter().find(|candidate| has(candidate)).map(|candidate| (*candidate, role.what))
}

/// A name as this kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The name to use.
    pub name: String,
    /// What the user should be told if it is another one.
    pub note: Option<String>,
}

impl Resolved {
    fn same(name: &str) -> Resolved {
        Resolved { name: name.to_owned(), note: None }
    }

    fn other(name: &str, found: &str, what: &str) -> Resolved {
        let note = format!("'{name}' ({what}) is '{found}' on this kernel");
        Resolved { name: found.to_owned(), note: Some(note) }
    }
}

/// The names of a kernel, read when they are first asked for.
#[derive(Debug)]
pub struct Names<'t> {
    tracefs: &'t Tracefs,
    functions: OnceCell<Functions>,
    symbols: OnceCell<Functions>,
    events: OnceCell<Vec<String>>,
}

impl<'t> Names<'t> {
    /// Those of the running kernel.
    pub fn new(tracefs: &'t Tracefs) -> Names<'t> {
        Names { tracefs, functions: OnceCell::new(), symbols: OnceCell::new(), events: OnceCell::new() }
    }

    /// The functions that can be traced.
    ///
    /// # Errors
    ///
    /// If the list cannot be read.
    pub fn functions(&self) -> Result<&Functions, Error> {
        if let Some(functions) = self.functions.get() {
            return Ok(functions);
        }
        let read = Functions::read(self.tracefs)?;
        Ok(self.functions.get_or_init(|| read))
    }

    /// A function, or a glob of some, for the filters of function tracers.
    ///
    /// # Errors
    ///
    /// If there is none, with the name that was probably meant.
    pub fn function(&self, name: &str) -> Result<Resolved, Error> {
        let functions = self.functions()?;
        if functions.matching(name) > 0 {
            return Ok(Resolved::same(name));
        }
        let plain = name.split(":mod:").next().unwrap_or(name);
        if let Some((found, what)) = modern(Kind::Function, plain, |name| functions.contains(name)) {
            return Ok(Resolved::other(plain, found, what));
        }
        let note = (!is_glob(plain) && self.symbols().contains(plain))
            .then(|| "it is a function of this kernel, but one that cannot be traced".to_owned());
        Err(unknown("function", name, functions.nearest(plain), note))
    }

    /// A function for a kprobe. Offsets (`+0x10`), modules (`MOD:SYM`) and addresses are left as they are.
    ///
    /// # Errors
    ///
    /// If there is none, with the name that was probably meant.
    pub fn symbol(&self, name: &str) -> Result<Resolved, Error> {
        let (plain, offset) = name.split_at(name.find(['+', '-', '%']).unwrap_or(name.len()));
        let unknowable =
            plain.starts_with(|c: char| c.is_ascii_digit()) || plain.contains(':') || plain == "_text";
        let known = |name: &str| self.functions().is_ok_and(|f| f.contains(name));
        if unknowable || known(plain) || self.symbols().contains(plain) || self.symbols().is_empty() {
            return Ok(Resolved::same(name));
        }
        match modern(Kind::Function, plain, |name| known(name) || self.symbols().contains(name)) {
            Some((found, what)) => {
                let resolved = Resolved::other(plain, found, what);
                Ok(Resolved { name: format!("{found}{offset}"), ..resolved })
            }
            None => Err(unknown("function", plain, self.symbols().nearest(plain), None)),
        }
    }

    /// The symbols of `/proc/kallsyms`, none if they cannot be read.
    fn symbols(&self) -> &Functions {
        self.symbols.get_or_init(|| {
            let text = std::fs::read(self.tracefs.proc().join("kallsyms")).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            // `ffffffff81000000 T _text`, with `[module]` behind it.
            let names = text.lines().filter_map(|line| line.split_ascii_whitespace().nth(2));
            Functions::of(names.collect::<Vec<_>>().join("\n"))
        })
    }

    /// All events as `SYSTEM/EVENT`, sorted.
    fn all_events(&self) -> &[String] {
        self.events.get_or_init(|| {
            let mut all = Vec::new();
            let list = self.tracefs.read("available_events").unwrap_or_default();
            all.extend(list.lines().map(|line| line.trim().replacen(':', "/", 1)));
            all.retain(|event| !event.is_empty());
            if all.is_empty() {
                for system in self.tracefs.list("events").unwrap_or_default() {
                    let events = self.tracefs.list(&format!("events/{system}")).unwrap_or_default();
                    let there = |event: &String| self.tracefs.has(&format!("events/{system}/{event}/enable"));
                    all.extend(events.into_iter().filter(there).map(|event| format!("{system}/{event}")));
                }
            }
            all.sort_unstable();
            all
        })
    }

    /// The events that a system and a name (globs, or an empty system for any) stand for, as `SYSTEM/EVENT`, with what is to
    /// be told if they are others than asked for. A name alone may be that of a system and stands for all of it, as in
    /// the kernel's own `set_event`.
    ///
    /// # Errors
    ///
    /// If there is none, with the name that was probably meant.
    pub fn events(&self, system: &str, name: &str) -> Result<(Vec<String>, Option<String>), Error> {
        let exact = format!("{system}/{name}");
        if !system.is_empty() && !is_glob(&exact) && self.tracefs.has(&format!("events/{exact}/enable")) {
            return Ok((vec![exact], None));
        }
        let wanted = if system.is_empty() { "*" } else { system };
        let all = self.all_events();
        let found: Vec<String> = all
            .iter()
            .filter(|event| {
                event.split_once('/').is_some_and(|(s, n)| {
                    matches(wanted, s) && matches(name, n) || system.is_empty() && s == name
                })
            })
            .cloned()
            .collect();
        if !found.is_empty() {
            return Ok((found, None));
        }
        let full = ROLES.iter().flat_map(|role| role.names).find(|known| {
            **known == exact
                || system.is_empty() && known.split_once('/').is_some_and(|(_, event)| event == name)
        });
        if let Some(full) = full
            && let Some((found, what)) =
                modern(Kind::Event, full, |event| all.iter().any(|known| known == event))
        {
            let resolved = Resolved::other(&full.replacen('/', ":", 1), &found.replacen('/', ":", 1), what);
            return Ok((vec![resolved.name.replacen(':', "/", 1)], resolved.note));
        }
        let given = if system.is_empty() { name.to_owned() } else { format!("{system}:{name}") };
        Err(unknown("event", &given, self.nearest_event(system, name), None))
    }

    fn nearest_event(&self, system: &str, name: &str) -> Option<String> {
        let events = self.all_events();
        if name == "*" {
            let systems = events.iter().filter_map(|event| Some(event.split_once('/')?.0));
            return nearest(system, systems).map(|system| format!("{system}:*"));
        }
        // The same name in another system is likelier than another name.
        let named = events.iter().find(|event| event.split_once('/').is_some_and(|(_, n)| n == name));
        let mut near =
            Nearest::new(&if system.is_empty() { name.to_owned() } else { format!("{system}:{name}") });
        for event in events {
            match system.is_empty() {
                true => near.see(event.split_once('/').map_or(event.as_str(), |(_, event)| event)),
                false => near.see(&event.replacen('/', ":", 1)),
            }
        }
        named.map(|event| event.replacen('/', ":", 1)).or_else(|| near.found().map(str::to_owned))
    }
}

fn unknown(what: &'static str, name: &str, nearest: Option<String>, note: Option<String>) -> Error {
    Error::Unknown(Box::new(UnknownName { what, name: name.to_owned(), nearest, note }))
}

/// One of a list of words, as of a file that names what it takes.
///
/// # Errors
///
/// If it is none of them, with the nearest.
pub(crate) fn one_of<'w>(
    what: &'static str,
    name: &str,
    words: impl IntoIterator<Item = &'w str> + Clone,
) -> Result<(), Error> {
    if words.clone().into_iter().any(|word| word == name) {
        return Ok(());
    }
    let list = words.clone().into_iter().collect::<Vec<_>>().join(", ");
    Err(unknown(
        what,
        name,
        nearest(name, words),
        (!list.is_empty() && list.len() < 200).then(|| format!("it has {list}")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn kernel() -> (tempfile::TempDir, Tracefs) {
        let dir = tempfile::tempdir().unwrap();
        let functions =
            "__sysvec_apic_timer_interrupt\n__common_interrupt\nvfs_read\nwb_workfn\nhandle_mm_fault\n";
        fs::write(dir.path().join("available_filter_functions"), functions).unwrap();
        fs::write(dir.path().join("kallsyms"), "0 T vfs_read\n0 T common_interrupt\n0 t do_sys_openat2\n")
            .unwrap();
        let events =
            "vmscan:mm_vmscan_write_folio\nsched:sched_switch\nsched:sched_waking\nirq:softirq_entry\n";
        fs::write(dir.path().join("available_events"), events).unwrap();
        let tracefs = Tracefs::at(dir.path()).with_proc(dir.path());
        (dir, tracefs)
    }

    #[test]
    fn old_functions_are_led_to_the_new_ones() {
        let (_dir, tracefs) = kernel();
        let names = Names::new(&tracefs);
        let said = |name: &str| match names.function(name) {
            Ok(Resolved { name, note: Some(note) }) => format!("{name}: {note}"),
            Ok(Resolved { name, note: None }) => name,
            Err(error) => error.to_string(),
        };
        let asked = [
            "vfs_read",
            "vfs_*",
            "smp_apic_timer_interrupt",
            "do_IRQ",
            "common_interrupt",
            "vfs_raed",
            "x*y*z",
        ];
        insta::assert_snapshot!(asked.map(said).join("\n"), @r"
        vfs_read
        vfs_*
        __sysvec_apic_timer_interrupt: 'smp_apic_timer_interrupt' (the local timer interrupt) is '__sysvec_apic_timer_interrupt' on this kernel
        __common_interrupt: 'do_IRQ' (a device's interrupt) is '__common_interrupt' on this kernel
        __common_interrupt: 'common_interrupt' (a device's interrupt) is '__common_interrupt' on this kernel
        this kernel has no function 'vfs_raed'; did you mean 'vfs_read'?
        this kernel has no function 'x*y*z'
        ");
    }

    #[test]
    fn symbols_for_probes() {
        let (_dir, tracefs) = kernel();
        let names = Names::new(&tracefs);
        for same in ["common_interrupt", "0xffffffff81000000", "ext4:ext4_sync_fs", "_text+12", "vfs_read+4"]
        {
            assert_eq!(names.symbol(same).unwrap(), Resolved::same(same));
        }
        assert_eq!(names.symbol("do_sys_open+8").unwrap().name, "do_sys_openat2+8");
        let error = names.symbol("do_sys_openat3").unwrap_err();
        assert_eq!(
            error.to_string(),
            "this kernel has no function 'do_sys_openat3'; did you mean 'do_sys_openat2'?"
        );
    }

    #[test]
    fn events_by_all_their_names() {
        let (_dir, tracefs) = kernel();
        let names = Names::new(&tracefs);
        let said = |(system, name): (&str, &str)| match names.events(system, name) {
            Ok((events, None)) => events.join(" "),
            Ok((events, Some(note))) => format!("{}: {note}", events.join(" ")),
            Err(error) => error.to_string(),
        };
        let asked = [
            ("sched", "sched_*"),
            ("", "softirq_entry"),
            ("", "sched"),
            ("vmscan", "mm_vmscan_writepage"),
            ("", "mm_vmscan_writepage"),
            ("sched", "sched_swich"),
            ("sched", "softirq_entry"),
            ("shced", "*"),
        ];
        insta::assert_snapshot!(asked.map(said).join("\n"), @r"
        sched/sched_switch sched/sched_waking
        irq/softirq_entry
        sched/sched_switch sched/sched_waking
        vmscan/mm_vmscan_write_folio: 'vmscan:mm_vmscan_writepage' (writing a page out) is 'vmscan:mm_vmscan_write_folio' on this kernel
        vmscan/mm_vmscan_write_folio: 'vmscan:mm_vmscan_writepage' (writing a page out) is 'vmscan:mm_vmscan_write_folio' on this kernel
        this kernel has no event 'sched:sched_swich'; did you mean 'sched:sched_switch'?
        this kernel has no event 'sched:softirq_entry'; did you mean 'irq:softirq_entry'?
        this kernel has no event 'shced:*'; did you mean 'sched:*'?
        ");
    }
}
