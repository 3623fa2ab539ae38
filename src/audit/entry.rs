//! One leaf of the log, and the bytes that are hashed.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;
use serde::de::Error as _;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::ids::ConnectionId;
use crate::ids::KeyId;
use crate::ids::SessionId;
use crate::ids::TenantId;
use crate::ids::cut;

/// Bytes that are no entry in its one form.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not an entry at all.
    #[error("these bytes are no audit entry; take the leaf as /v1/audit/entries gives it")]
    Malformed {
        /// Why not.
        source: serde_json::Error,
    },
    /// An entry, but not as it would be written.
    #[error("this audit entry is not in its one form (compact JSON, members in order); the leaf was rewritten")]
    NotCanonical,
}

/// An act that the log keeps.
///
/// Its one form is compact JSON with the members in this order, absent ones left out; the leaf's hash is over those bytes.
/// An entry does not hold its own index: where it stands says that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// Whose data or authority it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Which connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// The id of what was acted on, when it is more than the connection: a run, an erasure, a key, a connector's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The purpose that a read gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// How many records it concerned, or the generation of a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// A keyed commitment to what must not stand here in clear: the ids that were read, the records that were erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Digest>,
}

impl Entry {
    /// An entry with nothing but its three necessary members; the rest is set on the result.
    pub fn new(at: Timestamp, actor: Actor, action: Action) -> Self {
        Entry { at, actor, action, tenant: None, connection: None, object: None, purpose: None, count: None, commitment: None }
    }

    /// The bytes of the leaf.
    pub fn to_leaf(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always have a JSON form")
    }

    /// Reads a leaf, and refuses one that would not be written so.
    ///
    /// # Errors
    /// Both of [`EntryError`].
    pub fn from_leaf(leaf: &[u8]) -> Result<Self, EntryError> {
        let entry: Entry = serde_json::from_slice(leaf).map_err(|source| EntryError::Malformed { source })?;
        if entry.to_leaf() == leaf { Ok(entry) } else { Err(EntryError::NotCanonical) }
    }
}

/// Who acted: never a person's name. Which person held a key or a link is the operator's knowledge, not the log's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Headgate itself: the schedule, a sweep, the start after a crash.
    System,
    /// The operator on this machine, through the socket or the command line.
    Local,
    /// Whoever holds this API key.
    Key(KeyId),
    /// The customer behind a link that was given to them.
    Link(SessionId),
    /// A verified signal of this connector's application.
    Signal(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::System => f.write_str("system"),
            Actor::Local => f.write_str("local"),
            Actor::Key(key) => write!(f, "{key}"),
            Actor::Link(session) => write!(f, "{session}"),
            Actor::Signal(connector) => write!(f, "signal:{connector}"),
        }
    }
}

/// A text that names no actor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no actor: it is `system`, `local`, an API key's id, a session's id or `signal:CONNECTOR`")]
pub struct ActorError(String);

impl FromStr for Actor {
    type Err = ActorError;

