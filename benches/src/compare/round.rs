//! One round of one arm: warm up, read the server's clock, load it, read the clock again.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::compare::scenario::{self, Scenario};
use crate::compare::server::{Cores, Running, Server};
use crate::generator::closed::Until;
use crate::generator::exchange::Exchange;
use crate::generator::http1::Http1;
use crate::generator::websocket::WebSocketEcho;
use crate::generator::{Load, Outcome};

/// How long the connections of a round are used before the clock is read for the first time.
const WARM_UP: Duration = Duration::from_millis(100);

/// A server with one load on it: a row of the table.
#[derive(Debug)]
pub struct Arm {
    /// The server's name, with the path where a scenario has several.
    pub name: String,
    /// The server.
    pub running: Running,
    /// The path asked for.
    pub path: &'static str,
    /// CPU time of the server per request in each round, in nanoseconds.
    pub cost_ns: Vec<f64>,
    /// Requests answered in all rounds.
    pub answered: u64,
    /// Seconds of load in all rounds.
    pub seconds: f64,
}

impl Arm {
    /// Starts the server for the scenario.
    ///
    /// # Errors
    /// A sentence for the user when the server cannot be started.
    pub fn start(
        name: String,
        server: Server,
        scenario: &Scenario,
        path: &'static str,
        cores: Cores,
    ) -> Result<Self, String> {
        let running = server.start(scenario.protocol(), cores)?;
        Ok(Self { name, running, path, cost_ns: Vec::new(), answered: 0, seconds: 0.0 })
    }

    /// Runs one round and notes what it cost.
    ///
    /// # Errors
    /// A sentence for the user when a single response was wrong or missing: a server that fails is not fast.
    pub fn round(&mut self, scenario: &Scenario, length: Duration) -> Result<(), String> {
        let measured = match scenario.load {
            scenario::Load::Http1 => self.generate(Http1::new(self.path, 0), scenario, length),
            scenario::Load::WebSocket { payload_bytes, binary } => {
                self.generate(WebSocketEcho::new(self.path, payload_bytes, binary), scenario, length)
            }
            scenario::Load::Http2 { requests_per_second } => {
                let requests = (requests_per_second as f64 * length.as_secs_f64()) as u64;
                self.h2load(scenario, requests)
            }
        };
        let (outcome, cost_ns) = measured.map_err(|problem| format!("{}: {problem}", self.name))?;
        self.answered += outcome.answered;
        self.seconds += outcome.elapsed.as_secs_f64();
        self.cost_ns.push(cost_ns as f64 / outcome.answered as f64);
        Ok(())
    }

    fn clock(&self) -> Result<u64, String> {
        self.running.cpu_time_ns().map_err(|error| format!("the server is gone: {error}"))
    }

    fn generate<E: Exchange>(
        &self,
        exchange: E,
        scenario: &Scenario,
        length: Duration,
    ) -> Result<(Outcome, u64), String> {
        let mut load = connect(self.running.address, scenario, exchange)?;
        run_checked(&mut load, Until::Elapsed(WARM_UP))?;
        let before = self.clock()?;
        let outcome = run_checked(&mut load, Until::Elapsed(length))?;
        Ok((outcome, self.clock()? - before))
    }

    /// The generator for HTTP/2 is the one of nghttp2: independent, and cheap enough for one core.
    fn h2load(&self, scenario: &Scenario, requests: u64) -> Result<(Outcome, u64), String> {
        let url = format!("http://{}{}", self.running.address, self.path);
        let run = |requests: u64| -> Result<Outcome, String> {
            let start = std::time::Instant::now();
            let (connections, streams) = (scenario.connections.to_string(), scenario.in_flight.to_string());
            let output = Command::new("h2load")
                .args(["-n", &requests.to_string(), "-c", &connections, "-m", &streams, &url])
                .stdin(Stdio::null())
                .output()
                .map_err(|error| format!("h2load (Debian: nghttp2-client): {error}"))?;
            let text = String::from_utf8_lossy(&output.stdout);
            let expected =
                format!("requests: {requests} total, {requests} started, {requests} done, {requests} succeeded,");
            let good = text.contains(&expected) && text.contains(&format!("status codes: {requests} 2xx"));
            let elapsed = start.elapsed();
            if good {
                Ok(Outcome { answered: requests, errors: 0, elapsed })
            } else {
                Err(format!("h2load says {text}"))
            }
        };
        run(requests / 10 + scenario.connections as u64)?;
        let before = self.clock()?;
        let outcome = run(requests)?;
        Ok((outcome, self.clock()? - before))
    }
}

/// Opens the connections of a scenario.
///
/// # Errors
/// A sentence for the user when the server refuses.
pub fn connect<E: Exchange>(address: SocketAddr, scenario: &Scenario, exchange: E) -> Result<Load<E>, String> {
    Load::connect(address, scenario.connections, scenario.in_flight, exchange).map_err(|error| error.to_string())
}

/// Runs a closed loop in which every response must be right.
///
/// # Errors
/// A sentence for the user when one was not.
pub fn run_checked<E: Exchange>(load: &mut Load<E>, until: Until) -> Result<Outcome, String> {
    let outcome = load.run(until);
    match load.first_error() {
        None if outcome.errors == 0 => Ok(outcome),
        problem => Err(format!("{} wrong responses; the first: {}", outcome.errors, problem.unwrap_or("missing"))),
    }
}
