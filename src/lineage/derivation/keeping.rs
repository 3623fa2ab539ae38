//! An artifact's key, wrapped under the keys of its inputs: it opens exactly as long as the artifact holds.
//!
//! An artifact's name may tell of the records that it was made from. It is sealed under a key of its own, and that key is kept only
//! as each derivation wraps it: under all inputs' keys in turn, or under each by itself. An input that is an artifact counts by
//! its own key. So when a connection's key is destroyed, the names of exactly those artifacts are lost that do not survive it,
//! for whoever has copies of the rows too.

use std::collections::HashMap;

use crate::ids::ConnectionKey;
use crate::lineage::LineageError;
use crate::lineage::derivation::Derivations;
use crate::lineage::derivation::rows::DerivationRow;
use crate::lineage::derivation::rows::Holder;
use crate::lineage::derivation::rows::Need;
use crate::lineage::derivation::rows::holders;
use crate::secret::Secret;
use crate::vault::ArtifactKey;
use crate::vault::Purpose;
use crate::vault::VaultError;

/// Artifacts whose keys one question opens at most; past it an artifact counts as one that does not open.
const OPENED_MAX: usize = 100_000;

/// The keys that were opened so far, `None` for those that do not open any more.
#[derive(Default)]
pub struct Opened(HashMap<[u8; 16], Option<Secret<[u8; 32]>>>);

impl Opened {
    /// Takes note of a key that was made now.
    pub fn insert(&mut self, artifact: [u8; 16], key: &ArtifactKey) {
        self.0.insert(artifact, Some(Secret::new(*key.expose())));
    }

    /// A key that was opened before.
    pub fn get(&self, artifact: &[u8; 16]) -> Option<&Secret<[u8; 32]>> {
        self.0.get(artifact)?.as_ref()
    }
}

/// What became of an attempt to open one wrap.
enum Attempt {
    Opened(Secret<[u8; 32]>),
    Lost,
    /// The key of this artifact is needed first.
    Needs([u8; 16]),
}

impl Derivations {
    /// Opens the key of an artifact as far as `opened` does not have it yet; whether it opens.
    ///
    /// Depth first over the inputs with a stack of its own, each artifact once: neither long chains nor many ways cost more than
    /// what is there.
    pub(super) fn open(&self, tenant: u32, artifact: [u8; 16], opened: &mut Opened) -> Result<bool, LineageError> {
        let mut stack = vec![artifact];
        while let Some(top) = stack.last().copied() {
            if opened.0.contains_key(&top) {
                stack.pop();
                continue;
            }
            let mut result = None;
            let mut needs = None;
            if opened.0.len() < OPENED_MAX {
                for (key, row) in self.derivations(tenant, top)? {
                    match self.attempt(tenant, &aad(&key.0, &key.1.0, &key.1.1), &row, opened)? {
                        Attempt::Opened(key) => {
                            result = Some(key);
                            break;
                        }
                        Attempt::Needs(other) if !stack.contains(&other) => {
                            needs = Some(other);
                            break;
                        }
                        Attempt::Needs(_) | Attempt::Lost => {}
                    }
                }
            }
            match (result, needs) {
                (None, Some(other)) => stack.push(other),
                (result, _) => {
                    opened.0.insert(top, result);
                    stack.pop();
                }
            }
        }
        Ok(opened.get(&artifact).is_some())
    }

    fn attempt(&self, tenant: u32, aad: &[u8], row: &DerivationRow, opened: &Opened) -> Result<Attempt, LineageError> {
        let holders = holders(&row.sources);
        match (row.need, row.wraps.as_slice()) {
            (Need::All, [wrap]) => {
                let mut bytes = wrap.clone();
                for holder in holders.into_iter().rev() {
                    match self.unwrap(tenant, holder, aad, &bytes, opened)? {
                        Ok(plain) => bytes = plain.expose().clone(),
                        Err(attempt) => return Ok(attempt),
                    }
                }
                Ok(key(&bytes))
            }
            (Need::All, _) => Ok(Attempt::Lost),
            (Need::Any, wraps) => {
                let mut needs = None;
                for (holder, wrap) in holders.into_iter().zip(wraps) {
                    match self.unwrap(tenant, holder, aad, wrap, opened)? {
                        Ok(plain) => return Ok(key(plain.expose())),
                        Err(Attempt::Needs(other)) => needs = needs.or(Some(other)),
                        Err(_) => {}
                    }
                }
                Ok(needs.map_or(Attempt::Lost, Attempt::Needs))
            }
        }
    }

    fn unwrap(
        &self,
        tenant: u32,
        holder: Holder,
        aad: &[u8],
        sealed: &[u8],
        opened: &Opened,
    ) -> Result<Result<Secret<Vec<u8>>, Attempt>, LineageError> {
        let plain = match holder {
            Holder::Connection(connection) => {
                let keys = self.vault.connection(ConnectionKey { tenant, connection });
                keys.and_then(|keys| keys.open(Purpose::Lineage, aad, sealed))
            }
            Holder::Artifact(hash) => match opened.0.get(&hash) {
                None => return Ok(Err(Attempt::Needs(hash))),
                Some(None) => return Ok(Err(Attempt::Lost)),
                Some(Some(key)) => self.vault.tenant_keys(tenant)?.artifact_key(Some(key)).open(aad, sealed),
            },
        };
        match plain {
            Ok(plain) => Ok(Ok(plain)),
            // An artifact that was erased and made again has another key: what was wrapped under the former is lost.
            Err(VaultError::Destroyed { .. } | VaultError::NoKey { .. }) => Ok(Err(Attempt::Lost)),
            Err(VaultError::Unopened { .. }) if matches!(holder, Holder::Artifact(_)) => Ok(Err(Attempt::Lost)),
            Err(error) => Err(error.into()),
        }
    }

    /// Wraps an artifact's key for a derivation; the keys of inputs that are artifacts are in `opened`.
    pub(super) fn wrap(
        &self,
        tenant: u32,
        aad: &[u8],
        row: &DerivationRow,
        key: &ArtifactKey,
        opened: &Opened,
    ) -> Result<Vec<Vec<u8>>, LineageError> {
        let seal = |holder: Holder, plain: &[u8]| -> Result<Vec<u8>, LineageError> {
            match holder {
                Holder::Connection(connection) => {
                    Ok(self.vault.connection(ConnectionKey { tenant, connection })?.seal(Purpose::Lineage, aad, plain)?)
                }
                Holder::Artifact(hash) => {
                    let unopened = || VaultError::Unopened { what: "artifact", owner: ConnectionKey::of_tenant(tenant) };
                    let bytes = opened.get(&hash).ok_or_else(unopened)?;
                    Ok(self.vault.tenant_keys(tenant)?.artifact_key(Some(bytes)).seal(aad, plain))
                }
            }
        };
        let holders = holders(&row.sources);
        match row.need {
            Need::Any => holders.into_iter().map(|holder| seal(holder, key.expose())).collect(),
            Need::All => {
                let mut bytes = key.expose().to_vec();
                for holder in holders {
                    bytes = seal(holder, &bytes)?;
                }
                Ok(vec![bytes])
            }
        }
    }
}

fn key(bytes: &[u8]) -> Attempt {
    bytes.try_into().map_or(Attempt::Lost, |bytes| Attempt::Opened(Secret::new(bytes)))
}

/// What ties a text to its derivation.
pub(super) fn aad(owner: &ConnectionKey, artifact: &[u8; 16], derivation: &[u8; 16]) -> Vec<u8> {
    [&owner.to_bytes()[..], artifact, derivation].concat()
}
