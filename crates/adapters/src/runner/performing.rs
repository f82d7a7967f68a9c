//! One performance: what its handler emits and hears.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use deed_domain::action::{Grant, Lease, LeaseRef, NewEvent, Payload, Sequence};
use deed_domain::ports::{Append, Appended, Failure, Performance, Stopped};
use tokio::sync::{Notify, watch};

/// How many events wait to be stored before `emit` waits.
const EVENTS_MAX: usize = 256;
/// How many bytes of them.
const BYTES_MAX: usize = 1024 * 1024;

/// Whether a performance is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// It is.
    No,
    /// Somebody asked to cancel the action.
    Cancelled,
    /// The server stops.
    Draining,
    /// The lease is lost: nothing of it will be stored any more.
    Lost,
}

/// A performance in progress.
pub(super) struct Performing {
    pub(super) lease: LeaseRef,
    buffer: Mutex<Buffer>,
    /// The buffer has room, or a flush has ended.
    room: Notify,
    dirty: Arc<Notify>,
    stop: watch::Sender<Stop>,
}

struct Buffer {
    waiting: VecDeque<NewEvent>,
    bytes: usize,
    /// What the next attempt is to get, if it is not stored yet.
    checkpoint: Option<Payload>,
    /// Something is being stored just now.
    is_flushing: bool,
    next_seq: Sequence,
    is_closed: bool,
    fault: Option<Failure>,
}

impl Performing {
    pub(super) fn new(grant: &Grant, dirty: Arc<Notify>) -> Self {
        Self {
            lease: grant.lease.id,
            buffer: Mutex::new(Buffer {
                waiting: VecDeque::new(),
                bytes: 0,
                checkpoint: None,
                is_flushing: false,
                next_seq: grant.lease.next_seq,
                is_closed: false,
                fault: None,
            }),
            room: Notify::new(),
            dirty,
            stop: watch::Sender::new(Stop::No),
        }
    }

    /// Tells the handler to stop; a weightier reason replaces a lighter one.
    pub(super) fn stop(&self, reason: Stop) {
        self.stop.send_if_modified(|known| {
            let is_new = *known < reason;
            *known = reason.max(*known);
            is_new
        });
        self.room.notify_waiters();
    }

    pub(super) fn stopped(&self) -> Stop {
        *self.stop.borrow()
    }

    /// Returns the reason once there is one weightier than `than`.
    pub(super) async fn stopped_beyond(&self, than: Stop) -> Stop {
        let mut receiver = self.stop.subscribe();
        match receiver.wait_for(|reason| *reason > than).await {
            Ok(reason) => *reason,
            // The sender is `self`.
            Err(_) => Stop::Lost,
        }
    }

    /// What is to be stored next, if anything; until [`Self::flushed`] there is nothing more.
    pub(super) fn next_flush(&self) -> Option<Append> {
        let mut buffer = self.buffer();
        if buffer.is_closed
            || buffer.is_flushing
            || (buffer.waiting.is_empty() && buffer.checkpoint.is_none())
            || self.stopped() == Stop::Lost
        {
            return None;
        }
        buffer.is_flushing = true;
        buffer.bytes = 0;
        // What was emitted since goes along: the log may be ahead of a checkpoint, never behind.
        Some(Append {
            lease: self.lease,
            from_seq: buffer.next_seq,
            events: buffer.waiting.drain(..).collect(),
            checkpoint: buffer.checkpoint.take(),
        })
    }

    /// What came of [`Self::next_flush`].
    pub(super) fn flushed(&self, verdict: Appended) {
        {
            let mut buffer = self.buffer();
            buffer.is_flushing = false;
            if let Appended::Written { next_seq, .. } = verdict {
                buffer.next_seq = next_seq;
            }
        }
        match verdict {
            Appended::Written {
                cancel_requested: true,
                ..
            } => self.stop(Stop::Cancelled),
            Appended::Written {
                cancel_requested: false,
                ..
            } => {}
            Appended::OutOfOrder { .. } | Appended::Lost => self.stop(Stop::Lost),
        }
        self.room.notify_waiters();
    }

    /// Takes in nothing more, waits for a flush under way, and answers where the log goes on and what was not
    /// stored: events, and a checkpoint.
    pub(super) async fn close(&self) -> (Sequence, Vec<NewEvent>, Option<Payload>) {
        loop {
            let flushed = self.room.notified();
            {
                let mut buffer = self.buffer();
                buffer.is_closed = true;
                if !buffer.is_flushing {
                    let unsent = buffer.waiting.drain(..).collect();
                    return (buffer.next_seq, unsent, buffer.checkpoint.take());
                }
            }
            flushed.await;
        }
    }

