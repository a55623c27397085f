//! The virtual wire: who listens, who is connected, which bytes are under way. Knows no sockets and no slots.
//!
//! What a connection is, see `connection`.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use rustix::io::Errno;

use crate::driver::sim::config::SimConfig;
use crate::driver::sim::connection::{Connection, End, Inbound, Side};
use crate::driver::sim::random::Random;
use crate::driver::sim::transcript::{SimEvent, Transcript};
use crate::sys::address::Address;
use crate::time::Instant;

/// Connections that wait to be accepted, as in the kernel drivers' `listen`.
const BACKLOG_MAX: usize = 4096;
/// The first port given out for port 0, and to those who connect: where the dynamic ports begin (RFC 6335, section 6).
const FIRST_PORT: u16 = 49_152;

/// Who listens.
#[derive(Debug)]
struct Post {
    address: Address,
    backlog: VecDeque<End>,
    waker: Option<Waker>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) config: SimConfig,
    pub(super) random: Random,
    now: Rc<Cell<Instant>>,
    posts: BTreeMap<u32, Post>,
    pub(super) connections: BTreeMap<u32, Connection>,
    /// Numbers given out: never used again, so that a stale one names nothing.
    numbers: u32,
    ports: u16,
    pub(super) transcript: Transcript,
}

impl Wire {
    pub(super) fn new(config: SimConfig, now: Rc<Cell<Instant>>) -> Self {
        Self {
            random: Random::new(config.seed),
            transcript: Transcript::new(config.transcript_events_max),
            config,
            now,
            posts: BTreeMap::new(),
            connections: BTreeMap::new(),
            numbers: 0,
            ports: 0,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Lets time go by; it never goes back.
    pub(super) fn advance_to(&self, then: Instant) {
        self.now.set(self.now.get().max(then));
    }

    /// Adds an event to the transcript.
    pub(super) fn note(&mut self, what: &'static str, subject: u32, amount: usize) {
        self.transcript.note(SimEvent { at: self.now(), what, subject, amount });
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
    pub(super) fn arrival(&mut self) -> Instant {
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
        let side = || Side::new(self.config.window_bytes);
        let connection = Connection { sides: [side(), side()], addresses: [own, Some(address.clone())] };
        self.connections.insert(number, connection);
        let post = self.posts.get_mut(&post).expect("it was just found");
        post.backlog.push_back(End { connection: number, side: 1 });
        Ok(End { connection: number, side: 0 })
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
            self.transcript.events().for_each(|event| eprintln!("{event}"));
        }
    }
}
