//! The schemas of our own facets: one URL a version, unchanged for ever once released, served by the gateway itself.

use serde_json::Value;

use crate::openlineage::emission::producer::Producer;

/// The version of every schema of ours. A schema that changes takes a new one, and the old one goes on being served.
pub const VERSION: &str = "1-0-0";

/// Name and text of each schema. The text's `$id` is a path; it is served as the whole URL.
const SCHEMAS: [(&str, &str); 4] = [
    ("HeadgateConnectionRunFacet", include_str!("../../../schemas/openlineage/1-0-0/HeadgateConnectionRunFacet.json")),
    ("HeadgateProvenanceOutputDatasetFacet", include_str!("../../../schemas/openlineage/1-0-0/HeadgateProvenanceOutputDatasetFacet.json")),
    ("HeadgateErasureRunFacet", include_str!("../../../schemas/openlineage/1-0-0/HeadgateErasureRunFacet.json")),
    ("HeadgateRateLimitRunFacet", include_str!("../../../schemas/openlineage/1-0-0/HeadgateRateLimitRunFacet.json")),
];

/// Where a schema of ours is served.
pub fn schema_url(producer: &Producer, name: &str) -> String {
    format!("{}/schemas/openlineage/{VERSION}/{name}.json", producer.public_url())
}

/// A schema of ours as it is served, by its version and its file's name; nothing when there is none.
pub fn schema(producer: &Producer, version: &str, file: &str) -> Option<Value> {
    let name = file.strip_suffix(".json").filter(|_| version == VERSION)?;
    let (_, text) = SCHEMAS.iter().find(|(known, _)| *known == name)?;
    // The texts are part of this program, and a test reads each of them.
    let mut schema: Value = serde_json::from_str(text).ok()?;
    schema["$id"] = schema_url(producer, name).into();
    Some(schema)
}

/// The names of all schemas.
pub fn names() -> impl Iterator<Item = &'static str> {
    SCHEMAS.iter().map(|(name, _)| *name)
}
