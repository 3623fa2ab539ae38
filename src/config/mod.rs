//! The gateway's own configuration: the TOML file, the data directory and the master key.
//!
//! Three answers are found here before anything is opened: what the operator wrote ([`Config`]), whose directory this is
//! and whether another process holds it ([`DataDirectory`]), and the key that wraps all others ([`MasterKeySource`]).

mod directory;
mod file;
mod master;
mod settings;

pub use directory::Access;
pub use directory::DataDirectory;
pub use directory::DirectoryError;
pub use directory::HeldDirectory;
pub use directory::Holder;
pub use file::Config;
pub use file::ConfigError;
pub use file::ConfigProblem;
pub use file::ConnectorConfig;
pub use file::OpenLineageConfig;
pub use file::Rewrite;
pub use master::MASTER_KEY_VARIABLE;
pub use master::MasterKeyError;
pub use master::MasterKeySource;
pub use settings::Settings;
pub use settings::SettingsError;

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::SocketAddrV4;

/// Where the gateway listens when nothing else is said.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));

/// The name of the configuration file inside the data directory.
pub const CONFIG_FILE: &str = "headgate.toml";
