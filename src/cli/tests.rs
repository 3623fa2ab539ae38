//! Command lines against a router that stands in for the gateway: what is asked, what is said, and how it ends.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use clap::CommandFactory;
use clap::Parser;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::cli::transport::RouterDoor;
use crate::clock::Timestamp;
use crate::config::Access;
use crate::config::DataDirectory;

/// What a writer got.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A gateway that expects certain requests in their order and gives each its answer.
#[derive(Clone, Default)]
struct Script {
    lines: Arc<Mutex<VecDeque<(String, u16, String)>>>,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Script {
    fn then(self, request: &str, status: u16, answer: impl ToString) -> Self {
        self.lines.lock().unwrap().push_back((request.into(), status, answer.to_string()));
        self
    }

    fn router(&self) -> Router {
        let script = self.clone();
        Router::new().fallback(move |request: Request| {
            let script = script.clone();
            async move {
                let asked = format!("{} {}", request.method(), request.uri());
                let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
                script.bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap_or(Value::Null));
                let (expected, status, answer) =
                    script.lines.lock().unwrap().pop_front().unwrap_or_else(|| panic!("not expected: {asked}"));
                assert_eq!(asked, expected);
                Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from(answer)).unwrap()
            }
        })
    }
}

/// What a command line came to.
struct Ended {
    code: u8,
    results: String,
    messages: String,
    bodies: Vec<Value>,
}

impl Ended {
    /// The last line of standard output, as JSON.
    fn last(&self) -> Value {
        serde_json::from_str(self.results.lines().last().unwrap_or_default()).unwrap_or(Value::Null)
    }
}

/// Carries a command line out against a script, and sees that the script was played to its end.
async fn check(line: &str, script: Script) -> Ended {
    let line = CommandLine::try_parse_from(["headgate"].into_iter().chain(line.split_whitespace())).unwrap();
    let (results, messages) = (Heard::default(), Heard::default());
    let mut output = Output::captured(line.globals.json, Box::new(results.clone()), Box::new(messages.clone()));
    let mut session = Session { client: Client::new(Box::new(RouterDoor::new(script.router()))), output: &mut output };
    let Command::Asking(asking) = line.command else { panic!("not a command that asks") };
    let outcome = asking.carry_out(&mut session).await;
    let code = exit_code(outcome, &mut output);
    assert!(script.lines.lock().unwrap().is_empty(), "never asked: {:?}", script.lines.lock().unwrap());
    let bodies = script.bodies.lock().unwrap().clone();
    Ended { code, results: results.text(), messages: messages.text(), bodies }
}

/// The definition of the command line holds together; clap checks it whole.
#[test]
fn the_command_line_is_sound() {
    CommandLine::command().debug_assert();
}

/// Every command and every option has a help text, so that nobody has to guess.
#[test]
fn everything_has_help() {
    fn walk(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} has no help");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
        }
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            walk(below, &path);
        }
    }
    walk(&CommandLine::command(), "");
}

/// Options of every command are taken before and after its name, and the command line is read as meant.
#[test]
fn options_stand_anywhere() {
    let good = [
        "serve --listen 127.0.0.1:0 --json --data d",
        "--json --data d demo --once --records 50",
        "--json --data d connections list",
        "connections --json list --data d",
        "connections list --data d --json",
        "--data d connections list --json --limit 5 --after x",
        "--data d --json erase conn_1 --yes",
        "erase --data d conn_1 --dry-run --json",
        "erase approve eras_1 --json --data d",
        "erase --json --data d list",
        "--json --data d erase show eras_1",
        "--json --data d revoke conn_1 --wait",
        "revoke --tenant acme --json --data d --reason x",
        "revoke --connector shop --dry-run --json --data d",
        "lineage rec_1 --depth 2 --direction up --json --data d",
        "lineage --key tracking_number=1 --tenant acme --json --data d",
        "--data d --test --json connect shop --tenant t --person p --organisation o --accept-policy --streams a,b",
        "run conn_1 --stream a --stream b --full --compat strict --json --data d",
        "records conn_1 --stream orders --format ndjson --limit 3 --json --data d",
        "audit verify --checkpoint f --json --data d",
        "keys create --role operator --json --data d",
        "--json keys create --role service --tenant acme --purpose support --purpose legal --data d",
        "--master-key-file f --json --data d store stats",
        "certificate show eras_1 --json --data d",
        "connectors check p --json --data d",
        "--json certificate verify f --key k --data d",
    ];
    for line in good {
        let parsed = CommandLine::try_parse_from(["headgate"].into_iter().chain(line.split(' ')));
        let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(parsed.globals.json && parsed.globals.data() == Path::new("d"), "{line}");
    }
}

