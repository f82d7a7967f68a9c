//! One id type per entity: mixing two of them does not compile.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A text that is not an id: ids are UUIDs in the hyphenated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct NotAnId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Gives the type to a bare UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The bare UUID.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            /// When the id was made, for a time-ordered id (UUIDv7), to the millisecond.
            #[must_use]
            pub fn made_at(self) -> Option<DateTime<Utc>> {
                made_at(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse_hyphenated(text).map(Self)
            }
        }
    )+};
}

ids! {
    /// Names a [`User`](crate::user::User).
    UserId;
    /// Names an [`ApiKey`](crate::api_key::ApiKey).
    ApiKeyId;
    /// Names an [`Action`](crate::action::Action); its time decides in which partition the action is kept.
    ActionId;
    /// Names one grant of a [`Lease`](crate::action::lease::Lease): unguessable, new with every grant, the fencing token.
    LeaseId;
    /// Names an [`AuditEvent`](crate::audit::AuditEvent).
    AuditEventId;
}

/// The hyphenated form only: `Uuid`'s own parser also takes braces, URNs and bare hex, and then one
/// object would have several addresses.
fn parse_hyphenated(text: &str) -> Result<Uuid, NotAnId> {
    if text.len() != 36 {
        return Err(NotAnId);
    }
    Uuid::try_parse(text).map_err(|_| NotAnId)
}

fn made_at(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(id.parse::<UserId>().unwrap().to_string(), id);
        for not in [
            "",
            "me",
            "01890a5dac96774bbcceb302099a8057",
            "{01890a5d-ac96-774b-bcce-b302099a8057}",
            "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
            "01890a5d-ac96-774b-bcce-b302099a805g",
        ] {
            assert_eq!(not.parse::<UserId>(), Err(NotAnId), "{not}");
        }
    }

    #[test]
    fn an_id_tells_its_time() {
        let id: ActionId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(id.made_at().unwrap().timestamp_millis(), 0x0189_0a5d_ac96);
        let random: ActionId = "7c0a3c9e-4a5f-4b8e-9d43-0d6f0a1b2c3d".parse().unwrap();
        assert_eq!(random.made_at(), None);
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(bits: u128) {
            let id = ActionId::from_uuid(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse::<ActionId>(), Ok(id));
        }
    }
}
