//! How a stream is opened: in which of its ways it is read, and from what state.
//!
//! Source: the state delegating streams and the legacy state migration of airbyte-cdk.

use jiff::SignedDuration;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::clock::Timestamp;
use crate::connector::component::incremental::IncrementalSync;
use crate::connector::component::partition::PartitionRouter;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::StateDelegatingStream;
use crate::connector::component::source::StateMigration;
use crate::connector::component::source::Stream;
use crate::connector::component::value::Expression;
use crate::connector::datetime::DateTime;
use crate::connector::datetime::Duration;
use crate::connector::datetime::Format;
use crate::connector::expression::Scope;
use crate::connector::reading::ReadingError;

/// The member that the reference engine keeps as the state of a stream without a cursor: it was read to its end.
pub const NO_CURSOR_STATE: &str = "__ab_no_cursor_state_message";

/// A stream as it is read now.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The way.
    pub stream: &'a DeclarativeStream,
    /// The state that it goes on from; nothing: from the beginning.
    pub state: Option<Value>,
}

/// Opens a stream: without a state in its way from the beginning, else in its way of going on, unless the state is older than
/// what the application keeps. `scope` has `config`.
///
/// # Errors
/// When an expression fails, or the retention period is no duration.
pub fn open<'a>(stream: &'a Stream, state: Option<Value>, scope: &Scope, now: Timestamp) -> Result<Opened<'a>, ReadingError> {
    let state = state.filter(|state| state.as_object().is_none_or(|members| !members.is_empty()));
    let (stream, state) = match stream {
        Stream::DeclarativeStream(stream) => (stream.as_ref(), state),
        Stream::StateDelegatingStream(delegating) => match state {
            Some(state) if !is_too_old(delegating, &state, scope, now)? => (delegating.incremental_stream.as_ref(), Some(state)),
            _ => (delegating.full_refresh_stream.as_ref(), None),
        },
    };
    let state = state.map(|state| migrated(state, stream, scope)).transpose()?;
    Ok(Opened { stream, state })
}

/// A state as the stream has it now, whatever version of the connector wrote it. `scope` has `config`.
///
/// # Errors
/// When a name cannot be evaluated.
pub fn migrated(mut state: Value, stream: &DeclarativeStream, scope: &Scope) -> Result<Value, ReadingError> {
    for migration in &stream.state_migrations {
        match migration {
            StateMigration::LegacyToPerPartitionStateMigration(_) => state = per_partition(state, stream, scope)?,
        }
    }
    Ok(state)
}

/// `{value: {cursor field: time}}` becomes a state for each partition; anything else stays as it is.
fn per_partition(state: Value, stream: &DeclarativeStream, scope: &Scope) -> Result<Value, ReadingError> {
    let (Some(field), Some(key)) = (cursor_field(stream, scope)?, partition_key(stream)) else { return Ok(state) };
    let key = key.text(scope).map_err(ReadingError::expression("partition_field"))?;
    let Value::Object(members) = state else { return Ok(state) };
    let legacy = |value: &Value| value.as_object().is_some_and(|cursor| cursor.len() == 1 && cursor.contains_key(&field));
    if members.is_empty() || members.contains_key("states") || !members.values().all(legacy) {
        return Ok(Value::Object(members));
    }
    let of_one = |(value, cursor): (String, Value)| json!({ "partition": Map::from_iter([(key.clone(), value.into())]), "cursor": cursor });
    Ok(json!({ "states": members.into_iter().map(of_one).collect::<Vec<_>>() }))
}

/// The name of the one value that cuts the stream, when it is cut by one parent.
fn partition_key(stream: &DeclarativeStream) -> Option<&Expression> {
    match stream.retriever.partition_routers() {
        [PartitionRouter::SubstreamPartitionRouter(router)] => match router.parent_stream_configs.as_slice() {
            [parent] => Some(&parent.partition_field),
            _ => None,
        },
        [PartitionRouter::UnionPartitionRouter(router)] => Some(&router.partition_field),
        _ => None,
    }
}

fn cursor_field(stream: &DeclarativeStream, scope: &Scope) -> Result<Option<String>, ReadingError> {
    let Some(IncrementalSync::DatetimeBasedCursor(cursor)) = &stream.incremental_sync else { return Ok(None) };
    cursor.cursor_field.text(scope).map(Some).map_err(ReadingError::expression("cursor_field"))
}

