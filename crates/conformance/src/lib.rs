//! What every adapter of a port must do, as suites that depend on the domain alone.
//!
//! An adapter crate implements [`Store`] for its own and says [`suites!`] in an integration test; each case
//! becomes a test with a store of its own.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite of tests may panic"
)]

use std::sync::Arc;

use async_trait::async_trait;
use deed_domain::ports::{
    ActionReader, ActionTypes, ApiKeyRepository, AuditLog, Authenticator, Clock, Erasure, EventLog,
    Ids, Leases, StreamTickets, Submissions, UserRepository, Wakeups,
};

pub mod action_types;
pub mod api_keys;
pub mod authenticator;
pub mod checkpoints;
pub mod erasure;
mod fixtures;
pub mod key_limits;
pub mod leases;
pub mod model;
pub mod reading;
pub mod slots;
pub mod stream_tickets;
pub mod submissions;
pub mod time_limits;
pub mod users;
pub mod wakeups;

/// The root key that [`Ports::authenticator`] has to know.
pub const ROOT_KEY: &str = "root-key-of-the-conformance-suites";

/// The ports of one replica over a store.
#[expect(missing_docs, reason = "each is the port of its name")]
#[derive(Clone)]
pub struct Ports {
    pub users: Arc<dyn UserRepository>,
    pub api_keys: Arc<dyn ApiKeyRepository>,
    pub authenticator: Arc<dyn Authenticator>,
    pub stream_tickets: Arc<dyn StreamTickets>,
    pub audit_log: Arc<dyn AuditLog>,
    pub erasure: Arc<dyn Erasure>,
    pub action_types: Arc<dyn ActionTypes>,
    pub submissions: Arc<dyn Submissions>,
    pub action_reader: Arc<dyn ActionReader>,
    pub event_log: Arc<dyn EventLog>,
    pub leases: Arc<dyn Leases>,
    pub wakeups: Arc<dyn Wakeups>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
}

/// How well a replica hears the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// As it should.
    Good,
    /// Every hint from another replica is lost.
    Deaf,
}

/// A store under test.
#[async_trait]
pub trait Store: Send + Sync + Sized {
    /// A store with nothing in it. It vanishes when it is dropped.
    async fn fresh() -> Self;

    /// The ports of a replica over it, another one at each call, with whatever it needs running in the background.
    async fn replica(&self, hearing: Hearing) -> Ports;
}

