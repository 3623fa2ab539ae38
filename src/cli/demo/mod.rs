//! `headgate demo`: the whole life of a connection, on a Connected Application of our own.

mod browser;
mod story;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use data_encoding::BASE64URL_NOPAD;
use data_encoding::HEXLOWER;
use serde_json::json;
use tokio::net::TcpListener;

use crate::cli::Globals;
use crate::cli::failure::Failure;
use crate::cli::opening::Opening;
use crate::cli::opening::compose;
use crate::cli::output::Output;
use crate::cli::serve::until_stopped;
use crate::cli::transport::Client;
use crate::cli::transport::OwnDoor;
use crate::clock::Clock;
use crate::config::ConnectorConfig;
use crate::ids::Entropy;
use crate::sandbox;
use crate::sandbox::Sandbox;
use crate::secret::Secret;
use story::Papers;
use story::Story;

/// The connector that reads the sandbox.
const CONNECTOR: &str = "sandbox";

/// The gateway's name at the sandbox's authorization server.
const CLIENT_ID: &str = "headgate";

#[derive(Debug, Args)]
pub struct Demo {
    /// End after the last step instead of leaving the gateway and the sandbox up. The exit code is 0 only if every step held.
    #[arg(long)]
    once: bool,
    /// How many records the sandbox has, over its five streams.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    records: u64,
}

/// The folders and files of one demo.
struct Ground {
    data: PathBuf,
    papers: Papers,
    /// Made by the demo, and removed with it.
    temporary: Option<PathBuf>,
}

impl Demo {
    /// Tells the story, and then leaves the gateway up until it is stopped.
    ///
    /// # Errors
    /// When a step did not hold, or the gateway or the sandbox cannot be opened.
    pub async fn carry_out(self, opening: Opening<'_>, output: &mut Output) -> Result<(), Failure> {
        let ground = Ground::prepare(opening.globals.data.as_deref(), &Entropy::system())?;
        let globals = Globals { data: Some(ground.data.clone()), ..opening.globals.clone() };
        let told = self.tell(Opening { globals: &globals, ..opening }, &ground, output).await;
        if let Some(folder) = &ground.temporary {
            // What is left behind by a failed step is of use to whoever looks for the reason.
            if told.is_ok() { ground.clear(folder) } else { output.say(&format!("headgate: the demo's files are in {}", folder.display())) }
        }
        told
    }

    async fn tell(&self, opening: Opening<'_>, ground: &Ground, output: &mut Output) -> Result<(), Failure> {
        let entropy = Entropy::system();
        let options = sandbox::Options { records: self.records, ..sandbox::Options::default() };
        let sandbox = Sandbox::start(options).await.map_err(|error| Failure::Open { source: error.into() })?;
        let held = opening.hold()?;
        let socket = held.directory().socket();
        let mut settings = opening.settings(held, Clock::System, output)?;
        let listener = listen(&settings.config.listen.to_string()).await?;
        let address = listener.local_addr().map_err(|source| Failure::Listen { address: "a free port".into(), source })?;
        let secret = BASE64URL_NOPAD.encode(&entropy.bytes::<32>());
        settings = settings.listening_on(address);
        settings.config.egress_allow.push(sandbox.address().to_string());
        let registration = ConnectorConfig {
            client_id: Some(CLIENT_ID.into()),
            client_secret: Some(Secret::new(secret.clone())),
            ..ConnectorConfig::default()
        };
        settings.config.connectors.insert(CONNECTOR.into(), registration);
        let redirect_uri = format!("{}/oauth/callback", settings.public_url.as_str().trim_end_matches('/'));
        sandbox.register(sandbox::Client { id: CLIENT_ID.into(), secret: Some(secret), redirect_uris: vec![redirect_uri] });

        let mut door = OwnDoor::new(compose(settings).await?, Some(listener));
        door.open_socket(socket)?;
        door.open_public()?;
        let client = Client::new(Box::new(door));
        greet(output, &format!("http://{address}"), sandbox.base_url(), self.records)?;
        let told = Story::new(&client, output, &sandbox, ground.papers.clone()).tell().await;
        let told = match told {
            Ok(()) if !self.once => stay(output, &format!("http://{address}"), &ground.data).await,
            told => told,
        };
        client.door().close().await;
        sandbox.shutdown().await;
        told?;
        output.result(&json!({"held": true, "certificate": ground.papers.certificate, "keys": ground.papers.keys}), |_| {
            "\nEvery step held.".into()
        })
    }
}

impl Ground {
    /// The folder that --data names, or one of the demo's own.
    fn prepare(data: Option<&Path>, entropy: &Entropy) -> Result<Self, Failure> {
        if let Some(data) = data {
            let beside = |ending: &str| {
                let mut name = data.file_name().unwrap_or_default().to_owned();
                name.push(ending);
                data.with_file_name(name)
            };
            let papers = Papers { certificate: beside(".certificate.json"), keys: beside(".keys.json") };
            return Ok(Self { data: data.to_owned(), papers, temporary: None });
        }
        let folder = std::env::temp_dir().join(format!("headgate-demo-{}", HEXLOWER.encode(&entropy.bytes::<6>())));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|source| Failure::FileAccess { path: folder.clone(), act: "written", source })?;
        let papers = Papers { certificate: folder.join("certificate.json"), keys: folder.join("keys.json") };
        Ok(Self { data: folder.join("data"), papers, temporary: Some(folder) })
    }

    /// Removes everything but the certificate and the keys that verify it.
    fn clear(&self, folder: &Path) {
        let _ = std::fs::remove_dir_all(&self.data);
        let _ = std::fs::remove_file(folder.join("data.master.key"));
    }
}

/// The configured address, or a free port when something listens there.
async fn listen(wanted: &str) -> Result<TcpListener, Failure> {
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind("127.0.0.1:0").await.map_err(|source| Failure::Listen { address: "127.0.0.1".into(), source }),
    }
}

fn greet(output: &mut Output, gateway: &str, shop: &str, records: u64) -> Result<(), Failure> {
    output.result(&json!({"event": "listening", "address": gateway, "sandbox": shop}), |_| {
        format!(
            "The gateway listens on {gateway}; beside it stands a shop of {records} records on {shop},\n\
             a Connected Application of our own: real sockets, OAuth with rotating tokens, pages, rate limits."
        )
    })
}

async fn stay(output: &mut Output, gateway: &str, data: &Path) -> Result<(), Failure> {
    output.say(&format!(
        "\nThe gateway stays up on {gateway} ({gateway}/docs) until Ctrl-C; meanwhile other commands work with --data {}",
        data.display()
    ));
    until_stopped().await
}
