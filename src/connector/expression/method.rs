//! Methods of Python's values that the engine lacks, or has otherwise.

use minijinja::Error;
use minijinja::ErrorKind;
use minijinja::State;
use minijinja::Value;
use minijinja::value::ValueKind;
use minijinja::value::from_args;

use super::engine::TEXT_BYTES_MAX;
use super::operator;
use super::sequence::Tuple;

/// Calls a method on a value that has none of its own by this name.
pub(super) fn call(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let own = match value.kind() {
        ValueKind::Undefined | ValueKind::None => return Err(operator::undefined_error()),
        ValueKind::String => text(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => map(value, method, args),
        ValueKind::Seq | ValueKind::Iterable => sequence(value, method, args),
        _ => None,
    };
    let result = own.unwrap_or_else(|| minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args));
    // Python finds no such attribute, which Jinja turns into a missing value, which cannot be called.
    result.map_err(|error| if error.kind() == ErrorKind::UnknownMethod { operator::undefined_error() } else { error })
}

fn text(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        "join" => from_args(args).and_then(|(items,): (&Value,)| join(text, items)),
        "split" if args.len() == 1 && args[0].as_str() == Some("") => Err(operator::value_error("empty separator")),
        "replace" => from_args(args).and_then(|(old, new, count): (&str, &str, Option<i64>)| {
            operator::replaced(text, old, new, count.and_then(|count| usize::try_from(count).ok())).map(Value::from)
        }),
        "format" => return operator::bounded_format(text).err().map(Err),
        "rsplit" => from_args(args).map(|(separator, most): (&str, Option<usize>)| {
            let mut parts: Vec<Value> = match most {
                Some(most) => text.rsplitn(most.saturating_add(1), separator).map(Value::from).collect(),
                None => text.rsplit(separator).map(Value::from).collect(),
            };
            parts.reverse();
            Value::from(parts)
        }),
        "index" => from_args(args).and_then(|(part,): (&str,)| match text.find(part) {
            Some(at) => Ok(Value::from(text[..at].chars().count())),
            None => Err(operator::value_error("substring not found")),
        }),
        "zfill" => from_args(args).map(|(width,): (usize,)| {
            let width = width.min(TEXT_BYTES_MAX);
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => (&text[..1], digits),
                None => ("", text),
            };
            let zeros = "0".repeat(width.saturating_sub(text.chars().count()));
            Value::from(format!("{sign}{zeros}{digits}"))
        }),
        _ => return None,
    })
}

fn join(separator: &str, items: &Value) -> Result<Value, Error> {
    let items = match items.as_str() {
        Some(text) => text.chars().map(Value::from).collect::<Vec<_>>(),
        None => items.try_iter()?.collect(),
    };
    let mut out = String::new();
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push_str(separator);
        }
        match item.as_str() {
            Some(text) => out.push_str(text),
            None => return Err(operator::type_error("join", &Value::from(separator), item)),
        }
        out = operator::bounded(out)?;
    }
    Ok(Value::from(out))
}

fn map(value: &Value, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let object = value.as_object()?;
    Some(match method {
        "items" => from_args(args).map(|()| {
            let pairs = object.try_iter_pairs().into_iter().flatten();
            pairs.map(|(key, value)| Value::from_object(Tuple(vec![key, value]))).collect::<Vec<_>>().into()
        }),
        "keys" => from_args(args).map(|()| object.try_iter().into_iter().flatten().collect::<Vec<_>>().into()),
        "values" => from_args(args).map(|()| {
            let pairs = object.try_iter_pairs().into_iter().flatten();
            pairs.map(|(_, value)| value).collect::<Vec<_>>().into()
        }),
        _ => return None,
    })
}

fn sequence(value: &Value, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        "index" => from_args(args).and_then(|(wanted,): (&Value,)| {
            let position = value.try_iter()?.position(|item| item == *wanted);
            position.map(Value::from).ok_or_else(|| operator::value_error("the value is not in the list"))
        }),
        "count" => {
            from_args(args).and_then(|(wanted,): (&Value,)| Ok(Value::from(value.try_iter()?.filter(|item| item == wanted).count())))
        }
        _ => return None,
    })
}
