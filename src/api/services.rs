//! What the handlers need from the rest of the house, one narrow trait a noun.
//!
//! `scope` is the one tenant that a question is limited to, `None` for every tenant; what lies outside is not found. Every
//! method's errors are [`Problem`]s: the boundary translates its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::wire;
use crate::api::wire::connection::Connection;
use crate::api::wire::erasure::Erasure;
use crate::api::wire::run::Pull;
use crate::api::wire::run::Run;
use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::ids::ConnectionId;
use crate::ids::ConsentId;
use crate::ids::ErasureId;
use crate::ids::PullId;
use crate::ids::RecordId;
use crate::ids::RunId;
use crate::ids::TenantId;
use crate::openlineage::Change;
use crate::openlineage::Event;
use crate::openlineage::Question;

/// An answer on its way.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// The one tenant that a question is limited to.
pub type Scope<'a> = Option<&'a TenantId>;

/// Every service, as the gateway joins them.
pub struct Services {
    /// Connections.
    pub connections: Arc<dyn Connections>,
    /// Pulls and runs.
    pub runs: Arc<dyn Runs>,
    /// Revocations.
    pub revocations: Arc<dyn Revocations>,
    /// Records and their origin.
    pub records: Arc<dyn Records>,
    /// The change feed.
    pub changes: Arc<dyn Changes>,
    /// Disclosures.
    pub disclosures: Arc<dyn Disclosures>,
    /// The graphs of tenants' own jobs.
    pub job_graph: Arc<dyn JobGraph>,
    /// Erasures.
    pub erasures: Arc<dyn Erasures>,
    /// What was made from records.
    pub derivations: Arc<dyn Derivations>,
    /// What stopping or erasing would touch.
    pub impact: Arc<dyn Impact>,
    /// Consents and their receipts.
    pub consents: Arc<dyn Consents>,
    /// The audit log.
    pub audit: Arc<dyn AuditLog>,
    /// Connectors.
    pub connectors: Arc<dyn Connectors>,
    /// Tenants.
    pub tenants: Arc<dyn Tenants>,
    /// The keyring.
    pub keyring: Arc<dyn Keyring>,
    /// Compactions and backups.
    pub copies: Arc<dyn Copies>,
    /// The store and its readiness.
    pub ground: Arc<dyn Ground>,
}

/// Which connections a list holds.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFilter {
    /// Of this connector.
    pub connector: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
}

/// Connections.
pub trait Connections: Send + Sync {
    /// Lists those within the scope.
    fn list<'a>(&'a self, scope: Scope<'a>, filter: ConnectionFilter, page: PageOrder) -> Reply<'a, List<Connection>>;
    /// One connection.
    fn get<'a>(&'a self, scope: Scope<'a>, id: ConnectionId) -> Reply<'a, Connection>;
    /// Records the consent, then connects, or says where the customer authorizes it.
    fn connect<'a>(&'a self, by: &'a Principal, order: wire::connection::ConnectOrder) -> Reply<'a, wire::connection::Connected>;
    /// Pauses, resumes, reschedules.
    fn change<'a>(&'a self, by: &'a Principal, id: ConnectionId, change: wire::connection::Change) -> Reply<'a, Connection>;
    /// Begins a new authorization of the same connection.
    fn reconnect<'a>(
        &'a self,
        by: &'a Principal,
        id: ConnectionId,
        order: wire::connection::ReconnectOrder,
    ) -> Reply<'a, wire::connection::Connected>;
    /// The connection whose authorization waits for this `state`, which is not used up by asking.
    fn pending<'a>(&'a self, state: &'a str) -> Reply<'a, Option<ConnectionId>>;
    /// The application's redirect: its query, state and code within. The connection that it completed, or refused.
    fn callback(&self, query: BTreeMap<String, String>) -> Reply<'_, CallbackOutcome>;
}

/// What an application's redirect came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackOutcome {
    /// The connection is active.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// The application's name.
        display_name: String,
    },
    /// The customer or the application said no; the connection stays `pending`.
    Declined {
        /// The connection.
        connection: ConnectionId,
        /// The application's name.
        display_name: String,
        /// The application's `error` code.
        error: String,
    },
}

/// Which runs a list holds.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this pull.
    pub pull: Option<PullId>,
    /// Of this connection.
    pub connection: Option<ConnectionId>,
}

