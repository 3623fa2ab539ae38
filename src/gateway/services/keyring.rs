//! The keyring: rotated, and copied.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use jiff::SignedDuration;
use tokio::sync::Mutex;

use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::wire::keyring::ExportOrder;
use crate::api::wire::keyring::Exported;
use crate::api::wire::keyring::Rotated;
use crate::api::wire::keyring::RotationOrder;
use crate::audit::Action;
use crate::audit::Entry;
use crate::audit::Log;
use crate::clock::Clock;
use crate::gateway::services::visible;
use crate::ids::Entropy;
use crate::vault::Export;
use crate::vault::MasterKey;
use crate::vault::Rotation;
use crate::vault::Vault;
use crate::vault::VaultError;

/// [`services::Keyring`] over the keyring of the data directory.
pub struct Keyring {
    vault: Arc<Vault>,
    log: Log,
    clock: Clock,
    data: PathBuf,
    entropy: Entropy,
    /// One rotation at a time.
    rotating: Mutex<()>,
}

/// The new master key of a rotation, and what becomes of the key file beside the data directory.
struct Change {
    master: MasterKey,
    /// Whether the new key was made here, in a file that waits beside the old one.
    made: bool,
    /// Whether the file beside the data directory holds the key of now.
    beside: bool,
}

impl Keyring {
    /// Over a keyring, the log, and the data directory with the randomness for a key that is made.
    pub fn new(vault: Arc<Vault>, log: Log, clock: Clock, (data, entropy): (PathBuf, Entropy)) -> Self {
        Keyring { vault, log, clock, data, entropy, rotating: Mutex::default() }
    }

    /// The new key: the one that was given, or one made beside the data directory, if the key of now is there.
    fn change(&self, order: &RotationOrder) -> Result<Change, Problem> {
        let now = MasterKey::read_beside(&self.data, &self.entropy).map_err(refusal)?;
        let beside = now.map(|key| self.vault.is_under(&key)).transpose().map_err(refusal)?.unwrap_or(false);
        if let Some(text) = &order.master_key {
            let master =
                MasterKey::from_base64(text.expose()).map_err(|error| Problem::member("/master_key", "malformed", error.to_string()))?;
            if self.vault.is_under(&master).map_err(refusal)? {
                return Err(Problem::StateConflict { reason: "that is the master key of now; name another one".into() });
            }
            return Ok(Change { master, made: false, beside });
        }
        if !beside {
            let reason = "the master key of now is not beside the data directory, so a new one would not be looked for there; name the new \
                          one with --new-master-key-file or --new-master-key-command";
            return Err(Problem::StateConflict { reason: reason.into() });
        }
        Ok(Change { master: MasterKey::stage_beside(&self.data, &self.entropy).map_err(refusal)?, made: true, beside })
    }

    /// The part of a rotation that can go wrong: until it has ended the old master key holds, and afterwards the new one.
    async fn turn(&self, by: &Principal, change: &Change) -> Result<(), Problem> {
        let begun: Rotation = tokio::task::block_in_place(|| self.vault.rotation_begin()).map_err(refusal)?;
        let mut entry = Entry::new(self.clock.now(), by.actor(), Action::MasterKeyChanged);
        entry.count = Some(begun.keys());
        self.log.append(&[entry]).await?;
        tokio::task::block_in_place(|| self.vault.rotation_finish(begun, &change.master)).map_err(refusal)
    }

    /// Tells the log of an export before there is a file: a copy that the log does not know of must not exist.
    async fn note(&self, by: &Principal, export: &Export) -> Result<(), Problem> {
        let mut entry = Entry::new(export.made_at, by.actor(), Action::KeyringExported);
        entry.object = Some(format!("until {}", export.expires_at));
        entry.count = Some(export.keys);
        entry.commitment = Some(export.digest());
        self.log.append(&[entry]).await?;
        Ok(())
    }
}

impl services::Keyring for Keyring {
    fn rotate<'a>(&'a self, by: &'a Principal, order: RotationOrder) -> Reply<'a, Rotated> {
        async move {
            let _rotating = self.rotating.lock().await;
            let change = tokio::task::block_in_place(|| self.change(&order))?;
            if let Err(problem) = self.turn(by, &change).await {
                // Which of two key files holds is looked at, because a rotation may fail after it was decided.
                let _ = MasterKey::read_beside(&self.data, &self.entropy);
                return Err(problem);
            }
            let (data, entropy) = (&self.data, &self.entropy);
            let file = tokio::task::block_in_place(|| match change {
                Change { made: true, .. } => MasterKey::promote_beside(data, entropy).map(Some),
                Change { beside: true, .. } => MasterKey::destroy_beside(data, entropy).map(|()| None),
                Change { .. } => Ok(None),
            });
            let file = file.map_err(refusal)?;
            let master_key_file = file.map(|path| path.display().to_string());
            Ok(Rotated { rotated_at: self.clock.now(), master_key_file, old_key_wiped: change.beside })
        }
        .boxed()
    }

    fn export<'a>(&'a self, by: &'a Principal, order: ExportOrder) -> Reply<'a, Exported> {
        async move {
            let ExportOrder { to, days } = order;
            refuse_impossible(&to)?;
            let life = SignedDuration::from_hours(24 * i64::from(days));
            let expires_at = self.clock.now().checked_add(life).map_err(Problem::internal)?;
            let vault = self.vault.clone();
            let export = visible::blocking(move || Ok(vault.export(expires_at)?)).await?;
            self.note(by, &export).await?;
            visible::blocking(move || {
                export.write_to(&to).map_err(refusal)?;
                let Export { made_at, expires_at, keys, destroyed, .. } = export;
                Ok(Exported { file: to.display().to_string(), made_at, expires_at, keys, destroyed, bytes: export.bytes() })
            })
            .await
        }
        .boxed()
    }
}

/// What would fail after the log had told of an export is refused before.
fn refuse_impossible(to: &Path) -> Result<(), Problem> {
    if !to.is_absolute() {
        return Err(Problem::member("/to", "relative", "must be an absolute path: the server's working directory is not yours"));
    }
    if to.exists() {
        return Err(refusal(VaultError::ExportPresent { path: to.to_owned() }));
    }
    match to.parent().filter(|folder| folder.is_dir()) {
        Some(_) => Ok(()),
        None => Err(Problem::member("/to", "folder", "names a folder that does not exist; make it first")),
    }
}

/// What keeps the operator at this machine from what was asked for: told whole, because it is theirs to mend.
fn refusal(error: VaultError) -> Problem {
    match &error {
        VaultError::Io { source, .. } | VaultError::TurnUnfinished { source, .. } => {
            Problem::StateConflict { reason: format!("{error}: {source}") }
        }
        _ => Problem::StateConflict { reason: error.to_string() },
    }
}
