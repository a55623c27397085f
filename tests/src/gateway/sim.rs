//! A gateway in a simulated world: the same [`Wire`] as over sockets, on a virtual clock, by seed.
//!
//! The crew for blocking handlers is real threads, outside of the virtual time. While one of them works the clock is
//! held to about the pace of the real one, so that a thread that takes a millisecond does not find its client gone; a
//! run with blocking handlers is therefore not replayable event by event, one without is.

use crate::gateway::Wire;
use ringgate::{App, Config, Core, DrainReport, Site};
use ringgate_runtime::{
    buffer::ReceiveConfig,
    driver::sim::{SimConfig, SimNet, SimPeer},
    executor::{Executor, ExecutorConfig},
    net::Address,
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// What a turn takes at most while a thread of the crew works.
const PACE: Duration = Duration::from_micros(50);
/// How long the world turns before a condition that wakes nobody is looked at again.
const GLANCE: Duration = Duration::from_millis(5);
/// Virtual time after which a client stops listening: longer than any time-out of a gateway.
const SILENCE: Duration = Duration::from_secs(200);
/// Real time after which a conversation that does not go on is given up.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 10_000 } else { 30 });

/// An executor, its network, and a gateway's application on it.
pub struct World {
    executor: Executor,
    net: SimNet,
    site: Site,
    address: Address,
    seed: u64,
}

/// A world that clients and test share.
#[derive(Clone)]
pub struct SharedWorld(Rc<RefCell<World>>);

/// The weather of a seed: the usual faults, or faults of the seed's choosing; buffers enough, or hardly any.
fn weather(seed: u64) -> (ExecutorConfig, SimConfig) {
    let sim = if seed.is_multiple_of(2) { SimConfig::new(seed) } else { SimConfig::random(seed) };
    let receive = match seed % 3 {
        0 => ReceiveConfig { buffer_bytes: 512, buffers: 4 },
        _ => ReceiveConfig::default(),
    };
    (ExecutorConfig { receive, ..ExecutorConfig::default() }, sim)
}

impl SharedWorld {
    /// Starts an application.
    pub fn start(seed: u64, app: fn(&Core) -> App, config: Config, change: impl FnOnce(&mut SimConfig)) -> Self {
        let (executor, mut sim) = weather(seed);
        change(&mut sim);
        let (executor, net) = Executor::simulated(executor, sim);
        let site = Site::new(&executor.handle(), config, app);
        let address = site.listen(&"192.0.2.1:80".parse().expect("an address")).expect("a free address");
        Self(Rc::new(RefCell::new(World { executor, net, site, address, seed })))
    }

    /// A client's end of a new connection.
    pub fn connect(&self) -> SimWire {
        let world = self.0.borrow();
        let peer = world.net.connect(&world.address).expect("the site listens");
        SimWire { world: self.clone(), peer }
    }

    /// Whether somebody listens.
    pub fn is_listening(&self) -> bool {
        let world = self.0.borrow();
        world.net.connect(&world.address).is_ok()
    }

    /// The virtual time.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.borrow().net.now().as_nanos())
    }

    /// One turn, or a bit of time if a thread works.
    fn turn(&self, longest: Duration) {
        let world = &mut *self.0.borrow_mut();
        let crew = world.site.core().crew().counters();
        let is_busy = crew.busy + crew.queued > 0;
        let timeout = if is_busy { PACE } else { longest };
        world.executor.turn(Some(timeout)).expect("the simulation goes on");
        if is_busy {
            std::thread::sleep(PACE);
        }
    }

    /// Takes turns until it is so; after ten virtual seconds, or too many real ones, it is a failure.
    pub fn until(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.until_within(Duration::from_secs(10), what, is_so);
    }

    fn until_within(&self, most: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
        let (begun, real) = (self.now(), Instant::now());
        while !is_so() {
            let seed = self.0.borrow().seed;
            assert!(self.now() - begun < most, "seed {seed}: {what} has not come in {most:?}");
            assert!(real.elapsed() < PATIENCE, "seed {seed}: {what} takes too long in real time");
            self.turn(GLANCE);
        }
    }

    /// Lets time go by.
    pub fn pass(&self, duration: Duration) {
        let end = self.now() + duration;
        while self.now() < end {
            self.turn(end - self.now());
        }
    }

    /// A counter of the gateway.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.0.borrow().site.core().metrics().get(name)
    }

    /// A counter of the runtime.
    pub fn runtime_count(&self, name: &str) -> Option<u64> {
        self.0.borrow().executor.handle().counters().get(name)
    }

    /// Begins to drain.
    pub fn drain(&self, deadline: Duration) -> Rc<Cell<Option<DrainReport>>> {
        let report = Rc::new(Cell::new(None));
        let (site, kept) = (self.0.borrow().site.clone(), report.clone());
        let handle = site.core().handle().clone();
        handle.spawn("drain", async move { kept.set(Some(site.drain(deadline).await)) }).detach();
        self.turn(Duration::ZERO);
        report
    }

    /// Looks whether anything is left of connections that are gone: sockets, tasks, buffers.
    pub fn assert_at_rest(&self) {
        let seed = self.0.borrow().seed;
        self.until("the end of all connections", || {
            let world = self.0.borrow();
            let crew = world.site.core().crew().counters();
            world.site.connections() == 0 && crew.busy + crew.queued == 0
        });
        // Late completions, and what a pool gives back with the next turn.
        self.pass(Duration::from_millis(200));
        let left = ["sockets", "tasks", "buffers_lent"].map(|name| (name, self.runtime_count(name)));
        let expected = [("sockets", Some(1)), ("tasks", Some(1)), ("buffers_lent", Some(0))];
        assert_eq!(left, expected, "seed {seed}: only the listener and its task stay");
    }

    /// The seed of this world.
    pub fn seed(&self) -> u64 {
        self.0.borrow().seed
    }

    /// A checksum of everything that has happened.
    pub fn digest(&self) -> u64 {
        self.0.borrow().net.digest()
    }
}

/// A client's end of a simulated connection: while it listens, the world turns.
pub struct SimWire {
    world: SharedWorld,
    /// The network's view of it.
    pub peer: SimPeer,
}

impl Wire for SimWire {
    fn say(&mut self, bytes: &[u8]) {
        self.peer.write(bytes);
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        // With a waker left there, an arrival ends the turn: time does not run ahead of a client that listens.
        let mut context = Context::from_waker(Waker::noop());
        self.world.until_within(SILENCE, "something to hear", || match self.peer.poll_recv(&mut context) {
            Poll::Ready(result) => {
                heard = result.unwrap_or_default();
                true
            }
            Poll::Pending => false,
        });
        heard
    }

    fn finish(&mut self) {
        self.peer.finish();
    }
}
