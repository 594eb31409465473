//! The service over HTTP, on real parts: a real server, a real redis-server, a scripted upstream. One file a promise.

mod admin;
mod bodies;
mod cache_status;
mod caching;
mod contract;
mod harness;
mod lifecycle;
mod privacy;
mod redis_trouble;
mod resilience;
mod security;
mod staleness;
mod upstream_faults;
