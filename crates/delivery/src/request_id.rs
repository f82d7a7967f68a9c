//! The id of the request that is being served: on every answer, and on every log line of its work.

use std::future::Future;

use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The longest id that is taken from a client, in bytes.
pub const MAX_LENGTH: usize = 128;

/// The id of one request: 1 to [`MAX_LENGTH`] visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// Takes what a client sent, if it has the form of an id.
    pub fn parse(text: &str) -> Option<Self> {
        let fits =
            (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// Stands for an id where none could be made.
    pub(crate) fn unknown() -> Self {
        Self("unknown".to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of the request that this task works for, or none outside of requests. For the log's format.
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs `work` under this id, so that [`current`] answers it within.
pub(crate) fn scope<F: Future>(id: RequestId, work: F) -> TaskLocalFuture<RequestId, F> {
    CURRENT.scope(id, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_ascii_of_bounded_length_is_kept() {
        let check =
            |text: &str, kept: bool| assert_eq!(RequestId::parse(text).is_some(), kept, "{text:?}");
        check("a", true);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
        check("", false);
        check("a b", false);
        check("a\nb", false);
        check("é", false);
        check("~!\"#", true);
    }

    #[tokio::test]
    async fn the_id_is_known_within_its_scope_only() {
        let id = RequestId::parse("r-1").unwrap();
        assert_eq!(current(), None);
        assert_eq!(scope(id.clone(), async { current() }).await, Some(id));
        assert_eq!(current(), None);
    }
}