    /// A rule that the handler broke in what it emitted.
    pub(super) fn fault(&self) -> Option<Failure> {
        self.buffer().fault.clone()
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `event` was taken; `None` while there is no room.
    fn offer(&self, event: &NewEvent) -> Option<Result<(), Stopped>> {
        let mut buffer = self.buffer();
        if buffer.is_closed || self.stopped() == Stop::Lost {
            return Some(Err(Stopped));
        }
        let size = event.data.as_str().len();
        if size > Payload::MAX_BYTES {
            buffer.fault = Some(Failure::permanent(
                "chunk_too_large",
                "A chunk is larger than 1 MiB.",
            ));
            return Some(Err(Stopped));
        }
        let has_room =
            buffer.waiting.len() < EVENTS_MAX && buffer.bytes.saturating_add(size) <= BYTES_MAX;
        if !has_room && !buffer.waiting.is_empty() {
            return None;
        }
        buffer.bytes = buffer.bytes.saturating_add(size);
        buffer.waiting.push_back(event.clone());
        Some(Ok(()))
    }
}

#[async_trait]
impl Performance for Performing {
    async fn emit(&self, event: NewEvent) -> Result<(), Stopped> {
        loop {
            let room = self.room.notified();
            if let Some(taken) = self.offer(&event) {
                if taken.is_ok() {
                    self.dirty.notify_one();
                }
                return taken;
            }
            room.await;
        }
    }

    async fn checkpoint(&self, state: Payload) -> Result<(), Stopped> {
        {
            let mut buffer = self.buffer();
            if buffer.is_closed || self.stopped() == Stop::Lost {
                return Err(Stopped);
            }
            if state.as_str().len() > Lease::CHECKPOINT_MAX_BYTES {
                buffer.fault = Some(Failure::permanent(
                    "checkpoint_too_large",
                    "A checkpoint is larger than 64 KiB.",
                ));
                return Err(Stopped);
            }
            buffer.checkpoint = Some(state);
        }
        self.dirty.notify_one();
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.stopped() != Stop::No
    }

