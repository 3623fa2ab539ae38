//! Python's operators, with its type errors: an error of type makes the reference engine take the template itself as the result.

use std::cmp::Ordering;

use minijinja::Environment;
use minijinja::Error;
use minijinja::ErrorKind;
use minijinja::Value;
use minijinja::value::Rest;
use minijinja::value::ValueKind;

use super::engine::TEXT_BYTES_MAX;
use super::moment::Moment;
use super::python;
use super::sequence::List;
use super::sequence::Map;
use super::sequence::Tuple;

/// The most elements of a list that an evaluation may make.
const LIST_ELEMENTS_MAX: usize = 100_000;

/// An error of type: the wrong kinds of values met.
pub(super) fn type_error(what: &str, left: &Value, right: &Value) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what} is not defined for {} and {}", left.kind(), right.kind()))
}

/// An error of value: the right kind, and not acceptable.
pub(super) fn value_error(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadSerialization, detail.into())
}

/// The error of asking something of a missing value.
pub(super) fn undefined_error() -> Error {
    Error::from(ErrorKind::UndefinedError)
}

/// The text, unless it is longer than an evaluation may make.
pub(super) fn bounded(text: String) -> Result<String, Error> {
    if text.len() > TEXT_BYTES_MAX { Err(value_error("the text is too long")) } else { Ok(text) }
}

/// The text with `old` replaced by `new`, everywhere or so many times.
pub(super) fn replaced(text: &str, old: &str, new: &str, count: Option<usize>) -> Result<String, Error> {
    let places = text.matches(old).count().min(count.unwrap_or(usize::MAX));
    let longest = places.saturating_mul(new.len()).saturating_add(text.len());
    if longest > TEXT_BYTES_MAX {
        return Err(value_error("the text is too long"));
    }
    Ok(text.replacen(old, new, places))
}

/// Whether a format names widths that would make a text too long.
pub(super) fn bounded_format(format: &str) -> Result<(), Error> {
    let wide = format.split(|character: char| !character.is_ascii_digit()).any(|digits| digits.len() > 4);
    if wide { Err(value_error("the format is too wide")) } else { Ok(()) }
}

pub(super) fn register(engine: &mut Environment<'static>) {
    engine.add_function("__add", add);
    engine.add_function("__sub", subtract);
    engine.add_function("__mul", multiply);
    engine.add_function("__div", divide);
    engine.add_function("__floordiv", floor_divide);
    engine.add_function("__mod", remainder);
    engine.add_function("__pow", power);
    engine.add_function("__neg", negate);
    engine.add_function("__concat", |left: &Value, right: &Value| bounded(python::text(left) + &python::text(right)));
    engine.add_function("__lt", |left: &Value, right: &Value| Ok::<_, Error>(compare(left, right)? == Ordering::Less));
    engine.add_function("__le", |left: &Value, right: &Value| Ok::<_, Error>(compare(left, right)? != Ordering::Greater));
    engine.add_function("__gt", |left: &Value, right: &Value| Ok::<_, Error>(compare(left, right)? == Ordering::Greater));
    engine.add_function("__ge", |left: &Value, right: &Value| Ok::<_, Error>(compare(left, right)? != Ordering::Less));
    engine.add_function("__in", contains);
    engine.add_function("__chain", chain);
    engine.add_function("__item", item);
    engine.add_function("__slice", slice);
    engine.add_function("__iterable", iterable);
    engine.add_function(
        "__selectable",
        |value: &Value| {
            if value.is_true() { iterable(value) } else { Ok(Value::from(Vec::<Value>::new())) }
        },
    );
    engine.add_function("__tuple", |items: Rest<Value>| Value::from_object(Tuple::new(items.0)));
    engine.add_function("__list", |items: Rest<Value>| Value::from_object(List::new(items.0)));
    engine.add_function("__map", |items: Rest<Value>| {
        let pairs = items.0.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        Value::from_object(Map::new(pairs.collect()))
    });
}

fn defined(values: &[&Value]) -> Result<(), Error> {
    if values.iter().any(|value| value.is_undefined()) { Err(undefined_error()) } else { Ok(()) }
}

