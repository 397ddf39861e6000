//! Prints how much of each module could be patched, what is in the way of the rest, and how fast that was found out.
//! With `-v` before the files also the functions that could not be patched.
use fathom_patch::{Options, Summary, analyse};
use fathom_symbols::Image;
use std::time::Instant;

fn main() {
    let mut verbose = false;
    for file in std::env::args().skip(1) {
        if file == "-v" {
            verbose = true;
            continue;
        }
        let image = match Image::open(&file) {
            Ok(image) => image,
            Err(error) => {
                eprintln!("{error}");
                continue;
            }
        };
        let begin = Instant::now();
        let analysis = analyse(&image, &Options::default());
        let time = begin.elapsed();
        if let Some(refusal) = analysis.refused {
            println!("{file}: {refusal}");
            continue;
        }
        let summary = Summary::of(&analysis);
        println!(
            "{file}: {} of {} functions ({:.2} %), {} of {} with 16 bytes or more ({:.2} %); {} with padding, {} with islands; {} ms, {:.0} functions/s",
            summary.sites,
            summary.functions,
            summary.coverage(),
            summary.large_sites,
            summary.large,
            summary.large_coverage(),
            summary.padded,
            summary.islands,
            time.as_millis(),
            summary.functions as f64 / time.as_secs_f64(),
        );
        for (reason, all, large) in summary.by_reason() {
            println!("  {:<16} {all:>6} {large:>6}  {reason}", reason.name());
        }
        if verbose {
            let symbols = image.symbols();
            for function in &analysis.functions {
                if let Err(reason) = &function.verdict {
                    let name = symbols.find(function.start).map_or("", |symbol| symbol.name);
                    println!(
                        "  {:x}+{:x} {} {name}",
                        function.start,
                        function.end - function.start,
                        reason.name()
                    );
                }
            }
        }
    }
}
