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
