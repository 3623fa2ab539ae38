//! The rows of artifacts, of the ways in which they were made, and of what was made from what.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::ArtifactId;
use crate::ids::ConnectionKey;
use crate::ids::ErasureId;
use crate::ids::RecordId;
use crate::store::Row;
use crate::store::Table;

/// The stream under which [`DerivedRow`] keeps what was made from artifacts: no connection has so many streams.
pub(crate) const OF_ARTIFACTS: u16 = u16::MAX;

/// An artifact, under (the tenant's own, the hash of its id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// Whether it is there.
    pub state: ArtifactState,
    /// Erasures that took an input from it and that it outlived.
    pub lost: Vec<Lost>,
}

/// Whether an artifact is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArtifactState {
    /// It is.
    Alive(Alive),
    /// An erasure has taken what it needs: nothing is left but that it was there.
    Dead {
        /// When.
        at: Timestamp,
        /// Which erasure.
        erasure: ErasureId,
        /// The numbers of the connections whose records it came from.
        roots: Vec<u32>,
    },
}

/// What is kept of an artifact that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// Name and kind, sealed under the artifact's key.
    pub sealed: Vec<u8>,
    /// The numbers of the connections whose records it came from, through other artifacts too, rising.
    pub roots: Vec<u32>,
    /// How many artifacts stand between it and the records, the longest way that was known when it was made.
    pub level: u16,
    /// In how many ways it was made.
    pub derivations: u16,
}

/// That an erasure took inputs of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lost {
    /// The connection's number.
    pub connection: u32,
    /// The erasure.
    pub erasure: ErasureId,
}

impl Row for ArtifactRow {
    const TABLE: Table = Table::Artifacts;
    type Key = (ConnectionKey, [u8; 16]);
}

impl ArtifactRow {
    /// The numbers of the connections whose records it came from.
    pub fn roots(&self) -> &[u32] {
        match &self.state {
            ArtifactState::Alive(Alive { roots, .. }) | ArtifactState::Dead { roots, .. } => roots,
        }
    }

    /// What is kept of it, if it is there.
    pub fn alive(&self) -> Option<&Alive> {
        match &self.state {
            ArtifactState::Alive(alive) => Some(alive),
            ArtifactState::Dead { .. } => None,
        }
    }
}

/// How many of its inputs a derivation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Each of them: the artifact is nothing without any one.
    All,
    /// One of them: each is enough.
    Any,
}

/// An input of a derivation, as it is stored: the tenant is that of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Source {
    /// A record.
    Record {
        /// The connection's number.
        connection: u32,
        /// The stream's.
        stream: u16,
        /// The hash of the record's id.
        hash: [u8; 16],
    },
    /// Another artifact.
    Artifact([u8; 16]),
}

/// Whose key an input stands for: with it gone, so is the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// A connection's.
    Connection(u32),
    /// An artifact's.
    Artifact([u8; 16]),
}

impl Source {
    /// Whose key it stands for.
    pub fn holder(&self) -> Holder {
        match *self {
            Source::Record { connection, .. } => Holder::Connection(connection),
            Source::Artifact(hash) => Holder::Artifact(hash),
        }
    }
}

/// The keys that sources stand for, in their order.
pub fn holders(sources: &[Source]) -> BTreeSet<Holder> {
    sources.iter().map(Source::holder).collect()
}

/// One way in which an artifact was made, under (the tenant's own, the artifact's hash, a keyed hash of need and inputs).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivationRow {
    /// What it needs.
    pub need: Need,
    /// When it was made.
    pub at: Timestamp,
    /// What it was made from, in order.
    pub sources: Vec<Source>,
    /// The artifact's key. For [`Need::All`] one text, sealed under each of [`holders`] in turn, so that it opens while all of
    /// them do; for [`Need::Any`] one for each of them.
    pub wraps: Vec<Vec<u8>>,
    /// By which job and run, and which fields: sealed under the artifact's key.
    pub facts: Vec<u8>,
}

impl Row for DerivationRow {
    const TABLE: Table = Table::Derivations;
    type Key = (ConnectionKey, ([u8; 16], [u8; 16]));
}

/// That an artifact was made from something, under (connection, stream, the record's hash, the artifact's hash), or for an input
/// that is an artifact (each connection that it came from, `OF_ARTIFACTS`, the input's hash, the artifact's hash).
///
/// So all that may die with a connection is one range of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedRow {
    /// The artifact dies for certain when this input does (the record with its whole connection): it was made in one way only.
    pub is_fatal: bool,
}

/// The key of a [`DerivedRow`].
pub type DerivedKey = (ConnectionKey, (u16, ([u8; 16], [u8; 16])));

impl Row for DerivedRow {
    const TABLE: Table = Table::Derived;
    type Key = DerivedKey;
}

/// How many erasures of a tenant's records have begun, under the tenant's number. Whoever adds a derivation expects it to be what
/// it was before the inputs' keys were opened; whoever erases changes it after the keys are destroyed. So what a plan has read
/// is all that there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRow(pub u64);

impl Row for EpochRow {
    const TABLE: Table = Table::LineageEpochs;
    type Key = u32;
}

/// What an artifact can be made from, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// A record.
    Record(RecordId),
    /// Another artifact.
    Artifact(ArtifactId),
}

impl Input {
    /// The tenant's number.
    pub fn tenant(&self) -> u32 {
        match self {
            Input::Record(id) => id.owner.tenant,
            Input::Artifact(id) => id.tenant,
        }
    }

    pub(crate) fn source(&self) -> Source {
        match *self {
            Input::Record(RecordId { owner, stream, hash }) => Source::Record { connection: owner.connection, stream, hash },
            Input::Artifact(id) => Source::Artifact(id.hash),
        }
    }

    pub(crate) fn of(tenant: u32, source: Source) -> Self {
        match source {
            Source::Record { connection, stream, hash } => {
                Input::Record(RecordId { owner: ConnectionKey { tenant, connection }, stream, hash })
            }
            Source::Artifact(hash) => Input::Artifact(ArtifactId { tenant, hash }),
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Record(id) => id.fmt(f),
            Input::Artifact(id) => id.fmt(f),
        }
    }
}
