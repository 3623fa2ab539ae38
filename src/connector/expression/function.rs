//! The functions of the language.

use std::cmp::Ordering;

use minijinja::Environment;
use minijinja::Error;
use minijinja::State;
use minijinja::Value;
use minijinja::value::Kwargs;
use minijinja::value::Rest;

use super::filter;
use super::json;
use super::moment::Moment;
use super::operator;
use super::scope::Names;
use super::scope::SELF;
use crate::clock::Timestamp;
use crate::connector::datetime::DateTime;
use crate::connector::datetime::Duration;
use crate::connector::datetime::Format;
use crate::connector::number;

/// The format of `day_delta` when the template names none.
const DAY_DELTA_FORMAT: &str = "%Y-%m-%dT%H:%M:%S.%f%z";

pub(super) fn register(engine: &mut Environment<'static>) {
    engine.add_function("now_utc", |state: &State<'_, '_>| Ok::<_, Error>(Moment::DateTime(now(state)?).value()));
    engine.add_function("today_utc", |state: &State<'_, '_>| Ok::<_, Error>(Moment::Date(now(state)?.civil().date()).value()));
    engine.add_function("today_with_timezone", today_with_timezone);
    engine.add_function("timestamp", timestamp);
    engine.add_function("day_delta", day_delta);
    engine.add_function("duration", |text: &Value| {
        let text = text.as_str().ok_or_else(|| operator::type_error("duration", text, text))?;
        Ok::<_, Error>(Moment::Duration(Duration::parse(text)?).value())
    });
    engine.add_function("format_datetime", format_datetime);
    // The reference engine has it for the authenticator that signs tokens: keys come as a JSON text in the configuration.
    engine.add_function("json_loads", |text: &Value| {
        let text = text.as_str().ok_or_else(|| wrong_kind("json_loads", text))?;
        let read = serde_json::from_str::<serde_json::Value>(text);
        read.map(|value| json::dynamic(&value)).map_err(|_| operator::value_error("the text is no JSON"))
    });
    engine.add_function("str_to_datetime", |text: &Value| Ok::<_, Error>(Moment::DateTime(str_to_datetime(text)?).value()));
    engine.add_function("max", |values: Rest<Value>| extreme(values.0, Ordering::Greater));
    engine.add_function("min", |values: Rest<Value>| extreme(values.0, Ordering::Less));
    engine.add_function("sanitize_url", |text: &Value| {
        let text = text.as_str().ok_or_else(|| wrong_kind("sanitize_url", text))?;
        Ok::<_, Error>(filter::percent_encoded(text, "").replace("%20", "+"))
    });
    engine.add_function("camel_case_to_snake_case", |text: &Value| {
        let text = text.as_str().ok_or_else(|| wrong_kind("camel_case_to_snake_case", text))?;
        Ok::<_, Error>(snake_case(text))
    });
}

/// The error of a function that was given a value of a kind it does not take, or a missing one.
pub(super) fn wrong_kind(function: &str, value: &Value) -> Error {
    if value.is_undefined() {
        return operator::undefined_error();
    }
    operator::type_error(function, value, value)
}

/// The time on the clock of the scope that is being evaluated.
fn now(state: &State<'_, '_>) -> Result<DateTime, Error> {
    let scope = state.lookup(SELF);
    let names = scope.as_ref().and_then(|scope| scope.downcast_object_ref::<Names>());
    names.map(|names| DateTime::utc(names.clock().now())).ok_or_else(|| operator::value_error("the scope has no clock"))
}

fn today_with_timezone(state: &State<'_, '_>, zone: &Value) -> Result<Value, Error> {
    let name = zone.as_str().ok_or_else(|| operator::value_error(format!("a {} is no time zone", zone.kind())))?;
    let zone = jiff::tz::TimeZone::get(name).map_err(|_| operator::value_error("the time zone is not known"))?;
    let at: Timestamp = now(state)?.timestamp();
    Ok(Moment::Date(zone.to_datetime(at).date()).value())
}

fn timestamp(value: &Value) -> Result<Value, Error> {
    if value.is_integer() {
        return Ok(value.clone());
    }
    match value.as_str() {
        Some(_) => Ok(Value::from(str_to_datetime(value)?.epoch_seconds())),
        None => match f64::try_from(value.clone()) {
            Ok(number) if value.is_number() && number.is_finite() => Ok(Value::from(number.trunc() as i64)),
            _ => Err(wrong_kind("timestamp", value)),
        },
    }
}

fn day_delta(state: &State<'_, '_>, days: &Value, format: Option<&str>, kwargs: Kwargs) -> Result<String, Error> {
    let named: Option<&str> = kwargs.get("format")?;
    kwargs.assert_all_used()?;
    let number = f64::try_from(days.clone()).map_err(|_| wrong_kind("day_delta", days))?;
    if !days.is_number() || number.abs() > 3_660_000.0 {
        return Err(wrong_kind("day_delta", days));
    }
    let at = now(state)?.plus(&Duration::from_micros((number * 86_400e6) as i64))?;
    Ok(Format::new(named.or(format).unwrap_or(DAY_DELTA_FORMAT)).write(&at))
}

fn format_datetime(value: &Value, format: Option<&str>, input: Option<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let format = match kwargs.get::<Option<&str>>("format")?.or(format) {
        Some(format) => format,
        None => return Err(Error::from(minijinja::ErrorKind::MissingArgument)),
    };
    let input = kwargs.get::<Option<Value>>("input_format")?.or(input);
    kwargs.assert_all_used()?;
    let input = input.as_ref().and_then(Value::as_str).filter(|input| !input.is_empty());
    if let Some(moment) = Moment::of(value) {
        return match moment {
            Moment::DateTime(_) => moment.strftime(format).ok_or_else(|| wrong_kind("format_datetime", value)),
            _ => Err(wrong_kind("format_datetime", value)),
        };
    }
    let at = match (value.as_str(), input) {
        (None, input) if value.is_integer() => Format::new(input.unwrap_or("%s")).read(&value.to_string())?,
        (Some(text), Some(input)) => Format::new(input).read(text)?,
        (None, Some(_)) => return Err(operator::type_error("format_datetime", value, value)),
        _ => str_to_datetime(value)?,
    };
    Ok(Format::new(format).write(&at))
}

/// Reads a date or time of ISO 8601, in UTC.
fn str_to_datetime(value: &Value) -> Result<DateTime, Error> {
    let text = value.as_str().ok_or_else(|| wrong_kind("a date", value))?;
    Ok(DateTime::parse_iso(text)?.in_utc())
}

/// The first of the values that no other is beyond.
fn extreme(values: Vec<Value>, side: Ordering) -> Result<Value, Error> {
    let values = match values.as_slice() {
        [one] if one.is_undefined() => return Err(operator::undefined_error()),
        [one] => operator::iterable(one)?.try_iter()?.collect(),
        _ => values,
    };
    let mut values = values.into_iter();
    let mut best = values.next().ok_or_else(|| operator::value_error("max() and min() need a value"))?;
    for value in values {
        if operator::compare(&value, &best)? == side {
            best = value;
        }
    }
    Ok(best)
}

fn snake_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (position, character) in text.chars().enumerate() {
        if position > 0 && character.is_ascii_uppercase() {
            out.push('_');
        }
        out.extend(character.to_lowercase());
    }
    out
}

/// The float's text, as Python prints it.
pub(super) fn float_text(number: f64) -> String {
    let mut out = String::new();
    number::write_float(&mut out, number);
    out
}
