//! Applications that do not answer in plain JSON, read by the real binary: one stream for each decoder, and schemas that are not in
//! the manifest.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server;

/// A stream, its decoder, the path of its records in the decoded form, and what else it says.
const STREAMS: [(&str, &str, &str, &str); 10] = [
    ("table", "{type: CsvDecoder, delimiter: ';', set_values_to_none: ['-']}", "[]", ""),
    ("document", "{type: XmlDecoder}", "[orders, order]", ""),
    ("lines", "{type: JsonlDecoder}", "[order]", ""),
    ("texts", "{type: IterableDecoder}", "[]", ""),
    ("items", "{type: JsonItemsDecoder, items_path: data.orders}", "[]", ""),
    ("packed", "{type: GzipDecoder, decoder: {type: CsvDecoder}}", "[]", ""),
    ("archive", "{type: ZipfileDecoder, decoder: {type: JsonDecoder}}", "[]", ""),
    ("broken", "{type: JsonlDecoder}", "[]", ""),
    ("filed", "{type: CsvDecoder}", "[]", "schema_loader: {type: JsonFileSchemaLoader, file_path: ./source_shop/schemas/filed.json}"),
    (
        "told",
        "{type: CsvDecoder}",
        "[]",
        "schema_loader: {type: DynamicSchemaLoader, schema_type_identifier: {schema_pointer: [fields], key_pointer: [name], type_pointer: [type]}, \
         retriever: {requester: {type: HttpRequester, url_base: \"{{ config['url'] }}\", path: fields}, record_selector: {extractor: {field_path: []}}}}",
    ),
];

const TABLE: &str = "id;note\r\n1;\"a;\nb\"\r\n2;-\r\n3\r\n";
const DOCUMENT: &str =
    "<?xml version=\"1.0\"?><orders><order id=\"1\"><line>a</line><line>b</line></order><order id=\"2\">&lt;gone&gt;</order></orders>";

fn manifest() -> String {
    let mut manifest =
        String::from("version: 6.0.0\ntype: DeclarativeSource\ncheck: {type: CheckStream, stream_names: [table]}\nstreams:\n");
    for (name, decoder, path, more) in STREAMS {
        let requester = format!("{{type: HttpRequester, url_base: \"{{{{ config['url'] }}}}\", path: {name}}}");
        let normalizes = if more.is_empty() { "" } else { ", schema_normalization: Default" };
        let selector = format!("{{extractor: {{field_path: {path}}}{normalizes}}}");
        manifest += &format!(
            "  - name: {name}\n    retriever: {{requester: {requester}, record_selector: {selector}, decoder: {decoder}}}\n    {more}\n"
        );
    }
    manifest + "spec: {type: Spec, connection_specification: {type: object, properties: {url: {type: string}}}}\n"
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(content).unwrap();
    packer.finish().unwrap()
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut packer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        packer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        packer.write_all(content.as_bytes()).unwrap();
    }
    packer.finish().unwrap().into_inner()
}

async fn shop() -> Server {
    Server::start(|asked: &Asked| match asked.path.as_str() {
        "/table" => Reply::text(200, TABLE).header("Content-Type", "text/csv"),
        "/document" => Reply::text(200, DOCUMENT).header("Content-Type", "application/xml"),
        "/lines" => Reply::text(200, "{\"order\": {\"id\": 1}}\n\n{\"order\": [{\"id\": 2}, {\"id\": 3}]}\n"),
        "/texts" => Reply::text(200, "one\r\ntwo"),
        "/items" => Reply::text(200, "{\"data\": {\"orders\": [{\"id\": 1}, {\"id\": 2.5}]}}"),
        "/packed" => Reply::text(200, gzip(b"id\n1\n2")).header("Content-Type", "application/gzip"),
        "/archive" => Reply::text(200, zip(&[("a.json", "[{\"id\": 1}]"), ("b.json", "{\"id\": 2}")])),
        "/broken" => Reply::text(200, "{\"id\": 1}\n{\"id\": \n"),
        "/filed" | "/told" => Reply::text(200, "id,total,gift\n1,2.50,yes\n2,none,"),
        "/fields" => Reply::json(&json!({"fields": [{"name": "id", "type": "integer"}, {"name": "gift", "type": "boolean"}]})),
        _ => Reply::text(404, "nothing here"),
    })
    .await
}

