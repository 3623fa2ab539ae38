//! Every table, its tag byte, and what an erasure does to it. A table without that answer does not build.
//!
//! Keys are the tag byte, then the parts of [`crate::store::RowKey`]: numbers big-endian, so that bytes sort as numbers.
//! Whatever belongs to a connection begins tag, tenant, connection. Business identifiers never stand in a key in clear.

/// What an erasure does to its rows of a table. An erasure of a tenant is one of all its connections, and of the tenant's own
/// rows besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erasure {
    /// Keys begin with tenant and connection: unreadable once the connection's keys are gone, removed by the sweep.
    Removed,
    /// Kept; the text is the reason that the certificate gives.
    Kept(&'static str),
    /// Keys begin with the tenant alone: removed by the sweep of the tenant, and by no other.
    RemovedOfTenant,
    /// The tenant's own, found by other keys, and removed with the tenant.
    RemovedWithTenant,
    /// The tenant's own, and kept when the tenant is erased; the text is the reason that the certificate gives.
    KeptOfTenant(&'static str),
    /// Holds nothing of any tenant.
    Unrelated,
}

macro_rules! tables {
    ($($(#[doc = $doc:literal])* $name:ident = $tag:literal, $text:literal, $erasure:expr;)*) => {
        /// A table of the store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Table { $($(#[doc = $doc])* $name,)* }

        /// All tables.
        pub const TABLES: &[Table] = &[$(Table::$name,)*];

        impl Table {
            /// The byte that begins every key of the table.
            pub fn tag(self) -> u8 {
                match self { $(Table::$name => $tag,)* }
            }

            /// The table's name in messages and statistics.
            pub fn name(self) -> &'static str {
                match self { $(Table::$name => $text,)* }
            }

            /// What an erasure does to its rows here.
            pub fn erasure(self) -> Erasure {
                match self { $(Table::$name => $erasure,)* }
            }
        }
    };
}

const NAME: &str = "that the tenant existed and was erased, so that nobody takes new data under its name for the old; its name alone";
const CONTROL: &str = "that the connection existed, and its states and times; no payload, no secret";
const AGREEMENT: &str = "the proof that a person agreed for an organisation: their names, the policy's version, streams, purposes and time";
const PROOF: &str = "the proof of an act of the customer or operator";

tables! {
    /// `()` -> format version and the next numbers.
    Numbers = b'0', "numbers", Erasure::Unrelated;
    /// `()` -> how many units there were.
    Units = b'P', "units", Erasure::Unrelated;
    /// slug -> tenant.
    Tenants = b'T', "tenants", Erasure::KeptOfTenant(NAME);
    /// tenant number -> slug.
    TenantNames = b't', "tenant names", Erasure::KeptOfTenant(NAME);
    /// connection id -> tenant and connection number.
    ConnectionIds = b'n', "connection ids", Erasure::Kept(CONTROL);
    /// t c -> the connection.
    Connections = b'C', "connections", Erasure::Kept(CONTROL);
    /// t c -> epoch and whether it is open: the one row that every page's write depends on.
    Gates = b'G', "gates", Erasure::Kept(CONTROL);
    /// t c -> the configuration without its secrets, sealed.
    Configs = b'c', "configurations", Erasure::Removed;
    /// t c -> the credential and the secrets of the configuration, sealed; its generation.
    Credentials = b'K', "credentials", Erasure::Removed;
    /// t c -> a credential that waits to be given up at the application, sealed.
    Revoking = b'v', "credentials being revoked", Erasure::Removed;
    /// t c consent -> what the customer agreed to.
    Consents = b'S', "consents", Erasure::Kept(AGREEMENT);
    /// consent id -> t c.
    ConsentIds = b's', "consent ids", Erasure::Kept(PROOF);
    /// t c -> interval, next pull, not before, failures in a row.
    Schedules = b'J', "schedules", Erasure::Removed;
    /// t c s -> a stream's name and its counters.
    Streams = b'N', "streams", Erasure::Removed;
    /// t c s -> a stream's saved state, sealed.
    Cursors = b'U', "cursors", Erasure::Removed;
    /// t c p -> a page: its run, where its blocks lie, its facts, sealed.
    Pages = b'X', "pages", Erasure::Removed;
    /// t c s h16 -> the newest version of a record and where it lies.
    Records = b'I', "records", Erasure::Removed;
    /// t c h16 s h16 -> nothing: a record under a business key.
    BusinessKeys = b'B', "business keys", Erasure::Removed;
    /// t number -> what happened to records: a page that brought versions, deletions at the source, erasures.
    Changes = b'h', "changes", Erasure::RemovedOfTenant;
    /// t 0 -> the next numbers of a tenant's graph of jobs, and what is counted of it.
    GraphCounters = b'O', "graph counters", Erasure::Removed;
    /// t 0 kind h16 -> the number of a node, run or event, found by its name's keyed hash.
    GraphNames = b'u', "graph names", Erasure::Removed;
    /// t 0 node part -> what a node is and what it is linked with, sealed.
    GraphNodes = b'j', "graph nodes", Erasure::Removed;
    /// t 0 node version part -> the facets of a node, now (version 0) or then, sealed.
    GraphFacets = b'b', "graph facets", Erasure::Removed;
    /// t 0 run part -> a run of a job and what its events came to, sealed.
    GraphRuns = b'y', "graph runs", Erasure::Removed;
    /// t 0 event part -> an event as it was sent, with its warnings, sealed.
    GraphEvents = b'e', "graph events", Erasure::Removed;
    /// t 0 node list order number -> nothing: what stands beside a node, or in one of its lists.
    GraphEdges = b'E', "graph edges", Erasure::Removed;
    /// t c s h16 -> that up to a thousand records were there and are erased.
    Tombstones = b'z', "tombstones", Erasure::Kept("that records were there, and by which erasure they went: hashes whose key is destroyed");
    /// t c p part recipient way -> which slots of a page a recipient was handed.
    DisclosedPages = b'q', "disclosed pages", Erasure::Removed;
    /// t 0 recipient -> who it is, sealed under the tenant's key: removed with the tenant, not with a connection.
    Recipients = b'V', "recipients", Erasure::Removed;
    /// t 0 recipient c way -> how much of a connection a recipient received, and when: removed with the tenant, not with a connection.
    Disclosures = b'L', "disclosures", Erasure::Removed;
    /// t c run -> a run and its counters.
    Runs = b'R', "runs", Erasure::Kept("the integration log: counts, times and errors of runs; no payload");
    /// run id -> t c.
    RunIds = b'r', "run ids", Erasure::Kept("the integration log: counts, times and errors of runs; no payload");
    /// pull id, run id -> t c.
    Pulls = b'p', "pulls", Erasure::Kept("the integration log: counts, times and errors of runs; no payload");
    /// run id -> t c, while the run has not ended.
    RunsUnderWay = b'w', "runs under way", Erasure::Unrelated;
    /// revocation id -> who stopped what, and the signed receipt.
    Revocations = b'Y', "revocations", Erasure::Kept(PROOF);
    /// erasure id -> the request and how far it is.
    Erasures = b'Q', "erasures", Erasure::Kept(PROOF);
    /// index -> the bytes of an audit leaf.
    AuditLeaves = b'A', "audit leaves", Erasure::Kept("the audit log: acts, times and keyed commitments; no payload");
    /// level, index -> a complete subtree's hash.
    AuditNodes = b'M', "audit nodes", Erasure::Kept("the audit log: acts, times and keyed commitments; no payload");
    /// `()` -> size and root of the log.
    AuditHead = b'm', "audit head", Erasure::Unrelated;
    /// size -> a signed checkpoint.
    Checkpoints = b'k', "checkpoints", Erasure::Unrelated;
    /// key id -> an API key's hash, role and purposes.
    ApiKeys = b'a', "API keys", Erasure::KeptOfTenant("that a key was made and is refused; a hash, no key");
    /// hash of a link's token -> a session of the customer's page.
    Sessions = b'l', "sessions", Erasure::RemovedWithTenant;
    /// hash of `state` -> an authorization under way; its verifier sealed.
    Authorizations = b'o', "authorizations under way", Erasure::Kept("a redirect that can no longer come back; removed ten minutes after it was begun");
    /// hash of key and route -> an answer that may be repeated.
    Replays = b'i', "idempotent answers", Erasure::Kept("ids and states, for the repetition of a request; removed after 24 hours");
    /// digest, part -> the text of a connector, compressed.
    ConnectorTexts = b'D', "connector texts", Erasure::Unrelated;
    /// connector name -> whether an operator has disabled it.
    ConnectorSwitches = b'd', "connector switches", Erasure::Unrelated;
}

impl Table {
    /// The table whose keys begin with this byte.
    pub fn of_tag(tag: u8) -> Option<Table> {
        TABLES.iter().copied().find(|table| table.tag() == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no two tables share a tag, else their rows would mix. Method: look for each by its tag.
    #[test]
    fn tags_are_unique() {
        for table in TABLES {
            assert_eq!(Table::of_tag(table.tag()), Some(*table), "{} shares its tag", table.name());
        }
    }
}
