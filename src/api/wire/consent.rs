//! The policy, the customer's consent to it, and signed statements.

use serde_json::Value;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::purpose;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::consent::Acknowledgement;
use crate::consent::NAME_CHARS_MAX;

/// The schema of [`crate::consent::ConsentRequest`].
pub const CONSENT: Schema = Schema {
    name: "Consent",
    make: || {
        let mut acknowledged = array(acknowledgement());
        acknowledged["minItems"] = Acknowledgement::ALL.len().into();
        acknowledged["uniqueItems"] = true.into();
        let mut purposes = array(purpose());
        purposes["minItems"] = 1.into();
        let required = [
            ("person", short_text(NAME_CHARS_MAX)),
            ("organisation", short_text(NAME_CHARS_MAX)),
            ("policy_version", short_text(64)),
            ("acknowledged", acknowledged),
        ];
        // Without purposes the connector's own are meant.
        object(&required, &[("purposes", purposes)])
    },
};

/// The schema of [`crate::consent::Policy`].
pub const POLICY: Schema = Schema {
    name: "Policy",
    make: || {
        let statement = object(&[("id", acknowledgement()), ("text", string())], &[]);
        let members = [("version", string()), ("digest", string()), ("text", string()), ("acknowledgements", array(statement))];
        object(&members, &[])
    },
};

/// The schema of a signed statement: a DSSE envelope around an in-toto statement.
pub const ENVELOPE: Schema = Schema { name: "Envelope", make: envelope };

fn acknowledgement() -> Value {
    one_of(&Acknowledgement::ALL.map(Acknowledgement::as_str))
}

fn envelope() -> Value {
    let signature = object(&[("keyid", string()), ("sig", string())], &[]);
    object(&[("payloadType", string()), ("payload", string()), ("signatures", array(signature))], &[])
}
