//! How one executor is set up.

use std::time::Duration;

use crate::buffer::ReceiveConfig;
use crate::driver::{DriverChoice, RingConfig};

/// How one executor is set up. Every bound is here, with its reason.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// Number of this core in its pool, from 0.
    pub core: usize,
    /// Which driver.
    pub driver: DriverChoice,
    /// Receive buffers of this core.
    pub receive: ReceiveConfig,
    /// Queue sizes of the ring.
    pub ring: RingConfig,
    /// Task polls in one turn. 256: a full harvest of the driver runs before the next submission, but a flood of tasks
    /// does not keep the driver waiting.
    pub polls_per_turn_max: u32,
    /// After so long a turn goes to its submission even if tasks remain. 200 µs: answers that are ready do not wait for
    /// the rest of a batch.
    pub turn_budget: Duration,
    /// A poll that takes longer is a stall: it is counted and named. 5 ms: no cooperative step takes that long.
    pub stall_limit: Duration,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            core: 0,
            driver: DriverChoice::Auto,
            receive: ReceiveConfig::default(),
            ring: RingConfig::default(),
            polls_per_turn_max: 256,
            turn_budget: Duration::from_micros(200),
            stall_limit: Duration::from_millis(5),
        }
    }
}
