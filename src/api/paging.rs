//! Lists in pages: `limit` and an opaque `after`, answered with `items` and `next`.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::Serialize;

use crate::api::problem::Problem;

/// Items on a page where the caller names no `limit`.
pub const LIMIT_DEFAULT: u32 = 50;

/// The most items on a page.
pub const LIMIT_MAX: u32 = 500;

/// The paging part of a query.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct PageQuery {
    limit: Option<u32>,
    after: Option<String>,
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOrder {
    /// The most items to answer, 1 to [`LIMIT_MAX`].
    pub limit: usize,
    /// Where the previous page ended, in the words of whoever made it.
    pub after: Option<Vec<u8>>,
}

impl PageQuery {
    /// Checks the two parameters.
    ///
    /// # Errors
    /// [`Problem::BadParameter`] for a limit out of bounds or an `after` that is no token.
    pub fn order(&self) -> Result<PageOrder, Problem> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let reason = format!("it is {limit}; use a number from 1 to {LIMIT_MAX}");
            return Err(Problem::BadParameter { name: "limit".into(), reason });
        }
        let after = self.after.as_deref().map(untoken).transpose()?;
        Ok(PageOrder { limit: usize::try_from(limit).unwrap_or(usize::MAX), after })
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `after` of the next page; null on the last.
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A page that ends at `end`; none when nothing follows.
    pub fn new(items: Vec<T>, end: Option<&[u8]>) -> Self {
        List { items, next: end.map(token) }
    }
}

/// The opaque text for a place in a list.
pub fn token(place: &[u8]) -> String {
    let mut bytes = vec![TOKEN_VERSION];
    bytes.extend_from_slice(place);
    BASE64URL_NOPAD.encode(&bytes)
}

/// What a caller is told whose `after` leads to no place in the list.
pub fn foreign_token() -> Problem {
    let reason = "it is no token of this list; use `next` of the page before, unchanged";
    Problem::BadParameter { name: "after".into(), reason: reason.into() }
}

/// The place that a text leads to.
///
/// # Errors
/// [`Problem::BadParameter`] for a text that this version did not make.
pub fn untoken(text: &str) -> Result<Vec<u8>, Problem> {
    let decoded = BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|bytes| bytes.first() == Some(&TOKEN_VERSION));
    decoded.map(|bytes| bytes[1..].to_vec()).ok_or_else(foreign_token)
}

/// Tokens of another version are refused instead of misread.
const TOKEN_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A place comes back from its token, and any other text is refused without a panic.
        #[test]
        fn tokens_round_trip(place: Vec<u8>, foreign in ".{0,40}") {
            let order = PageQuery { limit: None, after: Some(token(&place)) }.order();
            prop_assert_eq!(order.map(|o| o.after).ok(), Some(Some(place)));
            let _ = PageQuery { limit: None, after: Some(foreign) }.order().is_ok();
        }
    }
}
