//! What was answered is on disk: the system calls themselves are watched (P5). Runs where `strace` is installed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use headgate::sandbox;
use headgate::sandbox::Sandbox;
use headgate::secret::DEBUGGABLE_VARIABLE;
use serde_json::json;

use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::binary;
use crate::support::installation::files;

/// The calls that write, sync, receive and answer.
const CALLS: &str = "trace=write,writev,pwrite64,pwritev,fsync,fdatasync,read,recvfrom,sendto,sendmsg";
/// What the acknowledged stands in.
const WATCHED: [&str; 4] = ["store/db", "segments/", "stops", "keyring/"];

/// What one line of the trace tells.
#[derive(Debug)]
enum Seen<'a> {
    Written(&'a str),
    SyncBegun(&'a str, bool),
    SyncEnded,
    Asked(&'a str, Kind),
    Answered(&'a str),
}

/// How strictly a request's answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What was written before it was asked for is synced.
    Read,
    /// So it is for an act that others go on beside: a pull, a credential being given up.
    Act,
    /// An act beside which nothing goes on: nothing at all is unsynced when its answer leaves, its own writes included.
    Alone,
}

/// The acts that the test does while nothing else is under way, by how their requests begin.
const ALONE: [&str; 3] = ["POST /v1/connect/sessions", "POST /v1/connections HTTP", "POST /v1/erasures HTTP"];

/// The path or socket of a descriptor: `12</path/of/it>`.
fn target(call: &str) -> Option<&str> {
    let (_, rest) = call.split_once('<')?;
    // An address of a socket has an arrow in it.
    Some(if rest.starts_with("TCP") { rest.split_once("]>")?.0 } else { rest.split_once('>')?.0 })
}

fn read<'a>(call: &'a str, data: &str) -> Option<Seen<'a>> {
    if call.starts_with("<... fsync resumed") || call.starts_with("<... fdatasync resumed") {
        return Some(Seen::SyncEnded);
    }
    let target = target(call)?;
    let within = target.strip_prefix(data).map(|path| path.trim_start_matches('/'));
    let watched = within.filter(|path| WATCHED.iter().any(|watched| path.starts_with(watched)));
    let name = call.split_once('(')?.0;
    match name {
        "fsync" | "fdatasync" => watched.map(|path| Seen::SyncBegun(path, !call.contains("<unfinished"))),
        "read" | "recvfrom" if target.starts_with("TCP") => {
            let kind = if ALONE.iter().any(|begin| call.contains(&format!("\"{begin}"))) {
                Kind::Alone
            } else if call.contains("\"POST ") || call.contains("\"GET /oauth/callback") {
                Kind::Act
            } else {
                Kind::Read
            };
            (kind != Kind::Read || call.contains("\"GET ")).then_some(Seen::Asked(target, kind))
        }
        _ if target.starts_with("TCP") => call.contains("\"HTTP/1.1 2").then_some(Seen::Answered(target)),
        "write" | "writev" | "pwrite64" | "pwritev" => watched.map(Seen::Written),
        _ => None,
    }
}

