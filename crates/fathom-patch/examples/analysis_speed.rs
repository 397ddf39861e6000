//! `analysis_speed FILE`: how long a module takes to be analysed, and to be read from what was kept of that.

use fathom_patch::{Options, analyse, fingerprint, from_bytes, to_bytes};
use fathom_symbols::Image;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: analysis_speed FILE")?;
    // Into the page cache.
    std::fs::read(&path)?;
    let begin = Instant::now();
    let image = Image::open(&path)?;
    let analysis = analyse(&image, &Options::default());
    let analysed = begin.elapsed();
    let key = fingerprint(&image).ok_or("the sections of the file overlap")?;
    let kept = to_bytes(&analysis, &image, &key).ok_or("the analysis cannot be kept")?;
    let begin = Instant::now();
    let image = Image::open(&path)?;
    let key = fingerprint(&image).ok_or("the sections of the file overlap")?;
    let again = from_bytes(&kept, &image, &key).map_err(|why| format!("{why:?}"))?;
    let read = begin.elapsed();
    assert_eq!(again, analysis);
    println!("functions {}", analysis.functions.len());
    println!("sites {}", analysis.functions.iter().filter(|function| function.verdict.is_ok()).count());
    println!("analysed_ms {:.3}", analysed.as_secs_f64() * 1e3);
    println!("kept_ms {:.3}", read.as_secs_f64() * 1e3);
    println!("kept_bytes {}", kept.len());
    Ok(())
}
