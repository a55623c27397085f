//! What the kernel says about a server: CPU time and memory, from `/proc`.

use std::fs;
use std::io;

/// CPU time used so far by all threads of a process, in nanoseconds.
///
/// The first number of `/proc/PID/task/TID/schedstat` is the scheduler's own sum and exact for a thread that sleeps,
/// which the server does before and after a round. Kernels without it leave the ticks of `/proc/PID/stat` (10 ms).
///
/// # Errors
/// The process is gone, or `/proc` is not mounted.
pub fn cpu_time_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => sum += first_number(&text).unwrap_or(0),
            // A thread may end while we read, before its file is opened or after. Its time is lost, as if it had ended
            // a moment earlier.
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_ended(&error) => {}
            Err(error) => return Err(error),
        }
    }
    if sum == 0 { cpu_ticks_ns(pid) } else { Ok(sum) }
}

/// `ESRCH`: the thread that an open file of `/proc` tells of has ended.
fn is_ended(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// User plus system time from `/proc/PID/stat`, for kernels without scheduler statistics.
fn cpu_ticks_ns(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields 14 and 15; the command name in parentheses may itself contain spaces.
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// All resident pages.
    pub resident_bytes: u64,
    /// Resident pages that belong to no file: heap, stacks and buffers.
    pub anonymous_bytes: u64,
}

/// Reads the memory of a process from `smaps_rollup`.
///
/// # Errors
/// The process is gone, or `/proc` is not mounted.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        first_number(line).unwrap_or(0) * 1024
    };
    Ok(Memory { resident_bytes: field("Rss:"), anonymous_bytes: field("Anonymous:") })
}

/// All processes that descend from this one, itself included: some peers fork a worker that does the serving.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_end_while_it_reads_cost_no_error() {
        let pid = std::process::id();
        let end = std::time::Instant::now() + std::time::Duration::from_millis(300);
        let churn = std::thread::spawn(move || {
            while std::time::Instant::now() < end {
                std::thread::spawn(|| {}).join().unwrap();
            }
        });
        while !churn.is_finished() {
            cpu_time_ns(pid).unwrap();
        }
        churn.join().unwrap();
    }

    #[test]
    fn our_own_cpu_time_grows_and_memory_is_there() {
        let pid = std::process::id();
        let before = cpu_time_ns(pid).unwrap();
        let start = std::time::Instant::now();
        // Threads of other tests may end meanwhile, and take their time with them.
        while cpu_time_ns(pid).unwrap().saturating_sub(before) < 5_000_000 {
            assert!(start.elapsed().as_secs() < 20, "20 s of reading /proc must cost more than 5 ms");
        }
        let memory = memory(pid).unwrap();
        assert!(memory.resident_bytes > memory.anonymous_bytes && memory.anonymous_bytes > 0);
        assert!(family(pid).contains(&pid));
    }
}
