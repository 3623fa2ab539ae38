//! The source as a whole and its streams.

use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use crate::connector::component::budget::ApiBudget;
use crate::connector::component::component;
use crate::connector::component::dynamic::DynamicDeclarativeStream;
use crate::connector::component::family;
use crate::connector::component::incremental::IncrementalSync;
use crate::connector::component::job::AsyncRetriever;
use crate::connector::component::pagination::PaginationReset;
use crate::connector::component::pagination::Paginator;
use crate::connector::component::partition::PartitionRouter;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::records::Decoder;
use crate::connector::component::records::RecordSelector;
use crate::connector::component::records::Selector;
use crate::connector::component::records::Transformation;
use crate::connector::component::requester::HttpRequester;
use crate::connector::component::requester::Requester;
use crate::connector::component::schema::SchemaLoader;
use crate::connector::component::spec::Spec;
use crate::connector::component::value::Count;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Scalar;
use crate::connector::problem::Problem;
use crate::connector::yaml::Node;

component! {
    /// A whole manifest.
    DeclarativeSource {
        /// The version of the language that the manifest was written for.
        version: String;
        /// How a connection is checked.
        check: Check;
        /// The datasets that can be read.
        streams: Streams = Streams::default();
        /// Datasets that are made of templates when a connection is read.
        dynamic_streams: DynamicStreams = DynamicStreams::default();
        /// What a configuration holds; without one every configuration is accepted.
        spec: Option<Spec>;
        /// How many slices are read at a time.
        concurrency_level: Option<ConcurrencyLevel>;
        /// How often the application may be asked, by all streams together.
        api_budget: Option<ApiBudget>;
        /// Parts that are referred to; on their own they do nothing.
        definitions: Option<Unread>;
        /// Schemas that are referred to; on their own they do nothing.
        schemas: Option<Unread>;
        /// Notes of the builder; they do nothing.
        metadata: Option<Unread>;
        /// How many asynchronous jobs of a connection run at a time; one when it is left out.
        max_concurrent_async_job_count: Option<Count> => Spec;
        /// What the source is, in words.
        description: Option<String>;
    } refused { stream_groups }
}

family! {
    /// How a connection is checked.
    Check { CheckStream, CheckDynamicStream }
}

component! {
    /// Checks a connection by reading the first page of the named streams.
    CheckStream {
        /// The streams; all of them are read.
        stream_names: Vec<String> = Vec::new();
        /// Dynamic streams, and how many of the streams made by each are read too.
        dynamic_streams_check_configs: Vec<DynamicStreamCheckConfig> = Vec::new();
        /// What the configuration is instead while a connection is checked.
        config_overrides: Option<Value>;
    }
}

component! {
    /// How many of the streams that a dynamic stream makes are read to check a connection.
    DynamicStreamCheckConfig {
        /// The dynamic stream.
        dynamic_stream_name: String;
        /// The number; without one, all.
        stream_count: Option<u32>;
    }
}

component! {
    /// Checks a connection by reading the first page of the first streams.
    CheckDynamicStream {
        /// How many streams.
        stream_count: u32;
        /// Whether they are read at all; else it is enough that there is one.
        use_check_availability: bool = true;
        /// What the configuration is instead while a connection is checked.
        config_overrides: Option<Value>;
    }
}

component! {
    /// How many slices are read at a time.
    ConcurrencyLevel {
        /// The number wanted.
        default_concurrency: Scalar;
        /// The most that is allowed, whatever the configuration wants.
        max_concurrency: Option<u32>;
    }
}

family! {
    /// A dataset.
    Stream { DeclarativeStream, StateDelegatingStream }
}

component! {
    /// A dataset that is read in one way from the beginning, and in another once there is a state.
    StateDelegatingStream {
        /// The name, that of both ways.
        name: String;
        /// How it is read without a state.
        full_refresh_stream: Box<DeclarativeStream>;
        /// How it is read with one.
        incremental_stream: Box<DeclarativeStream>;
        /// How long the application keeps what `incremental_stream` asks for, an ISO 8601 duration: with an older state it is read from
        /// the beginning.
        api_retention_period: Option<Expression>;
    }
}

component! {
    /// Datasets that are there only with some configurations.
    ConditionalStreams {
        /// Whether they are there.
        condition: Expression;
        /// The datasets.
        streams: Streams;
    }
}

