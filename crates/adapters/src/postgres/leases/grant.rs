//! Granting leases: from the queue, for one performer or many, and to those who ask again.

use std::collections::{HashMap, HashSet};

use deed_domain::action::{ActionTypeName, Grant, LeaseRequest};
use deed_domain::error::StoreError;
use deed_domain::ports::{Filled, Slot};
use diesel::QueryableByName;
use diesel::data_types::PgInterval;
use diesel::sql_types::{
    Array, Binary, Bool, Int2, Int4, Interval, Nullable, Text, Uuid as SqlUuid,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{GrantRow, PgLeases, count, interval, microseconds};
use crate::postgres::error::{BadRow, DbError};
use crate::postgres::lanes::{Lane, Look};
use crate::postgres::pool::{Access, Database};
use crate::postgres::statement::Statement;

/// Lets one of two through that grant leases for one request at a time.
const BY_REQUEST: &str = "action_leases_by_request";
/// How often it is tried to fill slots of which others fill some.
const TRIES: u32 = 3;

#[derive(QueryableByName)]
struct ReadyRow {
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
}

#[derive(QueryableByName)]
struct BelowRow {
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Int2)]
    priority: i16,
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
}

#[derive(QueryableByName)]
struct GrantedRow {
    #[diesel(sql_type = Binary)]
    request: Vec<u8>,
    #[diesel(sql_type = Bool)]
    holds: bool,
    #[diesel(embed)]
    grant: GrantRow,
}

impl PgLeases {
    /// Grants leases to `slots`, the first one first; answers to which.
    pub(super) async fn grant(
        &self,
        types: &[ActionTypeName],
        slots: &[(i16, &Slot)],
    ) -> Result<Vec<(usize, Grant)>, DbError> {
        if types.is_empty() || slots.is_empty() {
            return Ok(Vec::new());
        }
        let lanes = Lane::of(types);
        let began = Instant::now();
        let known = &self.database.lanes().floors;
        let floors = known.of(&lanes, began);
        let statement = Statement::new(include_str!("../sql/claim.sql"))
            .bind_lanes(&lanes, &floors)
            .bind::<Int4, _>(count(slots.len()))
            .bind::<Array<Text>, Vec<String>>(
                slots
                    .iter()
                    .map(|(_, slot)| slot.worker.replace('\0', ""))
                    .collect(),
            )
            .bind::<Array<Nullable<Interval>>, Vec<Option<PgInterval>>>(
                slots
                    .iter()
                    .map(|(_, slot)| slot.lease.map(interval))
                    .collect(),
            )
            .bind::<Array<Nullable<Binary>>, Vec<Option<&[u8]>>>(
                slots
                    .iter()
                    .map(|(_, slot)| Some(slot.request.as_ref()?.as_bytes().as_slice()))
                    .collect(),
            )
            .bind::<Array<Nullable<Int2>>, Vec<Option<i16>>>(
                slots
                    .iter()
                    .map(|(place, slot)| slot.request.map(|_| *place))
                    .collect(),
            );
        let rows: Vec<GrantRow> = self.database.rows(Access::Write, &statement).await?;
        let claimed = claimed(&rows)?;
        known.learn(&lanes, &floors, slots.len(), &claimed, began);
        self.look_below_the_floors();
        let mut granted = Vec::with_capacity(rows.len());
        for row in rows {
            self.metrics()
                .granted(&row.action_type, microseconds(row.waited_us));
            self.log_grew(row.action_id, row.next_seq.saturating_sub(1))?;
            let slot = usize::try_from(row.place.saturating_sub(1))
                .map_err(|problem| BadRow::new("action_leases", "place", row.action_id, problem))?;
            granted.push((slot, Grant::try_from(row)?));
        }
        Ok(granted)
    }

    /// Looks for what claims pass by, if that is due, while they go on.
    fn look_below_the_floors(&self) {
        let now = Instant::now();
        if !self.database.lanes().floors.is_look_due(now) {
            return;
        }
        let (database, hub) = (self.database.clone(), self.hub.clone());
        tokio::spawn(async move {
            let Some(look) = database.lanes().floors.look(now) else {
                return;
            };
            match below(&database, &look).await {
                Ok(lanes) if lanes.is_empty() => {}
                Ok(lanes) => {
                    look.found(lanes);
                    hub.queue_grew();
                }
                Err(error) => {
                    log::debug!(error:err = error; "nobody knows what waits below the floors");
                }
            }
        });
    }

