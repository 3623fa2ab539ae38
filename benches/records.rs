//! What a page of 100 orders of 1 KB costs between its body and its emitted records, by what the manifest does to them.
//!
//! `cargo bench --bench records`. The sketch, made before measuring: a record is scanned once when it is found, about 1 µs; whatever
//! looks into it scans it again, another µs; an expression costs the engine about 1 µs; a change copies the record once, a tenth of
//! that. Building the record as a tree, as `tree` does for comparison, costs 10 µs and more. The budget is issue 4's: 8 µs a record
//! for everything between the socket and standard output.

#[path = "scale/orders.rs"]
mod orders;

use bytes::Bytes;
use divan::Bencher;
use headgate::clock::Clock;
use headgate::connector::definition::Connector;
use headgate::connector::expression::Scope;
use headgate::connector::expression::Slice;
use headgate::connector::expression::dynamic;
use headgate::connector::reading::Compat;
use headgate::connector::reading::Selector;
use serde_json::Value;
use serde_json::json;

const RECORDS: usize = 100;

/// What the manifest does: a selector's members, and the stream's.
const CASES: [(&str, &str, &str); 8] = [
    ("untouched", "", ""),
    (
        "normalized, nothing to do",
        "schema_normalization: Default",
        "schema_loader: {type: InlineSchemaLoader, schema: {properties: {id: {type: integer}, total: {type: string}, buyer: {type: object, properties: {name: {type: string}}}, lines: {type: array, items: {type: object, properties: {rate: {type: number}}}}, gift: {type: boolean}}}}",
    ),
    (
        "normalized, one member",
        "schema_normalization: Default",
        "schema_loader: {type: InlineSchemaLoader, schema: {properties: {total: {type: [number, 'null']}}}}",
    ),
    ("filtered", "record_filter: {condition: \"{{ record['state'] != 'returned' }}\"}", ""),
    ("constant added", "", "transformations: [{type: AddFields, fields: [{path: [shop], value: main}]}]"),
    ("expression added", "", "transformations: [{type: AddFields, fields: [{path: [name], value: \"{{ record['buyer']['name'] }}\"}]}]"),
    ("member removed", "", "transformations: [{type: RemoveFields, field_pointers: [[recipient]]}]"),
    ("flattened", "", "transformations: [{type: FlattenFields}]"),
];

fn main() {
    divan::main();
}

fn connector(selector: &str, stream: &str) -> Connector {
    let selector = if selector.is_empty() { String::new() } else { format!(", {selector}") };
    let manifest = format!(
        "type: DeclarativeSource\nversion: 6.0.0\ncheck: {{type: CheckStream, stream_names: [orders]}}\nstreams:\n  - name: orders\n    \
         primary_key: [id]\n    retriever: {{requester: {{url: 'https://shop.example'}}, record_selector: {{extractor: {{field_path: [orders]}}{selector}}}}}\n    {stream}\n"
    );
    Connector::load("bench", &manifest, None).expect("a connector")
}

fn body() -> Bytes {
    Bytes::from(orders::render(&(0..RECORDS).collect::<Vec<_>>()))
}

/// The records of a page, as they are emitted.
#[divan::bench(args = CASES.map(|(name, _, _)| name))]
fn selected(bencher: Bencher<'_, '_>, name: &str) {
    let (_, selector, stream) = CASES.iter().find(|(known, _, _)| *known == name).expect("a case");
    let connector = connector(selector, stream);
    let mut scope = Scope::new(Clock::System);
    scope.set("config", dynamic(&json!({})));
    let selector = Selector::new(connector.stream("orders").expect("the stream"), scope, Compat::Strict).expect("a selector");
    let body = body();
    bencher.bench_local(|| selector.select(&body, &Slice::default(), None, None).expect("records").records.len());
}

/// The same page built as a tree and written again, for comparison: what no record should cost.
#[divan::bench]
fn tree(bencher: Bencher<'_, '_>) {
    let body = body();
    bencher.bench_local(|| serde_json::from_slice::<Value>(&body).expect("JSON").to_string().len());
}
