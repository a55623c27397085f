//! One core's share of a gateway: what its handlers may ask for, and what its connections have in common.

use crate::{
    config::Config,
    conn::{common_fields::CommonFields, openings::Openings},
    counters::{GatewayCounters, Metrics},
    request::RequestPool,
    shed::Shed,
};
use ringgate_protocols::{http::date::imf_fixdate, http2::request::HeadPool};
use ringgate_runtime::{executor::Handle, offload::Crew, time::Instant};
use std::{
    any::{Any, TypeId, type_name},
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// One core of a gateway, as its application factory and its handlers see it. Cheap to clone, never leaves its core.
///
/// ```
/// use ringgate::{App, Core, Request};
/// use std::{cell::Cell, rc::Rc};
/// // Called once on every core: what it makes is that core's own and needs no lock.
/// fn application(core: &Core) -> App {
///     let served = Rc::new(Cell::new(0));
///     let index = core.index();
///     App::new().route("/served", move |_: &Request| {
///         served.set(served.get() + 1);
///         format!("core {index} has served {} requests\n", served.get())
///     })
/// }
/// # let gateway = ringgate::Gateway::builder(application).cores(ringgate::Placement::Unpinned { count: 1 });
/// # let gateway = gateway.listen("127.0.0.1:0".parse().unwrap()).start()?;
/// # use std::io::{Read, Write};
/// # let mut client = std::net::TcpStream::connect(gateway.addresses()[0].to_string())?;
/// # client.write_all(b"GET /served HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
/// # let mut answer = String::new();
/// # client.read_to_string(&mut answer)?;
/// # assert!(answer.ends_with("core 0 has served 1 requests\n"), "{answer}");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Core {
    pub(crate) shared: Rc<Shared>,
}

/// What all connections of a core share. Fields are for the drivers.
pub(crate) struct Shared {
    pub(crate) handle: Handle,
    pub(crate) config: Config,
    pub(crate) crew: Crew,
    pub(crate) counters: Arc<GatewayCounters>,
    pub(crate) metrics: Metrics,
    shed: Arc<Shed>,
    /// No further request is taken on any connection: responses say `Connection: close`.
    pub(crate) draining: Cell<bool>,
    pub(crate) requests: RequestPool,
    pub(crate) heads: RefCell<HeadPool>,
    pub(crate) common_fields: CommonFields,
    pub(crate) openings: Openings,
    states: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
    /// What higher floors keep on each core, by type.
    extensions: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
}

impl Core {
    pub(crate) fn new(handle: Handle, config: Config, crew: Crew, metrics: Metrics, shed: Arc<Shed>) -> Self {
        let mut config = config;
        // Body limits are kept where the application can change them for its own request.
        config.limits.protocol.body_bytes_max = u64::MAX;
        config.limits.protocol.drain_bytes_max = config.limits.drain_bytes_max;
        let counters = Arc::new(GatewayCounters::default());
        metrics.register(handle.core(), counters.clone(), handle.counters());
        let shared = Shared {
            handle,
            config,
            crew,
            counters,
            metrics,
            shed,
            draining: Cell::new(false),
            requests: RequestPool::default(),
            heads: RefCell::default(),
            common_fields: CommonFields::default(),
            openings: Openings::default(),
            states: RefCell::default(),
            extensions: RefCell::default(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// This core's number, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.shared.handle.core()
    }

    /// The executor of this core: spawn, sleep, connect.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    /// The counters of all cores.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The threads that run blocking handlers; also for blocking work of an async handler.
    ///
    /// ```
    /// use http::StatusCode;
    /// use ringgate::{App, Request};
    /// async fn load(request: Request) -> Result<String, StatusCode> {
    ///     let reading = request.core().crew().run(|| std::fs::read_to_string("/proc/self/comm"));
    ///     // All threads are busy and the queue is full; or the work has panicked, or failed.
    ///     let read = reading.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?.await;
    ///     read.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.map_err(|_| StatusCode::NOT_FOUND)
    /// }
    /// let app = App::new().route("/load", load);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert!(client::ask(app, "GET /load HTTP/1.1", "").starts_with("HTTP/1.1 200 "));
    /// ```
    #[must_use]
    pub fn crew(&self) -> &Crew {
        &self.shared.crew
    }

    /// True once the gateway is told to stop: long exchanges should come to their end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.get()
    }

    /// The application state of type `T`, set with `App::state`.
    ///
    /// # Panics
    /// When no state of this type was set: a mistake of the program, answered with 500.
    #[must_use]
    pub fn state<T: 'static>(&self) -> Rc<T> {
        let states = self.shared.states.borrow();
        let found = states.iter().find(|(id, _)| *id == TypeId::of::<T>()).map(|(_, state)| state.clone());
        match found.and_then(|state| state.downcast::<T>().ok()) {
            Some(state) => state,
            None => panic!("no application state of type {}: set it with App::state", type_name::<T>()),
        }
    }

    /// When the response to a request that is read now must have begun, if that has a time.
    #[inline]
    pub(crate) fn request_deadline(&self) -> Option<Instant> {
        let timeout_ms = self.shared.config.timeouts.request_timeout_ms;
        (timeout_ms > 0).then(|| self.handle().now() + Duration::from_millis(timeout_ms))
    }

    /// True while the process holds more memory than it may: what is new is refused.
    #[inline]
    pub(crate) fn is_shedding(&self) -> bool {
        self.shared.shed.is_on(self.handle().now(), || self.shared.counters.sheddings.up())
    }

    /// Lets the application's state go: what of it holds this core would keep it, and its descriptors, for ever.
    pub(crate) fn forget_states(&self) {
        let states = std::mem::take(&mut *self.shared.states.borrow_mut());
        drop(states);
    }

    pub(crate) fn add_states(&self, states: Vec<(TypeId, Rc<dyn Any>)>) {
        self.shared.states.borrow_mut().extend(states);
    }
}

impl Shared {
    /// The one `T` of this core; made when it is first asked for.
    pub(crate) fn extension<T: 'static>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        let mut extensions = self.extensions.borrow_mut();
        let found = extensions.iter().find(|(id, _)| *id == TypeId::of::<T>()).map(|(_, known)| known.clone());
        if let Some(known) = found.and_then(|known| known.downcast::<T>().ok()) {
            return known;
        }
        let made = Rc::new(make());
        extensions.push((TypeId::of::<T>(), made.clone()));
        made
    }

    /// What `Date` says now.
    pub(crate) fn date(&self) -> [u8; 29] {
        let since = self.handle.wall_clock().duration_since(SystemTime::UNIX_EPOCH);
        imf_fixdate(since.map_or(0, |since| since.as_secs()))
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("index", &self.index()).finish_non_exhaustive()
    }
}
