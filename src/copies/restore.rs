//! A restore: what a backup holds takes the store's place, and what stops something stands whatever the backup knows of it.
//!
//! Nothing of the present store is changed before the restored one is complete and durable; then it takes its place in one
//! step, and what was there lies in a folder of its own, for the operator to remove.
//!
//! What the data directory knows and the backup does not, and that stops something, is carried over: closed gates, destroyed
//! keys, and, where the present store can still be read, API keys and disabled connectors as they are now. Everything else
//! is as it was when the backup was made, the audit log too: a checkpoint of a later moment tells that its end is missing.

use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;

use tokio::runtime::Handle;

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Entry;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::Connection;
use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::store;
use crate::store::Backup;
use crate::store::Built;
use crate::store::CopyError;
use crate::store::CopyWatch;
use crate::store::Restoring;
use crate::store::Stop;
use crate::store::StopReason;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::vault;
use crate::vault::Imported;
use crate::vault::KeyKind;
use crate::vault::MasterKey;
use crate::vault::Vault;
use crate::vault::VaultError;

/// Rows of authority: what the present store says of them is newer than any backup.
const PRESENT_TABLES: [Table; 2] = [Table::ApiKeys, Table::ConnectorSwitches];
/// Connections looked at in one step.
const STEP: usize = 500;
/// The configuration's name.
const CONFIG: &str = "headgate.toml";
/// The keyring's folder.
const KEYRING: &str = "keyring";

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup, or the disk.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The store.
    #[error("the backup cannot be restored")]
    Store(#[from] StoreError),
    /// The keyring.
    #[error("the backup is not restored: its keys are not to be had")]
    Vault(#[from] VaultError),
    /// There is no key for what is in the backup.
    #[error(
        "{data:?} has no keyring, and a backup never holds one: restore into the data directory that has it, or give an export of it with \
         --keyring FILE and the newest list of destroyed keys (a copy of `keyring/destroyed`) with --destroyed LIST"
    )]
    NoKeyring {
        /// The data directory.
        data: PathBuf,
    },
    /// The directory has a keyring, and another was given.
    #[error(
        "{data:?} has a keyring of its own, which is newer than any export; leave --keyring and --destroyed out, or give --data a new folder"
    )]
    KeyringPresent {
        /// The data directory.
        data: PathBuf,
    },
    /// A backup of a test directory and a real directory, or the other way round.
    #[error("the backup is of a data directory {backup}, and this one was made {data}; give --data a new folder")]
    OtherKind {
        /// What the backup is of.
        backup: &'static str,
        /// What the directory is.
        data: &'static str,
    },
}

/// An export of a keyring, and the list of the keys that were destroyed since.
#[derive(Debug, Clone, Copy)]
pub struct KeyringSource<'a> {
    /// What `keyring export` wrote.
    pub export: &'a Path,
    /// A copy of `keyring/destroyed`, the newest there is.
    pub destroyed: &'a Path,
}

/// What is to be restored, and where.
pub struct RestoreOrder<'a> {
    /// The data directory, held by this process; nobody has its store open.
    pub data: &'a Path,
    /// Whether it was made for tests; none for a directory that is made now.
    pub test: Option<bool>,
    /// The backup.
    pub backup: &'a Path,
    /// Where the keys come from when the directory has none.
    pub keyring: Option<KeyringSource<'a>>,
    /// The master key.
    pub master: &'a MasterKey,
    /// The time.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Of the backup.
    pub digest: Digest,
    /// When that was made.
    pub made_at: Timestamp,
    /// Rows and files of it, and what was left out because it is erased.
    pub built: Built,
    /// Size of the audit log, with the entry of the restore.
    pub audit_entries: u64,
    /// Connections that are stopped although they were not when the backup was made.
    pub stopped_since: u64,
    /// Whether API keys and disabled connectors are those of now rather than those of the backup.
    pub authority_is_present: bool,
    /// What the keyring was made from, when that was an export.
    pub imported: Option<Imported>,
    /// The folder in the data directory where what was replaced lies; none when there was nothing.
    pub aside: Option<String>,
}

/// A restored store beside the present one, complete; dropping it leaves everything as it was.
pub struct Prepared {
    restoring: Restoring,
    also: Vec<&'static str>,
    restored: Restored,
    test: bool,
    aside: String,
}

impl Prepared {
    /// Whether it is of a directory that was made for tests.
    pub fn is_test(&self) -> bool {
        self.test
    }

    /// Puts it in the place of what is there.
    ///
    /// # Errors
    /// When the file system refuses; the next start finishes what was begun.
    pub fn put_in_place(self) -> Result<Restored, RestoreError> {
        self.restoring.put_in_place(&self.aside, &self.also)?;
        Ok(self.restored)
    }
}

/// Whether there is a keyring for what is restored, and only one.
///
/// # Errors
/// [`RestoreError::NoKeyring`], [`RestoreError::KeyringPresent`].
pub fn keyring_is_told(data: &Path, given: bool) -> Result<(), RestoreError> {
    match (data.join(KEYRING).exists(), given) {
        (false, false) => Err(RestoreError::NoKeyring { data: data.to_path_buf() }),
        (true, true) => Err(RestoreError::KeyringPresent { data: data.to_path_buf() }),
        _ => Ok(()),
    }
}

