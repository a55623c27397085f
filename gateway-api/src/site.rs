//! An application on one executor: the unit a gateway has one of per core, and what is embedded elsewhere.

use crate::{
    app::App,
    config::Config,
    conn::{self, wire::Wire},
    core::Core,
    counters::Metrics,
    dispatch::Table,
    drain::{DrainReport, Member, Registry, either},
    proxies::TrustedProxies,
    request::Link,
    shed::Shed,
    websocket::{hub::Hub, topic::Broadcast},
};
use ringgate_runtime::{
    executor::Handle,
    mesh::MeshEnd,
    net::{Address, ByteStream, Listener, SocketStream},
    offload::{Crew, CrewConfig},
    task::JoinHandle,
};
use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    io,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// An application on one executor that somebody else drives: in a test, on a foreign loop, or as one task among others.
/// A [`Gateway`](crate::Gateway) is one of these on every core.
///
/// ```
/// use ringgate::{App, Config, Request, Site};
/// use ringgate_runtime::{buffer::SendBuf, executor::{Executor, ExecutorConfig}};
/// use std::time::Duration;
///
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let handle = executor.handle();
/// let site = Site::new(&handle, Config::default(), |_| App::new().route("/", |_: &Request| "hello"));
/// executor.block_on(async {
///     let address = site.listen(&"127.0.0.1:0".parse().unwrap())?;
///     let mut client = handle.connect(&address).await?;
///     client.send(SendBuf::from_vec(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec())).await?;
///     assert!(client.recv().await?.starts_with(b"HTTP/1.1 200 OK\r\n"));
///     let report = site.drain(Duration::from_secs(1)).await;
///     assert_eq!((report.open, report.cut), (1, 0));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Site {
    inner: Rc<Inner>,
}

struct Inner {
    core: Core,
    table: Rc<Table>,
    registry: Rc<Registry>,
    listeners: RefCell<Vec<JoinHandle<()>>>,
    /// Hears the other cores, during a drain too: handlers that are still at it publish, and wait for room.
    hearing: RefCell<Option<JoinHandle<()>>>,
}

impl Site {
    /// Puts an application on an executor. It has a crew of its own for blocking handlers.
    ///
    /// # Panics
    /// When paths of the application contradict each other.
    #[must_use]
    pub fn new(handle: &Handle, config: Config, factory: impl FnOnce(&Core) -> App) -> Self {
        let (crew, shed) = (crew(&config), Shed::new(config.limits.process_bytes_max));
        Self::with_parts(handle, config, crew, Metrics::default(), shed, factory)
    }

    pub(crate) fn with_parts(
        handle: &Handle,
        config: Config,
        crew: Crew,
        metrics: Metrics,
        shed: Arc<Shed>,
        factory: impl FnOnce(&Core) -> App,
    ) -> Self {
        let core = Core::new(handle.clone(), config, crew, metrics, shed);
        let (table, states) = Table::new(factory(&core));
        core.add_states(states);
        let inner = Inner {
            core,
            table: Rc::new(table),
            registry: Rc::default(),
            listeners: RefCell::default(),
            hearing: RefCell::default(),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Hears what is published on the other cores, and lets them hear this one.
    pub(crate) fn join(&self, end: MeshEnd<Box<Broadcast>>) {
        let task = self.core().handle().spawn("topics", Hub::of(self.core()).join(end));
        *self.inner.hearing.borrow_mut() = Some(task);
    }

    /// The core this site is on.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.inner.core
    }

    /// The application made ready.
    #[cfg(feature = "tower")]
    pub(crate) fn table(&self) -> &Rc<Table> {
        &self.inner.table
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.registry.count()
    }

    /// Listens at an address and serves what comes, until the site is drained or dropped. Answers the address with the
    /// port that was chosen. The file of a Unix socket stays behind; whoever listens there next replaces it.
    ///
    /// # Errors
    /// As `bind(2)` and `listen(2)`.
    pub fn listen(&self, address: &Address) -> io::Result<Address> {
        let listener = self.core().handle().listen(address)?;
        let local = listener.local_address()?.unwrap_or_else(|| address.clone());
        self.serve_listener(listener);
        Ok(local)
    }

    /// Serves what a listener accepts, until the site is drained or dropped.
    pub fn serve_listener(&self, listener: Listener) {
        self.serve_accepted(listener, None);
    }

    /// The same for a listener behind proxies; see [`Gateway::behind`](crate::Gateway::behind).
    pub fn serve_listener_behind(&self, listener: Listener, proxies: TrustedProxies) {
        self.serve_accepted(listener, Some(proxies));
    }

    fn serve_accepted(&self, listener: Listener, proxies: Option<TrustedProxies>) {
        let local = listener.local_address().ok().flatten();
        // Behind a wildcard every connection has an address of its own.
        let is_wildcard = matches!(&local, Some(Address::Tcp(address)) if address.ip().is_unspecified());
        let shared_local = local.filter(|_| !is_wildcard).map(Rc::new);
        let site = Rc::downgrade(&self.inner);
        let accept = async move {
            while let Ok(stream) = listener.accept().await {
                let Some(inner) = site.upgrade() else { return };
                let local = shared_local.clone().or_else(|| stream.local_address().ok().flatten().map(Rc::new));
                let peer = stream.peer_address().ok().flatten();
                Self { inner }.take(stream, peer, local, proxies.as_ref());
            }
        };
        let task = self.core().handle().spawn("accept", accept);
        self.inner.listeners.borrow_mut().push(task);
    }

    fn take(
        &self,
        stream: SocketStream,
        peer: Option<Address>,
        local: Option<Rc<Address>>,
        proxies: Option<&TrustedProxies>,
    ) {
        let counters = &self.core().shared.counters;
        counters.connections_accepted.up();
        if self.connections() >= self.core().shared.config.limits.connections_max {
            counters.connections_refused.up();
            return;
        }
        if proxies.is_some_and(|proxies| !proxies.trusts(peer.as_ref())) {
            counters.proxy_headers_refused.up();
            return;
        }
        let (place, task) = if proxies.is_some() {
            let (wire, member) = self.enter(stream, peer, local);
            (member.place(), self.core().handle().spawn("connection", conn::proxy::serve(wire, member)))
        } else {
            let (place, connection) = self.connection(stream, peer, local);
            (place, self.core().handle().spawn("connection", connection))
        };
        self.inner.registry.keep(place, task);
    }

    fn connection<S: ByteStream>(
        &self,
        stream: S,
        peer: Option<Address>,
        local: Option<Rc<Address>>,
    ) -> (u32, impl Future<Output = ()> + use<S>) {
        let (wire, member) = self.enter(stream, peer, local);
        (member.place(), conn::serve(wire, member))
    }

    fn enter<S: ByteStream>(&self, stream: S, peer: Option<Address>, local: Option<Rc<Address>>) -> (Wire<S>, Member) {
        self.core().shared.counters.connections_open.up();
        let link = Rc::new(Link::new(self.core().clone(), peer, local));
        let member = self.inner.registry.enter(link.clone());
        (Wire::new(stream, link, self.inner.table.clone()), member)
    }

    /// Serves one connection over any stream of bytes to its end: a socket accepted elsewhere, TLS, a foreign
    /// executor's stream. A drain lets it finish, and cannot cut it. Dropped, it cuts the connection.
    pub async fn serve<S: ByteStream>(&self, stream: S, peer: Option<Address>, local: Option<Address>) {
        self.core().shared.counters.connections_accepted.up();
        let (place, connection) = self.connection(stream, peer, local.map(Rc::new));
        let mut connection = std::pin::pin!(connection);
        poll_fn(|cx| {
            self.inner.registry.remember(place, cx);
            connection.as_mut().poll(cx)
        })
        .await;
    }

    /// Stops accepting, ends idle connections, lets running exchanges finish with `Connection: close`, and cuts what
    /// is left at the deadline. There is no way back; dropped, it goes on without a deadline.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        let handle = self.core().handle().clone();
        self.drain_until(handle.sleep(deadline)).await
    }

