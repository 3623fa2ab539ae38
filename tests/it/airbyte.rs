//! `headgate airbyte` as a client of the protocol sees it: the real binary, a loopback application, and lines on standard output.

use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::BufReader;
use tokio::process::Command;
use tokio::time::Duration;

use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server;
use crate::support::protocol::Client;
use crate::support::protocol::READ;
use crate::support::protocol::Told;

/// Three streams: one with a cursor, one without, one that the application refuses.
const MANIFEST: &str = r##"
version: 6.0.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [orders]}
definitions:
  requester:
    type: HttpRequester
    url_base: "{{ config['url'] }}"
    authenticator: {type: ApiKeyAuthenticator, api_token: "{{ config['key'] }}", inject_into: {type: RequestOption, inject_into: request_parameter, field_name: key}}
  selector: {type: RecordSelector, extractor: {type: DpathExtractor, field_path: [data]}}
streams:
  - type: DeclarativeStream
    name: orders
    primary_key: id
    incremental_sync:
      type: DatetimeBasedCursor
      cursor_field: at
      datetime_format: "%Y-%m-%d"
      start_datetime: "2026-01-01"
      start_time_option: {type: RequestOption, inject_into: request_parameter, field_name: since}
    retriever: {type: SimpleRetriever, requester: {$ref: "#/definitions/requester", path: orders}, record_selector: {$ref: "#/definitions/selector"}}
    schema_loader: {type: InlineSchemaLoader, schema: {type: object, properties: {id: {type: integer}}}}
  - type: DeclarativeStream
    name: items
    primary_key: [order, line]
    retriever: {type: SimpleRetriever, requester: {$ref: "#/definitions/requester", path: items}, record_selector: {$ref: "#/definitions/selector"}}
  - type: DeclarativeStream
    name: refused
    retriever: {type: SimpleRetriever, requester: {$ref: "#/definitions/requester", path: refused}, record_selector: {$ref: "#/definitions/selector"}}
spec:
  type: Spec
  documentation_url: https://shop.example/docs
  connection_specification: {type: object, required: [url, key], properties: {url: {type: string}, key: {type: string, airbyte_secret: true}}}
"##;

const KEY: &str = "a-key-of-the-customer";

/// Orders by day, with a null and over several lines; two items; no answer for the refused stream.
async fn shop() -> Server {
    Server::start(|asked: &Asked| match asked.path.as_str() {
        _ if asked.parameter("key") != Some(KEY) => Reply::json(&json!({"error": "no key"})).status(401),
        "/orders" => {
            let since = asked.parameter("since").unwrap_or_default();
            let orders = (1..=4).map(|day| json!({"id": day, "at": format!("2026-02-0{day}"), "note": null, "tags": [null]}));
            let orders: Vec<Value> = orders.filter(|order| order["at"].as_str().unwrap() >= since).collect();
            Reply::text(200, serde_json::to_string_pretty(&json!({"data": orders})).unwrap())
        }
        "/items" => Reply::json(&json!({"data": [{"order": 1, "line": 1}, {}]})),
        _ => Reply::json(&json!({"error": "not yours"})).status(403),
    })
    .await
}

fn client_of(shop: &Server) -> Client {
    Client::new(MANIFEST, &json!({"url": shop.url(), "key": KEY}))
}

/// Goal: a client learns what to configure, whether that works, and what there is.
#[tokio::test(flavor = "multi_thread")]
async fn spec_check_and_discover() {
    let shop = shop().await;
    let client = client_of(&shop);
    let spec = client.tell(&["spec"]).await;
    assert_eq!((spec.code, spec.messages.len()), (Some(0), 1), "{}", spec.errors);
    let specification = spec.of_kind("SPEC")[0];
    assert_eq!(specification["documentationUrl"], "https://shop.example/docs");
    assert_eq!(specification["connectionSpecification"]["properties"]["key"]["airbyte_secret"], true);

    let status = |told: &Told| told.messages.last().unwrap()["connectionStatus"].clone();
    let good = client.tell(&["check", "--config", "config.json"]).await;
    assert_eq!((good.code, status(&good)), (Some(0), json!({"status": "SUCCEEDED"})));
    assert_eq!(shop.seen().len(), 1, "one page is enough");
    for (config, word) in [(json!({"url": shop.url(), "key": "wrong-key"}), "401"), (json!({"url": 1, "key": KEY}), "/url")] {
        client.write("bad.json", &config.to_string());
        let bad = client.tell(&["check", "--config", "bad.json"]).await;
        let status = status(&bad);
        assert_eq!((bad.code, &status["status"]), (Some(0), &json!("FAILED")));
        assert!(status["message"].as_str().unwrap().contains(word) && !bad.text.contains("wrong-key"), "{status}");
    }

    let discovered = client.tell(&["discover", "--config", "config.json"]).await;
    let streams = &discovered.of_kind("CATALOG")[0]["streams"];
    let orders = json!({
        "name": "orders", "json_schema": {"type": "object", "properties": {"id": {"type": "integer"}}},
        "supported_sync_modes": ["full_refresh", "incremental"], "source_defined_cursor": true, "default_cursor_field": ["at"],
        "source_defined_primary_key": [["id"]], "is_resumable": true, "is_file_based": false
    });
    assert_eq!((discovered.code, &streams[0]), (Some(0), &orders));
    assert_eq!(streams[1]["source_defined_primary_key"], json!([["order"], ["line"]]));
    assert_eq!(streams[2]["supported_sync_modes"], json!(["full_refresh"]));
}

