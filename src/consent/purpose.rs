//! What data may be used for.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// A purpose of processing. Sale is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Carrying out orders.
    Fulfilment,
    /// Sending and tracking parcels.
    Shipping,
    /// Books, invoices and taxes.
    Accounting,
    /// Answering the customer's questions.
    Support,
    /// Reports and forecasts for the customer.
    Analytics,
    /// Workflows that the customer set up.
    Automation,
    /// Protecting the service and its users.
    Security,
    /// Duties and claims under law.
    Legal,
}

/// A text that names no purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no purpose; use one of fulfilment, shipping, accounting, support, analytics, automation, security, legal")]
pub struct PurposeError {
    /// What was given, cut to 64 characters.
    pub text: String,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Purpose; 8] = [
        Purpose::Fulfilment,
        Purpose::Shipping,
        Purpose::Accounting,
        Purpose::Support,
        Purpose::Analytics,
        Purpose::Automation,
        Purpose::Security,
        Purpose::Legal,
    ];

    /// Its name in consents, tags, keys and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Fulfilment => "fulfilment",
            Purpose::Shipping => "shipping",
            Purpose::Accounting => "accounting",
            Purpose::Support => "support",
            Purpose::Analytics => "analytics",
            Purpose::Automation => "automation",
            Purpose::Security => "security",
            Purpose::Legal => "legal",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Purpose {
    type Err = PurposeError;

    fn from_str(text: &str) -> Result<Self, PurposeError> {
        Purpose::ALL.into_iter().find(|purpose| purpose.as_str() == text).ok_or_else(|| PurposeError { text: crate::ids::cut(text) })
    }
}