    pub(super) async fn fill_slots(
        &self,
        types: &[ActionTypeName],
        slots: &[Slot],
    ) -> Result<Vec<Filled>, StoreError> {
        let mut open: Vec<(usize, i16, &Slot)> = numbered(slots);
        let mut filled = Vec::new();
        for _ in 0..TRIES {
            let asked: Vec<(i16, &Slot)> =
                open.iter().map(|(_, nth, slot)| (*nth, *slot)).collect();
            match self.grant(types, &asked).await {
                Ok(granted) => {
                    filled.extend(granted.into_iter().filter_map(|(place, grant)| {
                        let (slot, _, _) = open.get(place)?;
                        Some(Filled {
                            slot: *slot,
                            grant,
                            is_repeat: false,
                        })
                    }));
                    break;
                }
                Err(error) if error.is_constraint(BY_REQUEST) => {
                    filled.extend(self.granted_elsewhere(&mut open).await?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    /// What others have granted to the requests of these slots, which are filled with it.
    async fn granted_elsewhere(
        &self,
        open: &mut Vec<(usize, i16, &Slot)>,
    ) -> Result<Vec<Filled>, StoreError> {
        let requests: HashSet<LeaseRequest> = open
            .iter()
            .filter_map(|(_, _, slot)| slot.request)
            .collect();
        let requests: Vec<LeaseRequest> = requests.into_iter().collect();
        let mut filled = Vec::new();
        let mut taken = HashSet::new();
        for (request, grant) in self.leases_of(&requests).await? {
            // What has run out holds its place until it is taken away.
            taken.insert(request);
            let Some(grant) = grant else { continue };
            let slot = open
                .iter()
                .find(|(_, _, slot)| slot.request == Some(request));
            if let Some((slot, _, _)) = slot {
                filled.push(Filled {
                    slot: *slot,
                    grant,
                    is_repeat: true,
                });
            }
        }
        open.retain(|(_, _, slot)| slot.request.is_none_or(|request| !taken.contains(&request)));
        Ok(filled)
    }

    pub(super) async fn granted_to(
        &self,
        requests: &[LeaseRequest],
    ) -> Result<Vec<(LeaseRequest, Grant)>, StoreError> {
        let leases = self.leases_of(requests).await?.into_iter();
        Ok(leases
            .filter_map(|(request, grant)| Some((request, grant?)))
            .collect())
    }

    /// The leases of these requests; `None` is one that has run out.
    async fn leases_of(
        &self,
        requests: &[LeaseRequest],
    ) -> Result<Vec<(LeaseRequest, Option<Grant>)>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let statement = Statement::new(include_str!("../sql/granted.sql"))
            .bind::<Array<Binary>, Vec<&[u8]>>(
                requests
                    .iter()
                    .map(|request| request.as_bytes().as_slice())
                    .collect(),
            );
        let rows: Vec<GrantedRow> = self.database.rows(Access::Read, &statement).await?;
        rows.into_iter()
            .map(|row| {
                let GrantedRow {
                    request,
                    holds,
                    grant,
                } = row;
                let request: [u8; 32] = request.try_into().map_err(|_| {
                    BadRow::new("action_leases", "request", grant.action_id, "not a hash")
                })?;
                let grant = holds.then(|| Grant::try_from(grant)).transpose()?;
                Ok((LeaseRequest::from_bytes(request), grant))
            })
            .collect()
    }

    pub(super) async fn types_ready(
        &self,
        types: &[ActionTypeName],
    ) -> Result<Vec<ActionTypeName>, StoreError> {
        if types.is_empty() {
            return Ok(Vec::new());
        }
        let lanes = Lane::of(types);
        let floors = self.database.lanes().floors.of(&lanes, Instant::now());
        let statement =
            Statement::new(include_str!("../sql/ready.sql")).bind_lanes(&lanes, &floors);
        let rows: Vec<ReadyRow> = self.database.rows(Access::Read, &statement).await?;
        let names: HashSet<String> = rows.into_iter().map(|row| row.action_type).collect();
        let mut ready = types.to_vec();
        ready.retain(|name| names.contains(name.as_str()));
        Ok(ready)
    }
}

/// The lanes that have something below their floors.
async fn below(database: &Database, look: &Look<'_>) -> Result<Vec<Lane>, DbError> {
    let statement =
        Statement::new(include_str!("../sql/below.sql")).bind_lanes(&look.lanes, &look.floors);
    let rows: Vec<BelowRow> = database.rows(Access::Read, &statement).await?;
    let lanes = rows
        .iter()
        .map(|row| Lane::from_row(&row.action_type, row.priority, row.action_id));
    Ok(lanes.collect::<Result<_, _>>()?)
}

/// How many were claimed of each lane, and the highest rank among them.
fn claimed(rows: &[GrantRow]) -> Result<HashMap<Lane, (usize, i64)>, BadRow> {
    let mut claimed = HashMap::new();
    for row in rows {
        let lane = Lane::from_row(&row.action_type, row.priority, row.action_id)?;
        let (count, rank) = claimed.entry(lane).or_insert((0_usize, row.rank));
        *count += 1;
        *rank = row.rank.max(*rank);
    }
    Ok(claimed)
}

/// Each with its place, and which of its request's slots it is.
fn numbered(slots: &[Slot]) -> Vec<(usize, i16, &Slot)> {
    let mut nth: HashMap<LeaseRequest, i16> = HashMap::new();
    slots
        .iter()
        .enumerate()
        .map(|(place, slot)| {
            let nth = slot.request.map_or(1, |request| {
                let nth = nth.entry(request).or_default();
                *nth = nth.saturating_add(1);
                *nth
            });
            (place, nth, slot)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_of_a_request_are_counted_apart() {
        let slot = |request: Option<u8>| Slot {
            worker: "w".to_owned(),
            lease: None,
            request: request.map(|byte| LeaseRequest::from_bytes([byte; 32])),
        };
        let slots = [Some(1), None, Some(2), Some(1), None].map(slot);
        let numbered: Vec<_> = numbered(&slots)
            .into_iter()
            .map(|(place, nth, _)| (place, nth))
            .collect();
        assert_eq!(numbered, [(0, 1), (1, 1), (2, 1), (3, 2), (4, 1)]);
    }
}