/// Two numbers, as integers when both are.
enum Pair {
    Integers(i128, i128),
    Floats(f64, f64),
}

fn pair(left: &Value, right: &Value) -> Option<Pair> {
    let whole = |value: &Value| value.is_integer() || value.kind() == ValueKind::Bool;
    if !(whole(left) || left.is_number()) || !(whole(right) || right.is_number()) {
        return None;
    }
    if whole(left)
        && whole(right)
        && let (Ok(left), Ok(right)) = (i128::try_from(left.clone()), i128::try_from(right.clone()))
    {
        return Some(Pair::Integers(left, right));
    }
    Some(Pair::Floats(float(left)?, float(right)?))
}

pub(super) fn float(value: &Value) -> Option<f64> {
    match i128::try_from(value.clone()) {
        Ok(number) if value.is_integer() || value.kind() == ValueKind::Bool => Some(number as f64),
        _ => f64::try_from(value.clone()).ok(),
    }
}

/// The engine's value of an integer.
pub(super) fn whole(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
}

fn integer(result: Option<i128>) -> Result<Value, Error> {
    result.map(whole).ok_or_else(|| value_error("the integer is too large"))
}

fn add(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    match (left.kind(), right.kind()) {
        (ValueKind::String, ValueKind::String) => {
            bounded([left.as_str().unwrap_or_default(), right.as_str().unwrap_or_default()].concat()).map(Value::from)
        }
        (ValueKind::Seq | ValueKind::Iterable, ValueKind::Seq | ValueKind::Iterable) => {
            let tuples = [left, right].map(|side| side.downcast_object_ref::<Tuple>().is_some());
            let items: Vec<Value> = left.try_iter()?.chain(right.try_iter()?).collect();
            if items.len() > LIST_ELEMENTS_MAX {
                return Err(value_error("the list is too long"));
            }
            match tuples {
                [true, true] => Ok(Value::from_object(Tuple(items))),
                [false, false] => Ok(Value::from(items)),
                _ => Err(type_error("+", left, right)),
            }
        }
        _ => match pair(left, right) {
            Some(Pair::Integers(left, right)) => integer(left.checked_add(right)),
            Some(Pair::Floats(left, right)) => Ok(Value::from(left + right)),
            None => Moment::add(left, right).unwrap_or_else(|| Err(type_error("+", left, right))),
        },
    }
}

fn subtract(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    match pair(left, right) {
        Some(Pair::Integers(left, right)) => integer(left.checked_sub(right)),
        Some(Pair::Floats(left, right)) => Ok(Value::from(left - right)),
        None => Moment::subtract(left, right).unwrap_or_else(|| Err(type_error("-", left, right))),
    }
}

fn multiply(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    if let Some(pair) = pair(left, right) {
        return match pair {
            Pair::Integers(left, right) => integer(left.checked_mul(right)),
            Pair::Floats(left, right) => Ok(Value::from(left * right)),
        };
    }
    let (subject, times) = if right.is_integer() { (left, right) } else { (right, left) };
    if !times.is_integer() {
        return Err(type_error("*", left, right));
    }
    let factor = i128::try_from(times.clone()).unwrap_or_default();
    let times = usize::try_from(factor.max(0)).unwrap_or(usize::MAX);
    let within = |length: usize, most: usize| match length.checked_mul(times) {
        Some(total) if total <= most => Ok(()),
        _ => Err(value_error("the repetition is too long")),
    };
    if let Some(text) = subject.as_str() {
        within(text.len(), TEXT_BYTES_MAX)?;
        return Ok(Value::from(text.repeat(times)));
    }
    if matches!(subject.kind(), ValueKind::Seq | ValueKind::Iterable) {
        let items: Vec<Value> = subject.try_iter()?.collect();
        within(items.len().max(1), LIST_ELEMENTS_MAX)?;
        return Ok(Value::from(std::iter::repeat_n(items, times).flatten().collect::<Vec<_>>()));
    }
    Moment::multiply(subject, factor).unwrap_or_else(|| Err(type_error("*", left, right)))
}

