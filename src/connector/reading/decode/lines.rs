//! Answers of lines, and JSON documents within packed answers.

use super::DecodeError;
use super::Form;
use super::JsonOrLimit;
use crate::connector::reading::Compat;
use crate::record::scan::Scanner;

/// Every line as JSON. Blank lines are none; one that is no JSON is left out in strict readings, as the reference engine does, and
/// else an error.
pub(super) fn json_lines(body: &[u8], compat: Compat, form: &mut Form) -> Result<(), DecodeError> {
    for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let relaxed = without_constants(line);
        let line = relaxed.as_deref().unwrap_or(line);
        let whole = Scanner::new(line).and_then(|mut scanner| scanner.value().and_then(|_| scanner.finish()));
        match whole {
            Ok(()) => form.element(|out| out.extend_from_slice(line))?,
            Err(crate::record::JsonError::NotUtf8 { .. }) => return Err(DecodeError::Encoding { encoding: "utf-8" }),
            Err(_) if compat == Compat::Strict => {
                tracing::warn!(line = number + 1, "a line of the answer is no JSON and is left out");
            }
            Err(source) => return Err(JsonOrLimit::Json(source).of("line", number + 1)),
        }
    }
    Ok(())
}

/// Every line as a record of its own with the one member `record`.
pub(super) fn lines(body: &[u8], form: &mut Form) -> Result<(), DecodeError> {
    let mut rest = std::str::from_utf8(body).map_err(|_| DecodeError::Encoding { encoding: "utf-8" })?;
    while !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        form.element(|out| {
            out.extend_from_slice(b"{\"record\":");
            write_text(out, line);
            out.push(b'}');
        })?;
        rest = after.strip_prefix("\r\n").or_else(|| after.strip_prefix(['\n', '\r'])).unwrap_or_default();
    }
    Ok(())
}

/// A JSON document within a packed answer; unlike an answer that is JSON itself, it may not be anything else.
pub(super) fn document(body: &[u8], form: &mut Form) -> Result<(), DecodeError> {
    let relaxed = without_constants(body);
    form.value(relaxed.as_deref().unwrap_or(body)).map_err(|error| error.of("document", 1))
}

/// Appends a text as a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// The text with `NaN` and the infinities, which Python reads as numbers and writes as null, as null; nothing when it has none.
pub(super) fn without_constants(text: &[u8]) -> Option<Vec<u8>> {
    const CONSTANTS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    if CONSTANTS[1..].iter().all(|constant| memchr::memmem::find(text, constant).is_none()) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    let (mut at, mut in_text, mut found) = (0, false, false);
    while let Some(byte) = text.get(at) {
        let constant = CONSTANTS.iter().find(|constant| !in_text && text[at..].starts_with(constant));
        match (byte, constant) {
            (_, Some(constant)) => {
                out.extend_from_slice(b"null");
                at += constant.len();
                found = true;
                continue;
            }
            (b'"', _) => in_text = !in_text,
            (b'\\', _) if in_text => {
                out.push(*byte);
                at += 1;
            }
            _ => {}
        }
        out.extend(text.get(at));
        at += 1;
    }
    found.then_some(out)
}
