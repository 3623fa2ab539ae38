//! The connectors that can be connected: those in the binary, those in the operator's folders, and which are disabled.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Entry;
use crate::clock::Clock;
use crate::connector::catalogue;
use crate::connector::definition::Connector;
use crate::connector::definition::ConnectorError;
use crate::store::Row;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::store::check::RowCheck;

/// Why a connector is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorsError {
    /// There is none of this name.
    #[error("there is no connector `{name}`; there are {}", .names.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<String>,
    },
    /// An operator has disabled it.
    #[error("connector `{name}` is disabled; an operator enables it with `headgate connectors enable {name}`")]
    Disabled {
        /// Which.
        name: String,
    },
    /// Its files are refused.
    #[error("the connector cannot be used")]
    Refused(#[from] ConnectorError),
    /// A folder of connectors cannot be read.
    #[error("the connector folder {path:?} cannot be read; mend `connector_dirs`")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store failed.
    #[error("the connector's switch is not stored")]
    Store(#[from] StoreError),
}

/// Whether a connector is disabled, under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct SwitchRow {
    disabled: bool,
}

impl Row for SwitchRow {
    const TABLE: Table = Table::ConnectorSwitches;
    type Key = String;
}

/// How a scrub reads the switches back.
pub(super) fn row_check() -> RowCheck {
    RowCheck::of::<SwitchRow>()
}

/// The connectors of a gateway. Clones share them.
#[derive(Clone)]
pub struct Connectors {
    store: Store,
    clock: Clock,
    by_name: Arc<BTreeMap<String, Arc<Connector>>>,
}

impl Connectors {
    /// Those in the binary and those in `folders`; one in a later folder takes the place of one of the same name.
    ///
    /// # Errors
    /// When a folder cannot be read, or a connector in it is refused: an operator who names one wants to know.
    pub fn load(store: Store, clock: Clock, folders: &[PathBuf]) -> Result<Self, ConnectorsError> {
        let mut by_name = BTreeMap::new();
        for embedded in catalogue::EMBEDDED {
            let connector = embedded.load()?;
            by_name.insert(connector.name.clone(), Arc::new(connector));
        }
        for folder in folders {
            for path in candidates(folder)? {
                let connector = catalogue::load_path(&path)?;
                by_name.insert(connector.name.clone(), Arc::new(connector));
            }
        }
        Ok(Connectors { store, clock, by_name: Arc::new(by_name) })
    }

    /// All of them, by name, each with whether it is disabled.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self) -> Result<Vec<(Arc<Connector>, bool)>, ConnectorsError> {
        self.by_name.values().map(|connector| Ok((connector.clone(), self.is_disabled(&connector.name)?))).collect()
    }

    /// One by its name, disabled or not.
    ///
    /// # Errors
    /// [`ConnectorsError::Unknown`].
    pub fn find(&self, name: &str) -> Result<Arc<Connector>, ConnectorsError> {
        let unknown = || ConnectorsError::Unknown { name: crate::ids::cut(name), names: self.by_name.keys().cloned().collect() };
        self.by_name.get(name).cloned().ok_or_else(unknown)
    }

    /// One to be connected now: by name, or by the path of its files where `paths` are allowed.
    ///
    /// # Errors
    /// When it is unknown, disabled or refused.
    pub fn to_connect(&self, name_or_path: &str, paths: bool) -> Result<Arc<Connector>, ConnectorsError> {
        let connector = if paths && Path::new(name_or_path).is_absolute() {
            Arc::new(catalogue::load_path(Path::new(name_or_path))?)
        } else {
            self.find(name_or_path)?
        };
        if self.is_disabled(&connector.name)? {
            return Err(ConnectorsError::Disabled { name: connector.name.clone() });
        }
        Ok(connector)
    }

    /// Whether an operator has disabled a connector.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_disabled(&self, name: &str) -> Result<bool, ConnectorsError> {
        Ok(self.store.get::<SwitchRow>(&name.to_owned())?.is_some_and(|row| row.disabled))
    }

    /// Disables a connector (nothing new is connected; what is connected goes on until it is revoked), or enables it.
    ///
    /// # Errors
    /// When it is unknown or the store fails.
    pub async fn switch(&self, name: &str, disabled: bool, actor: Actor) -> Result<(), ConnectorsError> {
        let connector = self.find(name)?;
        let action = if disabled { Action::ConnectorDisabled } else { Action::ConnectorEnabled };
        let mut entry = Entry::new(self.clock.now(), actor, action);
        entry.object = Some(connector.name.clone());
        let mut unit = Unit::default();
        unit.put(&connector.name, &SwitchRow { disabled }).audit(entry.to_leaf());
        self.store.commit(unit).await?;
        Ok(())
    }
}

/// What looks like a connector in a folder: a folder with a manifest, or a YAML file; in the order of names.
fn candidates(folder: &Path) -> Result<Vec<PathBuf>, ConnectorsError> {
    let failed = |source| ConnectorsError::Folder { path: folder.into(), source };
    let entries = std::fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.join("manifest.yaml").is_file() || path.extension().is_some_and(|end| end == "yaml"));
    paths.sort();
    Ok(paths)
}