fn divide(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    match pair(left, right) {
        Some(_) if float(right) == Some(0.0) => Err(value_error("division by zero")),
        Some(_) => Ok(Value::from(float(left).unwrap_or_default() / float(right).unwrap_or(f64::NAN))),
        None => Err(type_error("/", left, right)),
    }
}

fn floor_divide(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    match pair(left, right) {
        Some(Pair::Integers(_, 0)) => Err(value_error("division by zero")),
        Some(Pair::Integers(left, right)) => {
            let quotient = left.checked_div(right);
            integer(quotient.map(|whole| if left % right != 0 && (left < 0) != (right < 0) { whole - 1 } else { whole }))
        }
        Some(Pair::Floats(_, 0.0)) => Err(value_error("division by zero")),
        Some(Pair::Floats(left, right)) => Ok(Value::from((left / right).floor())),
        None => Err(type_error("//", left, right)),
    }
}

fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left])?;
    if let Some(format) = left.as_str() {
        bounded_format(format)?;
        let arguments: Vec<Value> = match right.downcast_object_ref::<Tuple>() {
            Some(tuple) => tuple.0.clone(),
            None => vec![right.clone()],
        };
        return minijinja::format_filter(minijinja::FormatStyle::Printf, format, &arguments).map(Value::from);
    }
    defined(&[right])?;
    match pair(left, right) {
        Some(Pair::Integers(_, 0)) | Some(Pair::Floats(_, 0.0)) => Err(value_error("modulo by zero")),
        Some(Pair::Integers(left, right)) => {
            let rest = left.checked_rem(right);
            integer(rest.map(|rest| if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest }))
        }
        Some(Pair::Floats(left, right)) => {
            let rest = left % right;
            Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (right < 0.0) { rest + right } else { rest }))
        }
        None => Err(type_error("%", left, right)),
    }
}

fn power(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    match pair(left, right) {
        Some(Pair::Integers(base, exponent)) if exponent >= 0 => {
            integer(u32::try_from(exponent).ok().and_then(|exponent| base.checked_pow(exponent)))
        }
        Some(_) => Ok(Value::from(float(left).unwrap_or_default().powf(float(right).unwrap_or_default()))),
        None => Err(type_error("**", left, right)),
    }
}

fn negate(value: &Value) -> Result<Value, Error> {
    defined(&[value])?;
    match pair(value, &Value::from(0)) {
        Some(Pair::Integers(number, _)) => integer(number.checked_neg()),
        Some(Pair::Floats(number, _)) => Ok(Value::from(-number)),
        None => Moment::negate(value).unwrap_or_else(|| Err(type_error("-", &Value::from(0), value))),
    }
}

/// Orders two values of kinds that have an order.
///
/// # Errors
/// An error of type when the kinds have none, and of a missing value.
pub(super) fn compare(left: &Value, right: &Value) -> Result<Ordering, Error> {
    defined(&[left, right])?;
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok(left.cmp(right));
    }
    match pair(left, right) {
        Some(Pair::Integers(left, right)) => return Ok(left.cmp(&right)),
        Some(Pair::Floats(left, right)) => return Ok(left.partial_cmp(&right).unwrap_or(Ordering::Greater)),
        None => {}
    }
    if let Some(order) = Moment::compare(left, right) {
        return Ok(order);
    }
    let sequence = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if sequence(left) && sequence(right) {
        let (mut lefts, mut rights) = (left.try_iter()?, right.try_iter()?);
        loop {
            match (lefts.next(), rights.next()) {
                (None, None) => return Ok(Ordering::Equal),
                (None, Some(_)) => return Ok(Ordering::Less),
                (Some(_), None) => return Ok(Ordering::Greater),
                (Some(left), Some(right)) if left == right => {}
                (Some(left), Some(right)) => return compare(&left, &right),
            }
        }
    }
    Err(type_error("an order", left, right))
}

