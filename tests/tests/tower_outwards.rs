//! An application under hyper: the same handlers, whoever speaks HTTP. Over HTTP/1.1 and HTTP/2, with the executor on a
//! loop of tokio, on both drivers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ringgate::{
    App, BodyError, Config, Core, HintsForm, PushForm, Request, Response, Site, TrailersForm, blocking, get, post,
    tower::Origin, websocket::WebSocket,
};
use ringgate_runtime::{
    driver::DriverChoice,
    executor::{Executor, ExecutorConfig},
    net::Address,
};
use ringgate_tests::gateway::{Asked, Client, Http2, Talk, Wire, http2::code, server::drivers};
use std::{
    future::{Future, pending},
    io::{self, Read},
    net::{SocketAddr, TcpStream as Socket},
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::{
    io::unix::AsyncFd,
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{LocalSet, spawn_local},
};

async fn drive(site: Site, executor: Executor) -> io::Result<()> {
    #[allow(deprecated, reason = "what replaces it is unsafe; with a descriptor that it owns this one is sound")]
    let ready = AsyncFd::new(executor.readiness()?)?;
    site.drive(executor, async |time: Option<Duration>| {
        let readable = async {
            if let Ok(mut guard) = ready.readable().await {
                guard.clear_ready();
            }
        };
        let _ = tokio::time::timeout(time.unwrap_or(Duration::MAX), readable).await;
    })
    .await
}

#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

async fn serve(site: Site, stream: TcpStream) {
    let origin = Origin::of(stream.peer_addr().ok().map(Into::into), stream.local_addr().ok().map(Into::into));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(origin.clone());
        TowerToHyperService::new(site.clone()).call(request)
    });
    let mut start = [0; 3];
    while stream.peek(&mut start).await.is_ok_and(|count| (1..3).contains(&count)) {
        tokio::task::yield_now().await;
    }
    // What is wrong with a connection, the client notices.
    let _ = if start == *b"PRI" {
        http2::Builder::new(Local).timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await
    } else {
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await
    };
}

/// An application under hyper, on a thread of tokio's.
struct Host {
    address: SocketAddr,
    /// Where the site listens itself, with the same executor.
    own: SocketAddr,
    counters: std::sync::Arc<ringgate_runtime::executor::Counters>,
    metrics: ringgate::Metrics,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    fn start(driver: DriverChoice, app: fn(&Core) -> App, config: Config) -> Self {
        let (told, asked) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&tokio, async move {
                let executor = Executor::new(ExecutorConfig { driver, ..ExecutorConfig::default() }).unwrap();
                let site = Site::new(&executor.handle(), config, app);
                let own = site.listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
                let Address::Tcp(own) = own else { panic!("a TCP address") };
                let counters = site.core().handle().counters();
                let driving = spawn_local(drive(site.clone(), executor));
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let metrics = site.core().metrics().clone();
                told.send((listener.local_addr().unwrap(), own, counters, metrics)).unwrap();
                let accept = async move {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        stream.set_nodelay(true).unwrap();
                        spawn_local(serve(site.clone(), stream));
                    }
                };
                let accepting = spawn_local(accept);
                let _ = stopped.await;
                accepting.abort();
                assert!(!driving.is_finished(), "the executor goes on to the end");
            });
        });
        let (address, own, counters, metrics) = asked.recv().expect("the host starts");
        Self { address, own, counters, metrics, stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self, address: SocketAddr) -> Socket {
        let socket = Socket::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    fn http1(&self) -> Client<Socket> {
        Client::new(self.socket(self.address))
    }

    fn http2(&self) -> Http2<Socket> {
        Http2::new(self.socket(self.address))
    }

    fn tongues(&self) -> [(&'static str, Box<dyn Talk>); 2] {
        [("HTTP/1.1", Box::new(self.http1())), ("HTTP/2", Box::new(self.http2()))]
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("a thread").expect("the host has not panicked");
        }
    }
}

fn under_hyper_with(app: fn(&Core) -> App, configure: impl Fn(&mut Config), test: impl Fn(&Host)) {
    for driver in drivers() {
        eprintln!("on {driver:?}");
        let mut config = Config::default();
        configure(&mut config);
        test(&Host::start(driver, app, config));
    }
}

