//! What a merge patch (RFC 7396) needs of serde, and whatever else may be absent but not null.

use serde::{Deserialize, Deserializer};

/// Reads a member that is present: null becomes `Some(None)`. With `#[serde(default)]`, an absent one is `None`.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Reads a member that is present and must not be null. With `#[serde(default)]`, an absent one is `None`.
pub(crate) fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
