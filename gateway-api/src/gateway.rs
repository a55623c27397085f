//! The gateway: one application on every core, on one port.

use crate::{
    app::App,
    config::{Config, Limits, Timeouts},
    core::Core,
    counters::Metrics,
    drain::{DrainReport, either},
    proxies::TrustedProxies,
    shed::Shed,
    site::{self, Site},
    socket_file::SocketFile,
    websocket::topic::{BROADCASTS_MAX, Broadcast},
};
use ringgate_runtime::{
    driver::{DriverChoice, DriverReport},
    executor::{ExecutorConfig, Handle},
    mesh::{MeshEnd, mesh},
    net::{Address, Listener},
    offload::Crew,
    pool::{ExecutorPool, Stop},
    sys::{
        machine::Machine,
        placement::{Placement, assign},
    },
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    fmt, io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Makes a core's application.
type Factory = dyn Fn(&Core) -> App + Send + Sync;

/// A gateway that is configured and not yet started.
///
/// ```no_run
/// use ringgate::{App, Gateway, Request};
/// fn main() -> std::io::Result<()> {
///     Gateway::builder(|_| App::new().route("/", |_: &Request| "hello\n"))
///         .listen("127.0.0.1:8080".parse().unwrap())
///         .run()
/// }
/// ```
///
/// To embed it, start it and keep the answer:
/// ```
/// use ringgate::{App, Gateway, Request};
/// use std::{io::{Read, Write}, net::TcpStream, time::Duration};
/// let gateway = Gateway::builder(|_| App::new().route("/", |_: &Request| "hello\n"))
///     .listen("127.0.0.1:0".parse().unwrap())
///     .start()?;
/// let mut client = TcpStream::connect(gateway.addresses()[0].to_string())?;
/// client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello\n"));
/// assert_eq!(gateway.metrics().get("responses_2xx"), Some(1));
/// assert_eq!(gateway.stop(Duration::from_secs(1))?.cut, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Gateway {
    factory: Arc<Factory>,
    places: Vec<(Place, Option<TrustedProxies>)>,
    placement: Placement,
    executor: ExecutorConfig,
    config: Config,
}

/// Where to listen.
enum Place {
    Address(Address),
    Bound(OwnedFd),
}

impl Gateway {
    /// Begins with the factory of the application. It runs once on every core, there, so that what it makes need not
    /// be `Send`.
    #[must_use]
    pub fn builder(factory: impl Fn(&Core) -> App + Send + Sync + 'static) -> Self {
        Self {
            factory: Arc::new(factory),
            places: Vec::new(),
            placement: Placement::default(),
            executor: ExecutorConfig::default(),
            config: Config::default(),
        }
    }

    /// Listens at this address: TCP, or a Unix socket (`unix:/path`). May be repeated. Port 0 is chosen once and shared
    /// by all cores.
    #[must_use]
    pub fn listen(mut self, address: Address) -> Self {
        self.places.push((Place::Address(address), None));
        self
    }

