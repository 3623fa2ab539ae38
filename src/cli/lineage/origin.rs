//! The exact origin of a record, from the field in the response back to the application and the consent.

use serde_json::Value;
use serde_json::json;

use crate::cli::lineage::tree::Branch;
use crate::cli::output;

/// The origin as branches; of an erased record, its tombstone.
pub fn branch(origin: &Value) -> Branch {
    if !origin["tombstone"].is_null() {
        return tombstone(origin);
    }
    let tag = &origin["tag"];
    let at = |pointer: &str| output::shown(tag.pointer(pointer).unwrap_or(&Value::Null));
    let connection = Branch::new(format!("connection {}, account of tenant {}", at("/connection"), at("/tenant")))
        .with(Branch::new(format!(
            "connector {}, definition sha256 {}, at {}",
            at("/connector/name"),
            at("/connector/digest"),
            origin_of(tag)
        )))
        .with(Branch::new(format!("consent {}, policy {}, for {}", at("/consent"), at("/policy_version"), at("/purposes"))));
    let run = Branch::new(if tag["run"].is_null() { "no run".into() } else { format!("run {}", at("/run")) }).with(connection);
    let request = Branch::new(format!(
        "request {} {}, status {}, attempt {}, sent {}{}",
        at("/page/method"),
        at("/page/url"),
        at("/page/status"),
        at("/page/attempt"),
        at("/page/requested_at"),
        given(", the application's id ", &at("/page/request_id")),
    ))
    .with(run);
    let response = Branch::new(format!(
        "response sha256 {}, {} bytes, received {}, {}",
        at("/page/response_sha256"),
        at("/page/bytes"),
        at("/page/received_at"),
        at("/page/id")
    ))
    .with(request);
    let pointer = tag["pointer"].as_str().filter(|pointer| !pointer.is_empty());
    let place = pointer.map_or_else(|| "the whole response".to_owned(), |pointer| format!("pointer {}", output::plain(pointer)));
    Branch::new(format!("record {} version {}", output::shown(&origin["record"]), output::shown(&origin["version"])))
        .with(Branch::new(format!(
            "{} of stream {}, key {}, content sha256 {}",
            kind(tag),
            at("/stream"),
            at("/primary_key"),
            at("/content_digest")
        )))
        .with(Branch::new(place).with(response))
        .with(Branch::new(format!("changed on the way: {}; masked: {}", or_nothing(at("/transformations")), or_nothing(masked(tag)))))
        .with_all(behind(&origin["source"]))
        .with(Branch::new(format!("kept until {}, class {}", or_nothing(at("/retention/delete_after")), at("/retention/class"))))
        .with_all(related("made from", &origin["inputs"], tag))
        .with_all(related("used in", &origin["outputs"], tag))
}

/// What is left of an erased record.
fn tombstone(origin: &Value) -> Branch {
    let at = |name: &str| output::shown(&origin["tombstone"][name]);
    let from = format!("came from {} ({}), connection {} of tenant {}", at("application"), at("connector"), at("connection"), at("tenant"));
    let erased = format!("erased {} by {}, certificate {}", at("erased_at"), at("erasure"), at("certificate"));
    Branch::new(format!("record {}, stream {}: erased", output::shown(&origin["record"]), at("stream")))
        .with(Branch::new(from))
        .with(Branch::new(erased))
        .with_all(related("used in", &origin["outputs"], &Value::Null))
}

