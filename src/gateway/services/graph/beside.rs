//! The edges of a graph: what lies one step up or down from a place.

use crate::api::problem::Problem;
use crate::connection::Connection;
use crate::gateway::services::graph::Walk;
use crate::gateway::services::graph::Way;
use crate::gateway::services::graph::place::Place;
use crate::ids::ConnectionKey;
use crate::ids::PageId;
use crate::ids::RecordId;
use crate::ids::RunId;
use crate::lineage::Input;
use crate::lineage::Location;
use crate::lineage::PageRow;
use crate::lineage::RunRow;
use crate::openlineage::Direction;
use crate::openlineage::NodeKind;

/// Page rows that are looked at in search of those of one run.
const PAGES_MAX: usize = 10_000;

impl Walk<'_> {
    /// The places one edge away, at most `limit`.
    pub(super) fn beside(&self, place: &Place, way: Way, limit: usize) -> Result<Vec<Place>, Problem> {
        let store = &self.records.store;
        Ok(match (way, place) {
            (Way::Up, Place::Record(id)) if self.is_erased(id.owner)? => vec![Place::Connection(id.owner)],
            (Way::Up, Place::Record(id)) => {
                let record = self.version(*id)?;
                record.map(|record| Place::Page(PageId { owner: id.owner, page: record.location.page })).into_iter().collect()
            }
            (Way::Down, Place::Record(id)) => self.after_record(*id, limit)?,
            (Way::Up, Place::Page(id)) => {
                store.get::<PageRow>(&(id.owner, id.page))?.map(|row| Place::Run(id.owner, row.run)).into_iter().collect()
            }
            (Way::Down, Place::Page(id)) => self.of_page(*id, limit)?,
            (Way::Up, Place::Run(owner, _)) => vec![Place::Connection(*owner)],
            (Way::Down, Place::Run(owner, run)) => {
                let pages = store.scan_back::<PageRow>(&owner.to_bytes(), None, PAGES_MAX)?;
                let of_run = pages.into_iter().filter(|(_, row)| row.run == *run);
                of_run.map(|((owner, page), _)| Place::Page(PageId { owner, page })).take(limit).collect()
            }
            (Way::Up, Place::Connection(owner)) => self
                .connection(*owner)?
                .map(|found| vec![Place::Consent(*owner, found.consent), Place::Connector(*owner)])
                .unwrap_or_default(),
            (Way::Down, Place::Connection(owner)) => self.of_connection(*owner, limit)?,
            (Way::Down, Place::Consent(owner, _) | Place::Connector(owner)) => vec![Place::Connection(*owner)],
            (Way::Up, Place::Artifact(id)) => {
                let derivations = self.records.joined.derivations.inputs(*id)?;
                derivations.into_iter().flat_map(|derivation| derivation.inputs).map(made_of).take(limit).collect()
            }
            (Way::Down, Place::Artifact(id)) => self.made_from(Input::Artifact(*id), limit)?,
            (Way::Up, Place::Recipient(_)) => Vec::new(),
            (_, Place::Node(number)) => self.of_node(*number, way, limit)?,
            (Way::Up, Place::Consent(..) | Place::Connector(_)) | (Way::Down, Place::Recipient(_)) => Vec::new(),
        })
    }

    /// What was made from a record, and who received it.
    fn after_record(&self, id: RecordId, limit: usize) -> Result<Vec<Place>, Problem> {
        let mut places = self.made_from(Input::Record(id), limit)?;
        // Its rows wait for the sweep, its keys are gone: who received it stands in the tenant's list of disclosures.
        if self.is_erased(id.owner)? {
            return Ok(places);
        }
        if let Some(record) = self.version(id)? {
            let received = self.records.joined.disclosures.of_record(id.owner, &[record.location])?;
            let before = received.into_iter().filter(|received| self.at.is_none_or(|at| received.first_at <= at));
            places.extend(before.map(|received| Place::Recipient(received.recipient.name)));
        }
        places.truncate(limit);
        Ok(places)
    }

    fn made_from(&self, input: Input, limit: usize) -> Result<Vec<Place>, Problem> {
        Ok(self.records.joined.derivations.of(input, limit)?.into_iter().map(Place::Artifact).collect())
    }

    fn of_page(&self, id: PageId, limit: usize) -> Result<Vec<Place>, Problem> {
        let Some(row) = self.records.store.get::<PageRow>(&(id.owner, id.page))? else { return Ok(Vec::new()) };
        let from = Location { page: id.page, block: 0, slot: 0 };
        let records = self.records.reader.records(id.owner, Some(row.stream), Some(from), limit)?.items;
        Ok(records.into_iter().take_while(|record| record.location.page == id.page).map(|record| Place::Record(record.id)).collect())
    }

    /// The runs of a connection, and the datasets of the tenant's OpenLineage graph that its streams are.
    fn of_connection(&self, owner: ConnectionKey, limit: usize) -> Result<Vec<Place>, Problem> {
        let runs = self.records.store.scan_back::<RunRow>(&owner.to_bytes(), None, limit)?;
        let mut places: Vec<Place> = runs.into_iter().map(|((_, id), _)| Place::Run(owner, RunId::from_bytes(id))).collect();
        if let (Some(book), Some(connection)) = (&self.book, self.connection(owner)?) {
            for stream in &connection.streams {
                let (namespace, name) = self.dataset_of(&connection, stream);
                places.extend(book.node(NodeKind::Dataset, &namespace, &name)?.map(Place::Node));
            }
        }
        places.truncate(limit);
        Ok(places)
    }

    /// The neighbours of a dataset or job; of a dataset that is a stream of a connection, the connection too.
    fn of_node(&self, number: u32, way: Way, limit: usize) -> Result<Vec<Place>, Problem> {
        let Some(book) = &self.book else { return Ok(Vec::new()) };
        let direction = if way == Way::Up { Direction::Up } else { Direction::Down };
        let around = book.around(number, 1, direction, limit)?;
        let mut places: Vec<Place> = around.nodes.iter().skip(1).map(|(number, _)| Place::Node(*number)).collect();
        if let (Way::Up, Some((_, head))) = (way, around.nodes.first())
            && let Some(connection) = self.connection_of(head)?
        {
            places.push(Place::Connection(connection.key));
        }
        Ok(places)
    }

    /// The dataset that a connection's stream is in the tenant's OpenLineage graph.
    fn dataset_of(&self, connection: &Connection, stream: &str) -> (String, String) {
        let stored = self.records.joined.producer.stored(&connection.tenant, &connection.connector.name, connection.id, stream);
        (stored.namespace, stored.name)
    }
}

fn made_of(input: Input) -> Place {
    match input {
        Input::Record(id) => Place::Record(id),
        Input::Artifact(id) => Place::Artifact(id),
    }
}
