//! Which page comes next.
//!
//! Source for when paging ends: the pagination strategies of airbyte-cdk (LOWCODE.md section 4.5).

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::hash::RandomState;

use serde_json::Value;

use crate::connector::component::pagination::CursorPagination;
use crate::connector::component::pagination::PaginationStrategy;
use crate::connector::component::pagination::Paginator;
use crate::connector::component::requester::InjectInto;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::requester::TokenPlacement;
use crate::connector::component::value::Scalar;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;
use crate::connector::reading::Answer;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;
use crate::connector::reading::counts_as_empty;

/// A value and where in the request it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// The part of the request, and the name in it.
    pub target: Target,
    /// The value.
    pub value: Value,
}

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A query parameter.
    Parameter(String),
    /// A header.
    Header(String),
    /// A field of a form.
    Form(String),
    /// A field of a JSON body, by its path.
    Json(Vec<String>),
}

impl Target {
    /// Where an option of the manifest puts its value.
    ///
    /// # Errors
    /// When its name cannot be evaluated, or there is none.
    pub fn of(option: &RequestOption, scope: &Scope) -> Result<Self, ReadingError> {
        let name = match &option.field_name {
            Some(name) => vec![name.text(scope).map_err(ReadingError::expression("field_name"))?],
            None => {
                let path = option.field_path.iter().flatten().map(|segment| segment.text(scope));
                path.collect::<Result<Vec<_>, _>>().map_err(ReadingError::expression("field_path"))?
            }
        };
        let single = |name: Vec<String>| {
            let missing = || ReadingError::Value { field: "field_name", found: String::new(), needs: "a name" };
            name.into_iter().next().ok_or_else(missing)
        };
        Ok(match option.inject_into {
            InjectInto::Parameter => Target::Parameter(single(name)?),
            InjectInto::Header => Target::Header(single(name)?),
            InjectInto::BodyData => Target::Form(single(name)?),
            InjectInto::BodyJson => Target::Json(name),
        })
    }
}

/// What was seen of a page.
#[derive(Debug)]
pub struct PageSeen<'a> {
    /// The answer.
    pub answer: &'a Answer,
    /// The records found, before the filter.
    pub raw_count: usize,
    /// The records kept by the filter.
    pub kept_count: usize,
    /// The last record kept, as emitted.
    pub last_record: minijinja::Value,
}

/// The paging of one slice.
#[derive(Debug)]
pub struct Pager<'a> {
    compat: Compat,
    scope: Scope,
    strategy: Option<Strategy<'a>>,
    /// The token of the page that is next, if that page has one.
    token: Option<Value>,
    token_placement: Option<&'a TokenPlacement>,
    page_size_option: Option<&'a RequestOption>,
    page_size: Option<i64>,
    /// Hashes of the tokens that were given, to notice a circle.
    seen: HashSet<u64>,
    hasher: RandomState,
}

#[derive(Debug)]
enum Strategy<'a> {
    Pages { first: i64 },
    Offsets,
    Cursor(&'a CursorPagination),
}

impl<'a> Pager<'a> {
    /// The paging at the first page. `scope` has `config`.
    ///
    /// # Errors
    /// When the page size is no whole number.
    pub fn new(paginator: Option<&'a Paginator>, scope: Scope, compat: Compat) -> Result<Self, ReadingError> {
        let mut pager = Pager {
            compat,
            scope,
            strategy: None,
            token: None,
            token_placement: None,
            page_size_option: None,
            page_size: None,
            seen: HashSet::new(),
            hasher: RandomState::new(),
        };
        let Some(Paginator::DefaultPaginator(paginator)) = paginator else { return Ok(pager) };
        pager.token_placement = paginator.page_token_option.as_ref();
        pager.page_size_option = paginator.page_size_option.as_ref();
        let page_size = match &paginator.pagination_strategy {
            PaginationStrategy::PageIncrement(pages) => {
                pager.strategy = Some(Strategy::Pages { first: pages.start_from_page });
                pager.token = pages.inject_on_first_request.then(|| pages.start_from_page.into());
                &pages.page_size
            }
            PaginationStrategy::OffsetIncrement(offsets) => {
                pager.strategy = Some(Strategy::Offsets);
                pager.token = offsets.inject_on_first_request.then(|| 0.into());
                &offsets.page_size
            }
            PaginationStrategy::CursorPagination(cursor) => {
                pager.strategy = Some(Strategy::Cursor(cursor));
                &cursor.page_size
            }
        };
        pager.page_size = page_size.as_ref().map(|size| whole(size, &pager.scope)).transpose()?;
        Ok(pager)
    }

    /// The token of the page to ask for; the first page may have none.
    pub fn token(&self) -> Option<&Value> {
        self.token.as_ref()
    }

