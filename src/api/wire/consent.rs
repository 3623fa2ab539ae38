//! The policy, the customer's consent to it, and signed statements.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::api::principal::Purpose;
use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::purpose;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;

/// The ids of the five acknowledgements, in the order of the page.
pub const ACKNOWLEDGEMENTS: [&str; 5] = ["responsibility", "authority", "third_party_terms", "accuracy", "retention"];

/// What the customer agreed to, as the caller states it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Consent {
    /// The person who agreed.
    pub person: String,
    /// The organisation that the person binds.
    pub organisation: String,
    /// The version of the policy that was shown.
    pub policy_version: String,
    /// What the data may be used for.
    pub purposes: Vec<Purpose>,
    /// The five ids of [`ACKNOWLEDGEMENTS`].
    pub acknowledged: Vec<String>,
}

/// The schema of [`Consent`].
pub const CONSENT: Schema = Schema {
    name: "Consent",
    make: || {
        let mut acknowledged = array(one_of(&ACKNOWLEDGEMENTS));
        acknowledged["minItems"] = ACKNOWLEDGEMENTS.len().into();
        acknowledged["maxItems"] = ACKNOWLEDGEMENTS.len().into();
        acknowledged["uniqueItems"] = true.into();
        let mut purposes = array(purpose());
        purposes["minItems"] = 1.into();
        purposes["uniqueItems"] = true.into();
        let required = [
            ("person", short_text(200)),
            ("organisation", short_text(200)),
            ("policy_version", short_text(64)),
            ("purposes", purposes),
            ("acknowledged", acknowledged),
        ];
        object(&required, &[])
    },
};

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its version, which a consent names.
    pub version: String,
    /// SHA-256 of the text, lower-case hex.
    pub digest: String,
    /// The text.
    pub text: String,
    /// The five statements that a customer acknowledges.
    pub acknowledgements: Vec<Acknowledgement>,
}

/// One statement that a customer acknowledges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// One of [`ACKNOWLEDGEMENTS`].
    pub id: String,
    /// The statement.
    pub text: String,
}

/// The schema of [`Policy`].
pub const POLICY: Schema = Schema {
    name: "Policy",
    make: || {
        let acknowledgement = object(&[("id", one_of(&ACKNOWLEDGEMENTS)), ("text", string())], &[]);
        let members = [("version", string()), ("digest", string()), ("text", string()), ("acknowledgements", array(acknowledgement))];
        object(&members, &[])
    },
};

/// The schema of a signed statement: a DSSE envelope around an in-toto statement.
pub const ENVELOPE: Schema = Schema { name: "Envelope", make: envelope };

fn envelope() -> Value {
    let signature = object(&[("keyid", string()), ("sig", string())], &[]);
    object(&[("payloadType", string()), ("payload", string()), ("signatures", array(signature))], &[])
}
