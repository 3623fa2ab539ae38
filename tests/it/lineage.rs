//! Where a record came from, to the response and the field, and where it went, to the company's own jobs.

use data_encoding::BASE64;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::text;
use crate::support::outlet;
use crate::support::outlet::Outlet;
use crate::support::proof;

/// Nodes of a graph by their type, as ids.
fn of_type<'a>(graph: &'a Value, noun: &str) -> Vec<&'a str> {
    let nodes = graph["nodes"].as_array().unwrap().iter();
    nodes.filter(|node| node["type"] == noun).map(|node| node["id"].as_str().unwrap()).collect()
}

/// The hash of an entry of the log, from its leaf.
fn leaf_hash_of(entry: &Value) -> [u8; 32] {
    proof::leaf_hash(&BASE64.decode(entry["leaf"].as_str().unwrap().as_bytes()).unwrap())
}

/// Where a connection's orders are in the tenant's OpenLineage graph.
async fn orders_dataset(client: &Client, connection: &str) -> Value {
    let namespaces = client.get("/api/v1/namespaces").await.unwrap();
    let named = |namespace: &&Value| namespace["name"].as_str().unwrap().starts_with("headgate://");
    let namespace = text(namespaces["namespaces"].as_array().unwrap().iter().find(named).unwrap(), "name");
    json!({ "namespace": namespace, "name": format!("sandbox.{connection}.orders") })
}

