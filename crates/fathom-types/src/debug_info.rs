//! The `.dbg` file of a module: what a data directory keeps of its debug information.

use crate::prototype::Prototypes;
use crate::spec_text::{Reader, list};
use fathom_symbols::dbgfile::{DbgFile, Function};
use fathom_symbols::symfile::ModuleId;
use fathom_symbols::{SymbolKind, SymbolTable};

/// Makes the file of a module. `symbols` are those that its `.sym` file has, as addresses must be the same in both.
///
/// Without debug information (`prototypes` is none) it says only which module it is: then readers know that the tables
/// of well-known functions were used for it.
pub fn debug_file(module: ModuleId, symbols: &SymbolTable, prototypes: Option<&Prototypes>) -> DbgFile {
    let mut file = DbgFile { module, ..DbgFile::default() };
    let Some(prototypes) = prototypes else { return file };
    for symbol in symbols.iter() {
        // The line of a function without a name would be no line.
        let nameless = symbol.name.trim().is_empty();
        if !symbol.kind.is_function() || symbol.kind == SymbolKind::Plt || nameless {
            continue;
        }
        let Some(prototype) = prototypes.function(symbol.addr, symbol.name) else { continue };
        let arguments = || prototype.arguments.iter().map(|fetch| &fetch.spec);
        let returned = || prototype.returned.iter().map(|fetch| &fetch.spec);
        let (args, retval) = (list(arguments(), Reader::Peer), list(returned(), Reader::Peer));
        let more =
            |own: Option<String>, other: &Option<String>| own.filter(|own| Some(own) != other.as_ref());
        file.functions.push(Function {
            addr: symbol.addr,
            name: symbol.name.to_owned(),
            line: prototype.line.clone(),
            own_args: more(list(arguments(), Reader::Own), &args),
            own_retval: more(list(returned(), Reader::Own), &retval),
            args,
            retval,
        });
    }
    file.enums = prototypes.enum_definitions();
    file.types = prototypes.type_definitions();
    file
}
