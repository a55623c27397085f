//! Connections and their ends: order, panics, clients that leave, time, the crew, drain.

use ringgate::{App, Config, Core, Gateway, Middleware, Request, Response, blocking, post};
use ringgate_runtime::{net::Address, sys::placement::Placement};
use ringgate_tests::gateway::{
    Asked, Client, Server, Wire, drivers, grounds, on_every_driver, on_every_driver_with, start_gateway,
};
use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// Handlers of `/held` stay.
static HELD: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicUsize = AtomicUsize::new(0);
static WATCHING: AtomicUsize = AtomicUsize::new(0);
static NOTICED: AtomicUsize = AtomicUsize::new(0);

struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

async fn forever(_: Request) -> &'static str {
    std::future::pending().await
}

/// The same, and its beginnings and ends are counted: one test uses it.
async fn watched(_: Request) -> &'static str {
    let _dropped = Dropped;
    WATCHING.fetch_add(1, SeqCst);
    std::future::pending().await
}

fn watchful(request: blocking::Request) -> &'static str {
    let begun = Instant::now();
    WATCHING.fetch_add(1, SeqCst);
    while begun.elapsed() < Duration::from_secs(10) {
        if request.is_disconnected() {
            NOTICED.fetch_add(1, SeqCst);
            return "nobody";
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    "somebody"
}

fn held(_: blocking::Request) -> &'static str {
    let begun = Instant::now();
    while HELD.load(SeqCst) && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(1));
    }
    "beside"
}

fn time(request: Option<std::borrow::Cow<'_, str>>) -> Duration {
    Duration::from_millis(request.and_then(|text| text.parse().ok()).unwrap_or(20))
}

fn app(_: &Core) -> App {
    App::new()
        .route("/now", |_: &Request| "now")
        .route("/later", async |request: Request| {
            request.handle().sleep(time(request.query_value("ms"))).await;
            "later"
        })
        .route("/beside", |request: blocking::Request| {
            std::thread::sleep(time(request.query_value("ms")));
            "beside"
        })
        .route("/held", held)
        .route("/busy", |request: &Request| request.core().crew().counters().busy.to_string())
        .route("/forever", forever)
        .route("/watched", watched)
        .route("/watchful", watchful)
        .route("/panic", |_: &Request| -> Response { panic!("inline") })
        .route("/panic-async", async |request: Request| -> Response {
            request.handle().sleep(Duration::from_millis(1)).await;
            panic!("async")
        })
        .route("/panic-blocking", |_: blocking::Request| -> Response { panic!("blocking") })
        .route("/collect", post(async |mut request: Request| request.body_mut().collect().await))
        .route("/big", |request: &Request| {
            let bytes = request.query_value("bytes").and_then(|text| text.parse().ok()).unwrap_or(20_000_000);
            Response::bytes(vec![b'b'; bytes])
        })
        .route("/hints", async |request: Request| {
            let form = request.early_hints([http::HeaderValue::from_static("</a>; rel=preload")]);
            request.handle().sleep(Duration::from_millis(1)).await;
            format!("{form:?}")
        })
        .route("/hints-inline", |request: &Request| {
            format!("{:?}", request.early_hints([http::HeaderValue::from_static("</a>; rel=preload")]))
        })
        .route("/hints-blocking", |request: blocking::Request| {
            format!("{:?}", request.early_hints([http::HeaderValue::from_static("</a>; rel=preload")]))
        })
}

