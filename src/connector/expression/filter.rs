//! The filters of the language: those that the engine lacks, and those of its own that Jinja2 has otherwise.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;

use data_encoding::BASE64;
use data_encoding::HEXLOWER;
use md5::Digest;
use minijinja::Environment;
use minijinja::Error;
use minijinja::Value;
use minijinja::value::Kwargs;
use minijinja::value::Rest;
use minijinja::value::ValueKind;
use regex::Regex;
use ring::digest;

use super::engine::TEXT_BYTES_MAX;
use super::function;
use super::json::json;
use super::operator;
use super::python;

pub(super) fn register(engine: &mut Environment<'static>) {
    engine.add_filter("base64encode", |text: &Value| Ok::<_, Error>(BASE64.encode(bytes("base64encode", text)?)));
    // The reference engine's filter of this name encodes; connectors were written against that.
    engine.add_filter("base64binascii_decode", |text: &Value| Ok::<_, Error>(BASE64.encode(bytes("base64binascii_decode", text)?)));
    engine.add_filter("base64decode", base64decode);
    engine.add_filter("hash", hash);
    engine.add_filter("hmac", hmac);
    engine.add_filter("regex_search", regex_search);
    engine.add_filter("string", string);
    engine.add_filter("int", int);
    engine.add_filter("float", float);
    engine.add_filter("default", default);
    engine.add_filter("d", default);
    engine.add_filter("length", length);
    engine.add_filter("count", length);
    engine.add_filter("first", |items: &Value| Ok::<_, Error>(items.try_iter()?.next().unwrap_or(Value::UNDEFINED)));
    engine.add_filter("last", |items: &Value| Ok::<_, Error>(items.try_iter()?.last().unwrap_or(Value::UNDEFINED)));
    engine.add_filter("list", |items: &Value| Ok::<_, Error>(items.try_iter()?.collect::<Vec<_>>()));
    engine.add_filter("join", join);
    engine.add_filter("replace", replace);
    engine.add_filter("lower", |text: &Value| python::text(text).to_lowercase());
    engine.add_filter("upper", |text: &Value| python::text(text).to_uppercase());
    engine.add_filter("trim", trim);
    engine.add_filter("format", |format: &Value, arguments: Rest<Value>| {
        let format = python::text(format);
        operator::bounded_format(&format)?;
        minijinja::format_filter(minijinja::FormatStyle::Printf, &format, &arguments.0)
    });
    engine.add_filter("tojson", |value: &Value| Ok::<_, Error>(html_safe(&json_text(value, true)?)));
    engine.add_filter("urlencode", urlencode);
}

/// The UTF-8 bytes of a text.
fn bytes<'v>(filter: &str, text: &'v Value) -> Result<&'v [u8], Error> {
    match text.as_str() {
        Some(text) => Ok(text.as_bytes()),
        None if text.is_undefined() => Err(operator::undefined_error()),
        None => Err(operator::value_error(format!("{filter} takes text, and was given a {}", text.kind()))),
    }
}

fn base64decode(text: &Value) -> Result<String, Error> {
    let decoded = BASE64.decode(bytes("base64decode", text)?).map_err(|_| operator::value_error("the text is no base64"))?;
    String::from_utf8(decoded).map_err(|_| operator::value_error("the decoded bytes are no text"))
}

fn hash(value: &Value, kind: Option<&str>, salt: Option<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let kind = kwargs.get::<Option<&str>>("hash_type")?.or(kind).unwrap_or("md5");
    let salt = kwargs.get::<Option<Value>>("salt")?.or(salt).filter(Value::is_true);
    kwargs.assert_all_used()?;
    let text = python::text(value) + &salt.as_ref().map(python::text).unwrap_or_default();
    let algorithm = match kind {
        "md5" => return Ok(HEXLOWER.encode(&md5::Md5::digest(text.as_bytes()))),
        "sha1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        "sha256" => &digest::SHA256,
        "sha384" => &digest::SHA384,
        "sha512" => &digest::SHA512,
        _ => return Err(operator::value_error(format!("no hash function called `{kind}`"))),
    };
    Ok(HEXLOWER.encode(digest::digest(algorithm, text.as_bytes()).as_ref()))
}

fn hmac(value: &Value, key: &Value, kind: Option<&str>) -> Result<String, Error> {
    if kind.is_some_and(|kind| kind != "sha256") {
        return Err(operator::value_error("hmac knows sha256 only"));
    }
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, python::text(key).as_bytes());
    Ok(HEXLOWER.encode(ring::hmac::sign(&key, python::text(value).as_bytes()).as_ref()))
}

