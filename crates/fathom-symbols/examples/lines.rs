//! Prints where the functions of an ELF file are declared: `lines FILE`.

use fathom_symbols::elf::Image;
use fathom_symbols::lines::SourceMap;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let image = Image::open(std::env::args().nth(1).ok_or("usage: lines FILE")?)?;
    let map = SourceMap::open(&image)?;
    println!("paths are relative to {:?}", map.base());
    for symbol in image.symbols().iter().filter(|symbol| symbol.kind.is_function()) {
        let declared = map.function(symbol.addr);
        let first = map.address(symbol.addr);
        println!("{:x} {}\t{declared:?}\t{first:?}", symbol.addr, symbol.name);
    }
    Ok(())
}
