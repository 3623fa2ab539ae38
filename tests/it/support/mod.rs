//! What the tests stand on: applications on loopback sockets, a gateway in this process, and the real binary as a process.

pub mod application;
pub mod command;
pub mod dice;
pub mod disk;
pub mod house;
pub mod http;
pub mod installation;
pub mod mock_provider;
pub mod oauth_server;
pub mod openlineage;
pub mod outlet;
pub mod proof;
pub mod protocol;
pub mod quickbooks;
pub mod shipstation;
pub mod shopify;
pub mod stripe;
pub mod woocommerce;
