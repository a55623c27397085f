//! What an idle keep-alive connection holds: open many, ask each for one response, and see how the server has grown.

use crate::compare::round::run_checked;
use crate::compare::server::Running;
use crate::generator::Load;
use crate::generator::closed::Until;
use crate::generator::exchange::Exchange;
use crate::process;

/// Connections that are opened and closed again before the first reading, so that what a server allocates once for
/// all (buffers, tables, code pages) is not charged to the connections.
const WARM_UP_CONNECTIONS: usize = 64;

/// User memory per idle connection, in bytes. What the kernel holds for a socket is not in it.
#[derive(Clone, Copy, Debug)]
pub struct PerConnection {
    /// Growth of all resident pages.
    pub resident_bytes: f64,
    /// Growth of anonymous pages only.
    pub anonymous_bytes: f64,
}

fn total(running: &Running) -> Result<(f64, f64), String> {
    let mut sum = (0.0, 0.0);
    for pid in running.pids() {
        let memory = process::memory(pid).map_err(|error| format!("the server is gone: {error}"))?;
        sum = (sum.0 + memory.resident_bytes as f64, sum.1 + memory.anonymous_bytes as f64);
    }
    Ok(sum)
}

/// Measures a running server with `connections` idle connections after one exchange on each.
///
/// # Errors
/// A sentence for the user: too few descriptors, or a wrong response.
pub fn per_connection<E: Exchange>(
    running: &Running,
    connections: usize,
    exchange: impl Fn() -> E,
) -> Result<PerConnection, String> {
    let open = |count: usize| -> Result<Load<E>, String> {
        let mut load = Load::connect(running.address, count, 1, exchange()).map_err(|error| error.to_string())?;
        run_checked(&mut load, Until::Requests(count as u64))?;
        Ok(load)
    };
    drop(open(WARM_UP_CONNECTIONS)?);
    let settle = || std::thread::sleep(std::time::Duration::from_millis(300));
    settle();
    let before = total(running)?;
    let load = open(connections)?;
    settle();
    let after = total(running)?;
    drop(load);
    let each = |before: f64, after: f64| (after - before) / connections as f64;
    Ok(PerConnection { resident_bytes: each(before.0, after.0), anonymous_bytes: each(before.1, after.1) })
}
