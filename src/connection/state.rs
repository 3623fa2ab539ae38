//! The states of a connection, each with its facts; a transition consumes the state before and takes the time.
//!
//! ```text
//! pending -> active <-> paused
//!            active <-> needs_reauthorization
//! any -> revoked (final for fetching, keeps data) -> erased (final)
//! ```

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::connection::gate::GateClosed;
use crate::connection::gate::Gates;
use crate::connection::gate::Permit;
use crate::consent::Purpose;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::ConsentId;
use crate::ids::ErasureId;
use crate::ids::RevocationId;
use crate::ids::TenantId;
use crate::record::ConnectorRef;
use crate::store::Row;
use crate::store::Stop;
use crate::store::StopReason;
use crate::store::Table;

/// One customer's authorization of one connector, in a state.
///
/// A revoked connection has no permit to give:
///
/// ```compile_fail
/// use headgate::connection::{Connection, Revoked, gate::Gates};
/// fn fetch_again(connection: Connection<Revoked>, gates: &Gates) {
///     connection.permit(gates);
/// }
/// ```
///
/// and an active one cannot be erased:
///
/// ```compile_fail
/// use headgate::{clock::Timestamp, connection::{Active, Connection}, ids::ErasureId};
/// fn erase(connection: Connection<Active>, at: Timestamp, by: ErasureId) {
///     connection.erase(at, by);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection<S = State> {
    /// The numbers that begin its storage keys.
    pub key: ConnectionKey,
    /// Its name outside.
    pub id: ConnectionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The connector as it was when it was authorized.
    pub connector: ConnectorRef,
    /// The streams it may read; the index of one here is its number in storage keys.
    pub streams: Vec<String>,
    /// What its data may be used for.
    pub purposes: Vec<Purpose>,
    /// What the customer agreed to.
    pub consent: ConsentId,
    /// The revoked connection that this one follows, if the same tenant had one with this connector.
    pub succeeds: Option<ConnectionId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: S,
}

/// Any state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The consent is recorded; the application has not authorized yet.
    Pending,
    /// It may fetch.
    Active(Active),
    /// An operator has paused it.
    Paused(Paused),
    /// The application no longer accepts the credential.
    NeedsReauthorization(NeedsReauthorization),
    /// Fetching has ended for good; the data stays.
    Revoked(Revoked),
    /// The data is gone.
    Erased(Erased),
}

/// See [`State::Active`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Since when.
    pub since: Timestamp,
}

/// See [`State::Paused`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub since: Timestamp,
}

/// See [`State::NeedsReauthorization`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedsReauthorization {
    /// Since when.
    pub since: Timestamp,
    /// What the application said, without secrets.
    pub why: String,
}

/// See [`State::Revoked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When.
    pub at: Timestamp,
    /// By which act.
    pub by: RevocationId,
}

/// See [`State::Erased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// When its keys were destroyed.
    pub at: Timestamp,
    /// By which act; unknown when only the keyring tells of it (an old copy of the store).
    pub by: Option<ErasureId>,
    /// The revocation before it; unknown likewise.
    pub revoked: Option<Revoked>,
}

impl Row for Connection {
    const TABLE: Table = Table::Connections;
    type Key = ConnectionKey;
}

