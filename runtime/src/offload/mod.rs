//! Bounded crew of threads for blocking work.
//!
//! A job is handed over with [`Crew::run`](crew::Crew::run) and awaited on the core that asked; that core never blocks.
//! The crew grows to a bound when work comes, and leaves when idle. When all threads are busy and the queue is full, it
//! says so at once: the caller sheds load where it can still answer.

pub mod answer;
pub mod crew;
pub mod files;

pub use self::{
    answer::{Offloaded, Panicked, ShutDown},
    crew::{Crew, CrewConfig, CrewCounters, Drained, Full},
};