/// Pulls and runs.
pub trait Runs: Send + Sync {
    /// Starts a pull.
    fn start<'a>(&'a self, by: &'a Principal, id: ConnectionId, order: wire::run::PullOrder) -> Reply<'a, Pull>;
    /// Lists those within the scope, newest first.
    fn list<'a>(&'a self, scope: Scope<'a>, filter: RunFilter, page: PageOrder) -> Reply<'a, List<Run>>;
    /// One run.
    fn get<'a>(&'a self, scope: Scope<'a>, id: RunId) -> Reply<'a, Run>;
}

/// Revocations.
pub trait Revocations: Send + Sync {
    /// Stops what the scope names, or with `dry_run` says what it would stop.
    fn revoke<'a>(
        &'a self,
        by: &'a Principal,
        scope: wire::revocation::Scope,
        reason: Option<String>,
        dry_run: bool,
    ) -> Reply<'a, wire::revocation::Revoked>;
}

/// Which records a list holds.
#[derive(Debug, Clone)]
pub struct RecordFilter {
    /// Of this connection.
    pub connection: ConnectionId,
    /// Of this stream.
    pub stream: Option<String>,
    /// Of this operational kind.
    pub kind: Option<String>,
}

/// Which origin of a record is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct OriginQuestion {
    /// Of this version; the newest where none is named.
    pub version: Option<u32>,
    /// Whether the audit entry's place in the log is to be proven.
    pub proof: bool,
}

/// A question about what stands around a node.
#[derive(Debug, Clone)]
pub struct GraphQuestion {
    /// The node: an id.
    pub node: String,
    /// `up`, `down` or `both`.
    pub direction: String,
    /// How many edges from the node.
    pub depth: u32,
    /// The kinds of nodes that are answered; all where none is named.
    pub kinds: Vec<String>,
    /// How many nodes at most.
    pub limit: usize,
    /// Nodes that pages before have answered.
    pub offset: usize,
    /// As things were then.
    pub at: Option<Timestamp>,
    /// Whose graph, where the caller may see several.
    pub tenant: Option<TenantId>,
}

/// Records and their origin.
pub trait Records: Send + Sync {
    /// Lists records; the reading is audited under the purpose before it is answered.
    fn list<'a>(
        &'a self,
        by: &'a Principal,
        purpose: Option<Purpose>,
        filter: RecordFilter,
        page: PageOrder,
    ) -> Reply<'a, List<wire::record::Record>>;
    /// One version of one record, the newest where none is named.
    fn get<'a>(
        &'a self,
        by: &'a Principal,
        purpose: Option<Purpose>,
        id: RecordId,
        version: Option<u32>,
    ) -> Reply<'a, wire::record::Record>;
    /// The exact origin of a record.
    fn origin<'a>(&'a self, by: &'a Principal, id: RecordId, question: OriginQuestion) -> Reply<'a, wire::lineage::Origin>;
    /// Its operational view, or one field, derived anew: a reading of payload. `asked` is the version and the field.
    fn explain<'a>(
        &'a self,
        by: &'a Principal,
        purpose: Option<Purpose>,
        id: RecordId,
        asked: (Option<u32>, Option<String>),
    ) -> Reply<'a, wire::lineage::Explanation>;
    /// What the fields of a stream are made of.
    fn fields<'a>(&'a self, by: &'a Principal, connection: ConnectionId, stream: String) -> Reply<'a, wire::lineage::StreamFields>;
    /// What stands around a node.
    fn graph<'a>(&'a self, by: &'a Principal, question: GraphQuestion) -> Reply<'a, wire::lineage::Graph>;
    /// Everything of a tenant that carries a business key.
    fn by_key<'a>(
        &'a self,
        by: &'a Principal,
        tenant: TenantId,
        kind: String,
        value: String,
        page: PageOrder,
    ) -> Reply<'a, List<wire::lineage::KeyMatch>>;
}

/// Which part of the change feed is asked for.
#[derive(Debug, Clone)]
pub struct FeedQuestion {
    /// Whose.
    pub tenant: TenantId,
    /// Of this connection.
    pub connection: Option<ConnectionId>,
    /// Of streams of this name.
    pub stream: Option<String>,
    /// Whether the records themselves are told.
    pub data: bool,
    /// The most changes to answer, and the place behind which they lie.
    pub page: PageOrder,
    /// How long to wait for the first of them.
    pub wait: Duration,
    /// Ends the waiting.
    pub stop: CancellationToken,
}

