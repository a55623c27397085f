//! Timers of one core.

mod instant;
mod sleep;
mod timers;
pub mod wheel;

pub use instant::Instant;
pub use sleep::{Alarm, Sleep};
pub(crate) use timers::Timers;
