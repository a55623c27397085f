//! One executor per core, on io_uring or epoll. Knows no HTTP.

pub mod buffer;
pub mod driver;
pub mod executor;
pub mod mesh;
pub mod net;
pub mod offload;
pub mod sys;
pub mod task;
pub mod time;
