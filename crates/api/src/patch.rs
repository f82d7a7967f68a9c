//! What a merge patch (RFC 7396) needs of serde: "absent" and "null" are different things.

use serde::{Deserialize, Deserializer};

/// Reads a member that is present: null becomes `Some(None)`. With `#[serde(default)]`, an absent one is `None`.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
