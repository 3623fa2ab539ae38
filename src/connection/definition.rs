//! The definitions that connections were authorized with: their texts are kept under their digest, so that a connector's
//! files may change or vanish, and a tag's connector digest can always be looked up.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use crate::connector::definition::Connector;
use crate::connector::definition::ConnectorError;
use crate::digest::Digest;
use crate::record::ConnectorRef;
use crate::store::Row;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::store::check::RowCheck;

/// Bytes of one part of a compressed text; below what the store keeps in one row.
const PART_BYTES: usize = 32 << 10;
/// Bytes that a definition's texts may have in all.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Why a definition is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The store failed.
    #[error("the definition of connector {name} cannot be read")]
    Store {
        /// Which.
        name: String,
        /// Why.
        source: StoreError,
    },
    /// It is not there, or does not read back.
    #[error("the definition {digest} of connector {name} is not in the store; connect again with the connector's files")]
    Missing {
        /// Which.
        name: String,
        /// Its digest.
        digest: Digest,
    },
    /// This version of Headgate does not accept it any more.
    #[error("the definition of a connection is no longer accepted; use the version of Headgate that it was connected with")]
    Refused(#[from] ConnectorError),
}

/// A part of a definition's texts, under (digest, part).
#[derive(Serialize, Deserialize)]
struct PartRow(Vec<u8>);

impl Row for PartRow {
    const TABLE: Table = Table::ConnectorTexts;
    type Key = ([u8; 32], u16);
}

/// How a scrub reads the parts back.
pub(super) fn row_check() -> RowCheck {
    RowCheck::of::<PartRow>()
}

/// The two texts as they are kept.
#[derive(Serialize, Deserialize)]
struct Texts {
    name: String,
    manifest: String,
    treatment: Option<String>,
}

/// All definitions. Clones share them.
#[derive(Clone)]
pub struct Definitions {
    store: Store,
    loaded: Arc<Mutex<HashMap<Digest, Arc<Connector>>>>,
}

impl Definitions {
    /// Over a store.
    pub fn new(store: Store) -> Self {
        Definitions { store, loaded: Arc::default() }
    }

    /// Adds the rows that keep a connector's texts, unless they are kept already.
    ///
    /// # Errors
    /// When the store fails, or the texts are past every limit.
    pub fn keep(&self, unit: &mut Unit, connector: &Arc<Connector>) -> Result<ConnectorRef, DefinitionError> {
        let failed = |source| DefinitionError::Store { name: connector.name.clone(), source };
        let digest = connector.digest;
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, connector.clone());
        if !self.store.contains::<PartRow>(&(digest.to_bytes(), 0)).map_err(failed)? {
            let texts = Texts {
                name: connector.name.clone(),
                manifest: connector.manifest_text.clone(),
                treatment: connector.treatment_text.clone(),
            };
            let malformed = || failed(StoreError::Malformed { table: Table::ConnectorTexts.name() });
            let mut plain = postcard::to_stdvec(&texts).map_err(|_| malformed())?;
            // Behind the texts that every connector has, so that one without schema files is kept as it always was.
            if !connector.schema_texts.is_empty() {
                plain = postcard::to_extend(&connector.schema_texts, plain).map_err(|_| malformed())?;
            }
            let compressed = zstd::bulk::compress(&plain, 3).map_err(|_| malformed())?;
            for (part, bytes) in (0..).zip(compressed.chunks(PART_BYTES)) {
                unit.put(&(digest.to_bytes(), part), &PartRow(bytes.to_vec()));
            }
        }
        Ok(ConnectorRef { name: connector.name.clone(), digest })
    }

    /// The definition that a connection was authorized with.
    ///
    /// # Errors
    /// When it is not kept, or no longer accepted.
    pub fn load(&self, reference: &ConnectorRef) -> Result<Arc<Connector>, DefinitionError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = loaded.get(&reference.digest) {
            return Ok(connector.clone());
        }
        let missing = || DefinitionError::Missing { name: reference.name.clone(), digest: reference.digest };
        let failed = |source| DefinitionError::Store { name: reference.name.clone(), source };
        let parts = self.store.scan::<PartRow>(&reference.digest.to_bytes(), None, TEXT_BYTES_MAX / PART_BYTES).map_err(failed)?;
        let compressed: Vec<u8> = parts.into_iter().flat_map(|(_, row)| row.0).collect();
        let plain = zstd::bulk::decompress(&compressed, TEXT_BYTES_MAX).map_err(|_| missing())?;
        let (texts, rest): (Texts, _) = postcard::take_from_bytes(&plain).map_err(|_| missing())?;
        let schemas = if rest.is_empty() { BTreeMap::new() } else { postcard::from_bytes(rest).map_err(|_| missing())? };
        let connector = Connector::load_with(&texts.name, &texts.manifest, texts.treatment.as_deref(), schemas)?;
        if connector.digest != reference.digest {
            return Err(missing());
        }
        let connector = Arc::new(connector);
        loaded.insert(reference.digest, connector.clone());
        Ok(connector)
    }
}
