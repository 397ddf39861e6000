//! Places in programs, as the kernel wants them: a path and an offset in the file.

use crate::Error;
use fathom_filter::nearest::nearest;
use fathom_symbols::Image;
use std::path::{Path, PathBuf};

/// The kernel's form, `PATH:0xOFFSET`, of `PATH:SYMBOL`, `PATH:SYMBOL+OFFSET` or `PATH:0xOFFSET`; `%return` and
/// `(0xREFCOUNT)` behind it stay.
///
/// # Errors
///
/// Files that are no ELF files, symbols that are not in them.
pub fn place(text: &str) -> Result<String, Error> {
    let wrong = |why: String| Error::Settings(format!("uprobe '{text}': {why}"));
    let Some((path, symbol)) = text.rsplit_once(':') else {
        return Err(wrong("expected PATH:SYMBOL or PATH:0xOFFSET".into()));
    };
    let (symbol, behind) = symbol.split_at(symbol.find(['%', '(']).unwrap_or(symbol.len()));
    let path = found(path).ok_or_else(|| wrong(format!("there is no file '{path}', nor one in PATH")))?;
    // A blank would end the path for the kernel, and nothing can quote it.
    if path.to_string_lossy().contains(char::is_whitespace) {
        return Err(wrong("the kernel takes no paths with blanks".into()));
    }
    let offset = match symbol.strip_prefix("0x") {
        Some(digits) => {
            u64::from_str_radix(digits, 16).map_err(|_| wrong(format!("'{symbol}' is no offset")))?
        }
        None => offset_of(&path, symbol).map_err(wrong)?,
    };
    Ok(format!("{}:0x{offset:x}{behind}", path.display()))
}

/// The file that is meant: a path, or a program found in `PATH`; without links, since the kernel lists it so.
fn found(path: &str) -> Option<PathBuf> {
    let given = Path::new(path);
    let candidate = match path.contains('/') || given.is_file() {
        true => Some(given.to_owned()),
        false => {
            let dirs = std::env::var_os("PATH")?;
            std::env::split_paths(&dirs).map(|dir| dir.join(path)).find(|file| file.is_file())
        }
    };
    std::fs::canonicalize(candidate?).ok()
}

/// The offset in the file of `SYMBOL[+OFFSET]`.
fn offset_of(path: &Path, symbol: &str) -> Result<u64, String> {
    let (name, add) = match symbol.split_once('+') {
        Some((name, add)) => (name, number(add).ok_or_else(|| format!("'{add}' is no offset"))?),
        None => (symbol, 0),
    };
    let image = Image::open(path).map_err(|error| error.to_string())?;
    let mut address = image.symbols().by_name(name).filter(|s| s.kind.is_function()).map(|s| s.addr);
    if address.is_none()
        && let Some(debug) = image.debug_file()
    {
        // The debug file's segments may have lost their place in the file, but its addresses are the program's.
        address = debug.symbols().by_name(name).map(|s| s.addr);
    }
    let Some(address) = address else {
        let symbols = image.symbols();
        let meant = nearest(name, symbols.iter().filter(|s| s.kind.is_function()).map(|s| s.name));
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"));
        return Err(format!("there is no function '{name}' in {}{meant}", path.display()));
    };
    let linked = address.wrapping_add(image.link_base()).wrapping_add(add);
    file_offset(&image, linked).ok_or_else(|| format!("'{symbol}' is not in the code of {}", path.display()))
}

/// Where a linked address is in the file: in the executable segment that holds it.
fn file_offset(image: &Image, linked: u64) -> Option<u64> {
    const LOAD: u32 = 1;
    image.segments().iter().filter(|segment| segment.kind == LOAD && segment.flags & 1 != 0).find_map(
        |segment| {
            let into = linked.checked_sub(segment.vaddr).filter(|into| *into < segment.file_size)?;
            segment.offset.checked_add(into)
        },
    )
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_place_is_said() {
        let said = |text: &str| place(text).unwrap_err().to_string();
        assert_eq!(said("main"), "uprobe 'main': expected PATH:SYMBOL or PATH:0xOFFSET");
        assert_eq!(
            said("/nowhere/at/all:main"),
            "uprobe '/nowhere/at/all:main': there is no file '/nowhere/at/all', nor one in PATH"
        );
        let me = std::env::current_exe().unwrap();
        assert!(said(&format!("{}:no_such_function_here", me.display())).contains("there is no function"));
    }

    #[test]
    fn a_function_of_our_own_is_in_the_code() {
        let me = std::fs::canonicalize(std::env::current_exe().unwrap()).unwrap();
        let image = Image::open(&me).unwrap();
        let main = image.symbols().by_name("main").unwrap().addr;
        let place = place(&format!("{}:main%return", me.display())).unwrap();
        let offset = place.strip_suffix("%return").unwrap().rsplit_once(":0x").unwrap().1;
        let offset = usize::from_str_radix(offset, 16).unwrap();
        let there = &image.data()[offset..offset + 8];
        assert_eq!(image.data_at(main, 8).unwrap(), there);
    }
}
