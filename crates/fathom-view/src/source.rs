//! Where functions are declared.

use crate::color::{Color, Paint};
use fathom_store::{FunctionId, Trace};

/// `file:line`; none if it is not known.
pub(crate) fn place(trace: &dyn Trace, function: Option<FunctionId>) -> Option<String> {
    let line = trace.line_of(function?)?;
    Some(format!("{}:{}", line.file, line.line))
}

/// ` [file:line]` for behind a name; nothing if it is not known or not wanted.
pub(crate) fn behind_name(
    trace: &dyn Trace,
    function: Option<FunctionId>,
    wanted: bool,
    paint: Paint,
    out: &mut Vec<u8>,
) {
    if let Some(place) = place(trace, function).filter(|_| wanted) {
        paint.put(out, Color::Gray, &format!(" [{place}]"));
    }
}

/// The title of a column of functions.
pub(crate) fn title(name: &str, source: &str, wanted: bool, paint: Paint) -> String {
    if !wanted {
        return name.to_owned();
    }
    format!("{name}{} [{source}]{}", paint.on(Color::Gray), paint.off())
}
