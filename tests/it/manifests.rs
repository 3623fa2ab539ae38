//! Manifests from strangers: whatever they hold, a check of them ends soon, in little memory, with a verdict. And the published
//! ones: how many of them run.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use headgate::connector::catalogue;
use serde_json::Value;
use serde_json::json;

use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server;

/// The address space of a check, in bytes.
const ADDRESS_BYTES_MAX: u64 = 1 << 30;
/// How long a check may keep a processor; the builds of tests are not optimised.
const PROCESSOR_SECONDS_MAX: u64 = 10;
/// Of the published manifests, how many load, and how many of those run with every stream.
const LOADED_MIN: usize = 251;
const WHOLE_MIN: usize = 245;

const HEAD: &str = "type: DeclarativeSource\nversion: 6.0.0\ncheck: {type: CheckStream, stream_names: [s0]}\n";
const RETRIEVER: &str = "retriever: {requester: {url: 'https://a.example/'}, record_selector: {extractor: {field_path: []}}}";

/// A manifest whose definitions and streams are these.
fn manifest(definitions: &str, streams: &str) -> String {
    format!("{HEAD}definitions:\n{definitions}  none: 0\nstreams:\n{streams}")
}

/// One good stream.
fn stream(number: usize) -> String {
    format!("  - {{name: s{number}, {RETRIEVER}}}\n")
}

/// A manifest of one stream whose requester is this.
fn request(requester: &str) -> String {
    manifest(
        "",
        &format!("  - {{name: s0, retriever: {{requester: {{{requester}}}, record_selector: {{extractor: {{field_path: []}}}}}}}}\n"),
    )
}

/// `count` lines that `line` makes.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

/// Texts that are hostile to whoever reads them, each with the code that it is refused with; none where it can be used.
fn hostile() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let of = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let many = |count, requester: &str| {
        lines(count, |n| {
            format!("  - {{name: s{n}, retriever: {{requester: {requester}, record_selector: {{extractor: {{field_path: []}}}}}}}}\n")
        })
    };
    let schema = of(3000, &|n| format!("p{n}: {{type: string}}"));
    let with_schema = lines(250, |n| {
        format!("  - {{name: s{n}, schema_loader: {{type: InlineSchemaLoader, schema: '#/definitions/big'}}, {RETRIEVER}}}\n")
    });
    let headers = of(500, &|n| format!("h{n}: \"{{{{ config['a{n}'] }}}}\""));
    let parameters = format!("$parameters: {{{}}}", of(100, &|n| format!("k{n}: v")));
    let filters = of(100, &|n| format!("{{http_codes: [{n}], action: FAIL}}"));
    let parametrized = lines(60, |n| {
        format!(
            "  - {{name: s{n}, {parameters}, retriever: {{requester: {{url: x, error_handler: {{response_filters: [{filters}]}}}}, record_selector: {{extractor: {{field_path: []}}}}}}}}\n"
        )
    });
    let doubled = |kind: &str, depth: usize| {
        lines(depth, |n| format!("  a{n}: {{type: {kind}, l: '#/definitions/a{m}', r: '#/definitions/a{m}'}}\n", m = n + 1))
            + &format!("  a{depth}: x\n")
    };
    let anchors =
        lines(30, |n| format!("  a{m}: &a{m} [{}]\n", of(8, &|_| if n == 0 { "x".to_owned() } else { format!("*a{n}") }), m = n + 1));
    let long = format!("url: \"{{{{ config['a'] }}}}{}\"", "x".repeat(2 << 20));
    let nested = |depth| format!("url: \"{{{{ {}1{} }}}}\"", "(".repeat(depth), ")".repeat(depth));
    let loops = format!("url: \"{}x{}\"", "{% for a in [1] %}".repeat(500), "{% endfor %}".repeat(500));
    let numbers = "url: x, error_handler: {max_retries: 1e308}}, paginator: {type: DefaultPaginator, pagination_strategy: {type: OffsetIncrement, page_size: 99999999999999999999999999}";
    let text = |text: String| text.into_bytes();
    vec![
        (
            "much",
            text(manifest(&lines(2000, |n| format!("  d{n}: {{a: [1, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'], b: {{c: d}}}}\n")), &stream(0))),
            None,
        ),
        ("too much", text(manifest(&format!("  a: '{}'\n", "x".repeat(5 << 20)), &stream(0))), Some("HG401")),
        ("deep in flow", text(format!("{HEAD}streams: {}", "[".repeat(100_000))), Some("HG101")),
        ("deep in blocks", text(format!("{HEAD}streams:\n{}", lines(1000, |n| format!("{}a:\n", " ".repeat(n + 1))))), Some("HG101")),
        ("a circle", text(manifest("  a: '#/definitions/b'\n  b: '#/definitions/a'\n", "  - '#/definitions/a'\n")), Some("HG103")),
        ("a list in itself", text(manifest("", "  - {$ref: '#/streams'}\n")), Some("HG103")),
        ("aliases", text(manifest(&anchors, &stream(0))), Some("HG101")),
        ("references", text(manifest(&doubled("X", 40), "  - '#/definitions/a0'\n")), Some("HG104")),
        (
            "a specification of references",
            text(manifest(&doubled("object", 40), &stream(0)) + "spec: {connection_specification: '#/definitions/a0'}\n"),
            Some("HG104"),
        ),
        (
            "a schema in every stream",
            text(manifest(&format!("  big: {{type: object, properties: {{{schema}}}}}\n"), &with_schema)),
            Some("HG104"),
        ),
        (
            "templates in every stream",
            text(manifest(&format!("  big: {{url: x, request_headers: {{{headers}}}}}\n"), &many(600, "'#/definitions/big'"))),
            Some("HG104"),
        ),
        (
            "a map under many",
            text(manifest(&format!("  big: {{{schema}}}\n"), &many(250, "{$ref: '#/definitions/big', url: x}"))),
            Some("HG104"),
        ),
        ("parameters everywhere", text(manifest("", &parametrized)), Some("HG104")),
        ("streams", text(manifest("", &lines(1500, stream))), None),
        (
            "refused streams",
            text(manifest("", &(stream(0) + &lines(2000, |n| format!("  - {{name: r{n}, retriever: {{class_name: a.B}}}}\n"))))),
            None,
        ),
        ("a long template", text(request(&long)), Some("HG120")),
        ("a nested template", text(request(&nested(3000))), Some("HG120")),
        ("loops in loops", text(request(&loops)), Some("HG120")),
        ("filters on filters", text(request(&format!("url: \"{{{{ 1{} }}}}\"", "|string".repeat(2000)))), Some("HG120")),
        (
            "a pattern of patterns",
            text(request(
                "url: x, error_handler: {backoff_strategies: [{type: WaitTimeFromHeader, header: h, regex: '((((a{1,1000}){1,1000}){1,1000}){1,1000})'}]}",
            )),
            Some("HG121"),
        ),
        ("numbers", text(request(numbers)), Some("HG113")),
        ("a long number", text(manifest(&format!("  n: {}\n", "9".repeat(1 << 20)), &stream(0))), Some("HG101")),
        ("the same key", text(manifest("", &stream(0)) + &lines(2000, |n| format!("version: {n}\n"))), None),
        ("a zero byte", [manifest("", &stream(0)).as_bytes(), b"\0\0"].concat(), Some("HG101")),
        ("no text", (0..=255).cycle().take(1 << 20).collect(), Some("HG401")),
    ]
}

