//! The keys of a connection and of its extents, as the rest of Headgate holds them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use ring::hmac;

use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::secret::Sealed;
use crate::secret::Secret;
use crate::vault::VaultError;
use crate::vault::seal::Cipher;
use crate::vault::seal::Place;

/// The bytes that sealing adds to a block or value: reserve them, so that a block does not move while plain.
pub const SEAL_OVERHEAD: usize = super::seal::OVERHEAD;

/// What a value sealed under a connection's key is; each has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The facts of a page that its records share.
    PageFacts,
    /// A row of the store whose value is personal or the customer's: cursors, run errors, configuration.
    Row,
    /// An edge or node of lineage.
    Lineage,
    /// The answer kept for an idempotency key.
    Answer,
}

impl Purpose {
    const ALL: [Purpose; 4] = [Purpose::PageFacts, Purpose::Row, Purpose::Lineage, Purpose::Answer];

    fn label(self) -> &'static str {
        match self {
            Purpose::PageFacts => "page facts",
            Purpose::Row => "row",
            Purpose::Lineage => "lineage",
            Purpose::Answer => "answer",
        }
    }
}

/// Whether a key may still be used: shared by every copy of it, so that a destruction reaches those that are held.
#[derive(Debug, Clone, Default)]
pub(super) struct Life(Arc<AtomicBool>);

impl Life {
    pub(super) fn end(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self, what: &'static str, owner: ConnectionKey) -> Result<(), VaultError> {
        if self.0.load(Ordering::SeqCst) { Err(VaultError::Destroyed { what, owner }) } else { Ok(()) }
    }
}

/// What can be done with a connection's key; the key itself stays inside.
#[derive(Debug)]
pub struct ConnectionKeys {
    owner: ConnectionKey,
    id: [u8; 16],
    index: hmac::Key,
    commitment: hmac::Key,
    ciphers: Vec<Cipher>,
    life: Life,
    entropy: Entropy,
}

impl ConnectionKeys {
    pub(super) fn new(owner: ConnectionKey, id: [u8; 16], key: &Cipher, life: Life, entropy: Entropy) -> Self {
        let mac = |label| hmac::Key::new(hmac::HMAC_SHA256, key.derive(label).expose());
        let ciphers = Purpose::ALL.iter().map(|purpose| Cipher::new(key.derive(purpose.label()))).collect();
        ConnectionKeys { owner, id, index: mac("index"), commitment: mac("commitment"), ciphers, life, entropy }
    }

    /// Whose keys these are.
    pub fn owner(&self) -> ConnectionKey {
        self.owner
    }

    /// The keyed hash under which something is found again: HMAC-SHA256 over the parts, each preceded by its length.
    pub fn index_hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        keyed_hash(&self.index, parts)
    }

    /// The keyed hash that stands for something outside the sealed data, in audit entries and certificates: salted, so that
    /// it says nothing once the key is gone.
    pub fn commitment_hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        keyed_hash(&self.commitment, parts)
    }

    /// Seals a value to its place: `aad` is what must be equal at opening, best the whole key of its row.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] once the connection's key is.
    pub fn seal(&self, purpose: Purpose, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.life.check("connection", self.owner)?;
        Ok(self.cipher(purpose).seal(&self.entropy, self.place(purpose, aad), plain))
    }

    /// Opens what [`ConnectionKeys::seal`] sealed.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`], or [`VaultError::Unopened`] for another connection's value, another place, or damage.
    pub fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        self.life.check("connection", self.owner)?;
        let opened = self.cipher(purpose).open(self.place(purpose, aad), sealed);
        opened.map_err(|_| VaultError::Unopened { what: purpose.label(), owner: self.owner })
    }

    /// A key for one artifact of this owner: a new one, or the one whose bytes were wrapped.
    pub fn artifact_key(&self, bytes: Option<&Secret<[u8; 32]>>) -> ArtifactKey {
        let key = bytes.map_or_else(|| Cipher::random(&self.entropy), |bytes| Cipher::new(Secret::new(*bytes.expose())));
        ArtifactKey { owner: self.owner, key, entropy: self.entropy.clone() }
    }

    fn cipher(&self, purpose: Purpose) -> &Cipher {
        &self.ciphers[purpose as usize]
    }

    fn place<'a>(&self, purpose: Purpose, detail: &'a [u8]) -> Place<'a> {
        Place { purpose: purpose.label(), owner: self.owner, key: self.id, detail }
    }
}

/// The key of one artifact: made by chance, kept only as it is wrapped under the keys of what the artifact was made from. It can
/// be had as long as they can, and no longer.
#[derive(Debug)]
pub struct ArtifactKey {
    owner: ConnectionKey,
    key: Cipher,
    entropy: Entropy,
}

impl ArtifactKey {
    const PURPOSE: &str = "artifact";

    /// Its bytes, to be wrapped.
    pub fn expose(&self) -> &[u8; 32] {
        self.key.expose()
    }

    /// Seals a value to its place.
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        self.key.seal(&self.entropy, self.place(aad), plain)
    }

    /// Opens what [`ArtifactKey::seal`] sealed.
    ///
    /// # Errors
    /// [`VaultError::Unopened`] for another artifact's value, another place, or damage.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        let opened = self.key.open(self.place(aad), sealed);
        opened.map_err(|_| VaultError::Unopened { what: Self::PURPOSE, owner: self.owner })
    }

    fn place<'a>(&self, detail: &'a [u8]) -> Place<'a> {
        Place { purpose: Self::PURPOSE, owner: self.owner, key: [0; 16], detail }
    }
}

/// The key of one extent: a run of sealed blocks that can be destroyed by itself.
#[derive(Debug)]
pub struct ExtentKey {
    owner: ConnectionKey,
    id: [u8; 16],
    number: u32,
    key: Cipher,
    life: Life,
    entropy: Entropy,
}

impl ExtentKey {
    pub(super) fn new(owner: ConnectionKey, id: [u8; 16], number: u32, key: Cipher, life: Life, entropy: Entropy) -> Self {
        ExtentKey { owner, id, number, key, life, entropy }
    }

    /// The extent's number within its connection.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Seals a block to `aad`; it grows by [`SEAL_OVERHEAD`].
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] once the extent's or the connection's key is.
    pub fn seal_block(&self, aad: &[u8], mut block: Vec<u8>) -> Result<Sealed, VaultError> {
        self.life.check("extent", self.owner)?;
        self.key.seal_in_place(&self.entropy, self.place(&self.detail(aad)), &mut block);
        Ok(Sealed::by_a_key(block))
    }

    /// Opens a block in place; on refusal the block is empty.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`], or [`VaultError::Unopened`] for another's block, another place, or damage.
    pub fn open_block(&self, aad: &[u8], block: &mut Vec<u8>) -> Result<(), VaultError> {
        self.life.check("extent", self.owner)?;
        let opened = self.key.open_in_place(self.place(&self.detail(aad)), block);
        opened.map_err(|_| VaultError::Unopened { what: "block", owner: self.owner })
    }

    pub(super) fn end(&self) {
        self.life.end();
    }

    pub(super) fn key(&self) -> &Cipher {
        &self.key
    }

    fn detail(&self, aad: &[u8]) -> Vec<u8> {
        [&self.number.to_be_bytes(), aad].concat()
    }

    fn place<'a>(&self, detail: &'a [u8]) -> Place<'a> {
        Place { purpose: "block", owner: self.owner, key: self.id, detail }
    }
}

fn keyed_hash(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let tag = context.sign();
    std::array::from_fn(|index| tag.as_ref()[index])
}