/// Goal: what one reading hands out as state, the next one goes on from; what is no cursor is state too.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_reading_goes_on() {
    let shop = shop().await;
    let client = client_of(&shop);
    client.catalog(&[("orders", "incremental"), ("items", "full_refresh")]);
    let first = client.tell(&READ).await;
    assert_eq!((first.code, first.failures().len()), (Some(0), 0), "{}", first.errors);
    assert_eq!(first.data("orders").len(), 4);
    assert_eq!(first.data("orders")[0], &json!({"id": 1, "at": "2026-02-01", "tags": [null]}));
    assert_eq!(first.data("items"), [&json!({"order": 1, "line": 1}), &json!({})], "an empty record ends nothing");
    for stream in ["orders", "items"] {
        assert_eq!(first.statuses(stream), ["STARTED", "RUNNING", "COMPLETE"]);
    }
    assert_eq!(first.state("orders"), (&json!({"at": "2026-02-04"}), 4.0));
    assert_eq!(first.state("items"), (&json!({"__ab_no_cursor_state_message": true}), 2.0));

    let states: Vec<&Value> = first.of_kind("STATE");
    client.write("state.json", &json!(states).to_string());
    let second = client.tell(&[&READ[..], &["--state", "state.json", "--compat", "safe"]].concat()).await;
    assert_eq!(second.data("orders"), [&json!({"id": 4, "at": "2026-02-04", "note": null, "tags": [null]})], "safe keeps nulls");
    assert_eq!(shop.seen_at("/orders").last().unwrap().parameter("since"), Some("2026-02-04"));
    assert_eq!(second.data("items").len(), 2);
    assert!(!first.text.contains(KEY) && !second.text.contains(KEY));

    client.catalog(&[("orders", "full_refresh")]);
    for (compat, count) in [("strict", 1), ("safe", 4)] {
        let whole = client.tell(&[&READ[..], &["--state", "state.json", "--compat", compat]].concat()).await;
        assert_eq!(whole.data("orders").len(), count, "{compat}: everything is asked for");
    }
}

/// Goal: one stream's failure is told once, as its own, without a secret, and stops no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_stream_stops_no_other() {
    let shop = shop().await;
    let client = client_of(&shop);
    client.catalog(&[("refused", "full_refresh"), ("nowhere", "full_refresh"), ("items", "full_refresh")]);
    let told = client.tell(&READ).await;
    assert_eq!((told.code, told.data("items").len()), (Some(1), 2));
    assert_eq!(told.statuses("items"), ["STARTED", "RUNNING", "COMPLETE"]);
    let failures = told.failures();
    assert_eq!(failures.len(), 2);
    for (failure, (stream, word)) in failures.iter().zip([("refused", "403"), ("nowhere", "no stream `nowhere`")]) {
        assert_eq!(told.statuses(stream), ["STARTED", "INCOMPLETE"]);
        assert_eq!((&failure["stream_descriptor"]["name"], &failure["failure_type"]), (&json!(stream), &json!("config_error")));
        assert!(failure["message"].as_str().unwrap().contains(word), "{failure}");
    }
    assert!(!told.text.contains(KEY) && !told.errors.contains(KEY));
}

