//! The audit log, as the API tells it.

use data_encoding::BASE64;
use futures_util::FutureExt;
use serde_json::Value;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::wire::audit::Consistency;
use crate::api::wire::audit::Entry;
use crate::api::wire::audit::Proof;
use crate::api::wire::audit::PublicKeys;
use crate::api::wire::audit::Verification;
use crate::audit;
use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::ListedEntry;
use crate::audit::Log;
use crate::clock::Clock;
use crate::gateway::services::problems::place;
use crate::gateway::services::visible;

/// [`services::AuditLog`] over the log of the data directory.
pub struct AuditLog {
    log: Log,
    clock: Clock,
}

impl AuditLog {
    /// Over a log.
    pub fn new(log: Log, clock: Clock) -> Self {
        AuditLog { log, clock }
    }
}

impl services::AuditLog for AuditLog {
    fn list(&self, page: PageOrder) -> Reply<'_, List<Entry>> {
        async move {
            let after = place(page.after.as_deref())?;
            let step = |after, limit| Ok(self.log.entries(after, limit)?);
            visible::page(page.limit, after, step, |entry: &ListedEntry| entry.index, |entry| Ok(Some(shown(entry))))
        }
        .boxed()
    }

    fn entry(&self, index: u64) -> Reply<'_, Entry> {
        async move { Ok(shown(self.log.entry(index)?)) }.boxed()
    }

    fn checkpoint(&self) -> Reply<'_, String> {
        async move { Ok(self.log.checkpoint().await?) }.boxed()
    }

    fn proof(&self, entry: u64) -> Reply<'_, Proof> {
        async move { Ok(proven_as(self.log.inclusion(entry, None)?)) }.boxed()
    }

    fn consistency(&self, from: u64, to: u64) -> Reply<'_, Consistency> {
        async move {
            let audit::ConsistencyProof { from, to, hashes } = self.log.consistency(from, to)?;
            Ok(Consistency { from, to, hashes })
        }
        .boxed()
    }

    /// A log that came out well is told so in the log itself; one that did not is left as it was found.
    fn verify(&self, checkpoint: Option<String>) -> Reply<'_, Verification> {
        async move {
            let log = self.log.clone();
            let found = visible::blocking(move || Ok(log.inspect(checkpoint.as_deref())?)).await?;
            if found.ok {
                let entry = audit::Entry::new(self.clock.now(), Actor::Local, Action::AuditVerified);
                self.log.append_behind(&[entry]).await?;
            }
            let problems = found.problems.iter().map(ToString::to_string).collect();
            Ok(Verification { ok: found.ok, problems, tree_size: found.tree_size })
        }
        .boxed()
    }

    fn public_keys(&self) -> Reply<'_, PublicKeys> {
        async move {
            let set = self.log.key_set()?;
            let keys = set.keys.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(Problem::internal)?;
            Ok(PublicKeys { keys, vkeys: set.vkeys })
        }
        .boxed()
    }
}

/// A proof as the API shows it.
pub(super) fn proven_as(proof: audit::InclusionProof) -> Proof {
    let audit::InclusionProof { leaf_index, tree_size, leaf_hash, hashes } = proof;
    Proof { leaf_index, tree_size, leaf_hash, hashes }
}

/// An entry with its leaf decoded for reading: null when it is none, which `audit verify` would tell.
fn shown(ListedEntry { index, leaf }: ListedEntry) -> Entry {
    let decoded = BASE64.decode(leaf.as_bytes()).unwrap_or_default();
    let entry = serde_json::from_slice(&decoded).unwrap_or(Value::Null);
    Entry { index, leaf, entry }
}
