//! One core's share of a gateway: what its handlers may ask for, and what its connections have in common.

use crate::{
    config::Config,
    conn::openings::Openings,
    counters::{GatewayCounters, Metrics},
    request::RequestPool,
    shed::Shed,
};
use http::{HeaderName, HeaderValue, header};
use ringgate_protocols::{
    http::date::imf_fixdate,
    http2::{repeat::RepeatKey, request::HeadPool},
};
use ringgate_runtime::{executor::Handle, offload::Crew};
use smallvec::SmallVec;
use std::{
    any::{Any, TypeId, type_name},
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
    time::SystemTime,
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
    values: RefCell<Values>,
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
            values: RefCell::default(),
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
        date(self.handle.wall_clock())
    }
}

/// A field of a response.
pub(crate) type FieldRef<'a> = (&'a HeaderName, &'a HeaderValue);

impl Shared {
    /// What tells a response head of HTTP/2 without fields of its own from all others: second, status, length and type.
    #[inline]
    pub(crate) fn repeat_key(&self, status: u16, length: Option<u64>, content_type: Option<&'static str>) -> RepeatKey {
        let second = self.handle.now().as_nanos() / 1_000_000_000 + 1;
        // Text of the program is known by its place.
        let text = content_type.unwrap_or_default();
        let (place, bytes) = (text.as_ptr() as u64, text.len() as u64);
        RepeatKey([second << 16 | u64::from(status), length.unwrap_or(u64::MAX), place, bytes])
    }

    /// The same for HTTP/2, which wants fields and not lines: `server`, `date`, and length and type of the content.
    pub(crate) fn with_values<R>(
        &self,
        length: Option<u64>,
        content_type: Option<&'static str>,
        write: impl FnOnce(&[FieldRef<'_>]) -> R,
    ) -> R {
        let second = self.handle.now().as_nanos() / 1_000_000_000 + 1;
        let mut values = self.values.borrow_mut();
        if values.second != second {
            values.renew(second, self.handle.wall_clock());
        }
        if let Some(length) = length {
            values.learn(length);
        }
        // Text of the program, but no text may end a line: what could is left out.
        let content_type = content_type.filter(|text| text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
        let content_type = content_type.map(HeaderValue::from_static);
        let mut fields: SmallVec<[FieldRef<'_>; 4]> = SmallVec::new();
        fields.push((&header::SERVER, &values.server));
        fields.push((&header::DATE, &values.date));
        if let Some((_, length)) = length.and_then(|length| values.lengths[Values::place(length)].as_ref()) {
            fields.push((&header::CONTENT_LENGTH, length));
        }
        if let Some(value) = &content_type {
            fields.push((&header::CONTENT_TYPE, value));
        }
        write(&fields)
    }
}

/// Values that many responses share.
struct Values {
    second: u64,
    server: HeaderValue,
    date: HeaderValue,
    /// By their last bits: the lengths of what is asked for again and again.
    lengths: [Option<(u64, HeaderValue)>; LENGTHS],
}

/// Lengths that are kept as text.
const LENGTHS: usize = 16;

impl Default for Values {
    fn default() -> Self {
        Self {
            second: 0,
            server: HeaderValue::from_static("ringgate"),
            date: HeaderValue::from_static(""),
            lengths: [const { None }; LENGTHS],
        }
    }
}

impl Values {
    const fn place(length: u64) -> usize {
        length as usize % LENGTHS
    }

    fn learn(&mut self, length: u64) {
        let place = &mut self.lengths[Self::place(length)];
        if place.as_ref().is_none_or(|(known, _)| *known != length) {
            *place = Some((length, HeaderValue::from(length)));
        }
    }

    #[cold]
    fn renew(&mut self, second: u64, time: SystemTime) {
        self.second = second;
        self.date = HeaderValue::from_bytes(&date(time)).unwrap_or_else(|_| HeaderValue::from_static(""));
    }
}

/// The wall clock's time as `Date` has it.
fn date(time: SystemTime) -> [u8; 29] {
    imf_fixdate(time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("index", &self.index()).finish_non_exhaustive()
    }
}
