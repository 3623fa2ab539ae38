//! What the tests stand on: applications on loopback sockets.

pub mod shipstation;
