//! Verification of a certificate or receipt by whoever holds the file: no service, no store, no network.

use data_encoding::BASE64;
use serde::Serialize;
use serde::Serializer;

use crate::audit::Action;
use crate::audit::AuditProof;
use crate::audit::Checkpoint;
use crate::audit::Entry;
use crate::audit::EntryError;
use crate::audit::ErasureCertificate;
use crate::audit::KeySet;
use crate::audit::NoteError;
use crate::audit::Predicate;
use crate::audit::Statement;
use crate::audit::StatementError;
use crate::audit::Subject;
use crate::merkle;
use crate::merkle::Hash;
use crate::merkle::ProofError;

/// What verification found.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Whether the file is what a trusted key signed, and everything in it holds.
    pub verified: bool,
    /// Whether the file is no statement at all.
    pub malformed: bool,
    /// The statement's type.
    pub predicate_type: Option<&'static str>,
    /// What it is about.
    pub subject: Option<Subject>,
    /// The id of the key that it says signed it.
    pub signer: Option<String>,
    /// Whether it was made in a data directory for tests.
    pub test: Option<bool>,
    /// Everything that speaks against it.
    pub problems: Vec<Problem>,
}

/// Something that speaks against a statement.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] StatementError),
    /// No key was given.
    #[error("signer not trusted: no key was given; name the gateway's key file with --key")]
    NoKey,
    /// The key is not in the file that was given.
    #[error("signer not trusted: key `{kid}` is not in the key file")]
    UnknownKey {
        /// The key's id.
        kid: String,
    },
    /// The signature is false.
    #[error("the signature is false: the statement was altered, or another key signed it")]
    FalseSignature,
    /// The leaf in the certificate is no entry.
    #[error("the audit entry in the certificate is unreadable: {0}")]
    Entry(EntryError),
    /// The entry is about something else.
    #[error("the audit entry in the certificate is not the completion of `{subject}` with this commitment")]
    OtherEntry {
        /// The erasure.
        subject: String,
    },
    /// The proof does not fit the leaf or the checkpoint beside it.
    #[error("the parts of the audit proof do not belong together: {0}")]
    Mixed(&'static str),
    /// The proof fails.
    #[error("the audit entry is not in the log that the checkpoint signs: {0}")]
    Proof(ProofError),
    /// The checkpoint is not signed.
    #[error("the checkpoint does not verify: {0}")]
    Checkpoint(NoteError),
    /// Its times run backwards.
    #[error("the erasure ends before it begins")]
    Times,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Verifies a certificate or receipt. Without keys the verdict is never good: whoever can make a file can sign it.
pub fn verify_file(file: &[u8], keys: Option<&KeySet>) -> Verdict {
    let read = match Statement::read(file) {
        Ok(read) => read,
        Err(error) => return Verdict::malformed(error),
    };
    let mut problems = Vec::new();
    match keys.map(|keys| keys.verifies(&read.kid, &read.signed, &read.signature)) {
        None => problems.push(Problem::NoKey),
        Some(None) => problems.push(Problem::UnknownKey { kid: crate::ids::cut(&read.kid) }),
        Some(Some(false)) => problems.push(Problem::FalseSignature),
        Some(Some(true)) => {}
    }
    let Statement { subject, predicate } = read.statement;
    let (predicate_type, test) = (predicate.kind(), predicate.is_test());
    match predicate {
        Predicate::Erasure(certificate) => problems.extend(certificate.problems(&subject, keys)),
        // Receipts say what was true when they were signed, and rest on nothing else.
        Predicate::Revocation(_) | Predicate::Consent(_) => {}
    }
    Verdict {
        verified: problems.is_empty(),
        malformed: false,
        predicate_type: Some(predicate_type),
        subject: Some(subject),
        signer: Some(read.kid),
        test: Some(test),
        problems,
    }
}

impl Verdict {
    fn malformed(error: StatementError) -> Self {
        let problems = vec![error.into()];
        Verdict { verified: false, malformed: true, predicate_type: None, subject: None, signer: None, test: None, problems }
    }
}

impl ErasureCertificate {
    fn problems(&self, subject: &Subject, keys: Option<&KeySet>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.completed_at < self.started_at {
            problems.push(Problem::Times);
        }
        let checks = [self.audit.check_entry(subject), self.audit.check_proof(keys)];
        problems.extend(checks.into_iter().filter_map(Result::err));
        problems
    }
}

impl AuditProof {
    /// The leaf is the completion of this erasure, and commits to the same root as the certificate.
    fn check_entry(&self, subject: &Subject) -> Result<(), Problem> {
        let leaf = BASE64.decode(self.leaf.as_bytes()).map_err(|_| Problem::Mixed("the leaf is no base64"))?;
        let entry = Entry::from_leaf(&leaf).map_err(Problem::Entry)?;
        let same = entry.action == Action::ErasureCompleted
            && entry.object.as_deref() == Some(&subject.name)
            && entry.commitment == Some(subject.sha256);
        if same { Ok(()) } else { Err(Problem::OtherEntry { subject: crate::ids::cut(&subject.name) }) }
    }

    /// The leaf is in the tree of the checkpoint, and a known key signed that.
    fn check_proof(&self, keys: Option<&KeySet>) -> Result<(), Problem> {
        let mixed = Problem::Mixed;
        let leaf = BASE64.decode(self.leaf.as_bytes()).map_err(|_| mixed("the leaf is no base64"))?;
        let hash = merkle::leaf_hash(&leaf);
        if self.proof.leaf_index != self.entry {
            return Err(mixed("the proof is of another entry"));
        }
        if decode_hash(&self.proof.leaf_hash) != Some(hash) {
            return Err(mixed("the proof's leaf hash is not the leaf's"));
        }
        let checkpoint = match keys {
            Some(keys) => keys.note_keys().and_then(|keys| Checkpoint::open(&self.checkpoint, &keys)),
            None => Checkpoint::peek(&self.checkpoint),
        };
        let checkpoint = checkpoint.map_err(Problem::Checkpoint)?;
        if checkpoint.size != self.proof.tree_size {
            return Err(mixed("the proof leads into a tree of another size than the checkpoint's"));
        }
        let hashes: Option<Vec<Hash>> = self.proof.hashes.iter().map(|hash| decode_hash(hash)).collect();
        let hashes = hashes.ok_or(mixed("a hash of the proof is no base64 of 32 bytes"))?;
        merkle::verify_inclusion(&hash, self.entry, checkpoint.size, &hashes, &checkpoint.root).map_err(Problem::Proof)
    }
}

fn decode_hash(text: &str) -> Option<Hash> {
    BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Actor;
    use crate::audit::ConsentReceipt;
    use crate::audit::Counts;
    use crate::audit::CredentialFate;
    use crate::audit::InclusionProof;
    use crate::audit::Jwk;
    use crate::audit::Kept;
    use crate::audit::NoteKey;
    use crate::audit::RevocationReceipt;
    use crate::audit::Scope;
    use crate::clock::Timestamp;
    use crate::digest::Digest;
    use crate::ids::ConnectionId;
    use crate::ids::Entropy;
    use crate::vault::SigningKey;

    const ORIGIN: &str = "headgate/0011223344556677";

    struct Signer {
        statements: SigningKey,
        notes: SigningKey,
        keys: KeySet,
    }

    impl Signer {
        fn new() -> Self {
            let (statements, notes) = (SigningKey::random(&Entropy::system()), SigningKey::random(&Entropy::system()));
            let vkey = NoteKey::new(ORIGIN, notes.public()).unwrap().to_string();
            let keys = KeySet { keys: vec![Jwk::new(&statements.public())], vkeys: vec![vkey] };
            Signer { statements, notes, keys }
        }
    }

    fn now() -> Timestamp {
        "2026-11-24T10:00:00Z".parse().unwrap()
    }

    fn connection() -> ConnectionId {
        "conn_0193e0f2a4b87c1d8e9f0a1b2c3d4e5f".parse().unwrap()
    }

    /// A certificate whose entry is the sixth of a log of eleven.
    fn certificate(signer: &Signer) -> Statement {
        let subject = Subject { name: "eras_0193e0f2a4b87c1d8e9f0a1b2c3d4e5f".into(), sha256: Digest::of(b"commitments") };
        let mut entry = Entry::new(now(), Actor::System, Action::ErasureCompleted);
        entry.object = Some(subject.name.clone());
        entry.commitment = Some(subject.sha256);
        let leaf = entry.to_leaf();
        let mut leaves: Vec<Hash> = (0..11u8).map(|number| merkle::leaf_hash(&[number])).collect();
        leaves[5] = merkle::leaf_hash(&leaf);
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 11, root: merkle::naive::root(&leaves) };
        let hashes = merkle::naive::path(5, &leaves).iter().map(|hash| BASE64.encode(hash)).collect();
        let proof = InclusionProof { leaf_index: 5, tree_size: 11, leaf_hash: BASE64.encode(&leaves[5]), hashes };
        let audit = AuditProof { entry: 5, leaf: BASE64.encode(&leaf), checkpoint: checkpoint.sign(&signer.notes).unwrap(), proof };
        let certificate = ErasureCertificate {
            scope: Scope::Connection { connection: connection() },
            counts: Counts { records: 2000, versions: 2100 },
            artifacts: 0,
            keys_destroyed: vec!["connection/00".into(), "extent/00/0".into()],
            started_at: now(),
            completed_at: now(),
            kept: vec![Kept { what: "runs".into(), reason: "the integration log".into(), until: None }],
            test: false,
            audit,
        };
        Statement { subject, predicate: Predicate::Erasure(Box::new(certificate)) }
    }

    fn altered(signer: &Signer, change: impl FnOnce(&mut Subject, &mut ErasureCertificate)) -> Verdict {
        let Statement { mut subject, predicate: Predicate::Erasure(mut certificate) } = certificate(signer) else {
            panic!("a certificate")
        };
        change(&mut subject, &mut certificate);
        let statement = Statement { subject, predicate: Predicate::Erasure(certificate) };
        verify_file(statement.sign(&signer.statements).as_bytes(), Some(&signer.keys))
    }

    /// Goal: any change of any byte is refused, and so are a cut and an addition. Method: every byte of a certificate in
    /// turn.
    #[test]
    fn every_changed_byte_is_refused() {
        let signer = Signer::new();
        let file = certificate(&signer).sign(&signer.statements);
        let verdict = verify_file(file.as_bytes(), Some(&signer.keys));
        assert!(verdict.verified, "{:?}", verdict.problems);
        for at in 0..file.len() {
            let mut bytes = file.clone().into_bytes();
            // One bit at either end, the bit of a letter's case, and the white space that a parser might let through.
            for to in [bytes[at] ^ 1, bytes[at] ^ 0x20, bytes[at] ^ 0x80, b' ', b'\n'] {
                if to != file.as_bytes()[at] {
                    bytes[at] = to;
                    assert!(!verify_file(&bytes, Some(&signer.keys)).verified, "byte {at} as {to}");
                }
            }
            assert!(!verify_file(&file.as_bytes()[..at], Some(&signer.keys)).verified, "cut at {at}");
            for added in [" ", "A"] {
                let longer = [&file.as_bytes()[..at], added.as_bytes(), &file.as_bytes()[at..]].concat();
                assert!(!verify_file(&longer, Some(&signer.keys)).verified, "{added:?} at {at}");
            }
        }
        assert!(!verify_file(format!("{file}\n").as_bytes(), Some(&signer.keys)).verified);
    }

    /// A certificate alone proves nothing; with another's keys it proves nothing either; a retired key still proves.
    #[test]
    fn the_signer_must_be_known() {
        let (signer, other) = (Signer::new(), Signer::new());
        let file = certificate(&signer).sign(&signer.statements);
        let verdict = verify_file(file.as_bytes(), None);
        assert!(!verdict.verified && !verdict.malformed && matches!(verdict.problems[..], [Problem::NoKey]));
        assert!(serde_json::to_string(&verdict).unwrap().contains("signer not trusted"));
        let verdict = verify_file(file.as_bytes(), Some(&other.keys));
        assert!(matches!(verdict.problems[..], [Problem::UnknownKey { .. }, Problem::Checkpoint(NoteError::UnknownSigner { .. })]));

        let mut both = other.keys.clone();
        both.keys.extend(signer.keys.keys.clone());
        both.vkeys.extend(signer.keys.vkeys.clone());
        assert!(verify_file(file.as_bytes(), Some(&both)).verified);
    }

    /// A certificate that the gateway itself signed is refused when its proof is of something else.
    #[test]
    fn the_proof_inside_must_hold() {
        let signer = Signer::new();
        let refused = |verdict: Verdict, kind: fn(&Problem) -> bool| {
            assert!(!verdict.verified && verdict.problems.iter().all(kind), "{:?}", verdict.problems);
        };
        refused(altered(&signer, |subject, _| subject.name.push('0')), |problem| matches!(problem, Problem::OtherEntry { .. }));
        refused(altered(&signer, |subject, _| subject.sha256 = Digest::of(b"")), |problem| matches!(problem, Problem::OtherEntry { .. }));
        refused(altered(&signer, |_, certificate| certificate.audit.entry = 6), |problem| matches!(problem, Problem::Mixed(_)));
        refused(altered(&signer, |_, certificate| certificate.audit.proof.tree_size = 12), |problem| matches!(problem, Problem::Mixed(_)));
        refused(altered(&signer, |_, certificate| drop(certificate.audit.proof.hashes.pop())), |problem| {
            matches!(problem, Problem::Proof(ProofError::WrongLength { .. }))
        });
        refused(altered(&signer, |_, certificate| certificate.audit.proof.hashes.swap(0, 1)), |problem| {
            matches!(problem, Problem::Proof(ProofError::WrongRoot { .. }))
        });
        let forged = Checkpoint { origin: ORIGIN.into(), size: 11, root: [0; 32] }.sign(&SigningKey::random(&Entropy::system())).unwrap();
        refused(altered(&signer, |_, certificate| certificate.audit.checkpoint = forged), |problem| {
            matches!(problem, Problem::Checkpoint(_))
        });
    }

    /// Receipts verify by the same command.
    #[test]
    fn receipts_verify() {
        let signer = Signer::new();
        let tenant: crate::ids::TenantId = "acme".parse().unwrap();
        let receipts = [
            Predicate::Revocation(RevocationReceipt {
                connection: connection(),
                tenant: tenant.clone(),
                connector: "sandbox".into(),
                reason: Some("no longer needed".into()),
                revoked_at: now(),
                credential: CredentialFate::Revoking,
                test: true,
            }),
            Predicate::Consent(ConsentReceipt {
                connection: connection(),
                tenant,
                connector: "sandbox".into(),
                person: "Ada".into(),
                organisation: "Acme".into(),
                policy_version: "1".into(),
                policy_digest: Digest::of(b"text"),
                purposes: vec!["fulfilment".into()],
                streams: vec!["orders".into()],
                acknowledged: vec!["authority".into()],
                agreed_at: now(),
                test: true,
            }),
        ];
        for predicate in receipts {
            let kind = predicate.kind();
            let statement = Statement { subject: Subject { name: "id".into(), sha256: Digest::of(b"") }, predicate };
            let verdict = verify_file(statement.sign(&signer.statements).as_bytes(), Some(&signer.keys));
            assert!(verdict.verified, "{:?}", verdict.problems);
            assert_eq!((verdict.predicate_type, verdict.test), (Some(kind), Some(true)));
        }
    }

    /// What is no statement is told apart from what does not verify.
    #[test]
    fn other_files_are_malformed() {
        let signer = Signer::new();
        let pretty = certificate(&signer).sign(&signer.statements).replace(':', ": ");
        for file in ["", "{}", "hello", "[1,2]", &pretty] {
            let verdict = verify_file(file.as_bytes(), Some(&signer.keys));
            assert!(verdict.malformed && !verdict.verified && verdict.problems.len() == 1, "{file}");
        }
    }
}
