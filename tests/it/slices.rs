//! How a stream is cut: by its parents, in groups, from several routers, several at a time; against a loopback application.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server;
use crate::support::protocol::Client;
use crate::support::protocol::READ;
use crate::support::protocol::Told;

/// Accounts in two pages; their orders by window; details of several accounts at once; labels of accounts and of a list; a feed.
const MANIFEST: &str = r##"
version: 6.0.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [accounts]}
concurrency_level: {type: ConcurrencyLevel, default_concurrency: 4}
definitions:
  requester: {type: HttpRequester, url_base: "{{ config['url'] }}"}
  selector: {type: RecordSelector, extractor: {type: DpathExtractor, field_path: [data]}}
  cursor:
    type: DatetimeBasedCursor
    cursor_field: at
    datetime_format: "%Y-%m-%d"
    start_datetime: "2026-01-01"
    start_time_option: {type: RequestOption, inject_into: request_parameter, field_name: since}
  accounts:
    type: DeclarativeStream
    name: accounts
    primary_key: id
    incremental_sync: {$ref: "#/definitions/cursor"}
    retriever:
      type: SimpleRetriever
      requester: {$ref: "#/definitions/requester", path: accounts}
      record_selector: {$ref: "#/definitions/selector"}
      paginator:
        type: DefaultPaginator
        pagination_strategy: {type: PageIncrement, page_size: 2, start_from_page: 1}
        page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: page}
  of_accounts:
    type: SubstreamPartitionRouter
    parent_stream_configs:
      - type: ParentStreamConfig
        stream: {$ref: "#/definitions/accounts"}
        parent_key: id
        partition_field: account
        incremental_dependency: true
        extra_fields: [[owner, name]]
streams:
  - {$ref: "#/definitions/accounts"}
  - type: DeclarativeStream
    name: orders
    incremental_sync: {$ref: "#/definitions/cursor"}
    retriever:
      type: SimpleRetriever
      requester: {$ref: "#/definitions/requester", path: "accounts/{{ stream_partition.account }}/orders"}
      record_selector: {$ref: "#/definitions/selector"}
      partition_router: {$ref: "#/definitions/of_accounts"}
    transformations:
      - {type: AddFields, fields: [{path: [owner], value: "{{ stream_slice.extra_fields['owner.name'] }}"}]}
  - type: DeclarativeStream
    name: details
    retriever:
      type: SimpleRetriever
      requester: {$ref: "#/definitions/requester", path: details, request_parameters: {ids: "{{ stream_partition.account | join(',') }}"}}
      record_selector: {$ref: "#/definitions/selector"}
      partition_router: {type: GroupingPartitionRouter, group_size: 2, underlying_partition_router: {$ref: "#/definitions/of_accounts"}}
  - type: DeclarativeStream
    name: labels
    retriever:
      type: SimpleRetriever
      requester: {$ref: "#/definitions/requester", path: "labels/{{ stream_partition.account }}/{{ stream_partition.kind }}"}
      record_selector: {$ref: "#/definitions/selector"}
      partition_router:
        - type: UnionPartitionRouter
          partition_field: account
          partition_routers:
            - {type: ListPartitionRouter, cursor_field: account, values: [a2, extra]}
            - {$ref: "#/definitions/of_accounts"}
        - {type: ListPartitionRouter, cursor_field: kind, values: [x, y]}
  - type: DeclarativeStream
    name: feed
    incremental_sync: {$ref: "#/definitions/cursor", is_data_feed: true}
    retriever:
      type: SimpleRetriever
      requester: {$ref: "#/definitions/requester", path: feed}
      record_selector: {$ref: "#/definitions/selector"}
      paginator:
        type: DefaultPaginator
        pagination_strategy: {type: PageIncrement, page_size: 1, start_from_page: 1, inject_on_first_request: true}
        page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: page}
  - type: DeclarativeStream
    name: halting
    retriever: {type: SimpleRetriever, requester: {$ref: "#/definitions/requester", path: halting}, record_selector: {$ref: "#/definitions/selector"}}
    transformations:
      - {type: AddFields, fields: [{path: [day], value: "{{ format_datetime(record['at'], '%d') }}"}]}
  - type: DeclarativeStream
    name: capped
    incremental_sync: {$ref: "#/definitions/cursor"}
    retriever:
      type: SimpleRetriever
      requester: {$ref: "#/definitions/requester", path: capped}
      record_selector: {$ref: "#/definitions/selector"}
      pagination_reset: {type: PaginationReset, action: SPLIT_USING_CURSOR, limits: {type: PaginationResetLimits, number_of_records: 2}}
      paginator:
        type: DefaultPaginator
        pagination_strategy: {type: PageIncrement, page_size: 1, start_from_page: 1, inject_on_first_request: true}
        page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: page}