#[test]
fn h1_12_pipelined_answers_come_in_order_whatever_the_world() {
    on_every_driver(app, |server| {
        let mut client = server.connect();
        let order = ["now", "later", "now", "beside", "beside", "now", "later", "now"];
        let ask = |name: &&str| format!("GET /{name} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.wire.say(order.iter().map(ask).collect::<String>().as_bytes());
        for name in order {
            assert_eq!(client.answer(false).text(), name);
        }
    });
}

#[test]
fn r_11_thousands_of_pipelined_requests_to_a_client_that_reads_late() {
    on_every_driver(app, |server| {
        let count = server.scaled(20_000);
        let all = "GET /now HTTP/1.1\r\nhost: a\r\n\r\n".repeat(count);
        if server.is_sim() {
            let mut client = server.connect();
            client.wire.say(all.as_bytes());
            server.pass(100);
            (0..count).for_each(|_| assert_eq!(client.answer(false).text(), "now"));
            return;
        }
        let socket = server.socket();
        let mut writer = socket.try_clone().unwrap();
        let mut client = Client::new(socket);
        let asking = std::thread::spawn(move || writer.say(all.as_bytes()));
        server.pass(100);
        (0..count).for_each(|_| assert_eq!(client.answer(false).text(), "now"));
        asking.join().unwrap();
    });
}

#[test]
fn a_panic_is_a_500_and_costs_nobody_else_anything() {
    on_every_driver(app, |server| {
        let mut other = server.connect();
        for (protocol, mut client) in server.tongues() {
            for target in ["/panic", "/panic-async", "/panic-blocking"] {
                let before = server.count("handler_panics");
                assert_eq!(client.get(target).status, 500, "{target}, {protocol}");
                assert_eq!(server.count("handler_panics"), before + 1, "{target}, {protocol}");
                assert_eq!(client.get("/now").text(), "now", "the connection lives on");
                assert_eq!(other.get("/now").text(), "now");
            }
        }
    });
}

#[test]
fn a_client_that_leaves_drops_the_handler_and_is_seen_by_the_blocking_one() {
    on_every_driver(app, |server| {
        for is_http2 in [false, true] {
            let ends = || (DROPPED.load(SeqCst), NOTICED.load(SeqCst));
            let (dropped, noticed) = ends();
            let disconnects = server.count("disconnects");
            for target in ["/watched", "/watchful"] {
                let before = (WATCHING.load(SeqCst), ends());
                // What has not begun would be forgotten with its client: wait until it has.
                let is_begun = || WATCHING.load(SeqCst) > before.0;
                if is_http2 {
                    let mut client = server.connect_http2();
                    client.begin(target);
                    client.round_trip();
                    server.until("the handler", is_begun);
                    assert_eq!(ends(), before.1, "{target}: it goes on");
                } else {
                    let mut client = server.connect();
                    client.begin(target);
                    server.until("the handler", is_begun);
                    assert_eq!(ends(), before.1, "{target}: it goes on");
                }
                server.until(target, || ends() != before.1);
            }
            assert_eq!(ends(), (dropped + 1, noticed + 1));
            server.await_count("disconnects", disconnects + 2);
            server.await_count("connections_open", 0);
        }
    });
}

#[test]
fn a_client_that_ends_its_side_still_gets_what_was_begun() {
    on_every_driver(app, |server| {
        let bytes = server.scaled(20_000_000);
        let mut client = server.connect();
        client.begin("/now");
        client.begin(&format!("/big?bytes={bytes}"));
        client.wire.finish();
        assert_eq!(client.answer(false).text(), "now");
        assert_eq!(client.answer(false).body.len(), bytes);
        assert!(client.is_over());
    });
}

#[test]
fn e_1_early_hints_take_the_form_they_say() {
    on_every_driver(app, |server| {
        for target in ["/hints", "/hints-inline", "/hints-blocking"] {
            for (protocol, mut client) in server.tongues() {
                let head = format!("GET {target} HTTP/1.1");
                let (interim, answer) = client.exchange(&Asked { head: &head, ..Asked::default() });
                let links: Vec<_> = interim.iter().map(|interim| (interim.status, interim.field("link"))).collect();
                assert_eq!(links, [(103, Some("</a>; rel=preload"))], "{target}, {protocol}");
                assert_eq!((answer.text(), answer.field("link")), ("Interim", None), "{target}, {protocol}");
            }
            let mut client = server.connect();
            client.wire.say(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
            let answer = client.answer(false);
            assert_eq!((answer.text(), answer.field("link")), ("LinkField", Some("</a>; rel=preload")), "{target}");
        }
    });
}

#[test]
fn a_full_crew_is_a_503_with_retry_after() {
    let configure = |config: &mut Config| {
        config.limits.blocking_threads_max = 1;
        config.limits.blocking_queue_max = 1;
    };
    on_every_driver_with(app, configure, |server| {
        let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/now").text(), "now"));
        HELD.store(true, SeqCst);
        for client in &mut clients {
            client.begin("/held");
        }
        // One runs, one waits; which of them comes first is the network's choice.
        server.await_count("crew_full", 1);
        HELD.store(false, SeqCst);
        let answers: Vec<_> = clients.iter_mut().map(|client| client.answer(false)).collect();
        let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((served.len(), refused.len()), (2, 1));
        assert_eq!((refused[0].status, refused[0].field("retry-after")), (503, Some("1")));
        let mut client = server.connect_http2();
        // A thread that has answered may still be busy for a moment: then two would be too many.
        server.until("a free thread", || client.get("/busy").text() == "0");
        HELD.store(true, SeqCst);
        let streams = [0; 3].map(|_| client.begin("/held"));
        server.await_count("crew_full", 2);
        HELD.store(false, SeqCst);
        let refused = client.answer(streams[2]);
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
        assert_eq!(client.answer(streams[0]).text(), "beside");
        assert_eq!(client.answer(streams[1]).text(), "beside");
    });
}

#[test]
fn a_thread_sees_its_time_run_out() {
    fn timed(_: &Core) -> App {
        App::new().route("/", |request: blocking::Request| {
            let (deadline, before) = (request.deadline(), request.time_left());
            std::thread::sleep(Duration::from_millis(20));
            let (Some(deadline), Some(before), Some(after)) = (deadline, before, request.time_left()) else {
                return "there is no deadline";
            };
            assert!(before > after + Duration::from_millis(19), "{before:?} {after:?}");
            assert!(deadline > Instant::now() && before <= Duration::from_secs(60));
            "it does"
        })
    }
    let configure = |config: &mut Config| config.timeouts.request_timeout_ms = 60_000;
    on_every_driver_with(timed, configure, |server| assert_eq!(server.connect().get("/").text(), "it does"));
}

/// Leaves its mark on whatever is answered.
struct Mark;

impl Middleware for Mark {
    fn after(&self, _: &Request, response: &mut Response) {
        response.append(http::HeaderName::from_static("x-mark"), http::HeaderValue::from_static("seen"));
    }
}

#[test]
fn hooks_see_the_answer_in_place_of_a_handler_out_of_time() {
    fn marked(_: &Core) -> App {
        App::new().route("/forever", async |_: Request| std::future::pending::<&'static str>().await).wrap(Mark)
    }
    let configure = |config: &mut Config| config.timeouts.request_timeout_ms = 50;
    on_every_driver_with(marked, configure, |server| {
        for (protocol, mut client) in server.tongues() {
            let (_, answer) = client.exchange(&Asked { head: "GET /forever HTTP/1.1", ..Asked::default() });
            assert_eq!((answer.status, answer.field("x-mark")), (503, Some("seen")), "{protocol}");
        }
        assert_eq!(server.count("timeouts_handler"), 2);
    });
}

#[test]
fn a_stall_is_named_by_its_route_and_core() {
    for driver in drivers() {
        let application = |_: &Core| {
            App::new().route("/stall/{for}", |_: &Request| {
                std::thread::sleep(Duration::from_millis(20));
                "late"
            })
        };
        let gateway = Gateway::builder(application)
            .listen("127.0.0.1:0".parse().unwrap())
            .cores(Placement::Unpinned { count: 2 })
            .driver(driver)
            .start()
            .unwrap();
        let Address::Tcp(address) = gateway.addresses()[0].clone() else { panic!("not TCP") };
        let mut client = Client::new(TcpStream::connect(address).unwrap());
        assert_eq!(client.get("/stall/now").text(), "late");
        // It is counted when the poll is over, which is behind the response.
        let begun = Instant::now();
        while gateway.metrics().recent_stalls().is_empty() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let stalls = gateway.metrics().recent_stalls();
        let (core, stall) = stalls.iter().find(|(_, stall)| stall.name == "/stall/{for}").expect("it is remembered");
        assert!(*core < 2 && stall.held >= Duration::from_millis(20), "{stalls:?}");
        let counted = gateway.metrics().runtime_snapshot().into_iter().find(|(name, _)| *name == "stalls");
        assert!(counted.is_some_and(|(_, count)| count >= stalls.len() as u64), "{counted:?}");
    }
}

#[test]
fn a_gateway_that_cannot_listen_says_where() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (place, kind) in [(taken.as_str(), ErrorKind::AddrInUse), ("unix:/no such place/socket", ErrorKind::NotFound)] {
        let gateway = Gateway::builder(|_| App::new()).listen(place.parse().unwrap());
        let error = gateway.start().expect_err(place);
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(place), "{error}");
    }
}

#[test]
fn connections_have_a_bound() {
    on_every_driver_with(
        app,
        |config| config.limits.connections_max = 2,
        |server| {
            let (mut first, mut second) = (server.connect(), server.connect());
            assert_eq!((first.get("/now").status, second.get("/now").status), (200, 200));
            assert!(server.connect().is_over());
            drop(first);
            server.await_count("connections_open", 1);
            assert_eq!(server.connect().get("/now").status, 200);
        },
    );
}

#[test]
fn a_drain_ends_the_idle_finishes_the_running_and_cuts_what_is_left() {
    for ground in grounds() {
        eprintln!("on {ground:?}");
        let server = Server::start(ground, app);
        let (mut idle, mut running, mut endless, fresh) =
            (server.connect(), server.connect(), server.connect(), server.connect());
        assert_eq!(idle.get("/now").status, 200);
        running.wire.say(b"GET /later?ms=200 HTTP/1.1\r\nhost: a\r\n\r\nGET /now HTTP/1.1\r\nhost: a\r\n\r\n");
        endless.begin("/forever");
        server.await_count("connections_open", 4);
        server.pass(50);
        let stopping = server.stop(Duration::from_millis(600));
        assert!(idle.is_over());
        let answer = running.answer(false);
        assert_eq!((answer.text(), answer.field("connection")), ("later", Some("close")));
        assert!(running.is_over(), "the pipelined one is not begun any more");
        drop((fresh, running, idle));
        let report = stopping.report();
        assert_eq!((report.open, report.cut), (4, 1));
        assert!((500..2000).contains(&report.took.as_millis()), "{:?}", report.took);
        assert!(endless.is_over());
    }
}

#[test]
fn one_port_on_two_cores_a_unix_socket_and_a_bound_one() {
    for driver in drivers() {
        let path = std::env::temp_dir().join(format!("ringgate-test-{}-{driver:?}.sock", std::process::id()));
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound_address = bound.local_addr().unwrap();
        let gateway = start_gateway(driver, app, |gateway| {
            gateway.cores(Placement::Unpinned { count: 2 }).listen(Address::Unix(path.clone())).listen_bound(bound)
        });
        assert_eq!(gateway.addresses().len(), 3);
        assert_eq!(gateway.driver_reports().len(), 2);
        for _ in 0..20 {
            let Some(Address::Tcp(address)) = gateway.addresses().first() else { panic!("a TCP address") };
            assert_eq!(Client::new(TcpStream::connect(address).unwrap()).get("/now").text(), "now");
            assert_eq!(Client::new(TcpStream::connect(bound_address).unwrap()).get("/now").text(), "now");
        }
        struct Unix(UnixStream);
        impl Wire for Unix {
            fn say(&mut self, bytes: &[u8]) {
                std::io::Write::write_all(&mut self.0, bytes).unwrap();
            }
            fn hear(&mut self) -> Vec<u8> {
                let mut buffer = vec![0; 4096];
                let count = std::io::Read::read(&mut self.0, &mut buffer).unwrap();
                buffer.truncate(count);
                buffer
            }
            fn finish(&mut self) {
                self.0.shutdown(std::net::Shutdown::Write).unwrap();
            }
        }
        assert_eq!(Client::new(Unix(UnixStream::connect(&path).unwrap())).get("/now").text(), "now");
        let address = gateway.addresses()[0].clone();
        gateway.stop(Duration::from_secs(1)).unwrap();
        let Address::Tcp(address) = address else { panic!("a TCP address") };
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
        assert!(!path.exists(), "the socket file is removed");
    }
}

#[test]
fn two_thousand_connections_leave_nothing_behind() {
    on_every_driver(app, |server| {
        let rounds = if server.is_sim() { 10 } else { 100 };
        for round in 0..rounds {
            let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
            let mut others = Vec::new();
            for (number, client) in clients.iter_mut().enumerate() {
                match (round + number) % 7 {
                    0 => drop(client.get("/now")),
                    1 => drop(client.post("/collect", b"abc")),
                    2 => client.begin("/forever"),
                    3 => client.wire.say(b"POST /collect HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc"),
                    4 => client.wire.say(b"GET /no"),
                    5 => {
                        let mut client = server.connect_http2();
                        client.begin("/forever");
                        client.open("POST /collect HTTP/2", false);
                        others.push(client);
                    }
                    _ => {
                        let mut client = server.connect_http2();
                        client.begin("/big?bytes=1000000");
                        assert_eq!(client.get("/now").text(), "now");
                        others.push(client);
                    }
                }
            }
        }
        server.await_count("connections_open", 0);
        assert!(server.count("connections_accepted") >= 20 * rounds as u64);
    });
}
