//! Signed statements: in-toto Statement v1 in a DSSE envelope, in one form and no other.
//!
//! The file is one line of compact JSON and one newline: `payloadType`, `payload`, `signatures`, base64 standard and padded.
//! Reading writes it again and compares, so that a byte that no signature covers cannot be changed either.

use data_encoding::BASE64;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::audit::ConsentReceipt;
use crate::audit::ErasureCertificate;
use crate::audit::Predicate;
use crate::audit::RevocationReceipt;
use crate::audit::key_id;
use crate::digest::Digest;
use crate::ids::cut;
use crate::vault::SigningKey;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The largest file that is read, bytes: above any certificate, below what could hurt.
const FILE_BYTES_MAX: usize = 16 << 20;

/// Why a file is no statement of Headgate's.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not an envelope.
    #[error("this file is no DSSE envelope (JSON with payloadType, payload and signatures)")]
    NotEnvelope {
        /// Why not.
        source: serde_json::Error,
    },
    /// Past the limit.
    #[error("this file has {bytes} bytes, above the {max} of any certificate")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An envelope, but not byte for byte as it was written.
    #[error("this file is not byte for byte as Headgate writes it; take the original, not one that was formatted or retyped")]
    NotCanonical,
    /// A payload of another type.
    #[error("this envelope holds `{found}`, not an in-toto statement")]
    PayloadType {
        /// What it says it holds.
        found: String,
    },
    /// A payload that is no statement.
    #[error("the envelope's payload is no in-toto statement that Headgate makes")]
    NotStatement {
        /// Why not.
        source: serde_json::Error,
    },
    /// A statement about something else.
    #[error("this statement is of type `{found}`, which this version of Headgate does not know; verify it with a newer one")]
    UnknownType {
        /// Its `predicateType`.
        found: String,
    },
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The id: of an erasure, a revocation, a consent.
    pub name: String,
    /// The root of the commitments to what it concerns.
    pub sha256: Digest,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is about.
    pub subject: Subject,
    /// What it says.
    pub predicate: Predicate,
}

/// A statement as it was read, with what its signature is over. Nothing is verified yet.
pub(super) struct Read {
    pub(super) statement: Statement,
    pub(super) kid: String,
    pub(super) signature: Vec<u8>,
    pub(super) signed: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: [Signature; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    #[serde(rename = "_type")]
    kind: String,
    subject: [PayloadSubject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadSubject {
    name: String,
    digest: PayloadDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadDigest {
    sha256: Digest,
}

impl Statement {
    /// The file: the signed envelope, with its newline.
    pub fn sign(&self, key: &SigningKey) -> String {
        let payload = self.payload();
        let sig = BASE64.encode(&key.sign(&pre_authentication(PAYLOAD_TYPE, &payload)));
        let signatures = [Signature { keyid: key_id(&key.public()), sig }];
        Envelope { payload_type: PAYLOAD_TYPE.into(), payload: BASE64.encode(&payload), signatures }.file()
    }

    /// The digest of a file, by which a later statement can name it.
    pub fn digest(file: &str) -> Digest {
        Digest::of(file.as_bytes())
    }

    pub(super) fn read(file: &[u8]) -> Result<Read, StatementError> {
        if file.len() > FILE_BYTES_MAX {
            return Err(StatementError::TooLarge { bytes: file.len(), max: FILE_BYTES_MAX });
        }
        let envelope: Envelope = serde_json::from_slice(file).map_err(|source| StatementError::NotEnvelope { source })?;
        if envelope.file().as_bytes() != file {
            return Err(StatementError::NotCanonical);
        }
        let Envelope { payload_type, payload, signatures: [Signature { keyid, sig }] } = envelope;
        if payload_type != PAYLOAD_TYPE {
            return Err(StatementError::PayloadType { found: cut(&payload_type) });
        }
        // This decoder takes canonical, padded base64 alone: a text it takes is the only one of its bytes.
        let decode = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| StatementError::NotCanonical);
        let (payload, signature) = (decode(&payload)?, decode(&sig)?);
        let statement = Statement::parse(&payload)?;
        if statement.payload() != payload {
            return Err(StatementError::NotCanonical);
        }
        Ok(Read { statement, kid: keyid, signature, signed: pre_authentication(PAYLOAD_TYPE, &payload) })
    }

    fn payload(&self) -> Vec<u8> {
        let predicate = match &self.predicate {
            Predicate::Erasure(certificate) => serde_json::value::to_raw_value(certificate),
            Predicate::Revocation(receipt) => serde_json::value::to_raw_value(receipt),
            Predicate::Consent(receipt) => serde_json::value::to_raw_value(receipt),
        };
        let subject = PayloadSubject { name: self.subject.name.clone(), digest: PayloadDigest { sha256: self.subject.sha256 } };
        let payload = predicate.and_then(|predicate| {
            let predicate_type = self.predicate.kind().to_owned();
            serde_json::to_vec(&Payload { kind: STATEMENT_TYPE.into(), subject: [subject], predicate_type, predicate })
        });
        payload.expect("texts, numbers and times always have a JSON form")
    }

    fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let not_statement = |source| StatementError::NotStatement { source };
        let Payload { kind, subject: [subject], predicate_type, predicate } = serde_json::from_slice(payload).map_err(not_statement)?;
        if kind != STATEMENT_TYPE {
            return Err(StatementError::UnknownType { found: cut(&kind) });
        }
        let predicate = match predicate_type.as_str() {
            ErasureCertificate::TYPE => serde_json::from_str(predicate.get()).map(|read| Predicate::Erasure(Box::new(read))),
            RevocationReceipt::TYPE => serde_json::from_str(predicate.get()).map(Predicate::Revocation),
            ConsentReceipt::TYPE => serde_json::from_str(predicate.get()).map(Predicate::Consent),
            other => return Err(StatementError::UnknownType { found: cut(other) }),
        };
        let subject = Subject { name: subject.name, sha256: subject.digest.sha256 };
        Ok(Statement { subject, predicate: predicate.map_err(not_statement)? })
    }
}

impl Envelope {
    fn file(&self) -> String {
        serde_json::to_string(self).expect("texts always have a JSON form") + "\n"
    }
}

/// What is signed: PAE of the DSSE protocol, version 1.
fn pre_authentication(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the DSSE protocol's own text.
    #[test]
    fn the_signed_bytes_are_those_of_the_protocol() {
        let signed = pre_authentication("http://example.com/HelloWorld", b"hello world");
        assert_eq!(signed, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
