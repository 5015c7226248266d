//! An index of members by field.

use super::Field;
use super::member::{Kind, Member};

/// For each field the position of its member, counted from 1; 0 if there is none.
#[derive(Clone)]
pub(super) struct Index([u8; Field::COUNT]);

/// Stands for this position and all later ones, which need a search.
const FAR: u8 = u8::MAX;

impl Index {
    /// Builds the index of these members. Rebuilt whenever a member is added or removed.
    pub(super) fn of(members: &[Member]) -> Self {
        let mut positions = [0; Field::COUNT];
        for (position, member) in (1..).zip(members) {
            if let Some(slot) = member.kind.field().and_then(|field| positions.get_mut(field.index())) {
                *slot = u8::try_from(position).unwrap_or(FAR);
            }
        }
        Self(positions)
    }

    /// Returns the member of a field, among the members that the index was built from.
    pub(super) fn find<'a>(&self, members: &'a [Member], field: Field) -> Option<&'a Member> {
        match self.0.get(field.index()).copied().unwrap_or_default() {
            FAR => members.iter().skip(usize::from(FAR) - 1).find(|member| member.kind == Kind::known(field)),
            position => members.get(usize::from(position).checked_sub(1)?),
        }
    }
}
