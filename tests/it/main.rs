//! Headgate through its public faces.

mod support;

mod airbyte;
mod architecture;
mod audit;
mod canary;
mod care;
mod cli;
mod conformance;
mod copies;
mod crash;
mod days;
mod decoders;
mod demo;
mod durable;
mod erasure;
mod foreign;
mod keyring;
mod life;
mod manifests;
mod model;
mod oauth;
mod openlineage;
mod peers;
mod power;
mod quickbooks;
mod readme;
mod record;
mod requests;
mod services;
mod shipstation;
mod shopify;
mod slices;
mod stripe;
mod tenants;
mod woocommerce;
