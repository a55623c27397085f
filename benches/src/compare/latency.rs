//! Latency at a fixed rate: alone, beside clients of a blocking handler, and beside clients of one that waits as long
//! without blocking. The third is the control: it costs the core as many requests, but no thread.
//!
//! The rounds alternate, and what is judged is the ratio of two neighbours: a slow minute of the machine hits both. One
//! thread carries the paced load and the clients beside it: a second one would have to share the generator's core, and
//! its turns there would count as the server's.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::compare::round::run_checked;
use crate::generator::Load;
use crate::generator::closed::Until;
use crate::generator::http1::Http1;
use crate::histogram::Histogram;
use crate::statistics::Summary;

/// Connections that carry the paced load.
const CONNECTIONS: usize = 64;
/// Clients beside it, in a closed loop.
const CLIENTS: usize = 8;
/// How long the clients run before the clock does: threads of a crew start then.
const WARM_UP: Duration = Duration::from_millis(100);

/// What runs beside the paced load.
const BESIDE: [&str; 2] = ["/sleep-blocking?ms=20", "/sleep?ms=20"];

/// Quantiles of one round, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Round {
    p50: f64,
    p99: f64,
    p999: f64,
}

/// All rounds on one server.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    alone: Vec<Round>,
    beside: [Vec<Round>; 2],
}

/// Sends `per_second` requests over 64 connections, round by round: alone, and if the server `sleeps` beside 8 clients of
/// each handler that does. The first rounds are run and forgotten.
///
/// # Errors
/// A sentence for the user when a response was wrong or missing.
pub fn measure(
    address: SocketAddr,
    path: &str,
    per_second: u64,
    length: Duration,
    rounds: usize,
    sleeps: bool,
) -> Result<Latencies, String> {
    let mut paced = connect(address, CONNECTIONS, path)?;
    run_checked(&mut paced, Until::Requests(1000))?;
    let mut clients = match sleeps {
        true => BESIDE.iter().map(|path| connect(address, CLIENTS, path)).collect::<Result<Vec<_>, _>>()?,
        false => Vec::new(),
    };
    let mut latencies = Latencies::default();
    for number in 0..=rounds {
        let length = if number == 0 { length / 4 } else { length };
        let alone = round(&mut paced, None, per_second, length)?;
        if number > 0 {
            latencies.alone.push(alone);
        }
        for (clients, found) in clients.iter_mut().zip(&mut latencies.beside) {
            let beside = round(&mut paced, Some(clients), per_second, length)?;
            if number > 0 {
                found.push(beside);
            }
        }
    }
    Ok(latencies)
}

fn connect(address: SocketAddr, connections: usize, path: &str) -> Result<Load<Http1>, String> {
    Load::connect(address, connections, 1, Http1::new(path, 0)).map_err(|error| error.to_string())
}

fn round(
    paced: &mut Load<Http1>,
    clients: Option<&mut Load<Http1>>,
    per_second: u64,
    length: Duration,
) -> Result<Round, String> {
    let clients = RefCell::new(clients);
    let pass = |goes_on: bool| clients.borrow_mut().as_mut().map_or(0, |clients| clients.pass(goes_on));
    let start = Instant::now();
    while clients.borrow().is_some() && start.elapsed() < WARM_UP {
        pass(true);
    }
    let mut answered = 0;
    let (outcome, histogram) = paced.run_paced(per_second, length, || answered += pass(true));
    let end = Instant::now();
    while clients.borrow().as_ref().is_some_and(|clients| !clients.is_quiet()) {
        pass(false);
        if end.elapsed() > Duration::from_secs(10) {
            return Err("a client beside the load got no response".to_owned());
        }
    }
    let clients = clients.into_inner();
    if clients.is_some() && answered == 0 {
        return Err("the clients beside the load were not answered".to_owned());
    }
    match paced.first_error().or_else(|| clients.as_ref().and_then(|clients| clients.first_error())) {
        None if outcome.errors == 0 => Ok(Round::of(&histogram)),
        problem => Err(format!("{} wrong responses; the first: {}", outcome.errors, problem.unwrap_or("missing"))),
    }
}

