//! argon2id, apart from everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use async_trait::async_trait;
use deed_domain::password::{Password, PasswordHash};
use deed_domain::ports::{HashingError, PasswordHasher};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::metrics::{HashingMetrics, Metrics};

/// How many may wait for their turn.
const QUEUE: usize = 64;
/// How long they may wait.
const WAIT: Duration = Duration::from_secs(2);
/// When to try again after a refusal.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Hashes with argon2id at its crate's defaults (19 MiB, 2 passes, 1 lane: OWASP's minimum), on as many blocking
/// threads as there are cores. The bound holds for running hashes, whoever still waits for them.
#[derive(Clone)]
pub struct Argon2Hasher {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    metrics: HashingMetrics,
}

impl Argon2Hasher {
    /// A hasher that runs at most `at_once` hashes at a time.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(at_once.max(1))),
            waiting: Arc::default(),
            metrics: HashingMetrics::default(),
        }
    }

    /// The same, counted among `metrics`.
    #[must_use]
    pub fn measured(self, metrics: &Metrics) -> Self {
        Self {
            metrics: metrics.hashing.clone(),
            ..self
        }
    }

    /// A hasher for this machine's cores.
    #[must_use]
    pub fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, HashingError> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(permit);
        }
        let waited = async {
            let _place = Place::take(self)?;
            match tokio::time::timeout(WAIT, Arc::clone(&self.turns).acquire_owned()).await {
                Ok(Ok(permit)) => Ok(permit),
                Ok(Err(_)) | Err(_) => Err(overloaded()),
            }
        };
        waited.await.inspect_err(|_| self.metrics.refused())
    }

    /// Runs `work` on a blocking thread. The permit goes with it: a request that was dropped must not make room
    /// for another hash while its own still runs.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashingError> + Send + 'static,
    ) -> Result<T, HashingError> {
        let permit = self.turn().await?;
        let metrics = self.metrics.clone();
        tokio::task::spawn_blocking(move || {
            metrics.running.inc();
            let began = Instant::now();
            let done = work();
            metrics.hashed(began.elapsed());
            metrics.running.dec();
            drop(permit);
            done
        })
        .await
        .map_err(|error| HashingError::Failed(Arc::new(error)))?
    }
}

/// A place in the queue, given back when dropped.
struct Place<'q>(&'q Argon2Hasher);

impl<'q> Place<'q> {
    fn take(hasher: &'q Argon2Hasher) -> Result<Self, HashingError> {
        let place = Self(hasher);
        hasher.metrics.waiting.inc();
        if hasher.waiting.fetch_add(1, Ordering::AcqRel) >= QUEUE {
            return Err(overloaded());
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.waiting.dec();
    }
}

#[async_trait]
impl PasswordHasher for Argon2Hasher {
    async fn hash(&self, password: &Password) -> Result<PasswordHash, HashingError> {
        let password = password.clone();
        self.apart(move || {
            let phc = Argon2::default()
                .hash_password(password.reveal().as_bytes())
                .map_err(failed)?;
            Ok(PasswordHash::from_phc(phc.to_string()))
        })
        .await
    }

    async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, HashingError> {
        let (password, hash) = (password.clone(), hash.clone());
        self.apart(move || {
            match Argon2::default().verify_password(password.reveal().as_bytes(), hash.as_phc()) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(failed(error)),
            }
        })
        .await
    }
}

fn overloaded() -> HashingError {
    HashingError::Overloaded {
        retry_after: RETRY_AFTER,
    }
}

fn failed(error: argon2::password_hash::Error) -> HashingError {
    HashingError::Failed(Arc::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::password::PasswordPolicy;

    fn password(text: &str) -> Password {
        Password::parse(text, PasswordPolicy::default()).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_verified_by_its_hash_and_no_other() {
        let hasher = Argon2Hasher::new(2);
        let hash = hasher.hash(&password("correct horse")).await.unwrap();
        assert!(
            hasher
                .verify(&password("correct horse"), &hash)
                .await
                .unwrap()
        );
        assert!(
            !hasher
                .verify(&password("correct horse "), &hash)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn hashes_are_argon2id_of_19_mib_and_have_their_own_salt() {
        let hasher = Argon2Hasher::new(2);
        let first = hasher.hash(&password("correct horse")).await.unwrap();
        let second = hasher.hash(&password("correct horse")).await.unwrap();
        assert!(
            first
                .as_phc()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
        assert_ne!(first, second);
    }

    #[tokio::test]
    async fn the_whole_password_counts() {
        let hasher = Argon2Hasher::new(2);
        let hash = hasher.hash(&password(&"x".repeat(128))).await.unwrap();
        let other = format!("{}y", "x".repeat(127));
        assert!(!hasher.verify(&password(&other), &hash).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_no_hash_is_a_failure_not_a_wrong_password() {
        let verified = Argon2Hasher::new(1)
            .verify(&password("correct horse"), &PasswordHash::from_phc("x"))
            .await;
        assert!(matches!(verified, Err(HashingError::Failed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused() {
        let hasher = Argon2Hasher::new(1);
        let _running = hasher.turn().await.unwrap();
        assert!(matches!(
            hasher.turn().await,
            Err(HashingError::Overloaded { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_has_an_end() {
        let hasher = Argon2Hasher::new(1);
        let _running = hasher.turn().await.unwrap();
        let waiting: Vec<_> = (0..QUEUE)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.turn().await.is_ok() })
            })
            .collect();
        while hasher.waiting.load(Ordering::Acquire) < QUEUE {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        assert!(matches!(
            hasher.turn().await,
            Err(HashingError::Overloaded { .. })
        ));
        assert_eq!(started.elapsed(), Duration::ZERO, "refused at once");
        let text = crate::metrics::exported(|registry| hasher.metrics.register(registry));
        assert!(text.contains("password_hashes_waiting 64\n"), "{text}");
        assert!(text.contains("password_hashes_refused_total 1\n"), "{text}");
        for task in waiting {
            task.abort();
        }
    }

    #[tokio::test]
    async fn a_dropped_request_keeps_its_turn_until_its_hash_is_done() {
        let hasher = Argon2Hasher::new(1);
        let (finish, wait) = std::sync::mpsc::channel::<()>();
        let (started, is_started) = tokio::sync::oneshot::channel();
        let request = hasher.clone();
        let task = tokio::spawn(async move {
            request
                .apart(move || {
                    let _ = started.send(());
                    let _ = wait.recv();
                    Ok(())
                })
                .await
        });
        is_started.await.unwrap();
        task.abort();
        let _ = task.await;
        assert_eq!(hasher.turns.available_permits(), 0);
        finish.send(()).unwrap();
        let permit = hasher.turns.acquire().await.unwrap();
        drop(permit);
    }
}