fn under_hyper(app: fn(&Core) -> App, test: impl Fn(&Host)) {
    under_hyper_with(app, |_| {}, test);
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} has not come in ten seconds");
        thread::sleep(Duration::from_millis(2));
    }
}

fn app(_: &Core) -> App {
    App::new()
        .state(42_u32)
        .route("/inline/{name}", |request: &Request| {
            let state: Rc<u32> = request.state();
            format!("{} {state} {:?}", request.param("name").unwrap(), request.query_value("q"))
        })
        .route("/sleep", async |request: Request| {
            let begun = Instant::now();
            request.handle().sleep(Duration::from_millis(50)).await;
            begun.elapsed().as_millis().to_string()
        })
        .route("/spawned", async |request: Request| {
            let handle = request.handle().clone();
            let task = request.handle().spawn("sleeper", async move {
                let begun = Instant::now();
                handle.sleep(Duration::from_millis(50)).await;
                begun.elapsed().as_millis().to_string()
            });
            task.await.unwrap()
        })
        .route("/blocking", post(count_blocking))
        .route("/echo", post(echo))
        .route("/echo-blocking", post(echo_blocking))
        .route("/collect", post(collect))
        .route("/trailers", post(trailers))
        .route("/pushed-trailers", get(pushed_trailers))
        .route("/features", |request: &Request| {
            let features = request.features();
            let on = features.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name);
            on.collect::<Vec<_>>().join(" ")
        })
        .route("/hints", hints)
        .route("/panic", |_: &Request| -> &'static str { panic!("as it was told") })
        .route("/broken", broken)
        .route("/length", wrong_length)
        .route("/who", |request: &Request| {
            let local = request.local_address().unwrap();
            format!("{} {local} {}", request.peer_address().unwrap(), request.authority())
        })
        .route("/big", get(|_: &Request| vec![7_u8; 1_000_000]))
        .route(
            "/writer",
            get(|_: &Request| Response::writer(|out| (0..1000).try_for_each(|line| writeln!(out, "{line}")))),
        )
        .route("/empty-claimed", get(|_: &Request| Response::default().header("content-length", "5")))
        .route("/client", client)
        .route("/ws", async |mut socket: WebSocket| drop(socket.recv().await))
}

fn count_blocking(mut request: blocking::Request) -> io::Result<String> {
    let mut bytes = Vec::new();
    request.body_mut().read_to_end(&mut bytes)?;
    let trailers = request.body_mut().trailers().map_or(0, |trailers| trailers.len());
    Ok(format!("{} {trailers}", bytes.len()))
}

async fn echo(mut request: Request) -> Response {
    request.body_mut().set_bytes_max(u64::MAX);
    Response::stream(request.into_body())
}

fn echo_blocking(mut request: blocking::Request) -> Response {
    request.body_mut().set_bytes_max(u64::MAX);
    let mut body = request.into_body();
    Response::writer(move |out| io::copy(&mut body, out).map(|_| ()))
}

async fn collect(mut request: Request) -> Result<Bytes, BodyError> {
    request.body_mut().collect().await
}

async fn trailers(mut request: Request) -> Response {
    let body = request.body_mut().collect().await.unwrap();
    let fields = request.body_mut().trailers().unwrap_or_default();
    let (mut sender, response) = Response::channel();
    sender.send(body).await.unwrap();
    sender.finish();
    response.trailers(fields)
}

/// Which form they took is told by the next request.
static FORM: Mutex<Option<TrailersForm>> = Mutex::new(None);

async fn pushed_trailers(request: Request) -> Response {
    let (mut sender, response) = Response::channel();
    let is_announced = request.query() == Some("announced");
    let push = async move {
        sender.send("body").await.unwrap();
        let form = sender.finish_with(HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("4"))])).await;
        *FORM.lock().unwrap() = form.ok();
    };
    request.handle().spawn("push", push).detach();
    if is_announced { response.header("trailer", "etag") } else { response }
}

