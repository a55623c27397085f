//! The load generator: one pinned thread, one epoll instance, no async runtime.
//!
//! It has to be cheaper than every server it measures, or the second core limits the first. So a response that is
//! equal to one already verified is recognised by one comparison of bytes, requests are written from one prepared
//! block, and nothing is allocated while it runs.

pub mod closed;
pub mod exchange;
pub mod http1;
pub mod paced;
pub mod websocket;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::event::epoll;
use rustix::fd::OwnedFd;

use crate::generator::exchange::{Exchange, Progress};

/// A single receive takes at most this much: large enough for every response of a pipelined block at once.
const RECEIVE_BYTES: usize = 256 * 1024;
/// A server that answers nothing for this long has lost a request.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Verified responses.
    pub answered: u64,
    /// Responses that were wrong, connections that broke and requests that were never answered.
    pub errors: u64,
    /// From the first request to the last response.
    pub elapsed: Duration,
}

/// One connection to the server under load.
struct Connection {
    stream: TcpStream,
    /// Bytes of the current block that the kernel has not taken yet.
    unsent: usize,
    /// Responses still to come for the current block.
    outstanding: usize,
    progress: Progress,
    /// Whether epoll also watches for room to write.
    watches_output: bool,
}

/// Open connections, ready to carry load.
pub struct Load<E> {
    exchange: E,
    epoll: OwnedFd,
    /// `None` where a connection broke.
    connections: Vec<Option<Connection>>,
    /// All requests of one batch, back to back.
    block: Vec<u8>,
    in_flight: usize,
    receive_buffer: Vec<u8>,
    /// Reused by [`pass`](Self::pass).
    events: Vec<epoll::Event>,
    first_error: Option<String>,
}

impl<E: Exchange> Load<E> {
    /// Opens `connections` connections; each will carry `in_flight` requests per block.
    ///
    /// # Errors
    /// Connecting failed, or the server refused the opening handshake of the protocol.
    pub fn connect(address: SocketAddr, connections: usize, in_flight: usize, mut exchange: E) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut open = Vec::with_capacity(connections);
        for index in 0..connections {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            exchange.open(&mut stream)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
            let progress = Progress::default();
            open.push(Some(Connection { stream, unsent: 0, outstanding: 0, progress, watches_output: false }));
        }
        let block = exchange.request().repeat(in_flight);
        let receive_buffer = vec![0; RECEIVE_BYTES];
        let events = Vec::with_capacity(64);
        Ok(Self { exchange, epoll, connections: open, block, in_flight, receive_buffer, events, first_error: None })
    }

    /// Why the first connection broke, when one did.
    #[must_use]
    pub fn first_error(&self) -> Option<&str> {
        self.first_error.as_deref()
    }

    /// Begins a block on an idle connection.
    fn start_block(&mut self, index: usize) -> bool {
        if let Some(connection) = &mut self.connections[index] {
            connection.unsent = self.block.len();
            connection.outstanding = self.in_flight;
        }
        self.send(index)
    }

    /// Writes what is left of the block. False when the connection broke.
    fn send(&mut self, index: usize) -> bool {
        let Some(connection) = &mut self.connections[index] else { return false };
        let result = loop {
            if connection.unsent == 0 {
                break Ok(());
            }
            match connection.stream.write(&self.block[self.block.len() - connection.unsent..]) {
                Ok(taken) => connection.unsent -= taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let result = result.and_then(|()| {
            let wants_output = connection.unsent > 0;
            if wants_output == connection.watches_output {
                return Ok(());
            }
            connection.watches_output = wants_output;
            let output = if wants_output { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(index as u64);
            Ok(epoll::modify(&self.epoll, &connection.stream, data, epoll::EventFlags::IN | output)?)
        });
        match result {
            Ok(()) => true,
            Err(error) => self.give_up(index, error.to_string()),
        }
    }

    /// Reads once and verifies. Returns how many responses were completed, `None` when the connection broke.
    fn receive(&mut self, index: usize) -> Option<usize> {
        let connection = self.connections[index].as_mut()?;
        let problem = match connection.stream.read(&mut self.receive_buffer) {
            Ok(0) => "the server closed the connection".to_owned(),
            Ok(length) => match self.exchange.verify(&mut connection.progress, &self.receive_buffer[..length]) {
                Ok(answers) if answers <= connection.outstanding => {
                    connection.outstanding -= answers;
                    return Some(answers);
                }
                Ok(_) => "more responses than requests".to_owned(),
                Err(problem) => problem,
            },
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Some(0),
            Err(error) => error.to_string(),
        };
        self.give_up(index, problem);
        None
    }

    /// Drops a connection that cannot go on. Always false, for the caller to return.
    fn give_up(&mut self, index: usize, problem: String) -> bool {
        self.first_error.get_or_insert(problem);
        self.connections[index] = None;
        false
    }

    /// Whether the connection is open and has nothing in flight.
    fn is_idle(&self, index: usize) -> bool {
        self.connections[index].as_ref().is_some_and(|connection| connection.outstanding == 0 && connection.unsent == 0)
    }
}
