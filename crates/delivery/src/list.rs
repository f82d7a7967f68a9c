//! Lists: from a query to a page request, from a page to its answer.

use actix_web::http::header;
use deed_api::page::Page;
use deed_api::problem::Fault;
use deed_domain::page::{Limit, PageRequest};
use serde::Serialize;

use crate::answer::Answer;
use crate::app::Api;
use crate::cursor::ListName;
use crate::problem::{ErrorCode, Refusal};

/// A list that is being read: its path, its name for cursors, and its query without the cursor.
pub(crate) struct List<'a> {
    pub(crate) path: &'a str,
    pub(crate) name: ListName,
}

impl List<'_> {
    /// The page that is asked for. A cursor that isn't one of this list is refused.
    pub(crate) fn page<K>(
        &self,
        api: &Api,
        limit: Option<u16>,
        cursor: Option<&str>,
        position: impl Fn(&str) -> Option<K>,
    ) -> Result<PageRequest<K>, Refusal> {
        let limit = match limit {
            Some(limit) => Limit::new(limit)
                .map_err(|error| Refusal::bad_parameter("limit", error.to_string()))?,
            None => Limit::default(),
        };
        let after = cursor
            .map(|cursor| self.open(api, cursor, position))
            .transpose()?;
        Ok(PageRequest { limit, after })
    }

    fn open<K>(
        &self,
        api: &Api,
        cursor: &str,
        position: impl Fn(&str) -> Option<K>,
    ) -> Result<K, Refusal> {
        let opened = api.key().open_cursor(&self.name, cursor);
        opened.and_then(|text| position(&text)).ok_or_else(|| {
            Refusal::new(ErrorCode::InvalidCursor).faults(vec![Fault::in_parameter(
                "cursor",
                "must be a next_cursor of this list, with the same filters",
            )])
        })
    }

    /// The answer, with `Link` to the next page if there is one. `query` is the request's, `with` puts a cursor in it.
    pub(crate) fn answer<T, Q: Serialize>(
        &self,
        api: &Api,
        items: Vec<T>,
        next: Option<String>,
        query: Q,
        with: impl FnOnce(Q, String) -> Q,
    ) -> Result<Answer<Page<T>>, Refusal> {
        let Some(next) = next else {
            return Ok(Answer::ok(Page {
                items,
                next_cursor: None,
            }));
        };
        let cursor = api.key().seal_cursor(&self.name, &next);
        let query = serde_urlencoded::to_string(with(query, cursor.clone()))
            .map_err(|error| Refusal::new(ErrorCode::InternalError).because(error))?;
        let link = format!("<{}?{query}>; rel=\"next\"", self.path);
        Ok(Answer::ok(Page {
            items,
            next_cursor: Some(cursor),
        })
        .header(header::LINK, link))
    }
}