fn hints(request: &Request) -> String {
    let hints = request.early_hints([HeaderValue::from_static("</a.css>; rel=preload")]);
    let push = request.push("/b.css");
    assert_eq!((hints, push), (HintsForm::LinkField, PushForm::Hinted(HintsForm::LinkField)));
    "hinted".to_owned()
}

async fn broken(_: Request) -> Response {
    let (mut sender, response) = Response::channel();
    sender.send("half").await.unwrap();
    drop(sender);
    response
}

async fn wrong_length(request: Request) -> Response {
    let (mut sender, response) = Response::channel();
    sender.send("12345678").await.unwrap();
    sender.finish();
    response.length(request.query_value("length").unwrap().parse().unwrap())
}

/// A socket of the executor's, from within a handler that hyper polls.
async fn client(request: Request) -> io::Result<String> {
    let address = request.query_value("at").unwrap().parse::<Address>().unwrap();
    let mut stream = request.handle().connect(&address).await?;
    let ask = b"GET /inline/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec();
    stream.send(ringgate_runtime::buffer::SendBuf::from_vec(ask)).await?;
    let heard = stream.recv().await?;
    Ok(String::from_utf8_lossy(&heard).lines().next().unwrap_or_default().to_owned())
}

#[test]
fn handlers_of_every_kind_run_as_they_are() {
    under_hyper(app, |host| {
        for (name, mut client) in host.tongues() {
            assert_eq!(client.get("/inline/a%20b?q=1+2").text(), r#"a b 42 Some("1 2")"#, "{name}");
            assert_eq!(client.post("/blocking", &[1; 100_000]).text(), "100000 0", "{name}");
            assert_eq!(client.get("/none").status, 404);
            let answer = client.get("/blocking");
            assert_eq!((answer.status, answer.field("allow")), (405, Some("POST, OPTIONS")));
            let answer = client.ask("HEAD /big HTTP/1.1");
            assert_eq!((answer.status, answer.field("content-length"), answer.body.len()), (200, Some("1000000"), 0));
            let answer = client.ask("HEAD /empty-claimed HTTP/1.1");
            assert_eq!((answer.status, answer.field("content-length")), (200, Some("5")), "{name}");
            let answer = client.get("/empty-claimed");
            assert_eq!((answer.status, answer.field("content-length")), (200, Some("0")), "{name}");
            assert_eq!(client.get("/big").body.len(), 1_000_000, "{name}");
            assert_eq!(client.get("/writer").text().lines().count(), 1000, "{name}");
            let answer = client.get("/inline/x");
            assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
            assert!(answer.field("date").is_some(), "hyper's");
            assert_eq!(client.get(&format!("/client?at={}", host.own)).text(), "HTTP/1.1 200 OK", "{name}");
        }
        assert_eq!(Client::new(host.socket(host.own)).get("/inline/x").text(), "x 42 None", "and by its own door");
        let mut client = host.http1();
        let (here, there) = (client.wire.local_addr().unwrap(), client.wire.peer_addr().unwrap());
        assert_eq!(client.get("/who").text(), format!("{here} {there} test"));
    });
}

#[test]
fn time_goes_on_between_turns_and_the_loop_sleeps() {
    under_hyper(app, |host| {
        for (name, mut client) in host.tongues() {
            for target in ["/sleep", "/spawned"] {
                // Long enough for a clock that was not looked at to swallow the sleep.
                thread::sleep(Duration::from_millis(120));
                let slept: u64 = client.get(target).text().parse().unwrap();
                assert!((49..5000).contains(&slept), "{name} {target}: {slept} ms");
            }
        }
        thread::sleep(Duration::from_millis(50));
        let turns = || host.counters.snapshot().into_iter().find(|(name, _)| *name == "turns").expect("turns").1;
        let before = turns();
        thread::sleep(Duration::from_millis(300));
        assert!(turns() - before < 10, "{} turns while idle", turns() - before);
    });
}

#[test]
fn sites_of_one_executor_share_its_turns() {
    for driver in drivers() {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&tokio, async {
            let executor = Executor::new(ExecutorConfig { driver, ..ExecutorConfig::default() }).unwrap();
            let sites = [(); 2].map(|()| Site::new(&executor.handle(), Config::default(), app));
            // One of them drives, the other asks for turns as well.
            spawn_local(drive(sites[0].clone(), executor));
            for _ in 0..3 {
                for mut site in sites.clone() {
                    // Until the loop sleeps.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let request = http::Request::get("/spawned").body(http_body_util::Empty::<Bytes>::new()).unwrap();
                    let answer =
                        tokio::time::timeout(Duration::from_secs(10), tower_service::Service::call(&mut site, request));
                    let answer = answer.await.expect("a turn for its timer").unwrap();
                    assert_eq!(answer.status(), 200);
                }
            }
        });
    }
}

