//! `kernel doctor`: what this kernel can trace.

use super::Context;
use crate::args::kernel::Place;
use crate::messages::{Failure, exit};

pub(crate) fn run(place: &Place, context: &Context) -> Result<u8, Failure> {
    let tracefs = super::tracefs(place, context)?;
    super::clean_up(place, &tracefs, context)?;
    let report = fathom_tracefs::doctor::examine(&tracefs, &super::journals(place));
    super::show(&report.to_string(), context)?;
    Ok(exit::SUCCESS)
}
