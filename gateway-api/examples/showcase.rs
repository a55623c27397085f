//! Everything at once, on one port: the example to learn from, and the server that the checks talk to.
//!
//! ```sh
//! cargo run --release --example showcase
//! cargo run --release --example showcase -- --listen 127.0.0.1:8080 --listen unix:/tmp/gate.sock --cores 0,1 --driver epoll
//! ```

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use ringgate::{
    Address, App, Body, BodyError, Chunk, Core, DriverChoice, Gateway, IntoHandler, Methods, Placement, Request,
    Response, blocking, get,
    helpers::{cookie::cookies, json::Json},
    websocket::{DeflateConfig, SocketError, WebSocket, WebSocketLimits, WebSocketRoute, websocket},
};
use std::{
    collections::BTreeMap,
    pin::Pin,
    process::ExitCode,
    task::{Context, Poll},
    time::Duration,
};

/// What a handler looks like says where it runs. This one runs on the core, at once.
fn hello(_: &Request) -> &'static str {
    "Hello, World!"
}

/// This one runs on the core too, and may wait.
async fn hello_async(_: Request) -> &'static str {
    "Hello, World!"
}

/// This one runs on a thread beside it, and may block.
fn hello_blocking(_: blocking::Request) -> &'static str {
    "Hello, World!"
}

async fn sleep(request: Request) -> String {
    let time = milliseconds(request.query_value("ms").as_deref());
    request.handle().sleep(time).await;
    format!("slept {time:?}\n")
}

fn sleep_blocking(request: blocking::Request) -> String {
    let time = milliseconds(request.query_value("ms").as_deref());
    std::thread::sleep(time);
    format!("slept {time:?}\n")
}

/// A minute at most: an example is no place to park connections.
fn milliseconds(text: Option<&str>) -> Duration {
    Duration::from_millis(text.and_then(|text| text.parse().ok()).unwrap_or(100).min(60_000))
}

/// What comes in goes out again, piece by piece, as it comes; neither is ever whole in memory.
async fn echo(request: Request) -> Response {
    let mut body = request.into_body();
    body.set_bytes_max(u64::MAX);
    let length = body.length();
    with_length(Response::stream(body), length)
}

/// The same, but the first 16 KiB are waited for: a short body that breaks off or turns out malformed is then answered
/// with what is wrong, and not with a response that breaks off too.
async fn echo_when_sure(request: Request) -> Result<Response, BodyError> {
    const BEGINNING_BYTES_MAX: usize = 16_384;
    let mut body = request.into_body();
    body.set_bytes_max(u64::MAX);
    let length = body.length();
    let mut beginning = Vec::new();
    while beginning.len() < BEGINNING_BYTES_MAX {
        match body.next().await {
            Some(piece) => beginning.extend_from_slice(&piece?),
            None => return Ok(Response::bytes(beginning)),
        }
    }
    let chunks = Resumed { beginning: Some(beginning.into()), rest: body };
    Ok(with_length(Response::stream(chunks), length))
}

fn with_length(response: Response, length: Option<u64>) -> Response {
    match length {
        Some(length) => response.length(length),
        None => response,
    }
}

/// The beginning of a body, which has been read already, and the rest of it.
struct Resumed {
    beginning: Option<Bytes>,
    rest: Body,
}

impl Stream for Resumed {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.beginning.take() {
            Some(beginning) => Poll::Ready(Some(Ok(beginning.into()))),
            None => self.rest.poll_piece(cx).map_ok(Chunk::from),
        }
    }
}

/// A stream that another task pushes.
async fn stream(request: Request) -> Response {
    let number = |key, otherwise| request.query_value(key).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (chunks, bytes) = (number("chunks", 10).min(1_000_000), number("bytes", 1024).min(1_048_576));
    let piece = Bytes::from(vec![b'.'; bytes]);
    let (mut sender, response) = Response::channel();
    let push = async move {
        for _ in 0..chunks {
            // An error means that nobody reads any more.
            if sender.send(piece.clone()).await.is_err() {
                return;
            }
        }
        sender.finish();
    };
    request.handle().spawn("stream", push).detach();
    response.content_type("text/plain")
}

static BIG: [u8; 16 << 20] = [b'x'; 16 << 20];

fn big(_: &Request) -> Response {
    Response::static_bytes(&BIG)
}

fn json(request: &Request) -> Json<BTreeMap<&'static str, String>> {
    Json(BTreeMap::from([
        ("message", "Hello, World!".to_owned()),
        ("path", request.path().to_owned()),
        ("protocol", request.protocol().to_string()),
    ]))
}

fn features(request: &Request) -> Json<BTreeMap<&'static str, serde_json::Value>> {
    let mut names: BTreeMap<_, _> = request.features().iter().map(|(name, on)| (name, on.into())).collect();
    names.insert("protocol", request.protocol().as_str().into());
    Json(names)
}

