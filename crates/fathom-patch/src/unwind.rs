//! What the unwind information says: where functions are, how their stacks look, what is guarded.

use std::ops::Range;

use fathom_symbols::Image;
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, CommonInformationEntry, EhFrame, EhFrameHdr, EndianSlice,
    FrameDescriptionEntry, LittleEndian, Pointer, Reader as _, RegisterRule, UnwindContext, UnwindSection,
    X86_64,
};
use rustc_hash::FxHashMap;

type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// One range of code with unwind information.
pub(crate) struct Frame<'d> {
    /// Module-relative.
    pub(crate) range: Range<u64>,
    /// The kernel or a signal's handler is what it returns from.
    pub(crate) is_signal: bool,
    /// At its first instruction the return address is on top of the stack and nothing else is said about rsp.
    pub(crate) begins_as_function: bool,
    /// Address, as linked, of what is said about exceptions in it.
    lsda: Option<u64>,
    fde: FrameDescriptionEntry<Slice<'d>>,
}

/// Where the return address is, while an instruction has not been run yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cfa {
    /// At rsp plus this, less 8.
    Rsp(i64),
    /// At rbp plus this, less 8.
    Rbp(i64),
    /// Elsewhere.
    Other,
}

/// The unwind information of a module.
pub(crate) struct Unwind<'d> {
    eh_frame: EhFrame<Slice<'d>>,
    bases: BaseAddresses,
    link_base: u64,
    /// Ascending by start.
    frames: Vec<Frame<'d>>,
}

/// What the exception tables say.
#[derive(Default)]
pub(crate) struct Guards {
    /// Where control arrives when an exception is caught or passes by.
    pub(crate) landings: Vec<u64>,
    /// Where exceptions are caught, by address.
    pub(crate) ranges: Vec<Range<u64>>,
}

