//! `-p PID`: changes what is recorded of a program that runs.

use crate::args::filters::Filters;
use crate::messages::{Failure, exit};
use fathom_agent::ClientError;
use std::path::Path;

pub(crate) fn change(pid: i32, filters: &Filters) -> Result<u8, Failure> {
    let doing = || format!("changing the recording of process {pid}");
    if let Some(option) = filters.not_changeable() {
        let cause = format!("{option} cannot be changed while a program runs");
        return Err(Failure::because(exit::TROUBLE, doing(), cause));
    }
    // A mistake is better explained here than by the recorder, which can only say that there is one.
    filters.specs().map_err(|error| Failure::new(exit::TROUBLE, doing(), error))?;
    fathom_agent::send(Path::new(fathom_agent::DIR), pid, &filters.change()).map_err(|error| {
        let next = match &error {
            ClientError::Connect { .. } => Some("record the program with --agent, and name its own process"),
            ClientError::Refused { .. } => Some("the recorder tells the reason when it ends"),
            _ => None,
        };
        let failure = Failure::new(exit::TROUBLE, doing(), error);
        match next {
            Some(next) => failure.next(next),
            None => failure,
        }
    })?;
    Ok(exit::SUCCESS)
}
