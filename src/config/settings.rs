//! Everything that a gateway is opened with, gathered from the three places.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;

use url::Url;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::DirectoryError;
use crate::config::HeldDirectory;
use crate::config::MasterKeyError;
use crate::config::MasterKeySource;
use crate::ids::Entropy;
use crate::vault::MasterKey;

/// Everything that a gateway is opened with.
#[derive(Debug)]
pub struct Settings {
    /// The directory, held until the gateway is closed.
    pub directory: HeldDirectory,
    /// What the operator wrote.
    pub config: Config,
    /// How the gateway is reached from outside, without a slash at its end: what the operator wrote, else the address.
    pub public_url: Url,
    /// The key that wraps the keyring's root.
    pub master_key: MasterKey,
    /// Where the time comes from.
    pub clock: Clock,
    /// Where randomness comes from.
    pub entropy: Entropy,
}

/// Why the settings cannot be gathered.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl Settings {
    /// Reads the configuration from `config_file`, or from the directory if it has one, finds or makes the master key, and
    /// marks a new directory as Headgate's. `announce` is told what the operator should know.
    ///
    /// # Errors
    /// When the configuration is malformed, the key is missing or malformed, or the directory cannot be written.
    pub fn gather(
        mut directory: HeldDirectory,
        config_file: Option<&Path>,
        key: &MasterKeySource,
        clock: Clock,
        entropy: Entropy,
        announce: &mut dyn FnMut(String),
    ) -> Result<Self, SettingsError> {
        let inside = directory.directory().config_file();
        let config = match config_file {
            Some(path) => Config::read(path, directory.is_test())?,
            None if inside.exists() => Config::read(&inside, directory.is_test())?,
            None => Config::default(),
        };
        let data = directory.directory().path().to_owned();
        let master_key = key.resolve(&data, directory.is_new(), &entropy, announce)?;
        directory.mark(clock.now())?;
        let public_url = config.public_url.clone().unwrap_or_else(|| reached_at(config.listen));
        Ok(Self { directory, config, public_url, master_key, clock, entropy })
    }

    /// With the address that was really bound: port 0 in the configuration takes a free one, and applications are told which.
    pub fn listening_on(mut self, address: SocketAddr) -> Self {
        if self.config.public_url.is_none() {
            self.public_url = reached_at(address);
        }
        self.config.listen = address;
        self
    }
}

/// The URL of a listening address. An unspecified address is reached from this machine at least.
fn reached_at(mut address: SocketAddr) -> Url {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    #[allow(clippy::expect_used, reason = "a socket address is always the authority of a URL")]
    Url::parse(&format!("http://{address}")).expect("an address is a URL's authority")
}