/// Goal: whatever was written before an act is answered is synced before the answer leaves, and whatever a read may have seen
/// is. Method: the trace of a life, line by line. The engine writes no file that it never syncs.
#[tokio::test(flavor = "multi_thread")]
async fn writes_are_synced_before_their_answer() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let sandbox = Sandbox::start(sandbox::Options { records: 60, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    // Made before, so that the trace begins with a quiet store.
    installation.result(&["keys", "list"]);
    let trace = installation.beside("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-yy", "-s", "40", "-e", CALLS, "-o"])
        .arg(&trace)
        .env(DEBUGGABLE_VARIABLE, "1")
        .arg(binary().get_program())
        .arg("--data")
        .arg(installation.data());
    let server = installation.serve_with(strace, Some(&sandbox)).await;
    let client = server.client();
    let connection = client.connect("acme", &sandbox).await.unwrap();
    client.pull(&connection).await.unwrap();
    alone(&client, &sandbox).await;
    client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    // Several of each, so that enough are judged however fast the pull was.
    for _ in 0..5 {
        client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
        client.post(&format!("/v1/connections/{connection}/revoke"), json!({})).await.unwrap();
    }
    let erasure = client.erase(&connection).await.unwrap();
    client.complete(&erasure).await.unwrap();
    let lock: serde_json::Value = serde_json::from_slice(&fs::read(installation.data().join("lock")).unwrap()).unwrap();
    assert!(Command::new("kill").arg(lock["pid"].to_string()).status().unwrap().success());
    server.ended();

    let blobs = installation.data().join("store/blobs");
    assert!(!blobs.exists() || files(&blobs).is_empty(), "the engine wrote a value into a file that it never syncs");
    let answers = judge(&fs::read_to_string(&trace).unwrap(), &installation.data());
    let judged = |kind| answers.iter().filter(|answered| **answered == kind).count();
    let counts = [Kind::Read, Kind::Act, Kind::Alone].map(judged);
    assert!(counts.iter().all(|count| *count >= 5), "reads, acts and acts alone that were judged: {counts:?}");
}

/// Acts beside which nothing goes on, each of which writes.
async fn alone(client: &Client, sandbox: &Sandbox) {
    // What the pull leaves behind has settled by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in 0..3 {
        let session = json!({"connector": "sandbox", "tenant": format!("tenant-{number}"), "purposes": ["fulfilment"], "return_url": "https://example.com"});
        client.post("/v1/connect/sessions", session).await.unwrap();
        let (begun, _) = client.begin(&format!("tenant-{number}"), sandbox.base_url()).await.unwrap();
        client.post("/v1/erasures", json!({"scope": {"connection": begun}, "reason": "test", "revoke": true})).await.unwrap();
    }
}

/// Judges a trace; the requests that were answered.
fn judge(trace: &str, data: &Path) -> Vec<Kind> {
    let data = data.to_str().unwrap();
    // The last unsynced write of each file, the syncs under way, and the requests under way, by line.
    let mut unsynced: HashMap<&str, usize> = HashMap::new();
    let mut syncs: HashMap<&str, (&str, usize)> = HashMap::new();
    let mut asked: HashMap<&str, (Kind, usize)> = HashMap::new();
    let (mut answered, mut written) = (Vec::new(), 0);
    for (number, line) in trace.lines().enumerate() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        match read(call.trim_start(), data) {
            Some(Seen::Written(path)) => {
                written += 1;
                unsynced.insert(path, number);
            }
            Some(Seen::SyncBegun(path, true)) => drop(unsynced.remove(path)),
            Some(Seen::SyncBegun(path, false)) => drop(syncs.insert(process, (path, number))),
            Some(Seen::SyncEnded) => {
                if let Some((path, begun)) = syncs.remove(process)
                    && unsynced.get(path).is_some_and(|at| *at < begun)
                {
                    unsynced.remove(path);
                }
            }
            Some(Seen::Asked(socket, kind)) => drop(asked.insert(socket, (kind, number))),
            Some(Seen::Answered(socket)) => {
                let Some((kind, at)) = asked.remove(socket) else { continue };
                // What was written meanwhile may be of something else that nobody was told of yet, unless there is nothing else.
                // Nor does a read see more than rows: segments are synced before the rows that name them, and keys before that.
                let tells = |path: &str| kind != Kind::Read || path.starts_with("store/");
                let late: Vec<_> = unsynced.iter().filter(|(path, line)| kind == Kind::Alone || (**line < at && tells(path))).collect();
                assert!(late.is_empty(), "line {}: {kind:?} answered, and not synced: {late:?}\n{}", number + 1, line);
                answered.push(kind);
            }
            None => {}
        }
    }
    assert!(written > 20, "the trace shows {written} writes");
    answered
}
