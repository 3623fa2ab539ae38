//! What is known of a place, never payload; and whether it was there at the time that is asked about.

use serde_json::Value;
use serde_json::json;

use crate::api::problem::Problem;
use crate::api::wire::lineage::Node;
use crate::clock::Timestamp;
use crate::connection::Connection;
use crate::gateway::services::graph::Walk;
use crate::gateway::services::graph::place::Place;
use crate::gateway::services::tombstones;
use crate::ids::ArtifactId;
use crate::ids::ConnectionId;
use crate::ids::PageId;
use crate::ids::RecordId;
use crate::lineage::PageRow;
use crate::lineage::RunRow;
use crate::openlineage::Head;

impl Walk<'_> {
    /// A place with what is known of it; none when there is no such place, or was none at the time.
    pub(super) fn node(&self, place: &Place) -> Result<Option<Node>, Problem> {
        let node = |id: String, noun: &str, facts: Value| Some(Node { id, noun: noun.to_owned(), facts });
        Ok(match place {
            Place::Record(id) => self.record(*id)?.and_then(|facts| node(id.to_string(), "record", facts)),
            Place::Page(id) => self.page(*id)?.and_then(|facts| node(id.to_string(), "page", facts)),
            Place::Run(owner, id) => {
                let run = self.records.store.get::<RunRow>(&(*owner, id.to_bytes()))?;
                let run = run.filter(|run| self.was_there(run.started_at));
                run.and_then(|run| node(id.to_string(), "run", run_facts(&run)))
            }
            Place::Connection(owner) => {
                let found = self.connection(*owner)?.filter(|found| self.was_there(found.created_at));
                found.and_then(|found| {
                    let facts = json!({ "tenant": found.tenant, "state": found.state.name(), "created_at": found.created_at });
                    node(found.id.to_string(), "connection", facts)
                })
            }
            Place::Consent(_, id) => {
                let consent = self.records.connections.consent(*id)?.map(|(_, consent)| consent);
                consent.filter(|consent| self.was_there(consent.at)).and_then(|consent| {
                    let facts = json!({
                        "policy_version": consent.policy_version, "purposes": consent.purposes, "scopes": consent.scopes, "at": consent.at,
                    });
                    node(id.to_string(), "consent", facts)
                })
            }
            Place::Connector(owner) => self
                .connection(*owner)?
                .and_then(|found| node(found.connector.name.clone(), "connector", json!({ "digest": found.connector.digest }))),
            Place::Artifact(id) => self.artifact(*id)?.and_then(|facts| node(id.to_string(), "artifact", facts)),
            Place::Recipient(name) => node(format!("recipient:{name}"), "recipient", json!({ "name": name })),
            Place::Node(number) => match &self.book {
                Some(book) => Some(book.head(*number)?)
                    .filter(|head| self.was_there(head.created_at))
                    .and_then(|head| node(head.id(), head.kind.word(), head_facts(&head))),
                None => None,
            },
        })
    }

    fn was_there(&self, since: Timestamp) -> bool {
        self.at.is_none_or(|at| since <= at)
    }

    /// Of an erased record its tombstone.
    fn record(&self, id: RecordId) -> Result<Option<Value>, Problem> {
        let Some(connection) = self.connection(id.owner)? else { return Ok(None) };
        let stream = connection.streams.get(usize::from(id.stream)).cloned();
        if self.is_erased(id.owner)? {
            let gone = tombstones::of(self.records, &connection, id)?;
            return Ok(gone.map(
                |gone| json!({ "stream": gone.stream, "connector": gone.connector, "erased_at": gone.erased_at, "erasure": gone.erasure }),
            ));
        }
        if self.at.is_some() {
            return Ok(self.version(id)?.map(|record| json!({ "stream": stream, "version": record.facts.version })));
        }
        let row = self.records.store.get::<crate::lineage::RecordRow>(&(id.owner, (id.stream, id.hash)))?;
        Ok(row.map(|row| json!({ "stream": stream, "version": row.version })))
    }

    fn page(&self, id: PageId) -> Result<Option<Value>, Problem> {
        let Some(connection) = self.connection(id.owner)? else { return Ok(None) };
        // Its row waits for the sweep, its keys are gone.
        if self.is_erased(id.owner)? {
            return Ok(None);
        }
        let Some(row) = self.records.store.get::<PageRow>(&(id.owner, id.page))? else { return Ok(None) };
        let facts = self.records.reader.facts(id.owner, id.page, &row)?;
        if !self.was_there(facts.exchange.received_at) {
            return Ok(None);
        }
        Ok(Some(json!({
            "stream": connection.streams.get(usize::from(row.stream)), "run": row.run, "status": facts.exchange.status,
            "received_at": facts.exchange.received_at, "response_sha256": facts.exchange.response_sha256, "filtered": facts.filtered,
            "ignored": facts.ignored, "coerced": facts.coerced, "coerced_keys": facts.coerced_keys,
        })))
    }

    fn artifact(&self, id: ArtifactId) -> Result<Option<Value>, Problem> {
        let Some(artifact) = self.records.joined.derivations.artifact(id)? else { return Ok(None) };
        if let Some((at, erasure)) = artifact.erased {
            return Ok(Some(json!({ "erased_at": at, "erasure": erasure })));
        }
        let derivations = self.records.joined.derivations.inputs(id)?;
        if !derivations.is_empty() && derivations.iter().all(|derivation| !self.was_there(derivation.at)) {
            return Ok(None);
        }
        let made: Vec<Value> = derivations
            .iter()
            .filter(|derivation| self.was_there(derivation.at))
            .map(|derivation| {
                let facts = derivation.facts.clone().unwrap_or_default();
                json!({ "need": derivation.need, "at": derivation.at, "job": facts.job, "run": facts.run })
            })
            .collect();
        let named = artifact.named;
        Ok(Some(json!({
            "name": named.as_ref().map(|named| &named.name), "kind": named.as_ref().and_then(|named| named.kind.as_ref()),
            "derivations": made,
        })))
    }

    /// The connection whose stream a dataset is, by the name that Headgate gives to what it stores.
    pub(super) fn connection_of(&self, head: &Head) -> Result<Option<Connection>, Problem> {
        if !head.namespace.starts_with("headgate://") {
            return Ok(None);
        }
        let id = head.name.split('.').find_map(|part| part.parse::<ConnectionId>().ok());
        let found = id.map(|id| self.records.connections.find(id)).transpose();
        match found {
            Ok(found) => Ok(found.filter(|found| found.key.tenant == self.tenant)),
            Err(crate::connection::ConnectionError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn run_facts(run: &RunRow) -> Value {
    json!({
        "stream": run.stream, "state": run.state, "pages": run.pages, "filtered": run.filtered, "ignored": run.ignored,
        "coerced": run.coerced, "coerced_keys": run.coerced_keys, "started_at": run.started_at, "ended_at": run.ended_at,
    })
}

fn head_facts(head: &Head) -> Value {
    json!({ "namespace": head.namespace, "name": head.name, "created_at": head.created_at, "updated_at": head.updated_at })
}
