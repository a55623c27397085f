//! A whole gateway under test, and a client that says and reads bytes, nothing cleverer.
//!
//! Tests are written against [`Wire`], so that a simulated one can stand in for sockets.

use ringgate::{App, Core, Gateway, RunningGateway};
use ringgate_runtime::{
    driver::DriverChoice,
    executor::{Executor, ExecutorConfig},
    net::Address,
    sys::placement::Placement,
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// One end of a connection, the client's.
pub trait Wire {
    /// Says bytes. What cannot be said any more is dropped: the reading tells how it ended.
    fn say(&mut self, bytes: &[u8]);
    /// The next bytes; empty at the end, however it came.
    fn hear(&mut self) -> Vec<u8>;
    /// Ends our side.
    fn finish(&mut self);
}

impl Wire for TcpStream {
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.write_all(bytes);
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        loop {
            return match self.read(&mut buffer) {
                Ok(count) => {
                    buffer.truncate(count);
                    buffer
                }
                // A ring that is given up leaves work to its thread, which interrupts a read that has a time-out.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing to hear for ten seconds"),
                Err(_) => Vec::new(),
            };
        }
    }

    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// A response as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// From the status line.
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// Behind a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// A client that reads answers.
pub struct Client<W> {
    /// The connection.
    pub wire: W,
    heard: Vec<u8>,
    ended: bool,
}

impl<W: Wire> Client<W> {
    /// A client on a connection.
    pub fn new(wire: W) -> Self {
        Self { wire, heard: Vec::new(), ended: false }
    }

    /// Says a request in full: `head` without its last empty line.
    pub fn ask(&mut self, head: &str) -> Answer {
        self.wire.say(format!("{head}\r\nhost: test\r\n\r\n").as_bytes());
        self.answer(head.starts_with("HEAD "))
    }

    /// GET.
    pub fn get(&mut self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1"))
    }

    /// POST with a body of known length.
    pub fn post(&mut self, target: &str, body: &[u8]) -> Answer {
        let head = format!("POST {target} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len());
        self.wire.say(head.as_bytes());
        self.wire.say(body);
        self.answer(false)
    }

    fn more(&mut self) -> bool {
        let bytes = self.wire.hear();
        self.ended |= bytes.is_empty();
        self.heard.extend_from_slice(&bytes);
        !bytes.is_empty()
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.heard.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.heard.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).expect("a line of text");
            }
            assert!(self.more(), "the connection ended within a line: {:?}", self.heard.escape_ascii().to_string());
        }
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return fields;
            }
            let (name, value) = line.split_once(": ").expect("a field line");
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.heard.len() < count {
            assert!(self.more(), "the connection ended {} bytes early", count - self.heard.len());
        }
        self.heard.drain(..count).collect()
    }

    /// The next answer, interim ones included. `is_head`: it has no body whatever its fields say.
    pub fn answer(&mut self, is_head: bool) -> Answer {
        let status_line = self.line();
        let status = status_line.strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse().expect("a status");
        let fields = self.fields();
        let mut answer = Answer { status, fields, body: Vec::new(), trailers: Vec::new() };
        if is_head || status < 200 || status == 204 || status == 304 {
            return answer;
        }
        if answer.field("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line(), 16).expect("a chunk size");
                if size == 0 {
                    answer.trailers = self.fields();
                    return answer;
                }
                answer.body.extend(self.exactly(size));
                assert_eq!(self.line(), "");
            }
        }
        answer.body = match answer.field("content-length") {
            Some(length) => self.exactly(length.parse().expect("a length")),
            None => self.rest(),
        };
        answer
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while !self.ended && self.more() {}
        std::mem::take(&mut self.heard)
    }

    /// True when the peer has ended the connection and nothing more was said.
    pub fn is_over(&mut self) -> bool {
        self.rest().is_empty()
    }
}

/// A gateway on one core, on a driver, with an application.
pub struct Server {
    /// The gateway itself.
    pub gateway: RunningGateway,
    /// Which driver it runs on.
    pub driver: DriverChoice,
}

impl Server {
    /// Starts on a free port.
    pub fn start(driver: DriverChoice, app: fn(&Core) -> App) -> Self {
        Self::start_with(driver, app, |gateway| gateway)
    }

    /// Starts on a free port, configured further.
    pub fn start_with(driver: DriverChoice, app: fn(&Core) -> App, configure: impl FnOnce(Gateway) -> Gateway) -> Self {
        let gateway = Gateway::builder(app)
            .listen(Address::Tcp(([127, 0, 0, 1], 0).into()))
            .cores(Placement::Unpinned { count: 1 })
            .driver(driver);
        let gateway = configure(gateway).start().expect("the gateway starts");
        Self { gateway, driver }
    }

    /// A new connection.
    pub fn connect(&self) -> Client<TcpStream> {
        let Some(Address::Tcp(address)) = self.gateway.addresses().first() else { panic!("a TCP address") };
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        Client::new(stream)
    }

    /// The sum of a counter.
    pub fn count(&self, name: &str) -> u64 {
        self.gateway.metrics().get(name).expect("a counter of this name")
    }

    /// Waits until a counter has a value, for ten seconds.
    pub fn await_count(&self, name: &str, value: u64) {
        let begun = Instant::now();
        while self.count(name) != value {
            assert!(begun.elapsed() < Duration::from_secs(10), "{name} is {} and not {value}", self.count(name));
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The drivers of this machine: io_uring only where the kernel allows it.
pub fn drivers() -> Vec<DriverChoice> {
    let uring = ExecutorConfig { driver: DriverChoice::IoUring, ..ExecutorConfig::default() };
    let mut drivers = vec![DriverChoice::Epoll];
    if Executor::new(uring).is_ok() {
        drivers.push(DriverChoice::IoUring);
    } else {
        eprintln!("io_uring is not to be had here: left out");
    }
    drivers
}

/// Runs a test against an application on every driver.
pub fn on_every_driver(app: fn(&Core) -> App, test: impl Fn(&Server)) {
    for driver in drivers() {
        eprintln!("on {driver:?}");
        test(&Server::start(driver, app));
    }
}
