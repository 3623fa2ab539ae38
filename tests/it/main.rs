//! Headgate through its public faces.

mod support;

mod architecture;
mod demo;
mod life;
mod record;
mod services;
mod shipstation;
