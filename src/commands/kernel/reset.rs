//! `kernel reset`: puts back what a trace that was killed has left.

use super::Context;
use crate::args::kernel::Place;
use crate::messages::{Failure, exit};
use fathom_tracefs::shell;

pub(crate) fn run(place: &Place, context: &Context) -> Result<u8, Failure> {
    let tracefs = super::tracefs(place, context)?;
    let recovered = super::put_back(place, &tracefs)?;
    let mut text = String::new();
    if recovered.is_empty() {
        text.push_str("nothing was left to be put back\n");
    }
    let mut failed = false;
    for left in &recovered {
        text.push_str(&format!("process {} was killed; put back:\n", left.pid));
        for write in &left.writes {
            text.push_str(&format!("  {}\n", shell::line(write)));
        }
        for problem in &left.problems {
            failed = true;
            context.log.warn(&problem.to_string());
        }
    }
    super::show(&text, context)?;
    Ok(if failed { exit::TROUBLE } else { exit::SUCCESS })
}