    /// The path that replaces the requester's own, when the manifest puts the token there.
    pub fn path(&self) -> Option<String> {
        match (self.token_placement, &self.token) {
            (Some(TokenPlacement::RequestPath(_)), Some(token)) => Some(text(token)),
            _ => None,
        }
    }

    /// What goes into the request of this page.
    ///
    /// # Errors
    /// When a name cannot be evaluated.
    pub fn injections(&self) -> Result<Vec<Injection>, ReadingError> {
        let mut injections = Vec::new();
        if let (Some(TokenPlacement::RequestOption(option)), Some(token)) = (self.token_placement, &self.token) {
            injections.push(Injection { target: Target::of(option, &self.scope)?, value: token.clone() });
        }
        if let (Some(option), Some(size)) = (self.page_size_option, self.page_size) {
            injections.push(Injection { target: Target::of(option, &self.scope)?, value: size.into() });
        }
        Ok(injections)
    }

    /// Goes on to the next page; false when the slice is at its end.
    ///
    /// # Errors
    /// When an expression fails, or the application leads in a circle.
    pub fn advance(&mut self, page: &PageSeen<'_>) -> Result<bool, ReadingError> {
        let count = i64::try_from(page.raw_count).unwrap_or(i64::MAX);
        let is_last = count == 0 || self.page_size.is_some_and(|size| size != 0 && count < size);
        let before = self.token.as_ref().and_then(Value::as_i64);
        let next = match &self.strategy {
            None => None,
            Some(Strategy::Pages { .. } | Strategy::Offsets) if is_last => None,
            Some(Strategy::Pages { first }) => Some(before.unwrap_or(*first).saturating_add(1).into()),
            Some(Strategy::Offsets) => Some(before.unwrap_or(0).saturating_add(count).into()),
            Some(Strategy::Cursor(cursor)) => self.next_cursor(cursor, page)?,
        };
        // A token that counts as empty ends the slice, also the number 0.
        self.token = next.filter(|token| !counts_as_empty(token));
        if let (Some(token), Some(Strategy::Cursor(_)), Compat::Safe) = (&self.token, &self.strategy, self.compat) {
            let token = text(token);
            if !self.seen.insert(self.hasher.hash_one(&token)) {
                return Err(ReadingError::Circle { token: crate::ids::cut(&token) });
            }
        }
        Ok(self.token.is_some())
    }

    fn next_cursor(&self, cursor: &CursorPagination, page: &PageSeen<'_>) -> Result<Option<Value>, ReadingError> {
        // The reference engine counts what the filter left over, so that a page which the filter empties can end the paging.
        let page_size = if self.compat == Compat::Strict { page.kept_count } else { page.raw_count };
        let mut scope = self.scope.clone();
        scope
            .set("response", page.answer.first_value())
            .set("headers", page.answer.headers.value_with_links())
            .set("last_record", page.last_record.clone())
            .set("last_page_size", dynamic(&page_size.into()));
        if let Some(stop) = &cursor.stop_condition
            && stop.truth(&scope).map_err(ReadingError::expression("stop_condition"))?
        {
            return Ok(None);
        }
        cursor.cursor_value.value(&scope).map(Some).map_err(ReadingError::expression("cursor_value"))
    }
}

/// The text of a token in a path.
fn text(token: &Value) -> String {
    token.as_str().map_or_else(|| token.to_string(), str::to_owned)
}

