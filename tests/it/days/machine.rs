//! Days on which the machine fails: its disk is full or cannot be written, its file handles are used up, its clock jumps,
//! its names lead elsewhere.

use std::net::TcpStream;
use std::process::Command;

use super::*;
use crate::support::disk::SmallDisk;
use crate::support::installation::ended;

/// Room for the store of a small connection, and little more.
const DISK_BYTES: u64 = 40 << 20;

/// Goal: on a full disk nothing is served but stopping, which answers and holds; when there is room again, everything that
/// was acknowledged is there. Method: a disk of a few megabytes, filled to the last page while the gateway runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_everything_but_stopping() {
    let Some(disk) = SmallDisk::mount(DISK_BYTES) else { return };
    let outlet = Outlet::start().await;
    let installation = Installation::on(&disk.path(), &outlet.host());
    let server = installation.serve(None).await;
    let ground = Ground { client: server.client(), installation, outlet };
    let kept = ground.good_day("kept").await;
    let stopped = ground.good_day("stopped").await;
    disk.fill();

    ground.outlet.fill("kept", AFTER);
    let (_, pulled) = ground.pull(&kept.connection);
    assert_eq!(pulled.code, 1, "{pulled:?}");
    says(&pulled.stderr, &["the disk is full"], "a pull");
    for path in [format!("/v1/records?connection={}", kept.connection), format!("/v1/connections/{}", kept.connection), "/readyz".into()] {
        let (status, problem) = ground.client.ask(Method::GET, &path, None).await.unwrap();
        assert_eq!((status, &problem["type"]), (503, &json!("/problems/unavailable")), "{path}: {problem}");
    }
    let path = format!("/v1/connections/{}/revoke", stopped.connection);
    for _ in 0..2 {
        let (status, answer) = ground.client.ask(Method::POST, &path, Some(json!({}))).await.unwrap();
        assert_eq!((status, &answer["revoked"][0]["state"]), (200, &json!("revoked")), "{answer}");
    }
    let asked = ground.outlet.seen("stopped").len();
    assert_eq!(server.stop(), 0);

    // A start needs room, and says so; a gateway that does not run fetches nothing.
    let mut serve = ground.installation.command(&["serve", "--listen", "127.0.0.1:0"]);
    let restarted = block_in_place(|| ended(&mut serve));
    assert_eq!(restarted.code, 1, "{restarted:?}");
    says(&restarted.stderr, &["cannot", "No space left on device", disk.path().to_str().unwrap()], "a start");

    disk.free();
    let server = ground.installation.serve(None).await;
    let ground = Ground { client: server.client(), ..ground };
    assert_eq!(ground.client.state(&stopped.connection).await.unwrap(), "revoked");
    let revoked = ground.client.post(&path, json!({})).await.unwrap();
    assert!(revoked["revoked"][0]["receipt"].is_object(), "the receipt is made up for: {revoked}");
    let (status, problem) =
        ground.client.ask(Method::POST, &format!("/v1/connections/{}/runs", stopped.connection), Some(json!({}))).await.unwrap();
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/gate-closed")), "{problem}");
    ground.nothing_is_lost(&stopped).await;
    ground.a_pull_brings_the_rest("kept", &kept).await;
    assert_eq!(ground.outlet.seen("stopped").len(), asked, "something was fetched behind the stop");
    let verified = block_in_place(|| ground.installation.run(&["audit", "verify"]));
    assert_eq!((verified.code, server.stop()), (0, 0), "{verified:?}");
}

/// Goal: a disk that cannot be written is told by every command, and nothing in it changes. Method: the disk of a gateway that
/// has ended is remounted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_is_told() {
    let Some(mut disk) = SmallDisk::mount(DISK_BYTES) else { return };
    let outlet = Outlet::start().await;
    let installation = Installation::on(&disk.path(), &outlet.host());
    let server = installation.serve(None).await;
    let ground = Ground { client: server.client(), installation, outlet };
    let before = ground.good_day("shelf").await;
    assert_eq!(server.stop(), 0);
    disk.read_only(true);
    let id = before.connection.as_str();
    for words in [vec!["serve", "--listen", "127.0.0.1:0"], vec!["run", id], vec!["revoke", id]] {
        let words = words.as_slice();
        let refused = block_in_place(|| ground.installation.run(words));
        assert_eq!(refused.code, 1, "{words:?}: {refused:?}");
        says(&refused.stderr, &["Read-only file system", disk.path().to_str().unwrap()], words[0]);
    }
    disk.read_only(false);
    ground.outlet.fill("shelf", AFTER);
    let server = ground.installation.serve(None).await;
    let ground = Ground { client: server.client(), ..ground };
    assert_eq!(ground.client.state(&before.connection).await.unwrap(), "active");
    ground.a_pull_brings_the_rest("shelf", &before).await;
    assert_eq!(server.stop(), 0);
}

