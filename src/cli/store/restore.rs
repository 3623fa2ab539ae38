//! `headgate store restore`: the one command that changes the store without a gateway.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use serde_json::json;
use tokio::runtime::Handle;

use std::sync::Arc;

use super::LOOK_EVERY;
use crate::cli::failure::Failure;
use crate::cli::opening::Opening;
use crate::cli::output;
use crate::cli::output::Output;
use crate::cli::progress::Spinner;
use crate::clock::Clock;
use crate::copies;
use crate::copies::KeyringSource;
use crate::copies::Prepared;
use crate::copies::RestoreOrder;
use crate::copies::Restored;
use crate::ids::Entropy;
use crate::store::CopyWatch;

#[derive(Debug, Args)]
pub struct Restore {
    /// The folder that `store backup` made.
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// An export of the keyring, for a data directory that has none.
    #[arg(long, value_name = "FILE", requires = "destroyed")]
    keyring: Option<PathBuf>,
    /// The list of destroyed keys: the newest copy of `keyring/destroyed` that there is. What it names is not brought back.
    #[arg(long, value_name = "LIST", requires = "keyring")]
    destroyed: Option<PathBuf>,
}

impl Restore {
    /// Verifies, builds, and puts what was built in the store's place.
    ///
    /// # Errors
    /// When another process holds the directory, when the backup is damaged, when there are no keys for it.
    pub async fn carry_out(self, opening: Opening<'_>, output: &mut Output) -> Result<(), Failure> {
        let mut held = opening.hold()?;
        let data = held.directory().path().to_owned();
        copies::keyring_is_told(&data, self.keyring.is_some())?;
        let master = opening.master_key(&held, output)?;
        let test = (!held.is_new()).then(|| held.is_test());
        let watch = Arc::new(CopyWatch::default());
        let preparing = {
            let (watch, runtime, data) = (watch.clone(), Handle::current(), data.clone());
            tokio::task::spawn_blocking(move || {
                let keyring = self.keyring.as_deref().zip(self.destroyed.as_deref());
                let order = RestoreOrder {
                    data: &data,
                    test,
                    backup: &self.from,
                    keyring: keyring.map(|(export, destroyed)| KeyringSource { export, destroyed }),
                    master: &master,
                    clock: Clock::System,
                    entropy: Entropy::system(),
                };
                copies::prepare(&order, &watch, &runtime)
            })
        };
        let prepared = watched(preparing, &watch, output).await?;
        held.mark_as(prepared.is_test(), Clock::System.now())?;
        let restored = prepared.put_in_place()?;
        output.result(&result(&restored, &data.display().to_string()), told)
    }
}

type Preparing = tokio::task::JoinHandle<Result<Prepared, copies::RestoreError>>;

/// Waits for it and shows how far it is. Ctrl-C ends it before anything has changed.
async fn watched(mut preparing: Preparing, watch: &CopyWatch, output: &Output) -> Result<Prepared, Failure> {
    let mut spinner = Spinner::new(output);
    loop {
        tokio::select! {
            prepared = &mut preparing => {
                return Ok(prepared.map_err(|error| Failure::outcome(format!("the restore ended unexpectedly: {error}")))??);
            }
            _ = tokio::signal::ctrl_c() => watch.interrupt(),
            () = tokio::time::sleep(LOOK_EVERY) => {
                let (phase, done) = watch.progress();
                spinner.show(&format!("{phase}: {done}"));
            }
        }
    }
}

fn result(restored: &Restored, data: &str) -> Value {
    let keyring = match &restored.imported {
        None => json!({"source": "live"}),
        Some(imported) => json!({
            "source": "export",
            "made_at": imported.made_at,
            "keys": imported.keys,
            "left_out": imported.left_out,
            "destroyed": imported.destroyed,
            "last_destroyed_at": imported.last_destroyed_at,
        }),
    };
    json!({
        "restored": data,
        "digest": restored.digest,
        "made_at": restored.made_at,
        "rows": restored.built.rows,
        "rows_erased": restored.built.rows_erased,
        "segment_files": restored.built.segment_files,
        "audit_entries": restored.audit_entries,
        "stopped_since": restored.stopped_since,
        "api_keys": if restored.authority_is_present { "present" } else { "backup" },
        "keyring": keyring,
        "replaced": restored.aside.as_ref().map(|aside| format!("{data}/{aside}")),
    })
}

/// The figures, and what the operator should know of them.
fn told(result: &Value) -> String {
    let mut text = output::details(result);
    if let Some(replaced) = result["replaced"].as_str() {
        text.push_str(&format!("\n\nwhat was there before is in {replaced}; remove it when you no longer need it"));
    }
    if result["api_keys"] == "backup" {
        text.push_str("\n\nAPI keys are those of the backup: revoke again with `keys revoke` what was revoked since");
    }
    text
}
