//! The kinds of Operational Data that a stream's records may be read as.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// An operational kind; each has a JSON Schema in `schemas/` for its operational view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something a customer ordered.
    Order,
    /// A claim for payment.
    Invoice,
    /// A parcel or load that leaves or comes in.
    Shipment,
    /// Something that is sold or stocked.
    Product,
    /// One observation of a shipment on its way.
    Tracking,
    /// A document or state that a workflow makes: label, pick list, approval, deployment.
    WorkflowArtifact,
    /// A party that buys.
    Customer,
    /// Money that moved.
    Payment,
    /// A conversation about a problem.
    Ticket,
}

/// A text that names no operational kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no operational kind; use one of order, invoice, shipment, product, tracking, workflow_artifact, customer, payment, ticket"
)]
pub struct KindError {
    /// What was given, cut to 64 characters.
    pub text: String,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 9] = [
        Kind::Order,
        Kind::Invoice,
        Kind::Shipment,
        Kind::Product,
        Kind::Tracking,
        Kind::WorkflowArtifact,
        Kind::Customer,
        Kind::Payment,
        Kind::Ticket,
    ];

    /// Its name in tags, manifests and queries.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Order => "order",
            Kind::Invoice => "invoice",
            Kind::Shipment => "shipment",
            Kind::Product => "product",
            Kind::Tracking => "tracking",
            Kind::WorkflowArtifact => "workflow_artifact",
            Kind::Customer => "customer",
            Kind::Payment => "payment",
            Kind::Ticket => "ticket",
        }
    }

    /// The JSON Schema (draft 2020-12) of its operational view.
    pub fn schema(self) -> &'static str {
        match self {
            Kind::Order => include_str!("../../schemas/order.schema.json"),
            Kind::Invoice => include_str!("../../schemas/invoice.schema.json"),
            Kind::Shipment => include_str!("../../schemas/shipment.schema.json"),
            Kind::Product => include_str!("../../schemas/product.schema.json"),
            Kind::Tracking => include_str!("../../schemas/tracking.schema.json"),
            Kind::WorkflowArtifact => include_str!("../../schemas/workflow_artifact.schema.json"),
            Kind::Customer => include_str!("../../schemas/customer.schema.json"),
            Kind::Payment => include_str!("../../schemas/payment.schema.json"),
            Kind::Ticket => include_str!("../../schemas/ticket.schema.json"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| KindError { text: crate::ids::cut(text) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    /// Every kind reads back from its name, and its schema is a schema, named for it, that describes every field.
    #[test]
    fn every_kind_has_a_schema() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            let schema: Value = serde_json::from_str(kind.schema()).unwrap();
            assert!(jsonschema::draft202012::meta::is_valid(&schema), "{kind}");
            assert_eq!(schema["$id"], format!("urn:headgate:schema:{kind}"));
            assert!(schema["properties"].as_object().unwrap().values().all(|field| field["description"].is_string()), "{kind}");
        }
    }

    /// A view as mappings make it is valid; a text where a list belongs is not.
    #[test]
    fn schemas_tell_views_apart() {
        let schema = serde_json::from_str(Kind::Order.schema()).unwrap();
        let valid = |view: Value| jsonschema::draft202012::is_valid(&schema, &view);
        assert!(valid(json!({"order_number": 1001, "total": "10.00", "skus": ["A", null], "ordered_at": null, "of_its_own": true})));
        assert!(!valid(json!({"skus": "A"})));
    }
}