impl State {
    /// The state as the contract names it.
    pub fn name(&self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Active(_) => "active",
            State::Paused(_) => "paused",
            State::NeedsReauthorization(_) => "needs_reauthorization",
            State::Revoked(_) => "revoked",
            State::Erased(_) => "erased",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<S> Connection<S> {
    /// The same connection in another state.
    fn become_state<T>(self, state: impl FnOnce(S) -> T) -> Connection<T> {
        Connection {
            key: self.key,
            id: self.id,
            tenant: self.tenant,
            connector: self.connector,
            streams: self.streams,
            purposes: self.purposes,
            consent: self.consent,
            succeeds: self.succeeds,
            created_at: self.created_at,
            state: state(self.state),
        }
    }

    /// The number of a stream in storage keys.
    pub fn stream_number(&self, stream: &str) -> Option<u16> {
        self.streams.iter().position(|name| name == stream).and_then(|index| u16::try_from(index).ok())
    }
}

/// A state that a row can hold.
macro_rules! stored {
    ($($state:ident),*) => {
        $(impl From<Connection<$state>> for Connection {
            fn from(connection: Connection<$state>) -> Connection {
                connection.become_state(State::$state)
            }
        })*
    };
}

stored!(Active, Paused, NeedsReauthorization, Revoked, Erased);

impl Connection {
    /// Since when it is in its state.
    pub fn since(&self) -> Timestamp {
        match &self.state {
            State::Pending => self.created_at,
            State::Active(Active { since }) | State::Paused(Paused { since }) => *since,
            State::NeedsReauthorization(NeedsReauthorization { since, .. }) => *since,
            State::Revoked(Revoked { at, .. }) | State::Erased(Erased { at, .. }) => *at,
        }
    }

    /// The connection as an active one, or itself.
    ///
    /// # Errors
    /// Itself, in whatever other state it is.
    #[allow(clippy::result_large_err, reason = "the error is the value itself")]
    pub fn active(self) -> Result<Connection<Active>, Connection> {
        match self.state.clone() {
            State::Active(active) => Ok(self.become_state(|_| active)),
            _ => Err(self),
        }
    }

    /// The connection as a revoked one, or itself.
    ///
    /// # Errors
    /// Itself, in whatever other state it is.
    #[allow(clippy::result_large_err, reason = "the error is the value itself")]
    pub fn revoked(self) -> Result<Connection<Revoked>, Connection> {
        match self.state.clone() {
            State::Revoked(revoked) => Ok(self.become_state(|_| revoked)),
            _ => Err(self),
        }
    }

    /// Opened: by the first authorization, by a resume or a reconnect.
    ///
    /// # Errors
    /// Itself, when it is active already, revoked or erased.
    #[allow(clippy::result_large_err, reason = "the error is the value itself")]
    pub fn activate(self, at: Timestamp) -> Result<Connection<Active>, Connection> {
        match self.state {
            State::Pending | State::Paused(_) | State::NeedsReauthorization(_) => Ok(self.become_state(|_| Active { since: at })),
            State::Active(_) | State::Revoked(_) | State::Erased(_) => Err(self),
        }
    }

    /// What the keyring says of a connection whose keys are gone, whatever the store remembers of it.
    pub(super) fn found_erased(self, at: Timestamp) -> Connection {
        match &self.state {
            State::Erased(_) => self,
            State::Revoked(revoked) => {
                let revoked = Some(revoked.clone());
                self.become_state(|_| State::Erased(Erased { at, by: None, revoked }))
            }
            _ => self.become_state(|_| State::Erased(Erased { at, by: None, revoked: None })),
        }
    }

    /// What the list of stops says of a connection, whatever its row remembers.
    pub(super) fn found_revoked(self, at: Timestamp) -> Connection {
        match &self.state {
            State::Revoked(_) | State::Erased(_) => self,
            _ => self.become_state(|_| State::Revoked(Revoked { at, by: RevocationId::from_bytes([0; 16]) })),
        }
    }

    /// What the list of stops says of a connection whose row is still the one of before the stop: it was interrupted between
    /// the two.
    pub(super) fn found_suspended(self, stop: Stop) -> Connection {
        match (&self.state, stop.reason) {
            (State::Active(_), StopReason::Paused) => self.become_state(|_| State::Paused(Paused { since: stop.at })),
            (State::Active(_), StopReason::NeedsReauthorization) => {
                let why = "the application refused the credential".into();
                self.become_state(|_| State::NeedsReauthorization(NeedsReauthorization { since: stop.at, why }))
            }
            _ => self,
        }
    }

    /// Ended for good. Possible from every state but the final ones.
    ///
    /// # Errors
    /// Itself, when it was revoked before.
    #[allow(clippy::result_large_err, reason = "the error is the value itself")]
    pub fn revoke(self, at: Timestamp, by: RevocationId) -> Result<Connection<Revoked>, Connection> {
        match self.state {
            State::Revoked(_) | State::Erased(_) => Err(self),
            _ => Ok(self.become_state(|_| Revoked { at, by })),
        }
    }
}

impl Connection<Active> {
    /// A permit to fetch, if the gate is open.
    ///
    /// # Errors
    /// [`GateClosed`] when it was closed after this state was read.
    pub fn permit(&self, gates: &Gates) -> Result<Permit, GateClosed> {
        gates.permit(self.key)
    }

    /// Paused by an operator.
    pub fn pause(self, at: Timestamp) -> Connection<Paused> {
        self.become_state(|_| Paused { since: at })
    }

    /// Refused by the application: data and id stay, a reconnect reopens it.
    pub fn needs_reauthorization(self, at: Timestamp, why: String) -> Connection<NeedsReauthorization> {
        self.become_state(|_| NeedsReauthorization { since: at, why })
    }
}

impl Connection<Revoked> {
    /// Made unreadable.
    pub fn erase(self, at: Timestamp, by: Option<ErasureId>) -> Connection<Erased> {
        self.become_state(|revoked| Erased { at, by, revoked: Some(revoked) })
    }
}
