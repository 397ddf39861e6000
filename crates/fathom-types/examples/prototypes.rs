//! Prints what is known of a file's functions, as a `.dbg` file.

use fathom_symbols::Image;
use fathom_symbols::symfile::ModuleId;
use fathom_types::{Prototypes, debug_info::debug_file};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let image = Image::open(&path)?;
        let symbols = image.symbols();
        let start = Instant::now();
        let prototypes = Prototypes::open(&image)?;
        let module = ModuleId { path, build_id: image.build_id() };
        let file = debug_file(module, &symbols, Some(&prototypes));
        let took = start.elapsed();
        file.write(&mut std::io::stdout().lock())?;
        eprintln!("{} functions in {took:?}", file.functions.len());
    }
    Ok(())
}
