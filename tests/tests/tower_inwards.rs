//! Services of the `tower` family below a prefix: an axum `Router` beside native routes, over both protocols.

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Request as AxumRequest},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use ringgate::{
    App, Core, Middleware, Request,
    tower::{self, Origin, RequestBody},
};
use ringgate_tests::gateway::{
    Asked, Client, Talk, Wire, http2::code, on_every_driver, on_every_driver_with, on_every_kernel_driver,
};
use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

/// The old application.
fn legacy() -> Router {
    Router::new()
        .route("/", get(|| async { "root" }))
        .route("/user/{name}", get(|Path(name): Path<String>| async move { format!("user {name}") }))
        .route("/hot", get(|| async { "old" }))
        .route("/count", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/echo", post(|body: Body| async { body }))
        .route("/who", get(who))
        .route("/trailers", post(trailers))
        .route("/panic", get(panics))
        .route("/broken", get(|| async { Body::new(Broken { pieces: 1 }) }))
        .route("/broken-at-once", get(|| async { Body::new(Broken { pieces: 0 }) }))
        .route("/short", get(|| async { ([(header::CONTENT_LENGTH, "10")], "12345") }))
        .route("/switch", get(|| async { StatusCode::SWITCHING_PROTOCOLS }))
        .route("/framed", get(|| async { ([(header::TRANSFER_ENCODING, "chunked"), (header::VIA, "x")], "said") }))
        .route("/close", get(|| async { ([(header::CONNECTION, "close")], "the end") }))
        .route("/nothing", get(|| async { StatusCode::NO_CONTENT }))
        .layer(middleware::from_fn(stamped))
}

/// A middleware of the old application.
async fn stamped(request: AxumRequest, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-saw", HeaderValue::from_str(&path).unwrap());
    response
}

async fn who(Extension(origin): Extension<Origin>, request: AxumRequest) -> String {
    let key = origin.value::<Key>().map_or(0, |key| key.0);
    format!("{} {} {} {:?} {key}", request.uri(), origin.uri().path(), origin.protocol(), origin.route())
}

async fn panics() {
    panic!("as it was told");
}

async fn trailers(body: Body) -> impl IntoResponse {
    let collected = body.collect().await.unwrap();
    let mut trailers = collected.trailers().cloned().unwrap_or_default();
    let bytes = collected.to_bytes();
    trailers.insert("x-length", HeaderValue::from(bytes.len()));
    Body::new(WithTrailers { data: Some(bytes), trailers: Some(trailers) })
}

/// Data, then trailers.
struct WithTrailers {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for WithTrailers {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }
}

/// Some pieces, then an error.
struct Broken {
    pieces: u32,
}

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.pieces == 0 {
            return Poll::Ready(Some(Err(io::Error::other("broken"))));
        }
        self.pieces -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"half")))))
    }
}

#[derive(Clone, Copy)]
struct Key(u32);

struct SetKey;

impl Middleware for SetKey {
    fn before(&self, request: &Request) -> Option<ringgate::Response> {
        request.set_value(Key(7));
        None
    }
}

fn app(_: &Core) -> App {
    App::new()
        .mount_service("/legacy", tower::handler(legacy()).body_bytes_max(u64::MAX))
        .mount_service("/t/{tenant}", tower::handler(legacy()))
        .route("/legacy/hot", |_: &Request| "new")
        .route("/native", |_: &Request| "native")
        .wrap(SetKey)
}

#[test]
fn a_router_lives_beside_native_routes() {
    on_every_driver(app, |server| {
        for (name, mut client) in server.tongues() {
            let cases = [
                ("/native", 200, "native"),
                ("/legacy", 200, "root"),
                ("/legacy/", 200, "root"),
                ("/legacy?x=1", 200, "root"),
                ("/legacy/user/a%20b", 200, "user a b"),
                ("/t/acme/user/bob", 200, "user bob"),
                ("/legacy/hot", 200, "new"),
                ("/t/acme/hot", 200, "old"),
                ("/legacy/none", 404, ""),
                ("/none", 404, "not found\n"),
                ("/legacyx", 404, "not found\n"),
            ];
            for (target, status, text) in cases {
                let answer = client.get(target);
                assert_eq!((answer.status, answer.text()), (status, text), "{name} {target}");
            }
            // 404 and 405 within the prefix are the router's, and so is its middleware.
            assert_eq!(client.get("/legacy/none").field("x-saw"), Some("/none"));
            assert_eq!(client.get("/legacy/user/eve?x").field("x-saw"), Some("/user/eve"));
            assert_eq!(client.get("/native").field("x-saw"), None);
            let answer = client.ask("DELETE /legacy/who HTTP/1.1");
            assert_eq!((answer.status, answer.field("allow")), (405, Some("GET,HEAD")));
            let answer = client.ask("HEAD /legacy/user/eve HTTP/1.1");
            assert_eq!((answer.status, answer.field("content-length")), (200, Some("8")), "{name}");
            let answer = client.get("/legacy/nothing");
            assert_eq!((answer.status, answer.field("content-length")), (204, None));
            let answer = client.get("/legacy/user/eve");
            assert_eq!(answer.field("content-length"), Some("8"), "a whole body goes out whole");
            assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.fields.iter().filter(|(name, _)| name == "server" || name == "date").count(), 2);
        }
    });
}