/// What cannot be meant is refused by clap, with exit code 2.
#[test]
fn contradictions_are_refused() {
    let bad = [
        "",
        "conections list",
        "revoke",
        "revoke conn_1 --tenant acme",
        "revoke conn_1 --dry-run --wait",
        "erase",
        "erase conn_1 --yes --dry-run",
        "lineage",
        "lineage rec_1 --key a=b --tenant t",
        "lineage --key a=b",
        "lineage rec_1 --direction sideways",
        "connect shop --tenant t --person p",
        "connect shop --tenant t --person p --organisation o --purpose marketing",
        "records conn_1",
        "records conn_1 --stream s --limit 0",
        "records conn_1 --stream s --format xml",
        "keys create --role service",
        "keys create --role king",
        "audit prove one",
        "--master-key-file f --master-key-command c store stats",
    ];
    for line in bad {
        let error = CommandLine::try_parse_from(["headgate"].into_iter().chain(line.split_whitespace())).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

/// A list is followed to its end and said as one object, or as a table.
#[tokio::test]
async fn lists_are_followed_to_their_end() {
    let script = || {
        Script::default()
            .then("GET /v1/connections?limit=500", 200, json!({"items": [{"id": "conn_1", "state": "active"}], "next": "t1"}))
            .then("GET /v1/connections?limit=500&after=t1", 200, json!({"items": [{"id": "conn_2", "state": "paused"}], "next": null}))
    };
    let ended = check("--json connections list", script()).await;
    assert_eq!(ended.code, 0);
    assert_eq!(ended.last(), json!({"items": [{"id": "conn_1", "state": "active"}, {"id": "conn_2", "state": "paused"}], "next": null}));
    let ended = check("connections list", script()).await;
    assert!(ended.results.contains("conn_1") && ended.results.contains("paused"), "{}", ended.results);
    let limited =
        Script::default().then("GET /v1/connections?tenant=acme&limit=1", 200, json!({"items": [{"id": "conn_1"}], "next": "t1"}));
    assert_eq!(check("--json connections list --tenant acme --limit 1", limited).await.last()["next"], "t1");
}

/// Refusals end with 1, malformed requests and files with 2, each with the problem's own words on standard error.
#[tokio::test]
async fn problems_end_with_their_exit_code() {
    let problem = |status| json!({"type": "about:blank", "title": "No", "status": status, "detail": "because of that"});
    for (status, code) in [(400, 2), (404, 1), (409, 1), (422, 1), (500, 1), (503, 1)] {
        let ended =
            check("--json connections show conn_1", Script::default().then("GET /v1/connections/conn_1", status, problem(status))).await;
        assert_eq!((ended.code, ended.results.as_str()), (code, ""), "{status}");
        assert_eq!(ended.messages, "headgate: because of that\n");
    }
    let policy = json!({"version": "1", "text": "be good", "acknowledgements": [{"id": "authority", "text": "I may"}]});
    let script = Script::default().then("GET /v1/policy", 200, &policy).then("POST /v1/connections", 422, problem(422));
    let ended = check("connect shop --tenant t --person p --organisation o --accept-policy", script).await;
    assert_eq!(ended.code, 2, "a config or manifest that is malformed is a malformed file");
    let ended = check("connections show conn_1", Script::default().then("GET /v1/connections/conn_1", 200, "<html>")).await;
    assert_eq!(ended.code, 1);
}

/// Connecting sends the consent with the policy's version and its five points, and says what came of it.
#[tokio::test]
async fn connecting_sends_the_consent() {
    let points: Vec<Value> = ["a", "b", "c", "d", "e"].iter().map(|id| json!({"id": id, "text": id})).collect();
    let policy = json!({"version": "2026-11", "text": "be good", "acknowledgements": points});
    let answer = json!({"connection": "conn_1", "state": "active"});
    let script = Script::default().then("GET /v1/policy", 200, &policy).then("POST /v1/connections", 201, &answer);
    let line =
        "--json connect shop --tenant acme --person Ann --organisation Acme --accept-policy --purpose support --streams orders,items";
    let ended = check(line, script).await;
    assert_eq!((ended.code, ended.last()), (0, answer));
    let expected = json!({
        "connector": "shop",
        "tenant": "acme",
        "config": {},
        "consent": {
            "person": "Ann",
            "organisation": "Acme",
            "policy_version": "2026-11",
            "acknowledged": ["a", "b", "c", "d", "e"],
            "purposes": ["support"],
        },
        "streams": ["orders", "items"],
    });
    assert_eq!(ended.bodies[1], expected);

    let ended = check("connect shop --tenant t --person p --organisation o", Script::default().then("GET /v1/policy", 200, &policy)).await;
    assert_eq!(ended.code, 2);
    assert!(ended.messages.contains("be good") && ended.messages.contains("--accept-policy"), "{}", ended.messages);
}

/// With a server and --json, an OAuth connect says the page and ends: the server waits for the browser.
#[tokio::test]
async fn oauth_connect_says_the_page() {
    let answer = json!({"connection": "conn_1", "state": "pending", "authorize_url": "https://shop.example/authorize?state=x"});
    let script = Script::default().then("POST /admin/connections/conn_1/reconnect", 200, &answer);
    let ended = check("--json connections reconnect conn_1", script).await;
    assert_eq!((ended.code, ended.last()), (0, answer));
}

/// A run is watched until all its streams have ended; one that failed makes the command fail, after its result.
#[tokio::test]
async fn runs_are_watched_to_their_end() {
    let runs = |state: &str| json!({"items": [{"id": "run_1", "stream": "orders", "state": "complete"}, {"id": "run_2", "stream": "items", "state": state, "error": "503"}], "next": null});
    for (state, code) in [("complete", 0), ("failed", 1), ("cancelled", 1)] {
        let script = Script::default()
            .then("POST /v1/connections/conn_1/runs", 202, json!({"pull": "pull_1", "runs": []}))
            .then("GET /v1/runs?pull=pull_1&limit=500", 200, runs("running"))
            .then("GET /v1/runs?pull=pull_1&limit=500", 200, runs(state));
        let ended = check("--json run conn_1 --stream orders --stream items --full", script).await;
        assert_eq!(ended.code, code, "{}", ended.messages);
        assert_eq!(ended.last(), json!({"pull": "pull_1", "runs": runs(state)["items"]}));
        assert_eq!(ended.bodies[0], json!({"streams": ["orders", "items"], "full": true}));
    }
}

/// Records are read for the connection's first purpose unless one is named, and every format is complete.
#[tokio::test]
async fn records_are_complete_in_every_format() {
    let record = |n: u32| json!({"id": format!("rec_{n}"), "version": 1, "kind": "order", "data": {"id": n}, "tag": {"page": {"received_at": "2026-11-24T00:00:00Z"}}});
    let script = || {
        Script::default()
            .then("GET /v1/connections/conn_1", 200, json!({"purposes": ["support"]}))
            .then("GET /v1/records?connection=conn_1&stream=orders&limit=500", 200, json!({"items": [record(1)], "next": "a"}))
            .then("GET /v1/records?connection=conn_1&stream=orders&limit=500&after=a", 200, json!({"items": [record(2)], "next": null}))
    };
    let ended = check("--json records conn_1 --stream orders", script()).await;
    assert_eq!((ended.code, ended.last()), (0, json!({"items": [record(1), record(2)], "next": null})));
    let ended = check("records conn_1 --stream orders --format ndjson", script()).await;
    assert_eq!(ended.results, format!("{}\n{}\n", record(1), record(2)));
    let ended = check("records conn_1 --stream orders --format csv", script()).await;
    assert_eq!(ended.results.lines().count(), 3);
    let page = json!({"items": [record(1)], "next": "a"});
    let limited = Script::default().then("GET /v1/records?connection=conn_1&stream=orders&limit=1", 200, page);
    let ended = check("records conn_1 --stream orders --limit 1 --purpose legal", limited).await;
    assert!(ended.results.contains("rec_1") && ended.messages.contains("there are more"), "{}{}", ended.results, ended.messages);
    assert_eq!(check("--json records conn_1 --stream orders --format csv", Script::default()).await.code, 2);
}

/// Without --yes and without a terminal an erasure stops when it is requested; with it, it is approved and waited for.
#[tokio::test]
async fn an_erasure_needs_a_yes() {
    let erasure = |state: &str| json!({"id": "eras_1", "state": state, "counts": {"records": 3}});
    let ended = check("--json erase conn_1 --revoke", Script::default().then("POST /v1/erasures", 202, erasure("requested"))).await;
    assert_eq!((ended.code, ended.last()), (0, erasure("requested")));
    assert_eq!(ended.bodies[0], json!({"scope": {"connection": "conn_1"}, "revoke": true}));
    assert!(ended.messages.contains("erase approve eras_1"), "{}", ended.messages);

    for (state, code) in [("complete", 0), ("refused", 1)] {
        let script = Script::default()
            .then("POST /v1/erasures", 202, erasure("requested"))
            .then("POST /v1/erasures/eras_1/approve", 200, erasure("approved"))
            .then("GET /v1/erasures/eras_1", 200, erasure("unreadable"))
            .then("GET /v1/erasures/eras_1", 200, erasure(state));
        let ended = check("--json erase conn_1 --yes", script).await;
        assert_eq!((ended.code, ended.last()), (code, erasure(state)));
    }
    let script = Script::default().then("POST /v1/erasures?dry_run=true", 200, json!({"id": null, "state": "planned"}));
    assert_eq!(check("erase conn_1 --dry-run", script).await.code, 0);
}

/// A revocation names its scope; `--wait` asks again until the credential is gone.
#[tokio::test]
async fn a_revocation_may_wait_for_the_credential() {
    let revoked = |credential: &str| json!({"revoked": [{"connection": "conn_1", "state": "revoked", "credential": credential}]});
    let script = Script::default().then("POST /v1/revocations", 200, revoked("revoking")).then(
        "POST /v1/connections/conn_1/revoke",
        200,
        revoked("destroyed"),
    );
    let ended = check("--json revoke conn_1 --reason closed --wait", script).await;
    assert_eq!((ended.code, ended.last()), (0, revoked("destroyed")));
    assert_eq!(ended.bodies[0], json!({"scope": {"connection": "conn_1"}, "reason": "closed"}));
    let script = Script::default().then("POST /v1/revocations?dry_run=true", 200, json!({"revoked": []}));
    assert_eq!(check("--json revoke --connector shop --dry-run", script).await.bodies[0], json!({"scope": {"connector": "shop"}}));
}

/// A certificate is printed byte for byte.
#[tokio::test]
async fn a_certificate_is_printed_byte_for_byte() {
    let envelope = "{\"payloadType\":\"application/vnd.in-toto+json\",\"payload\":\"e30=\"}\n";
    for line in ["certificate show eras_1", "--json certificate show eras_1"] {
        let script = Script::default().then("GET /v1/erasures/eras_1/certificate", 200, envelope);
        assert_eq!(check(line, script).await.results, envelope);
    }
}

/// A manifest's problems are listed, and the exit code is that of a malformed file.
#[tokio::test]
async fn a_manifest_is_checked_from_the_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.yaml");
    std::fs::write(&path, "type: Nothing\n").unwrap();
    let ended = check(&format!("--json connectors check {}", path.display()), Script::default()).await;
    assert_eq!((ended.code, &ended.last()["ok"]), (2, &json!(false)));
    assert!(ended.last()["problems"][0]["code"].is_string(), "{}", ended.results);
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/connectors/sandbox");
    assert_eq!(check(&format!("connectors check {good}"), Script::default()).await.code, 0);
    assert_eq!(check("connectors check /nowhere/at/all", Script::default()).await.code, 2);
}

/// A file that is no certificate is malformed, whatever keys are given; no store is opened for it.
#[tokio::test]
async fn a_file_that_is_no_certificate_is_malformed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certificate");
    std::fs::write(&path, "{}\n").unwrap();
    assert_eq!(check(&format!("certificate verify {}", path.display()), Script::default()).await.code, 2);
    assert_eq!(check(&format!("certificate verify {0} --key {0}", path.display()), Script::default()).await.code, 2);
    assert_eq!(check("certificate verify /nowhere/certificate", Script::default()).await.code, 2);
}