/// Goal: a file that is none is told as such, with the exit code of malformed input, on both outputs, before anything is asked.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_files_are_refused() {
    let shop = shop().await;
    let client = client_of(&shop);
    client.catalog(&[("orders", "incremental")]);
    client.write("list.json", "[1]");
    client.write("torn.json", &format!("{{\"key\": \"{KEY}\", "));
    let with = |flag: &'static str, file: &'static str| {
        let mut arguments = READ.to_vec();
        match arguments.iter().position(|argument| *argument == flag) {
            Some(position) => arguments[position + 1] = file,
            None => arguments.extend([flag, file]),
        }
        arguments
    };
    for (arguments, code, word) in [
        (with("--config", "list.json"), 2, "object"),
        (with("--config", "torn.json"), 2, "JSON"),
        (with("--config", "none.json"), 2, "cannot be read"),
        (with("--catalog", "list.json"), 2, "catalog"),
        (with("--state", "list.json"), 2, "state"),
        (vec!["discover", "--config", "torn.json"], 2, "JSON"),
    ] {
        let told = client.tell(&arguments).await;
        assert_eq!(told.code, Some(code), "{arguments:?}: {}", told.errors);
        let failures = told.failures();
        assert_eq!((failures.len(), &failures[0]["failure_type"]), (1, &json!("config_error")));
        assert!(failures[0]["message"].as_str().unwrap().contains(word) && told.errors.contains(word), "{}", told.errors);
        assert!(!told.text.contains(KEY) && !told.errors.contains(KEY));
    }
    client.write("config.json", r#"{"url": 5, "key": "x"}"#);
    let told = client.tell(&READ).await;
    assert_eq!((told.code, &told.failures()[0]["failure_type"]), (Some(1), &json!("config_error")));
    client.write("manifest.yaml", "version: 6.0.0\ntype: DeclarativeSource\n");
    let told = client.tell(&["spec"]).await;
    assert_eq!((told.code, &told.failures()[0]["failure_type"]), (Some(2), &json!("system_error")));
    assert_eq!(shop.seen().len(), 0);
}

/// Goal: a stream that needs custom Python is named, and the others are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_run_is_named() {
    let shop = shop().await;
    let client = client_of(&shop);
    let refused = "path: refused}, record_selector: {$ref: \"#/definitions/selector\"}}";
    let manifest = MANIFEST
        .replace(refused, "path: refused}, record_selector: {extractor: {type: CustomRecordExtractor, class_name: shop.Extractor}}}");
    assert_ne!(manifest, MANIFEST);
    client.write("manifest.yaml", &manifest);
    client.catalog(&[("refused", "full_refresh"), ("items", "full_refresh")]);
    let told = client.tell(&READ).await;
    assert_eq!((told.code, told.data("items").len(), told.failures().len()), (Some(1), 2, 1), "{}", told.errors);
    let message = told.failures()[0]["message"].as_str().unwrap();
    assert!(message.contains("`refused` is not run here") && message.contains("HG"), "{message}");
    assert_eq!(told.statuses("refused"), ["STARTED", "INCOMPLETE"]);
    let discovered = client.tell(&["discover"]).await;
    let names: Vec<&Value> = discovered.of_kind("CATALOG")[0]["streams"].as_array().unwrap().iter().map(|stream| &stream["name"]).collect();
    assert_eq!(names, ["orders", "items"]);
}

/// Goal: an identifier that looks like a number is not lost without a word. Method: a key made by an expression, read by both modes.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_their_type_are_told() {
    let shop =
        Server::start(|_: &Asked| Reply::json(&json!({"data": [{"code": "35E87645934406417"}, {"code": "007"}, {"code": "7"}]}))).await;
    let added =
        "transformations: [{type: AddFields, fields: [{path: [order], value: \"{{ record['code'] }}\"}, {path: [line], value: \"1\"}]}]";
    let manifest = MANIFEST.replace("    primary_key: [order, line]\n", &format!("    primary_key: [order, line]\n    {added}\n"));
    let client = Client::new(&manifest, &json!({"url": shop.url(), "key": KEY}));
    client.catalog(&[("items", "full_refresh")]);
    let orders = |told: &Told| told.data("items").into_iter().map(|item| item["order"].clone()).collect::<Vec<_>>();
    let warnings = |told: &Told| {
        let logs: Vec<String> = told
            .of_kind("LOG")
            .iter()
            .filter(|log| log["level"] == "WARN")
            .map(|log| log["message"].as_str().unwrap().to_owned())
            .collect();
        logs
    };
    let strict = client.tell(&READ).await;
    assert_eq!(orders(&strict), [json!(null), json!("007"), json!(7)]);
    assert!(strict.data("items")[0].as_object().unwrap().contains_key("order"), "infinity is null, and not left out");
    let [warning] = &warnings(&strict)[..] else { panic!("{}", strict.text) };
    assert!(warning.contains("2 values of the primary key"), "{warning}");
    let safe = client.tell(&[&READ[..], &["--compat", "safe"]].concat()).await;
    assert_eq!(orders(&safe), [json!("35E87645934406417"), json!("007"), json!("7")]);
    assert_eq!(warnings(&safe), Vec::<String>::new());
}

