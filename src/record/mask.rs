//! Payment card numbers are never stored: they are found in a record and masked before anything is written (promise P12).
//!
//! Order matters to the caller: mask first, then digest, tag, index and seal. A digest of the unmasked text would be
//! enough to guess the number, of which the last four digits are known. What is derived from the unmasked record (the
//! emitted record, primary key, partition, cursor) goes through [`mask_value`] as well.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::record::card;
use crate::record::scan::JsonError;
use crate::record::scan::Scanner;
use crate::record::scan::Text;

/// How many digits stay readable, at the end.
const KEPT_DIGITS: usize = 4;

/// One place in a record where something was masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// The JSON Pointer within the record as stored.
    pub pointer: String,
    /// Why.
    pub reason: MaskReason,
}

/// Why something was masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskReason {
    /// It was a payment card number.
    PaymentCard,
}

/// A record in which something was masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// The record's text, byte for byte as received but for the masked places.
    pub raw: Vec<u8>,
    /// The places, one for every string or number touched; at least one.
    pub masks: Vec<Mask>,
}

/// Masks the payment card numbers in the strings, numbers and member names of the JSON value `raw`.
///
/// Nothing is returned, and next to nothing is done, when there is none. Of a card number the last four digits stay; a
/// number becomes a string.
///
/// # Errors
/// When `raw` is not one JSON value in UTF-8, or nests too deep; looked at only when it may hold a card number.
pub fn mask_cards(raw: &[u8]) -> Result<Option<Masked>, JsonError> {
    if !may_hold_card(raw) {
        return Ok(None);
    }
    let mut scanner = Scanner::new(raw)?;
    let mut masker = Masker { raw, path: Vec::new(), out: Vec::new(), copied: 0, masks: Vec::new() };
    masker.value(&mut scanner)?;
    scanner.finish()?;
    Ok(masker.finish())
}

/// Masks the payment card numbers in `text`; nothing is returned when there is none.
pub fn mask_text(text: &str) -> Option<String> {
    if !may_hold_card(text.as_bytes()) {
        return None;
    }
    let found = card::find(text);
    let mut masked = String::with_capacity(text.len());
    let mut copied = 0;
    for range in &found {
        masked.push_str(&text[copied..range.start]);
        masked.push_str(&stars(&text[range.clone()]));
        copied = range.end;
    }
    masked.push_str(&text[copied..]);
    (!found.is_empty()).then_some(masked)
}

/// Masks the payment card numbers in the strings, numbers and member names of `value`, and says where.
pub fn mask_value(value: &mut Value) -> Vec<Mask> {
    let mut masks = Vec::new();
    mask_tree(value, String::new(), &mut masks);
    masks
}