/// The log's verdict is the exit code, and a note that was kept is sent as it is.
#[tokio::test]
async fn the_log_is_verified_against_a_kept_note() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note");
    let note = "origin\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— origin sig\n";
    std::fs::write(&path, note).unwrap();
    let line = format!("--json audit verify --checkpoint {}", path.display());
    for (ok, code) in [(true, 0), (false, 1)] {
        let verdict = json!({"ok": ok, "problems": [], "tree_size": 9});
        let ended = check(&line, Script::default().then("POST /admin/audit/verify", 200, &verdict)).await;
        assert_eq!((ended.code, ended.last()), (code, verdict));
        assert_eq!(ended.bodies[0]["checkpoint"], note);
    }
    assert_eq!(check("audit verify --checkpoint /nowhere/note", Script::default()).await.code, 2);
    let script = Script::default()
        .then("GET /v1/audit/checkpoint", 200, "origin\n3\nhash\n\n— origin sig\n")
        .then("GET /v1/audit/entries/1", 200, json!({"index": 1}))
        .then("GET /v1/audit/entries/2", 200, json!({"index": 2}));
    assert_eq!(check("--json audit tail --limit 2", script).await.last(), json!({"items": [{"index": 1}, {"index": 2}], "next": null}));
}

/// A record's origin is drawn from the field back to the application and the consent.
#[tokio::test]
async fn an_origin_is_drawn() {
    let tag = json!({
        "tenant": "acme", "connection": "conn_1", "connector": {"name": "shop", "digest": "dd"}, "stream": "orders", "kind": "order",
        "primary_key": [1001], "run": "run_1", "pointer": "/orders/3", "consent": "cons_1", "policy_version": "2026-11",
        "purposes": ["support"], "content_digest": "cc", "transformations": [], "masks": [],
        "page": {"id": "page_1", "method": "GET", "url": "https://shop.example/orders?page=2", "status": 200, "attempt": 1,
                 "requested_at": "t1", "received_at": "t2", "response_sha256": "ee", "bytes": 77, "request_id": null},
        "retention": {"class": "default", "delete_after": "t3"},
    });
    let origin = json!({"record": "rec_1", "version": 2, "tag": tag, "inputs": [], "outputs": []});
    let script = || Script::default().then("GET /v1/records/rec_1/lineage", 200, &origin);
    assert_eq!(check("--json lineage rec_1", script()).await.last(), origin);
    let drawn = check("lineage rec_1", script()).await.results;
    for part in ["rec_1", "/orders/3", "sha256 ee", "page=2", "run_1", "conn_1", "acme", "cons_1", "at https://shop.example", "sha256 dd"] {
        assert!(drawn.contains(part), "{part} is missing in\n{drawn}");
    }
    let dot = check("lineage rec_1 --format dot", script()).await.results;
    assert!(dot.contains(r#""page_1" -> "rec_1""#), "{dot}");
    let found = json!({"items": [{"record": "rec_1", "stream": "orders", "connection": "conn_1"}], "next": null});
    let script = Script::default().then("GET /v1/lineage/keys/tracking_number/1Z%2F9?tenant=acme&limit=500", 200, &found);
    assert_eq!(check("--json lineage --key tracking_number=1Z/9 --tenant acme", script).await.last(), found);
    assert_eq!(check("lineage --key tracking_number --tenant acme", Script::default()).await.code, 2);
}

/// While another process holds the store, a command goes through its socket; a holder that does not answer is named.
#[tokio::test]
async fn the_holder_of_the_store_answers() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let directory = DataDirectory::at(&data).unwrap();
    let Access::Held(mut held) = directory.access("serve", false, Timestamp::UNIX_EPOCH).unwrap() else { panic!("already held") };
    held.mark(Timestamp::UNIX_EPOCH).unwrap();
    let script = Script::default().then("GET /healthz", 200, "ok").then("GET /admin/store/stats", 200, json!({"records": 1}));
    let listener = tokio::net::UnixListener::bind(directory.socket()).unwrap();
    let served = tokio::spawn(axum::serve(listener, script.router()).into_future());
    let line = CommandLine::try_parse_from(["headgate", "--data", data.to_str().unwrap(), "--json", "store", "stats"]).unwrap();
    let (results, messages) = (Heard::default(), Heard::default());
    let mut output = Output::captured(true, Box::new(results.clone()), Box::new(messages.clone()));
    line.command.open_and_carry_out(&line.globals, Environment::default(), &mut output).await.unwrap();
    assert_eq!(results.text(), "{\"records\":1}\n");
    served.abort();
    drop(held);
}
