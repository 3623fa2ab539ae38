//! What the components of a manifest need of each other: names that exist, fields that go together, dates that can be read.

use std::collections::HashSet;

use crate::connector::component::authenticator::ApiKeyAuthenticator;
use crate::connector::component::authenticator::Authenticator;
use crate::connector::component::dynamic::ComponentsResolver;
use crate::connector::component::incremental::DatetimeBasedCursor;
use crate::connector::component::incremental::IncrementalSync;
use crate::connector::component::incremental::Moment;
use crate::connector::component::pagination::DefaultPaginator;
use crate::connector::component::pagination::PaginationStrategy;
use crate::connector::component::pagination::Paginator;
use crate::connector::component::partition::PartitionRouter;
use crate::connector::component::reader::Reader;
use crate::connector::component::requester::HttpRequester;
use crate::connector::component::requester::InjectInto;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::requester::Requester;
use crate::connector::component::requester::TokenPlacement;
use crate::connector::component::source::Check;
use crate::connector::component::source::DeclarativeSource;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::DynamicEntry;
use crate::connector::component::source::Entry;
use crate::connector::component::source::MadeStream;
use crate::connector::component::source::Retriever;
use crate::connector::component::source::Stream;
use crate::connector::component::value::Expression;
use crate::connector::datetime::Duration;
use crate::connector::datetime::Format;
use crate::connector::problem::Code;

/// Notes every inconsistency of a source. `made`: its streams are those of one configuration.
pub fn check(source: &DeclarativeSource, made: bool, reader: &mut Reader) {
    names(source, made, reader);
    check_entries(&source.streams.0, "streams", reader);
    for (index, entry) in source.dynamic_streams.0.iter().enumerate() {
        let DynamicEntry::Make(definition) = entry else { continue };
        reader.within(format!("dynamic_streams[{index}]"), |reader| {
            if let Some(stream) = definition.source() {
                reader.within("components_resolver", |reader| check_stream(stream, reader));
            }
            let conditional = definition.mapping().iter().find(|mapping| mapping.condition.is_some());
            if let (Some(mapping), false) =
                (conditional, matches!(definition.components_resolver, ComponentsResolver::ConfigComponentsResolver(_)))
            {
                let message = "`condition` goes with ConfigComponentsResolver alone; leave it out".to_owned();
                reader.problem(Code::Conflict, mapping.line, message);
            }
        });
    }
}

fn check_entries(entries: &[Entry], path: &str, reader: &mut Reader) {
    for (index, entry) in entries.iter().enumerate() {
        reader.within(format!("{path}[{index}]"), |reader| match entry {
            Entry::Run(stream) | Entry::Made(MadeStream { stream, .. }) => check_ways(stream, reader),
            Entry::Conditional(conditional) => check_entries(&conditional.streams.0, "streams", reader),
            Entry::Refused(_) => {}
        });
    }
}

/// The ways of one stream have its name, and its times are of a kind that has an age.
fn check_ways(stream: &Stream, reader: &mut Reader) {
    if let Stream::StateDelegatingStream(delegating) = stream {
        let names = [&delegating.full_refresh_stream.name, &delegating.incremental_stream.name];
        if names.into_iter().any(|name| *name != delegating.name) {
            let message = format!("`{}` and its two streams must have one name, but have {names:?}", delegating.name);
            reader.problem(Code::BadName, delegating.line, message);
        }
        let period = delegating.api_retention_period.as_ref().and_then(Expression::plain);
        if let Some(Err(error)) = period.map(|text| Duration::parse(text.trim())) {
            reader.within("api_retention_period", |reader| reader.problem(Code::BadFormat, delegating.line, error.to_string()));
        }
    }
    for way in stream.ways() {
        check_stream(way, reader);
    }
}

