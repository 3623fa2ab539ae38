//! Headgate through its public faces.

mod support;

mod life;
mod shipstation;
