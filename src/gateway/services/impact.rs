//! Impact: what stopping or erasing would touch, from counters, one range of rows, and whoever knows where it went.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::Value;

use crate::api::paging::foreign_token;
use crate::api::paging::token;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::ImpactList;
use crate::api::services::ImpactQuestion;
use crate::api::services::Reply;
use crate::api::services::Scope;
use crate::api::wire::impact as wire;
use crate::api::wire::revocation::RevocationImpact;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::erasure;
use crate::gateway::services::visible;
use crate::ids::ArtifactId;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::RecordId;
use crate::lineage::Derivations;
use crate::lineage::StreamRow;
use crate::run::Pulls;
use crate::store::Store;
use crate::store::Table;

/// Rows looked at in one step.
const STEP: usize = 4096;

/// Where records went besides artifacts: whoever keeps that tells it here.
pub trait Reach: Send + Sync {
    /// Recipients that were given any of the scope, each as the API shows it.
    fn recipients(&self, scope: &erasure::Scope) -> Result<Vec<Value>, Problem>;
    /// Datasets and jobs of the company's own that are fed by it.
    fn downstream(&self, scope: &erasure::Scope) -> Result<Vec<Value>, Problem>;
}

/// [`services::Impact`] over the store. Clones share it.
#[derive(Clone)]
pub struct Impact {
    store: Store,
    connections: Connections,
    erasures: erasure::Erasures,
    derivations: Derivations,
    pulls: Pulls,
    reach: Arc<dyn Reach>,
}

impl Impact {
    /// Over the parts of a gateway.
    pub fn new(
        store: Store,
        connections: Connections,
        (erasures, derivations): (erasure::Erasures, Derivations),
        pulls: Pulls,
        reach: Arc<dyn Reach>,
    ) -> Self {
        Impact { store, connections, erasures, derivations, pulls, reach }
    }

    /// What an erasure of a scope would touch.
    pub(super) fn of(&self, scope: &erasure::Scope, with_digest: bool) -> Result<wire::Impact, Problem> {
        let (affected, digest) = if with_digest {
            let extent = self.erasures.extent(scope)?;
            (extent.artifacts, Some(extent.digest.to_string()))
        } else {
            (self.erasures.affected(scope)?, None)
        };
        let derived = wire::DerivedImpact { dies: affected.dies.len() as u64, survives: affected.survives.len() as u64 };
        let mut impact = wire::Impact {
            records: 0,
            versions: 0,
            pages: 0,
            runs: self.count(Table::Runs, scope)?,
            streams: Vec::new(),
            derived,
            recipients: self.reach.recipients(scope)?,
            exports: 0,
            holds: 0,
            downstream: self.reach.downstream(scope)?,
            digest,
        };
        self.add_streams(&mut impact, scope)?;
        Ok(impact)
    }

    fn add_streams(&self, impact: &mut wire::Impact, scope: &erasure::Scope) -> Result<(), Problem> {
        let mut known: HashMap<ConnectionKey, Option<Connection>> = HashMap::new();
        let mut after = None;
        loop {
            let step = self.store.scan::<StreamRow>(&scope.prefix(), after.as_ref(), STEP)?;
            let Some((last, _)) = step.last() else { return Ok(()) };
            after = Some(*last);
            for ((owner, number), row) in step {
                impact.records += row.records;
                impact.versions += row.versions;
                impact.pages += row.pages;
                let connection = match known.entry(owner) {
                    Entry::Occupied(found) => found.into_mut(),
                    Entry::Vacant(place) => place.insert(self.connections.by_key(owner)?),
                };
                let Some(connection) = connection else { continue };
                let Some(stream) = connection.streams.get(usize::from(number)).cloned() else { continue };
                impact.streams.push(wire::StreamImpact { connection: connection.id, stream, records: row.records, versions: row.versions });
            }
        }
    }

    fn count(&self, table: Table, scope: &erasure::Scope) -> Result<u64, Problem> {
        let (mut count, mut after) = (0, None);
        loop {
            let mut last: Option<Vec<u8>> = None;
            let looked_at = self.store.look_below(table, &scope.prefix(), after.as_deref(), STEP, |key, _| {
                last.get_or_insert_default().clear();
                last.get_or_insert_default().extend_from_slice(key);
            })?;
            count += looked_at as u64;
            if looked_at < STEP {
                return Ok(count);
            }
            after = last;
        }
    }

