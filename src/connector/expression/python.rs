//! How Python writes values: `str()` and `repr()`.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::engine::TEXT_BYTES_MAX;
use super::moment::Moment;
use super::sequence::Tuple;
use crate::connector::number;

/// `str(value)`.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write_text(&mut out, value);
    out
}

/// `str(value)` of a JSON value.
pub fn python_text(value: &serde_json::Value) -> String {
    text(&super::json::dynamic(value))
}

/// Appends `str(value)`; a missing value is empty.
pub(super) fn write_text(out: &mut String, value: &Value) {
    match (value.as_str(), Moment::of(value)) {
        (Some(text), _) => out.push_str(text),
        (None, Some(moment)) => out.push_str(&moment.text()),
        (None, None) if value.is_undefined() => {}
        (None, None) => write_repr(out, value),
    }
}

/// Appends `repr(value)`.
pub(super) fn write_repr(out: &mut String, value: &Value) {
    // A text beyond the limit is refused by whoever asked for it; here it only stops growing.
    if out.len() > TEXT_BYTES_MAX {
        return;
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if value.is_integer() => {
            let _ = write!(out, "{value}");
        }
        ValueKind::Number => number::write_float(out, f64::try_from(value.clone()).unwrap_or(f64::NAN)),
        ValueKind::String => write_quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => write_sequence(out, value),
        ValueKind::Map => write_map(out, value),
        _ => match Moment::of(value) {
            Some(moment) => out.push_str(&moment.repr()),
            None => {
                let _ = write!(out, "{value}");
            }
        },
    }
}

fn write_sequence(out: &mut String, value: &Value) {
    let tuple = value.downcast_object_ref::<Tuple>().is_some();
    out.push(if tuple { '(' } else { '[' });
    let mut count = 0;
    for item in value.try_iter().into_iter().flatten() {
        if count > 0 {
            out.push_str(", ");
        }
        write_repr(out, &item);
        count += 1;
    }
    if tuple && count == 1 {
        out.push(',');
    }
    out.push(if tuple { ')' } else { ']' });
}

fn write_map(out: &mut String, value: &Value) {
    out.push('{');
    let pairs = value.as_object().and_then(|object| object.try_iter_pairs());
    for (position, (key, value)) in pairs.into_iter().flatten().enumerate() {
        if position > 0 {
            out.push_str(", ");
        }
        write_repr(out, &key);
        out.push_str(": ");
        write_repr(out, &value);
    }
    out.push('}');
}

/// Appends `repr(text)`: single quotes, unless the text holds them and no double quotes.
pub(super) fn write_quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == quote => {
                out.push('\\');
                out.push(quote);
            }
            ' '..='~' => out.push(character),
            _ if printable(character) => out.push(character),
            _ => {
                let code = u32::from(character);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Whether Python prints the character as it is. Rust escapes combining marks as well, which Python does not: they are letters'
/// companions, not controls.
fn printable(character: char) -> bool {
    !(character.is_control() || character.is_whitespace() || character.escape_debug().len() > 4 && !character.is_alphanumeric())
}