spec: {type: Spec, connection_specification: {type: object, required: [url], properties: {url: {type: string}}}}
"##;

/// How long an answer takes where requests are to overlap.
const ANSWER_TIME: Duration = Duration::from_millis(150);

async fn application() -> Server {
    Server::start(|asked: &Asked| {
        let page: usize = asked.parameter("page").map_or(1, |page| page.parse().unwrap());
        let since = asked.parameter("since").unwrap_or_default();
        let steps: Vec<&str> = asked.path.split('/').skip(1).collect();
        let data = match steps.as_slice() {
            ["accounts"] => {
                let accounts = ["a1", "a2", "a3"]
                    .map(|id| json!({"id": id, "at": format!("2026-02-0{}", &id[1..]), "owner": {"name": format!("owner of {id}")}}));
                accounts.into_iter().skip((page - 1) * 2).take(2).collect()
            }
            ["accounts", account, "orders"] => {
                let orders = (1..=2).map(|day| json!({"id": format!("{account}-{day}"), "at": format!("2026-03-0{day}")}));
                orders.filter(|order| order["at"].as_str().unwrap() >= since).collect()
            }
            ["details"] => asked.parameter("ids").unwrap().split(',').map(|id| json!({"detail": id})).collect(),
            ["labels", account, kind] => vec![json!({"label": format!("{account}{kind}")})],
            // The newest first, a record a page, for ever.
            ["feed"] => vec![json!({"id": page, "at": format!("2026-05-{:02}", 31 - page)})],
            ["halting"] => {
                vec![json!({"id": 1, "at": "2026-03-07"}), json!({"id": 2, "at": "never"}), json!({"id": 3, "at": "2026-03-09"})]
            }
            // Three records since a day, oldest first, but never more than two pages.
            ["capped"] if page <= 2 => {
                let day = since[8..].parse::<usize>().unwrap() + page - 1;
                if day <= 6 { vec![json!({"id": day, "at": format!("2026-01-{day:02}")})] } else { Vec::new() }
            }
            _ => Vec::<Value>::new(),
        };
        Reply::json(&json!({ "data": data })).after(Duration::from_millis(5))
    })
    .await
}

async fn read(client: &Client, streams: &[(&str, &str)], more: &[&str]) -> Told {
    client.catalog(streams);
    let told = client.tell(&[&READ[..], more].concat()).await;
    assert_eq!(told.code, Some(0), "{}", told.errors);
    told
}

fn texts<'a>(told: &'a Told, stream: &str, member: &str) -> BTreeSet<&'a str> {
    told.data(stream).into_iter().map(|data| data[member].as_str().unwrap()).collect()
}

/// Goal: every record of a parent cuts its child; each part has its own state, beside one for all and the parent's, and a second
/// reading goes on from all of them.
#[tokio::test(flavor = "multi_thread")]
async fn parents_cut_their_children() {
    let application = application().await;
    let client = Client::new(MANIFEST, &json!({"url": application.url()}));
    let first = read(&client, &[("orders", "incremental")], &[]).await;
    assert_eq!(texts(&first, "orders", "id"), BTreeSet::from(["a1-1", "a1-2", "a2-1", "a2-2", "a3-1", "a3-2"]));
    assert_eq!(texts(&first, "orders", "owner"), BTreeSet::from(["owner of a1", "owner of a2", "owner of a3"]));
    let (state, count) = first.state("orders");
    assert_eq!(count, 6.0);
    assert_eq!((&state["state"], &state["parent_state"]), (&json!({"at": "2026-03-02"}), &json!({"accounts": {"at": "2026-02-03"}})));
    let part = json!({"partition": {"account": "a2", "parent_slice": {}}, "cursor": {"at": "2026-03-02"}});
    assert!(state["states"].as_array().unwrap().contains(&part), "{state}");

    client.write("state.json", &json!(first.of_kind("STATE")).to_string());
    let second = read(&client, &[("orders", "incremental")], &["--state", "state.json"]).await;
    assert_eq!(texts(&second, "orders", "id"), BTreeSet::from(["a1-2", "a2-2", "a3-2"]));
    assert_eq!(application.seen_at("/accounts").last().unwrap().parameter("since"), Some("2026-02-03"), "the parent goes on too");
}