#[test]
fn a_service_learns_where_a_request_came_from() {
    on_every_driver(app, |server| {
        let [(_, mut http1), (_, mut http2)] = server.tongues();
        let route = r#"Some("/legacy/{*_below}")"#;
        assert_eq!(http1.get("/legacy/who?a=b").text(), format!("/who?a=b /legacy/who HTTP/1.1 {route} 7"));
        let expected = format!("http://test/who?a=b /legacy/who HTTP/2 {route} 7");
        assert_eq!(http2.get("/legacy/who?a=b").text(), expected, "as hyper has it");
    });
    on_every_kernel_driver(peers, |server| {
        let mut client = Client::new(server.socket());
        let peer = client.wire.local_addr().unwrap().to_string();
        let local = client.wire.peer_addr().unwrap().to_string();
        assert_eq!(client.get("/t/a%20b/x").text(), format!("{peer} {local} a b"));
    });
}

fn peers(_: &Core) -> App {
    async fn addresses(Extension(origin): Extension<Origin>) -> String {
        let (peer, local) = (origin.peer_address().unwrap(), origin.local_address().unwrap());
        format!("{peer} {local} {}", origin.param("tenant").unwrap())
    }
    App::new().mount_service("/t/{tenant}", tower::handler(Router::new().fallback(addresses)))
}

#[test]
fn bodies_stream_both_ways_with_their_trailers() {
    on_every_driver(app, |server| {
        let body: Vec<u8> = (0..server.scaled(3_000_000) as u32).map(|byte| (byte % 251) as u8).collect();
        for (name, mut client) in server.tongues() {
            assert!(client.post("/legacy/echo", &body).body == body, "{name}");
            assert!(client.post_streamed("/legacy/echo", &body).body == body, "{name}");
            assert_eq!(client.post("/legacy/echo", b"").body, b"");
            assert_eq!(client.post("/legacy/count", &body[..50_000]).text(), "50000");
            let asked = Asked {
                head: "POST /legacy/trailers HTTP/1.1\r\nte: trailers",
                body: Some(b"abc"),
                trailers: &[("x-sum", "6")],
                ..Asked::default()
            };
            let answer = client.exchange(&asked).1;
            assert_eq!(answer.body, b"abc");
            let trailers: Vec<_> = answer.trailers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            assert_eq!(trailers, [("x-sum", "6"), ("x-length", "3")], "{name}");
        }
        // Nobody has asked for trailers: they are dropped, the body is not.
        let answer = server.connect().post_streamed("/legacy/trailers", b"abc");
        assert_eq!((answer.text(), answer.trailers.len()), ("abc", 0));
    });
}

#[test]
fn a_body_is_invited_when_the_service_reads_it() {
    on_every_driver(app, |server| {
        let mut client = server.connect();
        let head = "POST /legacy/count HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
        client.wire.say(head.as_bytes());
        assert_eq!(client.answer(false).status, 100);
        client.wire.say(b"abc");
        assert_eq!(client.answer(false).text(), "3");
        // Refused without a look at it.
        client.wire.say(head.replace("count", "none").as_bytes());
        assert_eq!(client.answer(false).status, 404);
    });
}

#[test]
fn the_gateways_limit_holds_for_a_service_too() {
    let configure = |config: &mut ringgate::Config| config.limits.body_bytes_max = 10;
    on_every_driver_with(app, configure, |server| {
        for (name, mut client) in server.tongues() {
            let answer = client.post("/t/a/count", b"12345678901");
            assert!(answer.status >= 400, "{name}: axum says 400 to a body that breaks off, not {}", answer.status);
            assert_eq!(server.connect().post("/legacy/count", b"12345678901").text(), "11", "lifted for this one");
        }
    });
}