impl<'d> Unwind<'d> {
    /// Reads `.eh_frame`, up to the first entry that makes no sense. Without section headers it is found as unwinders find it.
    pub(crate) fn read(image: &'d Image) -> Unwind<'d> {
        let (addr, bytes) = match image.section(".eh_frame") {
            Some(section) => (section.addr, image.section_data(section).unwrap_or_default()),
            None => eh_frame_of_header(image).unwrap_or_default(),
        };
        let mut eh_frame = EhFrame::new(bytes, LittleEndian);
        eh_frame.set_address_size(8);
        let bases = BaseAddresses::default().set_eh_frame(addr);
        let mut unwind = Unwind { eh_frame, bases, link_base: image.link_base(), frames: Vec::new() };
        unwind.frames = unwind.read_frames();
        unwind.frames.sort_by_key(|frame| (frame.range.start, frame.range.end));
        // They do not overlap in what compilers make.
        let mut next = u64::MAX;
        for frame in unwind.frames.iter_mut().rev() {
            frame.range.end = frame.range.end.min(next.max(frame.range.start));
            next = frame.range.start;
        }
        unwind
    }

    fn read_frames(&self) -> Vec<Frame<'d>> {
        let mut cies: FxHashMap<usize, CommonInformationEntry<Slice<'d>>> = FxHashMap::default();
        let mut frames = Vec::new();
        let mut context = UnwindContext::new();
        let mut entries = self.eh_frame.entries(&self.bases);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let fde = partial.parse(|section, bases, offset| {
                if let Some(cie) = cies.get(&offset.0) {
                    return Ok(cie.clone());
                }
                let cie = section.cie_from_offset(bases, offset)?;
                cies.insert(offset.0, cie.clone());
                Ok(cie)
            });
            let Ok(fde) = fde else { continue };
            let start = fde.initial_address().wrapping_sub(self.link_base);
            let Some(end) = start.checked_add(fde.len()).filter(|&end| end > start) else { continue };
            let lsda = match fde.lsda() {
                Some(gimli::Pointer::Direct(addr)) if addr != 0 => Some(addr),
                _ => None,
            };
            let mut frame = Frame {
                range: start..end,
                is_signal: fde.is_signal_trampoline(),
                begins_as_function: false,
                lsda,
                fde,
            };
            frame.begins_as_function = self.first_row(&frame, &mut context);
            frames.push(frame);
        }
        frames
    }

    fn first_row(&self, frame: &Frame<'d>, context: &mut UnwindContext<usize>) -> bool {
        if !is_short(&frame.fde) {
            return false;
        }
        let Ok(mut rows) = frame.fde.rows(&self.eh_frame, &self.bases, context) else { return false };
        match rows.next_row() {
            Ok(Some(row)) => {
                cfa_of(row.cfa()) == Cfa::Rsp(8)
                    && matches!(row.register(X86_64::RA), Some(RegisterRule::Offset(-8)))
                    && row.start_address() == frame.fde.initial_address()
            }
            _ => false,
        }
    }

    pub(crate) fn frames(&self) -> &[Frame<'d>] {
        &self.frames
    }

    /// What begins at an address.
    pub(crate) fn starting_at(&self, addr: u64) -> Option<&Frame<'d>> {
        let index = self.frames.partition_point(|frame| frame.range.start < addr);
        self.frames.get(index).filter(|frame| frame.range.start == addr)
    }

    /// What an address is in.
    pub(crate) fn covering(&self, addr: u64) -> Option<&Frame<'d>> {
        let index = self.frames.partition_point(|frame| frame.range.start <= addr).checked_sub(1)?;
        self.frames.get(index).filter(|frame| addr < frame.range.end)
    }

    /// Calls `look` with the index of each of the (ascending) addresses that are in a frame, and the rule that is valid
    /// there. Who asks for one frame after the other gives the same `rows`, so that each is read once.
    pub(crate) fn rules(
        &self,
        frame: &Frame<'d>,
        addrs: impl Iterator<Item = u64>,
        rows: &mut Rows,
        mut look: impl FnMut(usize, Cfa),
    ) {
        rows.read(self, frame);
        let mut addrs = addrs.enumerate().peekable();
        let Some(&(_, first)) = addrs.peek() else { return };
        let from = rows.rows.partition_point(|&(end, _)| end <= first);
        for &(end, cfa) in rows.rows.get(from..).unwrap_or_default() {
            while let Some((index, _)) = addrs.next_if(|&(_, addr)| addr < end) {
                look(index, cfa);
            }
            if addrs.peek().is_none() {
                return;
            }
        }
    }

    /// The rule that is valid at an address.
    pub(crate) fn rule_at(&self, addr: u64, rows: &mut Rows) -> Option<Cfa> {
        let mut found = None;
        self.rules(self.covering(addr)?, std::iter::once(addr), rows, |_, cfa| found = Some(cfa));
        found
    }

    /// Reads the exception tables of all frames.
    pub(crate) fn guards(&self, image: &Image) -> Guards {
        let mut guards = Guards::default();
        for frame in &self.frames {
            if let Some(lsda) = frame.lsda {
                self.read_lsda(image, frame.range.start, lsda, &mut guards);
            }
        }
        guards.landings.sort_unstable();
        guards.landings.dedup();
        guards.ranges.sort_by_key(|range| (range.start, range.end));
        guards
    }

    /// The language-specific data area, as GCC and LLVM write it for all languages ("Exception Handling Tables" of the
    /// C++ ABI for Itanium, with encodings of pointers): encoding and value of the base of landing pads, encoding and
    /// distance of the type table, encoding and length of the table of call sites, and the call sites: start, length,
    /// landing pad (0 for none), action. A table that makes no sense ends where it stops to.
    fn read_lsda(&self, image: &Image, function: u64, lsda: u64, guards: &mut Guards) -> Option<()> {
        let section = image.section(".gcc_except_table");
        let bytes = section
            .and_then(|section| {
                let skip = usize::try_from(lsda.checked_sub(section.addr)?).ok()?;
                image.section_data(section)?.get(skip..)
            })
            .or_else(|| loaded_from(image, lsda))?;
        let mut input = EndianSlice::new(bytes, LittleEndian);
        let whole = input;
        let base = match input.read_u8().ok()? {
            OMITTED => function,
            encoding => {
                let at = lsda.wrapping_add(input.offset_from(whole) as u64);
                let value = encoded(&mut input, encoding)?;
                let value = if encoding & 0x70 == 0x10 { value.wrapping_add(at) } else { value };
                value.wrapping_sub(self.link_base)
            }
        };
        if input.read_u8().ok()? != OMITTED {
            input.read_uleb128().ok()?;
        }
        let encoding = input.read_u8().ok()?;
        let len = usize::try_from(input.read_uleb128().ok()?).ok()?;
        let mut sites = input.split(len.min(input.len())).ok()?;
        while !sites.is_empty() {
            let start = function.wrapping_add(encoded(&mut sites, encoding)?);
            let len = encoded(&mut sites, encoding)?;
            let pad = encoded(&mut sites, encoding)?;
            sites.read_uleb128().ok()?;
            if pad != 0 {
                guards.landings.push(base.wrapping_add(pad));
                guards.ranges.push(start..start.checked_add(len)?);
            }
        }
        Some(())
    }
}

