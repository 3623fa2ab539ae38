//! The one AEAD: AES-256-GCM with random nonces, and the associated data that ties a ciphertext to its place.

use ring::aead::AES_256_GCM;
use ring::aead::Aad;
use ring::aead::LessSafeKey;
use ring::aead::NONCE_LEN;
use ring::aead::Nonce;
use ring::aead::UnboundKey;
use ring::hkdf;
use zeroize::Zeroize;

use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::secret::Secret;

/// The version of everything sealed: last byte of a ciphertext, and first of its associated data.
const VERSION: u8 = 1;

/// The bytes that sealing adds: tag, nonce, version.
pub(super) const OVERHEAD: usize = 16 + NONCE_LEN + 1;

/// A ciphertext that this key and place do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unopened;

/// Where a ciphertext belongs; equal at sealing and opening, or it does not open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// What kind of thing it is.
    pub(super) purpose: &'a str,
    /// Whose it is; zero where a level of the hierarchy has no owner.
    pub(super) owner: ConnectionKey,
    /// The id of the key it is sealed under, or of the key that is wrapped.
    pub(super) key: [u8; 16],
    /// What tells apart things of one kind: an extent's number, a store key.
    pub(super) detail: &'a [u8],
}

impl Place<'_> {
    fn associated(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40 + self.purpose.len() + self.detail.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&(self.purpose.len() as u64).to_be_bytes());
        bytes.extend_from_slice(self.purpose.as_bytes());
        bytes.extend_from_slice(&self.owner.to_bytes());
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(self.detail);
        bytes
    }
}

/// A key that seals and opens.
///
/// It keeps 32 bytes that are wiped on drop, and expands them at each use, because `ring` does not wipe an expanded key:
/// nothing of a destroyed key stays in the heap, and the expansion costs less than a block of any size.
///
/// Random 96-bit nonces keep the chance of a repetition below 2^-32 for 2^32 messages under one key (NIST SP 800-38D, 8.3).
#[derive(Debug)]
pub(super) struct Cipher(Secret<[u8; 32]>);

impl Cipher {
    pub(super) fn new(key: Secret<[u8; 32]>) -> Self {
        Cipher(key)
    }

    pub(super) fn random(entropy: &Entropy) -> Self {
        Cipher(Secret::new(entropy.bytes()))
    }

    /// The key itself, to be wrapped under another.
    pub(super) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// A key for one purpose, derived so that it tells nothing about this one or its siblings (HKDF-SHA256, RFC 5869).
    pub(super) fn derive(&self, label: &str) -> Secret<[u8; 32]> {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, b"headgate subkey").extract(self.0.expose());
        let info = [label.as_bytes()];
        let mut key = [0; 32];
        let expanded = pseudorandom.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
        expanded.expect("HKDF-SHA256 yields 32 bytes");
        Secret::new(key)
    }

    /// Seals a copy of `plain`.
    pub(super) fn seal(&self, entropy: &Entropy, place: Place<'_>, plain: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(plain.len() + OVERHEAD);
        buffer.extend_from_slice(plain);
        self.seal_in_place(entropy, place, &mut buffer);
        buffer
    }

    /// Replaces plain bytes by ciphertext, tag, nonce and version; the buffer should have [`OVERHEAD`] to spare, so that it
    /// does not move and leave plain bytes behind.
    pub(super) fn seal_in_place(&self, entropy: &Entropy, place: Place<'_>, buffer: &mut Vec<u8>) {
        let nonce: [u8; NONCE_LEN] = entropy.bytes();
        buffer.reserve(OVERHEAD);
        self.expand()
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.associated()), buffer)
            .expect("AES-GCM seals anything below 64 GiB");
        buffer.extend_from_slice(&nonce);
        buffer.push(VERSION);
    }

    /// Opens a copy of `sealed`.
    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Secret<Vec<u8>>, Unopened> {
        let mut buffer = sealed.to_vec();
        self.open_in_place(place, &mut buffer)?;
        Ok(Secret::new(buffer))
    }

    /// The inverse of [`Cipher::seal_in_place`]; on refusal the buffer is empty.
    pub(super) fn open_in_place(&self, place: Place<'_>, buffer: &mut Vec<u8>) -> Result<(), Unopened> {
        let opened = self.opened_length(place, buffer);
        if opened.is_err() {
            buffer.zeroize();
        }
        buffer.truncate(opened?);
        Ok(())
    }

    fn opened_length(&self, place: Place<'_>, buffer: &mut [u8]) -> Result<usize, Unopened> {
        let (version, rest) = buffer.split_last_mut().ok_or(Unopened)?;
        let (body, nonce) = rest.split_last_chunk_mut::<NONCE_LEN>().ok_or(Unopened)?;
        if *version != VERSION {
            return Err(Unopened);
        }
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.expand().open_in_place(nonce, Aad::from(place.associated()), body).map_err(|_| Unopened)?;
        Ok(plain.len())
    }

    /// A key opened from its wrapping.
    pub(super) fn unwrap(&self, place: Place<'_>, wrapped: &[u8]) -> Result<Cipher, Unopened> {
        let plain = self.open(place, wrapped)?;
        let key = <[u8; 32]>::try_from(plain.expose().as_slice()).map_err(|_| Unopened)?;
        Ok(Cipher::new(Secret::new(key)))
    }

    fn expand(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.0.expose()).expect("AES-256 takes 32 bytes"))
    }
}
