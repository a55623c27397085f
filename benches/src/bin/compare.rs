//! Puts the same load on Ringgate, on bare loops and on other servers in turn, and prints what each spent on it.
//!
//! `compare --help` lists the options; `benches/README.md` says what the figures mean.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use ringgate_benches::arguments::Arguments;
use ringgate_benches::compare::latency::{self, Latencies};
use ringgate_benches::compare::round::Arm;
use ringgate_benches::compare::scenario::{self, Load, SCENARIOS, Scenario};
use ringgate_benches::compare::server::{self, Cores, Protocol, SERVERS, Server};
use ringgate_benches::compare::{memory, syscalls, table};
use ringgate_benches::core_affinity;
use ringgate_benches::generator::http1::Http1;
use ringgate_benches::generator::websocket::WebSocketEcho;

const HELP: &str = "\
compare [options]: CPU time per request of several servers under the same load, alternated round by round

  --scenarios A,B       which loads (hello,pipelined); --list names them
  --servers A,B         which servers (all that are built or installed and speak the protocol)
  --rounds N            rounds per server (10)
  --seconds S           length of a round (1)
  --same SERVER         A/A: the server against itself; differences below what this shows are none
  --syscalls            count system calls per request with strace instead (HTTP/1.1 scenarios)
  --idle N              user memory per idle connection instead: N connections after one request each
                        (add --websocket for idle WebSockets after one echo)
  --rate R              latency at R requests per second instead: rounds alone, beside blocking handlers, and beside
                        handlers that wait as long without blocking, in turn
  --server-core N       (0)        --generator-core N   (1)
  --markdown FILE       append the tables to a file       --json FILE   append one JSON object per row";

const OPTIONS: &[&str] = &[
    "scenarios",
    "servers",
    "rounds",
    "seconds",
    "same",
    "idle",
    "rate",
    "server-core",
    "generator-core",
    "markdown",
    "json",
];

/// Requests traced per server when system calls are counted.
const TRACED_REQUESTS: u64 = 5000;

struct Options {
    arguments: Arguments,
    cores: Cores,
    length: Duration,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("compare: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments = Arguments::from_environment(&["help", "list", "syscalls", "websocket"])?;
    arguments.finish(OPTIONS)?;
    if arguments.flag("help") {
        println!("{HELP}");
        return Ok(());
    }
    if arguments.flag("list") {
        SCENARIOS.iter().for_each(|scenario| println!("scenario {:16} {}", scenario.name, scenario.title));
        SERVERS.iter().for_each(|server| match server.program() {
            Ok(program) => println!("server   {:20} {}", server.name, program.display()),
            Err(problem) => println!("server   {:20} ({problem})", server.name),
        });
        return Ok(());
    }
    let cores =
        Cores { server: arguments.number("server-core", 0)?, generator: arguments.number("generator-core", 1)? };
    core_affinity::pin(cores.generator).map_err(|error| format!("core {}: {error}", cores.generator))?;
    core_affinity::raise_descriptor_limit().map_err(|error| error.to_string())?;
    let seconds: f64 = arguments.number("seconds", 1.0)?;
    let length = Duration::try_from_secs_f64(seconds).map_err(|error| format!("--seconds: {error}"))?;
    let options = Options { arguments, cores, length };
    let idle: usize = options.arguments.number("idle", 0)?;
    let rate: u64 = options.arguments.number("rate", 0)?;
    if idle > 0 {
        return options.idle(idle);
    }
    if rate > 0 {
        return options.latency(rate);
    }
    for name in options.arguments.text("scenarios").unwrap_or("hello,pipelined").split(',') {
        let scenario = scenario::find(name).ok_or_else(|| format!("no scenario {name:?}; see --list"))?;
        if options.arguments.flag("syscalls") { options.syscalls(&scenario)? } else { options.scenario(&scenario)? }
    }
    Ok(())
}

impl Options {
    /// The servers asked for that speak the protocol. Those asked for by name must be there; of the others, the ones
    /// left out are named on standard error.
    fn servers(&self, protocol: Protocol) -> Result<Vec<Server>, String> {
        let Some(names) = self.arguments.text("servers") else {
            let speaking = SERVERS.iter().filter(|server| server.speaks.contains(&protocol)).copied();
            let there =
                |server: &Server| server.program().inspect_err(|problem| eprintln!("left out: {problem}")).is_ok();
            return Ok(speaking.filter(there).collect());
        };
        let named =
            names.split(',').map(|name| server::find(name).ok_or_else(|| format!("no server {name:?}; see --list")));
        let named = named.collect::<Result<Vec<_>, _>>()?;
        named.iter().try_for_each(|server| server.program().map(drop))?;
        Ok(named.into_iter().filter(|server| server.speaks.contains(&protocol)).collect())
    }