/// Stream names are distinct, and those that are checked exist. Streams under different conditions may share a name: that is
/// known only with a configuration.
fn names(source: &DeclarativeSource, made: bool, reader: &mut Reader) {
    let mut names = HashSet::new();
    let unconditional = source.streams.0.iter().filter_map(|entry| match entry {
        Entry::Run(stream) | Entry::Made(MadeStream { stream, .. }) => Some(stream),
        Entry::Conditional(_) | Entry::Refused(_) => None,
    });
    for stream in unconditional.map(Stream::declared) {
        if !names.insert(stream.name.as_str()) {
            reader.problem(Code::BadName, stream.line, format!("a second stream is called `{}`; names must differ", stream.name));
        }
    }
    if source.streams.0.is_empty() && !made && source.dynamic_streams.0.is_empty() {
        reader.problem(Code::MissingField, source.line, "there is no stream; at least one is needed".to_owned());
    }
    names.extend(source.declared().map(|stream| stream.name.as_str()));
    names.extend(source.refused().map(|stream| stream.name.as_str()));
    let Check::CheckStream(check) = &source.check else { return };
    if source.depends_on_config() || made {
        return;
    }
    for name in check.stream_names.iter().filter(|name| !names.contains(name.as_str())) {
        reader.problem(Code::BadName, check.line, format!("the stream `{name}` that is to be checked does not exist"));
    }
}

fn check_stream(stream: &DeclarativeStream, reader: &mut Reader) {
    let retriever = &stream.retriever;
    match retriever {
        Retriever::SimpleRetriever(retriever) => {
            let Requester::HttpRequester(requester) = &retriever.requester;
            reader.within("retriever.requester", |reader| check_requester(requester, reader));
        }
        Retriever::AsyncRetriever(retriever) => {
            for requester in retriever.requesters() {
                reader.within("retriever", |reader| check_requester(requester, reader));
            }
            if retriever.download_target_requester.is_some() && retriever.download_target_extractor.is_none() {
                let message = "`download_target_requester` needs `download_target_extractor`".to_owned();
                reader.within("retriever", |reader| reader.problem(Code::MissingField, retriever.line, message));
            }
        }
    }
    if let Some(Paginator::DefaultPaginator(paginator)) = retriever.paginator() {
        reader.within("retriever.paginator", |reader| check_paginator(paginator, reader));
    }
    for router in retriever.partition_routers() {
        reader.within("retriever.partition_router", |reader| check_router(router, reader));
    }
    if let (Some(IncrementalSync::IncrementingCountCursor(cursor)), [_, ..]) = (&stream.incremental_sync, retriever.partition_routers()) {
        let message = "a partition router does not go with IncrementingCountCursor; use DatetimeBasedCursor, or no router".to_owned();
        reader.within("incremental_sync", |reader| reader.problem(Code::Conflict, cursor.line, message));
    }
    if let Some(IncrementalSync::DatetimeBasedCursor(cursor)) = &stream.incremental_sync {
        reader.within("incremental_sync", |reader| check_cursor(cursor, reader));
    }
}

fn check_router(router: &PartitionRouter, reader: &mut Reader) {
    match router {
        PartitionRouter::ListPartitionRouter(router) => {
            if let Some(option) = &router.request_option {
                check_option(option, reader);
            }
        }
        PartitionRouter::SubstreamPartitionRouter(router) => {
            for (index, parent) in router.parent_stream_configs.iter().enumerate() {
                reader.within(format!("parent_stream_configs[{index}]"), |reader| {
                    if let Some(option) = &parent.request_option {
                        check_option(option, reader);
                    }
                    reader.within("stream", |reader| check_ways(&parent.stream, reader));
                });
            }
        }
        PartitionRouter::GroupingPartitionRouter(router) => check_router(&router.underlying_partition_router, reader),
        PartitionRouter::UnionPartitionRouter(router) => router.partition_routers.iter().for_each(|router| check_router(router, reader)),
    }
}

