//! What the kernel that the tests run on can do: not every one has io_uring, or allows it.

use ringgate_runtime::driver::DriverChoice;
use ringgate_runtime::executor::{Executor, ExecutorConfig};

/// The kernel's version, such as `(6, 1)`.
pub(crate) fn version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.trim().split(['.', '-', '+']).map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether the driver for io_uring can be had. It must be wherever the kernel is new enough and sets up a ring at all, so
/// that no fault of ours leaves tests out.
pub(crate) fn has_io_uring() -> bool {
    let config = ExecutorConfig { driver: DriverChoice::IoUring, ..ExecutorConfig::default() };
    match Executor::new(config) {
        Ok(_) => true,
        Err(reason) => {
            assert!(version() < (6, 0) || io_uring::IoUring::new(2).is_err(), "{reason}");
            eprintln!("left out: {reason}");
            false
        }
    }
}

/// The drivers of this kernel.
#[allow(dead_code, reason = "not every suite names drivers")]
pub(crate) fn drivers() -> Vec<DriverChoice> {
    let mut drivers = vec![DriverChoice::Epoll];
    if has_io_uring() {
        drivers.push(DriverChoice::IoUring);
    }
    drivers
}
