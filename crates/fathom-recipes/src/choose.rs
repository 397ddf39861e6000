//! Which of a recipe's names this kernel has, and the settings that come of it.

use crate::recipe::{Item, Kind, Need, OptionName, Recipe, Scope};
use fathom_btf::{Arch, Btf, ProbeSpec};
use fathom_tracefs::{
    Error as TracefsError, Event, Names, Probe, ProbeKind, Settings, Stacks, Task, Tracefs, pids,
};
use std::path::Path;

/// What the user wants of a recipe.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Thread ids to trace.
    pub tasks: Vec<u32>,
    /// A command is run whose tasks are those of interest.
    pub command: bool,
    /// What they start is traced too. The command's is, where the recipe is about tasks.
    pub follow: bool,
    /// Deepest level of the call graph; 0 for all.
    pub depth: Option<u32>,
    /// Without the call graph.
    pub no_graph: bool,
    /// Without stacks.
    pub no_stacks: bool,
    /// A device's name.
    pub device: Option<String>,
    /// CPUs to trace.
    pub cpus: Option<Vec<u32>>,
    /// Buffer of each CPU.
    pub buffer_kb: Option<u64>,
}

/// Why a recipe cannot be used here.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The kernel lacks something that it is about.
    #[error("the recipe {recipe} cannot be done here: for '{role}' this kernel has none of {names}{why}")]
    Missing {
        /// The recipe.
        recipe: &'static str,
        /// What for.
        role: &'static str,
        /// The names that were looked for.
        names: String,
        /// More about it, beginning with punctuation.
        why: String,
    },
    /// An option that it does not have.
    #[error("the recipe {recipe} has no {option}{instead}")]
    Option {
        /// The recipe.
        recipe: &'static str,
        /// The option.
        option: &'static str,
        /// What it has instead.
        instead: String,
    },
    /// A device that is not there.
    #[error("--dev: there is no {kind} device '{name}' (there are {known})")]
    Device {
        /// Block or network.
        kind: &'static str,
        /// As given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// What tracefs says.
    #[error(transparent)]
    Tracefs(#[from] TracefsError),
}

/// What became of one item.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The item.
    pub item: Item,
    /// The name that was taken; nothing if this kernel has none of them.
    pub name: Option<String>,
    /// Why it is this one, or what is lacking without it; empty for the plain case.
    pub note: String,
}

/// A recipe as this kernel can do it.
#[derive(Debug)]
pub struct Chosen {
    /// For [`fathom_tracefs::Session`].
    pub settings: Settings,
    /// What was chosen, in the order of the recipe.
    pub choices: Vec<Choice>,
    /// Who is traced, in words.
    pub scope: String,
}

/// Chooses. `btf` is the kernel's type information if it could be read.
///
/// # Errors
///
/// If the kernel lacks what the recipe is about, or the options do not fit it.
pub fn choose(
    recipe: &'static Recipe,
    options: &Options,
    tracefs: &Tracefs,
    btf: Option<&Btf>,
) -> Result<Chosen, ChooseError> {
    check_options(recipe, options)?;
    let chooser = Chooser { recipe, options, names: Names::new(tracefs), tracefs, btf };
    let mut chosen = Chosen { settings: chooser.base(), choices: Vec::new(), scope: String::new() };
    for item in recipe.items {
        let choice = chooser.item(item, &mut chosen.settings)?;
        if choice.name.is_none() && item.need == Need::Must {
            return Err(chooser.missing(item, &choice.note));
        }
        chosen.choices.push(choice);
    }
    if !chosen.settings.graph_functions.is_empty() {
        chosen.settings.tracer = Some("function_graph".to_owned());
        chosen.settings.max_depth = Some(options.depth.unwrap_or(recipe.depth));
    } else {
        chosen.settings.not_graph_functions.clear();
    }
    chosen.scope = chooser.scope(&mut chosen.settings)?;
    chooser.device(&mut chosen.settings)?;
    Ok(chosen)
}

fn check_options(recipe: &'static Recipe, options: &Options) -> Result<(), ChooseError> {
    let has = |option: OptionName| recipe.options.contains(&option);
    let asked = [
        (options.depth.is_some(), has(OptionName::Depth), "--depth: it has no call graph"),
        (options.no_graph, has(OptionName::NoGraph), "--no-graph"),
        (
            options.device.is_some(),
            has(OptionName::BlockDevice) || has(OptionName::NetDevice),
            "--dev: it is not about a device",
        ),
    ];
    match asked.iter().find(|(asked, has, _)| *asked && !has) {
        Some((_, _, option)) => {
            let names: Vec<&str> = recipe.options.iter().map(|option| option.flag()).collect();
            let instead =
                if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) };
            Err(ChooseError::Option { recipe: recipe.name, option, instead })
        }
        None => Ok(()),
    }
}

