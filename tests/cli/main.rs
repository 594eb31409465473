//! The command line, as its users meet it: the built program, its arguments, its output, its exit codes. One file a
//! command.

mod admin;
mod arguments;
mod check;
mod check_upstream;
mod config;
mod config_redis;
mod config_sources;
mod config_words;
mod consumers;
mod credential;
mod demo;
#[cfg(target_os = "linux")]
mod hardening;
mod harness;
mod https;
mod init;
mod keys;
mod privileges;
mod redis;
mod secret_files;
#[cfg(target_os = "linux")]
mod service_manager;
mod status;
mod terminal;
