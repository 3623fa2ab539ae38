//! The HTTP face.
//!
//! [`routes`] lists everything that answers: [`ROUTES`], and those of other clients in [`marquez`]. From its rows come the router, `/openapi.json`, `/docs`, and the
//! checks that stand before each handler: key, role, query, purpose, body, idempotency.

use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::on;
use url::Url;

use crate::api::door::Door;
use crate::api::door::Doorway;
use crate::api::idempotency::AnswerBook;
use crate::api::idempotency::UnderWay;
use crate::api::key::KeyBook;
use crate::api::problem::Kind;
use crate::api::problem::Problem;
use crate::api::route::Access;
use crate::api::route::Parameter;
use crate::api::route::Route;
use crate::api::route::Verb;
use crate::api::route::empty;
use crate::api::route::json;
use crate::api::route::text;
use crate::api::services::Services;
use crate::api::session::SessionBook;
use crate::clock::Clock;
use crate::ids::Entropy;
use crate::telemetry::metrics::Metrics;

pub mod body;
pub mod door;
pub mod drawing;
pub mod frame;
pub mod handlers;
pub mod idempotency;
pub mod keep;
pub mod key;
pub mod marquez;
pub mod openapi;
pub mod pages;
pub mod paging;
pub mod principal;
pub mod problem;
pub mod route;
pub mod serve;
pub mod services;
pub mod session;
pub mod wire;

/// Everything that the HTTP face needs.
pub struct Api {
    /// The rest of the house.
    pub services: Services,
    /// Where keys are looked up.
    pub keys: Arc<dyn KeyBook>,
    /// Where answers under idempotency keys are kept.
    pub answers: Arc<dyn AnswerBook>,
    /// Where connect sessions are kept.
    pub sessions: Arc<dyn SessionBook>,
    /// Requests with an idempotency key that are being answered.
    pub under_way: UnderWay,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where customers and applications reach Headgate.
    pub public_url: Url,
}

/// The router of one door.
pub fn router(api: Arc<Api>, door: Door) -> Router {
    let mut router = Router::new();
    for route in routes().filter(|route| door.serves(route)) {
        let doorway = Doorway::new(Arc::clone(&api), route, door);
        router = router.route(route.path, (route.handler)(route.verb.filter()).route_layer(from_fn_with_state(doorway, door::pass)));
    }
    router
        .method_not_allowed_fallback(move |request: Request| async move { method_not_allowed(door, &request) })
        .fallback(|| async { Problem::NoRoute })
        .layer(from_fn_with_state(Arc::clone(&api), frame::serve))
        .with_state(api)
}

fn method_not_allowed(door: Door, request: &Request) -> Problem {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let rows = routes().filter(|route| door.serves(route) && Some(route.path) == path);
    let allow = rows.map(|route| route.verb.allow()).collect::<Vec<_>>().join(", ");
    Problem::MethodNotAllowed { method: crate::ids::cut(request.method().as_str()), allow }
}

const LIMIT: Parameter = Parameter::optional("limit", "The most items to answer, 1 to 500; 50 when absent");
const AFTER: Parameter = Parameter::optional("after", "`next` of the page before");
const DRY_RUN: Parameter = Parameter::optional("dry_run", "`true` tells what would be done, and does nothing");

/// Every route: [`ROUTES`], and those of [`marquez::ROUTES`].
pub fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(marquez::ROUTES)
}

