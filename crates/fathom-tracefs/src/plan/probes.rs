//! Probes and synthetic events in a plan.

use super::build::Builder;
use super::{Part, Step, Write};
use crate::settings::is_event_name;
use crate::{Error, Probe, ProbeKind, Synthetic, uprobes};

impl Builder<'_> {
    /// Defines a probe in our group; gives the event's directory, as `GROUP/NAME`.
    pub(super) fn probe(&mut self, probe: &Probe) -> Result<String, Error> {
        let Some(file) = probe.kind.files().into_iter().find(|file| self.tracefs.has(file)) else {
            let option = match probe.kind {
                ProbeKind::Kprobe | ProbeKind::Kretprobe => "CONFIG_KPROBE_EVENTS",
                ProbeKind::Uprobe | ProbeKind::Uretprobe => "CONFIG_UPROBE_EVENTS",
                _ => "CONFIG_DYNAMIC_EVENTS",
            };
            let kind = probe.kind.name();
            return Err(Error::Settings(format!(
                "{kind} '{}': this kernel has no {}; it was built without {option}",
                probe.place,
                probe.kind.files()[0]
            )));
        };
        let place = self.place_of(probe)?;
        let name = self.name_of(probe);
        let group = &self.naming.group;
        let mut line = format!("{}:{group}/{name} {place}", probe.kind.letter());
        for part in [probe.args.as_str()].into_iter().filter(|args| !args.is_empty()) {
            line.push(' ');
            line.push_str(part);
        }
        // The kernel's own limit; more is refused without a reason.
        if line.len() > 4094 {
            return Err(Error::Settings(format!(
                "{} '{place}': longer than the kernel's 4094 bytes",
                probe.kind.name()
            )));
        }
        let event = format!("{group}/{name}");
        self.made(file, line, format!("-:{event}"));
        self.own_events.push((event.clone(), probe.kind));
        Ok(event)
    }

    fn made(&mut self, file: &str, line: String, undo: String) {
        self.push(Step {
            write: Write::append(file, line),
            undo: vec![Write::append(file, undo)],
            undo_failed: false,
            expect: None,
            part: Part::Probes,
        });
    }

    /// The place as the kernel takes it.
    fn place_of(&mut self, probe: &Probe) -> Result<String, Error> {
        let place = &probe.place;
        match probe.kind {
            ProbeKind::Uprobe | ProbeKind::Uretprobe => uprobes::place(place),
            ProbeKind::Kprobe | ProbeKind::Kretprobe => {
                let resolved = self.names.symbol(place)?;
                self.notes.extend(resolved.note);
                Ok(resolved.name)
            }
            ProbeKind::Eprobe => {
                let (system, name) = place
                    .split_once(['.', '/', ':'])
                    .ok_or_else(|| Error::Settings(format!("eprobe '{place}': expected SYSTEM.EVENT")))?;
                let (events, note) = self.names.events(system, name)?;
                self.notes.extend(note);
                Ok(events.first().map_or_else(|| place.clone(), |event| event.replacen('/', ".", 1)))
            }
            ProbeKind::Fprobe | ProbeKind::Tprobe => Ok(place.clone()),
        }
    }

    /// A name for the event that no other probe of ours has.
    fn name_of(&self, probe: &Probe) -> String {
        let returns = matches!(probe.kind, ProbeKind::Kretprobe | ProbeKind::Uretprobe);
        let base = probe.name.clone().unwrap_or_else(|| {
            let place = match probe.kind {
                ProbeKind::Uprobe | ProbeKind::Uretprobe => {
                    probe.place.rsplit(':').next().unwrap_or(&probe.place)
                }
                _ => &probe.place,
            };
            let (place, ret) = match place.strip_suffix("%return") {
                Some(place) => (place, true),
                None => (place, returns),
            };
            let plain: String =
                place.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let plain = if is_event_name(&plain) { plain } else { format!("at_{plain}") };
            if ret { format!("{plain}_return") } else { plain }
        });
        let taken =
            |name: &str| self.own_events.iter().any(|(event, _)| event.rsplit('/').next() == Some(name));
        (1..)
            .map(|n| if n == 1 { base.clone() } else { format!("{base}_{n}") })
            .find(|name| !taken(name))
            .unwrap_or(base.clone())
    }

    /// Defines a synthetic event.
    pub(super) fn synthetic_event(&mut self, event: &Synthetic) -> Result<String, Error> {
        const FILE: &str = "synthetic_events";
        let name = &event.name;
        if !self.tracefs.has(FILE) {
            let why = "this kernel has no synthetic_events; it was built without CONFIG_SYNTH_EVENTS";
            return Err(Error::Settings(format!("synthetic event '{name}': {why}")));
        }
        if self.tracefs.has(&format!("events/synthetic/{name}")) {
            let why = "there is one of that name already, which somebody else uses; choose another name";
            return Err(Error::Settings(format!("synthetic event '{name}': {why}")));
        }
        self.made(FILE, format!("{name} {}", event.fields), format!("!{name}"));
        Ok(format!("synthetic/{name}"))
    }
}
