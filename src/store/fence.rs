//! Gates as the store sees them: the epoch that a unit must name, held still while the unit is applied.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use crate::ids::ConnectionKey;
use crate::store::Row;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::engine::Engine;
use crate::store::row;
use crate::store::stops::Stop;
use crate::store::stops::Stops;

/// How often a gate has been opened. A permit of an earlier epoch is worth nothing.
pub type Epoch = u32;

/// A gate's state; also its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateState {
    /// The last epoch it was opened at; 0 when it never was.
    pub epoch: Epoch,
    /// Whether it is open now.
    pub open: bool,
}

impl Row for GateState {
    const TABLE: Table = Table::Gates;
    type Key = ConnectionKey;
}

/// One gate, which the writer holds while it applies a unit that depends on it: closing it waits for that, no longer.
pub(super) type Cell = Arc<Mutex<GateState>>;

/// The gates that someone has looked at, and the list of stops.
pub(super) struct Fences {
    engine: Arc<Engine>,
    cells: Mutex<HashMap<ConnectionKey, Cell>>,
    stops: Mutex<Stops>,
}

impl Fences {
    pub fn new(engine: Arc<Engine>, stops: Stops) -> Self {
        Fences { engine, cells: Mutex::default(), stops: Mutex::new(stops) }
    }

    /// The gate's cell. The first look takes the row, unless the list of stops knows better.
    pub fn cell(&self, owner: ConnectionKey) -> Result<Cell, StoreError> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(&owner) {
            return Ok(cell.clone());
        }
        let value = self.engine.get(&row::key_bytes::<GateState>(&owner))?;
        let mut state = value.map(|value| row::decode::<GateState>(&value)).transpose()?.unwrap_or(GateState { epoch: 0, open: false });
        let stopped = self.stops.lock().unwrap_or_else(PoisonError::into_inner).of(owner).map(|stop| stop.epoch);
        if stopped >= Some(state.epoch) {
            state = GateState { epoch: stopped.unwrap_or(state.epoch), open: false };
        }
        let cell = Arc::new(Mutex::new(state));
        cells.insert(owner, cell.clone());
        Ok(cell)
    }

    pub fn state(&self, owner: ConnectionKey) -> Result<GateState, StoreError> {
        let cell = self.cell(owner)?;
        let state = *lock(&cell);
        Ok(state)
    }

    /// Closes in memory; the epoch it is closed at.
    pub fn close(&self, owner: ConnectionKey) -> Result<Epoch, StoreError> {
        let cell = self.cell(owner)?;
        let mut state = lock(&cell);
        state.open = false;
        Ok(state.epoch)
    }

    /// Makes stops durable.
    pub fn record(&self, stops: &[Stop]) -> Result<(), StoreError> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).append(stops)
    }

    pub fn stop(&self, owner: ConnectionKey) -> Option<Stop> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).of(owner)
    }

    pub fn highest_stopped(&self) -> ConnectionKey {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).highest()
    }

    pub fn stops(&self) -> Vec<Stop> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).latest()
    }
}

/// A panic while a gate was held leaves a plain value behind: there is nothing half-done in it.
pub(super) fn lock(cell: &Cell) -> MutexGuard<'_, GateState> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}
