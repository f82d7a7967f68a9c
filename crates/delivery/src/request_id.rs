//! The request that is being served: its id, on every answer and on every log line of its work, and its trace.

use std::future::Future;

use deed_domain::trace::TraceParent;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static CURRENT: Current;
}

/// What all work for a request knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) id: RequestId,
    pub(crate) trace: Option<TraceParent>,
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
    CURRENT.try_with(|current| current.id.clone()).ok()
}

/// The place in a trace of the request that this task works for; none outside of requests, or where the request
/// belongs to no trace.
pub fn current_trace() -> Option<TraceParent> {
    CURRENT.try_with(|current| current.trace).ok().flatten()
}

/// Runs `work` for this request, so that [`current`] and [`current_trace`] answer it within.
pub(crate) fn scope<F: Future>(request: Current, work: F) -> TaskLocalFuture<Current, F> {
    CURRENT.scope(request, work)
}

/// Runs `work` in a task of `runtime`, for the same request as this one.
pub(crate) fn spawn<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    match CURRENT.try_with(Clone::clone) {
        Ok(request) => runtime.spawn(scope(request, work)),
        Err(_) => runtime.spawn(work),
    }
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
        let trace = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let known = || (current(), current_trace());
        let request = Current {
            id: id.clone(),
            trace,
        };
        assert_eq!(known(), (None, None));
        let (within, in_task) = scope(request, async {
            let task = spawn(&Handle::current(), async move { known() });
            (known(), task.await.unwrap())
        })
        .await;
        assert_eq!(within, (Some(id), trace));
        assert_eq!(in_task, within);
        assert_eq!(known(), (None, None));
    }
}