fn contains(value: &Value, container: &Value) -> Result<bool, Error> {
    match container.kind() {
        ValueKind::Undefined => Ok(false),
        ValueKind::String => match value.as_str() {
            Some(part) => Ok(container.as_str().unwrap_or_default().contains(part)),
            None => Err(type_error("in", value, container)),
        },
        ValueKind::Map => Ok(container.as_object().is_some_and(|object| object.get_value(value).is_some())),
        ValueKind::Seq | ValueKind::Iterable => Ok(container.try_iter()?.any(|item| item == *value)),
        _ => Err(type_error("in", value, container)),
    }
}

/// A chained comparison: values with operators between them.
fn chain(steps: Rest<Value>) -> Result<bool, Error> {
    for window in steps.0.windows(3).step_by(2) {
        let [left, operator, right] = window else { continue };
        let holds = match operator.as_str().unwrap_or_default() {
            "==" => left == right,
            "!=" => left != right,
            "<" => compare(left, right)? == Ordering::Less,
            "<=" => compare(left, right)? != Ordering::Greater,
            ">" => compare(left, right)? == Ordering::Greater,
            ">=" => compare(left, right)? != Ordering::Less,
            "in" => contains(left, right)?,
            _ => !contains(left, right)?,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `value[key]` where the key is not a name: positions count from the end when negative.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    defined(&[value])?;
    if let (Some(text), Some(position)) = (value.as_str(), key.as_i64()) {
        return Ok(position_in(position, text.chars().count())
            .and_then(|position| text.chars().nth(position))
            .map_or(Value::UNDEFINED, Value::from));
    }
    if let (ValueKind::Seq | ValueKind::Iterable, Some(position)) = (value.kind(), key.as_i64()) {
        let items: Vec<Value> = match usize::try_from(position) {
            Ok(position) if value.kind() == ValueKind::Seq => return value.get_item_by_index(position),
            _ => value.try_iter()?.collect(),
        };
        return Ok(position_in(position, items.len()).map_or(Value::UNDEFINED, |position| items[position].clone()));
    }
    value.get_item(key)
}

fn position_in(position: i64, length: usize) -> Option<usize> {
    let position = if position < 0 { position.checked_add(i64::try_from(length).ok()?)? } else { position };
    usize::try_from(position).ok().filter(|position| *position < length)
}

fn slice(value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    defined(&[value])?;
    let bound = |bound: &Value| match bound.as_i64() {
        Some(bound) => Ok(Some(bound)),
        None if bound.is_none() => Ok(None),
        None => Err(type_error("a slice", value, bound)),
    };
    let (start, stop, step) = (bound(start)?, bound(stop)?, bound(step)?.unwrap_or(1));
    if step == 0 {
        return Err(value_error("a slice cannot have step 0"));
    }
    if let Some(text) = value.as_str() {
        let characters: Vec<char> = text.chars().collect();
        return Ok(Value::from(positions(characters.len(), start, stop, step).map(|at| characters[at]).collect::<String>()));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(Value::UNDEFINED);
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    let chosen: Vec<Value> = positions(items.len(), start, stop, step).map(|at| items[at].clone()).collect();
    Ok(match value.downcast_object_ref::<Tuple>() {
        Some(_) => Value::from_object(Tuple(chosen)),
        None => Value::from(chosen),
    })
}

/// The positions of Python's `[start:stop:step]` in a sequence of `length`.
fn positions(length: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> impl Iterator<Item = usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |bound: i64| {
        let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
        bound.clamp(lowest, highest)
    };
    let (first, end) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let (start, stop) = (start.map_or(first, clamp), stop.map_or(end, clamp));
    let mut at = start;
    std::iter::from_fn(move || {
        let inside = if step > 0 { at < stop } else { at > stop };
        let here = inside.then(|| usize::try_from(at).unwrap_or_default());
        at = at.saturating_add(step);
        here
    })
}

/// What a `for` statement goes over.
pub(super) fn iterable(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().chars().map(Value::from).collect::<Vec<_>>().into()),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(value.clone()),
        _ => Err(type_error("iteration", value, value)),
    }
}
