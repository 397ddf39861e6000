/// A trace clock: what the times of records are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds: `local`, `global`, `uptime`, `perf`, `mono`, `mono_raw`, `boot`, `tai`.
    #[default]
    Nanoseconds,
    /// Something else, shown as it is: `counter`, and cycles (`x86-tsc`, `arch` and what other machines have).
    Unscaled,
}

impl Clock {
    /// The clock of that name, as `trace_clock` lists it.
    pub fn of_name(name: &str) -> Clock {
        match name {
            "local" | "global" | "uptime" | "perf" | "mono" | "mono_raw" | "boot" | "tai" => {
                Clock::Nanoseconds
            }
            _ => Clock::Unscaled,
        }
    }

    /// The chosen clock's name in what `trace_clock` reads as: `local [mono] boot` is `mono`.
    pub fn chosen(text: &str) -> Option<&str> {
        text.split_once('[')?.1.split_once(']').map(|(name, _)| name)
    }
}
