//! What the machine is: its CPUs, its memory, our share of them, its clocks, its addresses; how a sleeping core is woken.
//! The lowest floor: names nothing else of this crate.

pub mod address;
pub mod affinity;
pub mod cgroup;
pub mod clock;
pub mod cpu_list;
pub mod machine;
pub mod memory;
pub mod placement;
pub mod policy;
pub mod ticks;
pub(crate) mod wake;