fn whole(size: &Scalar, scope: &Scope) -> Result<i64, ReadingError> {
    let value = size.value(scope).map_err(ReadingError::expression("page_size"))?;
    let wrong = || ReadingError::Value { field: "page_size", found: crate::ids::cut(&text(&value)), needs: "a whole number" };
    value.as_i64().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::reading::support::answer;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn paginator(yaml: &str) -> Paginator {
        component(yaml, "SimpleRetriever", "paginator")
    }

    /// Reads pages given as (raw records, kept records, body) and returns the token of each request, `null` for none.
    fn check(yaml: &str, compat: Compat, pages: &[(usize, usize, Value)]) -> Result<Vec<Value>, ReadingError> {
        let paginator = paginator(yaml);
        let mut pager = Pager::new(Some(&paginator), scope(&json!({"size": 2})), compat)?;
        let mut tokens = Vec::new();
        for (raw_count, kept_count, body) in pages {
            tokens.push(pager.token().cloned().unwrap_or_default());
            let answer = answer(200, &[], &body.to_string());
            let seen = PageSeen { answer: &answer, raw_count: *raw_count, kept_count: *kept_count, last_record: ().into() };
            if !pager.advance(&seen)? {
                break;
            }
        }
        Ok(tokens)
    }

    /// Page numbers and offsets count raw records, and end at a short or an empty page.
    #[test]
    fn counting_ends_at_a_short_page() {
        let none = Value::Null;
        let pages = |counts: &[usize]| counts.iter().map(|&count| (count, 0, json!({}))).collect::<Vec<_>>();
        let numbers = "{type: DefaultPaginator, pagination_strategy: {type: PageIncrement, start_from_page: 1, page_size: 2}}";
        assert_eq!(check(numbers, Compat::Safe, &pages(&[2, 2, 1, 9])).unwrap(), [none.clone(), 2.into(), 3.into()]);
        let named = "{type: DefaultPaginator, pagination_strategy: {type: PageIncrement, page_size: \"{{ config['size'] }}\", inject_on_first_request: true}}";
        assert_eq!(check(named, Compat::Safe, &pages(&[2, 0, 9])).unwrap(), [json!(0), 1.into()]);
        let offsets = "{type: DefaultPaginator, pagination_strategy: {type: OffsetIncrement}}";
        assert_eq!(check(offsets, Compat::Safe, &pages(&[5, 1, 0, 9])).unwrap(), [none.clone(), 5.into(), 6.into()]);
        let wrong = "{type: DefaultPaginator, pagination_strategy: {type: OffsetIncrement, page_size: \"{{ config['none'] }}\"}}";
        assert!(matches!(check(wrong, Compat::Safe, &[]), Err(ReadingError::Value { .. })));
    }

    /// A cursor ends at its stop condition, which comes first, and at an empty token; a token given twice is an error.
    #[test]
    fn cursors_end() {
        let cursor = "{type: DefaultPaginator, pagination_strategy: {type: CursorPagination, cursor_value: \"{{ response['next'] }}\", stop_condition: \"{{ not response['more'] }}\"}}";
        let page = |next: Value, more: bool| (1, 1, json!({"next": next, "more": more}));
        let read = |pages: &[(usize, usize, Value)], compat| check(cursor, compat, pages);
        let pages = [page(json!("a"), true), page(json!("b"), false), page(json!("c"), true)];
        assert_eq!(read(&pages, Compat::Safe).unwrap(), [Value::Null, json!("a")]);
        let pages = [page(json!(7), true), page(Value::Null, true), page(json!("c"), true)];
        assert_eq!(read(&pages, Compat::Safe).unwrap(), [Value::Null, json!(7)]);
        let circle = [page(json!("a"), true), page(json!("b"), true), page(json!("a"), true)];
        assert!(matches!(read(&circle, Compat::Safe), Err(ReadingError::Circle { .. })));
        assert_eq!(read(&circle, Compat::Strict).unwrap().len(), 3);
    }

    /// A page that the filter empties ends paging in the reference engine, and does not here.
    #[test]
    fn filtered_pages_do_not_end_paging() {
        let cursor = "{type: DefaultPaginator, pagination_strategy: {type: CursorPagination, cursor_value: \"{{ response['next'] }}\", stop_condition: \"{{ last_page_size == 0 }}\"}}";
        let pages = [(5, 0, json!({"next": 1})), (0, 0, json!({"next": 2}))];
        assert_eq!(check(cursor, Compat::Safe, &pages).unwrap().len(), 2);
        assert_eq!(check(cursor, Compat::Strict, &pages).unwrap().len(), 1);
    }

    /// Token and size go where the manifest says; a token that is a path replaces it.
    #[test]
    fn values_are_injected() {
        let yaml = "{type: DefaultPaginator, pagination_strategy: {type: PageIncrement, page_size: 2, start_from_page: 4, inject_on_first_request: true},
            page_token_option: {inject_into: body_json, field_path: [paging, page], type: RequestOption},
            page_size_option: {inject_into: header, field_name: \"X-{{ config['size'] }}\"}}";
        let paginator = paginator(yaml);
        let pager = Pager::new(Some(&paginator), scope(&json!({"size": 2})), Compat::Safe).unwrap();
        let page = Injection { target: Target::Json(vec!["paging".into(), "page".into()]), value: 4.into() };
        let size = Injection { target: Target::Header("X-2".into()), value: 2.into() };
        assert_eq!((pager.injections().unwrap(), pager.path()), (vec![page, size], None));
        let yaml = "{type: DefaultPaginator, pagination_strategy: {type: OffsetIncrement, inject_on_first_request: true}, page_token_option: {type: RequestPath}}";
        let paginator = self::paginator(yaml);
        let pager = Pager::new(Some(&paginator), scope(&json!({"size": 2})), Compat::Safe).unwrap();
        assert_eq!((pager.injections().unwrap(), pager.path()), (vec![], Some("0".into())));
    }
}
