//! Headgate through its public faces.

mod support;

mod architecture;
mod audit;
mod canary;
mod cli;
mod crash;
mod demo;
mod durable;
mod erasure;
mod keyring;
mod life;
mod model;
mod readme;
mod record;
mod services;
mod shipstation;
