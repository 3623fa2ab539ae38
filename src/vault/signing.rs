//! The keys that sign: one for statements (certificates, receipts), one for the audit log's notes.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;
use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::Entropy;
use crate::vault::Slot;
use crate::vault::Vault;
use crate::vault::VaultError;
use crate::vault::seal::Cipher;
use crate::vault::seal::Place;
use crate::vault::wrapped::NOBODY;
use crate::vault::wrapped::get;

/// What a signing key signs; never both, so that a note cannot be passed off as a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SigningUse {
    /// In-toto statements: certificates and receipts.
    Statement,
    /// Checkpoints of the audit log.
    Note,
}

impl SigningUse {
    const ALL: [SigningUse; 2] = [SigningUse::Statement, SigningUse::Note];

    fn purpose(self) -> &'static str {
        match self {
            SigningUse::Statement => "signing key for statements",
            SigningUse::Note => "signing key for notes",
        }
    }
}

/// An Ed25519 key (RFC 8032) that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl SigningKey {
    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.pair.sign(message);
        std::array::from_fn(|index| signature.as_ref()[index])
    }

    /// A key from PKCS#8, as the keyring keeps it; none when it is no Ed25519 key.
    pub(super) fn from_pkcs8(document: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(document).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(SigningKey { pair, public })
    }

    /// A key that no keyring keeps, for tests of what is signed.
    #[cfg(test)]
    pub fn random(entropy: &Entropy) -> Self {
        Self::from_pkcs8(new_pkcs8(entropy).as_ref()).expect("a generated key reads back")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", HEXLOWER.encode(&self.public))
    }
}

/// A verification key, of the present or retired; what a retired one signed still holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// What it signs.
    pub signs: SigningUse,
    /// The 32 bytes of RFC 8032.
    pub key: [u8; 32],
    /// When it was made.
    pub made_at: Timestamp,
    /// When another took its place.
    pub retired_at: Option<Timestamp>,
}

impl Vault {
    /// The key that signs statements or notes now.
    ///
    /// # Errors
    /// When the keyring's value is missing or damaged.
    pub fn signing_key(&self, signs: SigningUse) -> Result<SigningKey, VaultError> {
        let root = self.root();
        self.signing()?.current(signs, &root.key)
    }

    /// The name under which this installation signs: the origin of its log.
    ///
    /// # Errors
    /// When the keyring's value is missing or damaged.
    pub fn signing_origin(&self) -> Result<String, VaultError> {
        let _root = self.root();
        Ok(self.signing()?.origin)
    }

    /// The verification keys, retired ones included.
    ///
    /// # Errors
    /// When the keyring's value is missing or damaged.
    pub fn public_keys(&self) -> Result<Vec<PublicKey>, VaultError> {
        let _root = self.root();
        Ok(self.signing()?.public())
    }

    /// Puts a new signing key in the place of the one that signs now, which is retired: it stays listed, and cannot sign.
    ///
    /// # Errors
    /// When the keyring cannot be read or written.
    pub fn signing_rotate(&self, signs: SigningUse) -> Result<(), VaultError> {
        let _change = self.changing();
        let mut file = self.signing()?;
        file.add(signs, &self.root().key, &self.entropy, self.clock.now());
        self.put(Slot::Signing, &file)
    }

    /// Read while the root key is held, or the keyring's changes are: a rotation moves the file.
    fn signing(&self) -> Result<SigningFile, VaultError> {
        get(&*self.keyring, Slot::Signing)?.ok_or(VaultError::Malformed { slot: Slot::Signing })
    }
}

/// The value of [`Slot::Signing`].
#[derive(Serialize, Deserialize)]
pub(super) struct SigningFile {
    /// The name of this log and signer, made once and never changed.
    pub(super) origin: String,
    keys: Vec<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    public: PublicKey,
    /// PKCS#8 wrapped by the root key; none once retired.
    wrapped: Option<Vec<u8>>,
}

impl SigningFile {
    /// A name and two keys.
    pub(super) fn new(root: &Cipher, entropy: &Entropy, now: Timestamp) -> Self {
        let origin = format!("headgate/{}", HEXLOWER.encode(&entropy.bytes::<8>()));
        let mut file = SigningFile { origin, keys: Vec::new() };
        for signs in SigningUse::ALL {
            file.add(signs, root, entropy, now);
        }
        file
    }

    /// A new key for `signs`; the one before it is retired, and its private half forgotten.
    pub(super) fn add(&mut self, signs: SigningUse, root: &Cipher, entropy: &Entropy, now: Timestamp) {
        for kept in self.keys.iter_mut().filter(|kept| kept.public.signs == signs && kept.wrapped.is_some()) {
            kept.public.retired_at = Some(now);
            kept.wrapped = None;
        }
        let document = new_pkcs8(entropy);
        let key = SigningKey::from_pkcs8(document.as_ref()).expect("a generated key reads back").public;
        let wrapped = Some(root.seal(entropy, place(signs, &key), document.as_ref()));
        self.keys.push(Kept { public: PublicKey { signs, key, made_at: now, retired_at: None }, wrapped });
    }

    /// The key that signs now.
    pub(super) fn current(&self, signs: SigningUse, root: &Cipher) -> Result<SigningKey, VaultError> {
        let open = |kept: &Kept| {
            let document = root.open(place(signs, &kept.public.key), kept.wrapped.as_deref()?).ok()?;
            SigningKey::from_pkcs8(document.expose())
        };
        let live = self.keys.iter().find(|kept| kept.public.signs == signs && kept.wrapped.is_some());
        live.and_then(open).ok_or(VaultError::Malformed { slot: Slot::Signing })
    }

    /// The same keys, wrapped by another root key; none when one does not open.
    pub(super) fn rewrapped(mut self, before: &Cipher, after: &Cipher, entropy: &Entropy) -> Option<Self> {
        for kept in &mut self.keys {
            if let Some(wrapped) = &mut kept.wrapped {
                let place = place(kept.public.signs, &kept.public.key);
                *wrapped = after.seal(entropy, place, before.open(place, wrapped).ok()?.expose());
            }
        }
        Some(self)
    }

    pub(super) fn public(&self) -> Vec<PublicKey> {
        self.keys.iter().map(|kept| kept.public.clone()).collect()
    }
}

fn place(signs: SigningUse, public: &[u8; 32]) -> Place<'_> {
    Place { purpose: signs.purpose(), owner: NOBODY, key: [0; 16], detail: public }
}

fn new_pkcs8(entropy: &Entropy) -> ring::pkcs8::Document {
    Ed25519KeyPair::generate_pkcs8(entropy.generator()).expect("the operating system's random generator answers")
}
