//! The steps of an analysis.

use fathom_symbols::{Image, elf};
use iced_x86::{Decoder, DecoderOptions, OpKind};
use rustc_hash::FxHashSet;

use crate::islands::Islands;
use crate::marks::Marks;
use crate::reason::{Reason, Refusal};
use crate::site::JUMP;
use crate::starts::{Ground, code_of};
use crate::sweep::{self, Found};
use crate::unwind::{Rows, Unwind};
use crate::verdict::{Judged, Knowledge, Verdict};
use crate::{Analysis, Function, Options, leads};

/// Analyses a module. Takes about a second of one processor for 100,000 functions; whatever is in the file, it does not
/// fail: what makes no sense is not patched.
pub fn analyse(image: &Image, options: &Options) -> Analysis {
    if let Some(refusal) = refusal(image) {
        return Analysis { refused: Some(refusal), functions: Vec::new() };
    }
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let unwind = Unwind::read(image);
    let ground = Ground::of(image, &unwind);
    let is_fixed = image.kind() == elf::Kind::Executable;
    let sweep_ground = sweep::Ground {
        image,
        unwind: &unwind,
        range: ground.range.clone(),
        starts: &ground.marks,
        watchers: &ground.watchers,
        is_fixed,
    };
    let mut found = sweep::sweep(&sweep_ground, &ground.pieces(), threads);
    let mut relocated = Marks::new(ground.range.clone());
    leads::pointers(image, is_fixed, &mut found.pointed, &mut relocated);
    let mut labels = Marks::new(ground.range.clone());
    labels.absorb(&ground.labels);
    let tables_are_known = leads::tables(image, &found.tables, &ground.range, &mut labels);
    let guards = unwind.guards(image);
    for &landing in &guards.landings {
        labels.insert(landing);
    }
    let flags_out = flags_out(&ground, &found);
    let mut knowledge = Knowledge {
        ground: &ground,
        unwind: &unwind,
        guards: &guards,
        found: &found,
        labels: &labels,
        relocated: &relocated,
        flags_out: &flags_out,
        tables_are_known,
        watched: FxHashSet::default(),
    };
    knowledge.watched = knowledge.find_watched();
    let judged = judge_all(&knowledge, threads);
    Analysis { refused: None, functions: place(&knowledge, judged) }
}

/// Why the module is left alone as a whole.
pub fn refusal(image: &Image) -> Option<Refusal> {
    let is_module = matches!(image.kind(), elf::Kind::Executable | elf::Kind::Pie | elf::Kind::SharedObject);
    let has = |name: &str| image.section(name).is_some();
    if image.machine() != elf::EM_X86_64
        || image.class() != elf::Class::Elf64
        || image.endian() != elf::Endian::Little
        || !is_module
    {
        Some(Refusal::Machine)
    } else if has(".gopclntab")
        || has(".go.buildinfo")
        || has(".note.go.buildid")
        || has(".data.rel.ro.gopclntab")
    {
        Some(Refusal::Go)
    } else if has(".note.GNU-split-stack") {
        Some(Refusal::SplitStack)
    } else if image.soname().is_some_and(|name| name.starts_with("ld-") || name.starts_with("ld64")) {
        Some(Refusal::DynamicLinker)
    } else {
        let code = code_of(image);
        let (Some(first), Some(last)) = (code.first(), code.last()) else { return Some(Refusal::NoCode) };
        // There is a bit for each address in between.
        let limit = 16 * image.data().len() as u64 + (1 << 20);
        (last.0 - first.0 > limit).then_some(Refusal::Scattered)
    }
}

/// The functions whose callers look at flags, and those that these end with a jump to.
fn flags_out(ground: &Ground<'_>, found: &Found) -> FxHashSet<u64> {
    let mut all: FxHashSet<u64> = FxHashSet::default();
    let mut todo = found.flags_out.clone();
    while let Some(addr) = todo.pop() {
        if !all.insert(addr) {
            continue;
        }
        let index = found.pieces.partition_point(|piece| piece.end <= addr);
        let Some(piece) = found.pieces.get(index).filter(|piece| piece.start <= addr) else { continue };
        if piece.start != addr {
            todo.push(piece.start);
            continue;
        }
        let part = ground.code.iter().rfind(|part| part.0 <= piece.start);
        let bytes = part.and_then(|&(start, bytes)| {
            let place = |addr: u64| usize::try_from(addr - start).ok();
            bytes.get(place(piece.start)?..place(piece.end)?)
        });
        for instruction in Decoder::with_ip(64, bytes.unwrap_or_default(), piece.start, DecoderOptions::NONE)
        {
            let leaves = instruction.is_jmp_short_or_near() || instruction.is_jcc_short_or_near();
            if leaves && instruction.op0_kind() == OpKind::NearBranch64 {
                let to = instruction.near_branch64();
                if to < piece.start || to >= piece.end {
                    todo.push(to);
                }
            }
        }
        // What it runs into.
        if piece.is_open {
            todo.push(piece.end);
        }
    }
    all
}

fn judge_all(knowledge: &Knowledge<'_, '_>, threads: usize) -> Vec<Judged> {
    let starts = &knowledge.ground.starts;
    let share = starts.len() / threads.max(1) + 1;
    let judge = |from: usize| {
        let mut rows = Rows::new();
        let to = (from + share).min(starts.len());
        let one = |index: usize| {
            let next = starts.get(index + 1).map_or(u64::MAX, |next| next.addr);
            knowledge.judge(starts.get(index)?, next, &mut rows)
        };
        (from..to).filter_map(one).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let judge = &judge;
        let workers: Vec<_> =
            (0..starts.len()).step_by(share).map(|from| scope.spawn(move || judge(from))).collect();
        let mut all = Vec::with_capacity(starts.len());
        for worker in workers {
            match worker.join() {
                Ok(judged) => all.extend(judged),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

/// Gives padding to those that need some. What a jump reaches over its function's end into is taken first.
fn place(knowledge: &Knowledge<'_, '_>, judged: Vec<Judged>) -> Vec<Function> {
    let mut islands = Islands::of(&knowledge.found.pieces, |addr| knowledge.leads_to(addr));
    for function in &judged {
        if let Verdict::Jump(site) = &function.verdict {
            islands.take(site.at, site.at.saturating_add(JUMP as u64));
        }
        if let Verdict::Hop(site, _) = &function.verdict {
            islands.take(site.at, site.at.saturating_add(site.original.len() as u64));
        }
    }
    let function = |judged: Judged| {
        let verdict = match judged.verdict {
            Verdict::Jump(site) => Ok(site),
            Verdict::No(reason) => Err(reason),
            Verdict::Hop(mut site, reason) => {
                site.island = islands.find(site.at, |addr| knowledge.jump_at(addr));
                if site.island.is_some() { Ok(site) } else { Err(short(reason)) }
            }
        };
        Function { start: judged.start, end: judged.end, verdict }
    };
    judged.into_iter().map(function).collect()
}

/// What is missing where a hop would do, but has no island.
fn short(reason: Reason) -> Reason {
    if reason == Reason::Undecodable { Reason::Short } else { reason }
}
