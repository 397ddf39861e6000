//! Names of functions as lines have them, made once for each function.

use super::Colors;
use crate::color::{Color, Paint};
use crate::options::ReplayOptions;
use crate::source;
use fathom_analysis::Callee;
use fathom_store::{FunctionKind, Trace};

/// A function's texts.
pub(crate) struct Name {
    /// With the library's name if that is wanted.
    pub(crate) shown: Box<[u8]>,
    /// The same in the colour that the function has where it is called, if it has one.
    pub(crate) colored: Option<Box<[u8]>>,
    /// What follows when no arguments are shown: `()`, or nothing for a name that has them.
    pub(crate) brackets: &'static [u8],
    /// The module column, 16 wide.
    pub(crate) module: Box<[u8]>,
    /// ` /* file:line */`, with colours, if that is known and wanted.
    pub(crate) source: Option<Box<[u8]>>,
}

/// The texts of all functions met so far.
pub(crate) struct Names<'t> {
    trace: &'t dyn Trace,
    libname: bool,
    srcline: bool,
    colors: Colors<'t>,
    paint: Paint,
    names: Vec<Option<Name>>,
    unknown: Name,
}

impl<'t> Names<'t> {
    pub(crate) fn new(trace: &'t dyn Trace, options: &ReplayOptions, colors: Colors<'t>) -> Self {
        let unknown = Name {
            shown: b"<0>"[..].into(),
            colored: None,
            brackets: b"()",
            module: module_text("[unknown]"),
            source: None,
        };
        let ReplayOptions { libname, comment, srcline, .. } = *options;
        let paint = Paint::of(options.output);
        Names { trace, libname, srcline: srcline && comment, colors, paint, names: Vec::new(), unknown }
    }

    #[inline]
    pub(crate) fn get(&mut self, callee: Callee) -> &Name {
        if self.names.get(callee.index()).is_none_or(Option::is_none) {
            self.make(callee);
        }
        self.names.get(callee.index()).and_then(Option::as_ref).unwrap_or(&self.unknown)
    }

    #[cold]
    fn make(&mut self, callee: Callee) {
        let Some(id) = callee.function() else { return };
        if self.names.len() <= callee.index() {
            self.names.resize_with(callee.index() + 1, || None);
        }
        let function = self.trace.function(id);
        let mut shown = function.name.as_bytes().to_vec();
        let has_brackets = shown.ends_with(b")");
        if self.libname
            && function.kind == FunctionKind::Plt
            && let Some(library) = self.trace.library_of(id)
        {
            shown.push(b'@');
            shown.extend_from_slice(base_name(&library).as_bytes());
        }
        let colored = (self.colors)(id).filter(|_| self.paint != Paint::Plain).map(|color| {
            let mut text = self.paint.on(color).as_bytes().to_vec();
            text.extend_from_slice(&shown);
            text.extend_from_slice(self.paint.off().as_bytes());
            text.into()
        });
        let place = if self.srcline { source::place(self.trace, Some(id)) } else { None };
        let source = place.map(|place| {
            let mut text = Vec::new();
            self.paint.put(&mut text, Color::Gray, &format!(" /* {place} */"));
            text.into()
        });
        let name = Name {
            shown: shown.into(),
            source,
            colored,
            brackets: if has_brackets { b"" } else { b"()" },
            module: module_text(base_name(&function.module)),
        };
        if let Some(slot) = self.names.get_mut(callee.index()) {
            *slot = Some(name);
        }
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn module_text(name: &str) -> Box<[u8]> {
    format!("{name:>16.16}").into_bytes().into()
}