/// Goal: a record's origin tells everything behind its tag, its fields are derived anew and agree, and the audit entry that it
/// names is proven by a verifier of our own. Method: the sandbox, through the binary and over HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_whole() {
    let sandbox = Sandbox::start(sandbox::Options { records: 30, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client();
    let connection = client.connect("acme", &sandbox).await.unwrap();
    client.pull(&connection).await.unwrap();
    let records = client.all(&format!("/v1/records?connection={connection}&stream=orders")).await.unwrap();
    for record in &records {
        let origin = client.get(&format!("/v1/records/{}/lineage", text(record, "id"))).await.unwrap();
        assert_eq!(origin["tag"], record["tag"]);
        let source = &origin["source"];
        assert_eq!(source["application"]["connector"], "sandbox");
        assert_eq!(source["application"]["account"], sandbox.address().to_string());
        assert_eq!(source["consent"]["id"], origin["tag"]["consent"]);
        assert!(!source["consent"]["scopes"].as_array().unwrap().is_empty(), "{source}");
        assert!(source["credential"].as_u64().is_some() && source["run"]["pull"].is_string(), "{source}");
        assert_eq!(source["versions"][0]["version"], origin["version"]);
        let fields = source["fields"].as_array().unwrap();
        assert!(!fields.is_empty() && fields.iter().all(|field| field["sources"][0]["in_response"].is_string()), "{source}");
        // The reading above is told: who received this version.
        assert!(origin["outputs"].as_array().unwrap().iter().any(|output| output["type"] == "recipient"), "{origin}");
    }

    // The authority is proven, with code that shares nothing with the gateway's.
    let record = text(&records[0], "id");
    let proven = client.get(&format!("/v1/records/{record}/lineage?proof=true")).await.unwrap();
    let audit = &proven["source"]["audit"];
    let entry = client.get(&format!("/v1/audit/entries/{}", audit["entry"])).await.unwrap();
    assert_eq!(entry["entry"]["action"], "credential unsealed", "{entry}");
    let (index, size) = (audit["proof"]["leaf_index"].as_u64().unwrap(), audit["proof"]["tree_size"].as_u64().unwrap());
    let leaves: Vec<_> = client.all("/v1/audit").await.unwrap().iter().map(leaf_hash_of).collect();
    let root = proof::root(&leaves[..size as usize]);
    assert!(proof::includes(leaves[index as usize], index, size, &proof::hashes(&audit["proof"]["hashes"]), &root), "{audit}");

    // Derived anew, as a command and over HTTP; a field that is not there is told.
    let explained = installation.result(&["explain", &record, "--json"]);
    assert_eq!((&explained["agrees"], &explained["content"]["agrees"]), (&json!(true), &json!(true)), "{explained}");
    for field in explained["fields"].as_array().unwrap() {
        assert_eq!(field["value"], records[0]["operational"][field["field"].as_str().unwrap()], "{field}");
    }
    let told = installation.run(&["explain", &record, "order_number"]);
    assert!(told.code == 0 && told.stdout.contains("direct identity") && told.stdout.contains("agrees"), "{}", told.stdout);
    assert_eq!(installation.run(&["explain", &record, "nothing"]).code, 1);
    let columns = client.get(&format!("/v1/lineage/fields?connection={connection}&stream=orders")).await.unwrap();
    assert_eq!(columns["fields"].as_array().unwrap().len(), explained["fields"].as_array().unwrap().len());
    let drawn = installation.run(&["lineage", &record]).stdout;
    assert!(drawn.contains("unsealed in audit entry") && drawn.contains("fields and what they are made of"), "{drawn}");
}

/// Goal: records, artifacts, recipients and the company's own jobs are one graph, which is asked in pages, by kind, by direction, as
/// of a time, and drawn; other tenants do not see it. Method: an OpenLineage event of a job that reads what Headgate stores.
#[tokio::test(flavor = "multi_thread")]
async fn the_graph_is_one() {
    let sandbox = Sandbox::start(sandbox::Options { records: 40, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let operator = server.client();
    let key = text(&installation.result(&["keys", "create", "--role", "service", "--tenant", "acme"]), "key");
    let client = operator.with_key(&key);
    let connection = operator.connect("acme", &sandbox).await.unwrap();
    operator.pull(&connection).await.unwrap();
    let records = operator.all(&format!("/v1/records?connection={connection}&stream=orders")).await.unwrap();
    let record = text(&records[0], "id");
    let made = json!({"artifact": {"name": "label 1", "kind": "label"}, "need": "all", "inputs": [record], "job": "labels"});
    let label = text(&client.post("/v1/derivations", made).await.unwrap(), "artifact");

    // A job of the company reads what Headgate has stored.
    let stored = client
        .settled("/api/v1/namespaces", |found| {
            found["namespaces"].as_array()?.iter().any(|one| one["name"].as_str().unwrap().starts_with("headgate")).then_some(())
        })
        .await;
    stored.unwrap();
    let dataset = orders_dataset(&client, &connection).await;
    let event = json!({
        "eventType": "COMPLETE", "eventTime": "2026-11-24T12:00:00Z", "producer": "https://example.com/jobs",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "0193a5c8-0000-7000-8000-000000000001"}, "job": {"namespace": "company", "name": "enrich"},
        "inputs": [dataset], "outputs": [{"namespace": "postgres://db", "name": "public.orders"}],
    });
    let (status, _) = client.ask(Method::POST, "/api/v1/lineage", Some(event)).await.unwrap();
    assert_eq!(status, 201);
    let down = client.get(&format!("/v1/lineage?node={connection}&direction=down&depth=4")).await.unwrap();
    assert!(of_type(&down, "job").contains(&"job:company:enrich"), "{down}");
    assert!(of_type(&down, "dataset").contains(&"dataset:postgres://db:public.orders"), "{down}");
    let up =
        client.get("/v1/lineage?node=dataset:postgres://db:public.orders&direction=up&depth=6&kinds=connection,consent").await.unwrap();
    assert_eq!(of_type(&up, "connection"), [connection.as_str()], "{up}");
    let impact = client.get(&format!("/v1/connections/{connection}/impact")).await.unwrap();
    assert!(impact["downstream"].as_array().unwrap().iter().any(|node| node["id"] == "job:company:enrich"), "{impact}");
    assert!(!impact["recipients"].as_array().unwrap().is_empty(), "{impact}");
    let marquez = client.get("/api/v1/lineage?nodeId=job%3Acompany%3Aenrich&depth=2").await.unwrap();
    assert!(marquez["graph"].as_array().unwrap().iter().any(|node| node["id"].as_str().unwrap().contains(&connection)), "{marquez}");

    // From the artifact up to the consent; from the record down to whoever received it; both at once, drawn.
    let up = client.get(&format!("/v1/lineage?node={label}&direction=up&depth=9")).await.unwrap();
    for noun in ["artifact", "record", "page", "run", "connection", "consent", "connector"] {
        assert_eq!(of_type(&up, noun).len(), 1, "{noun}: {up}");
    }
    let down = client.get(&format!("/v1/lineage?node={record}&direction=down")).await.unwrap();
    assert_eq!((of_type(&down, "artifact").len(), of_type(&down, "recipient").is_empty()), (1, false), "{down}");
    let dot = client.request(Method::GET, &format!("/v1/lineage?node={record}&format=dot")).send().await.unwrap().text().await.unwrap();
    assert!(dot.starts_with("digraph lineage") && dot.contains(&label), "{dot}");
    let prov = client.get(&format!("/v1/lineage?node={record}&format=prov-json")).await.unwrap();
    assert!(prov["wasDerivedFrom"].is_object() && prov["entity"].is_object(), "{prov}");

    // Page by page the same nodes and edges as at once.
    let whole = client.get(&format!("/v1/lineage?node={connection}&depth=3")).await.unwrap();
    let (mut nodes, mut edges, mut after) = (Vec::new(), Vec::new(), String::new());
    loop {
        let part = client.get(&format!("/v1/lineage?node={connection}&depth=3&limit=7{after}")).await.unwrap();
        nodes.extend(part["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()));
        edges.extend(part["edges"].as_array().unwrap().iter().map(Value::to_string));
        match part["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(nodes, whole["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect::<Vec<_>>());
    let mut at_once: Vec<String> = whole["edges"].as_array().unwrap().iter().map(Value::to_string).collect();
    at_once.sort();
    edges.sort();
    assert_eq!(edges, at_once);

    // Before it was made there was nothing; who may not see it sees nothing; what cannot be is refused.
    let early = client.ask(Method::GET, &format!("/v1/lineage?node={record}&at=2020-01-01T00:00:00Z"), None).await.unwrap();
    assert_eq!(early.0, 404);
    let foreign = text(&installation.result(&["keys", "create", "--role", "service", "--tenant", "globex"]), "key");
    let stranger = operator.with_key(&foreign);
    for (who, query, status) in [
        (&stranger, format!("node={record}"), 404),
        (&stranger, format!("node={label}"), 404),
        (&stranger, "node=job:company:enrich".to_owned(), 404),
        (&client, format!("node={record}&kinds=nonsense"), 400),
        (&client, format!("node={record}&format=xml"), 400),
        (&operator, "node=job:company:enrich".to_owned(), 400),
    ] {
        assert_eq!(who.ask(Method::GET, &format!("/v1/lineage?{query}"), None).await.unwrap().0, status, "{query}");
    }

    // Under a business key, with what was made of the record and who has it.
    let number = text(&records[0]["operational"], "order_number").replace('#', "");
    let found = client.get(&format!("/v1/lineage/keys/order_number/{number}")).await.unwrap();
    let outputs = found["items"][0]["outputs"].as_array().unwrap();
    assert!(outputs.iter().any(|output| output["id"] == *label), "{found}");
}

/// Goal: a view that a newer definition would derive otherwise is told, with both values, by the exit code too. Method: a connector in a
/// folder of the operator, whose mapping is changed between two commands.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_mapping_no_longer_agrees() {
    let outlet = Outlet::start().await;
    outlet.fill("shelf", 3);
    let installation = Installation::new(&outlet.host());
    let folder = installation.beside("connectors").join("outlet");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("manifest.yaml"), outlet::manifest(&format!("http://{}/shelf", outlet.host()))).unwrap();
    let treat = |title: &str| {
        let treatment = format!(
            "display_name: Outlet\nauthorization: {{type: api_key}}\nhosts: [\"{}\"]\nstreams:\n  items:\n    kind: product\n    mapping: {{sku: /id, title: {title}}}\n",
            outlet.host()
        );
        std::fs::write(folder.join("headgate.yaml"), treatment).unwrap();
    };
    treat("/name");
    let settings = installation.data().join("headgate.toml");
    let before = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("connector_dirs = [{:?}]\n{before}", installation.beside("connectors"))).unwrap();
    let connection = tokio::task::block_in_place(|| outlet::connect(&installation, &folder));
    assert_eq!(installation.run(&["run", &connection]).code, 0);
    let listed = installation.result(&["records", &connection, "--stream", "items", "--limit", "1", "--json"]);
    let record = text(&listed["items"][0], "id");

    let good = installation.run(&["explain", &record, "--json"]);
    assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
    treat("/updated_at");
    let changed = installation.run(&["explain", &record, "--json"]);
    let told: Value = serde_json::from_str(changed.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((changed.code, &told["agrees"], &told["content"]["agrees"]), (1, &json!(false), &json!(true)), "{told}");
    let title = told["fields"].as_array().unwrap().iter().find(|field| field["field"] == "title").unwrap();
    assert_eq!((&title["value"], &title["agrees"]), (&listed["items"][0]["operational"]["title"], &json!(false)), "{title}");
    assert_eq!(title["today"], listed["items"][0]["data"]["updated_at"], "{title}");
    let sku = told["fields"].as_array().unwrap().iter().find(|field| field["field"] == "sku").unwrap();
    assert_eq!((&sku["agrees"], &sku["today"]), (&json!(true), &Value::Null), "{sku}");
}
