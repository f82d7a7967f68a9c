//! What commands that list things share: how much is shown, and what is said when there is more.

use clap::Args;
use deed_domain::error::StoreError;
use deed_domain::page::{Limit, Page, PageRequest};
use serde::Serialize;

use crate::terminal::note;

/// How much of a list is shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ListArguments {
    /// How many to show at the most
    #[arg(long, default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Show every one
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// The part of a list that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// Whether the list goes on.
    pub(crate) has_more: bool,
}

impl ListArguments {
    /// Reads as many pages as are needed.
    ///
    /// # Errors
    /// The first that `page` has.
    pub(crate) async fn read<T, K>(
        self,
        mut page: impl AsyncFnMut(PageRequest<K>) -> Result<Page<T, K>, StoreError>,
    ) -> Result<Listed<T>, StoreError> {
        let most = if self.all { u32::MAX } else { self.limit };
        let mut left = usize::try_from(most).unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let size = u16::try_from(left).unwrap_or(Limit::MAX).min(Limit::MAX);
            let limit = Limit::new(size).unwrap_or_default();
            let Page {
                items: more, next, ..
            } = page(PageRequest { limit, after }).await?;
            left = left.saturating_sub(more.len());
            items.extend(more);
            let has_more = next.is_some();
            if !has_more || left == 0 {
                return Ok(Listed { items, has_more });
            }
            after = next;
        }
    }
}

impl<T> Listed<T> {
    /// The same list of something else.
    pub(crate) fn map<U>(self, item: impl FnMut(T) -> U) -> Listed<U> {
        Listed {
            items: self.items.into_iter().map(item).collect(),
            has_more: self.has_more,
        }
    }

    /// Tells the person at the terminal that there is more.
    pub(crate) fn tell_of_more(&self) {
        if self.has_more {
            note("There are more: --all shows every one, --limit more of them.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads from a list of 1, 2, … `length`.
    async fn read(arguments: ListArguments, length: u32) -> (Listed<u32>, Vec<usize>) {
        let mut sizes = Vec::new();
        let listed = arguments
            .read(async |request: PageRequest<u32>| {
                sizes.push(request.limit.as_usize());
                let from = request.after.unwrap_or(0) + 1;
                let rows = (from..=length).take(request.limit.as_usize() + 1).collect();
                Ok(Page::from_rows(rows, request.limit, |row| *row))
            })
            .await
            .unwrap();
        (listed, sizes)
    }

    #[tokio::test]
    async fn a_limit_is_kept_over_pages() {
        let some = |limit| ListArguments { limit, all: false };
        let (listed, sizes) = read(some(250), 1_000).await;
        assert_eq!((listed.items.len(), listed.has_more), (250, true));
        assert_eq!(sizes, [200, 50]);
        let (listed, _) = read(some(250), 250).await;
        assert_eq!((listed.items.len(), listed.has_more), (250, false));
        let (listed, _) = read(some(3), 0).await;
        assert_eq!((listed.items.len(), listed.has_more), (0, false));
    }

    #[tokio::test]
    async fn all_is_all() {
        let all = ListArguments {
            limit: 50,
            all: true,
        };
        let (listed, _) = read(all, 1_001).await;
        assert_eq!(listed.items, (1..=1_001).collect::<Vec<_>>());
        assert!(!listed.has_more);
    }
}