/// The rules of the frame that was asked for last.
pub(crate) struct Rows {
    context: UnwindContext<usize>,
    /// Offset of its entry in the unwind information.
    of: Option<usize>,
    /// The address behind each row, ascending, and its rule.
    rows: Vec<(u64, Cfa)>,
}

impl Rows {
    pub(crate) fn new() -> Rows {
        Rows { context: UnwindContext::new(), of: None, rows: Vec::new() }
    }

    fn read<'d>(&mut self, unwind: &Unwind<'d>, frame: &Frame<'d>) {
        if self.of.replace(frame.fde.offset()) == Some(frame.fde.offset()) {
            return;
        }
        self.rows.clear();
        if !is_short(&frame.fde) {
            self.rows.push((u64::MAX, Cfa::Other));
            return;
        }
        let rows = frame.fde.rows(&unwind.eh_frame, &unwind.bases, &mut self.context);
        let Ok(mut rows) = rows else { return };
        let mut end = 0;
        while let Ok(Some(row)) = rows.next_row() {
            // The first row that ends behind an address is the one that is valid there.
            end = end.max(row.end_address().wrapping_sub(unwind.link_base));
            self.rows.push((end, cfa_of(row.cfa())));
        }
    }
}

/// Whether the part that an entry shares with others is as short as compilers make it: it is read again for each.
fn is_short(fde: &FrameDescriptionEntry<Slice<'_>>) -> bool {
    const LIMIT: usize = 1 << 10;
    fde.cie().entry_len() <= LIMIT
}

/// Address, as linked, and bytes of `.eh_frame` by way of `.eh_frame_hdr`, which has a program header. The bytes go on behind
/// its end, which has a mark.
fn eh_frame_of_header(image: &Image) -> Option<(u64, &[u8])> {
    const PT_GNU_EH_FRAME: u32 = object::elf::PT_GNU_EH_FRAME.0;
    let header = image.segments().iter().find(|segment| segment.kind == PT_GNU_EH_FRAME)?.vaddr;
    let bytes = EhFrameHdr::new(loaded_from(image, header)?, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame_hdr(header);
    match bytes.parse(&bases, 8).ok()?.eh_frame_ptr() {
        Pointer::Direct(addr) => Some((addr, loaded_from(image, addr)?)),
        Pointer::Indirect(_) => None,
    }
}

/// What the file has for an address, as linked, and behind it.
fn loaded_from(image: &Image, addr: u64) -> Option<&[u8]> {
    const PT_LOAD: u32 = object::elf::PT_LOAD.0;
    image.segments().iter().filter(|segment| segment.kind == PT_LOAD).find_map(|segment| {
        let skip = addr.checked_sub(segment.vaddr).filter(|&skip| skip < segment.file_size)?;
        let from = usize::try_from(segment.offset.checked_add(skip)?).ok()?;
        let len = usize::try_from(segment.file_size - skip).ok()?;
        image.data().get(from..from.checked_add(len)?)
    })
}

/// `DW_EH_PE_omit`.
const OMITTED: u8 = 0xff;

/// A value in one of the formats that pointers have in exception tables.
fn encoded(input: &mut Slice<'_>, encoding: u8) -> Option<u64> {
    match encoding & 0x0f {
        0x00 | 0x04 | 0x0c => input.read_u64().ok(),
        0x01 => input.read_uleb128().ok(),
        0x02 => input.read_u16().ok().map(u64::from),
        0x03 => input.read_u32().ok().map(u64::from),
        0x09 => input.read_sleb128().ok().map(i64::cast_unsigned),
        0x0a => input.read_i16().ok().map(|value| i64::from(value).cast_unsigned()),
        0x0b => input.read_i32().ok().map(|value| i64::from(value).cast_unsigned()),
        _ => None,
    }
}

fn cfa_of(rule: &CfaRule<usize>) -> Cfa {
    match rule {
        CfaRule::RegisterAndOffset { register, offset } if *register == X86_64::RSP => Cfa::Rsp(*offset),
        CfaRule::RegisterAndOffset { register, offset } if *register == X86_64::RBP => Cfa::Rbp(*offset),
        _ => Cfa::Other,
    }
}
