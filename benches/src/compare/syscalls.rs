//! System calls per request, counted by `strace` in a run of its own: tracing slows a server down a hundredfold, so
//! nothing else may be read from such a run.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::compare::round::{connect, run_checked};
use crate::compare::scenario::Scenario;
use crate::compare::server::Running;
use crate::generator::closed::Until;
use crate::generator::http1::Http1;

/// What was called, per request.
#[derive(Clone, Debug)]
pub struct Syscalls {
    /// All calls.
    pub per_request: f64,
    /// The calls that make up most of it, by name.
    pub by_name: Vec<(String, f64)>,
}

/// Counts the system calls of a server over `requests` HTTP/1.1 requests on connections that are open already.
///
/// # Errors
/// A sentence for the user: no strace, not allowed to trace, or a wrong response.
pub fn count(running: &Running, scenario: &Scenario, path: &str, requests: u64) -> Result<Syscalls, String> {
    let mut load = connect(running.address, scenario, Http1::new(path, 0))?;
    run_checked(&mut load, Until::Requests(1000))?;
    let pid = running.pids()[0];
    let report = std::env::temp_dir().join(format!("ringgate-strace-{}-{pid}", std::process::id()));
    let mut strace = Command::new("strace")
        .args(["-f", "-q", "-c", "-o", &report.display().to_string(), "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    wait_until_traced(pid)?;
    let outcome = run_checked(&mut load, Until::Requests(requests));
    if let Some(tracer) = Pid::from_raw(strace.id() as i32) {
        kill_process(tracer, Signal::INT).map_err(|error| error.to_string())?;
    }
    strace.wait().map_err(|error| error.to_string())?;
    let text = fs::read_to_string(&report).map_err(|error| format!("strace left no report: {error}"))?;
    let _ = fs::remove_file(&report);
    read_report(&text, outcome?.answered)
}

fn wait_until_traced(pid: u32) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap_or("0");
        if tracer.trim() != "0" {
            // All threads are seized one after the other; give strace the time for the rest.
            std::thread::sleep(Duration::from_millis(200));
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("strace could not attach to the server".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads the table of `strace -c`: share, seconds, time per call, calls, perhaps errors, name.
fn read_report(text: &str, requests: u64) -> Result<Syscalls, String> {
    let rows = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let calls: u64 = fields.get(3)?.parse().ok()?;
        Some((fields.last()?.to_string(), calls as f64 / requests as f64))
    });
    let (total, mut by_name): (Vec<_>, Vec<_>) = rows.partition(|(name, _)| name == "total");
    by_name.retain(|&(_, per_request)| per_request >= 0.005);
    by_name.sort_by(|a, b| b.1.total_cmp(&a.1));
    match total[..] {
        [(_, per_request)] => Ok(Syscalls { per_request, by_name }),
        _ => Err(format!("strace wrote no table: {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::read_report;

    #[test]
    fn the_table_of_strace_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    60.00    0.000600           1      2000           sendto\n \
                    40.00    0.000400           1      2100       100 recvfrom\n \
                    00.00    0.000000           0         1           epoll_wait\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.001000           1      4101       100 total\n";
        let syscalls = read_report(text, 1000).unwrap();
        assert_eq!(syscalls.per_request, 4.101);
        assert_eq!(syscalls.by_name, [("recvfrom".to_owned(), 2.1), ("sendto".to_owned(), 2.0)]);
        assert!(read_report("", 1000).is_err());
    }
}
