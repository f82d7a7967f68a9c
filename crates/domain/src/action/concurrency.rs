//! How many actions of a type are performed at a time.

/// The most actions of a type that are performed at a time; `None` is as many as there are performers. Each is 1–10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Concurrency {
    /// Of all users, on all replicas and by all workers together.
    pub total: Option<u16>,
    /// Of each user.
    pub per_user: Option<u16>,
    /// By the handler of each replica. What workers perform is not limited by it.
    pub per_replica: Option<u16>,
}

impl Concurrency {
    /// The highest limit.
    pub const LIMIT: u16 = 10_000;

    /// The limit from a number; `None` unless it is 1–10,000.
    #[must_use]
    pub fn limit(number: u16) -> Option<u16> {
        (1..=Self::LIMIT).contains(&number).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_1_to_10_000() {
        assert_eq!(Concurrency::limit(0), None);
        assert_eq!(Concurrency::limit(1), Some(1));
        assert_eq!(Concurrency::limit(10_000), Some(10_000));
        assert_eq!(Concurrency::limit(10_001), None);
    }
}
