//! `headgate serve`: the gateway, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::cli::failure::Failure;
use crate::cli::opening::Opening;
use crate::cli::opening::compose;
use crate::cli::output::Output;
use crate::cli::transport::Door;
use crate::cli::transport::OwnDoor;
use crate::clock::Clock;

#[derive(Debug, Args)]
pub struct Serve {
    /// The address to listen on, instead of `listen` in the configuration, else 127.0.0.1:8080; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// A file with an RFC 3339 time, read again at each use, instead of the machine's clock. In a directory made with --test
    /// only.
    #[arg(long, value_name = "FILE")]
    test_clock: Option<PathBuf>,
}

impl Serve {
    /// Serves until SIGINT or SIGTERM; what was acknowledged by then is on disk.
    ///
    /// # Errors
    /// When the store, the address or the socket cannot be opened.
    pub async fn carry_out(self, opening: Opening<'_>, output: &mut Output) -> Result<(), Failure> {
        let held = opening.hold()?;
        let clock = self.clock(held.is_test())?;
        let socket = held.directory().socket();
        let settings = opening.settings(held, clock, output)?;
        let wanted = self.listen.unwrap_or(settings.config.listen);
        let refused = |source| Failure::Listen { address: wanted.to_string(), source };
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let settings = settings.listening_on(listener.local_addr().map_err(refused)?);
        let mut door = OwnDoor::new(compose(settings).await?, Some(listener));
        door.open_socket(socket)?;
        let address = format!("http://{}", door.open_public()?);
        door.house().start_schedule();
        output.result(&json!({"event": "listening", "address": address}), |_| format!("listening on {address}"))?;
        until_stopped().await?;
        output.say("headgate: stopping");
        door.close().await;
        Ok(())
    }

    fn clock(&self, is_test: bool) -> Result<Clock, Failure> {
        match &self.test_clock {
            None => Ok(Clock::System),
            Some(_) if !is_test => {
                Err(Failure::outcome("--test-clock moves time, so it is taken only for a data directory that was created with --test"))
            }
            Some(path) => {
                Clock::file(path.clone()).map_err(|error| Failure::File { path: path.clone(), fault: format!("is refused: {error}") })
            }
        }
    }
}

/// Waits for SIGINT or SIGTERM.
///
/// # Errors
/// When the signals cannot be listened for.
pub async fn until_stopped() -> Result<(), Failure> {
    let refused = |source| Failure::Listen { address: "the signal SIGTERM".into(), source };
    let mut terminated = signal(SignalKind::terminate()).map_err(refused)?;
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