#[test]
fn bodies_stream_both_ways() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    under_hyper(app, |host| {
        for (name, mut client) in host.tongues() {
            for target in ["/echo", "/echo-blocking"] {
                assert!(client.post(target, &body).body == body, "{name} {target}");
                assert!(client.post_streamed(target, &body).body == body, "{name} {target}");
                assert_eq!(client.post(target, b"").body, b"");
            }
            let answer = client.post("/collect", &body);
            assert_eq!(answer.status, 413, "{name}: the limit holds");
        }
        // An invitation is hyper's to send, when the handler reads.
        let mut client = host.http1();
        let head = "POST /collect HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
        client.wire.say(head.as_bytes());
        assert_eq!(client.answer(false).status, 100);
        client.wire.say(b"abc");
        assert_eq!(client.answer(false).text(), "abc");
    });
}

#[test]
fn trailers_go_where_they_can() {
    under_hyper(app, |host| {
        for (name, mut client) in host.tongues() {
            let asked = Asked {
                head: "POST /trailers HTTP/1.1\r\nte: trailers",
                body: Some(b"abc"),
                trailers: &[("x-sum", "6")],
                ..Asked::default()
            };
            let answer = client.exchange(&asked).1;
            assert_eq!(answer.text(), "abc");
            assert_eq!(answer.trailers, [("x-sum".to_owned(), "6".to_owned())], "{name}");
            let head = "POST /blocking HTTP/1.1\r\nte: trailers";
            assert_eq!(client.exchange(&Asked { head, ..asked }).1.text(), "3 1", "{name}");
        }
        // (protocol, asked for, announced) → what became of those that are pushed.
        let cases = [
            ("HTTP/1.1", false, true, TrailersForm::Dropped),
            ("HTTP/1.1", true, false, TrailersForm::Dropped),
            ("HTTP/1.1", true, true, TrailersForm::Sent),
            ("HTTP/2", false, false, TrailersForm::Sent),
        ];
        for (name, is_asked, is_announced, form) in cases {
            let [(_, http1), (_, http2)] = host.tongues();
            let mut client = if name == "HTTP/2" { http2 } else { http1 };
            let te = if is_asked { "\r\nte: trailers" } else { "" };
            let query = if is_announced { "?announced" } else { "" };
            let answer = client.ask(&format!("GET /pushed-trailers{query} HTTP/1.1{te}"));
            assert_eq!(answer.text(), "body");
            assert_eq!(answer.trailers.len(), usize::from(form == TrailersForm::Sent), "{name} {te} {query}");
            until("the form", || FORM.lock().unwrap().take() == Some(form));
        }
    });
}

#[test]
fn features_are_what_hyper_can_carry() {
    under_hyper(app, |host| {
        let mut http1 = host.http1();
        assert_eq!(http1.get("/features").text(), "streaming keep_alive");
        let asked = "GET /features HTTP/1.1\r\nte: trailers";
        assert_eq!(http1.ask(asked).text(), "trailers streaming keep_alive");
        assert_eq!(http1.post("/features", b"body").text(), "streaming full_duplex keep_alive");
        assert_eq!(host.http2().get("/features").text(), "trailers streaming keep_alive multiplexed");
        for (_, mut client) in host.tongues() {
            let (interim, answer) = client.exchange(&Asked { head: "GET /hints HTTP/1.1", ..Asked::default() });
            assert_eq!((interim.len(), answer.text()), (0, "hinted"));
            let links: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "link").collect();
            assert_eq!(links.len(), 2, "{links:?}");
        }
    });
}

