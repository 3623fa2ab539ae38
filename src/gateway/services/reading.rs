//! Readings of payload: what was read, by whom and for what is written down, with the disclosure that it is, before it is answered.

use std::sync::Arc;

use crate::api::principal::Principal;
use crate::api::principal::Proof;
use crate::api::problem::Problem;
use crate::audit::Action;
use crate::audit::Entry;
use crate::clock::Clock;
use crate::connection;
use crate::connection::Connection;
use crate::consent::Purpose;
use crate::digest::Digest;
use crate::disclosure::Disclosures;
use crate::disclosure::Handover;
use crate::disclosure::Mechanism;
use crate::disclosure::Recipient;
use crate::ids::RecordId;
use crate::lineage::Location;
use crate::store::Unit;
use crate::vault::Vault;

/// Writes readings down. Clones share it.
#[derive(Clone)]
pub struct Readings {
    vault: Arc<Vault>,
    disclosures: Disclosures,
    clock: Clock,
}

/// What was read of one connection.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The connection.
    pub connection: Connection,
    /// The records, and where the versions of them lie that were read.
    pub read: Vec<(RecordId, Location)>,
}

impl Readings {
    /// Over the keys that commit to what was read, and the disclosures.
    pub fn new(vault: Arc<Vault>, disclosures: Disclosures, clock: Clock) -> Self {
        Readings { vault, disclosures, clock }
    }

    /// Writes down, in one unit and durably, that these readings took place and that the caller received what they hold: an entry of
    /// the audit log for each connection. Only then may they be answered (promise P8).
    pub async fn hand_over(
        &self,
        by: &Principal,
        purpose: Option<Purpose>,
        mechanism: Mechanism,
        readings: Vec<Reading>,
    ) -> Result<(), Problem> {
        let (mut unit, mut handovers) = (Unit::default(), Vec::with_capacity(readings.len()));
        let recipient = match by.proof {
            Proof::Key(key) => Recipient::key(key),
            Proof::Local | Proof::Session(_) => Recipient::local(),
        };
        for Reading { connection, read } in readings {
            let mut entry = self.entry(by, Action::RecordsRead, &connection, read.iter().map(|(id, _)| *id))?;
            entry.purpose = purpose.map(|purpose| purpose.as_str().to_owned());
            unit.audit(entry.to_leaf());
            handovers.push(Handover {
                owner: connection.key,
                recipient: recipient.clone(),
                purpose,
                mechanism,
                at: entry.at,
                versions: read.into_iter().map(|(_, location)| location).collect(),
            });
        }
        self.disclosures.keep(unit, &handovers).await?;
        Ok(())
    }

    /// An entry that commits to a set of ids under a key that dies with the connection.
    pub fn entry(
        &self,
        by: &Principal,
        action: Action,
        connection: &Connection,
        ids: impl ExactSizeIterator<Item = RecordId>,
    ) -> Result<Entry, Problem> {
        let mut entry = connection::entry(action, &by.actor(), connection, self.clock.now());
        entry.count = Some(ids.len() as u64);
        if ids.len() > 0 {
            let mut set: Vec<[u8; 26]> = ids.map(RecordId::to_bytes).collect();
            set.sort_unstable();
            let parts: Vec<&[u8]> = std::iter::once(&b"records read"[..]).chain(set.iter().map(|id| &id[..])).collect();
            entry.commitment = Some(Digest::from_bytes(self.vault.connection(connection.key)?.commitment_hmac(&parts)));
        }
        Ok(entry)
    }
}
