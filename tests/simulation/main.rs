//! A day of a fleet in a few minutes: the real budget, breaker, back-off, leases, cache and flights of eight replicas, whose
//! clock runs as fast as they think. docs/simulation.md says what it shows and what it does not.
//!
//! Without more it is a short one. `STRATUS_SIMULATED_HOURS=24` (`scripts/simulate`) makes it a whole one.

mod books;
mod day;
mod figures;
mod fleet;
mod places;
mod plan;
mod promises;
mod report;
mod upstream;