/// The change feed.
pub trait Changes: Send + Sync {
    /// What happened next, in order, once it is durable. A reading of records is audited and disclosed before it is answered; where to go
    /// on is always told.
    fn next<'a>(&'a self, by: &'a Principal, purpose: Option<Purpose>, question: FeedQuestion) -> Reply<'a, List<wire::change::Change>>;
}

/// Which disclosures a list holds.
#[derive(Debug, Clone, Default)]
pub struct DisclosureFilter {
    /// To the recipient of this name.
    pub recipient: Option<String>,
    /// Of which the last was then or later.
    pub since: Option<Timestamp>,
    /// Of this connection.
    pub connection: Option<ConnectionId>,
}

/// Disclosures.
pub trait Disclosures: Send + Sync {
    /// Keeps one that was made elsewhere; what there is of it now, one a connection.
    fn state<'a>(&'a self, by: &'a Principal, order: wire::disclosure::Order) -> Reply<'a, List<wire::disclosure::Disclosure>>;
    /// Lists those of a tenant.
    fn list<'a>(&'a self, tenant: TenantId, filter: DisclosureFilter, page: PageOrder) -> Reply<'a, List<wire::disclosure::Disclosure>>;
}

/// The graphs of tenants' own jobs.
pub trait JobGraph: Send + Sync {
    /// Takes events in, in their order; they are durable when it answers.
    fn admit<'a>(&'a self, tenant: &'a TenantId, events: Vec<Event>) -> Reply<'a, ()>;
    /// Answers a question as Marquez does.
    fn answer<'a>(&'a self, tenant: &'a TenantId, question: Question) -> Reply<'a, Value>;
    /// Makes a change that is no event; what was changed, as its route answers it.
    fn change<'a>(&'a self, tenant: &'a TenantId, change: Change) -> Reply<'a, Value>;
}

/// Erasures.
pub trait Erasures: Send + Sync {
    /// Asks for one, or with `dry_run` says what it would cover.
    fn request<'a>(&'a self, by: &'a Principal, order: wire::erasure::Order, dry_run: bool) -> Reply<'a, Erasure>;
    /// Approves one: the one irreversible act.
    fn approve<'a>(&'a self, by: &'a Principal, id: ErasureId) -> Reply<'a, Erasure>;
    /// Lists those within the scope.
    fn list<'a>(&'a self, scope: Scope<'a>, page: PageOrder) -> Reply<'a, List<Erasure>>;
    /// One erasure.
    fn get<'a>(&'a self, scope: Scope<'a>, id: ErasureId) -> Reply<'a, Erasure>;
    /// Its certificate, byte for byte.
    fn certificate<'a>(&'a self, scope: Scope<'a>, id: ErasureId) -> Reply<'a, Vec<u8>>;
}

/// What was made from records.
pub trait Derivations: Send + Sync {
    /// Writes derivations down, all or none.
    fn derive<'a>(&'a self, by: &'a Principal, order: wire::derivation::Order) -> Reply<'a, wire::derivation::Answer>;
}

/// Which part of an impact is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImpactList {
    /// Its own records.
    Records,
    /// Artifacts that die.
    Dies,
    /// Artifacts that outlive it.
    Survives,
}

/// A page of an impact.
#[derive(Debug, Clone)]
pub struct ImpactQuestion {
    /// Of what.
    pub list: ImpactList,
    /// The most items.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<Vec<u8>>,
    /// Whether artifacts are told by name.
    pub with_names: bool,
}

/// What stopping or erasing would touch.
pub trait Impact: Send + Sync {
    /// Of a connection, counted; with the digest of what an erasure would remove where it is asked for.
    fn of_connection<'a>(&'a self, scope: Scope<'a>, id: ConnectionId, digest: bool) -> Reply<'a, wire::impact::ConnectionImpact>;
    /// Of a connection, one by one.
    fn list<'a>(&'a self, scope: Scope<'a>, id: ConnectionId, question: ImpactQuestion) -> Reply<'a, wire::impact::Listed>;
}

/// Consents and their receipts.
pub trait Consents: Send + Sync {
    /// The signed receipt of a consent, byte for byte.
    fn receipt<'a>(&'a self, scope: Scope<'a>, id: ConsentId) -> Reply<'a, Vec<u8>>;
}

