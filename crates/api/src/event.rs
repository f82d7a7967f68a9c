//! Events of an action on the wire. Over SSE the same `seq`, `event` and `data` are `id`, `event` and `data`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[cfg(feature = "openapi")]
use crate::limits;
#[cfg(feature = "openapi")]
use deed_domain::page::Limit;

/// One entry of an action's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct EventBody {
    /// Its position in the log: 1, 2, 3 … without a gap.
    #[cfg_attr(feature = "openapi", schemars(range(min = 1)))]
    pub seq: u32,
    /// Its name: `created`, `started`, `message`, `progress`, `retry` or `done`. Ignore names that you don't know.
    pub event: String,
    /// When it was stored.
    pub at: DateTime<Utc>,
    /// What it says, as it was stored.
    #[cfg_attr(feature = "openapi", schemars(with = "serde_json::Value"))]
    pub data: Box<RawValue>,
}

/// The query of GET `/actions/{id}/events`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// For a stream: the sequence after which to go on, where the header `Last-Event-ID` can't be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub last_event_id: Option<String>,
    /// For a JSON page: how many items it holds at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::page_limit))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = "Limit::MIN", max = "Limit::MAX"))
    )]
    pub limit: Option<u16>,
    /// For a JSON page: where it begins, a `next_cursor` of this list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub cursor: Option<String>,
}

/// A ticket for the stream of one action: for one request, within a minute. It does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct StreamTicketBody {
    /// What to send as the query parameter `ticket` of GET `/actions/{id}/events`. It is never shown again.
    pub ticket: String,
    /// From when on it is refused.
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for StreamTicketBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamTicketBody")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_does_not_print() {
        let ticket = StreamTicketBody {
            ticket: "deedt_x".to_owned(),
            expires_at: DateTime::UNIX_EPOCH,
        };
        assert!(!format!("{ticket:?}").contains("deedt_x"));
        let text = serde_json::to_string(&ticket).unwrap();
        assert!(text.contains(r#""ticket":"deedt_x""#), "{text}");
    }
}
