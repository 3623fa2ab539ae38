//! Connectors, as the operator sees them.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::anything;
use crate::api::wire::schema::array;
use crate::api::wire::schema::list;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::purpose;
use crate::api::wire::schema::string;
use crate::consent::Purpose;

/// A connector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connector {
    /// Its name: the folder's.
    pub name: String,
    /// The application's name.
    pub display_name: String,
    /// Digest of its files, lower-case hex.
    pub digest: String,
    /// `enabled` or `disabled`.
    pub state: String,
    /// How it is authorized.
    pub authorization: String,
    /// The streams that can be connected.
    pub streams: Vec<String>,
    /// The streams that need what is not run here, with the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// What it asks the application for.
    pub scopes: Vec<Scope>,
    /// What its data is used for when a connection does not say.
    pub purposes: Vec<Purpose>,
    /// The hosts it may reach; templates over the configuration as they are written.
    pub hosts: Vec<String>,
    /// The JSON Schema of its configuration.
    pub spec: Value,
}

/// A permission, in the application's word and in plain ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The application's word.
    pub name: String,
    /// What the customer reads.
    pub text: String,
}

/// A stream that cannot be connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The stream.
    pub name: String,
    /// Why, each a code and a sentence.
    pub reasons: Vec<String>,
}

/// The schema of [`Connector`].
pub const CONNECTOR: Schema = Schema {
    name: "Connector",
    make: || {
        let members = [
            ("name", string()),
            ("display_name", string()),
            ("digest", string()),
            ("state", one_of(&["enabled", "disabled"])),
            ("authorization", string()),
            ("streams", array(string())),
            ("scopes", array(object(&[("name", string()), ("text", string())], &[]))),
            ("purposes", array(purpose())),
            ("hosts", array(string())),
            ("spec", anything()),
        ];
        let refused = object(&[("name", string()), ("reasons", array(string()))], &[]);
        object(&members, &[("refused", array(refused))])
    },
};

/// The schema of a list of connectors.
pub const CONNECTORS: Schema = Schema { name: "Connectors", make: || list(&CONNECTOR) };