#[test]
fn what_goes_wrong_before_the_head_is_a_500_and_after_it_a_cut() {
    on_every_driver(app, |server| {
        for (name, mut client) in server.tongues() {
            for target in ["/legacy/panic", "/legacy/broken-at-once", "/legacy/short", "/legacy/switch"] {
                let answer = client.get(target);
                assert_eq!((answer.status, answer.text()), (500, "internal error\n"), "{name} {target}");
            }
            assert_eq!(client.get("/legacy/hot").text(), "new", "and it costs nobody else anything");
        }
        assert_eq!(server.count("handler_panics"), 2);
        let mut client = server.connect();
        client.begin("/legacy/broken");
        let heard = String::from_utf8(client.rest()).unwrap();
        assert!(!heard.ends_with("0\r\n\r\n") && !heard.starts_with("HTTP/1.1 500"), "it does not look whole: {heard}");
        let mut client = server.connect_http2();
        let id = client.begin("/legacy/broken");
        assert_eq!(client.finish(id).reset, Some(code::INTERNAL_ERROR));
        assert_eq!(client.get("/native").text(), "native");
    });
}

#[test]
fn fields_of_the_connection_stay_with_the_gateway() {
    on_every_driver(app, |server| {
        for (_, mut client) in server.tongues() {
            let answer = client.get("/legacy/framed");
            assert_eq!(
                (answer.text(), answer.field("via"), answer.field("content-length")),
                ("said", Some("x"), Some("4"))
            );
            assert_eq!(answer.field("transfer-encoding"), None);
            assert_eq!(client.get("/native").text(), "native");
        }
        assert_eq!(server.connect_http2().get("/legacy/close").text(), "the end");
        let mut client = server.connect();
        assert_eq!(client.get("/legacy/close").field("connection"), Some("close"));
        assert!(client.is_over());
    });
}

/// Futures of services that wait, and those of them that are gone.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

fn patient(_: &Core) -> App {
    async fn hold(body: Body) -> &'static str {
        let _guard = Guard;
        BEGUN.fetch_add(1, Ordering::SeqCst);
        let _unread = body;
        pending().await
    }
    async fn endless() -> Body {
        let _ = BEGUN.fetch_add(1, Ordering::SeqCst);
        Body::new(Endless { _guard: Guard })
    }
    let router = Router::new().route("/hold", get(hold).post(hold)).route("/endless", get(endless));
    App::new().mount_service("/p", tower::handler(router).body_bytes_max(u64::MAX))
}

/// Bytes of an endless body that were asked for.
static GIVEN: AtomicU64 = AtomicU64::new(0);

struct Endless {
    _guard: Guard,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        GIVEN.fetch_add(10_000, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; 10_000])))))
    }
}

/// One test, for the counts are the program's.
#[test]
fn a_client_that_leaves_drops_the_service_and_one_that_is_slow_slows_it_down() {
    on_every_driver(patient, |server| {
        let (begun, dropped) = (|| BEGUN.load(Ordering::SeqCst), || DROPPED.load(Ordering::SeqCst));
        let (base, base_dropped) = (begun(), dropped());
        let mut client = server.connect();
        client.begin("/p/hold");
        server.until("the handler", || begun() == base + 1);
        assert_eq!(dropped(), base_dropped);
        drop(client);
        server.until("its end", || dropped() == base_dropped + 1);

        let mut client = server.connect_http2();
        let id = client.begin("/p/hold");
        client.round_trip();
        server.until("the handler", || begun() == base + 2);
        client.reset(id, code::CANCEL);
        client.round_trip();
        server.until("its end", || dropped() == base_dropped + 2);

        // What the service does not read, the client may not send.
        let id = client.open("POST /p/hold HTTP/2", false);
        client.round_trip();
        let window = client.window(id);
        client.send(id, &vec![0; window as usize], false);
        client.round_trip();
        assert_eq!(client.window(id), 0, "{window} bytes were sent");
        drop(client);
        server.until("its end", || dropped() == base_dropped + 3);

        // What the client does not read, the service is not asked for.
        let given = GIVEN.load(Ordering::SeqCst);
        let mut client = server.connect_http2();
        client.gives_windows = false;
        client.begin("/p/endless");
        for _ in 0..20 {
            client.round_trip();
        }
        let given = GIVEN.load(Ordering::SeqCst) - given;
        assert!((60_000..400_000).contains(&given), "{given} bytes for a window of 65,535");
        drop(client);
        server.until("its end", || dropped() == base_dropped + 4);
    });
}

/// Lets one request in at a time, and is not `Send`.
#[derive(Clone)]
struct Turnstile {
    inner: Rc<Inner>,
    holds: bool,
}

#[derive(Default)]
struct Inner {
    inside: Cell<u32>,
    most: Cell<u32>,
    waiting: RefCell<Vec<Waker>>,
}

