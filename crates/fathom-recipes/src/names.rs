//! Names of the running kernel's functions and tasks.

use crate::label::Names as Lookup;
use fathom_ftrace::tables::{Comms, Names as Tables};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// What ftrace writes in place of the address of its own trampoline in a stack (`INT_MAX`).
const TRAMPOLINE: u64 = 0x7fff_ffff;

/// Names as they are known while a recording goes on. Of tasks, the kernel's table is asked first (`saved_cmdlines`, which knows
/// those that have ended), then `/proc`.
#[derive(Debug)]
pub struct KernelNames {
    /// Functions and texts.
    pub tables: Tables,
    comms: RefCell<Comms>,
    proc: PathBuf,
}

impl KernelNames {
    /// With these tables, and tasks looked up in that `/proc`.
    pub fn new(tables: Tables, proc: &Path) -> KernelNames {
        KernelNames { tables, comms: RefCell::new(Comms::default()), proc: proc.to_owned() }
    }

    /// Takes the kernel's table of names as it is now.
    pub fn update(&self, saved_cmdlines: &[u8]) {
        let mut comms = self.comms.borrow_mut();
        for (pid, comm) in Comms::parse(saved_cmdlines).iter() {
            if comm != b"<...>" {
                comms.set(pid, comm);
            }
        }
    }

    /// Is the name of that task known without looking further?
    pub fn knows(&self, pid: i32) -> bool {
        pid == 0 || self.comms.borrow().get(pid).is_some()
    }
}

impl Lookup for KernelNames {
    fn symbol(&self, address: u64) -> String {
        if address == TRAMPOLINE {
            return "[FTRACE TRAMPOLINE]".to_owned();
        }
        match self.tables.symbols.find(address) {
            Some(symbol) => match symbol.module {
                Some(module) => format!("{} [{module}]", symbol.name),
                None => symbol.name.to_owned(),
            },
            None => format!("{address:#x}"),
        }
    }

    fn comm(&self, pid: i32) -> String {
        if pid == 0 {
            return "<idle>".to_owned();
        }
        if let Some(comm) = self.comms.borrow().get(pid) {
            return String::from_utf8_lossy(comm).into_owned();
        }
        match std::fs::read(self.proc.join(pid.to_string()).join("comm")) {
            Ok(comm) => {
                let comm = comm.trim_ascii_end();
                self.comms.borrow_mut().set(pid, comm);
                String::from_utf8_lossy(comm).into_owned()
            }
            Err(_) => "<...>".to_owned(),
        }
    }
}
