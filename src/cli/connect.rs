//! `headgate connect`: consent first, then authorization.

use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Request;

/// The longest wait for the customer at the application: after it the authorization's `state` has expired.
const AUTHORIZATION_WAIT: Duration = Duration::from_secs(600);

/// The time between two looks at the connection's state.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The most bytes of a `--config` file.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Args)]
pub struct Connect {
    /// A connector's name, or the path of a manifest file or connector folder: a word with a slash in it, or one that ends in
    /// .yaml or .yml, is a path.
    #[arg(value_name = "NAME|PATH")]
    connector: String,
    /// Whose application it is: a slug of a-z, 0-9, `-`, `_`, `.`; made on first use.
    #[arg(long, value_name = "TENANT")]
    tenant: String,
    /// The JSON object that the connector asks for (`connectors show` has its fields); `-` reads standard input.
    #[arg(long, value_name = "FILE|-")]
    config: Option<PathBuf>,
    /// The person accepts the policy and acknowledges its five points for the organisation. Without this the policy is printed.
    #[arg(long)]
    accept_policy: bool,
    /// Who accepts.
    #[arg(long, value_name = "PERSON")]
    person: String,
    /// For which organisation.
    #[arg(long, value_name = "ORGANISATION")]
    organisation: String,
    /// What the data may be used for; may be given more than once. Without it: what the connector declares, else fulfilment.
    #[arg(long = "purpose", value_name = "PURPOSE", value_parser = super::records::purpose())]
    purposes: Vec<String>,
    /// The streams to read, with commas between; all without it.
    #[arg(long, value_name = "STREAM,...", value_delimiter = ',')]
    streams: Option<Vec<String>>,
}

impl Connect {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let connector = located(&self.connector)?;
        let config = self.config.as_deref().map(read_config).transpose()?;
        let policy = session.client.json(&Request::get(["v1", "policy"])).await?;
        if !self.accept_policy {
            session.output.say(&format!("{}\n\nVersion {}.", told(&policy), output::shown(&policy["version"])));
            return Err(Failure::usage("nothing was connected: the policy above must be accepted with --accept-policy"));
        }
        let acknowledged: Vec<&Value> = policy["acknowledgements"].as_array().into_iter().flatten().map(|point| &point["id"]).collect();
        let mut consent = json!({
            "person": self.person,
            "organisation": self.organisation,
            "policy_version": policy["version"],
            "acknowledged": acknowledged,
        });
        if !self.purposes.is_empty() {
            consent["purposes"] = json!(self.purposes);
        }
        let mut body =
            json!({"connector": connector, "tenant": self.tenant, "config": config.unwrap_or_else(|| json!({})), "consent": consent});
        if let Some(streams) = self.streams {
            body["streams"] = json!(streams);
        }
        authorize(session, &Request::post(["v1", "connections"], body).carrying_file()).await
    }
}

/// Sends a request that begins an authorization, says what it answers, and waits for the customer where that is of use: when
/// this process is the one that the browser comes back to, or when a person watches.
pub async fn authorize(session: &mut Session<'_>, request: &Request) -> Result<(), Failure> {
    // The address is part of what the application is told, so it is opened first; that it cannot be opened matters only if
    // the answer is a page to visit.
    let listening = session.client.door().listen_for_callback().await;
    let begun = session.client.json(request).await?;
    let Some(url) = begun["authorize_url"].as_str() else {
        return session
            .output
            .result(&begun, |begun| format!("{} is {}", output::shown(&begun["connection"]), output::shown(&begun["state"])));
    };
    let connection = begun["connection"].as_str().unwrap_or_default().to_owned();
    // Before the page is shown: whoever visits it may be quick.
    let before = Standing::of(session, &begun).await?;
    session
        .output
        .result(&begun, |begun| format!("{} waits for the application; open this page:\n{url}", output::shown(&begun["connection"])))?;
    let listens_itself = listening?.is_some();
    if !listens_itself && (session.output.is_json() || !session.output.is_watched()) {
        return Ok(());
    }
    let (state, is_authorized) = wait_for_authorization(session, &connection, &before).await?;
    if session.output.is_json() {
        session.output.object(&json!({"connection": connection, "state": state}))?;
    } else {
        session.output.line(&format!("{connection} is {state}"))?;
    }
    if is_authorized {
        Ok(())
    } else {
        Err(Failure::outcome(format!("{connection} was not authorized; `connections reconnect` tries again")))
    }
}

/// Where a connection stands before its authorization: what tells a new one from the one before.
struct Standing {
    state: String,
    generation: Option<u64>,
}