/// Tells the browser early what the page will need.
async fn hints(request: Request) -> String {
    let form = request.early_hints([HeaderValue::from_static("</style.css>; rel=preload; as=style")]);
    request.handle().sleep(Duration::from_millis(20)).await;
    format!("early hints: {form:?}\n")
}

async fn trailers(request: Request) -> Response {
    let (mut sender, response) = Response::channel();
    let push = async move {
        if sender.send("a body, and then trailers\n").await.is_ok() {
            let mut fields = HeaderMap::new();
            fields.insert("x-trailer", HeaderValue::from_static("behind the body"));
            let _ = sender.finish_with(fields).await;
        }
    };
    request.handle().spawn("trailers", push).detach();
    response.content_type("text/plain").header("trailer", "x-trailer")
}

/// A conversation is a function too: this one runs on the core.
async fn echo_socket(mut socket: WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.recv().await {
        let message = message?;
        socket.send(message).await?;
    }
    Ok(())
}

/// And this one on a thread.
fn echo_socket_blocking(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.recv() {
        socket.send(message?)?;
    }
    Ok(())
}

/// Test suites send large messages, and such that a bomb could not be told from them.
fn roomy(route: WebSocketRoute) -> WebSocketRoute {
    let limits = WebSocketLimits {
        message_bytes_max: 32 << 20,
        inflate_ratio_max: 2_000,
        fragment_count_max: 1 << 20,
        ..WebSocketLimits::default()
    };
    route.deflate(DeflateConfig::default()).limits(limits)
}

/// A room: what one says, all hear, whichever core they are on.
async fn chat(socket: WebSocket) {
    let room = socket.core().topic("chat");
    let _place = room.subscribe(&socket);
    let (_sender, mut receiver) = socket.split();
    while let Some(Ok(message)) = receiver.recv().await {
        room.publish(message).await;
    }
}

fn chat_page(_: &Request) -> Response {
    Response::html(CHAT_PAGE)
}

