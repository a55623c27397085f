//! Latency at a fixed rate, alone and while other clients keep blocking handlers busy.

use std::net::SocketAddr;
use std::time::Duration;

use crate::compare::round::run_checked;
use crate::generator::Load;
use crate::generator::closed::Until;
use crate::generator::http1::Http1;
use crate::histogram::Histogram;

/// Connections that carry the paced load.
const CONNECTIONS: usize = 64;
/// Clients that call the blocking handler in a closed loop.
const BLOCKING_CLIENTS: usize = 8;

/// Latencies at a fixed rate.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// With nothing else to do.
    pub alone: Histogram,
    /// While 8 clients run `/sleep-blocking?ms=20`, where the server has it.
    pub beside_blocking: Option<Histogram>,
}

/// Sends `per_second` requests over 64 connections.
///
/// # Errors
/// A sentence for the user when a response was wrong or missing.
pub fn measure(
    address: SocketAddr,
    path: &str,
    per_second: u64,
    length: Duration,
    beside_blocking: bool,
) -> Result<Latencies, String> {
    let paced = || -> Result<Histogram, String> {
        let mut load =
            Load::connect(address, CONNECTIONS, 1, Http1::new(path, 0)).map_err(|error| error.to_string())?;
        run_checked(&mut load, Until::Requests(1000))?;
        let (outcome, histogram) = load.run_paced(per_second, length);
        match load.first_error() {
            None if outcome.errors == 0 => Ok(histogram),
            problem => Err(format!("{} wrong responses; the first: {}", outcome.errors, problem.unwrap_or("missing"))),
        }
    };
    let alone = paced()?;
    if !beside_blocking {
        return Ok(Latencies { alone, beside_blocking: None });
    }
    std::thread::scope(|scope| {
        let blocking = scope.spawn(|| {
            let exchange = Http1::new("/sleep-blocking?ms=20", 0);
            let mut load = Load::connect(address, BLOCKING_CLIENTS, 1, exchange).map_err(|error| error.to_string())?;
            run_checked(&mut load, Until::Elapsed(length + Duration::from_millis(300)))
        });
        std::thread::sleep(Duration::from_millis(100));
        let beside = paced()?;
        blocking.join().map_err(|_| "the blocking clients panicked".to_owned())??;
        Ok(Latencies { alone, beside_blocking: Some(beside) })
    })
}
