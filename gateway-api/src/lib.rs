//! A gateway: the layer between the wire and an application. HTTP/1.x, HTTP/2 and WebSockets on one port, from pinned
//! per-core executors, with synchronous and asynchronous handlers in one route table.
//!
//! ```no_run
//! use ringgate::{App, Gateway, Request, get};
//! fn main() -> std::io::Result<()> {
//!     Gateway::builder(|_core| App::new().route("/hello", get(|_: &Request| "Hello, World!")))
//!         .listen("127.0.0.1:8080".parse().unwrap())
//!         .run()
//! }
//! ```
//!
//! # Handlers
//! A handler's signature says which world it lives in; nothing else has to be declared:
//! ```
//! use ringgate::{App, Request, Response, blocking, get, post};
//! use std::time::Duration;
//!
//! // On the core, at once: must not block. The fastest path, without a single allocation.
//! fn health(_: &Request) -> &'static str {
//!     "well\n"
//! }
//!
//! // On the core, may wait. It need not be `Send`; when the client goes away it is dropped.
//! async fn patient(request: Request) -> String {
//!     request.handle().sleep(Duration::from_millis(10)).await;
//!     format!("{} was worth the wait\n", request.path())
//! }
//!
//! // On a thread of the crew, may block. It must be `Send + Sync`.
//! fn report(mut request: blocking::Request) -> std::io::Result<String> {
//!     let text = std::io::read_to_string(request.body_mut())?;
//!     Ok(format!("{} words\n", text.split_whitespace().count()))
//! }
//!
//! fn application() -> App {
//!     App::new().route("/health", health).route("/patient", get(patient)).route("/report", post(report))
//! }
//! # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
//! # assert!(client::ask(application(), "GET /health HTTP/1.1", "").ends_with("\r\n\r\nwell\n"));
//! # assert!(client::ask(application(), "GET /patient HTTP/1.1", "").ends_with("/patient was worth the wait\n"));
//! # assert!(client::ask(application(), "POST /report HTTP/1.1", "to be or not to be").ends_with("6 words\n"));
//! ```
//! The names in [`blocking`] mirror the async ones: "blocks" for "waits". What a handler may return is
//! [`IntoResponse`]: text, bytes, a status, a pair of both, `Result`, `Option`, a [`Response`], a helper.
//!
//! # Bodies
//! Bodies stream in both directions, and backpressure reaches the peer:
//! ```
//! use ringgate::{App, BodyError, Request, Response, post};
//! // In and out, piece by piece; what came from the kernel goes back to it without a copy.
//! async fn echo(request: Request) -> Response {
//!     Response::stream(request.into_body())
//! }
//! // Whole, up to `body_bytes_max`; beyond it the error answers 413.
//! async fn shout(mut request: Request) -> Result<String, BodyError> {
//!     let body = request.body_mut().collect().await?;
//!     Ok(String::from_utf8_lossy(&body).to_uppercase())
//! }
//! fn application() -> App {
//!     App::new().route("/echo", post(echo)).route("/shout", post(shout))
//! }
//! # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
//! # let echoed = client::ask(application(), "POST /echo HTTP/1.1", "hello");
//! # assert!(echoed.contains("transfer-encoding: chunked") && echoed.contains("\r\n5\r\nhello\r\n0\r\n"), "{echoed}");
//! # assert!(client::ask(application(), "POST /shout HTTP/1.1", "hello").ends_with("HELLO"));
//! # assert!(client::ask(application(), "POST /shout HTTP/1.1", &"a".repeat(2_000_000)).starts_with("HTTP/1.1 413 "));
//! ```
//! To send: [`Response::stream`] is asked for pieces, [`Response::channel`] is pushed them, [`Response::writer`] runs
//! blocking code with an `io::Write`. Trailers come last, where the client takes them:
//! ```
//! use http::{HeaderMap, HeaderName, HeaderValue};
//! use ringgate::{App, Disconnected, Request, Response, TrailersForm, blocking};
//! // Pushed by another task of the core, at the client's pace; it ends when the client goes away.
//! async fn ticks(request: Request) -> Response {
//!     let (mut sender, response) = Response::channel();
//!     let handle = request.handle().clone();
//!     let ticking = async move {
//!         for tick in 0..3 {
//!             sender.send(format!("tick {tick}\n")).await?;
//!             handle.sleep(std::time::Duration::from_millis(1)).await;
//!         }
//!         let count = (HeaderName::from_static("x-ticks"), HeaderValue::from_static("3"));
//!         let form = sender.finish_with(HeaderMap::from_iter([count])).await?;
//!         assert!(matches!(form, TrailersForm::Sent | TrailersForm::Dropped));
//!         Ok::<_, Disconnected>(())
//!     };
//!     request.handle().spawn("ticks", ticking).detach();
//!     response
//! }
//! // Written by a thread, at the client's pace.
//! fn table(_: blocking::Request) -> Response {
//!     Response::writer(|out| (0..1000).try_for_each(|row| writeln!(out, "{row},{}", row * row)))
//! }
//! fn application() -> App {
//!     App::new().route("/ticks", ticks).route("/table", table)
//! }
//! # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
//! # let ticks = client::ask(application(), "GET /ticks HTTP/1.1\r\nte: trailers\r\nconnection: te", "");
//! # assert!(ticks.contains("tick 2\n") && ticks.ends_with("0\r\nx-ticks: 3\r\n\r\n"), "{ticks}");
//! # assert!(client::ask(application(), "GET /table HTTP/1.1", "").contains("\n999,998001\n"));
//! ```
//!
//! # WebSockets
//! The same program in both worlds, over HTTP/1.1 and HTTP/2; [`websocket`] says what a route can choose besides:
//! ```
//! use ringgate::{App, blocking, websocket::{DeflateConfig, SocketError, WebSocket, websocket}};
//! async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
//!     while let Some(message) = socket.recv().await {
//!         socket.send(message?).await?;
//!     }
//!     Ok(())
//! }
//! fn echo_on_a_thread(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
//!     while let Some(message) = socket.recv() {
//!         socket.send(message?)?;
//!     }
//!     Ok(())
//! }
//! // A topic is heard by all its subscribers, on whatever core they are.
//! async fn chat(mut socket: WebSocket) -> Result<(), SocketError> {
//!     let room = socket.core().topic("lobby");
//!     let _here = room.subscribe(&socket);
//!     while let Some(message) = socket.recv().await {
//!         room.publish(message?).await;
//!     }
//!     Ok(())
//! }
//! fn application() -> App {
//!     App::new()
//!         .route("/echo", echo)
//!         .route("/thread", echo_on_a_thread)
//!         .route("/chat", websocket(chat).deflate(DeflateConfig::default()))
//! }
//! # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
//! # for path in ["/echo", "/thread", "/chat"] {
//! #     assert_eq!(client::converse(application(), path, &["one", "two"]), ["one", "two"], "{path}");
//! # }
//! ```
//!
//! # State
//! The application is made once per core, there. Nothing on the way of a request takes a lock:
//! ```
//! use ringgate::{App, Core, Request};
//! use std::{cell::RefCell, collections::HashMap, rc::Rc};
//! #[derive(Default)]
//! struct Cache(RefCell<HashMap<String, u32>>);
//! fn application(_: &Core) -> App {
//!     App::new().state(Cache::default()).route("/hit/{page}", |request: &Request| {
//!         let cache: Rc<Cache> = request.state();
//!         let mut pages = cache.0.borrow_mut();
//!         let hits = pages.entry(request.param("page").unwrap_or_default().into_owned()).or_insert(0);
//!         *hits += 1;
//!         format!("{hits}\n")
//!     })
//! }
//! # let gateway = ringgate::Gateway::builder(application).cores(ringgate::Placement::Unpinned { count: 1 });
//! # let gateway = gateway.listen("127.0.0.1:0".parse().unwrap()).start()?;
//! # for hits in 1..=2 {
//! #     use std::{io::{Read, Write}, net::TcpStream};
//! #     let mut client = TcpStream::connect(gateway.addresses()[0].to_string())?;
//! #     client.write_all(b"GET /hit/a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
//! #     let mut answer = String::new();
//! #     client.read_to_string(&mut answer)?;
//! #     assert!(answer.ends_with(&format!("\r\n\r\n{hits}\n")), "{answer}");
//! # }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Middleware
//! [`Middleware`] hooks run before and behind every kind of handler and change nothing about its world;
//! [`App::around`] takes an async function that may wait on both sides:
//! ```
//! use ringgate::{App, Middleware, Next, Request, Response};
//! struct Stamp;
//! impl Middleware for Stamp {
//!     fn after(&self, _: &Request, response: &mut Response) {
//!         response.append(http::header::VIA, http::HeaderValue::from_static("1.1 ringgate"));
//!     }
//! }
//! async fn patiently(request: Request, next: Next) -> Response {
//!     request.handle().yield_now().await;
//!     next.run(request).await
//! }
//! let app = App::new().route("/", |_: &Request| "hello").wrap(Stamp).around(patiently);
//! # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
//! # assert!(client::ask(app, "GET / HTTP/1.1", "").contains("\r\nvia: 1.1 ringgate\r\n"));
//! ```
//!
//! # What a request can do
//! [`Request::protocol`] and [`Request::features`] say what is in use and what is possible *for this request*. Every
//! optional feature has a written degraded form ([`Features`]), and the call tells which form was taken:
//! ```
//! use http::HeaderValue;
//! use ringgate::{App, HintsForm, Request};
//! fn page(request: &Request) -> String {
//!     let form = request.early_hints([HeaderValue::from_static("</style.css>; rel=preload; as=style")]);
//!     match form {
//!         HintsForm::Interim => "the style sheet is on its way already\n".into(),
//!         HintsForm::LinkField | HintsForm::Dropped => format!("{} cannot do better\n", request.protocol()),
//!     }
//! }
//! // A promise where limits and client allow one, an early hint to fetch it where not.
//! fn album(request: &Request) -> String {
//!     format!("{:?}\n", request.push("/cover.jpg"))
//! }
//! # fn application() -> App { App::new().route("/page", page).route("/album", album) }
//! # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
//! # assert!(client::ask(application(), "GET /page HTTP/1.1", "").starts_with("HTTP/1.1 103 "));
//! # assert!(client::ask(application(), "GET /page HTTP/1.0", "").ends_with("HTTP/1.0 cannot do better\n"));
//! # assert!(client::ask(application(), "GET /album HTTP/1.1", "").ends_with("Hinted(Interim)\n"));
//! ```
//!
//! # When things go wrong
//! - A panic in a handler is a 500, is counted, and costs nobody else anything.
//! - A client that goes away drops the async handler; the blocking one sees errors and
//!   [`is_disconnected`](blocking::Request::is_disconnected). On HTTP/1 a client that closes its side before the response
//!   begins is taken for one that went away, since the two look the same on the wire: what is ready at once is
//!   answered, what would still have to wait is not. Once a response is under way it is finished.
//! - Blocking handlers beyond what the crew can take are answered 503 with `Retry-After`.
//! - A process that holds more memory than `Limits::process_bytes_max` refuses what is new, with 503 and GOAWAY, before
//!   its cgroup or the machine ends it; what runs goes on.
//!
//! # Operation
//! - Everything has a bound and a time: [`Limits`], [`Timeouts`] and
//!   [`WebSocketLimits`](websocket::WebSocketLimits), each with its reason, and with what follows when it is reached.
//! - [`RunningGateway::stop`] drains, and so does [`Gateway::run`] at SIGINT or SIGTERM: idle connections end, running
//!   exchanges finish, WebSockets are closed with 1001, the report says what was cut.
//! - All of it is counted: [`Metrics`], as `request.core().metrics()` or [`RunningGateway::metrics`]. A handler that holds its
//!   core for too long is named by its route ([`Metrics::recent_stalls`]).
//! - [`Gateway::behind`] reads the PROXY header of load balancers in front of it; [`Gateway::listen_bound`] takes over a
//!   socket from a supervisor; [`RunningGateway::driver_reports`] says what it runs on, and why.
//!
//! # Embedding
//! [`Gateway::start`] runs on threads of its own and answers a [`RunningGateway`]:
//! ```
//! use ringgate::{App, Gateway, Request};
//! let gateway = Gateway::builder(|_| App::new().route("/", |_: &Request| "hello\n"))
//!     .listen("127.0.0.1:0".parse().unwrap())
//!     .start()?;
//! println!("listening on {}", gateway.addresses()[0]);
//! let report = gateway.stop(std::time::Duration::from_secs(1))?;
//! assert_eq!(report.cut, 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//! A [`Site`] runs on an executor that you drive, one turn at a time, from a loop of your own:
//! ```
//! use ringgate::{App, Config, Request, Site, runtime::executor::{Executor, ExecutorConfig}};
//! use std::{io::Write, net::TcpStream, thread, time::Duration};
//! let mut executor = Executor::new(ExecutorConfig::default())?;
//! let site = Site::new(&executor.handle(), Config::default(), |_| App::new().route("/", |_: &Request| "hello\n"));
//! let address = site.listen(&"127.0.0.1:0".parse().unwrap())?;
//! let client = thread::spawn(move || {
//!     let mut client = TcpStream::connect(address.to_string())?;
//!     client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
//!     std::io::read_to_string(client)
//! });
//! while !client.is_finished() {
//!     // Serves what there is, and waits for more, 10 ms at most. Then this thread is yours again.
//!     executor.turn(Some(Duration::from_millis(10)))?;
//! }
//! assert!(client.join().unwrap()?.ends_with("\r\n\r\nhello\n"));
//! let report = executor.block_on(site.drain(Duration::from_secs(1)));
//! assert_eq!(report.cut, 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//! A loop that waits for descriptors waits for
//! [`Executor::readiness_fd`](ringgate_runtime::executor::Executor::readiness_fd) instead, and until when a
//! [`Turn`](ringgate_runtime::executor::Turn) says. [`serve_connection`] serves any
//! [`ByteStream`](ringgate_runtime::net::ByteStream).
//!
//! # Adoption one route at a time
//! With the feature `tower` a service of that family, an axum `Router` say, mounts below any path
//! (`App::mount_service`), and a [`Site`] is itself such a service, so that an application also runs under hyper, on a
//! loop that is not ours (`Site::drive`). Module `tower` says what crosses that bridge and what does not.
//!
//! # Features of the crate
//! | feature | is on | what it brings |
//! |---|---|---|
//! | `json` | yes | `helpers::json`: bodies and answers of serde types |
//! | `form` | yes | `helpers::form`: queries and forms into serde types |
//! | `cookie` | yes | `helpers::cookie`: the `Cookie` and `Set-Cookie` fields |
//! | `tower` | no | the bridge above |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod blocking;
pub mod helpers;
#[cfg(feature = "tower")]
pub mod tower;
pub mod websocket;

