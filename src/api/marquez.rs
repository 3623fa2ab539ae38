//! The routes that OpenLineage's and Marquez' clients use: a part of the list of routes.
//!
//! Names stand percent-encoded in the path, slashes and colons too, so they are matched before they are decoded. Parameters that
//! a client sends and that change nothing here are taken all the same.

use axum::http::StatusCode;
use axum::routing::on;

use crate::api::handlers::marquez;
use crate::api::handlers::openlineage;
use crate::api::problem::Kind;
use crate::api::route::Answer;
use crate::api::route::Parameter;
use crate::api::route::Route;
use crate::api::route::Verb;
use crate::api::route::empty;
use crate::api::route::json;
use crate::api::wire;
use crate::api::wire::schema::OPEN_OBJECT;

const LIMIT: Parameter = Parameter::optional("limit", "The most items to answer; 100 when absent");
const OFFSET: Parameter = Parameter::optional("offset", "How many items to leave out before them");
const PAGE: &[Parameter] = &[LIMIT, OFFSET];
const STATES: &[Parameter] =
    &[LIMIT, OFFSET, Parameter::optional("lastRunStates", "Of jobs whose latest run is in one of these states").repeated()];
const NODE_ID: Parameter =
    Parameter::required("nodeId", "`dataset:NAMESPACE:NAME`, `job:NAMESPACE:NAME` or `datasetField:NAMESPACE:NAME:FIELD`");
const DEPTH: Parameter = Parameter::optional("depth", "Edges from the node; 20 when absent");
const EVENTS: &[Parameter] = &[
    LIMIT,
    OFFSET,
    Parameter::optional("before", "Of events before this time; empty for no bound"),
    Parameter::optional("after", "Of events from this time on; empty for no bound"),
    Parameter::optional("sortDirection", "`desc`, the newest first, or `asc`"),
];
const SEARCH: &[Parameter] = &[
    Parameter::required("q", "What names hold, whatever the case"),
    Parameter::optional("filter", "`DATASET` or `JOB`"),
    Parameter::optional("sort", "`NAME` or `UPDATED_AT`"),
    LIMIT,
    Parameter::optional("namespace", "Of this namespace"),
    Parameter::optional("before", "Updated before this time"),
    Parameter::optional("after", "Updated after this time"),
];
const STATS: &[Parameter] = &[
    Parameter::optional("period", "`DAY`, by the hour, or `WEEK`, by the day"),
    Parameter::optional("timezone", "Taken, and without effect: days are those of UTC"),
];

const OBJECT: &[Answer] = &[json(StatusCode::OK, "As Marquez answers it", OPEN_OBJECT)];
const ARRAY: &[Answer] = &[json(StatusCode::OK, "As Marquez answers it", wire::openlineage::INTERVALS)];

const fn object(route: Route) -> Route {
    route.answers(OBJECT).problems(&[Kind::NotFound, Kind::StateConflict])
}

const fn array(route: Route) -> Route {
    route.answers(ARRAY)
}