#[test]
fn what_goes_wrong_is_told() {
    under_hyper(app, |host| {
        for (name, mut client) in host.tongues() {
            assert_eq!(client.get("/panic").status, 500, "{name}");
            assert_eq!(client.get("/length?length=8").text(), "12345678");
        }
        assert_eq!(host.metrics.get("handler_panics"), Some(2));
        for target in ["/broken", "/length?length=9", "/length?length=7"] {
            let mut client = host.http1();
            client.begin(target);
            let text = String::from_utf8(client.rest()).unwrap();
            assert!(!text.ends_with("0\r\n\r\n"), "{target}: {text}");
            assert!(!text.ends_with("12345678") || target.ends_with('9'), "{target}: {text}");
            let mut client = host.http2();
            let id = client.begin(target);
            assert!(client.finish(id).reset.is_some(), "{target}");
            assert_eq!(client.get("/inline/x").status, 200, "only the stream: {target}");
        }
    });
}

#[test]
fn a_websocket_is_refused_and_does_not_hang() {
    under_hyper(app, |host| {
        let mut client = host.http1();
        let handshake = "GET /ws HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        let answer = client.ask(handshake);
        assert_eq!((answer.status, answer.text()), (501, "WebSockets cannot be opened by way of this host\n"));
        assert_eq!(answer.field("upgrade"), None);
        assert_eq!(client.get("/ws").status, 426, "who asks for none is told as ever");
        assert_eq!(client.get("/inline/x").status, 200);
        assert_eq!(client.ask(&handshake.replace("/ws", "/inline/x")).status, 200, "no offer, no harm");
    });
}

static BEGUN: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

fn patient(_: &Core) -> App {
    App::new()
        .route("/hold", async |request: Request| {
            let _guard = Guard;
            BEGUN.fetch_add(1, Ordering::SeqCst);
            let _unread = request;
            pending::<()>().await;
        })
        .route("/hold-blocking", |request: blocking::Request| {
            let _guard = Guard;
            BEGUN.fetch_add(1, Ordering::SeqCst);
            while !request.is_disconnected() {
                thread::sleep(Duration::from_millis(1));
            }
        })
}

/// One test, for the counts are the program's.
#[test]
fn a_client_that_leaves_drops_the_handler_and_time_runs_out() {
    under_hyper(patient, |host| {
        for target in ["/hold", "/hold-blocking"] {
            let (begun, dropped) = (BEGUN.load(Ordering::SeqCst), DROPPED.load(Ordering::SeqCst));
            let mut client = host.http1();
            client.begin(target);
            until("the handler", || BEGUN.load(Ordering::SeqCst) == begun + 1);
            assert_eq!(DROPPED.load(Ordering::SeqCst), dropped);
            drop(client);
            until("its end", || DROPPED.load(Ordering::SeqCst) == dropped + 1);
            let mut client = host.http2();
            let id = client.begin(target);
            client.round_trip();
            until("the handler", || BEGUN.load(Ordering::SeqCst) == begun + 2);
            client.reset(id, code::CANCEL);
            until("its end", || DROPPED.load(Ordering::SeqCst) == dropped + 2);
            // What the handler does not read, the client may not send.
            let id = client.open(&format!("POST {target} HTTP/2"), false);
            client.round_trip();
            let window = client.window(id);
            client.send(id, &vec![0; window as usize], false);
            client.round_trip();
            assert!(client.window(id) <= 0, "{window} bytes were sent");
            // A thread that has not begun would not begin any more.
            until("the handler", || BEGUN.load(Ordering::SeqCst) == begun + 3);
            drop(client);
            until("its end", || DROPPED.load(Ordering::SeqCst) == dropped + 3);
        }
    });
    under_hyper_with(
        patient,
        |config| config.timeouts.request_timeout_ms = 50,
        |host| {
            for (name, mut client) in host.tongues() {
                let dropped = DROPPED.load(Ordering::SeqCst);
                assert_eq!(client.get("/hold").status, StatusCode::SERVICE_UNAVAILABLE, "{name}");
                assert_eq!(DROPPED.load(Ordering::SeqCst), dropped + 1);
            }
        },
    );
}
