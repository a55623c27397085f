//! The virtual wire: who listens, who is connected, which bytes are under way. Knows no sockets and no slots.
//!
//! A connection has two sides; what a side has yet to receive lies at that side, in segments that arrive at their time.
//! A FIN or a reset arrives behind them. Order within a connection is always kept.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;

use crate::driver::sim::config::SimConfig;
use crate::driver::sim::random::Random;
use crate::sys::address::Address;
use crate::time::Instant;

/// Connections that wait to be accepted, as in the kernel drivers' `listen`.
const BACKLOG_MAX: usize = 4096;
/// The first port given out for port 0, and to those who connect: where the dynamic ports begin (RFC 6335, section 6).
const FIRST_PORT: u16 = 49_152;

/// Something that happened, for a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimEvent {
    /// When, on the virtual clock.
    pub at: Instant,
    /// What: an operation and how it went.
    pub what: &'static str,
    /// The socket's slot, or the connection's number for what a [`SimPeer`](super::SimPeer) does.
    pub subject: u32,
    /// Bytes, where there are any.
    pub amount: usize,
}

impl fmt::Display for SimEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12} ns  {} #{} {}", self.at.as_nanos(), self.what, self.subject, self.amount)
    }
}

/// One end of a connection: its number and side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) connection: u32,
    pub(super) side: usize,
}

impl End {
    pub(super) const fn other(self) -> Self {
        Self { connection: self.connection, side: 1 - self.side }
    }
}

/// What a side has yet to receive, and what has become of it.
#[derive(Debug, Default)]
struct Side {
    inbound: VecDeque<(Instant, VecDeque<u8>)>,
    inbound_bytes: usize,
    window_bytes: usize,
    /// When the other side's FIN arrives.
    finish: Option<Instant>,
    /// When a reset arrives.
    reset: Option<Instant>,
    /// This side has sent its FIN.
    finished: bool,
    /// This side is closed.
    closed: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Connection {
    sides: [Side; 2],
    addresses: [Option<Address>; 2],
}

/// Who listens.
#[derive(Debug)]
struct Post {
    address: Address,
    backlog: VecDeque<End>,
    waker: Option<Waker>,
}

/// What a side can receive now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    Nothing,
    Bytes(usize),
    Finished,
    Reset,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) config: SimConfig,
    pub(super) random: Random,
    now: Rc<Cell<Instant>>,
    posts: BTreeMap<u32, Post>,
    connections: BTreeMap<u32, Connection>,
    /// Numbers given out: never used again, so that a stale one names nothing.
    numbers: u32,
    ports: u16,
    transcript: VecDeque<SimEvent>,
    digest: u64,
}

