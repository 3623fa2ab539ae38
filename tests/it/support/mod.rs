//! What the tests stand on: applications on loopback sockets, and the real binary as a process.

pub mod installation;
pub mod proof;
pub mod shipstation;
