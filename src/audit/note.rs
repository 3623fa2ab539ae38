//! Checkpoints as signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), and the keys that verify them.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use data_encoding::HEXLOWER;
use ring::signature;

use crate::ids::cut;
use crate::merkle::Hash;
use crate::vault::SigningKey;

/// The signature type of a plain Ed25519 note signature, as C2SP assigns it.
const ED25519: u8 = 1;
/// What begins a signature line.
const DASH: &str = "\u{2014} ";
/// The longest note that is read, bytes: our signature and those of a few witnesses.
const NOTE_BYTES_MAX: usize = 64 << 10;

/// What is wrong with a note or a note key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note.
    #[error("this is no signed note: a text, a blank line, and signature lines that begin with an em dash")]
    Malformed,
    /// A note, but no checkpoint.
    #[error("this note is no checkpoint: its lines are an origin, a size in decimal and a root hash in base64")]
    NotCheckpoint,
    /// No signature of a known key.
    #[error("the checkpoint of `{origin}` has no signature of a known key; give the key file of the gateway that made it")]
    UnknownSigner {
        /// The log's name on the note.
        origin: String,
    },
    /// A known key's signature is false.
    #[error("the signature of `{name}` on the checkpoint is false: the checkpoint was altered")]
    FalseSignature {
        /// The key's name.
        name: String,
    },
    /// A text that is no verifier key.
    #[error("`{text}` is no note key: one is NAME+HASH+KEY, Ed25519, with a hash that fits")]
    MalformedKey {
        /// The text, cut short.
        text: String,
    },
}

/// A key that verifies notes; its text form is that of Go's `sumdb/note`: `name+hash+base64(type, key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    public: [u8; 32],
}

impl NoteKey {
    /// A key under a name.
    ///
    /// # Errors
    /// When the name is empty or holds white space or a plus.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(NoteError::MalformedKey { text: cut(name) });
        }
        Ok(NoteKey { name: name.to_owned(), public })
    }

    /// The name, which is also the origin of the log that it signs for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The four bytes by which a signature line says whose it is.
    pub fn id(&self) -> [u8; 4] {
        let hash = crate::digest::Digest::of(&[self.name.as_bytes(), b"\n", &[ED25519], &self.public].concat()).to_bytes();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        signature::UnparsedPublicKey::new(&signature::ED25519, self.public).verify(text, signature).is_ok()
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], self.public.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id()), BASE64.encode(&key))
    }
}

impl FromStr for NoteKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let parse = || {
            // The base64 of the key may hold a plus itself.
            let (name, rest) = text.split_once('+')?;
            let (hash, key) = rest.split_once('+')?;
            let key = BASE64.decode(key.as_bytes()).ok()?;
            let public = key.strip_prefix(&[ED25519])?.try_into().ok()?;
            let key = NoteKey::new(name, public).ok()?;
            (HEXLOWER.encode(&key.id()) == hash).then_some(key)
        };
        parse().ok_or_else(|| NoteError::MalformedKey { text: cut(text) })
    }
}

/// The head of a log: what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    /// The RFC 6962 root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The signed note. The key's name is the origin.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NoteError> {
        let name = NoteKey::new(&self.origin, key.public())?;
        let text = self.text();
        let signature = [name.id().as_slice(), &key.sign(text.as_bytes())].concat();
        Ok(format!("{text}\n{DASH}{} {}\n", self.origin, BASE64.encode(&signature)))
    }

    /// Reads a note that one of `keys` has signed for this log. Signatures of others are not looked at; one of a known key
    /// that is false refuses the note.
    ///
    /// # Errors
    /// All of [`NoteError`] but the last.
    pub fn open(note: &str, keys: &[NoteKey]) -> Result<Self, NoteError> {
        let (text, signatures) = split(note)?;
        let checkpoint = Self::parse(text)?;
        let mut signed = false;
        for line in signatures.lines() {
            let (name, id, signature) = signature_line(line)?;
            if let Some(key) = keys.iter().find(|key| key.name == name && key.id() == id) {
                if !key.verify(text.as_bytes(), &signature) {
                    return Err(NoteError::FalseSignature { name: cut(name) });
                }
                signed |= key.name == checkpoint.origin;
            }
        }
        if signed { Ok(checkpoint) } else { Err(NoteError::UnknownSigner { origin: cut(&checkpoint.origin) }) }
    }

    /// Reads what a note says without asking who signed it: for messages only.
    ///
    /// # Errors
    /// [`NoteError::Malformed`], [`NoteError::NotCheckpoint`].
    pub fn peek(note: &str) -> Result<Self, NoteError> {
        Self::parse(split(note)?.0)
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root))
    }

    /// Extension lines are allowed by the format and refused here: we write none, and would not know what they say.
    fn parse(text: &str) -> Result<Self, NoteError> {
        let parse = || {
            let mut lines = text.lines();
            let (origin, size, root) = (lines.next()?.to_owned(), lines.next()?.parse().ok()?, lines.next()?);
            let root = BASE64.decode(root.as_bytes()).ok()?.try_into().ok()?;
            let checkpoint = Checkpoint { origin, size, root };
            // Written again it is the same: no leading zero, no sign, no other line end.
            (checkpoint.text() == text && !checkpoint.origin.is_empty()).then_some(checkpoint)
        };
        parse().ok_or(NoteError::NotCheckpoint)
    }
}

