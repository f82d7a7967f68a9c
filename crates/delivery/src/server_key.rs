//! The key that this service shares with itself: the same on every replica, kept in the database.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// 32 secret, lasting bytes from which a key for each purpose follows.
#[derive(Clone)]
pub struct ServerKey([u8; 32]);

/// What is signed. The purposes share no signature, whatever the texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Cursor,
    RequestHash,
}

impl ServerKey {
    /// The key with these bytes, from the operating system's generator.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// HMAC-SHA256 for one purpose, to be fed.
    pub(crate) fn mac(&self, purpose: Purpose) -> Hmac<Sha256> {
        // HMAC itself pads a short key with zeros to the hash's block (RFC 2104, section 2).
        let mut padded = [0; 64];
        for (byte, own) in padded.iter_mut().zip(self.0) {
            *byte = own;
        }
        let mut mac = Hmac::<Sha256>::new(&padded.into());
        mac.update(match purpose {
            Purpose::Cursor => b"cursor\0",
            Purpose::RequestHash => b"request\0",
        });
        mac
    }

    /// Tells one request from another. Keyed, because a body may hold a password: without the key nobody can try
    /// passwords on the hash.
    pub(crate) fn request_hash(&self, body: &[u8]) -> [u8; 32] {
        let mut mac = self.mac(Purpose::RequestHash);
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_body_and_key() {
        let key = ServerKey::new([7; 32]);
        assert_eq!(key.request_hash(b"a"), key.request_hash(b"a"));
        assert_ne!(key.request_hash(b"a"), key.request_hash(b"b"));
        assert_ne!(
            key.request_hash(b"a"),
            ServerKey::new([8; 32]).request_hash(b"a")
        );
    }

    #[test]
    fn purposes_share_no_signature() {
        let key = ServerKey::new([7; 32]);
        let sign = |purpose| key.mac(purpose).finalize().into_bytes();
        assert_ne!(sign(Purpose::Cursor), sign(Purpose::RequestHash));
    }

    #[test]
    fn the_key_does_not_print() {
        assert_eq!(format!("{:?}", ServerKey::new([7; 32])), "ServerKey");
    }
}
