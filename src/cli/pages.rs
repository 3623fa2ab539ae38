//! Lists: following `next` from page to page.

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Client;
use crate::cli::transport::Request;

/// The most items that are asked for at once: the API's own limit.
const PAGE_ITEMS_MAX: usize = 500;

/// How much of a list is wanted.
#[derive(Debug, Clone, Args)]
pub struct Paging {
    /// The most items to list; all without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Begin after this token: `next` of the list before.
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,
}

impl Paging {
    /// Gets the list that `request` names and says it: as a table of `columns`, or as `{items,next}`.
    pub async fn show(self, session: &mut Session<'_>, request: Request, columns: &[(&str, &str)], none: &str) -> Result<(), Failure> {
        let mut pages = Pages::new(request, self.limit, self.after);
        let mut items = Vec::new();
        while let Some(page) = pages.next(&session.client).await? {
            items.extend(page);
        }
        let list = json!({"items": items, "next": pages.after()});
        session.output.result(&list, |list| match list["items"].as_array() {
            Some(items) if !items.is_empty() => output::table(columns, items),
            _ => none.to_owned(),
        })
    }
}

/// A list read page by page, so that a long one is never held whole.
pub struct Pages {
    request: Request,
    remaining: Option<u64>,
    after: Option<String>,
    is_done: bool,
}

impl Pages {
    /// The list that `request` names, from `after` on, at most `limit` items of it.
    pub fn new(request: Request, limit: Option<u64>, after: Option<String>) -> Self {
        Self { request, remaining: limit, after, is_done: limit == Some(0) }
    }

    /// The next page's items; `None` at the end of the list or of the limit.
    pub async fn next(&mut self, client: &Client) -> Result<Option<Vec<Value>>, Failure> {
        if self.is_done {
            return Ok(None);
        }
        let wanted = self.remaining.map_or(PAGE_ITEMS_MAX, |n| usize::try_from(n).unwrap_or(usize::MAX).min(PAGE_ITEMS_MAX));
        let request = self.request.clone().query("limit", &wanted.to_string()).query_maybe("after", self.after.as_deref());
        let mut answer = client.json(&request).await?;
        let Some(Value::Array(mut items)) = answer.get_mut("items").map(Value::take) else {
            return Err(Failure::Answer { request: request.name(), fault: "has no `items`".into() });
        };
        items.truncate(wanted);
        let next = answer["next"].as_str().map(str::to_owned);
        if next.is_some() && next == self.after {
            return Err(Failure::Answer { request: request.name(), fault: "names itself as the next page".into() });
        }
        self.remaining = self.remaining.map(|n| n.saturating_sub(items.len() as u64));
        self.is_done = next.is_none() || self.remaining == Some(0);
        self.after = next;
        Ok(Some(items))
    }

    /// Where a later list continues; `None` when everything was read.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }
}