impl tower_service::Service<http::Request<RequestBody>> for Turnstile {
    type Response = http::Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.inner.inside.get() > 0 {
            self.inner.waiting.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        self.holds = true;
        self.inner.inside.set(1);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        assert!(self.holds, "called without being ready");
        let inner = self.inner.clone();
        Box::pin(async move {
            inner.most.set(inner.most.get().max(inner.inside.get()));
            // Some turns, so that the others come meanwhile.
            let mut left = 20;
            poll_fn(|cx| {
                left -= 1;
                cx.waker().wake_by_ref();
                if left == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let most = inner.most.get();
            if request.uri().path() == "/fail" {
                return Err("as it was told");
            }
            Ok(http::Response::new(Full::from(most.to_string())))
        })
    }
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        if self.holds {
            self.inner.inside.set(0);
            self.inner.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

fn turnstile(_: &Core) -> App {
    App::new().fallback(tower::handler(Turnstile { inner: Rc::default(), holds: false }))
}

#[test]
fn a_service_that_is_not_send_is_asked_whether_it_is_ready() {
    on_every_driver(turnstile, |server| {
        let mut client = server.connect_http2();
        let ids: Vec<u32> = (0..8).map(|number| client.begin(&format!("/{number}"))).collect();
        for id in ids {
            assert_eq!(client.answer(id).text(), "1", "one at a time");
        }
        assert_eq!(client.get("/fail").status, 500);
        assert_eq!(client.get("/").text(), "1", "an error has given its place back");
    });
}

/// A runtime of tokio on a thread of its own, as long as the program runs.
static TOKIO: LazyLock<tokio::runtime::Handle> = LazyLock::new(|| {
    let (told, handle) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        told.send(runtime.handle().clone()).unwrap();
        runtime.block_on(pending::<()>());
    });
    handle.recv().unwrap()
});

/// In the drop of a handler's future: tokio must be there as well.
struct SpawnsWhenDropped;

impl Drop for SpawnsWhenDropped {
    fn drop(&mut self) {
        tokio::spawn(async { DROPPED_ON_TOKIO.fetch_add(1, Ordering::SeqCst) });
    }
}

static DROPPED_ON_TOKIO: AtomicU64 = AtomicU64::new(0);

fn on_tokio(_: &Core) -> App {
    async fn sleep() -> String {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let body = tokio::spawn(async { "spawned" }).await.unwrap();
        format!("slept and {body}")
    }
    async fn ticks() -> Body {
        Body::new(Ticks { left: 3, sleep: None })
    }
    async fn held() {
        let _guard = SpawnsWhenDropped;
        pending().await
    }
    /// The body goes to another thread and is read there.
    async fn elsewhere(body: Body) -> String {
        let count = tokio::spawn(async move { body.collect().await.unwrap().to_bytes().len() });
        count.await.unwrap().to_string()
    }
    let routes = || {
        Router::new()
            .route("/sleep", get(sleep))
            .route("/ticks", get(ticks))
            .route("/held", get(held))
            .route("/elsewhere", post(elsewhere))
    };
    let entered = tower::handler(routes()).body_bytes_max(u64::MAX).within(|poll| {
        let _entered = TOKIO.enter();
        poll();
    });
    App::new().mount_service("/in", entered).mount_service("/out", tower::handler(routes()))
}

/// A body that sleeps before each piece.
struct Ticks {
    left: u32,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl http_body::Body for Ticks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(2))));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.sleep = None;
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"tick ")))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[test]
fn a_service_that_needs_tokio_has_it_where_it_is_entered() {
    on_every_kernel_driver(on_tokio, |server| {
        for (name, mut client) in server.tongues() {
            assert_eq!(client.get("/in/sleep").text(), "slept and spawned", "{name}");
            assert_eq!(client.get("/in/ticks").text(), "tick tick tick ", "{name}");
            let body = vec![1; 500_000];
            assert_eq!(client.post_streamed("/in/elsewhere", &body).text(), "500000", "{name}");
            assert_eq!(client.get("/out/sleep").status, 500, "{name}: tokio panics where it is not entered");
        }
        let before = DROPPED_ON_TOKIO.load(Ordering::SeqCst);
        let mut client = server.connect_http2();
        let id = client.begin("/in/held");
        client.round_trip();
        client.reset(id, code::CANCEL);
        server.until("a task spawned in a drop", || DROPPED_ON_TOKIO.load(Ordering::SeqCst) == before + 1);
    });
}

/// A hook that forgets to poll.
fn forgetful(_: &Core) -> App {
    App::new().fallback(tower::handler(legacy()).within(|_| ()))
}

#[test]
fn a_hook_that_does_not_poll_is_a_500_and_no_hang() {
    on_every_driver(forgetful, |server| assert_eq!(server.connect().get("/").status, 500));
}
