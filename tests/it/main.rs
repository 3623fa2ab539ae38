//! Headgate through its public faces.

mod support;

mod airbyte;
mod architecture;
mod audit;
mod canary;
mod care;
mod cli;
mod copies;
mod crash;
mod days;
mod demo;
mod durable;
mod erasure;
mod foreign;
mod keyring;
mod life;
mod model;
mod oauth;
mod peers;
mod power;
mod quickbooks;
mod readme;
mod record;
mod services;
mod shipstation;
mod shopify;
mod stripe;
mod tenants;
mod woocommerce;
