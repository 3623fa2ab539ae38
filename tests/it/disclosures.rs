//! Who received what: every answer that holds payload is a disclosure, written with its audit entry; others are stated. It is told of
//! a tenant, and stays after the records are gone.

use headgate::sandbox;
use headgate::sandbox::Sandbox;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::support::installation::Installation;
use crate::support::installation::text;

fn of<'a>(items: &'a [Value], recipient: &str, mechanism: &str) -> &'a Value {
    let is = |item: &&Value| item["recipient"]["name"] == recipient && item["mechanism"] == mechanism;
    items.iter().find(is).unwrap_or_else(|| panic!("nothing for {recipient} by {mechanism} in {items:?}"))
}

/// Goal: what is read over HTTP is counted once for whoever reads it, what is stated is listed beside it, a restart forgets nothing, an
/// erasure leaves counts and times, and another tenant learns nothing. Method: the real binary, a service's key and the operator's.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_is_known() {
    let sandbox = Sandbox::start(sandbox::Options { records: 60, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let operator = server.client();
    let connection = operator.connect("acme", &sandbox).await.unwrap();
    operator.pull(&connection).await.unwrap();
    let create = |tenant| installation.result(&["keys", "create", "--role", "service", "--tenant", tenant, "--purpose", "fulfilment"]);
    let (acme, globex) = (create("acme"), create("globex"));
    let (name, service) = (text(&acme, "id"), operator.with_key(acme["key"].as_str().unwrap()));

    let path = format!("/v1/records?connection={connection}");
    let records = service.all(&path).await.unwrap();
    service.all(&path).await.unwrap();
    service.get(&format!("/v1/records/{}", text(&records[0], "id"))).await.unwrap();
    let listed = service.all("/v1/disclosures").await.unwrap();
    let read = of(&listed, &name, "api");
    assert_eq!((read["records"].as_u64(), &read["purpose"]), (Some(records.len() as u64), &json!("fulfilment")), "each counts once");
    assert_eq!((&read["recipient"]["kind"], &read["connection"]), (&json!("api_key"), &json!(connection)));

    let ids: Vec<&Value> = records.iter().take(3).map(|record| &record["id"]).collect();
    let order = json!({"recipient": "La Poste", "category": "carrier", "region": "FR", "purpose": "shipping", "records": ids});
    let stated = service.post("/v1/disclosures", order.clone()).await.unwrap();
    assert_eq!((&stated["items"][0]["records"], &stated["items"][0]["recipient"]["region"]), (&json!(3), &json!("FR")));
    let whole = json!({"recipient": "Auditors", "purpose": "legal", "mechanism": "export", "connection": connection, "stream": "orders"});
    let whole = service.post("/v1/disclosures", whole).await.unwrap();
    let orders = records.iter().filter(|record| record["tag"]["stream"] == "orders").count();
    assert_eq!(whole["items"][0]["records"], orders);
    for (order, status) in [
        (json!({"recipient": name, "purpose": "shipping", "records": ids}), 422),
        (json!({"recipient": "La Poste", "purpose": "shipping"}), 422),
        (json!({"recipient": "La Poste", "purpose": "shipping", "connection": connection, "at": "2999-01-01T00:00:00Z"}), 422),
    ] {
        assert_eq!(service.ask(Method::POST, "/v1/disclosures", Some(order)).await.unwrap().0, status);
    }
    let stranger = operator.with_key(globex["key"].as_str().unwrap());
    assert_eq!(stranger.ask(Method::POST, "/v1/disclosures", Some(order)).await.unwrap().0, 404);
    assert_eq!(stranger.all("/v1/disclosures").await.unwrap(), Vec::<Value>::new());
    assert_eq!(operator.ask(Method::GET, "/v1/disclosures", None).await.unwrap().0, 400, "an operator names the tenant");

    let before = service.all("/v1/disclosures").await.unwrap();
    server.kill();
    let server = installation.serve(Some(&sandbox)).await;
    let (operator, service) = (server.client(), server.client().with_key(acme["key"].as_str().unwrap()));
    assert_eq!(service.all("/v1/disclosures").await.unwrap(), before);
    let erasure = operator.erase(&connection).await.unwrap();
    operator.complete(&erasure).await.unwrap();
    assert_eq!(service.all("/v1/disclosures").await.unwrap(), before, "whoever received has to be told");
    assert_eq!(service.all("/v1/disclosures?recipient=La%20Poste").await.unwrap().len(), 1);
    assert_eq!(service.all("/v1/disclosures?since=2999-01-01T00:00:00Z").await.unwrap(), Vec::<Value>::new());
    let rows = operator_rows(&installation, server);
    assert_eq!((&rows["disclosed pages"], &rows["recipients"]), (&json!(0), &json!(3)), "{rows}");
}

/// The store's rows by table, once nobody holds it.
fn operator_rows(installation: &Installation, server: crate::support::installation::Server) -> Value {
    assert_eq!(server.stop(), 0);
    installation.result(&["store", "stats"])["rows"].clone()
}
