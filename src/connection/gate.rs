//! The gate: what every fetch asks before it starts, and what a revocation closes.
//!
//! A [`Permit`] proves that the gate was open at an epoch. It does not prove that it still is: the epoch is compared again
//! when a request starts ([`Permit::begin_request`]) and inside the write of a page ([`crate::store::Unit::fence`]).
//!
//! **Invariant**: once [`Gates::close`] has returned, no request of that connection is under way, none starts, and
//! nothing that one brought is stored. Three steps make it so: the gate closes in memory (the writer holds it while it
//! applies a page, so a page is before or never); the permits are cancelled, which drops the requests under way; and the
//! close waits until the last of them is gone.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
pub use crate::store::Epoch;
use crate::store::GateState;
use crate::store::Stop;
use crate::store::StopReason;
use crate::store::Store;
use crate::store::StoreError;

/// How long a close waits for cancelled requests to be dropped. They need microseconds; past this something is stuck,
/// which is logged, and the close is answered: what such a request brings cannot be stored.
const DROP_WAIT_MAX: Duration = Duration::from_secs(2);

/// A gate that is not open, or no longer at the epoch of the permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connection {owner} is stopped: no request is made for it; resume or reconnect it if that is not meant")]
pub struct GateClosed {
    /// Whose gate.
    pub owner: ConnectionKey,
}

/// The gates of all connections. Clones share them.
#[derive(Clone)]
pub struct Gates {
    store: Store,
    passages: Arc<Mutex<Passages>>,
}

#[derive(Default)]
struct Passages {
    of: HashMap<ConnectionKey, Weak<Passage>>,
    /// Those whose stop is not durable yet: nothing but this says that they may not be authorized now.
    closing: HashSet<ConnectionKey>,
}

/// What the permits of one gate share: only there while there is a permit.
struct Passage {
    /// What the gate must be for a request to start. Not open: the passage of an authorization.
    state: GateState,
    token: CancellationToken,
    in_flight: watch::Sender<usize>,
}

/// Proof that a connection's gate was open at an epoch. Every fetch holds one.
#[derive(Clone)]
pub struct Permit {
    owner: ConnectionKey,
    /// None: the permit is of no connection ([`Permit::of_no_connection`]).
    store: Option<Store>,
    passage: Arc<Passage>,
}

/// A request under way. The gate's close waits until it is dropped.
pub struct InFlight {
    passage: Arc<Passage>,
}

impl Gates {
    /// The gates of a store.
    pub fn new(store: Store) -> Self {
        Gates { store, passages: Arc::default() }
    }

    /// A permit, if the gate is open.
    ///
    /// # Errors
    /// [`GateClosed`]; also when the store cannot tell, since a gate that cannot be seen is not open.
    pub fn permit(&self, owner: ConnectionKey) -> Result<Permit, GateClosed> {
        let mut passages = self.passages.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.look(owner)?;
        if state.open { Ok(self.pass(owner, state, &mut passages)) } else { Err(GateClosed { owner }) }
    }

    /// A permit for the requests that authorize a connection: it needs no open gate, since that opens with the first
    /// token, but a revocation stops it just as any other. It stores nothing: its epoch is that of a closed gate.
    ///
    /// # Errors
    /// [`GateClosed`] when the connection was revoked, or is being stopped at this moment.
    pub fn permit_to_authorize(&self, owner: ConnectionKey) -> Result<Permit, GateClosed> {
        let mut passages = self.passages.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.look(owner)?;
        let revoked = self.store.stop(owner).is_some_and(|stop| stop.reason == StopReason::Revoked);
        if revoked || passages.closing.contains(&owner) {
            return Err(GateClosed { owner });
        }
        Ok(self.pass(owner, state, &mut passages))
    }

    fn look(&self, owner: ConnectionKey) -> Result<GateState, GateClosed> {
        self.store.gate(owner).map_err(|error| {
            tracing::error!(connection = %owner, error = &error as &dyn std::error::Error, "a gate cannot be read and counts as closed");
            GateClosed { owner }
        })
    }

