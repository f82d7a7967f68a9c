//! How much a key may use.

use std::num::NonZeroU32;

/// How much one key may use, whoever bears it; `None` is without limit. The root key has no limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimits {
    /// Requests a second. Each replica counts what it serves.
    pub requests_per_second: Option<NonZeroU32>,
    /// Event streams that are open. Each replica counts what it serves.
    pub streams: Option<NonZeroU32>,
    /// Actions that wait: queued, scheduled or backing off, at all replicas together.
    pub queued: Option<NonZeroU32>,
}

impl KeyLimits {
    /// Without any limit.
    pub const NONE: Self = Self {
        requests_per_second: None,
        streams: None,
        queued: None,
    };
}
