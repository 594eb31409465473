//! The service over HTTP, on real parts: a real server, a real redis-server, a scripted upstream. One file a promise.

mod access;
mod admin;
mod armour;
mod bodies;
#[cfg(target_os = "linux")]
mod browser;
mod budget;
mod cache_status;
mod caching;
mod card;
#[cfg(target_os = "linux")]
mod children;
mod coalescing;
mod contract;
mod counters;
mod dashboard;
mod ending;
mod fleet;
mod forward_proxy;
mod guards;
mod harness;
mod https;
mod last_callers;
mod leaks;
mod least_privilege;
mod lifecycle;
mod limits_redis;
mod malicious;
mod model;
mod openapi;
mod openweathermap;
mod page;
#[cfg(target_os = "linux")]
mod pictures;
mod privacy;
mod redis_credentials;
mod redis_trouble;
mod redis_wire;
mod resilience;
mod rolling;
mod rotation;
mod secrecy;
mod security;
mod simulated;
mod skew;
mod staleness;
mod topologies;
mod topology;
mod traces;
mod upstream_faults;
mod vault;
