//! Headgate through its public faces.

mod support;

mod shipstation;
