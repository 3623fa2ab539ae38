//! Gates of a store in a temporary directory, for the tests of the modules above.

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::store::Options;
use crate::store::StopReason;
use crate::store::Store;
use crate::store::Unit;

use super::gate::Gates;
use super::gate::Permit;

/// Open gates, until this is dropped.
pub(crate) struct TestGates {
    gates: Gates,
    _directory: tempfile::TempDir,
}

impl TestGates {
    /// A store in which these connections' gates are open.
    pub(crate) fn open(owners: &[ConnectionKey]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let mut unit = Unit::default();
        for owner in owners {
            unit.open_gate(*owner, 1);
        }
        let (gates, committing) = (Gates::new(store.clone()), store.commit(unit));
        std::thread::scope(|scope| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            scope.spawn(move || runtime.block_on(committing).unwrap());
        });
        TestGates { gates, _directory: directory }
    }

    /// A permit of an open gate.
    pub(crate) fn permit(&self, owner: ConnectionKey) -> Permit {
        self.gates.permit(owner).unwrap()
    }

    /// Closes a gate.
    pub(crate) async fn close(&self, owner: ConnectionKey) {
        self.gates.close(&[owner], StopReason::Revoked, Timestamp::UNIX_EPOCH).await.unwrap();
    }
}