/// Pages without end: each leads to the next.
async fn endless() -> Server {
    Server::start(|asked: &Asked| {
        let page: u64 = asked.parameter("page").and_then(|page| page.parse().ok()).unwrap_or(0);
        let data: Vec<Value> = (0..50).map(|line| json!({"order": page, "line": line, "text": "x".repeat(500)})).collect();
        Reply::json(&json!({"data": data}))
    })
    .await
}

fn endless_client(shop: &Server) -> Client {
    let paginator = "paginator: {type: DefaultPaginator, page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: page}, pagination_strategy: {type: PageIncrement, page_size: 50}}";
    let manifest = MANIFEST.replace("path: items}, ", &format!("path: items}}, {paginator}, "));
    let client = Client::new(&manifest, &json!({"url": shop.url(), "key": KEY}));
    client.catalog(&[("items", "full_refresh"), ("orders", "full_refresh")]);
    client
}

/// Goal: a reading that is stopped ends its messages as the protocol says. Method: pages without end, and a signal.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_reading_cleanly() {
    let shop = endless().await;
    let client = endless_client(&shop);
    for signal in ["-INT", "-TERM"] {
        let mut child = client.command(&READ).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut messages = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            messages.push(serde_json::from_str::<Value>(&line).unwrap());
            if messages.len() == 200 {
                Command::new("kill").arg(signal).arg(child.id().unwrap().to_string()).status().await.unwrap();
            }
        }
        let code = tokio::time::timeout(Duration::from_secs(5), child.wait()).await.unwrap().unwrap().code();
        let told = Told { code, messages, text: String::new(), errors: String::new() };
        assert_eq!((told.code, told.statuses("items")), (Some(1), vec!["STARTED", "RUNNING", "INCOMPLETE"]));
        assert_eq!(told.state("items").1, told.data("items").len() as f64, "what was written is counted");
        assert_eq!(told.failures()[0]["failure_type"], "transient_error");
        assert_eq!(told.statuses("orders"), Vec::<&str>::new(), "what had not begun is not begun");
    }
}

/// Goal: a client that has seen enough leaves no error behind. Method: the reader of the pipe goes away.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_is_no_error() {
    let shop = endless().await;
    let client = endless_client(&shop);
    let mut child = client.command(&READ).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap().unwrap();
    drop(lines);
    let code = tokio::time::timeout(Duration::from_secs(5), child.wait()).await.unwrap().unwrap().code();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
}

/// Goal: a refresh token that is good once is not lost: the client gets its successor before it is used, and goes on from it.
/// Method: an application whose refresh tokens are numbered, two streams, two readings.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_refresh_token_is_handed_back() {
    let shop = Server::start(|asked: &Asked| match asked.path.as_str() {
        "/token" => {
            let used = asked.form().into_iter().find(|(name, _)| name == "refresh_token").map(|(_, token)| token).unwrap_or_default();
            let number: u32 = used.trim_start_matches("refresh-").parse().unwrap();
            let next = number + 1;
            Reply::json(&json!({"access_token": format!("access-{next}"), "refresh_token": format!("refresh-{next}"), "expires_in": 600}))
        }
        _ => {
            let known = asked.header("authorization").is_some_and(|header| header.starts_with("Bearer access-"));
            Reply::json(&json!({"data": [{"id": 1}]})).status(if known { 200 } else { 401 })
        }
    })
    .await;
    let plain = "{type: ApiKeyAuthenticator, api_token: \"{{ config['key'] }}\", inject_into: {type: RequestOption, inject_into: request_parameter, field_name: key}}";
    let oauth = "{type: OAuthAuthenticator, token_refresh_endpoint: \"{{ config['url'] }}/token\", client_id: \"{{ config['id'] }}\", client_secret: \"{{ config['key'] }}\", refresh_token: \"{{ config['credentials']['refresh_token'] }}\", refresh_token_updater: {}}";
    let manifest = MANIFEST.replace(plain, oauth);
    assert_ne!(manifest, MANIFEST);
    let config = json!({"url": shop.url(), "key": KEY, "id": "us", "credentials": {"refresh_token": "refresh-1"}});
    let client = Client::new(&manifest, &config);
    client.catalog(&[("items", "full_refresh"), ("refused", "full_refresh")]);
    let first = client.tell(&[&READ[..], &["--now", "2026-11-24T10:00:00Z"]].concat()).await;
    assert_eq!((first.code, first.failures().len()), (Some(0), 0), "{}", first.errors);
    assert_eq!(shop.seen_at("/token").len(), 1, "the streams share a token");
    let control = first.of_kind("CONTROL");
    assert_eq!((control.len(), &control[0]["type"]), (1, &json!("CONNECTOR_CONFIG")));
    let handed = &control[0]["connectorConfig"]["config"];
    let credentials = json!({"refresh_token": "refresh-2", "access_token": "access-2", "token_expiry_date": "2026-11-24T10:10:00+00:00"});
    assert_eq!((&handed["credentials"], &handed["id"]), (&credentials, &json!("us")));
    let position = |kind: &str| first.messages.iter().position(|message| message["type"] == kind).unwrap();
    assert!(position("CONTROL") < position("RECORD"), "before the token is used");

    client.write("config.json", &handed.to_string());
    let soon = client.tell(&[&READ[..], &["--now", "2026-11-24T10:09:30Z"]].concat()).await;
    assert_eq!((soon.code, soon.of_kind("CONTROL").len()), (Some(0), 0), "strict uses a token to its end");
    let early = client.tell(&[&READ[..], &["--now", "2026-11-24T10:09:30Z", "--compat", "safe"]].concat()).await;
    let handed = &early.of_kind("CONTROL")[0]["connectorConfig"]["config"];
    assert_eq!((early.code, &handed["credentials"]["refresh_token"]), (Some(0), &json!("refresh-3")), "safe renews before it");
    assert!(!first.errors.contains("access-") && !first.errors.contains("refresh-"));
}

