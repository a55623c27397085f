//! Puts load on a server from one pinned thread and prints one line of `key=value` pairs.
//!
//! `generate --help` lists the options. Exit status 1 means that a response was wrong or missing.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ringgate_benches::arguments::Arguments;
use ringgate_benches::core_affinity;
use ringgate_benches::generator::closed::Until;
use ringgate_benches::generator::exchange::Exchange;
use ringgate_benches::generator::http1::Http1;
use ringgate_benches::generator::websocket::WebSocketEcho;
use ringgate_benches::generator::{Load, Outcome};
use ringgate_benches::histogram::Histogram;

const HELP: &str = "\
generate --address IP:PORT [options]: load on an HTTP/1.1 or WebSocket server

  --connections N   connections (64)
  --pipeline N      requests or messages sent in one write per connection, then as many responses are awaited (1)
  --path PATH       request target (/hello, or /ws with --websocket)
  --body N          POST a body of N bytes instead of GET
  --seconds S       how long (2)
  --requests N      stop after N requests instead
  --rate R          open loop: R requests per second in all; latency counts from the intended time of sending
  --websocket       echo messages instead of HTTP requests; --payload N bytes (64), --binary for binary ones
  --idle N          open N connections, one request each, then hold them for --seconds
  --core N          pin the generator to this core";

const OPTIONS: &[&str] =
    &["address", "connections", "pipeline", "path", "body", "seconds", "requests", "rate", "payload", "idle", "core"];

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("generate: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u64, String> {
    let arguments = Arguments::from_environment(&["websocket", "binary", "help"])?;
    if arguments.flag("help") {
        println!("{HELP}");
        return Ok(0);
    }
    arguments.finish(OPTIONS)?;
    if let Some(core) = arguments.text("core") {
        let core = core.parse().map_err(|_| format!("--core {core:?} is not a core"))?;
        core_affinity::pin(core).map_err(|error| format!("core {core}: {error}"))?;
    }
    if arguments.flag("websocket") {
        let path = arguments.text("path").unwrap_or("/ws");
        drive(&arguments, WebSocketEcho::new(path, arguments.number("payload", 64)?, arguments.flag("binary")))
    } else {
        drive(&arguments, Http1::new(arguments.text("path").unwrap_or("/hello"), arguments.number("body", 0)?))
    }
}

fn drive<E: Exchange>(arguments: &Arguments, exchange: E) -> Result<u64, String> {
    let address: SocketAddr = arguments
        .text("address")
        .ok_or("--address is missing; see --help")?
        .parse()
        .map_err(|_| "--address wants an IP address and a port, as in 127.0.0.1:8080")?;
    let idle: usize = arguments.number("idle", 0)?;
    let rate: u64 = arguments.number("rate", 0)?;
    let seconds: f64 = arguments.number("seconds", 2.0)?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| format!("--seconds: {error}"))?;
    let connections = if idle > 0 { idle } else { arguments.number("connections", 64)? };
    let in_flight = arguments.number("pipeline", 1)?;
    if connections == 0 || in_flight == 0 {
        return Err("--connections and --pipeline count from 1".into());
    }
    core_affinity::raise_descriptor_limit().map_err(|error| error.to_string())?;
    let mut load =
        Load::connect(address, connections, in_flight, exchange).map_err(|error| format!("{address}: {error}"))?;
    let (outcome, histogram) = if idle > 0 {
        let outcome = load.run(Until::Requests(idle as u64 * in_flight as u64));
        std::thread::sleep(duration);
        (outcome, None)
    } else if rate > 0 {
        if in_flight != 1 {
            return Err("--rate sends single requests: leave out --pipeline".into());
        }
        let (outcome, histogram) = load.run_paced(rate, duration, || ());
        (outcome, Some(histogram))
    } else {
        let until = match arguments.number("requests", 0)? {
            0 => Until::Elapsed(duration),
            count => Until::Requests(count),
        };
        (load.run(until), None)
    };
    print(connections, in_flight, &outcome, histogram.as_ref());
    if let Some(problem) = load.first_error() {
        eprintln!("generate: {problem}");
    }
    Ok(outcome.errors)
}

fn print(connections: usize, in_flight: usize, outcome: &Outcome, histogram: Option<&Histogram>) {
    let Outcome { answered, errors, elapsed } = *outcome;
    let seconds = elapsed.as_secs_f64();
    let per_second = answered as f64 / seconds;
    print!(
        "connections={connections} in_flight={in_flight} answered={answered} errors={errors} seconds={seconds:.3} \
         per_second={per_second:.0}"
    );
    if let Some(histogram) = histogram {
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            print!(" {name}_us={:.1}", histogram.quantile_ns(share) as f64 / 1e3);
        }
        print!(" max_us={:.1}", histogram.largest_ns() as f64 / 1e3);
    }
    println!();
}