/// Every hostile manifest is judged in a process with little memory and time.
#[test]
fn hostile_manifests_end_with_a_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, text, refused) in hostile() {
        let path = directory.path().join("manifest.yaml");
        std::fs::write(&path, text).unwrap();
        let (code, verdict) = check(name, &path, directory.path());
        let codes: Vec<_> = verdict["problems"].as_array().unwrap().iter().filter_map(|problem| problem["code"].as_str()).collect();
        let as_expected = match refused {
            None => code == 0 && verdict["ok"] == true,
            Some(expected) => code == 2 && verdict["ok"] == false && codes.contains(&expected),
        };
        if !as_expected {
            wrong.push(format!("{name}: exit code {code}, first problem {}, expected {refused:?}", verdict["problems"][0]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `headgate connectors check` says of a manifest, within its limits.
fn check(name: &str, manifest: &Path, directory: &Path) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(["--json", "--data"]).arg(directory.join("data")).args(["connectors", "check"]).arg(manifest);
    let script = format!("ulimit -v {} && ulimit -t {PROCESSOR_SECONDS_MAX} && exec \"$0\" \"$@\"", ADDRESS_BYTES_MAX >> 10);
    let mut limited = Command::new("sh");
    limited.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.signal().is_none(), "{name}: ended by {:?}: {said}", output.status);
    let verdict = output.stdout.split(|byte| *byte == b'\n').find(|line| !line.is_empty());
    let verdict = verdict.and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_else(|| panic!("{name}: no verdict: {said}"));
    (output.status.code().unwrap_or(-1), verdict)
}

/// A manifest whose streams depend on the configuration, on the state, and on what the application answers.
const DEPENDENT: &str = r##"
version: 7.0.0
type: DeclarativeSource
check:
  type: CheckStream
  dynamic_streams_check_configs: [{type: DynamicStreamCheckConfig, dynamic_stream_name: tables, stream_count: 1}]
definitions:
  requester: {type: HttpRequester, url_base: "{{ config['url'] }}", request_parameters: {region: "{{ config['region'] }}"}}
  selector: {type: RecordSelector, extractor: {type: DpathExtractor, field_path: []}}
  cursor: {type: DatetimeBasedCursor, cursor_field: at, datetime_format: "%Y-%m-%d", start_datetime: "2026-01-01"}
streams:
  - type: ConditionalStreams
    condition: "{{ config['extra'] }}"
    streams: [{type: DeclarativeStream, name: extra, retriever: {requester: {$ref: "#/definitions/requester", path: extra}, record_selector: "#/definitions/selector"}}]
  - type: StateDelegatingStream
    name: events
    full_refresh_stream:
      {type: DeclarativeStream, name: events, incremental_sync: "#/definitions/cursor", retriever: {requester: {$ref: "#/definitions/requester", path: all}, record_selector: "#/definitions/selector"}}
    incremental_stream:
      {type: DeclarativeStream, name: events, incremental_sync: "#/definitions/cursor", retriever: {requester: {$ref: "#/definitions/requester", path: changes}, record_selector: "#/definitions/selector"}}
dynamic_streams:
  - type: DynamicDeclarativeStream
    name: tables
    stream_template:
      type: DeclarativeStream
      name: ""
      retriever: {requester: {$ref: "#/definitions/requester", path: ""}, record_selector: "#/definitions/selector"}
    components_resolver:
      type: HttpComponentsResolver
      retriever: {requester: {$ref: "#/definitions/requester", path: tables}, record_selector: "#/definitions/selector"}
      components_mapping:
        - {field_path: [name], value: "{{ components_values['name'] }}"}
        - {field_path: [retriever, requester, path], value: "rows/{{ components_values['name'] }}"}
spec:
  connection_specification: {type: object, required: [url], properties: {url: {type: string}, region: {type: string, enum: [europe]}}}
  config_normalization_rules:
    type: ConfigNormalizationRules
    transformations: [{type: ConfigRemapField, field_path: [region], map: {eu: europe}}]
"##;

/// The application is asked for its streams, each is read as any other; a stream without a state is read from the beginning,
/// one with a state goes on; and the configuration that is asked with is the transformed one.
#[tokio::test]
async fn streams_are_made_of_what_the_application_answers() {
    let server = Server::start(|asked: &Asked| {
        assert_eq!(asked.parameter("region"), Some("europe"));
        Reply::json(&match asked.path.as_str() {
            "/tables" => json!([{"name": "a"}, {"name": "b"}]),
            "/all" => json!([{"id": "old", "at": "2026-01-02"}]),
            "/changes" => json!([{"id": "new", "at": "2026-01-03"}]),
            path => json!([{"id": path}]),
        })
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("manifest.yaml", DEPENDENT);
    write("config.json", &json!({"url": server.url(), "region": "eu"}).to_string());
    let stream = |name: &str, mode: &str| {
        let stream = json!({"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]});
        json!({"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"})
    };
    write("catalog.json", &json!({"streams": [stream("b", "full_refresh"), stream("events", "incremental")]}).to_string());
    let state = json!({"type": "STREAM", "stream": {"stream_descriptor": {"name": "events"}, "stream_state": {"at": "2026-01-02"}}});
    write("state.json", &json!([state]).to_string());
    let tell = async |arguments: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_headgate"));
        command.arg("airbyte").args(arguments.split(' ')).args([
            "--manifest-path",
            "manifest.yaml",
            "--config",
            "config.json",
            "--allow-loopback",
        ]);
        let output = command.current_dir(folder.path()).kill_on_drop(true).output().await.unwrap();
        let messages = String::from_utf8(output.stdout).unwrap();
        messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let of_kind = |messages: &[Value], kind: &str, pointer: &str| -> Vec<Value> {
        messages.iter().filter(|message| message["type"] == kind).filter_map(|message| message.pointer(pointer).cloned()).collect()
    };
    assert_eq!(of_kind(&tell("check").await, "CONNECTION_STATUS", "/connectionStatus/status"), ["SUCCEEDED"]);
    let catalog = of_kind(&tell("discover").await, "CATALOG", "/catalog/streams").remove(0);
    let names: Vec<&str> = catalog.as_array().unwrap().iter().map(|stream| stream["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["events", "a", "b"]);
    let read = tell("read --catalog catalog.json").await;
    assert_eq!(of_kind(&read, "RECORD", "/record/data/id"), ["/rows/b", "old"]);
    let read = tell("read --catalog catalog.json --state state.json").await;
    assert_eq!(of_kind(&read, "RECORD", "/record/data/id"), ["/rows/b", "new"]);
}

/// The published manifests run, most of them with every stream; what does not is refused by name.
#[test]
fn published_manifests_run() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");
    let cases = PathBuf::from(std::env::var("HEADGATE_SHARED").unwrap_or_else(|_| default.into())).join("conformance/cases");
    let Ok(folders) = std::fs::read_dir(cases) else {
        return println!("skipped: the shared folder is not there; set HEADGATE_SHARED");
    };
    let (mut all, mut loaded, mut whole) = (0, 0, 0);
    for folder in folders {
        let path = folder.unwrap().path();
        let verdict = catalogue::check(&path.join("manifest.yaml"));
        all += 1;
        loaded += usize::from(verdict.ok);
        whole += usize::from(verdict.ok && verdict.refused.is_empty());
        for problem in &verdict.problems {
            assert!(problem.line > 0 && !problem.message.is_empty(), "{path:?}: {problem}");
        }
        if let Some(problem) = verdict.problems.first() {
            println!("{}: {problem}", path.file_name().unwrap().to_string_lossy());
        }
    }
    println!("{loaded} of {all} published manifests load, {whole} with every stream");
    assert!(loaded >= LOADED_MIN && whole >= WHOLE_MIN, "{loaded} load, {whole} with every stream");
}