    /// Serves a socket that is bound and listening already: socket activation, or a parent's.
    ///
    /// ```
    /// use ringgate::{App, Gateway, Request};
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let gateway = Gateway::builder(|_| App::new().route("/", |_: &Request| "hello\n")).listen_bound(socket).start()?;
    /// println!("listening on {}", gateway.addresses()[0]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn listen_bound(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.places.push((Place::Bound(socket.into()), None));
        self
    }

    /// The place that was added last is behind these proxies: whoever else connects to it is closed at once, and each
    /// connection has to begin with a PROXY header (version 1 or 2, within `header_timeout_ms`). From it come
    /// [`Request::peer_address`](crate::Request::peer_address) and `local_address`; a proxy that says nothing of them, of
    /// its health checks for instance, leaves those of the socket.
    ///
    /// ```
    /// use ringgate::{App, Gateway, Request};
    /// use std::{io::{Read, Write}, net::TcpStream};
    /// let app = |request: &Request| request.peer_address().map(ToString::to_string);
    /// let gateway = Gateway::builder(move |_| App::new().route("/", app))
    ///     .listen("127.0.0.1:0".parse()?)
    ///     .behind("127.0.0.0/8".parse()?)
    ///     .start()?;
    /// let mut proxy = TcpStream::connect(gateway.addresses()[0].to_string())?;
    /// proxy.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n")?;
    /// proxy.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    /// let mut answer = String::new();
    /// proxy.read_to_string(&mut answer)?;
    /// assert!(answer.ends_with("\r\n\r\n192.0.2.7:51234"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// When no place was added yet.
    #[must_use]
    pub fn behind(mut self, proxies: TrustedProxies) -> Self {
        match self.places.last_mut() {
            Some((_, behind)) => *behind = Some(proxies),
            None => panic!("add a place before you say what is in front of it"),
        }
        self
    }

    /// Chooses the cores. Without it: [`Placement::Auto`], one pinned executor for each physical core that the process may use,
    /// or as many unpinned ones as a CPU quota pays for.
    ///
    /// ```
    /// use ringgate::{App, DriverChoice, Gateway, Placement, Request};
    /// let gateway = Gateway::builder(|core| {
    ///         let index = core.index();
    ///         App::new().route("/", move |_: &Request| format!("core {index}\n"))
    ///     })
    ///     .listen("127.0.0.1:0".parse().unwrap())
    ///     .cores(Placement::Unpinned { count: 2 }) // two threads, wherever the kernel puts them
    ///     .driver(DriverChoice::Epoll) // whatever io_uring could do here
    ///     .start()?;
    /// assert!(gateway.driver_reports()[1].line.contains("epoll"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn cores(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Chooses the driver. Without it: io_uring where it is allowed, otherwise epoll.
    #[must_use]
    pub fn driver(mut self, driver: DriverChoice) -> Self {
        self.executor.driver = driver;
        self
    }

    /// Sets up the executors in every detail but the core's number. The driver is one of them: call [`Gateway::driver`]
    /// behind this.
    #[must_use]
    pub fn executor(mut self, config: ExecutorConfig) -> Self {
        self.executor = config;
        self
    }

    /// Sets the bounds.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Takes `Upgrade: h2c`; see [`Config::is_h2c_upgraded`] for why it is off by default.
    ///
    /// ```
    /// use ringgate::{App, Gateway, Request};
    /// use std::{io::{Read, Write}, net::TcpStream};
    /// let gateway = Gateway::builder(|_| App::new().route("/", |_: &Request| "hello\n"))
    ///     .listen("127.0.0.1:0".parse().unwrap())
    ///     .upgrade_h2c(true)
    ///     .start()?;
    /// let mut client = TcpStream::connect(gateway.addresses()[0].to_string())?;
    /// client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n")?;
    /// client.write_all(b"connection: upgrade, http2-settings\r\n\r\n")?;
    /// let mut answer = [0; 13];
    /// client.read_exact(&mut answer)?;
    /// assert_eq!(&answer, b"HTTP/1.1 101 "); // and the response to the request comes as HTTP/2
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn upgrade_h2c(mut self, is_upgraded: bool) -> Self {
        self.config.is_h2c_upgraded = is_upgraded;
        self
    }

    /// Sets the times.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.config.timeouts = timeouts;
        self
    }

    /// Starts, and returns when every core listens.
    ///
    /// # Errors
    /// When no address was given, one cannot be bound, an executor cannot start, or the factory panics.
    pub fn start(self) -> io::Result<RunningGateway> {
        if self.places.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a gateway needs an address to listen at"));
        }
        let drain_timeout = Duration::from_millis(self.config.timeouts.drain_timeout_ms);
        let cores = assign(&self.placement, &Machine::read()?).map_err(io::Error::other)?.len();
        let shared = Arc::new(Shared {
            factory: self.factory,
            crew: site::crew(&self.config),
            shed: Shed::new(self.config.limits.process_bytes_max),
            config: self.config,
            metrics: Metrics::default(),
            drain_ms: AtomicU64::new(0),
            cut: Stop::new(),
            plan: Mutex::new(Plan { places: Some(self.places), bound: Vec::new(), files: Vec::new() }),
            mesh: Mutex::new(mesh(cores, BROADCASTS_MAX).into_iter().map(Some).collect()),
        });
        let (told, tell) = mpsc::channel();
        let program = {
            let shared = shared.clone();
            move |handle: Handle, stop: Stop| run_core(shared.clone(), told.clone(), handle, stop)
        };
        let pool = ExecutorPool::start(&self.placement, &self.executor, program)?;
        let mut addresses = Vec::new();
        for _ in pool.cores() {
            match tell.recv() {
                Ok(Ok(known)) => addresses = known,
                failed => {
                    pool.stop();
                    let _ = pool.join();
                    return Err(match failed {
                        Ok(Err(error)) => error,
                        _ => io::Error::other("a core ended while it started"),
                    });
                }
            }
        }
        Ok(RunningGateway { pool: Some(pool), addresses, shared, drain_timeout })
    }

    /// Starts, says on standard error where it listens and which driver runs, and serves until SIGINT or SIGTERM. Then
    /// it drains; a second signal cuts.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn run(self) -> io::Result<()> {
        let running = self.start()?;
        for address in running.addresses() {
            eprintln!("ringgate: listening on {address}");
        }
        if let Some(report) = running.driver_reports().first() {
            eprintln!("ringgate: {} on {} cores", report.line, running.driver_reports().len());
        }
        let report = running.wait()?;
        eprintln!("ringgate: drained {} connections in {:?}, {} cut", report.open, report.took, report.cut);
        Ok(())
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("placement", &self.placement)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What all cores of a gateway know.
struct Shared {
    factory: Arc<Factory>,
    config: Config,
    crew: Crew,
    shed: Arc<Shed>,
    metrics: Metrics,
    /// Time for the drain, set before the cores are asked to stop.
    drain_ms: AtomicU64,
    /// No more time.
    cut: Stop,
    plan: Mutex<Plan>,
    /// Each core's way to the others; taken by the core.
    mesh: Mutex<Vec<Option<MeshEnd<Box<Broadcast>>>>>,
}

