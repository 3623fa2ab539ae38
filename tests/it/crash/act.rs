//! What is being done when the kill comes, and what its answers have said.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;

use headgate::sandbox::Sandbox;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::support::installation::Client;
use crate::support::installation::text;

/// What can be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Connect,
    Pull,
    Renewal,
    Revoke,
    Erase,
    EraseTenant,
    Rotate,
    Compact,
}

/// Every act, with how often it is chosen among a hundred.
pub const ACTS: [(Act, u64); 8] = [
    (Act::Connect, 14),
    (Act::Pull, 22),
    (Act::Renewal, 12),
    (Act::Revoke, 12),
    (Act::Erase, 10),
    (Act::EraseTenant, 10),
    (Act::Rotate, 10),
    (Act::Compact, 10),
];

/// One connection of a tenant of its own to a shop of its own, so that the shop's log is the connection's log.
pub struct Life {
    pub tenant: String,
    pub sandbox: Sandbox,
    told: Mutex<Told>,
}

/// What answers have said of one connection. Everything in here was acknowledged.
#[derive(Debug, Default)]
pub struct Told {
    pub connection: Option<String>,
    pub active: bool,
    pub runs: BTreeMap<String, Value>,
    /// Whether its access token was ended: from then on a refresh token may be spent and its successor lost.
    pub renewing: bool,
    /// The revocation's answer, and the number of the shop's last request at that time.
    pub revoked: Option<(Value, u64)>,
    pub erasure: Option<String>,
    pub erasure_state: Option<String>,
    pub entries: BTreeMap<u64, Value>,
    /// A record that was read.
    pub record: Option<String>,
}

/// Why an act broke off: the process was killed.
#[derive(Debug)]
pub struct Killed;

impl From<reqwest::Error> for Killed {
    fn from(_: reqwest::Error) -> Self {
        Killed
    }
}

impl From<std::io::Error> for Killed {
    fn from(_: std::io::Error) -> Self {
        Killed
    }
}

impl Life {
    pub fn new(tenant: String, sandbox: Sandbox) -> Self {
        Life { tenant, sandbox, told: Mutex::default() }
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    pub fn connection(&self) -> Option<String> {
        self.told().connection.clone()
    }

    /// Whether an act can be done to it.
    pub fn suits(&self, act: Act) -> bool {
        let told = self.told();
        let open = told.active && told.revoked.is_none() && told.erasure.is_none();
        match act {
            Act::Connect | Act::Rotate | Act::Compact => false,
            Act::Pull | Act::Renewal | Act::Revoke => open,
            Act::Erase => told.revoked.is_some() && told.erasure.is_none(),
            Act::EraseTenant => told.active && told.erasure.is_none(),
        }
    }

    /// Does it, until it is done or the process is gone.
    pub async fn carry_out(&self, act: Act, client: &Client) -> Result<(), Killed> {
        match act {
            Act::Connect => self.connect(client).await,
            Act::Pull => self.pull(client).await,
            Act::Renewal => {
                self.sandbox.advance();
                self.told().renewing = true;
                self.sandbox.expire_access_tokens();
                self.pull(client).await
            }
            Act::Revoke => self.revoke(client).await,
            Act::Erase => {
                let scope = json!({"connection": self.connection()});
                self.erase(client, scope).await
            }
            Act::EraseTenant => self.erase(client, json!({"tenant": self.tenant})).await,
            Act::Rotate | Act::Compact => Ok(()),
        }
    }

    async fn connect(&self, client: &Client) -> Result<(), Killed> {
        let (connection, page) = client.begin(&self.tenant, self.sandbox.base_url()).await?;
        self.told().connection = Some(connection.clone());
        client.approve(&page).await?;
        let active = client.state(&connection).await? == "active";
        self.told().active = active;
        Ok(())
    }

    /// Pulls, and notes every counter, an entry of the log and a record that are shown meanwhile.
    async fn pull(&self, client: &Client) -> Result<(), Killed> {
        let connection = self.connection().unwrap();
        let path = format!("/v1/runs?pull={}", client.begin_pull(&connection).await?);
        loop {
            let runs = client.get(&path).await?["items"].as_array().unwrap().clone();
            let under_way = runs.iter().any(|run| run["state"] == "running");
            self.told().runs.extend(runs.into_iter().map(|run| (text(&run, "id"), run)));
            if !under_way {
                return Ok(());
            }
            let entries = client.get("/v1/audit?limit=5").await?;
            for entry in entries["items"].as_array().unwrap() {
                self.told().entries.insert(entry["index"].as_u64().unwrap(), entry["leaf"].clone());
            }
            let records = client.get(&format!("/v1/records?connection={connection}&limit=1")).await?;
            if let Some(record) = records["items"].get(0) {
                self.told().record = Some(text(record, "id"));
            }
        }
    }

    pub async fn revoke(&self, client: &Client) -> Result<(), Killed> {
        let path = format!("/v1/connections/{}/revoke", self.connection().unwrap());
        let answer = client.post(&path, json!({})).await?;
        let last = self.sandbox.log().last().map_or(0, |request| request.number);
        self.told().revoked = Some((answer["revoked"][0].clone(), last));
        Ok(())
    }

    async fn erase(&self, client: &Client, scope: Value) -> Result<(), Killed> {
        let asked = client.post("/v1/erasures", json!({"scope": scope, "revoke": true})).await?;
        let erasure = text(&asked, "id");
        let note_state = |state: &Value| self.told().erasure_state = Some(text(state, "state"));
        self.told().erasure = Some(erasure.clone());
        note_state(&asked);
        note_state(&client.post(&format!("/v1/erasures/{erasure}/approve"), json!({})).await?);
        let complete = |found: &Value| {
            note_state(found);
            (found["state"] == "complete").then_some(())
        };
        Ok(client.settled(&format!("/v1/erasures/{erasure}"), complete).await?)
    }
}

/// Asks for what only the operator at the machine may ask for, on the socket.
pub async fn operate(data: &Path, path: &str) -> Result<(), Killed> {
    let mut socket = UnixStream::connect(data.join("admin.sock")).await?;
    let request = format!("POST {path} HTTP/1.1\r\nhost: headgate\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).ok_or(Killed)?;
    assert_eq!(status, "200", "{answer}");
    Ok(())
}
