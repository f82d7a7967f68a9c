use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::action::{ActionTypeName, Grant, LeaseRequest};
use crate::error::StoreError;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Actions of these types.
    pub types: Vec<ActionTypeName>,
    /// At most so many.
    pub max: usize,
    /// Who performs them, for people who look.
    pub worker: String,
    /// For how long a lease is granted, unless renewed; `None` is what the type says.
    pub lease: Option<Duration>,
    /// How long to wait where nothing is there; not at all if zero.
    pub wait: Duration,
    /// By which the same request is known again.
    pub request: Option<LeaseRequest>,
}

/// Why nothing could be granted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DispatchError {
    /// As many wait as may.
    #[error("too many workers wait")]
    TooMany,
    /// What is kept can't be reached or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Grants leases to workers, who may wait for them.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Grants leases on waiting actions as soon as there are some: at once, or within the time that `wish` waits; none
    /// once that is over. Who asked first is served first, and nobody gets two while another who could take it gets
    /// none.
    ///
    /// A request that was made before is granted what it holds still. One that is being made elsewhere in this process
    /// is granted the same; one that is granted by another process while it waits in this one, two seconds later at the
    /// most.
    ///
    /// Dropping the future ends the wish: nothing is leased for it any more, and what just was goes back.
    ///
    /// # Errors
    /// [`DispatchError`]. With [`StoreError::OutcomeUnknown`] leases may have been granted that nobody holds.
    async fn lease(&self, wish: Wish) -> Result<Granted, DispatchError>;
}

/// Leases on their way to the worker that asked for them. Dropped before they are [taken](Self::take), they go back
/// to the queue.
pub struct Granted {
    grants: Vec<Grant>,
    receipt: Option<Box<dyn Receipt>>,
}

/// Tells who granted that the leases have arrived. Dropped unsigned, they have not.
pub trait Receipt: Send {
    /// They have.
    fn sign(self: Box<Self>);
}

impl Granted {
    /// These; whether they arrive is told by `receipt`.
    #[must_use]
    pub fn new(grants: Vec<Grant>, receipt: Option<Box<dyn Receipt>>) -> Self {
        Self { grants, receipt }
    }

    /// None.
    #[must_use]
    pub fn nothing() -> Self {
        Self::new(Vec::new(), None)
    }

    /// They have arrived.
    #[must_use]
    pub fn take(self) -> Vec<Grant> {
        if let Some(receipt) = self.receipt {
            receipt.sign();
        }
        self.grants
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted")
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}
