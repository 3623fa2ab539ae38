//! The policy text, its version and digest, and the five statements that a customer confirms.
//!
//! A published version is never edited: a new text is a new file and a new version.

use std::sync::LazyLock;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;

const VERSION: &str = "2026-11";
const TEXT: &str = include_str!("policy-2026-11.md");

/// How many statements there are to confirm.
const STATEMENTS: usize = Acknowledgement::ALL.len();

/// A statement that a customer confirms before a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acknowledgement {
    /// The customer chooses what is connected.
    Responsibility,
    /// The person may bind the organisation, and it has the right to the data.
    Authority,
    /// The application has terms of its own.
    ThirdPartyTerms,
    /// The application's data may be wrong.
    Accuracy,
    /// Revoking deletes nothing.
    Retention,
}

/// The policy as `GET /v1/policy` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The version that a consent names.
    pub version: &'static str,
    /// The SHA-256 digest of `text`.
    pub digest: Digest,
    /// The whole text, Markdown, the statements included.
    pub text: &'static str,
    /// The statements, in the order of the text.
    pub acknowledgements: [Statement; STATEMENTS],
}

/// One statement of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// What a consent names.
    pub id: Acknowledgement,
    /// What the customer reads, word for word as in the policy's text.
    pub text: &'static str,
}

impl Acknowledgement {
    /// All five, in the order of the policy's text.
    pub const ALL: [Acknowledgement; 5] = [
        Acknowledgement::Responsibility,
        Acknowledgement::Authority,
        Acknowledgement::ThirdPartyTerms,
        Acknowledgement::Accuracy,
        Acknowledgement::Retention,
    ];

    /// Its name in requests and receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Acknowledgement::Responsibility => "responsibility",
            Acknowledgement::Authority => "authority",
            Acknowledgement::ThirdPartyTerms => "third_party_terms",
            Acknowledgement::Accuracy => "accuracy",
            Acknowledgement::Retention => "retention",
        }
    }

    /// The one with that name.
    pub fn named(name: &str) -> Option<Self> {
        Acknowledgement::ALL.into_iter().find(|statement| statement.as_str() == name)
    }
}

impl Policy {
    /// The version in force.
    pub fn current() -> &'static Policy {
        static CURRENT: LazyLock<Policy> = LazyLock::new(|| {
            // The statements are the text's only list, one a line.
            let mut lines = TEXT.lines().filter_map(|line| line.strip_prefix("- "));
            let acknowledgements = Acknowledgement::ALL.map(|id| Statement { id, text: lines.next().unwrap_or_default() });
            Policy { version: VERSION, digest: Digest::of(TEXT.as_bytes()), text: TEXT, acknowledgements }
        });
        &CURRENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published text is what it was when it was published, and its list is the five statements.
    #[test]
    fn published_text_is_never_edited() {
        let policy = Policy::current();
        assert_eq!(
            policy.digest.to_string(),
            "7e20f71d088228c38259b4d4669c23d91b6ca58823d8f48f4c00ad262d90153e",
            "a changed text is a new version in a new file"
        );
        assert_eq!(TEXT.lines().filter(|line| line.starts_with("- ")).count(), STATEMENTS);
        assert!(policy.acknowledgements.iter().all(|statement| statement.text.len() > 80));
        assert!(TEXT.contains(&format!("Version {VERSION}\n")));
    }
}
