//! Derivations: what the company's own services made from records.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::ids::ArtifactId;

/// Derivations that one request writes down, all or none.
pub const DERIVATIONS_MAX: usize = 1000;

/// Fields of one derivation.
const FIELDS_MAX: usize = 200;

/// What was made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Artifact {
    /// Its name with those who made it: with its kind it says which artifact is meant.
    pub name: String,
    /// What it is.
    pub kind: Option<String>,
}

/// From which field of the inputs to which of the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Field {
    /// A field of an input.
    pub from: String,
    /// A field of the artifact.
    pub to: String,
}

/// One way in which an artifact was made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Derivation {
    /// What was made.
    pub artifact: Artifact,
    /// `all` or `any`: whether it is nothing without each input, or each input is enough.
    pub need: String,
    /// Ids of records and artifacts.
    pub inputs: Vec<String>,
    /// The job that made it.
    pub job: Option<String>,
    /// The run of that job.
    pub run: Option<String>,
    /// When; now where it is not said.
    pub at: Option<Timestamp>,
    /// Which field came from which.
    #[serde(default)]
    pub fields: Vec<Field>,
}

/// One derivation, or many.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Order {
    /// Many, written down in one unit; a later one may name artifacts of those before it.
    Many {
        /// Each.
        derivations: Vec<Derivation>,
    },
    /// One.
    One(Box<Derivation>),
}

/// The schema of [`Order`].
pub const ORDER: Schema = Schema {
    name: "DerivationOrder",
    make: || {
        let many = object(&[("derivations", bounded(derivation(), 1, DERIVATIONS_MAX))], &[]);
        json!({ "type": "object", "oneOf": [derivation(), many] })
    },
};

fn derivation() -> Value {
    let artifact = object(&[("name", named(512))], &[("kind", nullable(named(64)))]);
    let field = object(&[("from", short_text(256)), ("to", short_text(256))], &[]);
    object(
        &[("artifact", artifact), ("need", one_of(&["all", "any"])), ("inputs", bounded(short_text(64), 1, crate::lineage::INPUTS_MAX))],
        &[
            ("job", nullable(short_text(256))),
            ("run", nullable(short_text(256))),
            ("at", nullable(time())),
            ("fields", bounded(field, 0, FIELDS_MAX)),
        ],
    )
}

fn named(characters_max: usize) -> Value {
    let mut text = short_text(characters_max);
    text["minLength"] = json!(1);
    text
}

fn bounded(items: Value, min: usize, max: usize) -> Value {
    let mut list = array(items);
    list["minItems"] = json!(min);
    list["maxItems"] = json!(max);
    list
}

/// One derivation, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Derived {
    /// The artifact's id.
    pub artifact: ArtifactId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Option<String>,
    /// What the derivation needs.
    pub need: String,
    /// How many inputs it has.
    pub inputs: usize,
    /// When it was made: as it was first told.
    pub at: Timestamp,
}

/// What was written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Of many derivations: the artifacts' ids, in the order in which they were told.
    Many {
        /// Each.
        artifacts: Vec<ArtifactId>,
    },
    /// Of one.
    One(Derived),
}

/// The schema of [`Answer`].
pub const ANSWER: Schema = Schema {
    name: "Derived",
    make: || {
        let one = object(
            &[
                ("artifact", string()),
                ("name", string()),
                ("kind", nullable(string())),
                ("need", one_of(&["all", "any"])),
                ("inputs", crate::api::wire::schema::integer()),
                ("at", time()),
            ],
            &[],
        );
        json!({ "oneOf": [one, object(&[("artifacts", array(string()))], &[])] })
    },
};