impl OptionName {
    /// As it is written.
    pub fn flag(self) -> &'static str {
        match self {
            OptionName::Depth => "--depth N",
            OptionName::NoGraph => "--no-graph",
            OptionName::BlockDevice | OptionName::NetDevice => "--dev NAME",
        }
    }

    /// What it does.
    pub fn help(self) -> &'static str {
        match self {
            OptionName::Depth => "levels of the call graph",
            OptionName::NoGraph => "without the call graph: undisturbed times",
            OptionName::BlockDevice => "only that block device, such as nvme0n1",
            OptionName::NetDevice => "only that network device, such as eth0",
        }
    }
}

struct Chooser<'a> {
    recipe: &'static Recipe,
    options: &'a Options,
    names: Names<'a>,
    tracefs: &'a Tracefs,
    btf: Option<&'a Btf>,
}

impl Chooser<'_> {
    fn base(&self) -> Settings {
        let stacks = self.recipe.stacks && !self.options.no_stacks;
        Settings {
            stacks: Stacks { kernel: stacks, ..Stacks::default() },
            cpus: self.options.cpus.clone(),
            // Pairs are found across CPUs: their clocks must agree.
            clock: Some("mono".to_owned()),
            buffer_kb: Some(self.options.buffer_kb.unwrap_or(self.recipe.buffer_kb)),
            saved_cmdlines: Some(4096),
            ..Settings::default()
        }
    }

    fn item(&self, item: &Item, settings: &mut Settings) -> Result<Choice, ChooseError> {
        let choice = |name: Option<String>, note: String| Choice { item: *item, name, note };
        let lacking = || match item.need {
            Need::Lacks(lacks) => lacks.to_owned(),
            Need::Must | Need::Extra => String::new(),
        };
        match item.kind {
            Kind::Event | Kind::EventWithStack => {
                let Some(name) = item.names.iter().find(|name| self.has_event(name)) else {
                    return Ok(choice(None, lacking()));
                };
                // An event that two items name is enabled once.
                let event = Event::parse(name)?;
                if !settings
                    .events
                    .iter()
                    .any(|known| known.system == event.system && known.name == event.name)
                {
                    settings.events.push(self.with_stack(event, item.kind));
                }
                Ok(choice(Some((*name).to_owned()), self.why(item, name)))
            }
            Kind::Graph | Kind::NotGraph if self.options.no_graph => {
                Ok(choice(None, "left out, as asked".to_owned()))
            }
            Kind::Graph | Kind::NotGraph => {
                let functions = match self.names.functions() {
                    Ok(functions) => functions,
                    Err(error) => return Ok(choice(None, format!("{}: {error}", lacking()))),
                };
                let Some(name) = item.names.iter().find(|name| functions.contains(name)) else {
                    return Ok(choice(None, lacking()));
                };
                let list = match item.kind {
                    Kind::Graph => &mut settings.graph_functions,
                    _ => &mut settings.not_graph_functions,
                };
                list.push((*name).to_owned());
                Ok(choice(Some((*name).to_owned()), self.why(item, name)))
            }
            Kind::Probe(_) | Kind::ReturnProbe => self.probe(item, settings),
        }
    }

    fn probe(&self, item: &Item, settings: &mut Settings) -> Result<Choice, ChooseError> {
        if !self.tracefs.has("kprobe_events") {
            let note = "this kernel has no kprobes (CONFIG_KPROBE_EVENTS)".to_owned();
            return Ok(Choice { item: *item, name: None, note });
        }
        let known = self.names.functions();
        let found = item.names.iter().find(|name| match &known {
            Ok(functions) => functions.contains(name),
            Err(_) => self.names.symbol(name).is_ok_and(|resolved| resolved.note.is_none()),
        });
        let Some(name) = found else {
            let note = match item.need {
                Need::Lacks(lacks) => lacks.to_owned(),
                Need::Must | Need::Extra => String::new(),
            };
            return Ok(Choice { item: *item, name: None, note });
        };
        let (kind, event, args, mut note) = match item.kind {
            Kind::Probe(args) => {
                let (args, note) = self.probe_args(name, args);
                (ProbeKind::Kprobe, (*name).to_owned(), args, note)
            }
            _ => (ProbeKind::Kretprobe, format!("{name}_return"), String::new(), String::new()),
        };
        settings.probes.push(Probe {
            kind,
            name: Some(event),
            place: (*name).to_owned(),
            args,
            filter: None,
        });
        if note.is_empty() {
            note = self.why(item, name);
        }
        Ok(Choice { item: *item, name: Some((*name).to_owned()), note })
    }

    /// The arguments of a probe by name, and why there are none.
    fn probe_args(&self, function: &str, args: &str) -> (String, String) {
        let (Some(btf), Some(arch)) = (self.btf, Arch::native()) else {
            return (
                String::new(),
                "without its arguments: the kernel's type information cannot be read".to_owned(),
            );
        };
        let made =
            ProbeSpec::parse(&format!("{function}({args})")).and_then(|spec| spec.fetch_args(btf, arch));
        match made {
            Ok(args) => (args.join(" "), String::new()),
            Err(error) => (String::new(), format!("without its arguments: {error}")),
        }
    }

    fn has_event(&self, text: &str) -> bool {
        let name = text.split(" if ").next().unwrap_or(text);
        self.tracefs.has(&format!("events/{}/enable", name.replacen(':', "/", 1)))
    }

    fn with_stack(&self, mut event: Event, kind: Kind) -> Event {
        if kind == Kind::EventWithStack && !self.options.no_stacks && !self.recipe.stacks {
            event.triggers.push("stacktrace".to_owned());
        }
        event
    }

    /// Why this name, in words, where it is not the newest.
    fn why(&self, item: &Item, name: &str) -> String {
        let newer: Vec<&str> = item.names.iter().copied().take_while(|known| *known != name).collect();
        if newer.is_empty() { String::new() } else { format!("there is no {} here", newer.join(", ")) }
    }

    fn missing(&self, item: &Item, note: &str) -> ChooseError {
        let mut why = if note.is_empty() { String::new() } else { format!(" ({note})") };
        if let (Kind::Graph, Err(error)) = (item.kind, self.names.functions()) {
            why = format!(": the list of functions cannot be read ({error})");
        }
        ChooseError::Missing { recipe: self.recipe.name, role: item.role, names: item.names.join(", "), why }
    }

    /// Sets the tasks and says in words who is traced.
    fn scope(&self, settings: &mut Settings) -> Result<String, ChooseError> {
        let given = &self.options.tasks;
        let ids = |tasks: &[u32]| tasks.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        settings.follow = self.options.follow;
        Ok(match self.recipe.scope {
            Scope::Target { event, field } if !given.is_empty() => {
                for known in &mut settings.events {
                    let about = format!("{}:{}", known.system, known.name) == event;
                    let mut terms: Vec<String> =
                        given.iter().map(|id| format!("common_pid == {id}")).collect();
                    if about {
                        terms.extend(given.iter().map(|id| format!("{field} == {id}")));
                    }
                    narrow(known, &terms.join(" || "));
                }
                format!("what is done to {}, and what it does itself", ids(given))
            }
            Scope::Named(glob) if given.is_empty() => {
                let found = pids::by_name(self.tracefs, glob)?;
                settings.tasks = found.iter().map(|id| Task::Id(*id)).collect();
                format!("{glob} ({})", ids(&found))
            }
            Scope::Tasks if given.is_empty() && self.options.command => {
                settings.tasks = vec![Task::Command];
                settings.follow = true;
                "the command and what it starts".to_owned()
            }
            _ if given.is_empty() => "the whole machine".to_owned(),
            _ => {
                settings.tasks = given.iter().map(|id| Task::Id(*id)).collect();
                format!("task {}{}", ids(given), if settings.follow { " and what it starts" } else { "" })
            }
        })
    }

    fn device(&self, settings: &mut Settings) -> Result<(), ChooseError> {
        let Some(name) = &self.options.device else { return Ok(()) };
        let (kind, class, system) = match self.recipe.options.contains(&OptionName::BlockDevice) {
            true => ("block", "/sys/class/block", "block"),
            false => ("network", "/sys/class/net", "net"),
        };
        let dir = Path::new(class).join(name);
        if name.contains('/') || name.is_empty() || !dir.exists() {
            let mut known: Vec<String> = std::fs::read_dir(class)
                .map(|entries| {
                    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
                })
                .unwrap_or_default();
            known.sort();
            return Err(ChooseError::Device { kind, name: name.clone(), known: known.join(", ") });
        }
        let filter = match kind {
            "block" => format!("dev == {}", device_number(&dir).unwrap_or(0)),
            _ => format!("name == \"{name}\""),
        };
        for event in settings.events.iter_mut().filter(|event| event.system == system) {
            narrow(event, &filter);
        }
        Ok(())
    }
}

/// Adds a condition to an event, and to its stacks: triggers do not care for the event's filter.
fn narrow(event: &mut Event, condition: &str) {
    let filter = match event.filter.take() {
        Some(filter) => format!("({filter}) && ({condition})"),
        None => condition.to_owned(),
    };
    for trigger in &mut event.triggers {
        *trigger = format!("{} if {filter}", trigger.split(" if ").next().unwrap_or(trigger));
    }
    event.filter = Some(filter);
}

/// `259:3` in `/sys/class/block/NAME/dev` as the kernel's events have it: 20 bits of minor. A partition's requests have the
/// number of the whole disk.
fn device_number(dir: &Path) -> Option<u64> {
    let dir = match dir.join("partition").exists() {
        true => dir.canonicalize().ok()?.parent()?.to_owned(),
        false => dir.to_owned(),
    };
    let text = std::fs::read_to_string(dir.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(major.parse::<u64>().ok()? << 20 | minor.parse::<u64>().ok()?)
}