mod app;
mod body;
mod config;
mod conn;
mod contain;
mod core;
mod counters;
mod dispatch;
mod drain;
mod error;
mod features;
mod gateway;
mod handler;
mod middleware;
mod pipe;
mod proxies;
mod request;
mod response;
mod shed;
mod site;
mod socket_file;
mod stream;

pub use crate::{
    app::{App, IntoMethods, IsHandler, IsMethods, Methods, any, delete, get, head, options, patch, post, put},
    body::Body,
    config::{Config, Limits, Timeouts},
    core::Core,
    counters::Metrics,
    drain::DrainReport,
    error::{BodyError, Disconnected},
    features::{Features, HintsForm, Protocol, PushForm, TrailersForm},
    gateway::{Gateway, RunningGateway},
    handler::{Handler, IntoHandler, IsAsync, IsBlocking, IsInline},
    middleware::{Middleware, Next},
    proxies::{TrustedProxies, TrustedProxiesError},
    request::Request,
    response::{IntoResponse, InvalidField, Response},
    site::{Site, serve_connection},
    stream::{BodySender, Chunk},
};

/// What the gateway is configured with, from below: where to listen, on which cores, with which driver.
pub use ringgate_runtime::{driver::DriverChoice, net::Address, sys::placement::Placement};

/// The executors below, for whoever makes their own: a [`Site`] on a core that somebody else's loop drives.
pub use ringgate_runtime as runtime;

/// The code of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