impl Standing {
    /// Of what a request for an authorization answered. A connection that is open already is told apart by its credential.
    async fn of(session: &Session<'_>, begun: &Value) -> Result<Self, Failure> {
        let state = begun["state"].as_str().unwrap_or_default().to_owned();
        if matches!(state.as_str(), "pending" | "needs_reauthorization") {
            return Ok(Self { state, generation: None });
        }
        let id = begun["connection"].as_str().unwrap_or_default();
        let found = session.client.json(&Request::get(["v1", "connections", id])).await?;
        Ok(Self { state, generation: found["credential"]["generation"].as_u64() })
    }

    /// Whether nothing has come of the authorization yet.
    fn still_holds(&self, found: &Value) -> bool {
        let is_same = || self.generation.is_none() || self.generation == found["credential"]["generation"].as_u64();
        found["state"] == *self.state && is_same()
    }
}

/// Looks at the connection until its authorization has arrived or it was stopped: its state, and whether it is authorized.
async fn wait_for_authorization(session: &Session<'_>, connection: &str, before: &Standing) -> Result<(String, bool), Failure> {
    let deadline = Instant::now() + AUTHORIZATION_WAIT;
    let request = Request::get(["v1", "connections", connection]);
    loop {
        let found = session.client.json(&request).await?;
        let waits = before.still_holds(&found);
        if !waits || Instant::now() >= deadline {
            let state = found["state"].as_str().unwrap_or_default().to_owned();
            let is_authorized = !waits && state == "active";
            return Ok((state, is_authorized));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The connector as the gateway is to find it: a name as it is, a path made absolute, because a server has another folder.
fn located(connector: &str) -> Result<String, Failure> {
    let is_path = connector.contains('/') || connector.ends_with(".yaml") || connector.ends_with(".yml");
    if !is_path {
        return Ok(connector.to_owned());
    }
    let path = Path::new(connector);
    let absolute = path.canonicalize().map_err(|source| Failure::FileAccess { path: path.into(), act: "read", source })?;
    absolute.into_os_string().into_string().map_err(|_| Failure::File { path: path.into(), fault: "has a name that is no UTF-8".into() })
}

pub(super) fn read_config(path: &Path) -> Result<Value, Failure> {
    let access = |source| Failure::FileAccess { path: path.into(), act: "read", source };
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(path).map_err(access)?) };
    let mut text = zeroize::Zeroizing::new(Vec::new());
    source.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut text).map_err(access)?;
    let refused = |fault: String| Failure::File { path: path.into(), fault };
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(refused(format!("is larger than {CONFIG_BYTES_MAX} bytes; a config is a small JSON object")));
    }
    match serde_json::from_slice(&text) {
        Ok(config @ Value::Object(_)) => Ok(config),
        Ok(_) => Err(refused("is JSON but no object; write {\"field\": \"value\"}".into())),
        // The parser's message names line, column and what it expected, never the text, which may be a secret.
        Err(error) => Err(refused(format!("is no JSON: {error}"))),
    }
}

fn told(policy: &Value) -> String {
    let points = policy["acknowledgements"].as_array().into_iter().flatten();
    let listed: String = points.map(|point| format!("\n  - {}", output::shown(&point["text"]))).collect();
    format!("{}\n{listed}", policy["text"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names stay names; paths become absolute or are refused as files.
    #[test]
    fn paths_are_told_from_names() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("shop.yaml");
        std::fs::write(&manifest, "").unwrap();
        assert_eq!(located("shopify").unwrap(), "shopify");
        assert_eq!(located(manifest.to_str().unwrap()).unwrap(), manifest.canonicalize().unwrap().to_str().unwrap());
        assert_eq!(located("./nowhere.yaml").unwrap_err().exit_code(), 2);
    }

    /// A config that is no JSON object is a malformed file, and its text is not repeated.
    #[test]
    fn a_config_is_a_json_object() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for (text, is_good) in
            [("{\"api_key\": \"hunter2\"}", true), ("[\"hunter2\"]", false), ("{\"api_key\": hunter2}", false), ("", false)]
        {
            std::fs::write(&path, text).unwrap();
            match read_config(&path) {
                Ok(_) => assert!(is_good, "{text}"),
                Err(failure) => {
                    assert!(!is_good, "{text}");
                    assert_eq!(failure.exit_code(), 2);
                    assert!(!failure.told().contains("hunter2"), "{}", failure.told());
                }
            }
        }
    }
}