/// The audit log.
pub trait AuditLog: Send + Sync {
    /// Lists entries in their order.
    fn list(&self, page: PageOrder) -> Reply<'_, List<wire::audit::Entry>>;
    /// One entry.
    fn entry(&self, index: u64) -> Reply<'_, wire::audit::Entry>;
    /// The signed head of the log.
    fn checkpoint(&self) -> Reply<'_, String>;
    /// That an entry is in the log.
    fn proof(&self, entry: u64) -> Reply<'_, wire::audit::Proof>;
    /// That the log of size `to` continues that of size `from`.
    fn consistency(&self, from: u64, to: u64) -> Reply<'_, wire::audit::Consistency>;
    /// Reads the whole log again and checks it.
    fn verify(&self, checkpoint: Option<String>) -> Reply<'_, wire::audit::Verification>;
    /// The keys that verify what is signed.
    fn public_keys(&self) -> Reply<'_, wire::audit::PublicKeys>;
}

/// Connectors.
pub trait Connectors: Send + Sync {
    /// Lists them by name.
    fn list(&self, page: PageOrder) -> Reply<'_, List<wire::connector::Connector>>;
    /// One connector.
    fn get<'a>(&'a self, name: &'a str) -> Reply<'a, wire::connector::Connector>;
    /// Whether it may be connected.
    fn set_enabled<'a>(&'a self, by: &'a Principal, name: &'a str, enabled: bool) -> Reply<'a, wire::connector::Connector>;
    /// What a customer is told of it on the connect page.
    fn notice<'a>(&'a self, name: &'a str) -> Reply<'a, Notice>;
}

/// What a customer is told of a connector before agreeing.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The application's name.
    pub display_name: String,
    /// Each stream, and what it is in plain words.
    pub streams: Vec<(String, String)>,
    /// Each scope that the application will show, in plain words.
    pub scopes: Vec<(String, String)>,
    /// The purposes that the connector declares.
    pub purposes: Vec<Purpose>,
    /// How long what is read lives, in plain words.
    pub retention: String,
    /// The JSON Schema of the configuration.
    pub spec: Value,
    /// The origin of the page at the application that the customer is sent to, so that the form may lead there.
    pub authorize_origin: Option<String>,
}

/// Tenants.
pub trait Tenants: Send + Sync {
    /// Lists them by their slugs.
    fn list(&self, page: PageOrder) -> Reply<'_, List<wire::tenant::Tenant>>;
    /// One tenant.
    fn get<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, wire::tenant::Tenant>;
    /// Refuses one that takes nothing new any more, because it is erased; one that does not exist yet is welcome.
    fn must_be_open<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, ()>;
}

/// The keyring.
pub trait Keyring: Send + Sync {
    /// Puts new keys above everything that seals data, under a new master key.
    fn rotate<'a>(&'a self, by: &'a Principal, order: wire::keyring::RotationOrder) -> Reply<'a, wire::keyring::Rotated>;
    /// Copies it into a file, which the audit log knows of before it is there.
    fn export<'a>(&'a self, by: &'a Principal, order: wire::keyring::ExportOrder) -> Reply<'a, wire::keyring::Exported>;
}

/// Compactions and backups.
pub trait Copies: Send + Sync {
    /// Puts a new database with the same rows in the place of the present one.
    fn compact<'a>(&'a self, by: &'a Principal) -> Reply<'a, wire::copies::Compacted>;
    /// Writes the store of this moment into a folder.
    fn backup<'a>(&'a self, by: &'a Principal, order: wire::copies::BackupOrder) -> Reply<'a, wire::copies::BackedUp>;
    /// What of these is under way.
    fn under_way(&self) -> wire::copies::CopyUnderWay;
}

/// The store and its readiness.
pub trait Ground: Send + Sync {
    /// Figures about the store.
    fn stats(&self) -> Reply<'_, Value>;
    /// Begins a check of everything that is kept, unless one is under way; `limit` takes the place of the limit by size. How it
    /// stands, as [`Ground::check`] answers.
    fn begin_check(&self, limit: Option<Duration>) -> Reply<'_, Value>;
    /// How the check stands: `{state: "never"}`, `{state: "running", step, done}` or `{state: "done", report}`.
    fn check(&self) -> Reply<'_, Value>;
    /// Whether writes, and so audit entries, can still become durable.
    fn writes(&self) -> bool;
    /// Each part that must stand before requests are served, and whether it does.
    fn readiness(&self) -> Vec<(&'static str, bool)>;
}
