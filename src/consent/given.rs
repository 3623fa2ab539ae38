//! A consent: who agreed to which text, for what, and when.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::consent::Acknowledgement;
use crate::consent::Policy;
use crate::consent::Purpose;
use crate::digest::Digest;
use crate::ids::ConsentId;

/// How many characters a person's or an organisation's name may have.
pub const NAME_CHARS_MAX: usize = 200;

/// What a customer sends to agree: the `consent` of `POST /v1/connections`, the fields of the page, or the CLI's flags.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    /// The person who agrees.
    pub person: String,
    /// The organisation that the person binds.
    pub organisation: String,
    /// The version of the policy that was read.
    pub policy_version: String,
    /// What the data may be used for.
    #[serde(default)]
    pub purposes: Vec<Purpose>,
    /// The ids of the confirmed statements.
    pub acknowledged: Vec<String>,
}

/// A recorded consent. It never changes; a new agreement is a new consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Its id.
    pub id: ConsentId,
    /// The person who agreed.
    pub person: String,
    /// The organisation that the person bound.
    pub organisation: String,
    /// The version of the policy that was read.
    pub policy_version: String,
    /// The digest of its text.
    pub policy_digest: Digest,
    /// What the data may be used for, each once, in the order of [`Purpose::ALL`].
    pub purposes: Vec<Purpose>,
    /// The streams that may be read.
    pub streams: Vec<String>,
    /// The confirmed statements: all five.
    pub acknowledged: Vec<Acknowledgement>,
    /// When.
    pub at: Timestamp,
    /// The permissions that the application was to be asked for.
    pub scopes: Vec<String>,
}

/// Why no consent was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// Another version of the policy was read: a conflict.
    #[error("the consent names policy version `{given}`, but `{current}` is in force; read it at /v1/policy and agree to that")]
    OtherVersion {
        /// The version that the request names, cut to 64 characters.
        given: String,
        /// The version in force.
        current: &'static str,
    },
    /// Something is missing or wrong; every problem is listed.
    #[error("the consent is not complete: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Incomplete {
        /// What to correct.
        problems: Vec<ConsentProblem>,
    },
}

/// One thing that is wrong with a consent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsentProblem {
    /// Who agrees, or for whom, is missing or too long.
    #[error("`{field}` must be a name of 1 to {NAME_CHARS_MAX} characters")]
    Name {
        /// `person` or `organisation`.
        field: &'static str,
    },
    /// A statement was not confirmed.
    #[error("the statement `{}` is not confirmed; name it in `acknowledged`", .statement.as_str())]
    NotAcknowledged {
        /// Which.
        statement: Acknowledgement,
    },
    /// Something was confirmed that is no statement of the policy.
    #[error("`{id}` is no statement of the policy; the five are at /v1/policy")]
    UnknownStatement {
        /// What was given, cut to 64 characters.
        id: String,
    },
    /// No purpose is named, so nothing could be read.
    #[error("`purposes` is empty; name at least one")]
    NoPurpose,
}

impl Consent {
    /// Records what a customer agreed to, when it is complete and about the policy in force.
    ///
    /// `streams` and `scopes` are what the connection is about to have: they were shown to the customer.
    ///
    /// # Errors
    /// [`ConsentError::OtherVersion`] before anything else, else all problems at once.
    pub fn record(
        request: ConsentRequest,
        streams: Vec<String>,
        scopes: Vec<String>,
        id: ConsentId,
        at: Timestamp,
    ) -> Result<Self, ConsentError> {
        let policy = Policy::current();
        if request.policy_version != policy.version {
            return Err(ConsentError::OtherVersion { given: crate::ids::cut(&request.policy_version), current: policy.version });
        }
        let problems = request.problems();
        if !problems.is_empty() {
            return Err(ConsentError::Incomplete { problems });
        }
        Ok(Self {
            id,
            person: request.person.trim().to_owned(),
            organisation: request.organisation.trim().to_owned(),
            policy_version: request.policy_version,
            policy_digest: policy.digest,
            purposes: Purpose::ALL.into_iter().filter(|purpose| request.purposes.contains(purpose)).collect(),
            streams,
            acknowledged: Acknowledgement::ALL.to_vec(),
            at,
            scopes,
        })
    }
}

impl ConsentRequest {
    fn problems(&self) -> Vec<ConsentProblem> {
        let mut problems = Vec::new();
        for (field, name) in [("person", &self.person), ("organisation", &self.organisation)] {
            if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX {
                problems.push(ConsentProblem::Name { field });
            }
        }
        for statement in Acknowledgement::ALL {
            if !self.acknowledged.iter().any(|id| id == statement.as_str()) {
                problems.push(ConsentProblem::NotAcknowledged { statement });
            }
        }
        for id in self.acknowledged.iter().filter(|id| Acknowledgement::named(id).is_none()) {
            problems.push(ConsentProblem::UnknownStatement { id: crate::ids::cut(id) });
        }
        if self.purposes.is_empty() {
            problems.push(ConsentProblem::NoPurpose);
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Entropy;

    fn request() -> ConsentRequest {
        ConsentRequest {
            person: " Ada Example ".into(),
            organisation: "Example Ltd".into(),
            policy_version: Policy::current().version.into(),
            purposes: vec![Purpose::Shipping, Purpose::Fulfilment, Purpose::Shipping],
            acknowledged: ["retention", "accuracy", "third_party_terms", "authority", "responsibility"].map(String::from).to_vec(),
        }
    }

    fn record(request: ConsentRequest) -> Result<Consent, ConsentError> {
        let id = ConsentId::new(Timestamp::UNIX_EPOCH, &Entropy::system());
        Consent::record(request, vec!["orders".into()], vec!["read_orders".into()], id, Timestamp::UNIX_EPOCH)
    }

    /// A complete request becomes a consent that the store keeps and that shows the five ids in the policy's order.
    #[test]
    fn complete_request_is_recorded() {
        let consent = record(request()).unwrap();
        assert_eq!((consent.person.as_str(), consent.purposes.as_slice()), ("Ada Example", &[Purpose::Fulfilment, Purpose::Shipping][..]));
        assert_eq!(postcard::from_bytes::<Consent>(&postcard::to_stdvec(&consent).unwrap()).unwrap(), consent);
        let shown = serde_json::to_value(&consent).unwrap();
        assert_eq!(shown["acknowledged"], serde_json::json!(["responsibility", "authority", "third_party_terms", "accuracy", "retention"]));
        assert_eq!(shown["policy_digest"], Policy::current().digest.to_string());
    }

    /// Each missing thing is named, all at once; another version is a conflict whatever else is wrong.
    #[test]
    fn problems_are_all_named() {
        for statement in Acknowledgement::ALL {
            let mut lacking = request();
            lacking.acknowledged.retain(|id| id != statement.as_str());
            let problems = vec![ConsentProblem::NotAcknowledged { statement }];
            assert_eq!(record(lacking), Err(ConsentError::Incomplete { problems }));
        }
        let wrong =
            ConsentRequest { acknowledged: vec!["everything".into()], policy_version: request().policy_version, ..Default::default() };
        let Err(ConsentError::Incomplete { problems }) = record(wrong.clone()) else { panic!("an empty consent was recorded") };
        assert_eq!(problems.len(), 9, "{problems:?}");
        let other = record(ConsentRequest { policy_version: "2020-01".into(), ..wrong });
        assert_eq!(other, Err(ConsentError::OtherVersion { given: "2020-01".into(), current: Policy::current().version }));
    }
}