/// The routes of Headgate's own interface.
pub static ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/healthz", "Tells that the process answers", |m| on(m, handlers::health::alive))
        .access(Access::Public)
        .answers(&[json(StatusCode::OK, "It does", wire::schema::STATUS)]),
    Route::new(Verb::Get, "/readyz", "Tells whether requests can be served", |m| on(m, handlers::health::ready))
        .access(Access::Public)
        .answers(&[json(StatusCode::OK, "They can", wire::schema::STATUS)]),
    Route::new(Verb::Get, "/metrics", "Counts, in the OpenMetrics format", |m| on(m, handlers::health::metrics))
        .access(Access::Public)
        .answers(&[text(StatusCode::OK, "The counts", crate::telemetry::metrics::CONTENT_TYPE)]),
    Route::new(Verb::Get, "/openapi.json", "This description", |m| on(m, openapi::document)).access(Access::Public).answers(&[json(
        StatusCode::OK,
        "The description",
        wire::schema::OPEN_OBJECT,
    )]),
    Route::new(Verb::Get, "/schemas/openlineage/{version}/{name}", "The JSON Schema of an OpenLineage facet of ours", |m| {
        on(m, handlers::facets::schema)
    })
    .access(Access::Public)
    .answers(&[text(StatusCode::OK, "The schema; its `$id` is its address", handlers::facets::CONTENT_TYPE)])
    .problems(&[Kind::NotFound]),
    Route::new(Verb::Get, "/docs", "This description as a page", |m| on(m, pages::docs::page)).access(Access::Public).answers(&[text(
        StatusCode::OK,
        "The page",
        "text/html",
    )]),
    Route::new(Verb::Get, "/problems/{name}", "Explains a kind of problem", |m| on(m, pages::problems::page))
        .access(Access::Public)
        .answers(&[text(StatusCode::OK, "The page", "text/html")]),
    Route::new(Verb::Get, "/.well-known/headgate-keys", "The keys that verify what Headgate signs", |m| {
        on(m, handlers::audit::public_keys)
    })
    .access(Access::Public)
    .answers(&[json(StatusCode::OK, "The keys, retired ones included", wire::audit::PUBLIC_KEYS)]),
    Route::new(Verb::Get, "/connect/{token}", "The customer's page: what is read, and why", |m| on(m, pages::connect::show))
        .access(Access::Public)
        .answers(&[
            text(StatusCode::OK, "The page", "text/html"),
            empty(StatusCode::SEE_OTHER, "The link is opened: to the page without the token, with a cookie"),
        ]),
    Route::new(Verb::Post, "/connect/{token}", "The customer's answer", |m| on(m, pages::connect::submit)).access(Access::Public).answers(
        &[
            text(StatusCode::OK, "The connection is made", "text/html"),
            empty(StatusCode::SEE_OTHER, "To the application, for its authorization"),
        ],
    ),
    Route::new(Verb::Get, "/oauth/callback", "Where an application sends the customer back to", |m| on(m, pages::callback::page))
        .access(Access::Public)
        .any_query()
        .answers(&[text(StatusCode::OK, "The connection is made, or stays pending", "text/html")])
        .problems(&[Kind::Malformed]),
    Route::new(Verb::Post, "/v1/connect/sessions", "Opens a link for a customer", |m| on(m, handlers::sessions::open))
        .body(wire::session::ORDER)
        .answers(&[json(StatusCode::CREATED, "The link; null when the answer is repeated", wire::session::OPENED)])
        .problems(&[Kind::NotFound, Kind::StateConflict])
        .secret_members(&["url"]),
    Route::new(Verb::Get, "/v1/policy", "The policy in force and its five acknowledgements", |m| on(m, handlers::consents::policy))
        .answers(&[json(StatusCode::OK, "The policy", wire::consent::POLICY)]),
    Route::new(Verb::Get, "/v1/connections", "Lists connections", |m| on(m, handlers::connections::list))
        .query(&[
            LIMIT,
            AFTER,
            Parameter::optional("connector", "Of this connector"),
            Parameter::optional("state", "In this state"),
            Parameter::optional("tenant", "Of this tenant"),
        ])
        .answers(&[json(StatusCode::OK, "A page of connections", wire::connection::CONNECTIONS)])
        .problems(&[Kind::NotFound]),
    Route::new(Verb::Post, "/v1/connections", "Records a consent and connects", |m| on(m, handlers::connections::connect))
        .access(Access::CUSTOMER)
        .body(wire::connection::CONNECT_ORDER)
        .answers(&[json(StatusCode::CREATED, "The connection, and where to authorize it", wire::connection::CONNECTED)])
        .problems(&[Kind::NotFound, Kind::PolicyChanged, Kind::StateConflict, Kind::ApplicationFailed]),
    Route::new(Verb::Get, "/v1/connections/{id}", "One connection", |m| on(m, handlers::connections::get)).answers(&[json(
        StatusCode::OK,
        "The connection",
        wire::connection::CONNECTION,
    )]),
    Route::new(Verb::Patch, "/v1/connections/{id}", "Pauses, resumes or reschedules", |m| on(m, handlers::connections::change))
        .access(Access::OPERATOR)
        .body(wire::connection::CHANGE)
        .answers(&[json(StatusCode::OK, "The connection as it is now", wire::connection::CONNECTION)])
        .problems(&[Kind::GateClosed, Kind::StateConflict]),
    Route::new(Verb::Get, "/v1/connections/{id}/impact", "What stopping or erasing would touch", |m| on(m, handlers::impact::impact))
        .query(&[
            Parameter::optional("list", "`records`, `dies` or `survives`: these one by one instead of counts"),
            Parameter::optional("limit", "The most items of a list, 1 to 10000; 1000 when absent"),
            AFTER,
            Parameter::optional("names", "`true` tells listed artifacts by name too"),
            Parameter::optional("digest", "`false` leaves out the digest, which reads every record's index row"),
        ])
        .answers(&[json(StatusCode::OK, "The impact, or a page of what it counts", wire::impact::CONNECTION_IMPACT)]),
    Route::new(Verb::Post, "/v1/connections/{id}/runs", "Pulls now", |m| on(m, handlers::runs::start))
        .optional_body(wire::run::PULL_ORDER)
        .answers(&[json(StatusCode::ACCEPTED, "The pull, under way", wire::run::PULL)])
        .problems(&[Kind::GateClosed, Kind::PullUnderWay, Kind::StateConflict]),
    Route::new(Verb::Post, "/v1/connections/{id}/revoke", "Stops a connection for good; keeps what it brought", |m| {
        on(m, handlers::revocations::revoke)
    })
    .access(Access::CUSTOMER)
    .stops()
    .query(&[DRY_RUN])
    .optional_body(wire::revocation::REASON)
    .answers(&[json(StatusCode::OK, "What was stopped; the same receipt every time", wire::revocation::REVOKED)]),
    Route::new(Verb::Post, "/v1/revocations", "Stops a connection, a tenant or a connector", |m| on(m, handlers::revocations::create))
        .access(Access::CUSTOMER)
        .stops()
        .query(&[DRY_RUN])
        .body(wire::revocation::ORDER)
        .answers(&[json(StatusCode::OK, "What was stopped", wire::revocation::REVOKED)])
        .problems(&[Kind::NotFound]),
    Route::new(Verb::Get, "/v1/runs", "Lists runs, newest first", |m| on(m, handlers::runs::list))
        .query(&[LIMIT, AFTER, Parameter::optional("pull", "Of this pull"), Parameter::optional("connection", "Of this connection")])
        .answers(&[json(StatusCode::OK, "A page of runs", wire::run::RUNS)])
        .problems(&[Kind::NotFound]),
    Route::new(Verb::Get, "/v1/runs/{id}", "One run", |m| on(m, handlers::runs::get)).answers(&[json(
        StatusCode::OK,
        "The run",
        wire::run::RUN,
    )]),
    Route::new(Verb::Get, "/v1/records", "Lists a connection's records with their tags", |m| on(m, handlers::records::list))
        .payload()
        .query(&[
            LIMIT,
            AFTER,
            Parameter::required("connection", "The connection"),
            Parameter::optional("stream", "Of this stream"),
            Parameter::optional("kind", "Of this operational kind"),
        ])
        .answers(&[json(StatusCode::OK, "A page of records", wire::record::RECORDS)])
        .problems(&[Kind::NotFound]),
    Route::new(Verb::Get, "/v1/records/{id}", "One record with its tag", |m| on(m, handlers::records::get))
        .payload()
        .query(&[Parameter::optional("version", "This version; the newest when absent")])
        .answers(&[json(StatusCode::OK, "The record", wire::record::RECORD)]),
    Route::new(Verb::Get, "/v1/records/{id}/lineage", "The exact origin of a record", |m| on(m, handlers::records::origin))
        .query(&[
            Parameter::optional("version", "Of this version; the newest when absent"),
            Parameter::optional("proof", "`true` proves that the audit entry it names is in the log"),
        ])
        .answers(&[json(StatusCode::OK, "Its origin", wire::lineage::ORIGIN)]),
    Route::new(Verb::Get, "/v1/records/{id}/explain", "Derives the operational view anew, and says whether it still agrees", |m| {
        on(m, handlers::records::explain)
    })
    .payload()
    .query(&[Parameter::optional("field", "This field alone"), Parameter::optional("version", "Of this version; the newest when absent")])
    .answers(&[json(StatusCode::OK, "Each field, what it is made of and what follows", wire::lineage::EXPLANATION)]),
    Route::new(Verb::Get, "/v1/lineage/fields", "What the fields of a stream are made of", |m| on(m, handlers::records::fields))
        .query(&[Parameter::required("connection", "The connection"), Parameter::required("stream", "The stream")])
        .answers(&[json(StatusCode::OK, "The column lineage", wire::lineage::STREAM_FIELDS)])
        .problems(&[Kind::NotFound]),
    Route::new(Verb::Get, "/v1/lineage", "What stands around a node", |m| on(m, handlers::graph::graph))
        .query(&[
            Parameter::required(
                "node",
                "The id of a record, page, run, connection, consent or artifact, or `dataset:NAMESPACE:NAME` or `job:NAMESPACE:NAME`",
            ),
            Parameter::optional("direction", "`up`, `down` or `both`; both when absent"),
            Parameter::optional("depth", "Edges from the node, 0 to 20; 3 when absent"),
            Parameter::optional("kinds", "Nodes of these kinds alone, with commas between them"),
            Parameter::optional("limit", "The most nodes to answer, 1 to 1000; 1000 when absent"),
            AFTER,
            Parameter::optional("at", "As it was at this time; now when absent"),
            Parameter::optional("tenant", "Whose graph; needed by an operator whose node does not say it"),
            Parameter::optional("format", "`json`, `dot` or `prov-json`; json when absent"),
        ])
        .answers(&[json(StatusCode::OK, "The graph", wire::lineage::GRAPH)])
        .problems(&[Kind::NotFound]),
    Route::new(Verb::Get, "/v1/lineage/keys/{kind}/{value}", "Everything that carries a business key", |m| {
        on(m, handlers::records::by_key)
    })
    .query(&[LIMIT, AFTER, Parameter::optional("tenant", "Whose; an operator must say")])
    .answers(&[json(StatusCode::OK, "A page of records' tags", wire::lineage::KEY_MATCHES)]),
    Route::new(Verb::Post, "/v1/derivations", "Tells what was made from records and artifacts", |m| on(m, handlers::derivations::create))
        .body(wire::derivation::ORDER)
        .answers(&[json(StatusCode::CREATED, "What is written down; told again, the same", wire::derivation::ANSWER)])
        .problems(&[Kind::NotFound, Kind::StateConflict]),
    Route::new(
        Verb::Get,
        "/v1/changes",
        "What happened to records, in order; as Server-Sent Events with `Accept: text/event-stream`",
        |m| on(m, handlers::changes::feed),
    )
    .payload()
    .query(&[
        LIMIT,
        Parameter::optional("after", "`next` of the part before, or the `position` of a change; from the beginning when absent"),
        Parameter::optional("wait", "Seconds to wait for a change, 0 to 60; 0 when absent"),
        Parameter::optional("connection", "Of this connection"),
        Parameter::optional("stream", "Of streams of this name"),
        Parameter::optional("data", "`false` leaves data, operational view and tag out"),
        Parameter::optional("tenant", "Whose; an operator must say"),
    ])
    .answers(&[json(StatusCode::OK, "A part of the feed; `next` is always where to go on", wire::change::FEED)])
    .problems(&[Kind::NotFound]),
    Route::new(Verb::Post, "/v1/disclosures", "States that records were handed to somebody elsewhere", |m| {
        on(m, handlers::disclosures::state)
    })
    .body(wire::disclosure::ORDER)
    .answers(&[json(StatusCode::CREATED, "What there is of it now, one a connection", wire::disclosure::DISCLOSURES)])
    .problems(&[Kind::NotFound, Kind::StateConflict]),
    Route::new(Verb::Get, "/v1/disclosures", "Lists who received records, for what and how", |m| on(m, handlers::disclosures::list))
        .query(&[
            LIMIT,
            AFTER,
            Parameter::optional("recipient", "To the recipient of this name"),
            Parameter::optional("since", "Of which the last was at this time or later"),
            Parameter::optional("connection", "Of this connection"),
            Parameter::optional("tenant", "Whose; an operator must say"),
        ])
        .answers(&[json(StatusCode::OK, "A page of disclosures", wire::disclosure::DISCLOSURES)])
        .problems(&[Kind::NotFound, Kind::StateConflict]),
    Route::new(Verb::Post, "/v1/erasures", "Asks for an erasure", |m| on(m, handlers::erasures::request))
        .access(Access::CUSTOMER)
        .query(&[DRY_RUN])
        .body(wire::erasure::ORDER)
        .answers(&[
            json(StatusCode::CREATED, "The erasure, waiting for approval", wire::erasure::ERASURE),
            json(StatusCode::OK, "What it would cover (dry run)", wire::erasure::ERASURE),
        ])
        .problems(&[Kind::NotFound, Kind::NotRevoked, Kind::StateConflict]),
    Route::new(Verb::Get, "/v1/erasures", "Lists erasures", |m| on(m, handlers::erasures::list)).query(&[LIMIT, AFTER]).answers(&[json(
        StatusCode::OK,
        "A page of erasures",
        wire::erasure::ERASURES,
    )]),
    Route::new(Verb::Get, "/v1/erasures/{id}", "One erasure", |m| on(m, handlers::erasures::get)).answers(&[json(
        StatusCode::OK,
        "The erasure",
        wire::erasure::ERASURE,
    )]),
    Route::new(Verb::Post, "/v1/erasures/{id}/approve", "Approves an erasure: the one irreversible act", |m| {
        on(m, handlers::erasures::approve)
    })
    .access(Access::OPERATOR)
    .answers(&[json(StatusCode::OK, "The erasure as it is now", wire::erasure::ERASURE)])
    .problems(&[Kind::NotRevoked, Kind::StateConflict]),
    Route::new(Verb::Get, "/v1/erasures/{id}/certificate", "The signed certificate", |m| on(m, handlers::erasures::certificate))
        .answers(&[json(StatusCode::OK, "The file, byte for byte", wire::consent::ENVELOPE)])
        .problems(&[Kind::StateConflict]),
    Route::new(Verb::Get, "/v1/consents/{id}/receipt", "The signed receipt of a consent", |m| on(m, handlers::consents::receipt))
        .answers(&[json(StatusCode::OK, "The file, byte for byte", wire::consent::ENVELOPE)]),
    Route::new(Verb::Get, "/v1/audit", "Lists entries of the audit log", |m| on(m, handlers::audit::list))
        .access(Access::OPERATOR)
        .query(&[LIMIT, AFTER])
        .answers(&[json(StatusCode::OK, "A page of entries", wire::audit::ENTRIES)]),
    Route::new(Verb::Get, "/v1/audit/entries/{index}", "One entry", |m| on(m, handlers::audit::entry))
        .access(Access::OPERATOR)
        .answers(&[json(StatusCode::OK, "The entry", wire::audit::ENTRY)]),
    Route::new(Verb::Get, "/v1/audit/checkpoint", "The signed head of the log", |m| on(m, handlers::audit::checkpoint))
        .access(Access::OPERATOR)
        .answers(&[text(StatusCode::OK, "A C2SP signed note", "text/plain")]),
    Route::new(Verb::Get, "/v1/audit/proof", "Proves that an entry is in the log", |m| on(m, handlers::audit::proof))
        .access(Access::OPERATOR)
        .query(&[Parameter::required("entry", "The entry's index")])
        .answers(&[json(StatusCode::OK, "The proof", wire::audit::PROOF)])
        .problems(&[Kind::NotFound]),
    Route::new(Verb::Get, "/v1/audit/consistency", "Proves that the log only grew", |m| on(m, handlers::audit::consistency))
        .access(Access::OPERATOR)
        .query(&[Parameter::required("from", "The smaller size"), Parameter::required("to", "The larger size")])
        .answers(&[json(StatusCode::OK, "The proof", wire::audit::CONSISTENCY)])
        .problems(&[Kind::NotFound]),
    Route::new(Verb::Get, "/admin/connectors", "Lists connectors", |m| on(m, handlers::admin::connectors))
        .access(Access::Local)
        .query(&[LIMIT, AFTER])
        .answers(&[json(StatusCode::OK, "A page of connectors", wire::connector::CONNECTORS)]),
    Route::new(Verb::Get, "/admin/connectors/{name}", "One connector", |m| on(m, handlers::admin::connector))
        .access(Access::Local)
        .answers(&[json(StatusCode::OK, "The connector", wire::connector::CONNECTOR)]),
    Route::new(
        Verb::Post,
        "/admin/connectors/{name}/disable",
        "Lets nobody connect a connector any more; what is connected goes on",
        |m| on(m, handlers::admin::disable),
    )
    .access(Access::Local)
    .answers(&[json(StatusCode::OK, "The connector as it is now", wire::connector::CONNECTOR)]),
    Route::new(Verb::Post, "/admin/connectors/{name}/enable", "Lets it be connected again", |m| on(m, handlers::admin::enable))
        .access(Access::Local)
        .answers(&[json(StatusCode::OK, "The connector as it is now", wire::connector::CONNECTOR)]),
    Route::new(Verb::Post, "/admin/connections/{id}/reconnect", "Begins a new authorization of a connection", |m| {
        on(m, handlers::connections::reconnect)
    })
    .access(Access::Local)
    .optional_body(wire::connection::RECONNECT_ORDER)
    .answers(&[json(StatusCode::OK, "The connection, and where to authorize it", wire::connection::CONNECTED)])
    .problems(&[Kind::GateClosed, Kind::StateConflict]),
    Route::new(Verb::Post, "/admin/keys", "Makes an API key", |m| on(m, handlers::keys::create))
        .access(Access::Local)
        .body(wire::key::KEY_ORDER)
        .answers(&[json(StatusCode::CREATED, "The key, shown this once", wire::key::NEW_KEY)])
        .problems(&[Kind::StateConflict]),
    Route::new(Verb::Get, "/admin/keys", "Lists API keys", |m| on(m, handlers::keys::list))
        .access(Access::Local)
        .query(&[LIMIT, AFTER])
        .answers(&[json(StatusCode::OK, "A page of keys", wire::key::KEYS)]),
    Route::new(Verb::Delete, "/admin/keys/{id}", "Revokes an API key", |m| on(m, handlers::keys::revoke))
        .access(Access::Local)
        .answers(&[json(StatusCode::OK, "The key, revoked", wire::key::KEY)]),
    Route::new(Verb::Get, "/admin/tenants", "Lists tenants", |m| on(m, handlers::tenants::list))
        .access(Access::Local)
        .query(&[LIMIT, AFTER])
        .answers(&[json(StatusCode::OK, "A page of tenants", wire::tenant::TENANTS)]),
    Route::new(Verb::Get, "/admin/tenants/{name}", "One tenant", |m| on(m, handlers::tenants::get)).access(Access::Local).answers(&[json(
        StatusCode::OK,
        "The tenant",
        wire::tenant::TENANT,
    )]),
    Route::new(Verb::Post, "/admin/keyring/rotate", "Puts new keys above everything, under a new master key", |m| {
        on(m, handlers::keyring::rotate)
    })
    .access(Access::Local)
    .optional_body(wire::keyring::ROTATION_ORDER)
    .answers(&[json(StatusCode::OK, "When, and where the new master key is", wire::keyring::ROTATED)])
    .problems(&[Kind::StateConflict]),
    Route::new(Verb::Post, "/admin/keyring/export", "Copies the keyring into a file", |m| on(m, handlers::keyring::export))
        .access(Access::Local)
        .body(wire::keyring::EXPORT_ORDER)
        .answers(&[json(StatusCode::OK, "The file, and until when it can be imported", wire::keyring::EXPORTED)])
        .problems(&[Kind::StateConflict]),
    Route::new(Verb::Get, "/admin/store/stats", "Figures about the store", |m| on(m, handlers::admin::store_stats))
        .access(Access::Local)
        .answers(&[json(StatusCode::OK, "The figures", wire::schema::OPEN_OBJECT)]),
    Route::new(Verb::Post, "/admin/store/compact", "Puts a new database in the place of the present one", |m| {
        on(m, handlers::copies::compact)
    })
    .access(Access::Local)
    .answers(&[json(StatusCode::OK, "What it came to", wire::copies::COMPACTED)])
    .problems(&[Kind::StateConflict]),
    Route::new(Verb::Post, "/admin/store/backup", "Writes the store of this moment into a folder", |m| on(m, handlers::copies::backup))
        .access(Access::Local)
        .body(wire::copies::BACKUP_ORDER)
        .answers(&[json(StatusCode::OK, "What it came to", wire::copies::BACKED_UP)])
        .problems(&[Kind::StateConflict]),
    Route::new(Verb::Get, "/admin/store/copy", "What of these two is under way", |m| on(m, handlers::copies::under_way))
        .access(Access::Local)
        .answers(&[json(StatusCode::OK, "What is, and how far", wire::copies::COPY_UNDER_WAY)]),
    Route::new(Verb::Post, "/admin/store/check", "Begins a check of everything that is kept", |m| on(m, handlers::admin::begin_check))
        .access(Access::Local)
        .optional_body(wire::store::CHECK_ORDER)
        .answers(&[json(StatusCode::OK, "How it stands", wire::schema::OPEN_OBJECT)]),
    Route::new(Verb::Get, "/admin/store/check", "How the check of the store stands", |m| on(m, handlers::admin::check))
        .access(Access::Local)
        .answers(&[json(StatusCode::OK, "How it stands, and its report once it has ended", wire::schema::OPEN_OBJECT)]),
    Route::new(Verb::Post, "/admin/audit/verify", "Reads the whole audit log again and checks it", |m| on(m, handlers::audit::verify))
        .access(Access::Local)
        .optional_body(wire::audit::VERIFY_ORDER)
        .answers(&[json(StatusCode::OK, "How it came out", wire::audit::VERIFICATION)]),
];

#[cfg(test)]
mod tests;