/// Goal: parts are asked for in groups; several routers multiply; a union has each value once.
#[tokio::test(flavor = "multi_thread")]
async fn routers_group_join_and_multiply() {
    let application = application().await;
    let client = Client::new(MANIFEST, &json!({"url": application.url()}));
    let told = read(&client, &[("details", "full_refresh"), ("labels", "full_refresh")], &[]).await;
    assert_eq!(texts(&told, "details", "detail"), BTreeSet::from(["a1", "a2", "a3"]));
    assert_eq!(application.seen_at("/accounts").len(), 2, "two pages, asked once for both children");
    let asked = application.seen_at("/details");
    let groups: BTreeSet<&str> = asked.iter().map(|asked| asked.parameter("ids").unwrap()).collect();
    assert_eq!(groups, BTreeSet::from(["a1,a2", "a3"]));
    assert_eq!(told.data("labels").len(), 8, "four accounts, each once, times two kinds");
    assert_eq!(texts(&told, "labels", "label"), BTreeSet::from(["a1x", "a1y", "a2x", "a2y", "a3x", "a3y", "extrax", "extray"]));
}

/// Goal: a feed ends at the first page of what is known; a paging that the application ends early is begun anew where it was left.
#[tokio::test(flavor = "multi_thread")]
async fn pagings_end_and_begin_anew() {
    let application = application().await;
    let client = Client::new(MANIFEST, &json!({"url": application.url()}));
    let known = json!([{"type": "STREAM", "stream": {"stream_descriptor": {"name": "feed"}, "stream_state": {"at": "2026-05-28"}}}]);
    client.write("state.json", &known.to_string());
    let told =
        read(&client, &[("feed", "incremental"), ("capped", "incremental")], &["--state", "state.json", "--now", "2026-06-01T00:00:00Z"])
            .await;
    let ids = |stream: &str| told.data(stream).into_iter().map(|data| data["id"].as_u64().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(ids("feed"), BTreeSet::from([1, 2, 3]));
    assert_eq!(application.seen_at("/feed").len(), 4, "the page of what is older is the last");
    assert_eq!(ids("capped"), BTreeSet::from([1, 2, 3, 4, 5, 6]));
    assert_eq!(told.state("capped").0, &json!({"at": "2026-01-06"}));
}

/// Goal: a page with a record that cannot be read fails as a whole; the reference engine hands on what came before that record.
#[tokio::test(flavor = "multi_thread")]
async fn pages_fail_as_a_whole() {
    let application = application().await;
    let client = Client::new(MANIFEST, &json!({"url": application.url()}));
    client.catalog(&[("halting", "full_refresh")]);
    for (compat, records) in [("strict", 1), ("safe", 0)] {
        let told = client.tell(&[&READ[..], &["--compat", compat]].concat()).await;
        assert_eq!((told.code, told.data("halting").len(), told.failures().len()), (Some(1), records, 1), "{compat}: {}", told.errors);
    }
}

/// Goal: as many slices are read at a time as the manifest says, and no more. Method: each answer takes a while; in less than that, no
/// more requests begin than may be under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_are_read_side_by_side() {
    let begun = Arc::<Mutex<Vec<Instant>>>::default();
    let seen = begun.clone();
    let application = Server::start(move |asked: &Asked| {
        let labels: Vec<Value> = if asked.path.starts_with("/labels") {
            seen.lock().unwrap().push(Instant::now());
            vec![json!({"label": "l"})]
        } else {
            Vec::new()
        };
        Reply::json(&json!({ "data": labels })).after(ANSWER_TIME)
    })
    .await;
    let manifest = MANIFEST.replace("values: [a2, extra]", "values: [b1, b2, b3, b4, b5, b6]");
    let client = Client::new(&manifest, &json!({"url": application.url()}));
    let told = read(&client, &[("labels", "full_refresh")], &[]).await;
    assert_eq!(told.data("labels").len(), 12);
    let begun = begun.lock().unwrap();
    let within = |first: &Instant| begun.iter().filter(|at| **at >= *first && at.duration_since(*first) < ANSWER_TIME * 9 / 10).count();
    let most = begun.iter().map(within).max().unwrap();
    assert!((2..=4).contains(&most), "{most} at once");
}
