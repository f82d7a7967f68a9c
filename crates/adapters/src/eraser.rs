//! Removes what deleted users have left behind, in the background. Runs on every replica; they don't get into each
//! other's way.

use std::sync::Arc;
use std::time::Duration;

use deed_domain::error::StoreError;
use deed_domain::id::UserId;
use deed_domain::ports::Erasure;

/// How often it looks for deleted users.
const INTERVAL: Duration = Duration::from_secs(5);
/// The pause between two steps: users who are not deleted go first.
const BREATH: Duration = Duration::from_millis(10);
/// How many users are asked for at a time.
const BATCH: usize = 100;

/// Looks every five seconds, for as long as it is polled.
pub async fn erase_deleted(erasure: Arc<dyn Erasure>) {
    loop {
        if let Err(error) = look(erasure.as_ref()).await {
            log::debug!(error:err = error; "nothing was erased");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Goes through all deleted users: one stays among them for minutes, and others must not wait for that.
async fn look(erasure: &dyn Erasure) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let users = erasure.pending(after, BATCH).await?;
        for user in &users {
            // What is wrong with one user is no reason to keep what others have left behind.
            if let Err(error) = erase(erasure, *user).await {
                log::debug!(user_id:% = user, error:err = error; "the deleted user {user} was not erased to the end");
            }
        }
        match users.last() {
            Some(last) if users.len() == BATCH => after = Some(*last),
            _ => return Ok(()),
        }
    }
}

async fn erase(erasure: &dyn Erasure, user: UserId) -> Result<(), StoreError> {
    let mut gone = 0_u64;
    loop {
        let step = erasure.erase(user).await?;
        gone = gone.saturating_add(step.actions);
        if step.is_over {
            break;
        }
        tokio::time::sleep(BREATH).await;
    }
    if gone > 0 {
        log::info!(user_id:% = user, count = gone; "removed {gone} actions of the deleted user {user}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::ports::{Erased, MockErasure};
    use std::sync::Mutex;
    use tokio::sync::mpsc;
    use uuid::Uuid;

    fn user(n: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(n))
    }

    #[tokio::test(start_paused = true)]
    async fn every_deleted_user_is_erased_to_the_end() {
        let (sender, mut heard) = mpsc::unbounded_channel();
        let mut erasure = MockErasure::new();
        erasure
            .expect_pending()
            .returning(|_, _| Ok(vec![user(1), user(2)]));
        let left = Mutex::new(vec![2_u64, 1]);
        erasure.expect_erase().returning(move |who| {
            sender.send(who).unwrap();
            let mut left = left.lock().unwrap();
            let index = usize::from(who == user(2));
            let is_over = left[index] == 0;
            left[index] = left[index].saturating_sub(1);
            Ok(Erased {
                actions: u64::from(!is_over),
                is_over,
            })
        });
        let eraser = tokio::spawn(erase_deleted(Arc::new(erasure)));
        let mut steps = Vec::new();
        for _ in 0..5 {
            steps.push(heard.recv().await.unwrap());
        }
        assert_eq!(steps, [user(1), user(1), user(1), user(2), user(2)]);
        // The next look, five seconds later.
        assert_eq!(heard.recv().await, Some(user(1)));
        eraser.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_no_end() {
        let (sender, mut heard) = mpsc::unbounded_channel();
        let mut erasure = MockErasure::new();
        erasure.expect_pending().returning(move |_, _| {
            sender.send(()).unwrap();
            Err(away())
        });
        let eraser = tokio::spawn(erase_deleted(Arc::new(erasure)));
        heard.recv().await.unwrap();
        heard.recv().await.unwrap();
        assert!(!eraser.is_finished());
        eraser.abort();
    }

    fn away() -> StoreError {
        StoreError::Unavailable(Arc::new(std::io::Error::other("away")))
    }

    #[tokio::test]
    async fn nobody_waits_for_those_who_were_deleted_before() {
        let many = u128::try_from(BATCH).unwrap() + 7;
        let mut erasure = MockErasure::new();
        erasure.expect_pending().returning(move |after, limit| {
            let from = after.map_or(0, |after: UserId| after.as_uuid().as_u128());
            Ok((from + 1..=many).take(limit).map(user).collect())
        });
        let (sender, mut heard) = mpsc::unbounded_channel();
        erasure.expect_erase().returning(move |who| {
            sender.send(who).unwrap();
            // The first one can't be erased.
            if who == user(1) {
                return Err(away());
            }
            Ok(Erased {
                actions: 0,
                is_over: true,
            })
        });
        look(&erasure).await.unwrap();
        drop(erasure);
        let mut erased = Vec::new();
        while let Some(who) = heard.recv().await {
            erased.push(who);
        }
        assert_eq!(erased, (1..=many).map(user).collect::<Vec<_>>());
    }
}
