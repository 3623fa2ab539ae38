//! What a graph is made of: things that data passes through, each with the id that a caller knows it by.

use crate::api::problem::Problem;
use crate::connection::ConnectionError;
use crate::gateway::services::graph::Walk;
use crate::gateway::services::records::Records;
use crate::ids::ArtifactId;
use crate::ids::ConnectionKey;
use crate::ids::ConsentId;
use crate::ids::PageId;
use crate::ids::RecordId;
use crate::ids::RunId;
use crate::lineage::RunIdRow;
use crate::openlineage::OpenLineageError;
use crate::openlineage::Stop;

/// Something that data passes through.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A record; also one that is erased.
    Record(RecordId),
    /// A response that brought records.
    Page(PageId),
    /// An attempt to read a stream.
    Run(ConnectionKey, RunId),
    /// A connection.
    Connection(ConnectionKey),
    /// What its customer agreed to.
    Consent(ConnectionKey, ConsentId),
    /// The definition that reads the application.
    Connector(ConnectionKey),
    /// Something that a service made.
    Artifact(ArtifactId),
    /// Who received records, by name.
    Recipient(String),
    /// A dataset or job of the tenant's OpenLineage graph, by its number.
    Node(u32),
}

impl Walk<'_> {
    /// What an id names within the tenant; nothing for an unknown one, or another tenant's.
    pub(super) fn place(&self, node: &str) -> Result<Option<Place>, Problem> {
        let place = match Place::own(self.records, node)? {
            Some(place) => Some(place),
            None => self.node_of(node)?,
        };
        Ok(place.filter(|place| place.tenant().is_none_or(|tenant| tenant == self.tenant)))
    }

    fn node_of(&self, node: &str) -> Result<Option<Place>, Problem> {
        let Some(book) = &self.book else { return Ok(None) };
        match book.resolve(node) {
            Ok(Stop::Node(number, _)) => Ok(Some(Place::Node(number))),
            Ok(_) | Err(OpenLineageError::Malformed { .. } | OpenLineageError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Place {
    /// The number of the tenant whose node an id names, as far as the id says it.
    pub(super) fn numbered(records: &Records, node: &str) -> Result<Option<u32>, Problem> {
        Ok(match Self::own(records, node)? {
            Some(place) => place.tenant(),
            None => None,
        })
    }

    /// What one of our own ids names.
    fn own(records: &Records, node: &str) -> Result<Option<Place>, Problem> {
        let connections = &records.connections;
        Ok(if let Ok(id) = node.parse() {
            Some(Place::Record(id))
        } else if let Ok(id) = node.parse::<PageId>() {
            Some(Place::Page(id))
        } else if let Ok(id) = node.parse::<ArtifactId>() {
            Some(Place::Artifact(id))
        } else if let Ok(id) = node.parse::<RunId>() {
            records.store.get::<RunIdRow>(&id.to_bytes())?.map(|RunIdRow(owner)| Place::Run(owner, id))
        } else if let Ok(id) = node.parse() {
            match connections.find(id) {
                Ok(connection) => Some(Place::Connection(connection.key)),
                Err(ConnectionError::Unknown { .. }) => None,
                Err(error) => return Err(error.into()),
            }
        } else if let Ok(id) = node.parse::<ConsentId>() {
            connections.consent(id)?.map(|(connection, _)| Place::Consent(connection.key, id))
        } else {
            None
        })
    }

    /// The tenant whose place it is, where its id says so.
    fn tenant(&self) -> Option<u32> {
        match self {
            Place::Artifact(id) => Some(id.tenant),
            Place::Recipient(_) | Place::Node(_) => None,
            _ => self.owner().map(|owner| owner.tenant),
        }
    }

    /// The connection that it belongs to; nothing for what is the tenant's.
    pub fn owner(&self) -> Option<ConnectionKey> {
        match self {
            Place::Record(id) => Some(id.owner),
            Place::Page(id) => Some(id.owner),
            Place::Run(owner, _) | Place::Connection(owner) | Place::Consent(owner, _) | Place::Connector(owner) => Some(*owner),
            Place::Artifact(_) | Place::Recipient(_) | Place::Node(_) => None,
        }
    }
}
