//! The servers that take part: how each is started, and what it speaks.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::core_affinity;
use crate::process;
use crate::raw::HELLO;

/// What a server can be asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge, without TLS.
    Http2,
    /// WebSocket echo over HTTP/1.1.
    WebSocket,
}

/// How a server is started.
#[derive(Clone, Copy, Debug)]
enum Launch {
    /// Our own showcase example on the driver named.
    Showcase(&'static str),
    /// The example of our runtime alone: canned answers on our executor, on the driver named.
    Runtime(&'static str),
    /// A program of this package.
    Own(&'static str),
    /// A server of the system, with a configuration written for the run.
    Nginx,
    H2o,
    Nghttpd,
}

/// A server that can take part.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// The name in tables and on the command line.
    pub name: &'static str,
    launch: Launch,
    /// What it speaks.
    pub speaks: &'static [Protocol],
}

use Protocol::{Http1, Http2, WebSocket};

/// All servers, in the order of the tables.
pub const SERVERS: &[Server] = &[
    server("ringgate-io_uring", Launch::Showcase("io_uring"), &[Http1, Http2, WebSocket]),
    server("ringgate-epoll", Launch::Showcase("epoll"), &[Http1, Http2, WebSocket]),
    server("runtime-io_uring", Launch::Runtime("io_uring"), &[Http1]),
    server("runtime-epoll", Launch::Runtime("epoll"), &[Http1]),
    server("raw-epoll", Launch::Own("raw-epoll"), &[Http1]),
    server("raw-io-uring", Launch::Own("raw-io-uring"), &[Http1]),
    server("raw-http2-floor", Launch::Own("raw-http2-floor"), &[Http2]),
    server("raw-websocket-epoll", Launch::Own("raw-websocket-epoll"), &[WebSocket]),
    server("hyper", Launch::Own("peer-hyper"), &[Http1, Http2]),
    server("glommio", Launch::Own("peer-glommio"), &[Http1]),
    server("fastwebsockets", Launch::Own("peer-fastwebsockets"), &[WebSocket]),
    server("tokio-tungstenite", Launch::Own("peer-tokio-tungstenite"), &[WebSocket]),
    server("nginx", Launch::Nginx, &[Http1, Http2]),
    server("h2o", Launch::H2o, &[Http1, Http2]),
    server("nghttpd", Launch::Nghttpd, &[Http2]),
];

const fn server(name: &'static str, launch: Launch, speaks: &'static [Protocol]) -> Server {
    Server { name, launch, speaks }
}

/// Looks a server up by name.
#[must_use]
pub fn find(name: &str) -> Option<Server> {
    SERVERS.iter().find(|server| server.name == name).copied()
}

/// On which cores the two sides of a measurement run.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The server's.
    pub server: usize,
    /// The generator's, and this program's.
    pub generator: usize,
}

/// A started server. It is ended when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    directory: PathBuf,
}