/// Where to listen, and what the first core has made of it.
struct Plan {
    /// Until the first core has bound them.
    places: Option<Vec<(Place, Option<TrustedProxies>)>>,
    bound: Vec<(Bound, Option<TrustedProxies>)>,
    /// Of Unix sockets that were bound here. Those of sockets that were handed to us are not ours.
    files: Vec<SocketFile>,
}

/// A place that the first core has bound; the other cores follow.
enum Bound {
    /// Every core binds for itself (`SO_REUSEPORT`), so that the kernel shares connections out.
    Address(Address),
    /// One queue for all cores.
    Socket(OwnedFd, Option<Address>),
}

/// A listener, and the proxies in front of it.
type BehindListener = (Listener, Option<TrustedProxies>);

impl Shared {
    /// The listeners of this core. Whoever comes first binds, chooses the ports, and leaves word for the others.
    fn listeners(&self, handle: &Handle) -> io::Result<(Vec<BehindListener>, Vec<Address>)> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let mut listeners = Vec::new();
        if let Some(places) = plan.places.take() {
            for (place, proxies) in places {
                let (listener, is_own) = match place {
                    Place::Address(address) => {
                        let listener = bind(handle, &address)?;
                        if let Address::Unix(path) = &address {
                            plan.files.extend(SocketFile::of(path));
                        }
                        (listener, matches!(address, Address::Tcp(_)))
                    }
                    Place::Bound(socket) => (handle.adopt_listener(socket)?, false),
                };
                let bound = match listener.local_address()? {
                    Some(address) if is_own => Bound::Address(address),
                    address => Bound::Socket(listener.try_clone_fd()?, address),
                };
                plan.bound.push((bound, proxies.clone()));
                listeners.push((listener, proxies));
            }
        } else {
            for (bound, proxies) in &plan.bound {
                let listener = match bound {
                    Bound::Address(address) => bind(handle, address)?,
                    Bound::Socket(socket, _) => handle.adopt_listener(socket.try_clone()?)?,
                };
                listeners.push((listener, proxies.clone()));
            }
        }
        let addresses = plan.bound.iter().filter_map(|(bound, _)| match bound {
            Bound::Address(address) => Some(address.clone()),
            Bound::Socket(_, address) => address.clone(),
        });
        let addresses = addresses.collect();
        Ok((listeners, addresses))
    }

    fn site(&self, handle: &Handle) -> io::Result<(Site, Vec<Address>)> {
        let make = || {
            let (config, crew, metrics) = (self.config.clone(), self.crew.clone(), self.metrics.clone());
            Site::with_parts(handle, config, crew, metrics, self.shed.clone(), |core| (self.factory)(core))
        };
        let site = catch_unwind(AssertUnwindSafe(make)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            io::Error::other(format!("the application could not be made: {text}"))
        })?;
        let mut ends = self.mesh.lock().unwrap_or_else(PoisonError::into_inner);
        let end = ends.get_mut(handle.core()).and_then(Option::take);
        drop(ends);
        end.into_iter().for_each(|end| site.join(end));
        let (listeners, addresses) = self.listeners(handle).inspect_err(|_| site.core().forget_states())?;
        for (listener, proxies) in listeners {
            match proxies {
                Some(proxies) => site.serve_listener_behind(listener, proxies),
                None => site.serve_listener(listener),
            }
        }
        Ok((site, addresses))
    }
}

