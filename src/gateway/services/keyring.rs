//! The keyring: copies of it.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use jiff::SignedDuration;

use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::wire::keyring::ExportOrder;
use crate::api::wire::keyring::Exported;
use crate::audit::Action;
use crate::audit::Entry;
use crate::audit::Log;
use crate::clock::Clock;
use crate::gateway::services::visible;
use crate::vault::Export;
use crate::vault::Vault;
use crate::vault::VaultError;

/// [`services::Keyring`] over the keyring of the data directory.
pub struct Keyring {
    vault: Arc<Vault>,
    log: Log,
    clock: Clock,
}

impl Keyring {
    /// Over a keyring and the log.
    pub fn new(vault: Arc<Vault>, log: Log, clock: Clock) -> Self {
        Keyring { vault, log, clock }
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

fn refusal(error: VaultError) -> Problem {
    match error {
        VaultError::ExportPresent { .. } => Problem::StateConflict { reason: error.to_string() },
        VaultError::Io { ref source, .. } => Problem::StateConflict { reason: format!("{error}: {source}") },
        other => other.into(),
    }
}
