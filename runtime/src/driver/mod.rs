//! How an executor talks to the kernel.

/// Which driver to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DriverChoice {
    /// io_uring where the kernel allows it, otherwise epoll; the report says why.
    #[default]
    Auto,
    /// io_uring or an error that names the remedy.
    IoUring,
    /// epoll.
    Epoll,
}

/// Which driver and tier won, and why: one line for the log.
#[derive(Clone, Debug)]
pub struct DriverReport { /// `io_uring` or `epoll` or `sim`
    pub driver: &'static str,
    /// The whole line for the log.
    pub line: String }