    /// What a revocation would leave as it is, and what it would cut short.
    pub(super) fn of_revocation(&self, connection: &Connection) -> Result<RevocationImpact, Problem> {
        let impact = self.of(&scope(connection), false)?;
        let wire::Impact { records, versions, derived, .. } = impact;
        Ok(RevocationImpact { pulls_running: u32::from(self.pulls.is_under_way(connection.key)), records, versions, derived })
    }

    fn records(&self, connection: &Connection, question: &ImpactQuestion) -> Result<wire::Listed, Problem> {
        let streams: Vec<Arc<str>> = connection.streams.iter().map(|stream| Arc::from(stream.as_str())).collect();
        let prefix = connection.key.to_bytes();
        let mut after = Vec::with_capacity(27);
        if let Some(place) = &question.after {
            if place.len() != 26 || !place.starts_with(&prefix) {
                return Err(foreign_token());
            }
            after.push(Table::Records.tag());
            after.extend_from_slice(place);
        }
        let mut items = Vec::with_capacity(question.limit + 1);
        let mut last = [0; 26];
        let behind = (!after.is_empty()).then_some(after.as_slice());
        self.store.look_below(Table::Records, &prefix, behind, question.limit + 1, |key, _| {
            let Some(bytes) = key.get(1..).and_then(|bytes| <[u8; 26]>::try_from(bytes).ok()) else { return };
            let id = RecordId::from_bytes(bytes);
            if items.len() < question.limit {
                last = bytes;
            }
            items.push(wire::Item { id: id.to_string(), stream: streams.get(usize::from(id.stream)).cloned(), name: None, kind: None });
        })?;
        let next = (items.len() > question.limit).then(|| token(&last));
        items.truncate(question.limit);
        Ok(wire::Listed { items, next })
    }

    fn artifacts(&self, tenant: u32, artifacts: &[[u8; 16]], question: &ImpactQuestion) -> Result<wire::Listed, Problem> {
        let after = question.after.as_deref().map(<[u8; 16]>::try_from).transpose().map_err(|_| foreign_token())?;
        let from = after.map_or(0, |after| artifacts.partition_point(|artifact| *artifact <= after));
        let to = artifacts.len().min(from + question.limit);
        let mut items = Vec::with_capacity(to - from);
        for hash in &artifacts[from..to] {
            let id = ArtifactId { tenant, hash: *hash };
            let artifact = if question.with_names { self.derivations.artifact(id)? } else { None };
            let (name, kind) = artifact.and_then(|artifact| artifact.named).map(|named| (Some(named.name), named.kind)).unwrap_or_default();
            items.push(wire::Item { id: id.to_string(), stream: None, name, kind });
        }
        let next = artifacts[from..to].last().filter(|_| to < artifacts.len()).map(|last| token(last));
        Ok(wire::Listed { items, next })
    }
}

impl services::Impact for Impact {
    fn of_connection<'a>(&'a self, scope: Scope<'a>, id: ConnectionId, digest: bool) -> Reply<'a, wire::ConnectionImpact> {
        async move {
            let connection = visible::connection(&self.connections, scope, id)?;
            let (of, state) = (self.clone(), connection.state.to_string());
            let pulls_running = u32::from(self.pulls.is_under_way(connection.key));
            let impact = visible::blocking(move || of.of(&self::scope(&connection), digest)).await?;
            Ok(wire::ConnectionImpact { connection: id, state, pulls_running, impact })
        }
        .boxed()
    }

    fn list<'a>(&'a self, scope: Scope<'a>, id: ConnectionId, question: ImpactQuestion) -> Reply<'a, wire::Listed> {
        async move {
            let connection = visible::connection(&self.connections, scope, id)?;
            let of = self.clone();
            visible::blocking(move || {
                if question.list == ImpactList::Records {
                    return of.records(&connection, &question);
                }
                let affected = of.erasures.affected(&self::scope(&connection))?;
                let artifacts = if question.list == ImpactList::Dies { affected.dies } else { affected.survives };
                of.artifacts(connection.key.tenant, &artifacts, &question)
            })
            .await
        }
        .boxed()
    }
}

fn scope(connection: &Connection) -> erasure::Scope {
    erasure::Scope::Connection { connection: connection.id, owner: connection.key }
}
