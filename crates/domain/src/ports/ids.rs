use uuid::Uuid;

/// Makes ids and random bytes.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
pub trait Ids: Send + Sync {
    /// A new UUIDv7: later ones of the same process sort after earlier ones.
    fn time_ordered(&self) -> Uuid;

    /// Bytes from the operating system's generator.
    fn random_bytes(&self) -> [u8; 64];
}