impl Wire {
    pub(super) fn new(config: SimConfig, now: Rc<Cell<Instant>>) -> Self {
        Self {
            random: Random::new(config.seed),
            config,
            now,
            posts: BTreeMap::new(),
            connections: BTreeMap::new(),
            numbers: 0,
            ports: 0,
            transcript: VecDeque::new(),
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Lets time go by; it never goes back.
    pub(super) fn advance_to(&self, then: Instant) {
        self.now.set(self.now.get().max(then));
    }

    /// Adds an event to digest and transcript.
    pub(super) fn note(&mut self, what: &'static str, subject: u32, amount: usize) {
        let at = self.now();
        let words = [at.as_nanos(), u64::from(subject), amount as u64];
        for byte in words.iter().flat_map(|word| word.to_le_bytes()).chain(what.bytes()) {
            // FNV-1a.
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.transcript.len() >= self.config.transcript_events_max {
            self.transcript.pop_front();
        }
        if self.config.transcript_events_max > 0 {
            self.transcript.push_back(SimEvent { at, what, subject, amount });
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn transcript(&self) -> Vec<SimEvent> {
        self.transcript.iter().copied().collect()
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    fn port(&mut self) -> u16 {
        let port = FIRST_PORT + self.ports % (u16::MAX - FIRST_PORT);
        self.ports += 1;
        port
    }

    /// When what is sent now arrives.
    fn arrival(&mut self) -> Instant {
        let latency = self.config.faults.latency_max.as_nanos() as u64;
        let delay = if latency == 0 { 0 } else { self.random.below(latency + 1) };
        self.now() + Duration::from_nanos(delay)
    }

    /// Listens; several may listen on one TCP address, as with `SO_REUSEPORT`.
    pub(super) fn listen(&mut self, address: &Address) -> io::Result<u32> {
        let mut address = address.clone();
        match &mut address {
            Address::Tcp(tcp) if tcp.port() == 0 => tcp.set_port(self.port()),
            Address::Tcp(_) => {}
            Address::Unix(path) => {
                let taken = |post: &Post| matches!(&post.address, Address::Unix(other) if other == path);
                if self.posts.values().any(taken) {
                    return Err(Errno::ADDRINUSE.into());
                }
            }
        }
        let number = self.number();
        self.posts.insert(number, Post { address, backlog: VecDeque::new(), waker: None });
        Ok(number)
    }

    pub(super) fn listens_on(&self, post: u32) -> Option<Address> {
        self.posts.get(&post).map(|post| post.address.clone())
    }

    /// Connections that wait to be accepted.
    pub(super) fn waiting(&self, post: u32) -> usize {
        self.posts.get(&post).map_or(0, |post| post.backlog.len())
    }

    pub(super) fn accept(&mut self, post: u32) -> Option<End> {
        self.posts.get_mut(&post)?.backlog.pop_front()
    }

    pub(super) fn wait_for_connection(&mut self, post: u32, waker: &Waker) {
        if let Some(post) = self.posts.get_mut(&post) {
            post.waker = Some(waker.clone());
        }
    }

    /// Stops listening; connections that nobody has accepted are reset.
    pub(super) fn stop_listening(&mut self, post: u32) {
        let Some(post) = self.posts.remove(&post) else { return };
        for end in post.backlog {
            self.reset(end);
        }
    }

    /// Connects to whoever listens there; among several, chance decides.
    pub(super) fn connect(&mut self, address: &Address) -> Result<End, Errno> {
        let posts: Vec<u32> = self
            .posts
            .iter()
            .filter(|(_, post)| reaches(&post.address, address) && post.backlog.len() < BACKLOG_MAX)
            .map(|(number, _)| *number)
            .collect();
        let Some(post) = posts.get(self.random.below(posts.len() as u64) as usize).copied() else {
            let missing = matches!(address, Address::Unix(_));
            return Err(if missing { Errno::NOENT } else { Errno::CONNREFUSED });
        };
        let number = self.number();
        let own = match address {
            Address::Tcp(tcp) => Some(Address::Tcp(SocketAddr::new(tcp.ip(), self.port()))),
            Address::Unix(_) => None,
        };
        let side = || Side { window_bytes: self.config.window_bytes, ..Side::default() };
        let connection = Connection { sides: [side(), side()], addresses: [own, Some(address.clone())] };
        self.connections.insert(number, connection);
        let post = self.posts.get_mut(&post).expect("it was just found");
        post.backlog.push_back(End { connection: number, side: 1 });
        Ok(End { connection: number, side: 0 })
    }

    pub(super) fn address(&self, end: End) -> Option<Address> {
        self.connections.get(&end.connection)?.addresses[end.side].clone()
    }

    pub(super) fn peer_address(&self, end: End) -> Option<Address> {
        self.address(end.other())
    }

    fn side(&self, end: End) -> Option<&Side> {
        self.connections.get(&end.connection).map(|connection| &connection.sides[end.side])
    }

    fn side_mut(&mut self, end: End) -> Option<&mut Side> {
        self.connections.get_mut(&end.connection).map(|connection| &mut connection.sides[end.side])
    }

    /// What the end can receive now.
    pub(super) fn inbound(&self, end: End) -> Inbound {
        let Some(side) = self.side(end) else { return Inbound::Reset };
        let now = self.now();
        let bytes = side.inbound.iter().take_while(|(at, _)| *at <= now).map(|(_, bytes)| bytes.len()).sum();
        match bytes {
            1.. => Inbound::Bytes(bytes),
            0 if side.reset.is_some_and(|at| at <= now) => Inbound::Reset,
            0 if side.inbound.is_empty() && side.finish.is_some_and(|at| at <= now) => Inbound::Finished,
            0 => Inbound::Nothing,
        }
    }

    /// A reset has arrived at this end, whatever lies before it.
    pub(super) fn is_reset(&self, end: End) -> bool {
        self.side(end).is_none_or(|side| side.reset.is_some_and(|at| at <= self.now()))
    }

    /// This end has sent its FIN.
    pub(super) fn has_finished(&self, end: End) -> bool {
        self.side(end).is_none_or(|side| side.finished)
    }

    /// Bytes that this end has yet to receive, those under way included.
    pub(super) fn unreceived(&self, end: End) -> usize {
        self.side(end).map_or(0, |side| side.inbound_bytes)
    }

    /// Both directions of this end are over.
    pub(super) fn is_over(&self, end: End) -> bool {
        self.is_reset(end) || self.side(end).is_some_and(|side| side.finished && self.inbound(end) == Inbound::Finished)
    }

    /// Takes bytes that have arrived.
    pub(super) fn take(&mut self, end: End, target: &mut [u8]) -> usize {
        let now = self.now();
        let Some(side) = self.side_mut(end) else { return 0 };
        let mut taken = 0;
        while let Some((at, bytes)) = side.inbound.front_mut()
            && *at <= now
            && taken < target.len()
        {
            let count = bytes.len().min(target.len() - taken);
            for (byte, place) in bytes.drain(..count).zip(&mut target[taken..]) {
                *place = byte;
            }
            taken += count;
            if bytes.is_empty() {
                side.inbound.pop_front();
            }
        }
        side.inbound_bytes -= taken;
        taken
    }

    /// Bytes that the other end has room for. Where nobody reads any more the first bytes bring a reset, and while that
    /// is under way there is no room.
    pub(super) fn room(&self, end: End) -> usize {
        match self.side(end.other()) {
            Some(side) if !side.closed => side.window_bytes.saturating_sub(side.inbound_bytes),
            _ if self.side(end).is_some_and(|side| side.reset.is_some()) => 0,
            Some(side) => side.window_bytes.max(1),
            None => 0,
        }
    }

    pub(super) fn set_window(&mut self, end: End, bytes: usize) {
        if let Some(side) = self.side_mut(end) {
            side.window_bytes = bytes;
        }
    }

    /// Puts bytes on the wire, whatever the window. To an end that is closed: they come back as a reset.
    pub(super) fn put(&mut self, end: End, bytes: impl IntoIterator<Item = u8>) {
        let arrival = self.arrival();
        let Some(other) = self.side_mut(end.other()) else { return };
        if other.closed {
            if let Some(side) = self.side_mut(end)
                && side.reset.is_none()
            {
                side.reset = Some(arrival);
            }
            return;
        }
        let arrival = other.inbound.back().map_or(arrival, |(last, _)| arrival.max(*last));
        let bytes: VecDeque<u8> = bytes.into_iter().collect();
        other.inbound_bytes += bytes.len();
        if !bytes.is_empty() {
            other.inbound.push_back((arrival, bytes));
        }
    }

    /// FIN behind what was sent.
    pub(super) fn finish(&mut self, end: End) {
        let arrival = self.arrival();
        let Some(side) = self.side_mut(end) else { return };
        if std::mem::replace(&mut side.finished, true) {
            return;
        }
        if let Some(other) = self.side_mut(end.other()) {
            let arrival = other.inbound.back().map_or(arrival, |(last, _)| arrival.max(*last));
            other.finish = Some(arrival);
        }
    }

    /// Closes with a reset. What has not been received may be lost, or not: chance decides.
    pub(super) fn reset(&mut self, end: End) {
        let arrival = self.arrival();
        let lost = self.random.chance(500);
        if let Some(other) = self.side_mut(end.other()) {
            if lost {
                other.inbound.clear();
                other.inbound_bytes = 0;
            }
            let arrival = other.inbound.back().map_or(arrival, |(last, _)| arrival.max(*last));
            other.reset.get_or_insert(arrival);
        }
        self.leave(end);
    }

    /// The connection dies under both ends.
    pub(super) fn kill(&mut self, end: End) {
        let now = self.now();
        for end in [end, end.other()] {
            if let Some(side) = self.side_mut(end) {
                side.inbound.clear();
                side.inbound_bytes = 0;
                side.reset = Some(now);
            }
        }
    }

    /// Closes: FIN behind what was sent; a reset if something had arrived that was not read, as TCP does
    /// (RFC 2525, section 2.17).
    pub(super) fn close(&mut self, end: End) {
        if self.side(end).is_none_or(|side| side.closed) {
            return;
        }
        if self.unreceived(end) > 0 {
            return self.reset(end);
        }
        self.finish(end);
        self.leave(end);
    }

    fn leave(&mut self, end: End) {
        let Some(connection) = self.connections.get_mut(&end.connection) else { return };
        let side = &mut connection.sides[end.side];
        side.closed = true;
        side.waker = None;
        side.inbound.clear();
        side.inbound_bytes = 0;
        if connection.sides.iter().all(|side| side.closed) {
            self.connections.remove(&end.connection);
        }
    }

    /// Wakes at the next thing that arrives at this end.
    pub(super) fn wait_for_inbound(&mut self, end: End, waker: &Waker) {
        if let Some(side) = self.side_mut(end) {
            side.waker = Some(waker.clone());
        }
    }

    /// Wakes the test's tasks that wait for something that is there now; true if there were any.
    pub(super) fn wake_those_who_wait(&mut self) -> bool {
        let mut wakers: Vec<Waker> = Vec::new();
        wakers.extend(
            self.posts.values_mut().filter(|post| !post.backlog.is_empty()).filter_map(|post| post.waker.take()),
        );
        let ends = self.connections.keys().flat_map(|&connection| [0, 1].map(|side| End { connection, side }));
        let ready: Vec<End> = ends
            .filter(|&end| self.side(end).is_some_and(|side| side.waker.is_some()))
            .filter(|&end| self.inbound(end) != Inbound::Nothing)
            .collect();
        wakers.extend(ready.into_iter().filter_map(|end| self.side_mut(end)?.waker.take()));
        let any = !wakers.is_empty();
        wakers.into_iter().for_each(Waker::wake);
        any
    }

    /// When the next thing arrives somewhere that has not arrived yet.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let now = self.now();
        let sides = self.connections.values().flat_map(|connection| &connection.sides).filter(|side| !side.closed);
        let times = sides.flat_map(|side| {
            let segments = side.inbound.iter().map(|(at, _)| *at);
            segments.chain(side.finish).chain(side.reset)
        });
        times.filter(|at| *at > now).min()
    }
}

/// A listener on the unspecified address hears every address.
fn reaches(listening: &Address, address: &Address) -> bool {
    match (listening, address) {
        (Address::Tcp(listening), Address::Tcp(address)) => {
            let any = match listening.ip() {
                IpAddr::V4(ip) => ip.is_unspecified(),
                IpAddr::V6(ip) => ip.is_unspecified(),
            };
            listening.port() == address.port() && (any || listening.ip() == address.ip())
        }
        _ => listening == address,
    }
}

impl Drop for Wire {
    /// A test that fails says how to see it again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation ran with {:?}; its last events:", self.config);
            self.transcript.iter().for_each(|event| eprintln!("{event}"));
        }
    }
}
