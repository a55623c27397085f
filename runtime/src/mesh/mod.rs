//! Bounded channels between cores: one ring for each pair, so that no two cores ever write the same line.
//!
//! A message costs a store into the ring and a fence; the other side is woken only if it waits. Waiting and waking lie
//! in `bell`, the rings are `rtrb`'s.

mod bell;
pub mod end;

pub use self::end::{MeshEnd, mesh};
