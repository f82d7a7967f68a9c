//! Pages of lists.

/// How many items a page holds: 1 to 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u16);

/// A limit outside 1–200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be between {} and {}", Limit::MIN, Limit::MAX)]
pub struct LimitOutOfRange;

impl Limit {
    /// The least.
    pub const MIN: u16 = 1;
    /// The most.
    pub const MAX: u16 = 200;
    /// What holds where nothing is asked for.
    pub const DEFAULT: u16 = 50;

    /// Takes a limit.
    ///
    /// # Errors
    /// [`LimitOutOfRange`] outside 1–200.
    pub fn new(limit: u16) -> Result<Self, LimitOutOfRange> {
        if (Self::MIN..=Self::MAX).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err(LimitOutOfRange)
        }
    }

    /// The number.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        // A widening conversion, which `From` can't do in a const fn.
        #[expect(clippy::as_conversions, reason = "u16 to usize loses nothing")]
        {
            self.0 as usize
        }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

/// Which page: at most `limit` items that come after `after` in the list's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// How many items at the most.
    pub limit: Limit,
    /// The position of the last item of the page before; `None` begins at the list's start.
    pub after: Option<K>,
}

/// Some items of a list, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// The position to go on after; `None` at the end.
    pub next: Option<K>,
}

impl<T, K> Page<T, K> {
    /// Makes a page from rows of which one more than `limit` was asked for: the extra one only tells that there is more.
    #[must_use]
    pub fn from_rows(mut rows: Vec<T>, limit: Limit, position: impl Fn(&T) -> K) -> Self {
        let more = rows.len() > limit.as_usize();
        rows.truncate(limit.as_usize());
        let next = if more {
            rows.last().map(position)
        } else {
            None
        };
        Self { items: rows, next }
    }

    /// The same page of something else.
    #[must_use]
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U, K> {
        Page {
            items: self.items.into_iter().map(item).collect(),
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rows: Vec<u8>, limit: u16, items: &[u8], next: Option<u8>) {
        let page = Page::from_rows(rows, Limit::new(limit).unwrap(), |row| *row);
        assert_eq!((page.items.as_slice(), page.next), (items, next));
    }

    #[test]
    fn the_extra_row_only_tells_that_there_is_more() {
        check(vec![], 2, &[], None);
        check(vec![1, 2], 2, &[1, 2], None);
        check(vec![1, 2, 3], 2, &[1, 2], Some(2));
    }

    #[test]
    fn limits_are_1_to_200() {
        assert!(Limit::new(0).is_err() && Limit::new(201).is_err());
        assert!(Limit::new(1).is_ok() && Limit::new(200).is_ok());
        assert_eq!(Limit::default().as_usize(), 50);
    }
}
