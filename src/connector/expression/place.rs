//! Where an expression stands, and so which names it may use.

/// A place in a manifest where an expression may stand.
///
/// The reference engine hands each place its own variables and refuses any other name when the sync runs; here the name is
/// refused when the manifest is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// URL, path, parameters, headers and bodies of a request.
    Request,
    /// Cursor value and stop condition of a pagination strategy.
    Paginator,
    /// Page size, and what else of a paginator only the configuration decides.
    PageSize,
    /// Condition of a record filter.
    RecordFilter,
    /// Value of an added field.
    AddField,
    /// Condition of an added field.
    AddFieldCondition,
    /// Condition of a removed field.
    RemoveField,
    /// Predicate of a response filter; `config` is accepted there and is null.
    ErrorPredicate,
    /// Message of a response filter.
    ErrorMessage,
    /// Wait times of a backoff strategy.
    Backoff,
    /// Tokens, keys and login requests of an authenticator.
    Authenticator,
    /// Values of a partition router.
    PartitionRouter,
    /// Dates, steps and formats of a cursor.
    Cursor,
    /// Field paths of extractors, transformations, parents and the like.
    FieldPath,
    /// Condition of a type in a dynamic schema.
    SchemaType,
    /// Requests of an asynchronous job.
    AsyncJob,
    /// A field of the manifest's check, specification or schema.
    Spec,
    /// What goes from a component into a stream's template, and where.
    Components,
}

impl Place {
    /// The top-level names an expression may use here.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            // The last four are set for the requests of asynchronous jobs, and for those that name properties, alone.
            Place::Request => &[
                "config",
                "parameters",
                "stream_slice",
                "stream_partition",
                "stream_interval",
                "next_page_token",
                "creation_response",
                "polling_response",
                "download_target",
                "query_properties",
            ],
            Place::Paginator => &["config", "parameters", "response", "headers", "last_record", "last_page_size"],
            Place::RecordFilter => {
                &["config", "parameters", "record", "stream_slice", "stream_partition", "stream_interval", "next_page_token"]
            }
            Place::AddField => &["config", "parameters", "record", "stream_slice", "stream_partition", "stream_interval"],
            Place::AddFieldCondition => {
                &["config", "parameters", "record", "stream_slice", "stream_partition", "stream_interval", "value", "path"]
            }
            Place::RemoveField => &["config", "parameters", "property"],
            Place::ErrorPredicate | Place::ErrorMessage => &["config", "parameters", "response", "headers", "request_url"],
            Place::Authenticator => &["config", "parameters", "session_token"],
            Place::PartitionRouter => &["config", "parameters", "stream_slice", "stream_partition", "stream_interval"],
            Place::AsyncJob => &[
                "config",
                "parameters",
                "stream_slice",
                "stream_partition",
                "stream_interval",
                "next_page_token",
                "creation_response",
                "polling_response",
                "download_target",
                "headers",
            ],
            Place::Components => &["config", "parameters", "components_values", "stream_slice", "stream_template_config"],
            Place::SchemaType => &["config", "parameters", "raw_schema"],
            Place::PageSize | Place::Backoff | Place::Cursor | Place::FieldPath | Place::Spec => &["config", "parameters"],
        }
    }

    /// How a message names this place.
    pub fn noun(self) -> &'static str {
        match self {
            Place::Request => "a request",
            Place::Paginator => "a pagination strategy",
            Place::PageSize => "a page size",
            Place::RecordFilter => "a record filter",
            Place::AddField => "an added field",
            Place::AddFieldCondition => "the condition of an added field",
            Place::RemoveField => "the condition of a removed field",
            Place::ErrorPredicate => "the predicate of a response filter",
            Place::ErrorMessage => "the message of a response filter",
            Place::Backoff => "a backoff strategy",
            Place::Authenticator => "an authenticator",
            Place::PartitionRouter => "a partition router",
            Place::Cursor => "a cursor",
            Place::FieldPath => "a field path",
            Place::SchemaType => "the condition of a type",
            Place::AsyncJob => "an asynchronous job",
            Place::Spec => "the specification",
            Place::Components => "the mapping of a dynamic stream",
        }
    }
}