    fn from_str(text: &str) -> Result<Self, ActorError> {
        let key = || text.parse().ok().map(Actor::Key);
        let link = || text.parse().ok().map(Actor::Link);
        let signal = || text.strip_prefix("signal:").map(|connector| Actor::Signal(connector.to_owned()));
        match text {
            "system" => Ok(Actor::System),
            "local" => Ok(Actor::Local),
            _ => key().or_else(link).or_else(signal).ok_or_else(|| ActorError(cut(text))),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Declares the acts and the words under which leaves name them; the words are hashed, so they never change.
macro_rules! actions {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action { $($(#[doc = $doc])* #[serde(rename = $text)] $name,)* }

        impl Action {
            /// All acts.
            pub const ALL: &'static [Action] = &[$(Action::$name,)*];

            /// The words of the log.
            pub fn as_str(self) -> &'static str {
                match self { $(Action::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// The data directory was made; the first entry.
    StoreCreated = "store created",
    /// The root key was wrapped under another master key.
    MasterKeyChanged = "master key changed",
    /// A signing key was replaced.
    SigningKeyReplaced = "signing key replaced",
    /// A copy of the keyring was made.
    KeyringExported = "keyring exported",
    /// An API key was made.
    KeyCreated = "key created",
    /// An API key was revoked.
    KeyRevoked = "key revoked",
    /// An operator disabled a connector.
    ConnectorDisabled = "connector disabled",
    /// An operator enabled a connector.
    ConnectorEnabled = "connector enabled",
    /// A link to a customer's page was made.
    SessionCreated = "session created",
    /// A customer agreed.
    ConsentRecorded = "consent recorded",
    /// A connection was made; it is pending.
    ConnectionCreated = "connection created",
    /// A connection's gate opened for the first time.
    ConnectionActivated = "connection activated",
    /// An operator paused a connection.
    ConnectionPaused = "connection paused",
    /// An operator let a connection go on.
    ConnectionResumed = "connection resumed",
    /// The application refused the credential for good: the gate closed.
    ReauthorizationNeeded = "reauthorization needed",
    /// A connection's gate opened again under a new credential.
    ConnectionReconnected = "connection reconnected",
    /// A connection's schedule was changed.
    ScheduleChanged = "schedule changed",
    /// A credential of a new generation was kept.
    CredentialStored = "credential stored",
    /// A credential was unsealed, for a run or a renewal.
    CredentialUnsealed = "credential unsealed",
    /// A credential was given up at the application.
    CredentialGivenUp = "credential given up",
    /// A credential's key was destroyed.
    CredentialDestroyed = "credential destroyed",
    /// A pull was started.
    PullStarted = "pull started",
    /// A connection's access was revoked.
    ConnectionRevoked = "connection revoked",
    /// Payload of records was read.
    RecordsRead = "records read",
    /// Lineage was asked for.
    LineageRead = "lineage read",
    /// Records were handed to a recipient.
    DisclosureRecorded = "disclosure recorded",
    /// A request reached an application through the proxy.
    ProxyRequest = "proxy request",
    /// An erasure was asked for.
    ErasureRequested = "erasure requested",
    /// An operator approved an erasure.
    ErasureApproved = "erasure approved",
    /// An erasure was refused: a hold stands against it.
    ErasureRefused = "erasure refused",
    /// The keys of an erasure's scope are destroyed.
    ErasureUnreadable = "erasure unreadable",
    /// The sweep of an erasure has ended; the certificate proves this entry.
    ErasureCompleted = "erasure completed",
    /// A hold was put on a scope.
    HoldAdded = "hold added",
    /// A hold was released.
    HoldReleased = "hold released",
    /// A tenant's closing began.
    TenantClosing = "tenant closing",
    /// A closing tenant was opened again.
    TenantReopened = "tenant reopened",
    /// Data was exported.
    ExportMade = "export made",
    /// A backup was made; the object is its digest.
    StoreBackedUp = "store backed up",
    /// The store was put in the state of a backup, whose digest is the object.
    StoreRestored = "store restored",
    /// The store was copied to a new database, without what had been removed; the object is the digest of its rows.
    StoreCompacted = "store compacted",
    /// The log was checked.
    AuditVerified = "audit verified",
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::Entropy;

    fn entry() -> Entry {
        let at = "2026-11-24T10:00:00.125Z".parse().unwrap();
        let mut entry = Entry::new(at, Actor::Local, Action::ErasureCompleted);
        entry.tenant = Some("acme".parse().unwrap());
        entry.object = Some("eras_00".to_owned());
        entry.count = Some(3);
        entry.commitment = Some(Digest::of(b""));
        entry
    }

    /// The bytes are part of every proof that was ever given: they may not change.
    #[test]
    fn the_form_of_a_leaf_is_fixed() {
        let leaf = r#"{"at":"2026-11-24T10:00:00.125Z","actor":"local","action":"erasure completed","tenant":"acme","object":"eras_00","count":3,"commitment":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;
        assert_eq!(String::from_utf8(entry().to_leaf()).unwrap(), leaf);
        assert_eq!(Entry::from_leaf(leaf.as_bytes()).unwrap(), entry());
        for spaced in [leaf.replace(',', ", "), leaf.replace("acme", "\\u0061cme"), leaf.replace("Z\"", "+00:00\"")] {
            assert!(matches!(Entry::from_leaf(spaced.as_bytes()), Err(EntryError::NotCanonical)), "{spaced}");
        }
    }

    /// Every act and every actor reads back from its words.
    #[test]
    fn words_read_back() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
            assert_eq!(serde_json::from_value::<Action>(action.as_str().into()).unwrap(), *action);
        }
        let now = entry().at;
        let (key, session) = (KeyId::new(now, &Entropy::system()), SessionId::new(now, &Entropy::system()));
        for actor in [Actor::System, Actor::Local, Actor::Key(key), Actor::Link(session), Actor::Signal("shop".into())] {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        assert!("operator".parse::<Actor>().is_err());
    }

    proptest! {
        /// A changed byte makes no leaf, or another one.
        #[test]
        fn a_changed_leaf_is_another(at: prop::sample::Index, to: u8) {
            let mut leaf = entry().to_leaf();
            let at = at.index(leaf.len());
            prop_assume!(leaf[at] != to);
            leaf[at] = to;
            prop_assert!(Entry::from_leaf(&leaf).map_or(true, |other| other != entry()));
        }
    }
}
