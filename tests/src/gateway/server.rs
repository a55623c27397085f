//! A gateway under test, on a kernel's driver or in a simulated world.

use crate::gateway::{Client, Http2, Talk, Wire, sim::SharedWorld};
use ringgate::{App, Config, Core, DrainReport, Gateway, RunningGateway};
use ringgate_runtime::{
    driver::{DriverChoice, sim::SimConfig},
    executor::{Executor, ExecutorConfig},
    net::Address,
    sys::placement::Placement,
};
use std::{
    cell::Cell,
    net::TcpStream,
    rc::Rc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Seeds of every test in the simulated world, unless `RINGGATE_SEEDS` says how many, or `RINGGATE_SEED` which one.
const SEEDS: u64 = 6;

/// What a gateway runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A driver of this machine's kernel.
    Kernel(DriverChoice),
    /// The simulated driver, with a seed.
    Sim(u64),
}

/// A gateway on one core, with an application.
pub struct Server {
    place: Place,
    ground: Ground,
    begun: Instant,
}

enum Place {
    Kernel(RunningGateway),
    Sim(SharedWorld),
}

/// A gateway that was told to stop.
pub enum Stopping {
    /// Its thread.
    Kernel(JoinHandle<DrainReport>),
    /// Its world, and where the report will be.
    Sim(SharedWorld, Rc<Cell<Option<DrainReport>>>),
}

impl Server {
    /// Starts as configured by default.
    pub fn start(ground: Ground, app: fn(&Core) -> App) -> Self {
        Self::start_with(ground, app, Config::default())
    }

    /// Starts on a free port.
    pub fn start_with(ground: Ground, app: fn(&Core) -> App, config: Config) -> Self {
        let place = match ground {
            Ground::Kernel(driver) => {
                let gateway = |gateway: Gateway| gateway.limits(config.limits).timeouts(config.timeouts);
                Place::Kernel(start_gateway(driver, app, gateway))
            }
            Ground::Sim(seed) => Place::Sim(SharedWorld::start(seed, app, config, |_| {})),
        };
        Self { place, ground, begun: Instant::now() }
    }

    /// Starts in a simulated world with other weather than the seed's.
    pub fn start_sim(seed: u64, app: fn(&Core) -> App, config: Config, weather: impl FnOnce(&mut SimConfig)) -> Self {
        let place = Place::Sim(SharedWorld::start(seed, app, config, weather));
        Self { place, ground: Ground::Sim(seed), begun: Instant::now() }
    }

    /// What it runs on.
    pub fn ground(&self) -> Ground {
        self.ground
    }

    /// Whether its clock and its network are virtual.
    pub fn is_sim(&self) -> bool {
        matches!(self.place, Place::Sim(_))
    }

    /// So many bytes on a kernel; in a simulation, where each may be a receive of its own, one in forty.
    pub fn scaled(&self, bytes: usize) -> usize {
        if self.is_sim() { bytes / 40 } else { bytes }
    }

    /// A new connection.
    pub fn wire(&self) -> Box<dyn Wire> {
        match &self.place {
            Place::Kernel(_) => Box::new(self.socket()),
            Place::Sim(world) => Box::new(world.connect()),
        }
    }

    /// A new connection of a kernel.
    pub fn socket(&self) -> TcpStream {
        let Place::Kernel(gateway) = &self.place else { panic!("a simulated world has no sockets") };
        let Some(Address::Tcp(address)) = gateway.addresses().first() else { panic!("a TCP address") };
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        stream
    }

    /// A client of HTTP/1.
    pub fn connect(&self) -> Client<Box<dyn Wire>> {
        Client::new(self.wire())
    }

    /// A client of HTTP/2.
    pub fn connect_http2(&self) -> Http2<Box<dyn Wire>> {
        Http2::new(self.wire())
    }