/// Makes a test of each case of each suite, over a type that implements [`Store`]: `suites!(MyStore);` in an
/// integration test of a crate with tokio.
#[macro_export]
macro_rules! suites {
    ($store:ident) => {
        $crate::suite!($store, users: [
            a_registered_user_is_found_as_it_was_registered,
            an_address_is_registered_once,
            an_external_id_is_given_once,
            of_many_at_once_one_gets_the_address,
            a_repeated_request_is_answered_with_its_user,
            a_reused_key_is_refused,
            requests_that_race_with_one_key_make_one_user,
            a_refused_registration_leaves_its_key_free,
            lists_are_newest_first_and_paged,
            filters_are_exact,
            a_change_changes_what_it_says,
            a_change_of_nothing_is_none,
            a_change_cannot_take_what_is_anothers,
            a_change_depends_on_the_version,
            of_many_changes_of_one_version_one_is_made,
            every_change_has_its_version,
            changes_leave_audit_events,
            a_deleted_user_is_found_nowhere,
            what_a_deleted_user_was_known_by_is_free,
            a_repeated_registration_brings_no_deleted_user_back,
            no_key_outlives_its_user,
        ]);
        $crate::suite!($store, erasure: [
            belongings_are_counted,
            who_is_not_deleted_loses_nothing,
            what_a_deleted_user_left_behind_is_removed,
            a_running_action_of_a_deleted_user_is_lost,
            nobody_reads_a_part_of_an_action,
            late_arrivals_are_removed_too,
            erasers_do_not_meet,
        ]);
        $crate::suite!($store, api_keys: [
            an_issued_key_is_found_as_it_was_issued,
            nobody_gets_no_key,
            anothers_key_is_out_of_reach,
            keys_are_listed_newest_first,
            a_key_is_revoked_once,
            audit_events_tell_who_did_it,
        ]);
        $crate::suite!($store, authenticator: [
            a_secret_tells_its_bearer,
            the_root_key_may_everything,
            what_is_no_secret_is_nobodys,
            an_expired_key_is_nobodys,
            a_key_expires_even_while_it_is_remembered,
            a_revoked_key_is_nobodys_everywhere,
            a_disabled_users_key_is_nobodys,
            a_deleted_users_key_is_nobodys_everywhere,
            acting_for_a_disabled_user_ends,
        ]);
        $crate::suite!($store, stream_tickets: [
            a_ticket_stands_for_its_caller_once,
            of_many_who_take_a_ticket_one_gets_it,
            a_ticket_is_for_one_action,
            what_is_out_of_reach_gets_no_ticket,
            a_ticket_lives_no_longer_than_its_key,
            a_ticket_of_a_caller_who_is_refused_is_nobodys,
            a_ticket_of_the_root_key_stands_for_it,
            a_user_has_a_bounded_number_of_tickets,
        ]);
        $crate::suite!($store, action_types: [
            a_registered_type_is_found_as_it_was_registered,
            types_are_listed_by_name,
            types_are_found_by_their_names,
            replicas_register_side_by_side,
            a_type_of_workers_is_defined_and_replaced,
            a_handlers_type_is_left_alone,
            a_removed_type_takes_no_action,
            removing_races_with_submitting,
        ]);
        $crate::suite!($store, submissions: [
            an_accepted_action_is_queued_as_it_was_asked_for,
            an_action_of_the_root_key_has_no_key,
            an_action_of_the_future_is_scheduled,
            an_unknown_type_is_refused,
            a_key_stands_for_one_request,
            requests_that_race_with_one_key_make_one_action,
            a_batch_is_accepted_whole,
            a_batch_with_an_unknown_type_leaves_nothing,
            a_key_stands_for_one_batch,
            batches_that_race_with_one_key_make_one,
            batches_race_with_removing_their_type,
            a_waiting_action_is_cancelled_at_once,
            a_running_action_is_asked_to_stop,
            what_is_out_of_reach_is_not_cancelled,
            cancelling_races_with_performing,
        ]);
        $crate::suite!($store, key_limits: [
            no_more_of_a_key_wait_than_may,
            keys_are_counted_apart,
            a_full_queue_still_answers_what_it_has_accepted,
            a_batch_counts_whole,
            what_goes_back_to_the_queue_waits_again,
            requests_that_race_pass_the_limit_by_no_more_than_are_on_their_way,
        ]);
        $crate::suite!($store, reading: [
            what_is_out_of_reach_is_not_found,
            many_are_found_as_far_as_they_are_in_reach,
            lists_are_newest_first_and_paged,
            lists_can_be_of_one_status,
            lists_can_be_of_one_type_and_time,
            a_log_is_read_from_any_position,
            large_entries_come_in_small_pages,
            payloads_come_back_as_they_came_in,
            entries_carry_their_time,
        ]);
        $crate::suite!($store, leases: [
            a_claim_grants_what_was_asked_for,
            a_lease_is_as_long_as_its_type_says,
            claims_go_by_priority_then_age,
            claims_are_of_the_types_asked_for,
            no_action_is_granted_twice,
            an_append_is_written_once,
            messages_of_earlier_attempts_are_counted,
            an_append_out_of_order_is_refused,
            one_bad_item_does_not_fail_its_neighbours,
            an_action_is_finished_with_its_last_events,
            an_end_is_recorded_once,
            an_end_out_of_order_is_refused,
            a_requeued_action_waits_for_its_pause,
            a_requeued_action_without_a_pause_is_queued,
            the_last_attempt_is_not_requeued,
            a_released_action_has_lost_no_attempt,
            a_released_action_is_cancelled_if_that_was_asked_for,
            a_lease_tells_how_it_stands,
            a_heartbeat_renews_and_tells_of_a_cancel,
            a_lease_beyond_reach_looks_lost,
            a_heartbeat_tells_the_end_from_a_loss,
            an_expired_lease_is_taken_away,
            an_expired_last_attempt_has_failed,
            an_expired_cancelled_action_is_cancelled,
            an_overrun_attempt_is_taken_away,
            rescuers_do_not_meet,
            a_lost_lease_writes_nothing,
            a_scheduled_action_is_queued_in_time,
        ]);
        $crate::suite!($store, slots: [
            slots_are_filled_one_lease_each,
            a_request_finds_its_leases_again,
            an_expired_lease_is_not_found_again,
            a_request_is_granted_once,
            types_that_wait_are_told,
        ]);
        $crate::suite!($store, checkpoints: [
            a_checkpoint_goes_to_the_next_attempt,
            a_checkpoint_takes_the_place_of_the_one_before,
            a_checkpoint_is_kept_with_its_events_or_not_at_all,
            a_lost_lease_leaves_no_checkpoint,
            a_large_checkpoint_comes_back,
        ]);
        $crate::suite!($store, time_limits: [
            a_time_limit_counts_from_when_an_action_could_begin,
            a_time_limit_is_of_all_attempts_together,
            a_waiting_action_is_given_up,
            a_backing_off_action_is_given_up,
            a_running_action_is_given_up,
            a_pause_beyond_the_limit_ends_the_action,
            a_back_off_beyond_the_limit_ends_the_action,
        ]);
        $crate::suite!($store, wakeups: [
            own_commits_wake_at_once,
            every_step_of_a_life_wakes,
            another_replica_hears_of_commits,
            a_deaf_replica_finds_out_by_itself,
            identities_that_end_are_told_of,
            watchers_come_and_go,
        ]);
    };
}

/// One module of tests.
#[doc(hidden)]
#[macro_export]
macro_rules! suite {
    ($store:ident, $suite:ident: [$($case:ident),+ $(,)?]) => {
        mod $suite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let store = <super::$store as $crate::Store>::fresh().await;
                    $crate::$suite::$case(&store).await;
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    /// A case that nobody lists would never run.
    #[test]
    fn every_case_is_listed() {
        let list = include_str!("lib.rs");
        let suites = [
            include_str!("users.rs"),
            include_str!("api_keys.rs"),
            include_str!("authenticator.rs"),
            include_str!("erasure.rs"),
            include_str!("action_types.rs"),
            include_str!("submissions.rs"),
            include_str!("key_limits.rs"),
            include_str!("reading.rs"),
            include_str!("leases.rs"),
            include_str!("slots.rs"),
            include_str!("checkpoints.rs"),
            include_str!("time_limits.rs"),
            include_str!("wakeups.rs"),
        ];
        let mut count = 0;
        for suite in suites {
            for line in suite.lines() {
                if let Some(rest) = line.strip_prefix("pub async fn ") {
                    let (case, _) = rest.split_once('(').unwrap();
                    assert!(
                        list.contains(&format!("            {case},\n")),
                        "{case} is not listed"
                    );
                    count += 1;
                }
            }
        }
        assert!(count > 50);
    }
}
