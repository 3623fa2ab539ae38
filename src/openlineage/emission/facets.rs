//! The facets: published ones by the version that is followed, our own by the schemas that the gateway serves.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::openlineage::emission::event::DatasetName;
use crate::openlineage::emission::own;
use crate::openlineage::emission::producer::Producer;

/// Where the published facets' schemas are.
const PUBLISHED: &str = "https://openlineage.io/spec/facets";

/// Something that is said of a run, a job or a dataset.
pub trait Facet: Serialize {
    /// The key that it stands under.
    const KEY: &'static str;
    /// The schema that it follows.
    const SCHEMA: Schema;
}

/// Which schema a facet follows.
#[derive(Debug, Clone, Copy)]
pub enum Schema {
    /// One of OpenLineage's own: version and name.
    Published(&'static str, &'static str),
    /// One that the gateway serves.
    Own(&'static str),
}

impl Schema {
    /// What stands as `_schemaURL`.
    pub fn url(self, producer: &Producer) -> String {
        match self {
            Schema::Published(version, name) => format!("{PUBLISHED}/{version}/{name}.json#/$defs/{name}"),
            Schema::Own(name) => format!("{}#/$defs/{name}", own::schema_url(producer, name)),
        }
    }
}

/// Declares facets: the key, the schema, and the fields.
macro_rules! facets {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $schema:expr => { $($(#[$field_attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Serialize)]
            #[serde(rename_all = "camelCase")]
            pub struct $name { $($(#[$field_attribute])* pub $field: $type,)* }

            impl Facet for $name {
                const KEY: &'static str = $key;
                const SCHEMA: Schema = $schema;
            }
        )*
    };
}

facets! {
    /// When the schedule wanted the run.
    NominalTime = "nominalTime", Schema::Published("1-0-1", "NominalTimeRunFacet") => {
        /// The slot.
        nominal_start_time: Timestamp,
    }
    /// The pull that the run is part of.
    Parent = "parent", Schema::Published("1-2-0", "ParentRunFacet") => {
        /// The pull.
        run: ParentRun,
        /// What it is a run of.
        job: DatasetName,
    }
    /// What runs.
    ProcessingEngine = "processing_engine", Schema::Published("1-1-1", "ProcessingEngineRunFacet") => {
        /// Headgate's version.
        version: &'static str,
        /// Its name.
        name: &'static str,
        /// The version of what makes events: Headgate's too.
        openlineage_adapter_version: &'static str,
    }
    /// Why a run ended early, as its row in the integration log says: ids, numbers and what to do; no token, no payload.
    ErrorMessage = "errorMessage", Schema::Published("1-0-1", "ErrorMessageRunFacet") => {
        /// What happened.
        message: String,
        /// Always `RUST`.
        programming_language: &'static str,
    }
    /// What a run is found by.
    RunTags = "tags", Schema::Published("1-0-0", "TagsRunFacet") => {
        /// The tags.
        tags: Vec<Tag>,
    }
    /// How the run was asked for. A cursor's value is not among it: it may be an id, and with it a person's.
    ExecutionParameters = "executionParameters", Schema::Published("1-0-0", "ExecutionParametersRunFacet") => {
        /// Names and values.
        parameters: Vec<ExecutionParameter>,
    }
    /// What kind of job it is.
    JobType = "jobType", Schema::Published("2-0-4", "JobTypeJobFacet") => {
        /// Always `BATCH`.
        processing_type: &'static str,
        /// Always `HEADGATE`.
        integration: &'static str,
        /// `SYNC` or `DELETE`.
        job_type: &'static str,
    }
    /// What the job does, in words.
    Documentation = "documentation", Schema::Published("1-1-0", "DocumentationJobFacet") => {
        /// The words.
        description: String,
    }
    /// Which connector reads.
    SourceCodeLocation = "sourceCodeLocation", Schema::Published("1-1-0", "SourceCodeLocationJobFacet") => {
        /// Always `headgate`.
        r#type: &'static str,
        /// The connector, as a name that means one definition for ever.
        url: String,
        /// The digest of its definition.
        version: String,
    }
    /// What the records look like.
    DatasetSchema = "schema", Schema::Published("1-2-0", "SchemaDatasetFacet") => {
        /// The fields.
        fields: Vec<Field>,
    }
    /// Where the data comes from.
    DataSource = "dataSource", Schema::Published("1-0-1", "DatasourceDatasetFacet") => {
        /// What people call the application.
        name: String,
        /// Its address, or ours.
        uri: String,
    }
    /// Which stored field comes from which field of the source.
    ColumnLineage = "columnLineage", Schema::Published("1-2-0", "ColumnLineageDatasetFacet") => {
        /// By the stored field's name.
        fields: serde_json::Map<String, serde_json::Value>,
    }
    /// How far the stored stream has come.
    DatasetVersion = "version", Schema::Published("1-0-1", "DatasetVersionDatasetFacet") => {
        /// The number of versions of records that it holds: it only rises.
        dataset_version: String,
    }
    /// That a dataset is gone.
    LifecycleStateChange = "lifecycleStateChange", Schema::Published("1-0-1", "LifecycleStateChangeDatasetFacet") => {
        /// `DROP`.
        lifecycle_state_change: &'static str,
    }
    /// What kind of dataset it is.
    DatasetType = "datasetType", Schema::Published("1-0-1", "DatasetTypeDatasetFacet") => {
        /// `API` for a source, `TABLE` for a stored stream.
        dataset_type: &'static str,
    }
    /// Whose data it is.
    Ownership = "ownership", Schema::Published("1-0-1", "OwnershipDatasetFacet") => {
        /// The tenant.
        owners: Vec<Owner>,
    }
    /// Where personal data is.
    DatasetTags = "tags", Schema::Published("1-0-0", "TagsDatasetFacet") => {
        /// The tags.
        tags: Vec<Tag>,
    }
    /// How much was read.
    InputStatistics = "inputStatistics", Schema::Published("1-0-0", "InputStatisticsInputDatasetFacet") => {
        /// Records received.
        row_count: u64,
    }
    /// How much was stored.
    OutputStatistics = "outputStatistics", Schema::Published("1-0-2", "OutputStatisticsOutputDatasetFacet") => {
        /// Versions of records stored.
        row_count: u64,
        /// Their bytes, as received.
        size: u64,
    }
    /// Under which authorization a run read.
    HeadgateConnection = "headgate_connection", Schema::Own("HeadgateConnectionRunFacet") => {
        /// The connection.
        connection: String,
        /// The consent that permits it.
        consent: String,
        /// The permissions that the application was to be asked for.
        scopes: Vec<String>,
        /// Which of its credentials, counted from 1; never the credential.
        #[serde(skip_serializing_if = "Option::is_none")]
        credential_generation: Option<u64>,
    }
    /// Where in the store a run's records are.
    HeadgateProvenance = "headgate_provenance", Schema::Own("HeadgateProvenanceOutputDatasetFacet") => {
        /// The run, as records' tags name it.
        run: String,
        /// Pages that are durable.
        pages: u64,
        /// Records that were not there before.
        records_new: u64,
        /// Records that differ from their newest version.
        records_changed: u64,
        /// Records equal to their newest version: nothing was stored.
        records_unchanged: u64,
        /// Versions that the stream held before.
        versions_before: u64,
        /// Versions that it holds now.
        versions_after: u64,
        /// Card numbers that were masked before they were stored.
        cards_masked: u64,
    }
    /// What an erasure came to.
    HeadgateErasure = "headgate_erasure", Schema::Own("HeadgateErasureRunFacet") => {
        /// The erasure, whose certificate is at `/v1/erasures/{id}/certificate`.
        erasure: String,
        /// `connection` or `tenant`.
        scope: &'static str,
        /// Records that were removed.
        #[serde(skip_serializing_if = "Option::is_none")]
        records: Option<u64>,
        /// Versions of those.
        #[serde(skip_serializing_if = "Option::is_none")]
        versions: Option<u64>,
        /// How many keys were destroyed.
        #[serde(skip_serializing_if = "Option::is_none")]
        keys_destroyed: Option<u64>,
        /// The root that commits to the set of removed records, as the certificate has it.
        #[serde(skip_serializing_if = "Option::is_none")]
        commitment: Option<String>,
        /// The index of the entry in the audit log that says so.
        #[serde(skip_serializing_if = "Option::is_none")]
        log_entry: Option<u64>,
    }
    /// How the application was spared while a run went on.
    HeadgateRateLimit = "headgate_rateLimit", Schema::Own("HeadgateRateLimitRunFacet") => {
        /// Requests of the run, repeated ones included.
        requests: u64,
        /// Repeated attempts of the connection meanwhile.
        retries: u64,
        /// Waits of the connection meanwhile.
        waits: u64,
        /// Their time together, in milliseconds.
        waited_ms: u64,
    }
}

/// A run that another is part of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRun {
    /// A UUID.
    pub run_id: String,
}

/// A tag of a run, or of a field of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tag {
    /// What it says.
    pub key: &'static str,
    /// The value.
    pub value: String,
    /// Always `HEADGATE`.
    pub source: &'static str,
    /// The field that it is about, in dots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// How a run was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecutionParameter {
    /// The name.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// A field of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type, as JSON Schema calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// What the connector says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its place among its siblings, from 1.
    pub ordinal_position: u64,
    /// What is in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// Who owns a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Owner {
    /// The name.
    pub name: String,
    /// What the owner is.
    pub r#type: &'static str,
}