    async fn cancelled(&self) {
        self.stopped_beyond(Stop::No).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use deed_domain::action::ActionTypeName;
    use deed_domain::id::{ActionId, LeaseId, UserId};
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    fn performing() -> Performing {
        let grant = Grant {
            lease: Lease {
                id: LeaseRef {
                    action_id: ActionId::from_uuid(Uuid::from_u128(1)),
                    lease_id: LeaseId::from_uuid(Uuid::from_u128(2)),
                },
                expires_at: DateTime::UNIX_EPOCH,
                deadline_at: DateTime::UNIX_EPOCH,
                next_seq: Sequence::new(3).unwrap(),
                cancel_requested: false,
            },
            action_type: ActionTypeName::parse("echo").unwrap(),
            user_id: UserId::from_uuid(Uuid::nil()),
            input: Payload::empty_object(),
            attempt: 1,
            max_attempts: 3,
            checkpoint: None,
            time_left: None,
            traceparent: None,
        };
        Performing::new(&grant, Arc::default())
    }

    fn chunk(size: usize) -> NewEvent {
        NewEvent::message(Payload::parse(&format!("\"{}\"", "x".repeat(size - 2))).unwrap())
    }

    fn written(next_seq: u32) -> Appended {
        Appended::Written {
            next_seq: Sequence::new(next_seq).unwrap(),
            cancel_requested: false,
        }
    }

    #[tokio::test]
    async fn what_is_emitted_is_flushed_in_order_and_one_flush_at_a_time() {
        let performing = performing();
        for size in [3, 4] {
            performing.emit(chunk(size)).await.unwrap();
        }
        let flush = performing.next_flush().unwrap();
        assert_eq!(
            (flush.from_seq, flush.events),
            (Sequence::new(3).unwrap(), vec![chunk(3), chunk(4)])
        );
        performing.emit(chunk(5)).await.unwrap();
        assert_eq!(performing.next_flush(), None, "one is in flight");
        performing.flushed(written(5));
        assert_eq!(
            performing.next_flush().unwrap().from_seq,
            Sequence::new(5).unwrap()
        );
    }

    #[tokio::test]
    async fn emit_waits_while_the_buffer_is_full() {
        let performing = performing();
        for _ in 0..EVENTS_MAX {
            performing.emit(chunk(3)).await.unwrap();
        }
        let mut waiting = std::pin::pin!(performing.emit(chunk(3)));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        performing.next_flush().unwrap();
        performing.flushed(written(300));
        assert_eq!(waiting.await, Ok(()));
    }

    #[tokio::test]
    async fn the_buffer_is_bounded_by_bytes_but_takes_one_of_any_size() {
        let performing = performing();
        performing.emit(chunk(BYTES_MAX)).await.unwrap();
        assert!(performing.emit(chunk(3)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_chunk_over_its_limit_is_a_fault() {
        let performing = performing();
        assert_eq!(
            performing.emit(chunk(Payload::MAX_BYTES + 1)).await,
            Err(Stopped)
        );
        assert_eq!(performing.fault().unwrap().error.code, "chunk_too_large");
    }

    #[tokio::test]
    async fn a_checkpoint_goes_with_what_was_emitted_before_it_and_the_latest_counts() {
        let performing = performing();
        let state = |text| Payload::parse(text).unwrap();
        performing.emit(chunk(3)).await.unwrap();
        performing.checkpoint(state("1")).await.unwrap();
        performing.checkpoint(state("2")).await.unwrap();
        let flush = performing.next_flush().unwrap();
        assert_eq!(
            (flush.events, flush.checkpoint),
            (vec![chunk(3)], Some(state("2")))
        );
        // By itself, and only after what was emitted before it is stored.
        performing.checkpoint(state("3")).await.unwrap();
        assert_eq!(performing.next_flush(), None, "one is in flight");
        performing.flushed(written(4));
        let flush = performing.next_flush().unwrap();
        assert_eq!(
            (flush.from_seq.get(), flush.events, flush.checkpoint),
            (4, vec![], Some(state("3")))
        );
        assert_eq!(performing.next_flush(), None, "one is in flight");
        performing.flushed(written(4));
        assert_eq!(performing.next_flush(), None, "nothing is left");
    }

    #[tokio::test]
    async fn a_checkpoint_over_its_limit_is_a_fault() {
        let performing = performing();
        let of = |size| Payload::parse(&format!("\"{}\"", "x".repeat(size - 2))).unwrap();
        let longest = of(Lease::CHECKPOINT_MAX_BYTES);
        assert_eq!(performing.checkpoint(longest).await, Ok(()));
        let longer = of(Lease::CHECKPOINT_MAX_BYTES + 1);
        assert_eq!(performing.checkpoint(longer).await, Err(Stopped));
        assert_eq!(
            performing.fault().unwrap().error.code,
            "checkpoint_too_large"
        );
    }

    #[tokio::test]
    async fn a_lost_lease_frees_who_waits_and_takes_nothing_more() {
        let performing = performing();
        performing.emit(chunk(BYTES_MAX)).await.unwrap();
        let waiting = performing.emit(chunk(3));
        performing.next_flush().unwrap();
        performing.flushed(Appended::Lost);
        assert_eq!(waiting.await, Err(Stopped));
        let state = Payload::empty_object();
        assert_eq!(performing.checkpoint(state).await, Err(Stopped));
        assert!(performing.is_cancelled());
        assert_eq!(performing.next_flush(), None);
    }

    #[tokio::test]
    async fn closing_waits_for_the_flush_and_hands_over_the_rest() {
        let performing = performing();
        performing.emit(chunk(3)).await.unwrap();
        performing.next_flush().unwrap();
        performing.emit(chunk(4)).await.unwrap();
        performing
            .checkpoint(Payload::empty_object())
            .await
            .unwrap();
        let mut closing = std::pin::pin!(performing.close());
        assert!(closing.as_mut().now_or_never().is_none());
        performing.flushed(written(4));
        let state = Some(Payload::empty_object());
        assert_eq!(
            closing.await,
            (Sequence::new(4).unwrap(), vec![chunk(4)], state)
        );
        assert_eq!(performing.emit(chunk(3)).await, Err(Stopped));
    }

    #[test]
    fn a_lost_lease_outweighs_a_cancel_and_not_the_other_way_round() {
        let performing = performing();
        performing.stop(Stop::Lost);
        performing.stop(Stop::Cancelled);
        assert_eq!(performing.stopped(), Stop::Lost);
    }
}
