//! The service over HTTP, on real parts: a real server, a real redis-server, a scripted upstream. One file a promise.

mod caching;
mod harness;
