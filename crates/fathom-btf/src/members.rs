//! Where a path of members such as `__sk_common.skc_dport` leads.

use crate::text::DEEP;
use crate::{Btf, Member, Type, TypeId};

/// How many members are looked at for one name: structures that hold themselves twice would double with each level.
const MEMBERS: usize = 20_000;

/// One step of a path: a member, reached directly (`.`) or through a pointer (`->`); the two may be mixed up as the
/// type decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step(pub String);

/// Where a path ends, seen from the value that it starts at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Byte offsets, one for each pointer that is followed: the last one is that of the value itself, those before it are those of
    /// pointers. Empty: the value is the start itself.
    pub offsets: Vec<u64>,
    /// The type found.
    pub target: TypeId,
    /// For a bit field: its width and its first bit, counted from the last offset.
    pub bits: Option<(u8, u8)>,
}

impl Btf {
    /// The member of that name, also inside of anonymous structures and unions; its offset is from the start of `id`.
    pub fn member(&self, id: TypeId, name: &str) -> Option<Member<'_>> {
        self.member_within(id, name, &mut { MEMBERS }, DEEP)
    }

    fn member_within(&self, id: TypeId, name: &str, left: &mut usize, depth: usize) -> Option<Member<'_>> {
        let depth = depth.checked_sub(1)?;
        let (id, _) = self.resolve(id)?;
        self.members(id).find_map(|member| {
            *left = left.checked_sub(1)?;
            if member.name == name {
                return Some(member);
            }
            if !member.name.is_empty() {
                return None;
            }
            let mut found = self.member_within(member.target, name, left, depth)?;
            found.bit_offset = found.bit_offset.checked_add(member.bit_offset)?;
            Some(found)
        })
    }

    /// Follows members from a value of type `start`, which is a pointer or, if it lies in memory, a structure. On failure, the
    /// index of the step that does not exist and the names that its structure has.
    pub fn place(&self, start: TypeId, steps: &[Step]) -> Result<Place, (usize, Vec<String>)> {
        let mut place = Place { offsets: Vec::new(), target: start, bits: None };
        for (index, step) in steps.iter().enumerate() {
            let none = || (index, Vec::new());
            let (mut holder, kind) = self.resolve(place.target).ok_or_else(none)?;
            let mut through = false;
            if let Type::Ptr(target) = kind {
                holder = self.resolve(target).ok_or_else(none)?.0;
                through = true;
            }
            let member = self.member(holder, &step.0).ok_or_else(|| {
                (
                    index,
                    self.members(holder).map(|member| member.name.to_owned()).take(2000).collect::<Vec<_>>(),
                )
            })?;
            let offset = u64::from(member.bit_offset / 8);
            match place.offsets.last_mut() {
                Some(last) if !through => *last += offset,
                _ => place.offsets.push(offset),
            }
            place.target = member.target;
            place.bits = (member.bits != 0).then_some((member.bits, (member.bit_offset % 8) as u8));
        }
        Ok(place)
    }
}