    fn arms(&self, scenario: &Scenario) -> Result<Vec<Arm>, String> {
        let start = |name: String, server, path| Arm::start(name, server, scenario, path, self.cores);
        if let Some(name) = self.arguments.text("same") {
            let server = server::find(name).ok_or_else(|| format!("no server {name:?}; see --list"))?;
            return ["A", "B"]
                .into_iter()
                .map(|arm| start(format!("{name} {arm}"), server, scenario.paths[0]))
                .collect();
        }
        let mut arms = Vec::new();
        for server in self.servers(scenario.protocol())? {
            match scenario.paths {
                [path] => arms.push(start(server.name.to_owned(), server, path)?),
                paths if server.is_ours() => {
                    for path in paths {
                        arms.push(start(format!("{}{path}", server.name), server, path)?);
                    }
                }
                _ => {}
            }
        }
        Ok(arms)
    }

    fn scenario(&self, scenario: &Scenario) -> Result<(), String> {
        let rounds: usize = self.arguments.number("rounds", 10)?;
        let mut arms = self.arms(scenario)?;
        // The first round finds cold caches and unwarmed allocators on every side: it is run and forgotten.
        for round in 0..=rounds {
            for arm in &mut arms {
                arm.round(scenario, if round == 0 { self.length / 4 } else { self.length })?;
                if round == 0 {
                    arm.cost_ns.clear();
                    (arm.answered, arm.seconds) = (0, 0.0);
                }
            }
        }
        let same: Vec<String> = self.arguments.text("same").map(|name| format!("{name} A")).into_iter().collect();
        let same: Vec<&str> = same.iter().map(String::as_str).collect();
        let references = if same.is_empty() { scenario.references } else { &same[..] };
        let rows = table::rows(&arms, references);
        self.publish(&table::markdown(scenario, references, &rows), &table::json_lines(scenario, references, &rows))
    }

    fn syscalls(&self, scenario: &Scenario) -> Result<(), String> {
        if !matches!(scenario.load, Load::Http1) {
            return Err("--syscalls counts HTTP/1.1 scenarios only".into());
        }
        let mut text =
            format!("### System calls per request: {}\n\n| server | calls | which |\n|---|---:|---|\n", scenario.title);
        let mut json = String::new();
        for arm in self.arms(scenario)? {
            let counted = syscalls::count(&arm.running, scenario, arm.path, TRACED_REQUESTS)
                .map_err(|problem| format!("{}: {problem}", arm.name))?;
            let which: Vec<String> = counted.by_name.iter().map(|(name, calls)| format!("{name} {calls:.2}")).collect();
            let _ = writeln!(text, "| {} | {:.2} | {} |", arm.name, counted.per_request, which.join(", "));
            let _ = writeln!(
                json,
                "{{\"scenario\":\"{}\",\"server\":\"{}\",\"syscalls_per_request\":{:.3}}}",
                scenario.name, arm.name, counted.per_request
            );
        }
        self.publish(&text, &json)
    }

    fn idle(&self, connections: usize) -> Result<(), String> {
        let websocket = self.arguments.flag("websocket");
        let (protocol, what) =
            if websocket { (Protocol::WebSocket, "WebSocket") } else { (Protocol::Http1, "HTTP/1.1") };
        let mut text = format!(
            "### User memory per idle {what} connection, {connections} of them after one exchange each\n\n\
             | server | resident bytes | anonymous bytes |\n|---|---:|---:|\n"
        );
        let mut json = String::new();
        for server in self.servers(protocol)? {
            let running = server.start(protocol, self.cores)?;
            let measured = if websocket {
                memory::per_connection(&running, connections, || WebSocketEcho::new("/ws", 64, false))
            } else {
                memory::per_connection(&running, connections, || Http1::new("/hello", 0))
            };
            let each = measured.map_err(|problem| format!("{}: {problem}", server.name))?;
            let (resident, anonymous) = (each.resident_bytes, each.anonymous_bytes);
            let _ = writeln!(text, "| {} | {resident:.0} | {anonymous:.0} |", server.name);
            let _ = writeln!(
                json,
                "{{\"scenario\":\"idle {what}\",\"server\":\"{}\",\"resident_bytes\":{resident:.0},\"anonymous_bytes\":{anonymous:.0}}}",
                server.name
            );
        }
        self.publish(&text, &json)
    }

    fn latency(&self, rate: u64) -> Result<(), String> {
        let rounds: usize = self.arguments.number("rounds", 10)?;
        let mut text = Latencies::heading(rate);
        let mut json = String::new();
        for server in self.servers(Protocol::Http1)? {
            let running = server.start(Protocol::Http1, self.cores)?;
            let path = if server.is_ours() { "/hello-async" } else { "/hello" };
            let latencies = latency::measure(running.address, path, rate, self.length, rounds, server.is_ours())
                .map_err(|problem| format!("{}: {problem}", server.name))?;
            text.push_str(&latencies.markdown(server.name));
            json.push_str(&latencies.json_lines(rate, server.name));
        }
        self.publish(&text, &json)
    }

    fn publish(&self, markdown: &str, json: &str) -> Result<(), String> {
        println!("{markdown}");
        for (option, content) in [("markdown", format!("{markdown}\n")), ("json", json.to_owned())] {
            if let Some(path) = self.arguments.text(option) {
                let mut file = fs::OpenOptions::new().create(true).append(true).open(path);
                let written = file.as_mut().map(|file| std::io::Write::write_all(file, content.as_bytes()));
                written.map_err(|error| format!("{path}: {error}"))?.map_err(|error| format!("{path}: {error}"))?;
            }
        }
        Ok(())
    }
}
