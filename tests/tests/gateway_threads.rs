//! What a blocking handler can ask of its core: the same as an async one, where it makes sense on a thread.

use ringgate::{
    App, Core, HintsForm, Middleware, PushForm, Request, Response, blocking,
    websocket::{Topic, WebSocket},
};
use ringgate_runtime::{driver::DriverChoice, sys::placement::Placement};
use ringgate_tests::gateway::{
    Asked, Client, Talk, http2, http2::ENABLE_PUSH, on_every_driver, on_every_driver_with, start_gateway,
};
use std::{
    net::TcpStream,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What a middleware found out before, and the handler tells those behind it.
struct Name(&'static str);

struct Naming;

impl Middleware for Naming {
    fn before(&self, request: &Request) -> Option<Response> {
        request.set_value(Name("before"));
        None
    }

    fn after(&self, request: &Request, response: &mut Response) {
        let name = request.value::<Name>().map_or("nobody", |name| name.0);
        response.append(http::HeaderName::from_static("x-name"), http::HeaderValue::from_static(name));
    }
}

/// A request that its handler has kept, for threads of its own.
static KEPT: Mutex<Option<Sender<blocking::Request>>> = Mutex::new(None);

fn keep(request: blocking::Request) {
    if let Some(keeper) = KEPT.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = keeper.send(request);
    }
}

fn kept() -> Receiver<blocking::Request> {
    let (sender, receiver) = channel();
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    receiver
}

/// The handler that keeps one for long has begun.
static WAITING: AtomicBool = AtomicBool::new(false);

/// For tests that use what belongs to the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(mut socket: WebSocket) {
    let room: Topic = socket.core().topic("room");
    let _here = room.subscribe(&socket);
    let _ = socket.send("here").await;
    while let Some(Ok(_)) = socket.recv().await {}
}

fn app(_: &Core) -> App {
    App::new()
        .wrap(Naming)
        .route("/core", |request: blocking::Request| {
            let core = request.core();
            let again = std::ptr::eq(core, request.core());
            let answered = core.metrics().get("responses_2xx").is_some();
            let room = core.topic("room");
            let (heard, there) = (room.publish("news"), room.subscribers());
            format!("{} {} {again} {answered} {heard} {there}", core.index(), core.is_draining())
        })
        .route("/listen", listen)
        .route("/value", |request: blocking::Request| {
            let before = request.value::<Name>().map_or("nobody", |name| name.0);
            request.set_value(Name("handler"));
            let now = request.value::<Name>().map_or("nobody", |name| name.0);
            format!("{before} {now}")
        })
        .route("/push", |request: blocking::Request| {
            format!("{:?} {:?}", request.push("/pushed"), request.push("not a path"))
        })
        .route("/pushed", |_: &Request| "pushed")
        .route("/keep", |request: blocking::Request| {
            keep(request);
            "kept"
        })
        .route("/keep-long", |request: blocking::Request| {
            WAITING.store(true, SeqCst);
            while !request.is_disconnected() {
                std::thread::sleep(Duration::from_millis(1));
            }
            keep(request);
            "nobody hears this"
        })
}

#[test]
fn a_thread_asks_its_core_from_a_request() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            assert_eq!(client.get("/core").text(), "0 false true true 0 0", "{protocol}");
        }
        let mut socket = server.connect();
        let head = "GET /listen HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        assert_eq!(socket.ask(head).status, 101);
        let mut client = server.connect();
        server.until("a subscriber that hears", || client.get("/core").text() == "0 false true true 1 1");
        server.until("the news", || server.count("websocket_messages_sent") >= 2);
    });
}

#[test]
fn values_go_through_the_thread_in_both_directions() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            let answer = client.get("/value");
            assert_eq!((answer.text(), answer.field("x-name")), ("before handler", Some("handler")), "{protocol}");
            assert_eq!(client.get("/core").field("x-name"), Some("before"), "{protocol}");
        }
    });
}

#[test]
fn a_thread_pushes_and_is_told_which_form_it_took() {
    let promised = format!("{:?} {:?}", PushForm::Promised, PushForm::Hinted(HintsForm::Dropped));
    let hinted = format!("{:?} {:?}", PushForm::Hinted(HintsForm::Interim), PushForm::Hinted(HintsForm::Dropped));
    on_every_driver_with(
        app,
        |config| config.limits.http2.push = true,
        |server| {
            let mut client = server.connect();
            let asked = Asked { head: "GET /push HTTP/1.1", ..Asked::default() };
            let (interim, answer) = client.exchange(&asked);
            assert_eq!(answer.text(), hinted);
            assert_eq!(interim[0].field("link"), Some("</pushed>; rel=preload"));

            let mut client = http2::Http2::with_settings(server.wire(), &[(ENABLE_PUSH, 1)]);
            assert_eq!(client.get("/push").text(), promised);
            let promise = client.promises[0].1;
            assert_eq!(client.answer(promise).text(), "pushed");
        },
    );
}

/// In the thread's time, which is not the simulated one.
fn is_finished<T>(thread: &JoinHandle<T>) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    thread.is_finished()
}

#[test]
fn a_request_that_outlives_its_exchange_still_knows_its_core() {
    let _alone = alone();
    on_every_driver(app, |server| {
        let ask = |request: blocking::Request| {
            assert_eq!(request.push("/pushed"), PushForm::Hinted(HintsForm::Dropped));
            let hint = http::HeaderValue::from_static("</a>; rel=preload");
            assert_eq!(request.early_hints([hint]), HintsForm::Dropped);
            assert_eq!(request.core().index(), 0);
            request.core().topic("room")
        };
        // Answered.
        let requests = kept();
        assert_eq!(server.connect().get("/keep").text(), "kept");
        let room = ask(requests.recv().unwrap());
        let subscribers = std::thread::spawn(move || room.subscribers());
        server.until("an answer of the core", || is_finished(&subscribers));
        assert_eq!(subscribers.join().unwrap(), 0);
        // Given up by its client.
        let requests = kept();
        let mut client = server.connect();
        client.begin("/keep-long");
        server.until("its handler", || WAITING.swap(false, SeqCst));
        drop(client);
        let mut request = None;
        server.until("the request", || {
            // In the thread's time, which is not the simulated one.
            let wait = Duration::from_millis(1);
            request = request.take().or_else(|| requests.recv_timeout(wait).ok());
            request.is_some()
        });
        let asking = std::thread::spawn(move || ask(request.unwrap()).subscribers());
        server.until("an answer of the core", || is_finished(&asking));
        assert_eq!(asking.join().unwrap(), 0);
    });
}

#[test]
fn a_request_that_outlives_its_gateway_is_told_so() {
    let _alone = alone();
    let requests = kept();
    let gateway = start_gateway(DriverChoice::Auto, app, |gateway| gateway.cores(Placement::Unpinned { count: 1 }));
    let address = gateway.addresses()[0].to_string();
    let mut client = Client::new(TcpStream::connect(address).unwrap());
    client.begin("/keep-long");
    let begun = Instant::now();
    while !WAITING.swap(false, SeqCst) {
        assert!(begun.elapsed() < Duration::from_secs(10), "its handler has not come in ten seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
    let stopping = std::thread::spawn(move || gateway.stop(Duration::from_millis(50)));
    let request = requests.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(stopping.join().unwrap().unwrap().cut, 1);
    assert_eq!(request.core().topic("room").publish("anybody?"), 0);
    assert!(request.core().is_draining());
}