fn mask_tree(value: &mut Value, pointer: String, masks: &mut Vec<Mask>) {
    match value {
        Value::String(text) => {
            if let Some(masked) = mask_text(text) {
                *text = masked;
                masks.push(Mask { pointer, reason: MaskReason::PaymentCard });
            }
        }
        Value::Number(number) => {
            if let Some(digits) = card::of_number(number.as_str()) {
                *value = Value::String(stars(&digits));
                masks.push(Mask { pointer, reason: MaskReason::PaymentCard });
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                mask_tree(element, format!("{pointer}/{index}"), masks);
            }
        }
        Value::Object(members) => {
            let touched = members.keys().any(|name| mask_text(name).is_some());
            if touched {
                let taken = std::mem::take(members);
                members.extend(taken.into_iter().map(|(name, member)| {
                    let Some(masked) = mask_text(&name) else { return (name, member) };
                    masks.push(Mask { pointer: step(&pointer, &masked), reason: MaskReason::PaymentCard });
                    (masked, member)
                }));
            }
            for (name, member) in members {
                mask_tree(member, step(&pointer, name), masks);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// Walks a record that may hold a card number, copying what lies between the masked places.
struct Masker<'a> {
    raw: &'a [u8],
    path: Vec<Step>,
    out: Vec<u8>,
    /// How much of `raw` is in `out` or replaced there.
    copied: usize,
    masks: Vec<Mask>,
}

enum Step {
    Member(Text),
    Masked(String),
    Element(usize),
}

impl Masker<'_> {
    fn value(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match scanner.peek() {
            Some(b'{') => scanner.members(|scanner, name| {
                let masked = mask_text(&name.decode(self.raw));
                self.path.push(match &masked {
                    Some(masked) => Step::Masked(masked.clone()),
                    None => Step::Member(name.clone()),
                });
                if let Some(masked) = masked {
                    self.replace(name.inner.start - 1..name.inner.end + 1, &masked);
                }
                self.value(scanner)?;
                self.path.pop();
                Ok(())
            }),
            Some(b'[') => scanner.elements(|scanner, index| {
                self.path.push(Step::Element(index));
                self.value(scanner)?;
                self.path.pop();
                Ok(())
            }),
            Some(b'"') => {
                let text = scanner.string()?;
                if let Some(masked) = mask_text(&text.decode(self.raw)) {
                    self.replace(text.inner.start - 1..text.inner.end + 1, &masked);
                }
                Ok(())
            }
            _ => {
                let bare = scanner.bare()?;
                let number = std::str::from_utf8(&self.raw[bare.clone()]).unwrap_or_default();
                if let Some(digits) = card::of_number(number) {
                    self.replace(bare, &stars(&digits));
                }
                Ok(())
            }
        }
    }

    /// Writes `masked` as a JSON string where `range` was.
    fn replace(&mut self, range: std::ops::Range<usize>, masked: &str) {
        self.out.extend_from_slice(&self.raw[self.copied..range.start]);
        self.out.extend_from_slice(Value::from(masked).to_string().as_bytes());
        self.copied = range.end;
        self.masks.push(Mask { pointer: self.pointer(), reason: MaskReason::PaymentCard });
    }

    fn pointer(&self) -> String {
        self.path.iter().fold(String::new(), |pointer, next| match next {
            Step::Member(name) => step(&pointer, &name.decode(self.raw)),
            Step::Masked(name) => step(&pointer, name),
            Step::Element(index) => format!("{pointer}/{index}"),
        })
    }

    fn finish(mut self) -> Option<Masked> {
        if self.masks.is_empty() {
            return None;
        }
        self.out.extend_from_slice(&self.raw[self.copied..]);
        Some(Masked { raw: self.out, masks: self.masks })
    }
}

fn step(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// All digits but the last four as stars; separators stay.
fn stars(card: &str) -> String {
    let digits = card.bytes().filter(u8::is_ascii_digit).count();
    let mut seen = 0;
    let hide = |c: char| {
        seen += usize::from(c.is_ascii_digit());
        if c.is_ascii_digit() && seen + KEPT_DIGITS <= digits { '*' } else { c }
    };
    card.chars().map(hide).collect()
}

/// Whether a closer look is needed: digits, with no more than separators (or a number's point) between them, that would be a
/// card number if nothing around them spoke against it, or an escape that can hide a digit.
///
/// Thirteen digits cover every thirteenth byte, so most bytes are not even looked at.
fn may_hold_card(raw: &[u8]) -> bool {
    let stride = *card::LENGTHS.start();
    let within = |byte: u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'.');
    let mut at = stride - 1;
    while let Some(&byte) = raw.get(at) {
        if !within(byte) {
            at += stride;
            continue;
        }
        let start = raw[..at].iter().rposition(|&byte| !within(byte)).map_or(0, |before| before + 1);
        let end = raw[at..].iter().position(|&byte| !within(byte)).map_or(raw.len(), |length| at + length);
        if has_long_run(&raw[start..end]) && is_suspect(&raw[start..end], raw.get(end)) {
            return true;
        }
        at = end + stride;
    }
    raw.contains(&b'\\') && raw.windows(2).any(|pair| pair == b"\\u")
}

/// Whether these digits and separators would be a card number as a text, or as a bare number; `after` is the byte behind them.
fn is_suspect(run: &[u8], after: Option<&u8>) -> bool {
    // Only digits, spaces, dashes and points: never anything but UTF-8.
    let run = std::str::from_utf8(run).unwrap_or_default();
    matches!(after, Some(b'e' | b'E')) || !card::find(run).is_empty() || card::of_number(run.trim_matches(' ')).is_some()
}

fn has_long_run(bytes: &[u8]) -> bool {
    let (mut digits, mut separators) = (0, 0);
    bytes.iter().any(|byte| {
        if byte.is_ascii_digit() {
            digits += 1;
            separators = 0;
        } else {
            separators += 1;
            if separators > card::SEPARATORS_MAX {
                digits = 0;
            }
        }
        digits >= *card::LENGTHS.start()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::record::scrawl::scrawl;
    use crate::record::scrawl::value;

    /// A document with a card number in a name, a text or a number, somewhere.
    fn planted() -> impl Strategy<Value = Value> {
        let text = select(vec!["4111111111111111", "paid by 4111 1111-1111 1111 12/27", "3782 822463 10005"]).prop_map(Value::from);
        let number = select(vec!["4111111111111111", "5.555555555554444E15", "378282246310005.0"]);
        let card = prop_oneof![text, number.prop_map(|number| serde_json::from_str(number).unwrap())];
        (prop::collection::vec(value(), 0..4), card, any::<prop::sample::Index>()).prop_map(|(mut beside, card, at)| {
            let at = at.index(beside.len() + 1);
            beside.insert(at, serde_json::json!({"a": [card], "4000-0000-0000-0002": at}));
            Value::from(beside)
        })
    }

    proptest! {
        /// The text and the tree are masked alike, in the same places, and nothing is left to mask.
        #[test]
        fn nothing_is_left(document in planted(), seed: u64) {
            let raw = scrawl(&document, seed);
            let masked = mask_cards(raw.as_bytes()).unwrap().expect("a card number was planted");
            let mut tree: Value = serde_json::from_str(&raw).unwrap();
            let masks = mask_value(&mut tree);
            prop_assert_eq!(serde_json::from_slice::<Value>(&masked.raw).unwrap(), tree);
            let sorted = |masks: &[Mask]| { let mut places: Vec<_> = masks.iter().map(|mask| mask.pointer.clone()).collect(); places.sort(); places };
            prop_assert_eq!(sorted(&masked.masks), sorted(&masks));
            prop_assert!(masks.len() >= 2);
            prop_assert_eq!(mask_cards(&masked.raw), Ok(None));
        }

        /// The quick look never overlooks what the closer look finds.
        #[test]
        fn quick_look_is_safe(text in "[ .x-]{0,30}(4000[ -]{0,3}0000[ -]{0,3}0000[ -]{0,3}0002|4222222222222|[0-9 -]{0,40})[ .x-]{0,30}") {
            prop_assert!(card::find(&text).is_empty() || may_hold_card(text.as_bytes()));
        }
    }

    /// Everything but the masked places stays byte for byte; a number becomes a string; escapes hide nothing.
    #[test]
    fn masks_in_place() {
        let raw = r#"{ "id":1732435200000, "note":"\u0034111 1111 1111 1111 ok\n", "n" : 4111111111111111, "a/b":["4222222222222"] }"#;
        let masked = mask_cards(raw.as_bytes()).unwrap().unwrap();
        let expected = r#"{ "id":1732435200000, "note":"**** **** **** 1111 ok\n", "n" : "************1111", "a/b":["*********2222"] }"#;
        assert_eq!(String::from_utf8(masked.raw).unwrap(), expected);
        assert_eq!(masked.masks.into_iter().map(|mask| mask.pointer).collect::<Vec<_>>(), ["/note", "/n", "/a~1b/0"]);
    }
}