/// What stands behind the tag: application, authority, fields, versions.
fn behind(source: &Value) -> Vec<Branch> {
    if source.is_null() {
        return Vec::new();
    }
    let at = |pointer: &str| output::shown(source.pointer(pointer).unwrap_or(&Value::Null));
    let fields = source["fields"].as_array().into_iter().flatten().map(|field| {
        let sources = field["sources"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|from| format!("{} {}", output::shown(&from["subtype"]).to_lowercase(), output::shown(&from["pointer"])));
        let masked = if field["masked"] == true { ", masked" } else { "" };
        Branch::new(format!("{}: {}{masked}", output::shown(&field["field"]), or_nothing(sources.collect::<Vec<_>>().join(", "))))
    });
    let fields: Vec<Branch> = fields.collect();
    let versions = source["versions"].as_array().into_iter().flatten().map(|version| {
        Branch::new(format!(
            "version {}, {}, received {}",
            output::shown(&version["version"]),
            output::shown(&version["page"]),
            output::shown(&version["received_at"])
        ))
    });
    let versions: Vec<Branch> = versions.collect();
    let authority = format!(
        "authority: credential generation {}, unsealed in audit entry {}; scopes {}",
        or_nothing(at("/credential")),
        or_nothing(at("/audit/entry")),
        or_nothing(at("/consent/scopes")),
    );
    let mut branches =
        vec![Branch::new(format!("application {}, account {}", at("/application/display_name"), or_nothing(at("/application/account"))))];
    branches.push(Branch::new(authority));
    if !fields.is_empty() {
        branches.push(Branch::new("fields and what they are made of").with_all(fields));
    }
    if versions.len() > 1 {
        branches.push(Branch::new("versions").with_all(versions));
    }
    branches
}

/// The origin as a graph, in the direction of the data.
pub fn graph(origin: &Value) -> Value {
    let tag = &origin["tag"];
    let record = json!({"id": origin["record"], "type": "record", "facts": {"version": origin["version"], "pointer": tag["pointer"]}});
    let chain = [
        ("connector", &tag["connector"]["name"], json!({"digest": tag["connector"]["digest"]})),
        ("connection", &tag["connection"], json!({"tenant": tag["tenant"], "consent": tag["consent"]})),
        ("run", &tag["run"], json!({"stream": tag["stream"]})),
        ("page", &tag["page"]["id"], json!({"url": tag["page"]["url"], "response_sha256": tag["page"]["response_sha256"]})),
    ];
    let mut nodes: Vec<Value> =
        chain.iter().filter(|(_, id, _)| !id.is_null()).map(|(noun, id, facts)| json!({"id": id, "type": noun, "facts": facts})).collect();
    nodes.push(record);
    let mut edges: Vec<Value> = nodes.windows(2).map(|pair| json!({"from": pair[0]["id"], "to": pair[1]["id"]})).collect();
    let consent = json!({"id": tag["consent"], "type": "consent", "facts": {"policy_version": tag["policy_version"]}});
    edges.push(json!({"from": consent["id"], "to": tag["connection"]}));
    nodes.push(consent);
    json!({"nodes": nodes, "edges": edges})
}

/// Where the application was asked: scheme, host and port.
fn origin_of(tag: &Value) -> String {
    let url = tag["page"]["url"].as_str().and_then(|text| url::Url::parse(text).ok());
    url.map_or_else(|| "an unknown address".into(), |url| output::plain(&url.origin().ascii_serialization()))
}

fn kind(tag: &Value) -> String {
    if tag["kind"].is_null() { "record".into() } else { output::shown(&tag["kind"]) }
}

fn masked(tag: &Value) -> String {
    match tag["masks"].as_array() {
        Some(masks) if !masks.is_empty() => format!("{} values", masks.len()),
        _ => String::new(),
    }
}

/// What else the record is related to: the page, run, connection and consent of its tag are told already.
fn related<'a>(how: &'a str, list: &'a Value, tag: &'a Value) -> impl Iterator<Item = Branch> + 'a {
    let is_told = |id: &Value| [&tag["page"]["id"], &tag["run"], &tag["connection"], &tag["consent"]].contains(&id);
    let others = list.as_array().into_iter().flatten().filter(move |item| !is_told(&item["id"]));
    others.map(move |item| Branch::new(format!("{how} {} {}", output::shown(&item["type"]), output::shown(&item["id"]))))
}

fn given(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

fn or_nothing(text: String) -> String {
    if text.is_empty() { "nothing".into() } else { text }
}