/// Whether what a state goes on from is no longer kept by the application. A state whose time cannot be read counts as too old.
fn is_too_old(delegating: &StateDelegatingStream, state: &Value, scope: &Scope, now: Timestamp) -> Result<bool, ReadingError> {
    let Some(period) = &delegating.api_retention_period else { return Ok(false) };
    let period = period.text(scope).map_err(ReadingError::expression("api_retention_period"))?;
    if period.trim().is_empty() {
        return Ok(false);
    }
    let period = Duration::parse(period.trim()).map_err(ReadingError::date("api_retention_period"))?;
    // A full refresh without a cursor that was read to its end says nothing of a time: it is as good as new.
    if delegating.full_refresh_stream.incremental_sync.is_none()
        && state.get(NO_CURSOR_STATE).is_some_and(|done| *done == Value::Bool(true))
    {
        return Ok(false);
    }
    let mut time = None;
    for way in [&delegating.full_refresh_stream, &delegating.incremental_stream] {
        time = match time {
            None => time_of(way, state, scope)?,
            known => known,
        };
    }
    let Some(time) = time else { return Ok(true) };
    let oldest = DateTime::utc(now).minus(&period).map_err(ReadingError::date("api_retention_period"))?;
    Ok(time.timestamp().duration_since(oldest.timestamp()) < SignedDuration::ZERO)
}

/// The time of a state: its own, or the one that all its partitions share.
fn time_of(stream: &DeclarativeStream, state: &Value, scope: &Scope) -> Result<Option<DateTime>, ReadingError> {
    let Some(field) = cursor_field(stream, scope)? else { return Ok(None) };
    let Some(IncrementalSync::DatetimeBasedCursor(cursor)) = &stream.incremental_sync else { return Ok(None) };
    let own = if !stream.retriever.partition_routers().is_empty() { state.get("state") } else { Some(state) };
    let Some(value) = own.and_then(|own| own.get(&field)) else { return Ok(None) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let formats = cursor.cursor_datetime_formats.iter().chain([&cursor.datetime_format]);
    Ok(formats.into_iter().find_map(|format| Format::new(format).read(&text).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::reading::support::NOW;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    const RETRIEVER: &str = "retriever: {requester: {url: 'https://a.example'}, record_selector: {extractor: {field_path: []}}}";

    fn way(state: Value, period: &str) -> (bool, Option<Value>) {
        let sync = "incremental_sync: {type: DatetimeBasedCursor, cursor_field: at, datetime_format: '%s', start_datetime: '0'}";
        let yaml = format!(
            "type: StateDelegatingStream\nname: s\nfull_refresh_stream: {{name: s, {RETRIEVER}}}\nincremental_stream: {{name: s, {RETRIEVER}, {sync}}}\n{period}"
        );
        let stream: Stream = component(&yaml, "DeclarativeSource", "streams");
        let opened = open(&stream, Some(state), &scope(&json!({"days": 30})), NOW.parse().unwrap()).unwrap();
        (opened.stream.incremental_sync.is_some(), opened.state)
    }

    /// Without a state a stream is read from the beginning, with one it goes on; a state older than what the application keeps, or of
    /// an unknown age, counts as none.
    #[test]
    fn the_state_decides_the_way() {
        let period = "api_retention_period: \"P{{ config['days'] }}D\"";
        let at = |time: &str| json!({"at": DateTime::parse_iso(time).unwrap().epoch_micros() / 1_000_000});
        assert_eq!(way(json!({}), ""), (false, None));
        assert_eq!(way(json!({"at": "1"}), ""), (true, Some(json!({"at": "1"}))));
        assert_eq!(way(json!({"at": "1"}), period), (false, None));
        assert!(way(at("2026-11-01T00:00:00Z"), period).0);
        assert!(!way(at("2026-10-01T00:00:00Z"), period).0);
        assert!(!way(json!({"other": 1}), period).0);
        assert!(way(json!({NO_CURSOR_STATE: true}), period).0);
    }

    /// One cursor for each value of a parent's key becomes a state for each partition; any other state stays.
    #[test]
    fn old_states_become_those_of_partitions() {
        let yaml = format!(
            "name: s\nstate_migrations: [{{type: LegacyToPerPartitionStateMigration}}]\nincremental_sync: {{type: DatetimeBasedCursor, cursor_field: at, datetime_format: '%s', start_datetime: '0'}}\nretriever: {{requester: {{url: 'https://a.example'}}, record_selector: {{extractor: {{field_path: []}}}}, partition_router: {{type: SubstreamPartitionRouter, parent_stream_configs: [{{parent_key: id, partition_field: shop, stream: {{name: p, {RETRIEVER}}}}}]}}}}"
        );
        let stream: DeclarativeStream = component(&yaml, "DeclarativeSource", "streams");
        let check = |state: Value| migrated(state, &stream, &scope(&json!({}))).unwrap();
        assert_eq!(check(json!({"7": {"at": "5"}})), json!({"states": [{"partition": {"shop": "7"}, "cursor": {"at": "5"}}]}));
        for state in [json!({"states": []}), json!({"at": "5"}), json!({"7": {"at": "5", "b": 1}}), json!({"7": {"b": "5"}}), json!({})] {
            assert_eq!(check(state.clone()), state);
        }
    }
}
