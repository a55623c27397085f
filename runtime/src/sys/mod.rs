//! What the machine is: its CPUs, our share of them, its clocks. The lowest floor: names nothing else of this crate.

pub mod affinity;
pub mod cgroup;
pub mod clock;
pub mod cpu_list;
pub mod machine;
pub mod placement;
pub mod ticks;
