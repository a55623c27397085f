//! On which CPUs the current thread may run.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::sys::cpu_list::CPUS_MAX;

/// The CPUs the current thread may run on, in ascending order. Already limited by the cgroup's cpuset: the kernel keeps
/// the mask within it.
///
/// # Errors
/// `EINVAL` on kernels built for more than [`CPUS_MAX`] CPUs.
pub fn current_thread_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CPUS_MAX).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Pins the current thread to one CPU. Threads it starts afterwards inherit that.
///
/// # Errors
/// `EINVAL` if the CPU does not exist, is offline, or lies outside of the cgroup's cpuset.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    set_current_thread_cpus(&[cpu])
}

/// Lets the current thread run on the given CPUs; those the cgroup's cpuset forbids are left out by the kernel.
///
/// # Errors
/// `EINVAL` if none of them is usable, or one is not below [`CPUS_MAX`].
pub fn set_current_thread_cpus(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CPUS_MAX {
            return Err(rustix::io::Errno::INVAL.into());
        }
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_and_sets_free_again() {
        let all = current_thread_cpus().unwrap();
        let cpu = *all.last().unwrap();
        std::thread::spawn(move || {
            pin_current_thread(cpu).unwrap();
            assert_eq!(current_thread_cpus().unwrap(), [cpu]);
            std::thread::spawn(move || assert_eq!(current_thread_cpus().unwrap(), [cpu])).join().unwrap();
            set_current_thread_cpus(&all).unwrap();
            assert_eq!(current_thread_cpus().unwrap(), all);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn an_impossible_cpu_is_an_error() {
        assert!(pin_current_thread(CPUS_MAX - 1).is_err());
        assert!(pin_current_thread(CPUS_MAX).is_err());
        assert!(set_current_thread_cpus(&[]).is_err());
    }
}