/// Listens, or says where it could not.
fn bind(handle: &Handle, address: &Address) -> io::Result<Listener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen at {address}: {error}"));
    handle.listen(address).map_err(named)
}

/// The life of one core.
async fn run_core(
    shared: Arc<Shared>,
    told: mpsc::Sender<io::Result<Vec<Address>>>,
    handle: Handle,
    stop: Stop,
) -> DrainReport {
    let site = match shared.site(&handle) {
        Ok((site, addresses)) => {
            let _ = told.send(Ok(addresses));
            site
        }
        Err(error) => {
            let _ = told.send(Err(error));
            return DrainReport::default();
        }
    };
    drop(told);
    stop.await;
    let time = handle.sleep(Duration::from_millis(shared.drain_ms.load(Ordering::Acquire)));
    let report = site.drain_until(either(time, shared.cut.clone())).await;
    site.core().forget_states();
    report
}

/// A gateway that serves, on threads of its own. Dropping it cuts what runs; [`RunningGateway::stop`] drains first. It can
/// go to another thread.
///
/// ```
/// use ringgate::{App, Gateway, Placement, Request};
/// use std::time::Duration;
/// let gateway = Gateway::builder(|_| App::new().route("/", |_: &Request| "hello\n"))
///     .listen("127.0.0.1:0".parse().unwrap())
///     .cores(Placement::Unpinned { count: 2 })
///     .start()?;
/// for address in gateway.addresses() {
///     println!("listening on {address}"); // with the port that was chosen
/// }
/// for report in gateway.driver_reports() {
///     println!("{}", report.line); // io_uring or epoll, and why
/// }
/// assert_eq!(gateway.driver_reports().len(), 2);
/// assert_eq!(gateway.metrics().get("connections_accepted"), Some(0));
/// gateway.stop(Duration::from_secs(1))?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct RunningGateway {
    pool: Option<ExecutorPool<DrainReport>>,
    addresses: Vec<Address>,
    shared: Arc<Shared>,
    drain_timeout: Duration,
}

impl RunningGateway {
    /// Where it listens, ports chosen.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The counters of all cores, to be read at any time from any thread.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Which driver each core runs on, and why.
    #[must_use]
    pub fn driver_reports(&self) -> Vec<DriverReport> {
        let cores = self.pool.iter().flat_map(|pool| pool.cores());
        cores.map(|core| core.report.clone()).collect()
    }

    /// Serves until SIGINT or SIGTERM, then drains for `drain_timeout_ms`; a second signal cuts.
    ///
    /// # Errors
    /// When signals cannot be waited for, or a core panicked.
    pub fn wait(self) -> io::Result<DrainReport> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let closer = signals.handle();
        signals.forever().next();
        let cut = self.shared.cut.clone();
        let second = thread::spawn(move || {
            if signals.forever().next().is_some() {
                cut.ask();
            }
        });
        let timeout = self.drain_timeout;
        let report = self.stop(timeout);
        closer.close();
        let _ = second.join();
        report
    }

    /// Stops accepting, closes idle connections, lets running exchanges finish (with `connection: close`, or behind a GOAWAY),
    /// closes WebSockets with 1001, cuts what is left after `deadline`, and says what that was. Threads of blocking handlers
    /// are waited for as long too, and cannot be cut: one that is still at it goes on for nobody.
    /// The files of Unix sockets that the gateway has bound go first, unless others have taken their places: a successor
    /// can bind there while this one drains.
    ///
    /// # Errors
    /// When a core panicked.
    pub fn stop(mut self, deadline: Duration) -> io::Result<DrainReport> {
        self.end(deadline)
    }

    fn end(&mut self, deadline: Duration) -> io::Result<DrainReport> {
        let Some(pool) = self.pool.take() else { return Ok(DrainReport::default()) };
        let begun = Instant::now();
        self.shared.drain_ms.store(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        // While the sockets still listen, so that nobody else can have bound a file of the same name by then.
        let files = std::mem::take(&mut self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner).files);
        drop(files);
        pool.stop();
        let reports = pool.join();
        self.shared.crew.shutdown(begun + deadline.min(Duration::from_secs(86_400)));
        let reports = reports?;
        let open = reports.iter().map(|report| report.open).sum();
        let cut = reports.iter().map(|report| report.cut).sum();
        Ok(DrainReport { open, cut, took: begun.elapsed() })
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        let _ = self.end(Duration::ZERO);
    }
}

impl fmt::Debug for RunningGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningGateway").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
