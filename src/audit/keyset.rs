//! The key file: `/.well-known/headgate-keys`, and what `certificate verify --key` takes.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use ring::signature;
use serde::Deserialize;
use serde::Serialize;

use crate::audit::NoteError;
use crate::audit::NoteKey;
use crate::digest::Digest;
use crate::ids::cut;
use crate::vault::PublicKey;
use crate::vault::SigningUse;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON of this form.
    #[error("this is no key file: it is the JSON of /.well-known/headgate-keys, {{\"keys\":[…],\"vkeys\":[…]}}")]
    Malformed {
        /// Why not.
        source: serde_json::Error,
    },
    /// A key of another kind, or no key.
    #[error("key `{kid}` of the key file is no Ed25519 key (kty OKP, crv Ed25519, x of 32 bytes)")]
    NotEd25519 {
        /// The key's id.
        kid: String,
    },
    /// Two keys of one id.
    #[error("two keys of the key file have the id `{kid}`; it was put together by hand")]
    Repeated {
        /// The id.
        kid: String,
    },
    /// A note key that is none.
    #[error("a note key of the key file is malformed")]
    NoteKey {
        /// Why.
        source: NoteError,
    },
}

/// An Ed25519 verification key as a JSON Web Key (RFC 8037, section 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The 32 bytes, base64url without padding.
    pub x: String,
    /// The id that signatures name.
    pub kid: String,
    /// `sig`.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// `EdDSA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
}

/// The keys of one gateway: those that verify statements, and those that verify notes. Retired ones stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// For statements.
    pub keys: Vec<Jwk>,
    /// For checkpoints, in the text form of notes.
    pub vkeys: Vec<String>,
}

impl KeySet {
    /// The key file of a gateway that signs under `origin`.
    ///
    /// # Errors
    /// When the origin cannot be a note key's name.
    pub fn new(origin: &str, keys: &[PublicKey]) -> Result<Self, NoteError> {
        let mut set = KeySet::default();
        for key in keys {
            match key.signs {
                SigningUse::Statement => set.keys.push(Jwk::new(&key.key)),
                SigningUse::Note => set.vkeys.push(NoteKey::new(origin, key.key)?.to_string()),
            }
        }
        Ok(set)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// All of [`KeySetError`]: a file of which a part cannot be used is not used.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let set: KeySet = serde_json::from_slice(text).map_err(|source| KeySetError::Malformed { source })?;
        let mut kids = BTreeSet::new();
        for key in &set.keys {
            key.public().ok_or_else(|| KeySetError::NotEd25519 { kid: cut(&key.kid) })?;
            if !kids.insert(&key.kid) {
                return Err(KeySetError::Repeated { kid: cut(&key.kid) });
            }
        }
        set.note_keys().map_err(|source| KeySetError::NoteKey { source })?;
        Ok(set)
    }

    /// The note keys, read.
    ///
    /// # Errors
    /// When one is malformed.
    pub fn note_keys(&self) -> Result<Vec<NoteKey>, NoteError> {
        self.vkeys.iter().map(|key| key.parse()).collect()
    }

    /// Whether the key named `kid` signed these bytes; none when there is no such key.
    pub fn verifies(&self, kid: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
        let key = self.keys.iter().find(|key| key.kid == kid)?.public()?;
        Some(signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok())
    }
}

impl Jwk {
    /// The JWK of a public key, under its thumbprint as id.
    pub fn new(public: &[u8; 32]) -> Self {
        let text = |text: &str| Some(text.to_owned());
        Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: BASE64URL_NOPAD.encode(public),
            kid: key_id(public),
            usage: text("sig"),
            alg: text("EdDSA"),
        }
    }

    fn public(&self) -> Option<[u8; 32]> {
        let ed25519 = self.kty == "OKP" && self.crv == "Ed25519";
        BASE64URL_NOPAD.decode(self.x.as_bytes()).ok()?.try_into().ok().filter(|_| ed25519)
    }
}

/// The id of a statement key: the base64url of its JWK thumbprint (RFC 7638; members as RFC 8037, appendix A.3).
pub fn key_id(public: &[u8; 32]) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, BASE64URL_NOPAD.encode(public));
    BASE64URL_NOPAD.encode(&Digest::of(members.as_bytes()).to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and thumbprint of RFC 8037, appendix A.3.
    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        let public = BASE64URL_NOPAD.decode(b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap().try_into().unwrap();
        assert_eq!(key_id(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let set = KeySet { keys: vec![Jwk::new(&public)], vkeys: vec![] };
        assert_eq!(KeySet::parse(&serde_json::to_vec(&set).unwrap()).unwrap(), set);
        let twice = KeySet { keys: vec![Jwk::new(&public), Jwk::new(&public)], vkeys: vec![] };
        assert!(matches!(KeySet::parse(&serde_json::to_vec(&twice).unwrap()), Err(KeySetError::Repeated { .. })));
    }

    /// A file that is not wholly of this form is refused, with the reason.
    #[test]
    fn other_files_are_refused() {
        for text in ["", "{}", "[]", r#"{"keys":[{"kty":"RSA","n":"AQAB"}],"vkeys":[]}"#] {
            assert!(matches!(KeySet::parse(text.as_bytes()), Err(KeySetError::Malformed { .. })), "{text}");
        }
        let short = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"a"}],"vkeys":[]}"#;
        assert!(matches!(KeySet::parse(short.as_bytes()), Err(KeySetError::NotEd25519 { .. })));
        assert!(matches!(KeySet::parse(br#"{"keys":[],"vkeys":["a+b"]}"#), Err(KeySetError::NoteKey { .. })));
    }
}