/// The signed text with its last line end, and the signature lines.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    let clean = note.len() <= NOTE_BYTES_MAX && note.ends_with('\n') && !note.contains(|c: char| c < ' ' && c != '\n');
    let (at, _) = note.rmatch_indices("\n\n").next().filter(|_| clean).ok_or(NoteError::Malformed)?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    if signatures.is_empty() { Err(NoteError::Malformed) } else { Ok((text, signatures)) }
}

fn signature_line(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), NoteError> {
    let parse = || {
        let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
        let mut bytes = BASE64.decode(signature.as_bytes()).ok()?;
        let id = *bytes.first_chunk::<4>()?;
        bytes.drain(..4);
        (!name.is_empty()).then_some((name, id, bytes))
    };
    parse().ok_or(NoteError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Entropy;

    fn signed() -> (String, NoteKey, Checkpoint) {
        let key = SigningKey::random(&Entropy::system());
        let checkpoint = Checkpoint { origin: "headgate/0011".into(), size: 12, root: [5; 32] };
        let verifier = NoteKey::new("headgate/0011", key.public()).unwrap();
        (checkpoint.sign(&key).unwrap(), verifier, checkpoint)
    }

    /// The key and note of the documentation of Go's golang.org/x/mod/sumdb/note, and the key of its checksum database.
    #[test]
    fn known_answers() {
        let key: NoteKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let (text, signatures) = split(note).unwrap();
        let (name, id, signature) = signature_line(signatures.trim_end()).unwrap();
        assert!(name == key.name && id == key.id() && key.verify(text.as_bytes(), &signature));

        let text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        assert_eq!(text.parse::<NoteKey>().unwrap().to_string(), text);
        assert!(text.replace("033d", "033e").parse::<NoteKey>().is_err());
    }

    /// A checkpoint opens under its key, whoever else has signed it too, and under no other.
    #[test]
    fn a_checkpoint_opens_under_its_key() {
        let (note, key, checkpoint) = signed();
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        assert_eq!(Checkpoint::open(&note, std::slice::from_ref(&key)), Ok(checkpoint.clone()));
        let witnessed = format!("{note}\u{2014} witness.example AAAAAQID\n");
        assert_eq!(Checkpoint::open(&witnessed, std::slice::from_ref(&key)), Ok(checkpoint));
        let (_, other, _) = signed();
        assert!(matches!(Checkpoint::open(&note, &[other]), Err(NoteError::UnknownSigner { .. })));
    }

    /// No byte of a note can be changed, left out or added.
    #[test]
    fn every_changed_byte_is_refused() {
        let (note, key, _) = signed();
        let keys = [key];
        for at in 0..note.len() {
            for to in (0..8).map(|bit| note.as_bytes()[at] ^ (1 << bit)) {
                let mut bytes = note.clone().into_bytes();
                bytes[at] = to;
                let opened = String::from_utf8(bytes).ok().map(|text| Checkpoint::open(&text, &keys));
                assert!(!matches!(opened, Some(Ok(_))), "byte {at} as {to}");
            }
            if note.is_char_boundary(at) {
                let longer = format!("{}\n{}", &note[..at], &note[at..]);
                assert!(Checkpoint::open(&note[..at], &keys).is_err() && Checkpoint::open(&longer, &keys).is_err(), "at {at}");
            }
        }
    }
}