const CHAT_PAGE: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
    <title>Chat</title><style>body{font:16px/1.5 system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem;color:#223}\
    #log{border:1px solid #ccd;border-radius:6px;height:20rem;overflow:auto;padding:.5rem 1rem}\
    #log b{color:#25c;font-weight:600}#log .own b{color:#080}\
    form{display:flex;gap:.5rem;margin-top:1rem}input{flex:1}\
    input,button{font:inherit;padding:.4rem .8rem;border:1px solid #ccd;border-radius:6px}button{background:#eef}\
    #state{color:#888}</style><h1>Chat</h1><p id=state>connecting...</p><div id=log></div>\
    <form id=say><input id=text autocomplete=off placeholder='say something'><button>Send</button></form><script>\
    const socket = new WebSocket(location.href.replace(/^http/, 'ws'));\
    const state = document.getElementById('state'), log = document.getElementById('log');\
    const text = document.getElementById('text'), name = 'guest ' + Math.floor(Math.random() * 1000);\
    socket.onopen = () => { state.textContent = 'you are ' + name; };\
    socket.onclose = event => { state.textContent = 'closed: ' + event.code; };\
    socket.onmessage = event => {\
    const line = document.createElement('div'), who = document.createElement('b');\
    const [, from, said] = event.data.match(/^([^:]*): (.*)$/s) || [, 'somebody', event.data];\
    who.textContent = from; line.className = from === name ? 'own' : '';\
    line.append(who, ': ' + said); log.append(line); log.scrollTop = log.scrollHeight; };\
    document.getElementById('say').onsubmit = event => {\
    event.preventDefault(); if (text.value) socket.send(name + ': ' + text.value); text.value = ''; };\
    </script></html>\n";

fn panic(_: &Request) -> Response {
    panic!("a handler that panics costs nobody else anything")
}

fn received_fields(request: &Request) -> String {
    let line = |(name, value)| format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    request.fields().map(line).collect()
}

fn cookie(request: &Request) -> String {
    cookies(request).map(|(name, value)| format!("{name}={value}\n")).collect()
}

fn metrics(request: &Request) -> Response {
    Response::bytes(request.core().metrics().render()).content_type("text/plain; version=0.0.4")
}

fn page(request: &Request) -> Response {
    let feature = |(name, on): (&str, bool)| format!("<li class={on}>{name}</li>");
    let features: String = request.features().iter().map(feature).collect();
    let link = |path: &str| format!("<li><a href=\"{path}\">{path}</a></li>");
    let links: String = LINKS.iter().map(|path| link(path)).collect();
    let (protocol, core) = (request.protocol(), request.core().index());
    Response::html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Ringgate</title><style>\
         body{{font:16px/1.5 system-ui;max-width:44rem;margin:3rem auto;padding:0 1rem;color:#223}}\
         h1{{font-weight:600}}ul{{columns:3;padding-left:1.2rem}}.true{{color:#080}}.false{{color:#999}}\
         code{{background:#eef;padding:0 .3em;border-radius:3px}}a{{color:#25c}}</style>\
         <h1>Ringgate</h1><p>This page came over <code>{protocol}</code> from core {core}.\
         <h2>Features of this request</h2><ul>{features}</ul><h2>To try</h2><ul>{links}</ul>\
         <p>Any other path answers too, and <code>POST</code> anywhere is an echo.</html>\n"
    ))
}

const LINKS: &[&str] = &[
    "/hello",
    "/hello-async",
    "/hello-blocking",
    "/sleep?ms=200",
    "/sleep-blocking?ms=200",
    "/stream?chunks=20&bytes=64",
    "/big",
    "/json",
    "/features",
    "/hints",
    "/trailers",
    "/panic",
    "/echo",
    "/cookie",
    "/metrics",
    "/chat",
];

/// GET is the handler's, POST is an echo.
fn shown<Marker>(handler: impl IntoHandler<Marker>) -> Methods {
    get(handler).post(echo)
}

/// Runs once on every core; what it makes stays there.
fn application(_: &Core) -> App {
    App::new()
        .route("/", get(roomy(websocket(echo_socket)).otherwise(page)).post(echo_when_sure))
        .route("/hello", shown(hello))
        .route("/hello-async", shown(hello_async))
        .route("/hello-blocking", shown(hello_blocking))
        .route("/sleep", shown(sleep))
        .route("/sleep-blocking", shown(sleep_blocking))
        .route("/stream", shown(stream))
        .route("/big", shown(big))
        .route("/json", shown(json))
        .route("/features", shown(features))
        .route("/hints", shown(hints))
        .route("/trailers", shown(trailers))
        .route("/panic", shown(panic))
        .route("/echo", shown(received_fields))
        .route("/cookie", shown(cookie))
        .route("/metrics", shown(metrics))
        .route("/ws", get(roomy(websocket(echo_socket))).post(echo))
        .route("/ws-blocking", get(roomy(websocket(echo_socket_blocking))).post(echo))
        .route("/chat", shown(websocket(chat).deflate(DeflateConfig::default()).otherwise(chat_page)))
        .fallback(shown(|request: &Request| (StatusCode::OK, format!("this is {}\n", request.path()))))
}

const USAGE: &str = "\
Usage: showcase [FLAG VALUE]...
  --listen ADDRESS   where to serve: IP:PORT, [IPv6]:PORT or unix:PATH; may be repeated  [127.0.0.1:8080]
  --cores LIST       the CPUs to run on: 0,1,2                                           [one of each physical core]
  --driver NAME      auto, io_uring or epoll                                             [auto]
  --help             this";

/// What the command line asks for; `None` if it asks for help.
fn configured() -> Result<Option<Gateway>, String> {
    let mut gateway = Gateway::builder(application);
    let mut listens = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        if matches!(flag.as_str(), "--help" | "-h") {
            return Ok(None);
        }
        if !matches!(flag.as_str(), "--listen" | "--cores" | "--driver") {
            return Err(format!("unknown flag {flag}\n{USAGE}"));
        }
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        gateway = match flag.as_str() {
            "--listen" => {
                listens = true;
                gateway.listen(value.parse().map_err(|error| format!("--listen: {error}"))?)
            }
            "--cores" => {
                let cores: Result<_, _> = value.split(',').map(str::parse).collect();
                gateway.cores(Placement::Cores(cores.map_err(|_| "--cores takes a list: 0,1,2".to_owned())?))
            }
            _ => gateway.driver(match value.as_str() {
                "auto" => DriverChoice::Auto,
                "io_uring" => DriverChoice::IoUring,
                "epoll" => DriverChoice::Epoll,
                _ => return Err("--driver takes auto, io_uring or epoll".to_owned()),
            }),
        };
    }
    if !listens {
        gateway = gateway.listen(Address::Tcp(([127, 0, 0, 1], 8080).into()));
    }
    Ok(Some(gateway))
}

fn serve() -> Result<(), String> {
    let Some(gateway) = configured()? else {
        println!("{USAGE}");
        return Ok(());
    };
    let running = gateway.start().map_err(|error| error.to_string())?;
    for address in running.addresses() {
        match address {
            Address::Tcp(address) => println!("serving http://{address}/"),
            Address::Unix(path) => println!("serving unix:{}", path.display()),
        }
    }
    for report in running.driver_reports().iter().take(1) {
        eprintln!("{}", report.line);
    }
    let report = running.wait().map_err(|error| error.to_string())?;
    eprintln!("drained {} connections in {:?}, {} cut", report.open, report.took, report.cut);
    Ok(())
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
