//! A store that breaks while it is read, to see that the terminal survives.

use fathom_store::memory::MemoryTrace;
use fathom_store::{Error, EventOptions, Layer, TaskEvents, Tid, Trace};
use fathom_tui::{Setup, Start, Stop, Theme, Words};

struct Breaking(MemoryTrace);

impl Layer for Breaking {
    fn inner(&self) -> &dyn Trace {
        &self.0
    }

    fn layer_events(&self, _tid: Tid, _options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        panic!("a store that breaks")
    }
}

fn main() {
    let mut inner = MemoryTrace::new();
    inner.call(1, 1, 2, "main");
    let trace = Breaking(inner);
    let setup = Setup {
        trace: &trace,
        replayed: &trace,
        events: EventOptions::default(),
        seekable: true,
        libcalls: true,
        stop: &Stop::default(),
        start: Start::Graph,
        words: Words {
            title: "breaking".to_owned(),
            info: String::new(),
            fields: None,
            keys: Vec::new(),
            theme: Theme { color: true, light: false },
        },
    };
    if let Err(error) = fathom_tui::run(&setup) {
        eprintln!("{error}");
    }
}
