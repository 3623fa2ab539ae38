//! Headgate through its public faces.

mod support;

mod architecture;
mod cli;
mod demo;
mod life;
mod model;
mod readme;
mod record;
mod services;
mod shipstation;