component! {
    /// A dataset: where its records come from and what becomes of them.
    DeclarativeStream {
        /// The name, unique in the manifest.
        name: String;
        /// How records are read.
        retriever: Retriever;
        /// The field, or the paths of fields, that tell one record from another.
        primary_key: PrimaryKey = PrimaryKey::default();
        /// How only what changed is read.
        incremental_sync: Option<IncrementalSync>;
        /// What a record looks like; of several, the properties of all, those of the first winning.
        schema_loader: Option<Vec<SchemaLoader>>;
        /// Changes made to every record, in order.
        transformations: Vec<Transformation> = Vec::new();
        /// Changes made to a state that an older version of the connector wrote, in order.
        state_migrations: Vec<StateMigration> = Vec::new();
    } refused { file_uploader }
}

family! {
    /// A change made to a state that an older version of the connector wrote.
    StateMigration { LegacyToPerPartitionStateMigration }
}

component! {
    /// Turns one cursor for each value of the parent's key into the states of partitions.
    LegacyToPerPartitionStateMigration {}
}

impl DeclarativeStream {
    /// Whether the application has to be asked for the schema of its records.
    pub fn asks_for_schema(&self) -> bool {
        self.schema_loader.iter().flatten().any(|loader| matches!(loader, SchemaLoader::DynamicSchemaLoader(_)))
    }

    /// What it asks, and its parents.
    pub fn requesters(&self) -> Vec<&HttpRequester> {
        let mut requesters = match &self.retriever {
            Retriever::SimpleRetriever(retriever) => {
                let Requester::HttpRequester(requester) = &retriever.requester;
                vec![requester.as_ref()]
            }
            Retriever::AsyncRetriever(retriever) => retriever.requesters(),
        };
        let named: Vec<_> = requesters.iter().filter_map(|requester| requester.property_stream()).collect();
        named.into_iter().for_each(|stream| requesters.extend(stream.requesters()));
        for router in self.retriever.partition_routers() {
            router.parents(&mut |parent| requesters.extend(parent.requesters()));
        }
        for loader in self.schema_loader.iter().flatten() {
            if let SchemaLoader::DynamicSchemaLoader(loader) = loader {
                requesters.extend(loader.retriever.0.requesters());
            }
        }
        requesters
    }
}

family! {
    /// How records are read.
    Retriever { SimpleRetriever, AsyncRetriever }
}

impl Retriever {
    /// What cuts the stream into parts.
    pub fn partition_routers(&self) -> &[PartitionRouter] {
        let routers = match self {
            Retriever::SimpleRetriever(retriever) => &retriever.partition_router,
            Retriever::AsyncRetriever(retriever) => &retriever.partition_router,
        };
        routers.as_deref().unwrap_or_default()
    }

    /// How one page leads to the next.
    pub fn paginator(&self) -> Option<&Paginator> {
        match self {
            Retriever::SimpleRetriever(retriever) => retriever.paginator.as_ref(),
            Retriever::AsyncRetriever(retriever) => retriever.download_paginator.as_ref(),
        }
    }

    /// Which records count.
    pub fn record_selector(&self) -> &RecordSelector {
        let Selector::RecordSelector(selector) = match self {
            Retriever::SimpleRetriever(retriever) => &retriever.record_selector,
            Retriever::AsyncRetriever(retriever) => &retriever.record_selector,
        };
        selector
    }
}

component! {
    /// Reads page after page of one address, for every slice.
    SimpleRetriever {
        /// What is asked.
        requester: Requester;
        /// Where the records are in the answer.
        record_selector: Selector;
        /// How one page leads to the next.
        paginator: Option<Paginator>;
        /// How the stream is cut into parts; several routers multiply.
        partition_router: Option<Vec<PartitionRouter>>;
        /// When a slice is paged anew.
        pagination_reset: Option<PaginationReset>;
        /// How the answer is read.
        decoder: Option<Decoder>;
        /// Whether the parameters of the slice are left out once the next page is known by its path.
        ignore_stream_slicer_parameters_on_paginated_requests: bool = false;
    } refused { page_size_reduction, request_window_splitting }
}

/// The streams in the order of the manifest: those that run, and those that are refused while the others run.
#[derive(Debug, Default)]
pub struct Streams(pub Vec<Entry>);

