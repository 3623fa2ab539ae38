//! API keys: `hg_`, the key's public name, `_`, and 256 random bits. Only their SHA-256 is kept.

use std::collections::BTreeSet;

use data_encoding::BASE32_NOPAD;
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use ring::digest::SHA256;
use ring::digest::digest;
use ring::hmac;
use serde::Deserialize;
use serde::Serialize;

use crate::api::principal::Principal;
use crate::api::principal::Proof;
use crate::api::principal::Purposes;
use crate::api::principal::Role;
use crate::api::problem::Problem;
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::ids::Entropy;
use crate::ids::KeyId;
use crate::ids::TenantId;
use crate::secret::Secret;

/// What is kept of a key, under its public name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its public name.
    pub id: KeyId,
    /// SHA-256 of the whole text.
    pub hash: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// The tenant it speaks for; none for an operator's.
    pub tenant: Option<TenantId>,
    /// The purposes it may state.
    pub purposes: BTreeSet<Purpose>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// Where keys are looked up.
pub trait KeyBook: Send + Sync {
    /// The key of that name, revoked ones included.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be read.
    fn find(&self, id: KeyId) -> BoxFuture<'_, Result<Option<ApiKey>, Problem>>;

    /// Keeps a new key; audited as made by `actor`.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be written.
    fn insert(&self, key: ApiKey, actor: Actor) -> BoxFuture<'_, Result<(), Problem>>;

    /// At most `limit` keys behind `after`, in the order of their making, revoked ones included.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be read.
    fn list(&self, after: Option<KeyId>, limit: usize) -> BoxFuture<'_, Result<Vec<ApiKey>, Problem>>;

    /// Revokes a key that stands; audited as revoked by `actor` at `at`.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be written.
    fn revoke(&self, key: ApiKey, at: Timestamp, actor: Actor) -> BoxFuture<'_, Result<ApiKey, Problem>>;
}

/// The text of a new key, to be shown once.
pub fn mint(id: KeyId, entropy: &Entropy) -> Secret<String> {
    let mut random = BASE32_NOPAD.encode(&entropy.bytes::<32>());
    random.make_ascii_lowercase();
    Secret::new(format!("{PREFIX}{}_{random}", HEXLOWER.encode(&id.to_bytes())))
}

/// The SHA-256 of a key's text, as it is kept.
pub fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

/// Who presents `text`.
///
/// # Errors
/// [`Problem::Unauthenticated`] for a text that is no key, an unknown key and a revoked one alike.
pub async fn authenticate(book: &dyn KeyBook, text: &str) -> Result<Principal, Problem> {
    let id = name_in(text).ok_or(Problem::Unauthenticated)?;
    let key = book.find(id).await?.ok_or(Problem::Unauthenticated)?;
    if !equal(&key.hash, &hash(text)) || key.revoked_at.is_some() {
        return Err(Problem::Unauthenticated);
    }
    Ok(Principal { role: key.role, tenant: key.tenant, purposes: Purposes::Listed(key.purposes), proof: Proof::Key(key.id) })
}

/// The name inside a key's text.
fn name_in(text: &str) -> Option<KeyId> {
    let (name, random) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let bytes = HEXLOWER.decode(name.as_bytes()).ok()?.try_into().ok()?;
    (random.len() == RANDOM_CHARACTERS).then(|| KeyId::from_bytes(bytes))
}

/// Compares in constant time: the two tags of `ring` are, and they are equal exactly when the hashes are.
fn equal(kept: &[u8; 32], presented: &[u8; 32]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, kept);
    hmac::verify(&key, presented, hmac::sign(&key, kept).as_ref()).is_ok()
}

/// What every key begins with, so that scanners of source code find a leaked one.
const PREFIX: &str = "hg_";

/// 32 bytes in base32 without padding.
const RANDOM_CHARACTERS: usize = 52;

#[cfg(test)]
mod tests {
    use super::*;

    /// A minted key names itself; another text of the same name has another hash.
    #[test]
    fn a_key_names_itself() {
        let entropy = Entropy::system();
        let id = KeyId::from_bytes(entropy.bytes());
        let (one, two) = (mint(id, &entropy), mint(id, &entropy));
        assert_eq!(name_in(one.expose()), Some(id));
        assert!(equal(&hash(one.expose()), &hash(one.expose())));
        assert!(!equal(&hash(one.expose()), &hash(two.expose())));
    }

    /// What is no key is no key, and never a panic.
    #[test]
    fn other_texts_name_nothing() {
        for text in ["", "hg_", "hg__", "Bearer hg_00_00", "hg_00_", "hg_ü_"] {
            assert_eq!(name_in(text), None, "{text}");
        }
    }
}