/// Goal: when no file handle is left, what is asked fails with that reason, whoever is connected can still stop, and when
/// handles are free again everything works. Method: a low limit, and callers who connect and say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn used_up_file_handles_are_told() {
    let outlet = Outlet::start().await;
    let installation = Installation::new(&outlet.host());
    // The making of the directory and the answer of the first requests need some.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 48; exec \"$0\" \"$@\""]).arg(installation.command(&[]).get_program());
    limited.args(installation.command(&[]).get_args());
    let server = installation.serve_with(limited, None).await;
    let ground = Ground { client: server.client(), installation, outlet };
    let before = ground.good_day("shelf").await;
    let stopped = ground.good_day("stopped").await;
    ground.outlet.fill("shelf", AFTER);
    let address = ground.client.address.strip_prefix("http://").unwrap().to_owned();
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&address).unwrap()).collect();

    // The caller that is connected already keeps its line.
    let pull = ground.client.begin_pull(&before.connection).await.unwrap();
    let path = format!("/v1/runs?pull={pull}");
    let runs = ground.client.settled(&path, |list| {
        let runs = list["items"].as_array().unwrap();
        runs.iter().all(|run| run["state"] != "running").then(|| runs.clone())
    });
    let runs = runs.await.unwrap();
    assert_eq!(runs[0]["state"], "failed", "{runs:?}");
    says(runs[0]["error"].as_str().unwrap(), &["Too many open files"], "a pull");
    let path = format!("/v1/connections/{}/revoke", stopped.connection);
    let (status, answer) = ground.client.ask(Method::POST, &path, Some(json!({}))).await.unwrap();
    assert_eq!((status, &answer["revoked"][0]["state"]), (200, &json!("revoked")), "{answer}");
    drop(silent);
    ground.a_pull_brings_the_rest("shelf", &before).await;
    assert_eq!(ground.client.state(&stopped.connection).await.unwrap(), "revoked");
    assert_eq!(server.stop(), 0);
}

/// Goal: a name is judged where it is resolved, each time anew: one that led to a public address and then to this machine is
/// refused, and nothing is sent. Method: a network of the process's own without any route, and a file of names that changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_elsewhere_is_refused() {
    let installation = Installation::new("127.0.0.1:9");
    let names = installation.beside("hosts");
    let leads_to = |addresses: &[&str]| {
        let lines: String = addresses.iter().map(|address| format!("{address} shop.example\n")).collect();
        // In place: the file is mounted over the machine's own.
        std::fs::write(&names, lines).unwrap();
    };
    leads_to(&["93.184.215.14"]);
    // Root may have a network and mounts of its own; another user has them in a user namespace, where there is one.
    let apart = |flags: &str| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$1\" /etc/hosts && ip link set lo up && shift && exec \"$@\"";
        command.args([flags, "sh", "-c", script, "sh"]).arg(&names);
        command
    };
    let works = |flags: &&str| apart(flags).arg("true").output().is_ok_and(|output| output.status.success());
    let Some(mut apart) = ["-mn", "-Urmn"].into_iter().find(works).map(apart) else {
        println!("skipped: this user cannot have a network and names of its own");
        return;
    };
    apart.arg(installation.command(&[]).get_program()).args(installation.command(&[]).get_args());
    let server = installation.serve_apart(apart);
    let manifest = installation.beside("named.yaml");
    std::fs::write(&manifest, crate::support::outlet::manifest("https://shop.example")).unwrap();
    let connection = block_in_place(|| crate::support::outlet::connect(&installation, &manifest));
    let told = |addresses: &[&str]| {
        leads_to(addresses);
        let ended = block_in_place(|| installation.run(&["--json", "run", &connection]));
        let result: Value = serde_json::from_str(ended.stdout.lines().last().unwrap_or("null")).unwrap();
        assert_eq!((ended.code, &result["runs"][0]["state"]), (1, &json!("failed")), "{ended:?}");
        (result["runs"][0]["error"].as_str().unwrap().to_owned(), result["runs"][0]["requests"].clone())
    };
    let (public, tries) = told(&["93.184.215.14"]);
    says(&public, &["https://shop.example/items", "found no server"], "a public address");
    assert_eq!(tries, 2, "an address that may be there later is tried again");
    for (address, range) in [("127.0.0.1", "loopback"), ("169.254.169.254", "metadata"), ("10.0.0.7", "private"), ("::1", "loopback")] {
        let (private, tries) = told(&[address]);
        says(&private, &["https://shop.example/items", "was not sent", "shop.example", address, range], address);
        assert_eq!(tries, 1, "what is refused is not tried again: {private}");
    }
    let (mixed, _) = told(&["127.0.0.1", "93.184.215.14"]);
    says(&mixed, &["found no server"], "the public one of two addresses");
    drop(server);
}