/// What a command came to: its messages, and what it said beside them.
async fn tell(folder: &TempDir, arguments: &[&str]) -> (Vec<Value>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.arg("airbyte").args(arguments).args(["--config", "config.json", "--manifest-path", "shop", "--allow-loopback"]);
    let output = command.current_dir(folder.path()).env_remove("HEADGATE_LOG").stdin(Stdio::null()).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), String::from_utf8(output.stderr).unwrap())
}

fn client(shop: &Server) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("shop/schemas")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("shop/manifest.yaml", &manifest());
    write(
        "shop/schemas/filed.json",
        r#"{"properties": {"id": {"type": "integer"}, "total": {"type": ["number", "null"]}, "gift": {"type": "boolean"}}}"#,
    );
    write("config.json", &json!({"url": shop.url()}).to_string());
    let streams = STREAMS.map(|(name, ..)| {
        let stream = json!({"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh"]});
        json!({"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"})
    });
    write("catalog.json", &json!({"streams": streams}).to_string());
    folder
}

fn records(messages: &[Value]) -> BTreeMap<&str, Vec<&Value>> {
    let mut records: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for record in messages.iter().filter(|message| message["type"] == "RECORD").map(|message| &message["record"]) {
        records.entry(record["stream"].as_str().unwrap()).or_default().push(&record["data"]);
    }
    records
}

/// Goal: every decoder's records come out as the reference engine has them, and an answer that is broken fails its stream alone where it
/// would go unseen otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_json_are_read() {
    let shop = shop().await;
    let folder = client(&shop);
    let (messages, errors) = tell(&folder, &["read", "--catalog", "catalog.json", "--compat", "safe"]).await;
    let found = records(&messages);
    let expected = json!({
        "table": [{"id": "1", "note": "a;\nb"}, {"id": "2", "note": null}, {"id": "3", "note": null}],
        "document": [{"@id": "1", "line": ["a", "b"]}, {"@id": "2", "#text": "<gone>"}],
        "lines": [{"id": 1}, {"id": 2}, {"id": 3}],
        "texts": [{"record": "one"}, {"record": "two"}],
        "items": [{"id": 1}, {"id": 2.5}],
        "packed": [{"id": "1"}, {"id": "2"}],
        "archive": [{"id": 1}, {"id": 2}],
        "filed": [{"id": 1, "total": 2.5, "gift": true}, {"id": 2, "total": "none", "gift": ""}],
        "told": [{"id": 1, "total": "2.50", "gift": true}, {"id": 2, "total": "none", "gift": ""}],
    });
    for (stream, expected) in expected.as_object().unwrap() {
        let found = Value::from(found.get(stream.as_str()).into_iter().flatten().map(|record| (*record).clone()).collect::<Vec<_>>());
        assert_eq!(found, *expected, "{stream}: {errors}");
    }
    assert_eq!(found.get("broken"), None);
    let failed = messages.iter().filter(|message| message["trace"]["stream_status"]["status"] == "INCOMPLETE");
    let failed: Vec<&str> =
        failed.map(|message| message["trace"]["stream_status"]["stream_descriptor"]["name"].as_str().unwrap()).collect();
    assert_eq!(failed, ["broken"]);

    let (messages, _) = tell(&folder, &["read", "--catalog", "catalog.json", "--compat", "strict"]).await;
    assert_eq!(records(&messages)["broken"], [&json!({"id": 1})]);
}

/// Goal: a stream's schema is found where the manifest says it is.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_found_elsewhere() {
    let shop = shop().await;
    let folder = client(&shop);
    let (messages, errors) = tell(&folder, &["discover"]).await;
    let catalog = messages.iter().find(|message| message["type"] == "CATALOG").unwrap_or_else(|| panic!("{errors}"));
    let streams = catalog["catalog"]["streams"].as_array().unwrap();
    let schema = |name: &str| &streams.iter().find(|stream| stream["name"] == name).unwrap()["json_schema"];
    assert_eq!(schema("filed")["properties"]["id"], json!({"type": "integer"}));
    let fields = json!({"id": {"type": ["null", "integer"]}, "gift": {"type": ["null", "boolean"]}});
    assert_eq!(schema("told")["properties"], fields);
    assert_eq!(schema("table"), &json!({}));
}