impl Server {
    /// Whether this is our own server.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self.launch, Launch::Showcase(_))
    }

    /// The program to run.
    ///
    /// # Errors
    /// A sentence saying what to build or install when it is not there.
    pub fn program(&self) -> Result<PathBuf, String> {
        let built = |relative: &str, remedy: &str| {
            let release = std::env::current_exe().map_err(|error| error.to_string())?;
            let path = release.with_file_name(relative);
            if path.is_file() { Ok(path) } else { Err(format!("{}: not built; {remedy}", self.name)) }
        };
        let installed = |name: &str| {
            let directories = std::env::var_os("PATH").unwrap_or_default();
            let extra = [PathBuf::from("/usr/sbin")];
            let found = std::env::split_paths(&directories)
                .chain(extra)
                .map(|path| path.join(name))
                .find(|path| path.is_file());
            found.ok_or_else(|| format!("{}: not installed", self.name))
        };
        match self.launch {
            Launch::Showcase(_) => built("examples/showcase", "cargo build --release -p ringgate --example showcase"),
            Launch::Runtime(_) => {
                built("examples/canned", "cargo build --release -p ringgate-runtime --example canned")
            }
            Launch::Own(name) => built(name, "cargo build --release -p ringgate-benches --features peers"),
            Launch::Nginx => installed("nginx"),
            Launch::H2o => installed("h2o"),
            Launch::Nghttpd => installed("nghttpd"),
        }
    }

    /// Starts the server on its core, on a port of its own, and waits until it answers.
    ///
    /// # Errors
    /// A sentence for the user when it cannot be started or does not answer `/hello` as it should.
    pub fn start(&self, protocol: Protocol, cores: Cores) -> Result<Running, String> {
        let program = self.program()?;
        let failed = |error: io::Error| format!("{}: {error}", self.name);
        let address = free_address().map_err(failed)?;
        let directory =
            std::env::temp_dir().join(format!("ringgate-compare-{}-{}", std::process::id(), address.port()));
        fs::create_dir_all(&directory).map_err(failed)?;
        let arguments = self.arguments(protocol, address, cores.server, &directory).map_err(failed)?;
        core_affinity::pin(cores.server).map_err(failed)?;
        // If this program is ended from outside, no server may stay behind and disturb whoever measures next.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.join("stderr")).map_err(failed)?)
            .spawn();
        core_affinity::pin(cores.generator).map_err(failed)?;
        let mut running = Running { child: child.map_err(failed)?, address, directory };
        running.wait_until_ready(protocol).map_err(|problem| format!("{}: {problem}", self.name))?;
        Ok(running)
    }

    fn arguments(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        core: usize,
        directory: &Path,
    ) -> io::Result<Vec<String>> {
        let path = |name: &str| directory.join(name).display().to_string();
        let port = address.port();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Ok(match self.launch {
            Launch::Showcase(driver) => {
                words(&["--listen", &address.to_string(), "--cores", &core.to_string(), "--driver", driver])
            }
            Launch::Runtime(driver) => words(&[&address.to_string(), driver]),
            Launch::Own(_) => {
                let protocol = if protocol == Http2 { "http2" } else { "http1" };
                words(&["--listen", &address.to_string(), "--cores", &core.to_string(), "--protocol", protocol])
            }
            Launch::Nginx => {
                let http2 = if protocol == Http2 { " http2" } else { "" };
                fs::write(path("nginx.conf"), nginx_configuration(address, http2, directory))?;
                words(&["-c", &path("nginx.conf"), "-p", &path("")])
            }
            Launch::H2o => {
                fs::write(path("hello"), HELLO)?;
                let root = path("");
                let configuration = format!(
                    "listen:\n  host: 127.0.0.1\n  port: {port}\nnum-threads: 1\nuser: root\nhosts:\n  default:\n    \
                     paths:\n      /:\n        file.dir: {root}\n        file.mime.setdefaulttype: text/plain\n"
                );
                fs::write(path("h2o.conf"), configuration)?;
                words(&["-c", &path("h2o.conf")])
            }
            Launch::Nghttpd => {
                fs::write(path("hello"), HELLO)?;
                words(&["--no-tls", "-n", "1", "-d", &path(""), "-a", "127.0.0.1", &port.to_string()])
            }
        })
    }
}

/// One process without a master, no logs, and no end to keep-alive: nothing that would cost it time unfairly.
fn nginx_configuration(address: SocketAddr, http2: &str, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;\nmaster_process off;\nerror_log {directory}/error.log;\npid {directory}/nginx.pid;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 600s;\n  server {{\n    \
         listen {address}{http2} backlog=4096;\n    \
         location = /hello {{ default_type text/plain; return 200 \"{HELLO}\"; }}\n  }}\n}}\n"
    )
}

/// An address whose port was free a moment ago. Every start gets a new one: an io_uring server's listener may
/// outlive its process for a moment.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

impl Running {
    /// All processes of the server.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        process::family(self.child.id())
    }

    /// CPU time used so far, in nanoseconds.
    ///
    /// # Errors
    /// The server is gone.
    pub fn cpu_time_ns(&self) -> io::Result<u64> {
        self.pids().into_iter().map(process::cpu_time_ns).sum()
    }

    fn wait_until_ready(&mut self, protocol: Protocol) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let stderr = fs::read_to_string(self.directory.join("stderr")).unwrap_or_default();
                return Err(format!("ended with {status}: {}", stderr.trim()));
            }
            match TcpStream::connect(self.address) {
                Ok(stream) if protocol == Http1 => return check_hello(stream),
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(format!("does not listen: {error}")),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// Whoever answers has to say exactly what the comparison is about.
fn check_hello(mut stream: TcpStream) -> Result<(), String> {
    let mut answer = || -> io::Result<String> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !received.ends_with(HELLO.as_bytes()) {
            match stream.read(&mut buffer)? {
                0 => break,
                length => received.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(String::from_utf8_lossy(&received).into_owned())
    };
    let answer = answer().map_err(|error| format!("/hello: {error}"))?;
    if answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&format!("\r\n\r\n{HELLO}")) {
        Ok(())
    } else {
        Err(format!("/hello answered {answer:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Workers first, then the process we started and can wait for.
        for pid in self.pids().into_iter().skip(1) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
