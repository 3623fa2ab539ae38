//! A clock that jumps: back a day, forward a year, and back again.

use std::collections::BTreeSet;

use headgate::sandbox;
use headgate::sandbox::Sandbox;

use super::*;
use crate::support::installation::text;

const TODAY: &str = "2026-11-24T10:00:00Z";
const YESTERDAY: &str = "2026-11-23T10:00:00Z";
const NEXT_YEAR: &str = "2027-11-24T10:00:00Z";

/// Goal: wherever the clock goes, tokens are renewed when the application asks for it, nothing is pulled a thousand times or
/// never again, ids stay apart, runs are found, and the log is whole and in its order. Method: a shop behind OAuth and a shelf
/// that asked for a day of patience; the clock is moved under the running gateway, and once over a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clock_that_jumps_loses_nothing() {
    let sandbox = Sandbox::start(sandbox::Options { records: 30, ..Default::default() }).await.unwrap();
    let outlet = Outlet::start().await;
    let installation = Installation::new(&outlet.host());
    let configuration = installation.data().join("headgate.toml");
    let written = std::fs::read_to_string(&configuration).unwrap();
    let both = format!("{}\", \"{}", outlet.host(), sandbox.address());
    std::fs::write(&configuration, written.replace(&outlet.host(), &both)).unwrap();
    set_clock(&installation, TODAY);
    let server = serve_for(&installation, &sandbox).await;
    let ground = Ground { client: server.client(), installation, outlet };
    let shop = ground.client.connect("acme", &sandbox).await.unwrap();
    let every = json!({"schedule": {"every": "PT15M"}});
    let path = format!("/v1/connections/{shop}");
    let (status, answer) = ground.client.ask(Method::PATCH, &path, Some(every)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let before = ground.good_day("shelf").await;
    let mut pulls = vec![pull(&ground.client, &shop).await];

    for (number, at) in [YESTERDAY, NEXT_YEAR, TODAY, NEXT_YEAR, YESTERDAY].into_iter().enumerate() {
        set_clock(&ground.installation, at);
        let asked_before = sandbox.log().len();
        // Also what the application says of the token: it ends when it ends, whatever the clock says.
        sandbox.expire_access_tokens();
        pulls.push(pull(&ground.client, &shop).await);
        ground.nothing_is_lost(&before).await;
        assert_eq!(ground.client.state(&shop).await.unwrap(), "active", "at {at}");
        let next = text(&ground.client.get(&path).await.unwrap(), "next_pull_at");
        assert!(next.as_str() >= at && minutes(at, &next) <= 31, "at {at} the next pull is due at {next}");
        // A year of quarters of an hour is made up for once, if at all.
        let asked = sandbox.log().len() - asked_before;
        assert!(asked < 60, "{asked} requests at jump {number}");
    }
    let ids: BTreeSet<String> = pulls.iter().flatten().map(|run| text(run, "id")).collect();
    assert_eq!(ids.len(), pulls.iter().map(Vec::len).sum::<usize>(), "ids are never given twice");
    for id in &ids {
        assert_eq!(text(&ground.client.get(&format!("/v1/runs/{id}")).await.unwrap(), "state"), "complete");
    }

    // A wait that was asked for next year is over when it turns out that it is not next year.
    set_clock(&ground.installation, NEXT_YEAR);
    ground.outlet.fill("shelf", AFTER);
    ground.outlet.breaks("shelf", Some(Arc::new(|_| Reply::text(429, "").header("Retry-After", "999999999"))));
    let (run, _) = ground.pull(&before.connection);
    says(run["error"].as_str().unwrap(), &["2027-11-25T10:00:00Z"], "no application is believed for longer than a day");
    let sessions = json!({"connector": "sandbox", "tenant": "acme", "purposes": ["fulfilment"]});
    let link = text(&ground.client.post("/v1/connect/sessions", sessions).await.unwrap(), "url");
    let link = link.split_once("/connect/").unwrap().1.to_owned();
    set_clock(&ground.installation, TODAY);
    let (status, page) = ground.client.ask(Method::GET, &format!("/connect/{link}"), None).await.unwrap();
    assert_eq!(status, 404, "a link from next year opens for a year: {page}");
    assert_eq!(server.stop(), 0);
    let server = serve_for(&ground.installation, &sandbox).await;
    let ground = Ground { client: server.client(), ..ground };
    ground.a_pull_brings_the_rest("shelf", &before).await;

    let entries = ground.client.all("/v1/audit").await.unwrap();
    let indexes: Vec<u64> = entries.iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert!(indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{indexes:?}");
    let verified = block_in_place(|| ground.installation.run(&["audit", "verify"]));
    assert_eq!((verified.code, server.stop()), (0, 0), "{verified:?}");
}

async fn serve_for(installation: &Installation, sandbox: &Sandbox) -> Server {
    let mut command = installation.command(&["--test"]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--test-clock"]).arg(installation.beside("clock"));
    installation.serve_by(command, Some(sandbox)).await
}

/// Pulls to the end; what the schedule pulls meanwhile is waited for.
async fn pull(client: &Client, connection: &str) -> Vec<Value> {
    let runs = client.pull(connection).await.unwrap();
    assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
    runs
}

fn minutes(from: &str, to: &str) -> i64 {
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    at(to).duration_since(at(from)).as_mins()
}
