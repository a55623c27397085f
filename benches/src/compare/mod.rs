//! The side-by-side comparison: the same load on every server in turn, round after round, and what the kernel says
//! each of them spent on it.

pub mod latency;
pub mod memory;
pub mod round;
pub mod scenario;
pub mod server;
pub mod syscalls;
pub mod table;
