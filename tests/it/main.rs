//! Headgate through its public faces.

mod support;

mod architecture;
mod cli;
mod demo;
mod life;
mod model;
mod record;
mod services;
mod shipstation;
