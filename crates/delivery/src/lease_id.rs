//! The id of a lease on the wire: `base64url(action ‖ grant)`, so that a look-up by it needs no index of its own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deed_domain::action::LeaseRef;
use deed_domain::id::{ActionId, LeaseId};
use uuid::Uuid;

pub(crate) fn print(lease: LeaseRef) -> String {
    let mut bytes = lease.action_id.as_uuid().as_bytes().to_vec();
    bytes.extend_from_slice(lease.lease_id.as_uuid().as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The lease of that id; `None` where the text is no lease's id.
pub(crate) fn parse(text: &str) -> Option<LeaseRef> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (action, grant) = bytes.split_at_checked(16)?;
    Some(LeaseRef {
        action_id: ActionId::from_uuid(Uuid::from_slice(action).ok()?),
        lease_id: LeaseId::from_uuid(Uuid::from_slice(grant).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_printed_and_nothing_else_is_one() {
        let lease = LeaseRef {
            action_id: ActionId::from_uuid(Uuid::from_u128(7)),
            lease_id: LeaseId::from_uuid(Uuid::from_u128(u128::MAX)),
        };
        let text = print(lease);
        assert_eq!(text.len(), 43);
        assert_eq!(parse(&text), Some(lease));
        let long = format!("{text}AA");
        for wrong in ["", "a", "%%", text.get(1..).unwrap(), &long] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
