//! What a replica remembers of the queue's lanes: how far its claims have read each, and whose turn it is in it.
//!
//! A lane is the waiting actions of one type and one priority, in the order of their ranks. Ranks are microseconds of
//! the database's clock, or of a time that runs beside it. Both memories only save work or share it fairly: a replica
//! that has forgotten everything finds every action all the same.

use deed_domain::action::{ActionTypeName, NewAction, Priority};
use diesel::sql_types::{Array, Int2, Int8, Nullable, Text};
use uuid::Uuid;

use super::action_row::type_name;
use super::error::BadRow;
use super::statement::Statement;
pub(crate) use floors::{Floor, Floors, Look};
pub(crate) use turns::{Answer, Place, Ticket, Turns};

mod floors;
mod turns;

/// The waiting actions of one type and one priority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) action_type: ActionTypeName,
    pub(crate) priority: Priority,
}

/// What a replica remembers of all lanes. Bounded; what is forgotten costs a look.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) floors: Floors,
    pub(crate) turns: Turns,
}

impl From<&NewAction> for Lane {
    fn from(action: &NewAction) -> Self {
        Self {
            action_type: action.action_type.clone(),
            priority: action.priority,
        }
    }
}

impl Lane {
    /// The lane of an action in the database.
    pub(crate) fn from_row(name: &str, priority: i16, action: Uuid) -> Result<Self, BadRow> {
        let bad = || BadRow::new("action_queue", "priority", action, "out of range");
        let priority = u8::try_from(priority).ok().and_then(Priority::new);
        Ok(Self {
            action_type: type_name(name, action)?,
            priority: priority.ok_or_else(bad)?,
        })
    }

    /// The lanes of these types: every priority of every type, the urgent ones of all types first. Which type comes
    /// first changes from call to call, so that none starves behind another.
    pub(crate) fn of(types: &[ActionTypeName]) -> Vec<Self> {
        let turn = getrandom::u32().map_or(0, |random| usize::try_from(random).unwrap_or(0))
            % types.len().max(1);
        (0..=Priority::MAX)
            .filter_map(Priority::new)
            .flat_map(|priority| {
                types
                    .iter()
                    .cycle()
                    .skip(turn)
                    .take(types.len())
                    .map(move |name| Self {
                        action_type: name.clone(),
                        priority,
                    })
            })
            .collect()
    }
}

impl<'a> Statement<'a> {
    /// Gives the next four parameters: what the rank of each action is made of.
    pub(crate) fn bind_places(self, places: &[Place]) -> Self {
        self.bind::<Array<Nullable<Int8>>, Vec<Option<i64>>>(
            places.iter().map(|place| place.head).collect(),
        )
        .bind::<Array<Int8>, Vec<i64>>(places.iter().map(|place| place.look_from).collect())
        .bind::<Array<Nullable<Int8>>, Vec<Option<i64>>>(
            places.iter().map(|place| place.after).collect(),
        )
        .bind::<Array<Int8>, Vec<i64>>(places.iter().map(|place| place.ahead).collect())
    }

    /// Gives the next four parameters: of each lane its type, its priority, and from where it is read.
    pub(crate) fn bind_lanes(self, lanes: &'a [Lane], floors: &[Floor]) -> Self {
        let types = lanes.iter().map(|lane| lane.action_type.as_str()).collect();
        let priorities = lanes
            .iter()
            .map(|lane| lane.priority.get().into())
            .collect();
        self.bind::<Array<Text>, Vec<&'a str>>(types)
            .bind::<Array<Int2>, Vec<i16>>(priorities)
            .bind::<Array<Int8>, Vec<i64>>(floors.iter().map(|floor| floor.reached).collect())
            .bind::<Array<Int8>, Vec<i64>>(floors.iter().map(|floor| floor.idle_us).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn lanes_are_priorities_first_and_hold_every_type() {
        let types: Vec<_> = ["a", "b", "c"]
            .map(|name| ActionTypeName::parse(name).unwrap())
            .into();
        let lanes = Lane::of(&types);
        assert_eq!(lanes.len(), 30);
        assert!(lanes.is_sorted_by_key(|lane| lane.priority));
        for priority in lanes.chunks(3) {
            let names: HashSet<_> = priority.iter().map(|lane| &lane.action_type).collect();
            assert_eq!(names.len(), 3);
        }
    }
}
