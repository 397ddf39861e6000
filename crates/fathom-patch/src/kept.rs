//! What an analysis has found out, as bytes that can be kept for the next time.
//!
//! ```text
//!  magic        8 bytes: "fproof\0\x01"
//!  fingerprint  32 bytes, see [`fingerprint`]
//!  count        32 bits, little-endian
//!  functions    count times:
//!    distance   ULEB128: from the function before it (the first: from 0)
//!    length     ULEB128, in bytes
//!    verdict    the number of a reason, or 0x40, plus 1 if the patch is behind an `endbr64`, plus 2 if it is a hop
//!    for a patch
//!      compared  bytes of the function that must stand there
//!      island    16 bits, for a hop: where it leads to, from the first byte that is overwritten
//!  checksum     32 bytes: BLAKE3 of all of the above
//! ```
//!
//! No code is kept. Which functions can be patched is the proof, and long work; the bytes that are compared and those that are
//! run in their place are made again from the module itself. So the worst that a forged file could do is to name a function that
//! is not proven, never to run what is not in the module; and that it is not forged is up to who keeps it.

use blake3::Hasher;
use fathom_symbols::Image;

use crate::reason::Reason;
use crate::relocate::relocate;
use crate::site::{HOP, Island, JUMP, ORIGINAL_LIMIT, Site};
use crate::starts::code_of;
use crate::verdict::ENDBR64;
use crate::{Analysis, Function};

/// What an analysis depends on: the code that makes it, and all that it reads. 32 bytes of BLAKE3.
pub type Fingerprint = [u8; 32];

const MAGIC: [u8; 8] = *b"fproof\0\x01";
/// Bytes in front of the functions.
const HEAD: usize = 8 + 32 + 4;
const CHECKSUM: usize = 32;
/// A verdict that is no reason.
const PATCHED: u8 = 0x40;
const BEHIND_ENDBR: u8 = 1;
const WITH_ISLAND: u8 = 2;

/// The fingerprint of what [`analyse`](crate::analyse) would find in a module. `None` for a file whose sections overlap so much
/// that reading them would take longer than the analysis.
pub fn fingerprint(image: &Image) -> Option<Fingerprint> {
    let mut hasher = Hasher::new();
    hasher.update(env!("FATHOM_ANALYSIS").as_bytes());
    let headers = (image.segments(), image.sections(), image.entry(), image.link_base());
    let shape = (image.class(), image.endian(), image.machine(), image.kind(), image.data().len());
    hasher.update(format!("{headers:?} {shape:?}").as_bytes());
    let file = image.data();
    let mut budget = 4 * file.len();
    let segments = image.segments().iter().map(|segment| (segment.offset, segment.file_size));
    // Nothing is read of what debuggers read, which can be most of the file.
    let is_read = |name: &str| !name.starts_with(".debug_") && !name.starts_with(".zdebug_");
    let sections = image.sections().iter().filter(|section| is_read(&section.name));
    for (offset, size) in segments.chain(sections.map(|section| (section.offset, section.size))) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
        let end = start.saturating_add(usize::try_from(size).unwrap_or(usize::MAX)).min(file.len());
        let bytes = file.get(start..end).unwrap_or_default();
        budget = budget.checked_sub(bytes.len())?;
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    // Names may come from another file.
    for label in image.labels() {
        hasher.update(&label.addr.to_le_bytes());
        hasher.update(&label.size.to_le_bytes());
        hasher.update(&[u8::from(label.is_function), u8::from(label.is_exported)]);
        hasher.update(&(label.name.len() as u64).to_le_bytes());
        hasher.update(label.name.as_bytes());
    }
    Some(*hasher.finalize().as_bytes())
}

