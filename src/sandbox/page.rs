//! Which records an answer holds: the three ways of paging, and the filter on `updated_at`.

use std::ops::Range;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;

use super::shop::Shop;
use super::shop::Stream;

/// The records in an answer when the caller does not say.
pub const PAGE_SIZE_DEFAULT: u64 = 50;

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// A parameter that no stream has.
    #[error(
        "there is no parameter `{name}`; use page and per_page, or offset and limit, or cursor and limit, and updated_since, updated_before"
    )]
    UnknownParameter {
        /// The parameter.
        name: String,
    },
    /// A parameter twice.
    #[error("`{name}` is given more than once")]
    Repeated {
        /// The parameter.
        name: String,
    },
    /// A value that cannot be read, or is out of bounds.
    #[error("`{name}` must be {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What would do.
        expected: String,
    },
    /// Two ways of paging in one query.
    #[error("one way of paging at a time: page and per_page, or offset and limit, or cursor and limit")]
    Mixed,
    /// A cursor that this stream never gave.
    #[error("the cursor is not one that this stream gave; begin again without one")]
    Cursor,
}

/// A query that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageQuery {
    way: Way,
    size: u64,
    since: Option<i64>,
    until: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// Counted from 1.
    Page(u64),
    /// Records to skip.
    Offset(u64),
    /// The least index that may come.
    Cursor(u64),
}

/// The part of a stream that an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The indices of its records, rising.
    pub indices: Vec<Range<u64>>,
    /// The records that the filter lets through, over all pages.
    pub total: u64,
    /// Whether another page follows.
    pub has_more: bool,
    /// The cursor of the page that follows.
    pub next_cursor: Option<String>,
}

impl PageQuery {
    /// Reads a query's pairs.
    ///
    /// # Errors
    /// [`PageError`]: a query is understood as a whole or refused.
    pub fn read<'a>(stream: Stream, size_max: u64, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, PageError> {
        const NAMES: [&str; 7] = ["page", "per_page", "offset", "limit", "cursor", "updated_since", "updated_before"];
        let mut given: [Option<&str>; NAMES.len()] = [None; NAMES.len()];
        for (name, value) in pairs {
            let slot = NAMES.iter().position(|known| *known == name).and_then(|index| given.get_mut(index));
            let slot = slot.ok_or_else(|| PageError::UnknownParameter { name: crate::ids::cut(name) })?;
            if slot.replace(value).is_some() {
                return Err(PageError::Repeated { name: name.to_owned() });
            }
        }
        let [page, per_page, offset, limit, cursor, since, before] = given;
        let by_page = page.is_some() || per_page.is_some();
        if (by_page && (limit.is_some() || offset.is_some() || cursor.is_some())) || (offset.is_some() && cursor.is_some()) {
            return Err(PageError::Mixed);
        }
        let size_name = if by_page { "per_page" } else { "limit" };
        let size = number(size_name, per_page.or(limit), 1..=size_max)?.unwrap_or(PAGE_SIZE_DEFAULT.min(size_max));
        let way = match (number("page", page, 1..=u64::MAX)?, number("offset", offset, 0..=u64::MAX)?, cursor) {
            (Some(page), ..) => Way::Page(page),
            (_, Some(offset), _) => Way::Offset(offset),
            (.., Some(cursor)) => Way::Cursor(position(stream, cursor).ok_or(PageError::Cursor)?),
            _ if by_page => Way::Page(1),
            _ => Way::Cursor(0),
        };
        Ok(Self { way, size, since: time("updated_since", since)?, until: time("updated_before", before)? })
    }

    /// Finds the page in the shop as it is now.
    pub fn find(&self, stream: Stream, shop: &Shop) -> Page {
        let selected = shop.select(stream, self.since, self.until);
        let total = selected.iter().map(|range| range.end - range.start).sum();
        let skip = match self.way {
            Way::Page(page) => (page - 1).saturating_mul(self.size),
            Way::Offset(offset) => offset,
            Way::Cursor(least) => selected.iter().map(|range| least.clamp(range.start, range.end) - range.start).sum(),
        };
        let indices = slice(&selected, skip, self.size);
        let taken: u64 = indices.iter().map(|range| range.end - range.start).sum();
        let has_more = taken > 0 && skip + taken < total;
        let next_cursor = indices.last().filter(|_| has_more).map(|range| cursor(stream, range.end));
        Page { indices, total, has_more, next_cursor }
    }
}

/// The `size` positions after the first `skip` of those ranges.
fn slice(ranges: &[Range<u64>], mut skip: u64, mut size: u64) -> Vec<Range<u64>> {
    let mut slice = Vec::new();
    for range in ranges {
        let length = range.end - range.start;
        let skipped = skip.min(length);
        let taken = size.min(length - skipped);
        skip -= skipped;
        size -= taken;
        if taken > 0 {
            let start = range.start + skipped;
            slice.push(start..start + taken);
        }
    }
    slice
}

