//! A whole gateway under test, and clients that say and read bytes, nothing cleverer.
//!
//! Tests are written against [`Wire`]: a socket, or an end of a simulated connection. What both protocols can say is
//! written against [`Talk`], and runs over HTTP/1 and HTTP/2.

pub mod http2;
pub mod server;
pub mod sim;

pub use http2::Http2;
pub use server::{
    Ground, Server, drivers, grounds, in_every_world, on_every_driver, on_every_driver_with, on_every_kernel_driver,
    seeds, start_gateway,
};

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
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

impl Wire for Box<dyn Wire> {
    fn say(&mut self, bytes: &[u8]) {
        (**self).say(bytes);
    }

    fn hear(&mut self) -> Vec<u8> {
        (**self).hear()
    }

    fn finish(&mut self) {
        (**self).finish();
    }
}

/// What is asked, in either protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Request line and fields as HTTP/1 has them, without `host`, framing, and the last empty line.
    pub head: &'a str,
    /// The body.
    pub body: Option<&'a [u8]>,
    /// Its length is not announced: chunked in HTTP/1.
    pub is_streamed: bool,
    /// Behind the body, which is streamed then.
    pub trailers: &'a [(&'a str, &'a str)],
}

/// A client of either protocol.
pub trait Talk {
    /// Asks, and waits for the interim responses and the final one.
    fn exchange(&mut self, asked: &Asked<'_>) -> (Vec<Answer>, Answer);

    /// A request without a body.
    fn ask(&mut self, head: &str) -> Answer {
        self.exchange(&Asked { head, ..Asked::default() }).1
    }

    /// GET.
    fn get(&mut self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1"))
    }

    /// POST with a body of known length.
    fn post(&mut self, target: &str, body: &[u8]) -> Answer {
        let head = format!("POST {target} HTTP/1.1");
        self.exchange(&Asked { head: &head, body: Some(body), ..Asked::default() }).1
    }

    /// POST with a body whose length is not announced.
    fn post_streamed(&mut self, target: &str, body: &[u8]) -> Answer {
        let head = format!("POST {target} HTTP/1.1");
        self.exchange(&Asked { head: &head, body: Some(body), is_streamed: true, ..Asked::default() }).1
    }
}

impl<W: Wire> Talk for Client<W> {
    fn exchange(&mut self, asked: &Asked<'_>) -> (Vec<Answer>, Answer) {
        let is_chunked = asked.is_streamed || !asked.trailers.is_empty();
        let framing = match asked.body {
            _ if is_chunked => "transfer-encoding: chunked\r\n".to_owned(),
            Some(body) => format!("content-length: {}\r\n", body.len()),
            None => String::new(),
        };
        self.wire.say(format!("{}\r\nhost: test\r\n{framing}\r\n", asked.head).as_bytes());
        let body = asked.body.unwrap_or_default();
        if is_chunked {
            for piece in body.chunks(70_001) {
                self.wire.say(format!("{:x};ext=1\r\n", piece.len()).as_bytes());
                self.wire.say(piece);
                self.wire.say(b"\r\n");
            }
            self.wire.say(b"0\r\n");
            for (name, value) in asked.trailers {
                self.wire.say(format!("{name}: {value}\r\n").as_bytes());
            }
            self.wire.say(b"\r\n");
        } else {
            self.wire.say(body);
        }
        let mut interim = Vec::new();
        loop {
            let answer = self.answer(asked.head.starts_with("HEAD "));
            if answer.status >= 200 {
                return (interim, answer);
            }
            interim.push(answer);
        }
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

    /// GET, begun: its answer is yet to be heard.
    pub fn begin(&mut self, target: &str) {
        self.wire.say(format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes());
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
        assert!(self.has(count), "the connection ended {} bytes early", count - self.heard.len());
        self.heard.drain(..count).collect()
    }

    /// Hears until there are so many bytes; false when the connection ends before.
    pub(crate) fn has(&mut self, count: usize) -> bool {
        while self.heard.len() < count {
            if !self.more() {
                return false;
            }
        }
        true
    }

    /// Hears a whole head; false when the connection ends before.
    pub(crate) fn has_head(&mut self) -> bool {
        while !self.heard.windows(4).any(|end| end == b"\r\n\r\n") {
            if !self.more() {
                return false;
            }
        }
        true
    }

    /// What was heard and is not consumed.
    pub(crate) fn peek(&self) -> &[u8] {
        &self.heard
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