impl Round {
    fn of(histogram: &Histogram) -> Self {
        let microseconds = |share: f64| histogram.quantile_ns(share) as f64 / 1e3;
        Self { p50: microseconds(0.5), p99: microseconds(0.99), p999: microseconds(0.999) }
    }
}

fn summary(values: impl Iterator<Item = f64>) -> Option<Summary> {
    Summary::of(&values.collect::<Vec<_>>())
}

impl Latencies {
    /// Each case with its rounds, and the rounds each of which is to be compared with.
    fn cases(&self) -> impl Iterator<Item = (String, &[Round], &[Round])> {
        let beside = BESIDE.iter().zip(&self.beside).filter(|(_, rounds)| !rounds.is_empty());
        // Alone against the next time alone: what two equal rounds differ by.
        let next = self.alone.get(1..).unwrap_or_default();
        let others = &self.alone[..next.len()];
        std::iter::once((String::new(), next, others))
            .chain(beside.map(|(path, rounds)| (format!(" beside {CLIENTS} × {path}"), &rounds[..], &self.alone[..])))
    }

    /// Rows of a table for people: medians over the rounds; quartile and range of the p99; the median ratio of the p99 to that of the
    /// round alone next to it, with its quartiles' distance.
    #[must_use]
    pub fn markdown(&self, server: &str) -> String {
        let mut text = String::new();
        for (label, rounds, base) in self.cases() {
            let shown = if label.is_empty() { &self.alone[..] } else { rounds };
            let ratios = summary(rounds.iter().zip(base).map(|(round, base)| round.p99 / base.p99));
            let (Some(p50), Some(p99), Some(p999)) = (
                summary(shown.iter().map(|round| round.p50)),
                summary(shown.iter().map(|round| round.p99)),
                summary(shown.iter().map(|round| round.p999)),
            ) else {
                continue;
            };
            let ratio = ratios.map_or_else(
                || "–".to_owned(),
                |ratio| format!("{:.2} ± {:.2}", ratio.median, ratio.spread * ratio.median / 2.0),
            );
            let _ = writeln!(
                text,
                "| {server}{label} | {:.0} | {:.0} | {:.0} | {:.0} – {:.0} | {:.0} | {ratio} |",
                p50.median, p99.lower_quartile, p99.median, p99.minimum, p99.maximum, p999.median
            );
        }
        text
    }

    /// The head of that table.
    #[must_use]
    pub fn heading(per_second: u64) -> String {
        format!(
            "### Latency at {per_second} requests per second over {CONNECTIONS} connections, in µs from the intended sending\n\n\
             | server | p50 | p99, lower quartile | p99 | p99, lowest – highest round | p99.9 | p99 ÷ neighbour alone |\n\
             |---|---:|---:|---:|---:|---:|---:|\n"
        )
    }

    /// One JSON object per round.
    #[must_use]
    pub fn json_lines(&self, per_second: u64, server: &str) -> String {
        let mut text = String::new();
        let beside = BESIDE.iter().zip(&self.beside).map(|(path, rounds)| (*path, rounds));
        for (label, rounds) in std::iter::once(("", &self.alone)).chain(beside) {
            for Round { p50, p99, p999 } in rounds {
                let _ = writeln!(
                    text,
                    "{{\"scenario\":\"rate {per_second}\",\"server\":\"{server}\",\"beside\":\"{label}\",\
                     \"p50_us\":{p50:.1},\"p99_us\":{p99:.1},\"p999_us\":{p999:.1}}}"
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_compared_with_its_neighbour() {
        let rounds = |p99s: [f64; 3]| p99s.map(|p99| Round { p50: 1.0, p99, p999: 200.0 }).to_vec();
        let latencies =
            Latencies { alone: rounds([10.0, 20.0, 40.0]), beside: [rounds([30.0, 60.0, 120.0]), Vec::new()] };
        let text = latencies.markdown("ours");
        assert!(text.contains("| ours | 1 | 15 | 20 | 10 – 40 | 200 | 2.00 ± 0.00 |"), "{text}");
        assert!(text.contains("ms=20 | 1 | 45 | 60 | 30 – 120 | 200 | 3.00 ± 0.00 |"), "{text}");
        assert_eq!(latencies.json_lines(10, "ours").lines().count(), 6);
    }
}