    pub(crate) async fn drain_until(&self, deadline: impl Future<Output = ()>) -> DrainReport {
        let Inner { core, registry, listeners, .. } = &*self.inner;
        let begun = core.handle().now();
        let open = registry.count();
        drop(std::mem::take(&mut *listeners.borrow_mut()));
        core.shared.draining.set(true);
        registry.wake_all();
        either(registry.empty(), deadline).await;
        let cut = registry.cut();
        (0..cut).for_each(|_| core.shared.counters.connections_cut.up());
        DrainReport { open, cut, took: core.handle().now().since(begun) }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("core", self.core()).field("connections", &self.connections()).finish()
    }
}

/// The threads for blocking handlers, as configured.
pub(crate) fn crew(config: &Config) -> Crew {
    Crew::new(CrewConfig {
        threads_max: config.limits.blocking_threads_max,
        queue_max: config.limits.blocking_queue_max,
        ..CrewConfig::default()
    })
}

/// Serves one connection with an application of its own, to its end. For tests and small embeddings; a [`Site`] serves
/// many connections with one application.
///
/// ```
/// use ringgate::{App, Request, serve_connection};
/// use ringgate_runtime::{buffer::SendBuf, executor::{Executor, ExecutorConfig}};
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let handle = executor.handle();
/// executor.block_on(async {
///     let listener = handle.listen(&"127.0.0.1:0".parse().unwrap())?;
///     let mut client = handle.connect(&listener.local_address()?.unwrap()).await?;
///     let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
///     client.send(SendBuf::from_vec(request.to_vec())).await?;
///     let server = handle.spawn("connection", {
///         let (handle, stream) = (handle.clone(), listener.accept().await?);
///         async move { serve_connection(&handle, stream, App::new().route("/", |_: &Request| "hello")).await }
///     });
///     assert!(client.recv().await?.starts_with(b"HTTP/1.1 200 OK\r\n"));
///     drop(client);
///     server.await.expect("it does not panic");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn serve_connection<S: ByteStream>(handle: &Handle, stream: S, app: App) {
    Site::new(handle, Config::default(), |_| app).serve(stream, None, None).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        let mut executor = ringgate_runtime::executor::Executor::new(Default::default()).unwrap();
        let handle = executor.handle();
        let site = Site::new(&handle, Config::default(), |_| App::new());
        executor.block_on(async {
            let listener = handle.listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
            let stream = handle.connect(&listener.local_address().unwrap().unwrap()).await.unwrap();
            let (_, connection) = site.connection(stream, None, None);
            assert!(size_of_val(&connection) <= 168, "the future has {} bytes", size_of_val(&connection));
            assert!(size_of::<Link>() <= 56);
        });
    }
}