    /// A client of each protocol: what one of them is told, the other is told as well.
    pub fn tongues(&self) -> [(&'static str, Box<dyn Talk>); 2] {
        [("HTTP/1.1", Box::new(self.connect())), ("HTTP/2", Box::new(self.connect_http2()))]
    }

    /// The simulated world.
    pub fn world(&self) -> &SharedWorld {
        let Place::Sim(world) = &self.place else { panic!("not in a simulated world") };
        world
    }

    /// The gateway on a kernel.
    pub fn gateway(&self) -> &RunningGateway {
        let Place::Kernel(gateway) = &self.place else { panic!("in a simulated world") };
        gateway
    }

    /// Lets time go by, real or virtual.
    pub fn pass(&self, milliseconds: u64) {
        match &self.place {
            Place::Kernel(_) => std::thread::sleep(Duration::from_millis(milliseconds)),
            Place::Sim(world) => world.pass(Duration::from_millis(milliseconds)),
        }
    }

    /// Milliseconds on its clock.
    pub fn now_ms(&self) -> u64 {
        let now = match &self.place {
            Place::Kernel(_) => self.begun.elapsed(),
            Place::Sim(world) => world.now(),
        };
        now.as_millis() as u64
    }

    /// The sum of a counter.
    pub fn count(&self, name: &str) -> u64 {
        let count = match &self.place {
            Place::Kernel(gateway) => gateway.metrics().get(name),
            Place::Sim(world) => world.count(name),
        };
        count.expect("a counter of this name")
    }

    /// A counter of the runtime.
    pub fn runtime_count(&self, name: &str) -> u64 {
        match &self.place {
            Place::Kernel(gateway) => {
                let page = gateway.metrics().render();
                let prefix = format!("ringgate_runtime_{name}{{core=\"0\"}} ");
                let line = page.lines().find_map(|line| line.strip_prefix(&prefix));
                line.expect("a counter of this name").parse().expect("a number")
            }
            Place::Sim(world) => world.runtime_count(name).expect("a counter of this name"),
        }
    }

    /// Waits until it is so, for ten seconds.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        match &self.place {
            Place::Kernel(_) => {
                let begun = Instant::now();
                while !is_so() {
                    assert!(begun.elapsed() < Duration::from_secs(10), "{what} has not come in ten seconds");
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            Place::Sim(world) => world.until(what, is_so),
        }
    }

    /// Waits until a counter has a value, for ten seconds.
    pub fn await_count(&self, name: &str, value: u64) {
        self.until(&format!("{name} = {value}"), || self.count(name) == value);
    }

    /// With all clients gone: nothing is left of them.
    pub fn assert_at_rest(&self) {
        match &self.place {
            Place::Sim(world) => world.assert_at_rest(),
            Place::Kernel(_) => {
                self.await_count("connections_open", 0);
                // The books are published with the executor's turns: each look gives it one to take.
                self.until("the return of all buffers", || {
                    drop(self.socket());
                    self.runtime_count("buffers_lent") == 0
                });
            }
        }
    }

    /// Tells it to stop.
    pub fn stop(self, deadline: Duration) -> Stopping {
        match self.place {
            Place::Kernel(gateway) => {
                Stopping::Kernel(std::thread::spawn(move || gateway.stop(deadline).expect("an end")))
            }
            Place::Sim(world) => {
                let report = world.drain(deadline);
                Stopping::Sim(world, report)
            }
        }
    }
}

impl Stopping {
    /// Waits for the end.
    pub fn report(self) -> DrainReport {
        match self {
            Self::Kernel(thread) => thread.join().expect("an end"),
            Self::Sim(world, report) => {
                let mut found = None;
                world.until("the end of the drain", || {
                    found = report.take();
                    found.is_some()
                });
                assert!(!world.is_listening(), "nobody listens any more");
                found.expect("it was just seen")
            }
        }
    }
}

/// A gateway on one core of a kernel, configured further.
pub fn start_gateway(
    driver: DriverChoice,
    app: fn(&Core) -> App,
    configure: impl FnOnce(Gateway) -> Gateway,
) -> RunningGateway {
    let gateway = Gateway::builder(app)
        .listen(Address::Tcp(([127, 0, 0, 1], 0).into()))
        .cores(Placement::Unpinned { count: 1 })
        .driver(driver);
    configure(gateway).start().expect("the gateway starts")
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

/// The seeds to try: so many times as many as usual.
pub fn seeds(times: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("RINGGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGGATE_SEEDS").unwrap_or(SEEDS) * times,
    }
}

/// Everything a gateway runs on: the drivers of this machine, and the simulated one with some seeds.
pub fn grounds() -> Vec<Ground> {
    drivers().into_iter().map(Ground::Kernel).chain(seeds(1).map(Ground::Sim)).collect()
}

/// Runs a test against an application on every ground, and looks whether it has left anything.
pub fn on_every_driver(app: fn(&Core) -> App, test: impl Fn(&Server)) {
    on_every_driver_with(app, |_| {}, test);
}

/// The same on the kernel's drivers only: for tests whose clients are threads, or other people's.
pub fn on_every_kernel_driver(app: fn(&Core) -> App, test: impl Fn(&Server)) {
    for driver in drivers() {
        eprintln!("on {driver:?}");
        test(&Server::start(Ground::Kernel(driver), app));
    }
}

/// [`on_every_driver`], configured.
pub fn on_every_driver_with(app: fn(&Core) -> App, configure: impl Fn(&mut Config), test: impl Fn(&Server)) {
    for ground in grounds() {
        eprintln!("on {ground:?}");
        let mut config = Config::default();
        configure(&mut config);
        let server = Server::start_with(ground, app, config);
        test(&server);
        server.assert_at_rest();
    }
}

/// Runs a test in simulated worlds only: for what takes long, or wants another weather.
pub fn in_every_world(
    app: fn(&Core) -> App,
    configure: impl Fn(&mut Config),
    weather: impl Fn(&mut SimConfig),
    test: impl Fn(&Server),
) {
    for seed in seeds(5) {
        eprintln!("on {:?}", Ground::Sim(seed));
        let mut config = Config::default();
        configure(&mut config);
        let server = Server::start_sim(seed, app, config, &weather);
        test(&server);
        server.assert_at_rest();
    }
}