fn number(name: &'static str, text: Option<&str>, bounds: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, PageError> {
    let Some(text) = text else { return Ok(None) };
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    let (least, most) = bounds.into_inner();
    let expected = if most == u64::MAX { format!("a number of at least {least}") } else { format!("a number from {least} to {most}") };
    number.map(Some).ok_or(PageError::Value { name, expected })
}

fn time(name: &'static str, text: Option<&str>) -> Result<Option<i64>, PageError> {
    let Some(text) = text else { return Ok(None) };
    let expected = "an RFC 3339 time such as 2026-11-24T10:00:00Z".to_owned();
    let time: Timestamp = text.parse().map_err(|_| PageError::Value { name, expected })?;
    Ok(Some(time.as_second()))
}

/// Opaque to the caller: the stream's name and the least index to come.
fn cursor(stream: Stream, least: u64) -> String {
    BASE64URL_NOPAD.encode(format!("{}:{least}", stream.name()).as_bytes())
}

fn position(stream: Stream, cursor: &str) -> Option<u64> {
    let text = String::from_utf8(BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?).ok()?;
    text.strip_prefix(stream.name())?.strip_prefix(':')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(stream: Stream, query: &str) -> Result<PageQuery, PageError> {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        PageQuery::read(stream, 250, pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
    }

    /// What is not understood is refused, each with a sentence of its own.
    #[test]
    fn odd_queries_are_refused() {
        let value = |name, expected: &str| PageError::Value { name, expected: expected.to_owned() };
        let cases = [
            ("colour=blue", PageError::UnknownParameter { name: "colour".to_owned() }),
            ("page=1&page=2", PageError::Repeated { name: "page".to_owned() }),
            ("page=0", value("page", "a number of at least 1")),
            ("per_page=251", value("per_page", "a number from 1 to 250")),
            ("limit=0", value("limit", "a number from 1 to 250")),
            ("offset=-1", value("offset", "a number of at least 0")),
            ("page=1&limit=5", PageError::Mixed),
            ("offset=1&cursor=x", PageError::Mixed),
            ("cursor=x", PageError::Cursor),
            ("updated_since=yesterday", value("updated_since", "an RFC 3339 time such as 2026-11-24T10:00:00Z")),
        ];
        for (query, error) in cases {
            assert_eq!(read(Stream::Orders, query), Err(error), "{query}");
        }
        let foreign = cursor(Stream::Invoices, 5);
        assert_eq!(read(Stream::Orders, &format!("cursor={foreign}")), Err(PageError::Cursor));
    }

    proptest! {
        // Each case walks all streams three times.
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// All three ways give every record that the filter lets through, once, whatever the size and the shop's age;
        /// and the filter agrees with a look at each record.
        #[test]
        fn three_ways_give_the_same(
            records in 10_u64..400, ticks in 0_i64..60, size in 1_u64..60, window in prop::option::of((0_i64..8_000_000, 0_i64..8_000_000)),
        ) {
            let opened = Timestamp::from_second(1_800_000_000).unwrap();
            let mut shop = Shop::new(7, records, opened);
            prop_assert_eq!(shop.counts().total(), records);
            for tick in 1..=ticks {
                shop.advance(Timestamp::from_second(opened.as_second() + 30 * tick).unwrap());
            }
            // Bounds fall within the past, at its end and among the ticks.
            let time = |back: i64| Timestamp::from_second(opened.as_second() + 1_000 - back).unwrap();
            let filter = window.map_or(String::new(), |(since, before)| {
                format!("&updated_since={}&updated_before={}", time(since), time(before))
            });
            for stream in Stream::ALL {
                let everything = read(stream, "per_page=250").unwrap();
                let expected: Vec<u64> = (0..everything.find(stream, &shop).total)
                    .filter(|index| {
                        let mut body = Vec::new();
                        shop.write(stream, *index, &mut body).unwrap();
                        let record: serde_json::Value = serde_json::from_slice(&body).unwrap();
                        let updated: Timestamp = record["updated_at"].as_str().unwrap().parse().unwrap();
                        window.is_none_or(|(since, before)| time(since) <= updated && updated <= time(before))
                    })
                    .collect();
                let walk = |first: String, next: &dyn Fn(u64, &Page) -> String| {
                    let (mut query, mut seen) = (first, Vec::new());
                    for turn in 1..=500 {
                        let page = read(stream, &format!("{query}{filter}")).unwrap().find(stream, &shop);
                        assert_eq!(page.total, expected.len() as u64);
                        seen.extend(page.indices.iter().cloned().flatten());
                        if !page.has_more {
                            break;
                        }
                        query = next(turn, &page);
                    }
                    seen
                };
                let by_page = walk(format!("per_page={size}"), &|turn, _| format!("per_page={size}&page={}", turn + 1));
                let by_offset = walk(format!("limit={size}&offset=0"), &|turn, _| format!("limit={size}&offset={}", turn * size));
                let by_cursor = walk(format!("limit={size}"), &|_, page| {
                    format!("limit={size}&cursor={}", page.next_cursor.as_deref().unwrap())
                });
                prop_assert_eq!(&by_page, &expected);
                prop_assert_eq!(&by_offset, &expected);
                prop_assert_eq!(&by_cursor, &expected);
            }
        }
    }
}
