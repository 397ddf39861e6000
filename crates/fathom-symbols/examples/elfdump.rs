//! Prints what the crate finds in an ELF file: `elfdump FILE [sym|slots]`.

use fathom_symbols::elf::Image;
use fathom_symbols::symfile::{self, ModuleId, Style};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: elfdump FILE [sym|plain|slots]")?;
    let image = Image::open(&path)?;
    let module = ModuleId { path, build_id: image.build_id() };
    match args.next().as_deref() {
        Some("sym") => symfile::write(&mut std::io::stdout(), &module, &image.symbols(), Style::Sized)?,
        Some("plain") => symfile::write(&mut std::io::stdout(), &module, &image.symbols(), Style::Plain)?,
        Some("slots") => {
            for slot in image.plt_slots() {
                println!("{slot:x?}");
            }
        }
        _ => {
            println!("{:?} {:?} {:?}", image.kind(), image.class(), image.endian());
            println!(
                "build-id {:?}, soname {:?}, needed {:?}",
                image.build_id(),
                image.soname(),
                image.needed()
            );
            println!("base {:x}, entry {:x?}", image.link_base(), image.entry());
            println!(
                "dynamic {}, binds now {}, relro {:x?}",
                image.is_dynamic(),
                image.binds_now(),
                image.relro()
            );
            println!("{:x?}", image.instrumentation());
        }
    }
    Ok(())
}