    /// The passage of a gate in this state; one of another state is worthless and ends.
    fn pass(&self, owner: ConnectionKey, state: GateState, passages: &mut Passages) -> Permit {
        let passage = match passages.of.get(&owner).and_then(Weak::upgrade) {
            Some(present) if present.state == state && !present.token.is_cancelled() => present,
            other => {
                other.inspect(|worthless| worthless.token.cancel());
                passages.of.retain(|_, passage| passage.strong_count() > 0);
                let passage = Arc::new(Passage { state, token: CancellationToken::new(), in_flight: watch::Sender::new(0) });
                passages.of.insert(owner, Arc::downgrade(&passage));
                passage
            }
        };
        Permit { owner, store: Some(self.store.clone()), passage }
    }

    /// Whether the gate is open, and its epoch.
    ///
    /// # Errors
    /// When the store fails.
    pub fn state(&self, owner: ConnectionKey) -> Result<GateState, StoreError> {
        self.store.gate(owner)
    }

    /// Closes gates at once, then makes the stops durable. When this returns, nothing of those connections is under way.
    ///
    /// # Errors
    /// When the list of stops cannot be written: the gates are closed in this process all the same.
    pub async fn close(&self, owners: &[ConnectionKey], reason: StopReason, at: Timestamp) -> Result<(), StoreError> {
        self.passages.lock().unwrap_or_else(PoisonError::into_inner).closing.extend(owners);
        let mut stops = Vec::with_capacity(owners.len());
        let mut failed = None;
        for owner in owners {
            match self.store.close_gate(*owner) {
                Ok(epoch) => stops.push(Stop { owner: *owner, epoch, reason, at }),
                Err(error) => failed = Some(error),
            }
        }
        let passages: Vec<Arc<Passage>> = {
            let passages = self.passages.lock().unwrap_or_else(PoisonError::into_inner);
            owners.iter().filter_map(|owner| passages.of.get(owner).and_then(Weak::upgrade)).collect()
        };
        passages.iter().for_each(|passage| passage.token.cancel());
        let store = self.store.clone();
        let recorded = tokio::task::spawn_blocking(move || store.record_stops(&stops)).await.unwrap_or(Err(StoreError::Stopped));
        for passage in passages {
            let mut count = passage.in_flight.subscribe();
            if tokio::time::timeout(DROP_WAIT_MAX, count.wait_for(|count| *count == 0)).await.is_err() {
                tracing::error!("a cancelled request is still held after {DROP_WAIT_MAX:?}; what it brings cannot be stored");
            }
        }
        let closed = recorded.and(failed.map_or(Ok(()), Err));
        // A revocation that is not durable holds in this process all the same.
        if closed.is_ok() || reason != StopReason::Revoked {
            let mut passages = self.passages.lock().unwrap_or_else(PoisonError::into_inner);
            passages.closing.retain(|owner| !owners.contains(owner));
        }
        closed
    }
}

/// The owner that stands where there is none: no tenant has this number.
const NOBODY: ConnectionKey = ConnectionKey { tenant: 0, connection: 0 };

impl Permit {
    /// A permit for requests that no store knows of, because whoever starts them keeps nothing and holds the credential
    /// himself: `headgate airbyte`. `stop` takes the place of a gate's close. What such requests bring cannot be stored: the
    /// epoch is that of a gate that was never opened.
    pub fn of_no_connection(stop: CancellationToken) -> Self {
        let passage = Passage { state: GateState { epoch: 0, open: false }, token: stop, in_flight: watch::Sender::new(0) };
        Permit { owner: NOBODY, store: None, passage: Arc::new(passage) }
    }

    /// Whose permit.
    pub fn owner(&self) -> ConnectionKey {
        self.owner
    }

    /// The epoch, for the fence of a write.
    pub fn epoch(&self) -> Epoch {
        self.passage.state.epoch
    }

    /// Returns when the gate is closed.
    pub async fn cancelled(&self) {
        self.passage.token.cancelled().await;
    }

    /// Whether the gate has been closed since.
    pub fn is_cancelled(&self) -> bool {
        self.passage.token.is_cancelled()
    }

