//! Plays what performers do.

use std::collections::{BTreeSet, HashSet};

use chrono::TimeDelta;
use deed_domain::action::{ActionTypeName, Grant, LeaseRef, LeaseRequest, Outcome};
use deed_domain::id::ActionId;
use deed_domain::ports::{
    Append, Appended, Beat, ClaimRequest, Finish, HeartbeatVerdict, Requeue, Slot,
};
use proptest::test_runner::{TestCaseError, TestCaseResult};
use proptest::{prop_assert, prop_assert_eq};

use super::Workbench;
use super::command::{Again, End, How, Pick, Place, Report, Types};
use super::names::around;
use super::play::{Case, answer, check_near, hours};
use super::reference::{Appending, HOUR, Life, Minutes};
use crate::fixtures::{json, seq};

impl<S: Workbench> Case<'_, S> {
    pub(super) async fn claim(
        &mut self,
        types: &[u8],
        max: usize,
        lease: Option<u8>,
    ) -> TestCaseResult {
        let types = self.type_names(types);
        let request = ClaimRequest {
            types: types.clone(),
            max,
            worker: "worker-1".to_owned(),
            lease: lease.map(hours),
        };
        let grants = answer(self.ports().leases.claim(&request).await)?;
        let granted: Vec<(Grant, Option<u8>)> =
            grants.into_iter().map(|grant| (grant, lease)).collect();
        self.take(&types, max, &granted)
    }

    pub(super) async fn fill(&mut self, types: &[u8], places: &[Place]) -> TestCaseResult {
        let types = self.type_names(types);
        let mut requests = [(); 2].map(|()| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(&self.ports().ids.random_bytes()[..32]);
            (LeaseRequest::from_bytes(bytes), Vec::new())
        });
        let slots: Vec<Slot> = places
            .iter()
            .map(|place| Slot {
                worker: "worker-2".to_owned(),
                lease: place.lease.map(hours),
                request: place.request.map(|which| requests[usize::from(which)].0),
            })
            .collect();
        let mut filled = answer(self.ports().leases.fill(&types, &slots).await)?;
        filled.sort_by_key(|one| one.slot);
        let used: Vec<usize> = filled.iter().map(|one| one.slot).collect();
        prop_assert_eq!(
            &used,
            &(0..used.len()).collect::<Vec<_>>(),
            "the first first"
        );
        prop_assert!(filled.iter().all(|one| !one.is_repeat));
        for one in &filled {
            if let Some(which) = places[one.slot].request {
                requests[usize::from(which)].1.push(one.grant.lease.id);
            }
        }
        let answered = requests
            .into_iter()
            .filter(|(_, leases)| !leases.is_empty());
        self.requests.extend(answered);
        let granted: Vec<(Grant, Option<u8>)> = filled
            .into_iter()
            .map(|one| (one.grant, places[one.slot].lease))
            .collect();
        self.take(&types, slots.len(), &granted)
    }

    /// Leases were granted, each for so many hours or as its type says.
    pub(super) fn take(
        &mut self,
        types: &[ActionTypeName],
        max: usize,
        granted: &[(Grant, Option<u8>)],
    ) -> TestCaseResult {
        let taken: Vec<ActionId> = granted
            .iter()
            .map(|(grant, _)| grant.lease.id.action_id)
            .collect();
        let max = if types.is_empty() { 0 } else { max };
        self.model
            .check_claim(types, max, &taken)
            .map_err(TestCaseError::fail)?;
        for (grant, lease) in granted {
            self.saw("claim with checkpoint", &grant.checkpoint);
            let id = grant.lease.id;
            let is_new = self
                .leases
                .iter()
                .all(|known| known.lease_id != id.lease_id);
            prop_assert!(is_new, "a lease is granted once");
            self.leases.push(id);
            let length = lease.map(|hours| Minutes::from(hours) * HOUR);
            self.model.grant(id, length);
            self.check_grant(grant)?;
        }
        Ok(())
    }

    pub(super) async fn granted(&mut self, request: u8) -> TestCaseResult {
        let Some((request, leases)) = around(&self.requests, request) else {
            return Ok(());
        };
        let now = self.model.now();
        let held: Vec<LeaseRef> = leases
            .iter()
            .filter(|lease| {
                let life = &self.model.lives[&lease.action_id];
                life.is_held_by(lease.lease_id) && !life.is_late(now)
            })
            .copied()
            .collect();
        let found = answer(self.ports().leases.granted(&[*request]).await)?;
        let again: Vec<(LeaseRequest, LeaseRef)> = found
            .iter()
            .map(|(request, grant)| (*request, grant.lease.id))
            .collect();
        let expected: Vec<_> = held.into_iter().map(|lease| (*request, lease)).collect();
        prop_assert_eq!(again, expected);
        for (_, grant) in &found {
            self.saw("granted", grant);
            self.check_grant(grant)?;
        }
        Ok(())
    }

    pub(super) async fn heartbeat(&mut self, picks: &[Pick], types: Types) -> TestCaseResult {
        let mut known = HashSet::new();
        let mut leases = self.picked(picks);
        leases.retain(|lease| known.insert(*lease));
        let reach = self.types(types);
        let beats: Vec<Beat> = leases
            .iter()
            .map(|lease| Beat {
                lease: *lease,
                reach: reach.clone(),
            })
            .collect();
        let found = answer(self.stage.heart().leases.heartbeat(&beats).await)?;
        prop_assert_eq!(found.len(), beats.len());
        for (beat, found) in beats.iter().zip(found) {
            self.saw("heartbeat", &found);
            let now = self.model.now();
            let has_ended = self.model.has_ended(beat.lease, &beat.reach);
            let expected = self
                .model
                .renew(beat.lease, &beat.reach)
                .map(|life| (life.cancel_requested(), tenure(life).0 - now));
            match (found, expected) {
                (HeartbeatVerdict::Lost, None) if !has_ended => {}
                (HeartbeatVerdict::Finished, None) if has_ended => {}
                (
                    HeartbeatVerdict::Held {
                        expires_at,
                        cancel_requested,
                    },
                    Some((is_asked, length)),
                ) => {
                    prop_assert_eq!(cancel_requested, is_asked);
                    self.check_time(expires_at, length, "until when it holds")?;
                }
                (found, expected) => {
                    let lease = beat.lease;
                    prop_assert!(false, "{:?}, and not {:?}: {:?}", found, expected, lease);
                }
            }
        }
        // A heartbeat leaves no other trace than how long a lease holds: also one that was refused.
        let actions = leases.iter().map(|lease| lease.action_id);
        let known = actions.filter(|id| self.model.lives.contains_key(id));
        let known: BTreeSet<ActionId> = known.collect();
        let known: Vec<ActionId> = known.into_iter().collect();
        self.look_at_holders(&known).await
    }

    pub(super) async fn append(&mut self, reports: &[Report], types: Types) -> TestCaseResult {
        let mut appends = Vec::new();
        for (place, (report, lease)) in self
            .apart(reports, |report| report.lease)
            .into_iter()
            .enumerate()
        {
            let checkpoint = format!("{{\"checkpoint\":\"{}.{place}\"}}", self.steps);
            appends.push(Append {
                lease,
                from_seq: seq(self.position(lease, report.from)),
                events: self.events(place, report.events),
                checkpoint: report.has_checkpoint.then(|| json(&checkpoint)),
            });
        }
        let reach = self.types(types);
        let found = answer(self.ports().leases.append(&appends, &reach).await)?;
        let mut expected = Vec::new();
        for append in &appends {
            let lease = append.lease;
            let verdict = self.model.append(
                lease,
                append.from_seq.get(),
                &append.events,
                append.checkpoint.as_ref(),
                &reach,
            );
            self.saw("append", &verdict);
            let next = self
                .model
                .lives
                .get(&lease.action_id)
                .map(|life| (seq(life.next_seq()), life.cancel_requested()));
            expected.push(match (verdict, next) {
                (Appending::Lost, _) | (_, None) => Appended::Lost,
                (Appending::OutOfOrder, Some((next_seq, _))) => Appended::OutOfOrder { next_seq },
                (Appending::Written | Appending::Repeated, Some((next_seq, cancel_requested))) => {
                    Appended::Written {
                        next_seq,
                        cancel_requested,
                    }
                }
            });
        }
        prop_assert_eq!(found, expected, "{:?}", appends);
        Ok(())
    }

    pub(super) async fn finish(&mut self, ends: &[End]) -> TestCaseResult {
        let finishes: Vec<Finish> = self
            .apart(ends, |end| end.lease)
            .into_iter()
            .enumerate()
            .map(|(place, (end, lease))| Finish {
                lease,
                from_seq: end.from.map(|from| seq(self.position(lease, from))),
                events: self.events(place, end.events),
                outcome: match end.outcome {
                    How::Succeeded => Outcome::Succeeded(self.text(place, "output")),
                    How::Failed => Outcome::Failed(self.error(place)),
                    How::Cancelled => Outcome::Cancelled,
                },
            })
            .collect();
        let found = answer(self.ports().leases.finish(&finishes).await)?;
        let expected: Vec<_> = finishes
            .iter()
            .map(|finish| {
                let from = finish.from_seq.map(|from| from.get());
                self.model
                    .finish(finish.lease, from, &finish.events, &finish.outcome)
            })
            .collect();
        for verdict in &found {
            self.saw("finish", verdict);
        }
        prop_assert_eq!(found, expected, "{:?}", finishes);
        Ok(())
    }

    pub(super) async fn requeue(&mut self, agains: &[Again]) -> TestCaseResult {
        let apart = self.apart(agains, |again| again.lease);
        let requeues: Vec<Requeue> = apart
            .iter()
            .enumerate()
            .map(|(place, (again, lease))| Requeue {
                lease: *lease,
                pause: hours(again.pause),
                reason: again.reason,
                error: again.has_error.then(|| self.error(place)),
            })
            .collect();
        let found = answer(self.ports().leases.requeue(&requeues).await)?;
        let expected: Vec<_> = requeues
            .iter()
            .zip(&apart)
            .map(|(requeue, (again, lease))| {
                let pause = Minutes::from(again.pause) * HOUR;
                self.model
                    .requeue(*lease, pause, again.reason, requeue.error.clone())
            })
            .collect();
        for verdict in &found {
            self.saw("requeue", verdict);
        }
        prop_assert_eq!(found, expected, "{:?}", requeues);
        Ok(())
    }

    pub(super) async fn release(&mut self, picks: &[Pick]) -> TestCaseResult {
        let leases: Vec<LeaseRef> = self
            .apart(picks, |pick| *pick)
            .into_iter()
            .map(|(_, lease)| lease)
            .collect();
        let found = answer(self.ports().leases.release(&leases).await)?;
        let expected: Vec<_> = leases
            .iter()
            .map(|lease| self.model.release(*lease))
            .collect();
        for verdict in &found {
            self.saw("release", verdict);
        }
        prop_assert_eq!(found, expected, "{:?}", leases);
        Ok(())
    }

    /// A lease that was granted, or is told of again, is as the reference has it.
    pub(super) fn check_grant(&self, grant: &Grant) -> TestCaseResult {
        let now = self.model.now();
        let life = &self.model.lives[&grant.lease.id.action_id];
        let mut expected = grant.clone();
        expected.lease.next_seq = seq(life.next_seq());
        expected.lease.cancel_requested = life.cancel_requested();
        expected.action_type = life.new.action_type.clone();
        expected.user_id = life.new.user_id;
        expected.input = life.new.input.clone();
        expected.attempt = life.attempt;
        expected.max_attempts = life.new.max_attempts;
        expected.checkpoint = life.checkpoint.clone();
        expected.traceparent = life.new.traceparent;
        prop_assert_eq!(grant, &expected);
        let (expires_at, deadline_at) = tenure(life);
        self.check_time(
            grant.lease.expires_at,
            expires_at - now,
            "until when it holds",
        )?;
        self.check_time(grant.lease.deadline_at, deadline_at - now, "its deadline")?;
        prop_assert_eq!(grant.time_left.is_some(), life.give_up_at.is_some());
        if let (Some(found), Some(limit)) = (grant.time_left, life.give_up_at) {
            let found = TimeDelta::from_std(found).unwrap();
            check_near(found, limit - now, "the time left")?;
        }
        Ok(())
    }
}

/// When the lease ends, and when the attempt does.
fn tenure(life: &Life) -> (Minutes, Minutes) {
    let lease = life.lease.as_ref().expect("it is held");
    (lease.expires_at, lease.deadline_at)
}