/// What a person types into PyAirbyte.
const PYAIRBYTE: &str = r#"
import json, sys
import airbyte
folder = sys.argv[1]
source = airbyte.get_source("source-shop", config=json.load(open(folder + "/config.json")), local_executable=folder + "/source-shop")
source.check()
source.select_streams(["orders", "items"])
cache = airbyte.caches.DuckDBCache(db_path=folder + "/cache.duckdb")
reads = [source.read(cache=cache) for _ in range(2)]
print("RESULT", json.dumps({
    "available": source.get_available_streams(),
    "read": [read.processed_records for read in reads],
    "cached": {name: len(list(stream)) for name, stream in reads[-1].streams.items()},
}))
"#;

/// Goal: PyAirbyte, a client that we did not write, reads a manifest through the binary, twice. Method: the python named by
/// `HEADGATE_PYAIRBYTE` (made by `python3 -m venv V && V/bin/pip install airbyte`), and a wrapper that names the manifest.
#[tokio::test(flavor = "multi_thread")]
async fn pyairbyte_reads_a_manifest() {
    use std::os::unix::fs::PermissionsExt;
    let Some(python) = std::env::var_os("HEADGATE_PYAIRBYTE") else {
        println!("skipped: HEADGATE_PYAIRBYTE names no python that has PyAirbyte");
        return;
    };
    let shop = shop().await;
    let schema =
        "schema_loader: {type: InlineSchemaLoader, schema: {type: object, properties: {order: {type: integer}, line: {type: integer}}}}";
    let manifest = MANIFEST.replace("    primary_key: [order, line]\n", &format!("    primary_key: [order, line]\n    {schema}\n"));
    let client = Client::new(&manifest, &json!({"url": shop.url(), "key": KEY}));
    let binary = env!("CARGO_BIN_EXE_headgate");
    let manifest = client.folder.path().join("manifest.yaml");
    let script = format!("#!/bin/sh\nexec '{binary}' airbyte \"$@\" --manifest-path '{}' --allow-loopback\n", manifest.display());
    let wrapper = client.write("source-shop", &script);
    std::fs::set_permissions(wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(python);
    command.args(["-c", PYAIRBYTE]).arg(client.folder.path()).current_dir(client.folder.path()).stdin(Stdio::null());
    command.envs([("DO_NOT_TRACK", "1"), ("AIRBYTE_OFFLINE_MODE", "1"), ("AIRBYTE_LOGGING_ROOT", "logs")]);
    let output = command.output().await.unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT ")).unwrap_or_else(|| panic!("{text}\n{errors}"));
    let result: Value = serde_json::from_str(result).unwrap();
    assert_eq!(result["available"], json!(["orders", "items", "refused"]));
    assert_eq!(result["read"], json!([6, 3]), "the second reading begins with the newest order");
    assert_eq!(result["cached"]["orders"], 4);
}