    /// Passes the gate for one request: hold the result until the answer's body is read.
    ///
    /// # Errors
    /// [`GateClosed`] when it has been closed since the permit was given.
    pub fn begin_request(&self) -> Result<InFlight, GateClosed> {
        // Counted before the gate is looked at: a close that comes in between waits for this, and this sees the close.
        self.passage.in_flight.send_modify(|count| *count += 1);
        let in_flight = InFlight { passage: self.passage.clone() };
        let is_open = match &self.store {
            Some(store) => store.gate(self.owner).is_ok_and(|state| state == self.passage.state),
            None => true,
        };
        if is_open && !self.is_cancelled() { Ok(in_flight) } else { Err(GateClosed { owner: self.owner }) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.passage.in_flight.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use crate::store::Options;
    use crate::store::Unit;

    use super::*;

    const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 1 };

    async fn opened(directory: &std::path::Path) -> (Store, Gates) {
        let store = Store::open(directory, &Options::default()).unwrap();
        let mut unit = Unit::default();
        unit.open_gate(OWNER, 1);
        store.commit(unit).await.unwrap();
        let gates = Gates::new(store.clone());
        (store, gates)
    }

    /// Goal: once close has returned, no request is under way and none starts. Method: many tasks that start requests as
    /// fast as they can and look, inside each, whether close has already returned.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_is_under_way_after_close() {
        let directory = tempfile::tempdir().unwrap();
        let (_, gates) = opened(directory.path()).await;
        let closed = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let (permit, closed) = (gates.permit(OWNER).unwrap(), closed.clone());
                tokio::spawn(async move {
                    while let Ok(in_flight) = permit.begin_request() {
                        tokio::select! {
                            () = permit.cancelled() => {}
                            () = tokio::task::yield_now() => {}
                        }
                        assert!(!closed.load(Ordering::SeqCst), "a request was under way after the close had returned");
                        drop(in_flight);
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        gates.close(&[OWNER], StopReason::Revoked, Timestamp::UNIX_EPOCH).await.unwrap();
        closed.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(gates.permit(OWNER).err(), Some(GateClosed { owner: OWNER }));
    }

    /// Goal: a permit of before a stop is worth nothing after the gate was opened anew.
    #[tokio::test]
    async fn an_old_permit_stays_closed() {
        let directory = tempfile::tempdir().unwrap();
        let (store, gates) = opened(directory.path()).await;
        let old = gates.permit(OWNER).unwrap();
        gates.close(&[OWNER], StopReason::Paused, Timestamp::UNIX_EPOCH).await.unwrap();
        let mut unit = Unit::default();
        unit.open_gate(OWNER, 2);
        store.commit(unit).await.unwrap();
        assert!(old.is_cancelled() && old.begin_request().is_err());
        assert!(gates.permit(OWNER).unwrap().begin_request().is_ok());
        let mut late = Unit::default();
        late.fence(OWNER, old.epoch());
        assert!(store.commit(late).await.is_err());
    }

    /// Goal: what is read for no connection is stopped as a whole, and a store takes nothing of it.
    #[tokio::test]
    async fn a_permit_of_no_connection_stores_nothing() {
        let stop = CancellationToken::new();
        let permit = Permit::of_no_connection(stop.clone());
        assert!(permit.begin_request().is_ok());
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = opened(directory.path()).await;
        let mut unit = Unit::default();
        unit.fence(permit.owner(), permit.epoch());
        assert!(store.commit(unit).await.is_err());
        stop.cancel();
        assert!(permit.is_cancelled() && permit.begin_request().is_err());
    }

    /// Goal: a revocation also stops what authorizes a connection, whose gate was never open.
    #[tokio::test]
    async fn an_authorization_is_stopped_too() {
        let directory = tempfile::tempdir().unwrap();
        let (store, gates) = opened(directory.path()).await;
        let pending = ConnectionKey { tenant: 1, connection: 2 };
        assert!(gates.permit(pending).is_err());
        let permit = gates.permit_to_authorize(pending).unwrap();
        assert!(permit.begin_request().is_ok());
        gates.close(&[pending], StopReason::Revoked, Timestamp::UNIX_EPOCH).await.unwrap();
        assert!(permit.is_cancelled() && permit.begin_request().is_err() && gates.permit_to_authorize(pending).is_err());
        gates.close(&[OWNER], StopReason::NeedsReauthorization, Timestamp::UNIX_EPOCH).await.unwrap();
        let again = gates.permit_to_authorize(OWNER).unwrap();
        assert!(again.begin_request().is_ok());
        let mut unit = Unit::default();
        unit.open_gate(OWNER, 2);
        store.commit(unit).await.unwrap();
        assert!(again.begin_request().is_err() && gates.permit(OWNER).unwrap().begin_request().is_ok());
        assert!(again.is_cancelled(), "the passage of the closed gate ended when the open one was taken");
    }
}
