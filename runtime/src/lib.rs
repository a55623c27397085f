//! One executor per core, on io_uring or epoll. Knows no HTTP.
//!
//! An [`executor::Executor`] is one driver, one task queue, one timer wheel and the receive buffers of one core. There is
//! no ambient "current" runtime: a [`executor::Handle`] is passed down.

pub mod buffer;
pub mod driver;
pub mod executor;
pub mod mesh;
pub mod net;
pub mod offload;
pub mod pool;
pub mod sys;
pub mod task;
pub mod time;