/// The most compiled patterns kept; when full, the store of them begins anew.
const PATTERNS_MAX: usize = 256;

static PATTERNS: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

/// A pattern, compiled once.
fn pattern(text: &str) -> Result<Regex, Error> {
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pattern) = patterns.get(text) {
        return Ok(pattern.clone());
    }
    let pattern = Regex::new(text).map_err(|error| operator::value_error(format!("`{text}` is no pattern: {error}")))?;
    if patterns.len() >= PATTERNS_MAX {
        patterns.clear();
    }
    patterns.insert(text.to_owned(), pattern.clone());
    Ok(pattern)
}

/// Whether a pattern is one that `regex_search` can use.
pub(super) fn is_pattern(text: &str) -> bool {
    pattern(text).is_ok()
}

fn regex_search(text: &Value, expression: &str) -> Result<String, Error> {
    let text = text.as_str().ok_or_else(|| operator::type_error("regex_search", text, text))?;
    let found = pattern(expression)?.captures(text).and_then(|found| found.get(1).map(|group| group.as_str().to_owned()));
    Ok(found.unwrap_or_default())
}

/// Text as it is; anything else as JSON between triple quotes, which makes it text for the literal reader.
fn string(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Ok(format!("\"\"\"{}\"\"\"", json_text(value, false)?)),
    }
}

fn int(value: &Value, default: Option<Value>, base: Option<u32>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = kwargs.get::<Option<Value>>("default")?.or(default).unwrap_or_else(|| Value::from(0));
    let base = kwargs.get::<Option<u32>>("base")?.or(base).unwrap_or(10);
    kwargs.assert_all_used()?;
    if value.is_undefined() {
        return Err(operator::undefined_error());
    }
    if value.is_integer() {
        return Ok(value.clone());
    }
    let whole = |number: f64| {
        let in_range = number.is_finite() && number.abs() < 1e38;
        in_range.then(|| operator::whole(number.trunc() as i128))
    };
    Ok(match value.as_str() {
        Some(text) => integer_text(text, base).or_else(|| number_text(text).and_then(whole)),
        None if value.kind() == ValueKind::Bool => Some(Value::from(i64::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok().filter(|_| value.is_number()).and_then(whole),
    }
    .unwrap_or(default))
}

/// Python's `int(text, base)`.
fn integer_text(text: &str, base: u32) -> Option<Value> {
    if !(2..=36).contains(&base) {
        return None;
    }
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = match base {
        16 => digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).unwrap_or(digits),
        8 => digits.strip_prefix("0o").or_else(|| digits.strip_prefix("0O")).unwrap_or(digits),
        2 => digits.strip_prefix("0b").or_else(|| digits.strip_prefix("0B")).unwrap_or(digits),
        _ => digits,
    };
    if !digits.split('_').all(|group| !group.is_empty() && group.chars().all(|digit| digit.is_digit(base))) {
        return None;
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), base).ok()?;
    Some(operator::whole(if text.starts_with('-') { -number } else { number }))
}

/// Python's `float(text)`.
fn number_text(text: &str) -> Option<f64> {
    let text = text.trim();
    let underscores =
        text.contains('_') && text.split('_').any(|group| !group.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)));
    if underscores { None } else { text.replace('_', "").parse().ok() }
}

fn float(value: &Value, default: Option<Value>) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(operator::undefined_error());
    }
    let default = || default.clone().unwrap_or_else(|| Value::from(0.0));
    Ok(match value.as_str() {
        Some(text) => number_text(text).map_or_else(default, Value::from),
        None if value.is_number() || value.kind() == ValueKind::Bool => operator::float(value).map_or_else(default, Value::from),
        None => default(),
    })
}

fn default(value: Value, other: Option<Value>, boolean: Option<bool>, kwargs: Kwargs) -> Result<Value, Error> {
    let boolean = kwargs.get::<Option<bool>>("boolean")?.or(boolean).unwrap_or(false);
    let other = kwargs.get::<Option<Value>>("default_value")?.or(other).unwrap_or_else(|| Value::from(""));
    kwargs.assert_all_used()?;
    let replaced = value.is_undefined() || boolean && !value.is_true();
    Ok(if replaced { other } else { value })
}