/// Verifies a backup and builds the store of it beside the present one. For a blocking thread of a runtime.
///
/// # Errors
/// Any of [`RestoreError`]; the data directory is as it was before, but for destroyed keys that its list did not name yet.
pub fn prepare(order: &RestoreOrder<'_>, watch: &CopyWatch, runtime: &Handle) -> Result<Prepared, RestoreError> {
    let RestoreOrder { data, clock, .. } = order;
    keyring_is_told(data, order.keyring.is_some())?;
    let backup = Backup::open(order.backup, watch)?;
    if let Some(test) = order.test.filter(|test| *test != backup.is_test()) {
        let kind = |test| if test { "with --test" } else { "without --test" };
        return Err(RestoreError::OtherKind { backup: kind(backup.is_test()), data: kind(test) });
    }
    let restoring = Restoring::begin(data)?;
    let (keys_in, imported) = match order.keyring {
        None => (*data, None),
        Some(KeyringSource { export, destroyed }) => {
            let imported = vault::import(restoring.folder(), export, destroyed, order.master, clock.now(), order.entropy.clone())?;
            (restoring.folder(), Some(imported))
        }
    };
    let vault = open_vault(keys_in, &backup, order)?;
    let built = backup.build(restoring.folder(), &|owner| vault.is_destroyed(owner), watch)?;
    let mut also = Vec::new();
    if imported.is_some() {
        also.push(KEYRING);
    }
    if let Some(config) = backup.config().filter(|_| !data.join(CONFIG).exists()) {
        put_config(restoring.folder(), config)?;
        also.push(CONFIG);
    }
    let now = clock.now();
    let aside = format!("replaced-{}", now.strftime("%Y%m%dT%H%M%S%3fZ"));
    let mut restored = Restored {
        digest: backup.digest(),
        made_at: backup.made_at(),
        built,
        audit_entries: 0,
        stopped_since: 0,
        authority_is_present: false,
        imported,
        aside: data.join("store").exists().then(|| aside.clone()),
    };
    carry_over(&restoring, &backup, &vault, &mut restored, now, runtime)?;
    Ok(Prepared { restoring, also, restored, test: backup.is_test(), aside })
}

/// The keyring, without what was destroyed when the backup was made.
fn open_vault(keys_in: &Path, backup: &Backup, order: &RestoreOrder<'_>) -> Result<Vault, RestoreError> {
    let open = || Vault::open(keys_in, order.master, order.entropy.clone(), order.clock.clone());
    let vault = open()?;
    let added = vault.record_destroyed_elsewhere(&order.backup.join("destroyed"), backup.destroyed())?;
    Ok(if added > 0 { open()? } else { vault })
}

fn put_config(folder: &Path, config: &[u8]) -> Result<(), StoreError> {
    let path = folder.join(CONFIG);
    let write = || {
        std::fs::write(&path, config)?;
        std::fs::File::open(&path)?.sync_all()
    };
    write().map_err(|source| StoreError::Io { what: "write", path: path.clone(), source })
}

/// Puts what stops something into the restored store, and the entry that tells of the restore.
fn carry_over(
    restoring: &Restoring,
    backup: &Backup,
    vault: &Vault,
    restored: &mut Restored,
    now: Timestamp,
    runtime: &Handle,
) -> Result<(), RestoreError> {
    let present = restoring.present_rows(&PRESENT_TABLES);
    restored.authority_is_present = present.is_some();
    let store = Store::open(restoring.folder(), &store::Options::default())?;
    let stops = stops(&store, restoring, backup, vault)?;
    restored.stopped_since = stops.since;
    store.record_stops(&stops.all)?;
    let mut unit = Unit::default();
    if let Some(present) = present {
        for table in PRESENT_TABLES {
            store.raw_below(table, &[], usize::MAX)?.into_iter().for_each(|(key, _)| {
                unit.remove_raw(key);
            });
        }
        present.into_iter().for_each(|row| {
            unit.put_raw(row);
        });
    }
    let mut entry = Entry::new(now, Actor::Local, Action::StoreRestored);
    entry.count = Some(restored.built.rows);
    entry.commitment = Some(backup.digest());
    unit.audit(entry.to_leaf());
    restored.audit_entries = runtime.block_on(store.commit(unit))?.first_leaf + 1;
    Ok(())
}

struct Stops {
    all: Vec<Stop>,
    /// Connections that were not stopped in the backup, and are now.
    since: u64,
}

/// The stops of the backup, those of the present store, and one for each connection whose keys are destroyed: a list of
/// destroyed keys alone, beside an old keyring, says so too.
fn stops(store: &Store, restoring: &Restoring, backup: &Backup, vault: &Vault) -> Result<Stops, RestoreError> {
    let then = backup.stops();
    let mut all = then.clone();
    all.extend(restoring.present_stops()?);
    let mut last: HashMap<ConnectionKey, Stop> = HashMap::new();
    for stop in &all {
        let known = last.entry(stop.owner).or_insert(*stop);
        if stop.epoch > known.epoch || stop.reason == StopReason::Revoked {
            *known = *stop;
        }
    }
    let gone: HashMap<ConnectionKey, Timestamp> =
        vault.destroyed_list()?.into_iter().filter(|key| key.kind == KeyKind::Credential).map(|key| (key.owner, key.at)).collect();
    let mut after = None;
    loop {
        let step = store.scan::<Connection>(&[], after.as_ref(), STEP)?;
        let Some((key, _)) = step.last() else { break };
        after = Some(*key);
        for (owner, _) in step {
            let Some(at) = vault.destroyed_at(owner).or_else(|| gone.get(&owner).copied()) else { continue };
            let known = last.get(&owner);
            if known.is_some_and(|stop| stop.reason == StopReason::Revoked) {
                continue;
            }
            let epoch = store.gate(owner)?.epoch.max(known.map_or(0, |stop| stop.epoch));
            let stop = Stop { owner, epoch, reason: StopReason::Revoked, at };
            last.insert(owner, stop);
            all.push(stop);
        }
    }
    let stopped_then: HashSet<ConnectionKey> = then.iter().map(|stop| stop.owner).collect();
    let since = last.keys().filter(|owner| !stopped_then.contains(owner)).count() as u64;
    Ok(Stops { all, since })
}
