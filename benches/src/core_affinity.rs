//! On which core this thread, and everything it starts, may run.

use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Pins the calling thread to one core. Processes and threads it starts from now on inherit the pin, which is how
/// the comparison puts servers on one core and itself on the other without `unsafe` code between fork and exec.
///
/// # Errors
/// The kernel's, when the core does not exist or is outside what the process may use.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Raises the soft limit on open descriptors to the hard limit, and returns it.
///
/// # Errors
/// The kernel's.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
