//! What else a connection has: what is sealed under its keys, what its business keys point at, and what must not be left.

use super::Halted;
use super::RESTORE;
use super::ROWS_AT_ONCE;
use super::Scrub;
use super::chain;
use crate::connection::Connection;
use crate::connection::Erased;
use crate::connection::State;
use crate::connection::credential::CredentialError;
use crate::erasure::ErasureRow;
use crate::erasure::ErasureState;
use crate::ids::ConnectionKey;
use crate::lineage::BusinessKeyRow;
use crate::lineage::RecordRow;
use crate::store::layout::Erasure;
use crate::store::layout::TABLES;
use crate::vault::VaultError;

const CONNECT_AGAIN: &str = "reconnect it with `headgate connections reconnect`, or bring a backup back with `headgate store restore`";
const ERASE_AGAIN: &str = "restart headgate: a sweep that was cut short goes on; if this stays, report it";

impl Scrub<'_> {
    pub(super) fn connection(&mut self, owner: ConnectionKey) -> Result<(), Halted> {
        let connection = match self.ground.connections.by_key(owner) {
            Ok(Some(connection)) => connection,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.problem("connection.unreadable", format!("connection {owner}: {}", chain(&error)), RESTORE);
                return Ok(());
            }
        };
        self.begin(format!("connection {}", connection.id));
        self.advance("connections", 1)?;
        if let State::Erased(erased) = &connection.state {
            self.nothing_is_left(&connection, erased);
            return Ok(());
        }
        self.sealed_rows(&connection);
        self.business_keys(owner)
    }

    /// The configuration, the credential and the cursors open.
    fn sealed_rows(&mut self, connection: &Connection) {
        let (owner, ground) = (connection.key, self.ground);
        let mut unopened = |code: &str, what: &str, error: &dyn std::error::Error, advice: &str| {
            self.problem(code, format!("the {what} of connection {}: {}", connection.id, chain(error)), advice);
        };
        if let Err(error) = ground.connections.config(owner) {
            unopened("config.unreadable", "configuration", &error, CONNECT_AGAIN);
        }
        match ground.connections.credentials().load(owner) {
            // It moves to `revoking`, or its key is destroyed, when the connection is revoked.
            Ok(_) | Err(CredentialError::Missing { .. } | CredentialError::Vault { source: VaultError::Destroyed { .. }, .. }) => {}
            Err(error) => unopened("credential.unreadable", "credential", &error, CONNECT_AGAIN),
        }
        for (number, stream) in (0..).zip(&connection.streams) {
            if let Err(error) = ground.intake.cursor(owner, number) {
                let advice = "pull the stream anew with `headgate run --full`";
                unopened("cursor.unreadable", &format!("saved state of stream {stream}"), &error, advice);
            }
        }
    }

    /// Each business key leads to a record.
    fn business_keys(&mut self, owner: ConnectionKey) -> Result<(), Halted> {
        let mut after = None;
        loop {
            let keys = self.some::<BusinessKeyRow>(&owner.to_bytes(), &mut after, ROWS_AT_ONCE);
            if keys.is_empty() || self.ground.vault.is_destroyed(owner) {
                return Ok(());
            }
            for ((_, (_, (stream, hash))), _) in &keys {
                match self.ground.store.contains::<RecordRow>(&(owner, (*stream, *hash))) {
                    Ok(true) => {}
                    Ok(false) if self.ground.vault.is_destroyed(owner) => return Ok(()),
                    Ok(false) => {
                        let what = format!("a business key of stream {stream} of connection {owner} leads to no record");
                        self.problem("key.dangling", what, RESTORE);
                    }
                    Err(error) => self.engine_failed("a record's index row", &error),
                }
            }
            self.advance("business keys", keys.len() as u64)?;
        }
    }

    /// An erased connection has no row that an erasure removes, and no segment file. Its keys are looked at with the keyring.
    fn nothing_is_left(&mut self, connection: &Connection, erased: &Erased) {
        let owner = connection.key;
        let erasure = erased.by.and_then(|id| self.ground.store.get::<ErasureRow>(&id.to_bytes()).ok().flatten());
        if erasure.is_none_or(|erasure| erasure.state != ErasureState::Complete) {
            // Unreadable, and not swept yet; or an old copy of the store beside today's keyring.
            *self.checked.entry("erasures under way".into()).or_default() += 1;
            return;
        }
        for table in TABLES.iter().filter(|table| table.erasure() == Erasure::Removed) {
            match self.ground.store.raw_below(*table, &owner.to_bytes(), ROWS_AT_ONCE) {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => {
                    let what = format!("{} rows or more of `{}` are left of {}, which is erased", rows.len(), table.name(), connection.id);
                    self.problem("erased.rows", what, ERASE_AGAIN);
                }
                Err(error) => self.engine_failed(table.name(), &error),
            }
        }
        let folder = self.ground.store.segment_path(owner, 0);
        if folder.parent().is_some_and(std::path::Path::exists) {
            let what = format!("{:?} is left of {}, which is erased", folder.parent(), connection.id);
            self.problem("erased.segments", what, ERASE_AGAIN);
        }
    }
}
