//! A client of the Airbyte protocol: a folder with its files, and what a command told on standard output.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

/// What a command of the protocol came to.
pub struct Told {
    /// The exit code.
    pub code: Option<i32>,
    /// The messages, in order.
    pub messages: Vec<Value>,
    /// Standard output.
    pub text: String,
    /// Standard error.
    pub errors: String,
}

impl Told {
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.messages.iter().filter(|message| message["type"] == kind).map(|message| &message[kind.to_lowercase()]).collect()
    }

    pub fn data(&self, stream: &str) -> Vec<&Value> {
        self.of_kind("RECORD").into_iter().filter(|record| record["stream"] == stream).map(|record| &record["data"]).collect()
    }

    /// The last state of a stream, and the sum of what its states count.
    pub fn state(&self, stream: &str) -> (&Value, f64) {
        let of = self.of_kind("STATE").into_iter().filter(|state| state["stream"]["stream_descriptor"]["name"] == stream);
        let states: Vec<&Value> = of.collect();
        let count = states.iter().map(|state| state["sourceStats"]["recordCount"].as_f64().unwrap()).sum();
        (&states.last().unwrap()["stream"]["stream_state"], count)
    }

    pub fn statuses(&self, stream: &str) -> Vec<&str> {
        let traces =
            self.of_kind("TRACE").into_iter().filter(|trace| trace["type"] == "STREAM_STATUS").map(|trace| &trace["stream_status"]);
        traces.filter(|status| status["stream_descriptor"]["name"] == stream).map(|status| status["status"].as_str().unwrap()).collect()
    }

    pub fn failures(&self) -> Vec<&Value> {
        self.of_kind("TRACE").into_iter().filter(|trace| trace["type"] == "ERROR").map(|trace| &trace["error"]).collect()
    }
}

/// A folder with the files of a client.
pub struct Client {
    pub folder: TempDir,
}

impl Client {
    pub fn new(manifest: &str, config: &Value) -> Self {
        let client = Client { folder: tempfile::tempdir().unwrap() };
        client.write("manifest.yaml", manifest);
        client.write("config.json", &config.to_string());
        client
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn catalog(&self, streams: &[(&str, &str)]) {
        let configured = streams.iter().map(|(name, mode)| {
            let stream = json!({"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]});
            json!({"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"})
        });
        self.write("catalog.json", &json!({"streams": configured.collect::<Vec<_>>()}).to_string());
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        command.arg("airbyte").args(arguments).args(["--manifest-path", "manifest.yaml", "--allow-loopback"]);
        command.current_dir(self.folder.path()).env_remove("HEADGATE_LOG").stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub async fn tell(&self, arguments: &[&str]) -> Told {
        let output = self.command(arguments).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let messages = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no message: {line}"))).collect();
        Told { code: output.status.code(), messages, text, errors: String::from_utf8(output.stderr).unwrap() }
    }
}

pub const READ: [&str; 5] = ["read", "--config", "config.json", "--catalog", "catalog.json"];
