//! How the kernel's scheduler treats a thread that wakes.
//!
//! # The unsafe of this room
//! Two system calls that only libc has. Both name a thread by its number, 0 being the calling one, so they cannot reach
//! another; the one that takes a pointer reads one `sched_param` through it, which lives across the call.

use std::io;

/// Lets the calling thread wait for its turn when it wakes: it does not preempt another thread that runs on its CPU
/// (`SCHED_BATCH`). Its share of the CPU stays the same. A thread to which somebody has given another policy than the
/// ordinary one keeps it.
///
/// # Errors
/// `EPERM` where a filter forbids it.
pub fn wake_without_preempting() -> io::Result<()> {
    // SAFETY: it reads one number of the calling thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy != libc::SCHED_OTHER {
        return if policy < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    }
    // The priority of the ordinary policies: it must be 0.
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a local value that the kernel only reads, during the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field 41 of `stat` is the policy; the name in field 2 may hold spaces.
    fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let behind_name = stat.rsplit_once(')').unwrap().1;
        behind_name.split_ascii_whitespace().nth(41 - 3).unwrap().parse().unwrap()
    }

    #[test]
    fn it_concerns_the_calling_thread_only() {
        std::thread::spawn(|| {
            wake_without_preempting().unwrap();
            assert_eq!(policy(), libc::SCHED_BATCH);
            wake_without_preempting().unwrap();
            assert_eq!(policy(), libc::SCHED_BATCH);
        })
        .join()
        .unwrap();
        assert_ne!(policy(), libc::SCHED_BATCH);
    }
}