/// One stream of a manifest, or several that share a condition.
#[derive(Debug)]
pub enum Entry {
    /// It runs.
    Run(Stream),
    /// They run with some configurations.
    Conditional(Box<ConditionalStreams>),
    /// It was made of a template, for one configuration.
    Made(MadeStream),
    /// It needs what is not run here.
    Refused(RefusedStream),
}

/// A stream that was made of a template.
#[derive(Debug)]
pub struct MadeStream {
    /// What the dynamic stream is called that it belongs to.
    pub of: String,
    /// The stream.
    pub stream: Stream,
}

/// A stream that needs what is not run here: custom Python, a component, a field, an expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedStream {
    /// Its name, as far as it has one.
    pub name: String,
    /// Why: at least one problem.
    pub problems: Vec<Problem>,
}

impl Accept for Streams {
    const ACCEPTS: &'static str = Stream::ACCEPTS;

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let entry = |item: &Rc<Node>, reader: &mut Reader| match item.type_name() {
            Some("ConditionalStreams") => Box::<ConditionalStreams>::accept(item, reader).map(Entry::Conditional),
            _ => Stream::accept(item, reader).map(Entry::Run),
        };
        each_apart(node, "streams", reader, entry, Entry::Refused).map(Streams)
    }
}

/// The dynamic streams in the order of the manifest.
#[derive(Debug, Default)]
pub struct DynamicStreams(pub Vec<DynamicEntry>);

/// One dynamic stream of a manifest.
#[derive(Debug)]
pub enum DynamicEntry {
    /// It makes streams.
    Make(Box<DynamicDeclarativeStream>),
    /// It needs what is not run here.
    Refused(RefusedStream),
}

impl Accept for DynamicStreams {
    const ACCEPTS: &'static str = "a list of maps of type DynamicDeclarativeStream";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let entry = |item: &Rc<Node>, reader: &mut Reader| Box::<DynamicDeclarativeStream>::accept(item, reader).map(DynamicEntry::Make);
        each_apart(node, "dynamic_stream", reader, entry, DynamicEntry::Refused).map(DynamicStreams)
    }
}

/// Reads each item of a list apart: one that needs what is not run here is refused alone, one that is out of order refuses all.
pub fn each_apart<T>(
    node: &Rc<Node>,
    noun: &str,
    reader: &mut Reader,
    mut read: impl FnMut(&Rc<Node>, &mut Reader) -> Option<T>,
    refuse: fn(RefusedStream) -> T,
) -> Option<Vec<T>> {
    let alone = [Rc::clone(node)];
    let items = node.as_list().unwrap_or(&alone);
    let mut entries = Vec::with_capacity(items.len());
    let mut broken = false;
    for (index, item) in items.iter().enumerate() {
        let (entry, problems) = reader.within(format!("[{index}]"), |reader| reader.apart(|reader| read(item, reader)));
        match entry {
            Some(entry) if problems.is_empty() => entries.push(entry),
            _ if !problems.is_empty() && problems.iter().all(|problem| problem.code.is_of_one_stream()) => {
                let name = item.get("name").and_then(|name| name.as_text()).filter(|name| !name.is_empty());
                entries.push(refuse(RefusedStream { name: name.map_or_else(|| format!("{noun}_{index}"), str::to_owned), problems }));
            }
            _ => {
                reader.take_over(problems);
                broken = true;
            }
        }
    }
    (!broken).then_some(entries)
}

/// The paths of the fields that identify a record; none when the stream has no primary key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrimaryKey(pub Vec<Vec<String>>);

impl Accept for PrimaryKey {
    const ACCEPTS: &'static str = "a field, a list of fields, or a list of paths";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let Some(items) = node.as_list() else {
            let name = node.as_text().map(str::to_owned);
            return match name {
                Some(name) if name.is_empty() => Some(PrimaryKey::default()),
                Some(name) => Some(PrimaryKey(vec![vec![name]])),
                None => reader.wrong_kind(node, Self::ACCEPTS),
            };
        };
        let paths = items.iter().map(|item| Vec::<String>::accept(item, reader)).collect::<Option<Vec<_>>>()?;
        Some(PrimaryKey(paths.into_iter().filter(|path| !path.is_empty()).collect()))
    }
}

/// A member that is allowed and does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread;

impl Accept for Unread {
    const ACCEPTS: &'static str = "anything: it does nothing";

    fn accept(_: &Rc<Node>, _: &mut Reader) -> Option<Self> {
        Some(Unread)
    }
}