/// Every one of these routes.
pub static ROUTES: &[Route] = &[
    Route::new(Verb::Post, "/api/v1/lineage", "Takes an OpenLineage event into the graph of a tenant's jobs", |m| on(m, openlineage::take))
        .raw_body(wire::openlineage::EVENT, openlineage::BODY_BYTES_MAX)
        .answers(&[empty(StatusCode::CREATED, "It is in the graph, or had come before")])
        .problems(&[Kind::UnsupportedEncoding, Kind::StateConflict]),
    Route::new(Verb::Post, "/api/v1/lineage/batch", "Takes many of them, the good ones beside the bad", |m| on(m, openlineage::take_batch))
        .raw_body(wire::openlineage::EVENTS, openlineage::BODY_BYTES_MAX)
        .answers(&[
            empty(StatusCode::NO_CONTENT, "All of them are in the graph"),
            json(StatusCode::OK, "Some are not, and why", wire::openlineage::BATCH),
        ])
        .problems(&[Kind::UnsupportedEncoding, Kind::StateConflict]),
    object(Route::new(Verb::Get, "/api/v1/lineage", "What stands around a dataset or job", |m| on(m, marquez::lineage)).query(&[
        NODE_ID,
        DEPTH,
        Parameter::optional("aggregateByParent", "Taken, and without effect"),
        Parameter::optional("aggregateToParentRun", "Taken, and without effect"),
    ])),
    object(
        Route::new(Verb::Get, "/api/v1/runlineage/upstream", "The runs that a run's inputs come from", |m| on(m, marquez::upstream))
            .query(&[Parameter::required("runId", "The run"), DEPTH]),
    ),
    object(
        Route::new(Verb::Get, "/api/v1/column-lineage", "Where columns come from, and where they go", |m| on(m, marquez::columns))
            .query(&[NODE_ID, DEPTH, Parameter::optional("withDownstream", "`true` for where they go too")]),
    ),
    object(Route::new(Verb::Get, "/api/v1/events/lineage", "Events as they came", |m| on(m, marquez::events)).query(EVENTS)),
    object(Route::new(Verb::Get, "/api/v1/events", "Events as they came", |m| on(m, marquez::events)).query(EVENTS)),
    object(
        Route::new(Verb::Get, "/api/v1/events/{*namespace}", "Events of a namespace's jobs", |m| on(m, marquez::events_of)).query(EVENTS),
    ),
    object(Route::new(Verb::Get, "/api/v1/namespaces", "Lists namespaces", |m| on(m, marquez::namespaces)).query(PAGE)),
    object(Route::new(Verb::Get, "/api/v1/namespaces/{namespace}", "One namespace", |m| on(m, marquez::namespace))),
    object(
        Route::new(Verb::Put, "/api/v1/namespaces/{namespace}", "Declares a namespace", |m| on(m, marquez::put_namespace))
            .raw_body(OPEN_OBJECT, crate::api::body::BODY_BYTES_MAX),
    ),
    object(Route::new(Verb::Delete, "/api/v1/namespaces/{namespace}", "Hides a namespace and what is in it", |m| {
        on(m, marquez::hide_namespace)
    })),
    object(Route::new(Verb::Get, "/api/v1/sources", "Lists sources", |m| on(m, marquez::sources)).query(PAGE)),
    object(Route::new(Verb::Get, "/api/v1/sources/{source}", "One source", |m| on(m, marquez::source))),
    object(
        Route::new(Verb::Put, "/api/v1/sources/{source}", "Declares a source", |m| on(m, marquez::put_source))
            .raw_body(OPEN_OBJECT, crate::api::body::BODY_BYTES_MAX),
    ),
    object(
        Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/datasets", "Lists a namespace's datasets", |m| on(m, marquez::datasets))
            .query(PAGE),
    ),
    object(Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/datasets/{dataset}", "One dataset", |m| on(m, marquez::dataset))),
    object(
        Route::new(Verb::Put, "/api/v1/namespaces/{namespace}/datasets/{dataset}", "Declares a dataset", |m| on(m, marquez::put_dataset))
            .raw_body(OPEN_OBJECT, crate::api::body::BODY_BYTES_MAX),
    ),
    object(Route::new(Verb::Delete, "/api/v1/namespaces/{namespace}/datasets/{dataset}", "Hides a dataset", |m| {
        on(m, marquez::hide_dataset)
    })),
    object(
        Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/datasets/{dataset}/versions", "Lists a dataset's versions", |m| {
            on(m, marquez::dataset_versions)
        })
        .query(PAGE),
    ),
    object(Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/datasets/{dataset}/versions/{version}", "One of its versions", |m| {
        on(m, marquez::dataset_version)
    })),
    object(Route::new(Verb::Post, "/api/v1/namespaces/{namespace}/datasets/{dataset}/tags/{tag}", "Gives a dataset a word", |m| {
        on(m, marquez::tag_dataset)
    })),
    object(Route::new(Verb::Delete, "/api/v1/namespaces/{namespace}/datasets/{dataset}/tags/{tag}", "Takes it away", |m| {
        on(m, marquez::untag_dataset)
    })),
    object(Route::new(
        Verb::Post,
        "/api/v1/namespaces/{namespace}/datasets/{dataset}/fields/{field}/tags/{tag}",
        "Gives a field a word",
        |m| on(m, marquez::tag_field),
    )),
    object(Route::new(Verb::Delete, "/api/v1/namespaces/{namespace}/datasets/{dataset}/fields/{field}/tags/{tag}", "Takes it away", |m| {
        on(m, marquez::untag_field)
    })),
    object(Route::new(Verb::Get, "/api/v1/jobs", "Lists jobs", |m| on(m, marquez::all_jobs)).query(STATES)),
    object(
        Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/jobs", "Lists a namespace's jobs", |m| on(m, marquez::jobs)).query(STATES),
    ),
    object(Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/jobs/{job}", "One job", |m| on(m, marquez::job))),
    object(
        Route::new(Verb::Put, "/api/v1/namespaces/{namespace}/jobs/{job}", "Declares a job", |m| on(m, marquez::put_job))
            .raw_body(OPEN_OBJECT, crate::api::body::BODY_BYTES_MAX),
    ),
    object(Route::new(Verb::Delete, "/api/v1/namespaces/{namespace}/jobs/{job}", "Hides a job", |m| on(m, marquez::hide_job))),
    object(
        Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/jobs/{job}/versions", "Lists a job's versions", |m| {
            on(m, marquez::job_versions)
        })
        .query(PAGE),
    ),
    object(Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/jobs/{job}/versions/{version}", "One of its versions", |m| {
        on(m, marquez::job_version)
    })),
    object(Route::new(Verb::Post, "/api/v1/namespaces/{namespace}/jobs/{job}/tags/{tag}", "Gives a job a word", |m| {
        on(m, marquez::tag_job)
    })),
    object(Route::new(Verb::Delete, "/api/v1/namespaces/{namespace}/jobs/{job}/tags/{tag}", "Takes it away", |m| {
        on(m, marquez::untag_job)
    })),
    object(
        Route::new(Verb::Get, "/api/v1/namespaces/{namespace}/jobs/{job}/runs", "Lists a job's runs, newest first", |m| {
            on(m, marquez::runs)
        })
        .query(PAGE),
    ),
    Route::new(Verb::Post, "/api/v1/namespaces/{namespace}/jobs/{job}/runs", "Declares a run", |m| on(m, marquez::begin_run))
        .raw_body(OPEN_OBJECT, crate::api::body::BODY_BYTES_MAX)
        .answers(&[json(StatusCode::CREATED, "The run", OPEN_OBJECT)]),
    object(Route::new(Verb::Get, "/api/v1/jobs/runs/{run}", "One run", |m| on(m, marquez::run))),
    object(
        Route::new(Verb::Get, "/api/v1/jobs/runs/{run}/facets", "The facets of a run, or of its job on it", |m| on(m, marquez::run_facets))
            .query(&[Parameter::optional("type", "`run` or `job`")]),
    ),
    object(
        Route::new(Verb::Post, "/api/v1/jobs/runs/{run}/{action}", "Moves a run: start, complete, fail, abort", |m| {
            on(m, marquez::mark_run)
        })
        .query(&[Parameter::optional("at", "When; now when absent")]),
    ),
    object(Route::new(Verb::Get, "/api/v1/search", "Finds datasets and jobs by name", |m| on(m, marquez::search)).query(SEARCH)),
    object(
        Route::new(Verb::Get, "/api/v2beta/search/jobs", "Nothing: there is no index of texts", |m| on(m, marquez::no_hits))
            .query(&[Parameter::required("q", "Any text")]),
    ),
    object(
        Route::new(Verb::Get, "/api/v2beta/search/datasets", "Nothing: there is no index of texts", |m| on(m, marquez::no_hits))
            .query(&[Parameter::required("q", "Any text")]),
    ),
    object(Route::new(Verb::Get, "/api/v1/tags", "Lists words that things carry", |m| on(m, marquez::tags)).query(PAGE)),
    object(Route::new(Verb::Get, "/api/v1/tags/{tag}", "One word", |m| on(m, marquez::tag))),
    object(
        Route::new(Verb::Put, "/api/v1/tags/{tag}", "Declares a word", |m| on(m, marquez::put_tag))
            .raw_body(OPEN_OBJECT, crate::api::body::BODY_BYTES_MAX),
    ),
    array(Route::new(Verb::Get, "/api/v1/stats/lineage-events", "Events over time", |m| on(m, marquez::stats_events)).query(STATS)),
    array(Route::new(Verb::Get, "/api/v1/stats/jobs", "Jobs over time", |m| on(m, marquez::stats_jobs)).query(STATS)),
    array(Route::new(Verb::Get, "/api/v1/stats/datasets", "Datasets over time", |m| on(m, marquez::stats_datasets)).query(STATS)),
    array(Route::new(Verb::Get, "/api/v1/stats/sources", "Sources over time", |m| on(m, marquez::stats_sources)).query(STATS)),
];
