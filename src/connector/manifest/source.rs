//! Questions to a source: which streams it has, which of them check a connection, how many slices are read at a time.

use serde_json::Value;

use crate::connector::component::dynamic::SOURCE_NAME;
use crate::connector::component::source::Check;
use crate::connector::component::source::DeclarativeSource;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::DynamicEntry;
use crate::connector::component::source::Entry;
use crate::connector::component::source::RefusedStream;
use crate::connector::component::source::Stream;
use crate::connector::expression::ExpressionError;
use crate::connector::expression::Scope;

/// The number of slices that are read at a time when the manifest does not say.
pub const CONCURRENCY_DEFAULT: u32 = 2;
/// The most slices that are read at a time, whatever the manifest says.
pub const CONCURRENCY_MAX: u32 = 40;

impl Stream {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Stream::DeclarativeStream(stream) => &stream.name,
            Stream::StateDelegatingStream(stream) => &stream.name,
        }
    }

    /// What stands for it where no state is known: the way that goes on from a state.
    pub fn declared(&self) -> &DeclarativeStream {
        match self {
            Stream::DeclarativeStream(stream) => stream,
            Stream::StateDelegatingStream(stream) => &stream.incremental_stream,
        }
    }

    /// Every way in which it is read.
    pub fn ways(&self) -> Vec<&DeclarativeStream> {
        match self {
            Stream::DeclarativeStream(stream) => vec![stream],
            Stream::StateDelegatingStream(stream) => vec![&stream.full_refresh_stream, &stream.incremental_stream],
        }
    }
}

impl DeclarativeSource {
    /// The streams that run, with any configuration; those that are made, as far as they have been.
    pub fn running(&self) -> Vec<&Stream> {
        fn walk<'a>(entries: &'a [Entry], found: &mut Vec<&'a Stream>) {
            for entry in entries {
                match entry {
                    Entry::Run(stream) => found.push(stream),
                    Entry::Made(made) => found.push(&made.stream),
                    Entry::Conditional(conditional) => walk(&conditional.streams.0, found),
                    Entry::Refused(_) => {}
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.streams.0, &mut found);
        found
    }

    /// As [`DeclarativeSource::running`], each as it is read once it has a state.
    pub fn declared(&self) -> impl Iterator<Item = &DeclarativeStream> {
        self.running().into_iter().map(Stream::declared)
    }

    /// The streams that do not run, with the reasons.
    pub fn refused(&self) -> impl Iterator<Item = &RefusedStream> {
        fn walk<'a>(entries: &'a [Entry], found: &mut Vec<&'a RefusedStream>) {
            for entry in entries {
                match entry {
                    Entry::Run(_) | Entry::Made(_) => {}
                    Entry::Conditional(conditional) => walk(&conditional.streams.0, found),
                    Entry::Refused(stream) => found.push(stream),
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.streams.0, &mut found);
        let dynamic = self.dynamic_streams.0.iter().filter_map(|entry| match entry {
            DynamicEntry::Make(_) => None,
            DynamicEntry::Refused(stream) => Some(stream),
        });
        found.into_iter().chain(dynamic)
    }

    /// The stream called `name`, in whatever ways it is read.
    pub fn named(&self, name: &str) -> Option<&Stream> {
        self.running().into_iter().find(|stream| stream.name() == name)
    }

    /// The stream called `name`, as it is read once it has a state; or the stream of components that `component_source` names.
    pub fn stream(&self, name: &str) -> Option<&DeclarativeStream> {
        if let Some(index) = name.strip_prefix(SOURCE_NAME).and_then(|index| index.parse::<usize>().ok()) {
            let DynamicEntry::Make(definition) = self.dynamic_streams.0.get(index)? else { return None };
            return definition.source();
        }
        self.named(name).map(Stream::declared)
    }

    /// The dynamic streams whose components come from the application: their positions, and by what name each is read.
    pub fn component_sources(&self) -> impl Iterator<Item = (usize, String)> {
        self.dynamic_streams.0.iter().enumerate().filter_map(|(index, entry)| match entry {
            DynamicEntry::Make(definition) => definition.source().map(|_| (index, component_source(index))),
            DynamicEntry::Refused(_) => None,
        })
    }

    /// Whether streams are made of templates.
    pub fn makes_streams(&self) -> bool {
        self.dynamic_streams.0.iter().any(|entry| matches!(entry, DynamicEntry::Make(_)))
    }

    /// Whether which streams there are depends on the configuration.
    pub fn depends_on_config(&self) -> bool {
        self.makes_streams() || self.streams.0.iter().any(|entry| matches!(entry, Entry::Conditional(_)))
    }

    /// Everything that asks the application for pages: streams in every way, and sources of components.
    pub fn readers(&self) -> Vec<&DeclarativeStream> {
        let sources = self.dynamic_streams.0.iter().filter_map(|entry| match entry {
            DynamicEntry::Make(definition) => definition.source(),
            DynamicEntry::Refused(_) => None,
        });
        self.running().into_iter().flat_map(Stream::ways).chain(sources).collect()
    }

    /// The streams whose first page checks a connection: those that the manifest names, as far as they run; when none of
    /// them does, the first that runs. None at all: it is enough that there are streams.
    pub fn checked(&self) -> Vec<&DeclarativeStream> {
        let first = |count| self.declared().take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
        match &self.check {
            Check::CheckDynamicStream(check) if check.use_check_availability => first(check.stream_count),
            Check::CheckDynamicStream(_) => Vec::new(),
            Check::CheckStream(check) => {
                let mut named: Vec<_> = check.stream_names.iter().filter_map(|name| self.stream(name)).collect();
                for dynamic in &check.dynamic_streams_check_configs {
                    let count = dynamic.stream_count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
                    named.extend(self.made_of(&dynamic.dynamic_stream_name).take(count));
                }
                if named.is_empty() { first(1) } else { named }
            }
        }
    }

    fn made_of(&self, name: &str) -> impl Iterator<Item = &DeclarativeStream> {
        self.streams.0.iter().filter_map(move |entry| match entry {
            Entry::Made(made) if made.of == name => Some(made.stream.declared()),
            _ => None,
        })
    }

    /// The configuration while a connection is checked: what the manifest lays over it replaces its members whole.
    pub fn config_for_check(&self, mut config: Value) -> Value {
        let overrides = match &self.check {
            Check::CheckStream(check) => &check.config_overrides,
            Check::CheckDynamicStream(check) => &check.config_overrides,
        };
        if let (Some(members), Some(Value::Object(overrides))) = (config.as_object_mut(), overrides) {
            members.extend(overrides.clone());
        }
        config
    }

    /// How many slices are read at a time with a configuration: what the manifest wants, at most what it allows, at least one.
    ///
    /// # Errors
    /// When the number cannot be evaluated.
    pub fn concurrency(&self, scope: &Scope) -> Result<u32, ExpressionError> {
        let Some(level) = &self.concurrency_level else { return Ok(CONCURRENCY_DEFAULT) };
        let wanted = level.default_concurrency.value(scope)?.as_u64().and_then(|wanted| u32::try_from(wanted).ok());
        Ok(wanted.unwrap_or(CONCURRENCY_DEFAULT).clamp(1, level.max_concurrency.unwrap_or(u32::MAX).clamp(1, CONCURRENCY_MAX)))
    }
}

/// By what name the components of the dynamic stream at `index` are read.
fn component_source(index: usize) -> String {
    format!("{SOURCE_NAME}{index}")
}