fn length(value: &Value) -> Result<usize, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(0),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().chars().count()),
        ValueKind::Seq | ValueKind::Map => Ok(value.len().unwrap_or_default()),
        ValueKind::Iterable => Ok(value.try_iter()?.count()),
        _ => Err(operator::type_error("length", value, value)),
    }
}

fn join(items: &Value, separator: Option<&str>, attribute: Option<&str>, kwargs: Kwargs) -> Result<String, Error> {
    let separator = kwargs.get::<Option<&str>>("d")?.or(separator).unwrap_or_default();
    let attribute = kwargs.get::<Option<&str>>("attribute")?.or(attribute);
    kwargs.assert_all_used()?;
    let mut out = String::new();
    for (position, item) in items.try_iter()?.enumerate() {
        if position > 0 {
            out.push_str(separator);
        }
        match attribute {
            Some(attribute) => python::write_text(&mut out, &item.get_attr(attribute)?),
            None => python::write_text(&mut out, &item),
        }
        out = operator::bounded(out)?;
    }
    Ok(out)
}

fn replace(text: &Value, old: &Value, new: &Value, count: Option<usize>) -> Result<String, Error> {
    operator::replaced(&python::text(text), &python::text(old), &python::text(new), count)
}

fn trim(text: &Value, characters: Option<&str>) -> String {
    let text = python::text(text);
    match characters {
        Some(characters) => text.trim_matches(|character| characters.contains(character)).to_owned(),
        None => text.trim().to_owned(),
    }
}

/// Percent-encodes all but letters, digits, `_.-~` and `safe`.
pub(super) fn percent_encoded(text: &str, safe: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || safe.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn urlencode(value: &Value) -> Result<String, Error> {
    let query = |text: &Value| percent_encoded(&python::text(text), "").replace("%20", "+");
    let pair = |key: &Value, value: &Value| format!("{}={}", query(key), query(value));
    let pairs: Vec<String> = match value.kind() {
        ValueKind::Map => match value.as_object().and_then(|object| object.try_iter_pairs()) {
            Some(pairs) => pairs.map(|(key, value)| pair(&key, &value)).collect(),
            None => Vec::new(),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            let mut pairs = Vec::new();
            for item in value.try_iter()? {
                pairs.push(pair(&operator::item(&item, &Value::from(0))?, &operator::item(&item, &Value::from(1))?));
            }
            pairs
        }
        _ => return Ok(percent_encoded(&python::text(value), "/")),
    };
    Ok(pairs.join("&"))
}

/// `json.dumps(value)`: a space behind commas and colons, and ASCII only.
fn json_text(value: &Value, sorted: bool) -> Result<String, Error> {
    let mut out = String::new();
    write_json(&mut out, value, sorted, 0)?;
    Ok(out)
}

/// How deep JSON text may nest.
const DEPTH_MAX: usize = 200;

fn write_json(out: &mut String, value: &Value, sorted: bool, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX || out.len() > TEXT_BYTES_MAX {
        return Err(operator::value_error("the value is too large for JSON text"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if value.is_integer() => {
            let _ = write!(out, "{value}");
        }
        ValueKind::Number => {
            let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
            out.push_str(&match number {
                number if number.is_nan() => "NaN".to_owned(),
                number if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
                number => function::float_text(number),
            });
        }
        ValueKind::String => write_json_text(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            out.push('[');
            for (position, item) in value.try_iter()?.enumerate() {
                if position > 0 {
                    out.push_str(", ");
                }
                write_json(out, &item, sorted, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            let pairs = value.as_object().and_then(|object| object.try_iter_pairs());
            let mut pairs: Vec<(String, Value)> = pairs.into_iter().flatten().map(|(key, value)| (python::text(&key), value)).collect();
            if sorted {
                pairs.sort_by(|(left, _), (right, _)| left.cmp(right));
            }
            out.push('{');
            for (position, (key, value)) in pairs.iter().enumerate() {
                if position > 0 {
                    out.push_str(", ");
                }
                write_json_text(out, key);
                out.push_str(": ");
                write_json(out, value, sorted, depth + 1)?;
            }
            out.push('}');
        }
        _ if value.downcast_object_ref::<super::json::BigInt>().is_some() => {
            let _ = write!(out, "{}", json(value));
        }
        _ => return Err(operator::type_error("JSON", value, value)),
    }
    Ok(())
}

fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// What Jinja2 does to JSON so that it may stand in a page.
fn html_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").replace('\'', "\\u0027")
}