/// An analysis of the module with this fingerprint as bytes; `None` if it cannot be kept: there is nothing in it, or it could
/// not be made again from them.
pub fn to_bytes(analysis: &Analysis, image: &Image, fingerprint: &Fingerprint) -> Option<Vec<u8>> {
    if analysis.refused.is_some() {
        return None;
    }
    let mut out = Vec::with_capacity(HEAD + CHECKSUM + 5 * analysis.functions.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(fingerprint);
    out.extend_from_slice(&u32::try_from(analysis.functions.len()).ok()?.to_le_bytes());
    let mut before = 0;
    for function in &analysis.functions {
        put_number(&mut out, function.start.checked_sub(before)?);
        put_number(&mut out, function.end.checked_sub(function.start)?);
        before = function.start;
        match &function.verdict {
            Err(reason) => out.push(*reason as u8),
            Ok(site) => put_site(&mut out, function.start, site)?,
        }
    }
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    (from_bytes(&out, image, fingerprint).as_ref() == Ok(analysis)).then_some(out)
}

fn put_site(out: &mut Vec<u8>, start: u64, site: &Site) -> Option<()> {
    let behind = match site.at.checked_sub(start)? {
        0 => 0,
        4 => BEHIND_ENDBR,
        _ => return None,
    };
    out.push(PATCHED + behind + if site.island.is_some() { WITH_ISLAND } else { 0 });
    out.push(u8::try_from(site.original.len()).ok()?);
    if let Some(island) = &site.island {
        let distance = island.at.wrapping_sub(site.at).cast_signed();
        out.extend_from_slice(&i16::try_from(distance).ok()?.to_le_bytes());
    }
    Some(())
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Why kept bytes are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// They are of another module, or by another analysis.
    Other,
    /// They are damaged.
    Damaged,
}

/// The analysis that [`to_bytes`] has kept.
///
/// # Errors
///
/// Whatever is wrong with the bytes: then the module has to be analysed.
pub fn from_bytes(bytes: &[u8], image: &Image, fingerprint: &Fingerprint) -> Result<Analysis, Unusable> {
    let (kept, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(Unusable::Damaged)?;
    if !kept.starts_with(&MAGIC) || kept.get(8..40) != Some(fingerprint) {
        return Err(Unusable::Other);
    }
    if blake3::hash(kept) != *checksum {
        return Err(Unusable::Damaged);
    }
    functions(kept, image).ok_or(Unusable::Damaged)
}

fn functions(kept: &[u8], image: &Image) -> Option<Analysis> {
    let count = u32::from_le_bytes(kept.get(40..HEAD)?.try_into().ok()?);
    let mut input = kept.get(HEAD..)?;
    // Each takes three bytes at the least.
    if count as usize > input.len() / 3 {
        return None;
    }
    let code = code_of(image);
    let mut functions = Vec::with_capacity(count as usize);
    let mut before: Option<u64> = None;
    for _ in 0..count {
        let distance = number(&mut input)?;
        let start = before.unwrap_or_default().checked_add(distance)?;
        if before.is_some() && distance == 0 {
            return None;
        }
        before = Some(start);
        let end = start.checked_add(number(&mut input)?)?;
        let (&verdict, rest) = input.split_first()?;
        input = rest;
        let verdict = match verdict.checked_sub(PATCHED) {
            None => Err(*Reason::ALL.get(usize::from(verdict))?),
            Some(form) => Ok(site(&mut input, start, form, &code)?),
        };
        functions.push(Function { start, end, verdict });
    }
    input.is_empty().then_some(Analysis { refused: None, functions })
}

/// Makes a site again from the bytes of the module.
fn site(input: &mut &[u8], start: u64, form: u8, code: &[(u64, &[u8])]) -> Option<Site> {
    if form & !(BEHIND_ENDBR | WITH_ISLAND) != 0 {
        return None;
    }
    let at_of = |addr: u64, len: usize| {
        let index = code.partition_point(|part| part.0 <= addr).checked_sub(1)?;
        let &(first, bytes) = code.get(index)?;
        let from = usize::try_from(addr - first).ok()?;
        bytes.get(from..from.checked_add(len)?)
    };
    let at = if form & BEHIND_ENDBR == 0 {
        start
    } else {
        (at_of(start, ENDBR64.len())? == ENDBR64).then_some(start.checked_add(4)?)?
    };
    let (&len, rest) = input.split_first()?;
    *input = rest;
    let original = at_of(at, usize::from(len)).filter(|bytes| bytes.len() <= ORIGINAL_LIMIT)?;
    let mut need = JUMP;
    let mut island = None;
    if form & WITH_ISLAND != 0 {
        let (distance, rest) = input.split_first_chunk::<2>()?;
        *input = rest;
        let place = at.checked_add_signed(i64::from(i16::from_le_bytes(*distance)))?;
        island = Some(Island { at: place, original: at_of(place, JUMP)?.try_into().ok()? });
        need = HOP;
    }
    let moved = relocate(original, at, need).ok()?;
    let site = Site { at, original: original.to_vec(), island, code: moved.code, fixups: moved.fixups };
    (original.len() >= need && site.island.is_some() == site.hop().is_some()).then_some(site)
}

/// ULEB128.
fn number(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, analyse};

    const PROGRAM: &[u8] = include_bytes!("../../../fuzz/corpus/patch/program");
    const LIBRARY: &[u8] = include_bytes!("../../../fuzz/corpus/patch/library");

    fn kept(file: &[u8]) -> (Image, Analysis, Fingerprint, Vec<u8>) {
        let image = Image::parse(file.to_vec()).unwrap();
        let analysis = analyse(&image, &Options { threads: 1 });
        let fingerprint = fingerprint(&image).unwrap();
        let bytes = to_bytes(&analysis, &image, &fingerprint).unwrap();
        (image, analysis, fingerprint, bytes)
    }

    #[test]
    fn comes_back_as_it_was() {
        for file in [PROGRAM, LIBRARY] {
            let (image, analysis, fingerprint, bytes) = kept(file);
            assert!(analysis.functions.iter().any(|function| function.verdict.is_ok()));
            assert!(bytes.len() < HEAD + CHECKSUM + 8 * analysis.functions.len());
            assert_eq!(from_bytes(&bytes, &image, &fingerprint), Ok(analysis));
        }
    }

    #[test]
    fn any_other_byte_in_the_module_makes_it_another() {
        let (_, _, before, bytes) = kept(PROGRAM);
        let headers = 64;
        for at in (headers..PROGRAM.len()).step_by(97) {
            let mut other = PROGRAM.to_vec();
            other[at] ^= 1;
            let Ok(image) = Image::parse(other) else { continue };
            let analysis = analyse(&image, &Options { threads: 1 });
            let now = fingerprint(&image);
            if now == Some(before) {
                // What nothing is read of.
                let image = Image::parse(PROGRAM.to_vec()).unwrap();
                assert_eq!(analysis, analyse(&image, &Options { threads: 1 }), "{at:#x}");
            } else if let Some(now) = now {
                assert_eq!(from_bytes(&bytes, &image, &now), Err(Unusable::Other));
            }
        }
    }

    #[test]
    fn damage_is_seen() {
        let (image, _, fingerprint, bytes) = kept(LIBRARY);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(from_bytes(&damaged, &image, &fingerprint).is_err(), "{at}");
            assert!(from_bytes(&bytes[..at], &image, &fingerprint).is_err(), "{at}");
        }
    }

    #[test]
    fn what_is_forged_is_made_of_the_module_alone() {
        let (image, _, fingerprint, bytes) = kept(LIBRARY);
        let body = &bytes[..bytes.len() - CHECKSUM];
        for at in HEAD - 4..body.len() {
            for value in [0, 1, 5, 0x40, 0x41, 0x43, 0x7f, 0xff] {
                let mut forged = body.to_vec();
                forged[at] = value;
                let checksum = blake3::hash(&forged);
                forged.extend_from_slice(checksum.as_bytes());
                let Ok(analysis) = from_bytes(&forged, &image, &fingerprint) else { continue };
                for site in analysis.functions.iter().filter_map(|function| function.verdict.as_ref().ok()) {
                    let there = image.data_at(site.at, site.original.len() as u64);
                    assert_eq!(there, Some(&site.original[..]));
                    assert!(site.original.len() >= site.written());
                }
            }
        }
    }

    #[test]
    fn numbers() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            let mut input = &bytes[..];
            assert_eq!((number(&mut input), input), (Some(value), &[][..]));
            assert_eq!(number(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(number(&mut &[0xff; 11][..]), None);
    }
}
