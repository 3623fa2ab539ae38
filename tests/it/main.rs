//! Headgate through its public faces.

mod support;

mod architecture;
mod life;
mod record;
mod services;
mod shipstation;
