//! Stratus

pub mod app;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod demo;
pub mod http;
pub mod provision;
pub mod secret;
pub mod telemetry;
pub mod upstream;
pub mod weather;
