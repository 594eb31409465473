//! Stratus stands between weather apps and OpenWeatherMap: it answers `GET /weather/{location}` from a Redis in which
//! nothing can be read, and asks OpenWeatherMap only when it must.
//!
//! # The life of a request
//!
//! 1. [`http`] `listener` accepts the connection: bounded in number, shared fairly among addresses, slow clients are cut; by
//!    HTTPS if it is set up.
//! 2. [`http`] `direct`, the short way of plain questions: [`weather::Query`] makes one canonical question of the path and the
//!    parameters, ours or OpenWeatherMap's own, by the one table of [`weather::ENDPOINTS`]; and if memory has its answer
//!    ([`cache::Cache::recall`]), that is given at once. A little stale: it is given, too, and steps 6 and 7 happen behind it,
//!    once.
//!    Before that [`http`] `guard` finds out who asks, a consumer by its key ([`consumers`]) or an address, and whether it may,
//!    now ([`limits`]).
//! 3. What is odd or wrong about a request goes the long way: [`http`] `observe`, `forward` (whether it is for us), the time
//!    limit, CORS, the router, the same `guard`, and `data`, the handlers. What is wrong ends there, before any cache or network.
//! 4. [`http`] `observe` gives each request its id and, at the end, its one log line and its metrics. If there is a collector, what
//!    is done here and below it is told in spans, too ([`telemetry::trace`]).
//! 5. [`cache::Cache::load`] joins the one lookup of this question, or leads it: memory again, then the record under its
//!    keyed name in Redis, which it opens ([`crypto::Keyring::open`]). Anything from a Redis that is away to a flipped bit
//!    is a counted miss. What is usable is kept in memory and given as in step 2.
//! 6. Of all replicas one loads a question (`cache::lease`). [`upstream::Upstream`] asks OpenWeatherMap if its breaker admits
//!    it and the budget of the fleet has a permit, with the next key of the [`credentials::Vault`] or that of the
//!    configuration, and believes only what is weather.
//! 7. The answer is kept in memory, sealed ([`crypto::Keyring::seal`]), written to Redis with its time to live, and given.
//!    That a place is unknown is an answer, too.
//! 8. Did the upstream fail, or was there no call for this? A copy that is not dead yet is given, marked stale; else a typed
//!    error.
//! 9. [`http`] `answer` and `problem` turn the answer or the error into status, headers and bytes, and `card` the weather into
//!    a few lines of text for who likes that better; on OpenWeatherMap's paths `openweathermap` tells errors in its words.
//!
//! # Who knows whom
//!
//! `main → cli → app → all`; of `demo`, `app` takes the simulated upstream for a service that has no key and may do without.
//! `http` knows the cache but neither Redis nor OpenWeatherMap; `cache` and `upstream` know the store, which all replicas share, and the sealing but no HTTP server; `credentials` is the vault from which `upstream` has
//! its keys, and into which `http` puts them; `crypto` knows only bytes; `weather` are the words they share and does no I/O.
//! [`limits`] counts the requests of callers in the store and knows neither HTTP nor the cache. `rights` is the one list of
//! what the user in Redis may do: `provision` writes it down, `store` holds Redis to it. `certificate` reads the certificates
//! that we show, to Redis and to callers. [`reload`], [`hardening`] and [`service_manager`] know nobody: the first reads files
//! again while the service runs, the second is what `cli` calls before all else, and the third is systemd's side of `cli`: sockets
//! that are there before us, and whom we tell how we are. `cache` and `upstream` meet in one trait,
//! [`weather::Source`].
//! `tests/architecture.rs` holds every file to this.

pub mod app;
pub mod cache;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod consumers;
pub mod credentials;
pub mod crypto;
pub mod demo;
pub mod hardening;
pub mod http;
pub mod limits;
pub mod provision;
pub mod reload;
pub mod rights;
pub mod secret;
pub mod service_manager;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod weather;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
extern crate self as stratus;
