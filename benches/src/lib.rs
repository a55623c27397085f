//! What the programs of this package share: the load generator, the reference servers' event loop, reading a
//! server's CPU time and memory from `/proc`, and the side-by-side comparison.
//!
//! Nothing here is part of what Ringgate offers to applications. `README.md` beside this crate says how to run it
//! and what the figures mean.

pub mod arguments;
pub mod compare;
pub mod core_affinity;
pub mod generator;
pub mod histogram;
pub mod process;
pub mod raw;
pub mod statistics;
