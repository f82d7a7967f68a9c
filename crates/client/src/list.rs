//! Lists, a page at a time or whole.

use std::collections::VecDeque;
use std::marker::PhantomData;

use deed_api::page::Page;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Client;
use crate::error::Error;
use crate::operation::Operation;

/// A list that has not been asked for yet.
#[derive(Debug, Clone)]
pub struct List<T> {
    client: Client,
    operation: &'static Operation,
    values: Vec<String>,
    /// The filters and the limit, without a cursor.
    query: String,
    cursor: Option<String>,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + 'static> List<T> {
    pub(crate) fn new(
        client: &Client,
        operation: &'static Operation,
        values: Vec<String>,
        query: &impl Serialize,
        cursor: Option<String>,
    ) -> Result<Self, Error> {
        let query = serde_urlencoded::to_string(query)
            .map_err(|error| Error::Invalid(format!("the query can't be sent: {error}")))?;
        Ok(Self {
            client: client.clone(),
            operation,
            values,
            query,
            cursor,
            items: PhantomData,
        })
    }

    /// The page at the query's cursor, else the first one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn page(&self) -> Result<Page<T>, Error> {
        self.page_at(self.cursor.as_deref()).await
    }

    /// Every item from there on. A page is asked for when the one before is used up, and holds as many items as the
    /// query's limit says.
    ///
    /// # Errors
    /// Each item may be an [`Error`], after which there are no more.
    pub fn all(self) -> impl Stream<Item = Result<T, Error>> + Send + 'static {
        let next = Some(self.cursor.clone());
        stream::try_unfold((self, VecDeque::new(), next), |state| async move {
            let (list, mut items, mut next) = state;
            loop {
                if let Some(item) = items.pop_front() {
                    return Ok(Some((item, (list, items, next))));
                }
                let Some(cursor) = next else {
                    return Ok(None);
                };
                let page = list.page_at(cursor.as_deref()).await?;
                if page.next_cursor.is_some() && page.next_cursor == cursor {
                    let what = "the list goes on where it is";
                    return Err(Error::protocol(list.operation.id, what));
                }
                items = page.items.into();
                next = page.next_cursor.map(Some);
            }
        })
    }

    async fn page_at(&self, cursor: Option<&str>) -> Result<Page<T>, Error> {
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        let cursor = cursor
            .map(|cursor| serde_urlencoded::to_string([("cursor", cursor)]).unwrap_or_default());
        let parts: Vec<&str> = [Some(self.query.as_str()), cursor.as_deref()]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect();
        let request = self
            .client
            .request(self.operation, &values)
            .accept("application/json")
            .query(&parts.join("&"));
        self.client.send(&request).await?.json()
    }
}
