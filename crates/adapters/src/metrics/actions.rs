//! What becomes of actions.

use std::sync::Arc;
use std::time::Duration;

use deed_domain::action::Status;
use deed_domain::action::state::RetryReason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::types::ByType;
use super::{Label, counters, slow};

type TypeLabel = [(&'static str, String); 1];
type OutcomeLabels = [(&'static str, String); 2];

const TYPE: &str = "type";
const OUTCOME: &str = "outcome";
const REASON: &str = "reason";

#[derive(Debug)]
pub(crate) struct ActionMetrics {
    types: ByType<TypeHandles>,
    submitted: Family<TypeLabel, Counter>,
    finished: Family<OutcomeLabels, Counter>,
    attempts: Family<TypeLabel, Counter>,
    duration: Family<TypeLabel, Histogram, fn() -> Histogram>,
    queue_wait: Family<TypeLabel, Histogram, fn() -> Histogram>,
    retries: Family<Label, Counter>,
    takeovers: Family<Label, Counter>,
    leases_lost: Counter,
    events: Counter,
}

impl Default for ActionMetrics {
    fn default() -> Self {
        let slow: fn() -> Histogram = slow;
        Self {
            types: ByType::default(),
            submitted: Family::default(),
            finished: Family::default(),
            attempts: Family::default(),
            duration: Family::new_with_constructor(slow),
            queue_wait: Family::new_with_constructor(slow),
            retries: counters(REASON, &RetryReason::ALL.map(RetryReason::as_str)),
            takeovers: counters(
                REASON,
                &[RetryReason::LeaseExpired, RetryReason::AttemptTimeout].map(RetryReason::as_str),
            ),
            leases_lost: Counter::default(),
            events: Counter::default(),
        }
    }
}

/// The handles of one type.
#[derive(Debug)]
struct TypeHandles {
    submitted: Counter,
    succeeded: Counter,
    failed: Counter,
    cancelled: Counter,
    attempts: Counter,
    duration: Histogram,
    queue_wait: Histogram,
}

impl ActionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "actions_submitted",
            "Actions accepted by this replica",
            self.submitted.clone(),
        );
        registry.register(
            "actions_finished",
            "Actions whose end this replica has recorded",
            self.finished.clone(),
        );
        registry.register(
            "action_attempts",
            "Attempts begun: leases that this replica has granted",
            self.attempts.clone(),
        );
        registry.register_with_unit(
            "action_attempt_duration",
            "How long attempts took, from the grant of the lease until their end was recorded",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "action_queue_wait",
            "How long actions that could be claimed waited for a performer",
            Unit::Seconds,
            self.queue_wait.clone(),
        );
        registry.register(
            "action_retries",
            "Attempts that ended and were followed by another, by reason",
            self.retries.clone(),
        );
        registry.register(
            "lease_takeovers",
            "Actions that were taken from their performer, by reason",
            self.takeovers.clone(),
        );
        registry.register(
            "leases_lost",
            "Writes that were refused because their lease was lost",
            self.leases_lost.clone(),
        );
        registry.register(
            "events_appended",
            "Events appended to the logs of actions",
            self.events.clone(),
        );
    }

    pub(crate) fn submitted(&self, name: &str) {
        self.handles(name).submitted.inc();
        self.events.inc();
    }

    /// A lease was granted, some time after the action could be claimed.
    pub(crate) fn granted(&self, name: &str, waited: Duration) {
        let handles = self.handles(name);
        handles.attempts.inc();
        handles.queue_wait.observe(waited.as_secs_f64());
        self.events.inc();
    }

    /// A performer's attempt has ended, whatever came of it.
    pub(crate) fn attempted(&self, name: &str, took: Duration) {
        self.handles(name).duration.observe(took.as_secs_f64());
    }

    pub(crate) fn finished(&self, name: &str, status: Status) {
        let handles = self.handles(name);
        match status {
            Status::Succeeded => {
                handles.succeeded.inc();
            }
            Status::Failed => {
                handles.failed.inc();
            }
            Status::Cancelled => {
                handles.cancelled.inc();
            }
            // None of these is an end.
            Status::Scheduled | Status::Queued | Status::Running => {}
        }
    }

    pub(crate) fn retried(&self, reason: RetryReason) {
        self.retries
            .get_or_create(&[(REASON, reason.as_str())])
            .inc();
    }

    pub(crate) fn taken_over(&self, reason: RetryReason) {
        self.takeovers
            .get_or_create(&[(REASON, reason.as_str())])
            .inc();
    }

    pub(crate) fn lost(&self, leases: usize) {
        self.leases_lost.inc_by(u64::try_from(leases).unwrap_or(0));
    }

    pub(crate) fn appended(&self, events: usize) {
        self.events.inc_by(u64::try_from(events).unwrap_or(0));
    }

    pub(super) fn pretend(&self, name: &str) {
        self.submitted(name);
        self.granted(name, Duration::ZERO);
        self.attempted(name, Duration::ZERO);
        self.finished(name, Status::Succeeded);
    }

    fn handles(&self, name: &str) -> Arc<TypeHandles> {
        self.types.of(name, |label| {
            let labels = [(TYPE, label.to_owned())];
            let finished = |status: Status| {
                self.finished.get_or_create_owned(&[
                    (TYPE, label.to_owned()),
                    (OUTCOME, status.as_str().to_owned()),
                ])
            };
            TypeHandles {
                submitted: self.submitted.get_or_create_owned(&labels),
                succeeded: finished(Status::Succeeded),
                failed: finished(Status::Failed),
                cancelled: finished(Status::Cancelled),
                attempts: self.attempts.get_or_create_owned(&labels),
                duration: self.duration.get_or_create_owned(&labels),
                queue_wait: self.queue_wait.get_or_create_owned(&labels),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exported;

    #[test]
    fn an_action_is_counted_on_its_way_under_its_type() {
        let metrics = ActionMetrics::default();
        metrics.submitted("echo");
        metrics.granted("echo", Duration::from_millis(20));
        metrics.attempted("echo", Duration::from_secs(2));
        metrics.finished("echo", Status::Failed);
        metrics.finished("echo", Status::Running);
        metrics.appended(3);
        let text = exported(|registry| metrics.register(registry));
        for line in [
            "actions_submitted_total{type=\"echo\"} 1",
            "actions_finished_total{type=\"echo\",outcome=\"failed\"} 1",
            "actions_finished_total{type=\"echo\",outcome=\"succeeded\"} 0",
            "actions_finished_total{type=\"echo\",outcome=\"cancelled\"} 0",
            "action_attempts_total{type=\"echo\"} 1",
            "action_attempt_duration_seconds_sum{type=\"echo\"} 2.0",
            "action_queue_wait_seconds_count{type=\"echo\"} 1",
            "action_retries_total{reason=\"lease_expired\"} 0",
            "events_appended_total 5",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}:\n{text}");
        }
    }

    #[test]
    fn types_beyond_the_bound_share_one_label() {
        let metrics = ActionMetrics::default();
        for n in 0..1_000 {
            metrics.submitted(&format!("type-{n}"));
        }
        let text = exported(|registry| metrics.register(registry));
        let series = text.matches("actions_submitted_total{").count();
        assert_eq!(series, 201, "200 and the others");
        assert!(text.contains("actions_submitted_total{type=\"other\"} 800\n"));
    }
}