fn check_requester(requester: &HttpRequester, reader: &mut Reader) {
    if requester.url.is_none() && requester.url_base.is_none() {
        reader.problem(Code::MissingField, requester.line, "HttpRequester needs `url`, or `url_base` with `path`".to_owned());
    }
    let bodies = [
        ("request_body", requester.request_body.is_some()),
        ("request_body_json", requester.request_body_json.is_some()),
        ("request_body_data", requester.request_body_data.is_some()),
    ];
    let set: Vec<&str> = bodies.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
    if set.len() > 1 {
        reader.problem(Code::Conflict, requester.line, format!("{} exclude each other; keep one", set.join(" and ")));
    }
    if let Some(Authenticator::ApiKeyAuthenticator(key)) = &requester.authenticator {
        reader.within("authenticator", |reader| check_key(key, reader));
    }
}

fn check_key(key: &ApiKeyAuthenticator, reader: &mut Reader) {
    match (&key.inject_into, &key.header) {
        (Some(option), None) => check_option(option, reader),
        (Some(_), Some(_)) => {
            reader.problem(Code::Conflict, key.line, "`inject_into` and `header` exclude each other; keep `inject_into`".to_owned())
        }
        (None, Some(_)) => {}
        (None, None) => reader.problem(Code::MissingField, key.line, "ApiKeyAuthenticator needs `inject_into`, or `header`".to_owned()),
    }
}

fn check_option(option: &RequestOption, reader: &mut Reader) {
    let message = match (&option.field_name, &option.field_path) {
        (Some(_), Some(_)) => "`field_name` and `field_path` exclude each other; keep one",
        (None, None) => "RequestOption needs `field_name`, or `field_path` for a body",
        (None, Some(_)) if option.inject_into != InjectInto::BodyJson => {
            "`field_path` goes with `inject_into: body_json` alone; use `field_name`"
        }
        _ => return,
    };
    reader.problem(Code::Conflict, option.line, message.to_owned());
}

fn check_paginator(paginator: &DefaultPaginator, reader: &mut Reader) {
    if let Some(TokenPlacement::RequestOption(option)) = &paginator.page_token_option {
        check_option(option, reader);
    }
    let Some(option) = &paginator.page_size_option else { return };
    check_option(option, reader);
    let page_size = match &paginator.pagination_strategy {
        PaginationStrategy::PageIncrement(pages) => &pages.page_size,
        PaginationStrategy::OffsetIncrement(offsets) => &offsets.page_size,
        PaginationStrategy::CursorPagination(cursor) => &cursor.page_size,
    };
    if page_size.is_none() {
        reader.problem(Code::Conflict, paginator.line, "`page_size_option` needs a `page_size` in the pagination strategy".to_owned());
    }
}

fn check_cursor(cursor: &DatetimeBasedCursor, reader: &mut Reader) {
    if cursor.step.is_some() != cursor.cursor_granularity.is_some() {
        reader.problem(Code::Conflict, cursor.line, "`step` and `cursor_granularity` go together; set both or none".to_owned());
    }
    for option in [&cursor.start_time_option, &cursor.end_time_option].into_iter().flatten() {
        check_option(option, reader);
    }
    let moments = [Some(&cursor.start_datetime), cursor.end_datetime.as_ref()].into_iter().flatten();
    let bounded = moments.filter_map(|moment| match moment {
        Moment::Bounded(bounded) => bounded.datetime_format.as_ref(),
        Moment::Plain(_) => None,
    });
    let formats = std::iter::once(&cursor.datetime_format).chain(&cursor.cursor_datetime_formats).chain(bounded);
    for format in formats.filter(|format| !format.is_empty()) {
        if let Err(error) = Format::new(format).check() {
            reader.problem(Code::BadFormat, cursor.line, error.to_string());
        }
    }
    let plain = |expression: &'_ Option<Expression>| expression.as_ref().and_then(|expression| expression.plain().map(str::to_owned));
    let durations = [
        ("step", plain(&cursor.step)),
        ("lookback_window", plain(&cursor.lookback_window)),
        ("cursor_granularity", cursor.cursor_granularity.clone()),
    ];
    for (field, text) in durations {
        if let Some(Err(error)) = text.filter(|text| !text.trim().is_empty()).map(|text| Duration::parse(text.trim())) {
            reader.within(field, |reader| reader.problem(Code::BadFormat, cursor.line, error.to_string()));
        }
    }
}
