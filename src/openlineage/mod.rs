//! The graph of a tenant's own jobs: OpenLineage events come in, and jobs, datasets, runs and columns stand around each other.
//!
//! Whatever sends OpenLineage sends it here, Headgate's own runs too, so that one graph holds both. An event is read leniently
//! ([`Event`]), admitted once however often it comes ([`Graph::admit`]), and kept as it was sent. What it says is added up into
//! nodes and runs; edges lie as adjacency, so that a walk costs its answer and nothing else.
//!
//! **Invariant**: no name stands in a key. A name is found by its keyed hash, which leads to a number; everything behind the
//! number is sealed with the tenant's key, and goes with it.

mod admission;
mod book;
mod change;
mod columns;
mod draft;
pub mod emission;
mod event;
mod head;
mod link;
mod question;
mod rows;
mod run;
mod shape;
mod stats;
mod telling;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

pub use self::admission::Admitted;
pub use self::book::Book;
pub use self::change::Change;
pub use self::change::moment;
pub use self::event::Event;
pub use self::event::EventFault;
pub use self::head::Head;
pub use self::head::NodeKind;
pub use self::link::Link;
pub use self::question::Counted;
pub use self::question::Part;
pub use self::question::Question;
pub use self::question::Search;
pub use self::walk::Direction;
pub use self::walk::Stop;
pub use self::walk::Surroundings;

use crate::clock::Clock;
use crate::connection::ConnectionError;
use crate::connection::Connections;
use crate::ids::TenantId;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::check::RowCheck;
use crate::vault::Vault;
use crate::vault::VaultError;

/// Why the graph did not take an event in, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum OpenLineageError {
    /// What was asked for is not in the tenant's graph.
    #[error("there is no {noun} `{name}` in the graph of the tenant's jobs")]
    Unknown {
        /// What was asked for.
        noun: &'static str,
        /// Its name, as it was given.
        name: String,
    },
    /// A text that names no node.
    #[error("`{text}` names no node; use {expected}")]
    Malformed {
        /// The text.
        text: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// A row does not read back.
    #[error("a {what} of the graph does not read back; run `store check`")]
    Damaged {
        /// What it should have been.
        what: &'static str,
    },
    /// The tenant takes nothing new, or could not be made.
    #[error(transparent)]
    Tenant(#[from] ConnectionError),
    /// The store failed.
    #[error("the graph is not stored")]
    Store(#[from] StoreError),
    /// The keyring failed.
    #[error("the keys of the tenant's graph are not to be had")]
    Vault(#[from] VaultError),
}

/// The graphs of all tenants. Clones share them.
#[derive(Clone)]
pub struct Graph {
    store: Store,
    vault: Arc<Vault>,
    connections: Connections,
    clock: Clock,
    /// Who is changing a tenant's graph: one at a time reads, adds and writes.
    turns: Arc<Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Graph {
    /// Over a store, its vault and the registry that knows the tenants.
    pub fn new(store: Store, vault: Arc<Vault>, connections: Connections, clock: Clock) -> Self {
        Graph { store, vault, connections, clock, turns: Arc::default() }
    }

    /// The graph of a tenant, to read in for one answer: what it has read once it does not read again. None for a tenant that was never used, and for one that is erased.
    ///
    /// # Errors
    /// When the store or the keyring fails.
    pub fn book(&self, tenant: &TenantId) -> Result<Option<Book>, OpenLineageError> {
        let Some(number) = self.connections.tenant(tenant)? else { return Ok(None) };
        if self.vault.tenant_destroyed_at(number).is_some() {
            return Ok(None);
        }
        Ok(Some(Book::new(self.store.clone(), self.vault.tenant_keys(number)?).for_an_answer()))
    }

    /// The turn to change a tenant's graph.
    fn turn(&self, tenant: &TenantId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(tenant.clone()).or_default().clone()
    }
}

/// How a scrub reads the graph's rows back.
pub fn row_checks() -> Vec<RowCheck> {
    rows::row_checks()
}
