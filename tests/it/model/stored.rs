//! What is stored of a connection, as the gateway tells it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::door::Gateway;

/// Records by their id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    records: BTreeMap<String, Value>,
}

/// Sums over records or runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records; of runs: those that were new.
    pub records: u64,
    /// Versions; of runs: new and changed.
    pub versions: u64,
}

impl Stored {
    /// Asks for everything that is stored of a connection.
    pub async fn of(gateway: &Gateway, connection: &str) -> Self {
        let items = gateway.items(&format!("/v1/records?connection={connection}")).await;
        let count = items.len();
        let records: BTreeMap<String, Value> = items.into_iter().map(|item| (text(&item, "id"), item)).collect();
        assert_eq!(records.len(), count, "{connection}: a record is listed twice");
        Stored { records }
    }

    pub fn records(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.records.iter()
    }

    pub fn sums(&self) -> Sums {
        let versions = self.records.values().map(|record| record["version"].as_u64().expect("a version")).sum();
        Sums { records: self.records.len() as u64, versions }
    }

    /// Records of one stream.
    pub fn count(&self, stream: &str) -> u64 {
        self.records.values().filter(|record| record["tag"]["stream"] == stream).count() as u64
    }

    /// Says where two differ.
    pub fn assert_equal(&self, other: &Stored, what: &str) {
        for (id, record) in &self.records {
            assert_eq!(Some(record), other.records.get(id), "{what}: record {id}");
        }
        let more: Vec<&String> = other.records.keys().filter(|id| !self.records.contains_key(*id)).collect();
        assert!(more.is_empty(), "{what}: more records than before: {more:?}");
    }
}

/// What runs say that they stored.
pub fn sums_of_runs<'a>(runs: impl Iterator<Item = &'a Value>) -> Sums {
    runs.fold(Sums::default(), |sums, run| {
        let new = counter(run, "new");
        Sums { records: sums.records + new, versions: sums.versions + new + counter(run, "changed") }
    })
}

pub fn counter(run: &Value, name: &str) -> u64 {
    run[name].as_u64().unwrap_or_else(|| panic!("`{name}` of {run}"))
}

pub fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("`{member}` of {value}")).to_owned()
}
