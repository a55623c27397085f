//! Connections and their ends: order, panics, clients that leave, time, the crew, drain.

use ringgate::{App, Core, Limits, Request, Response, Timeouts, blocking, post};
use ringgate_runtime::{net::Address, sys::placement::Placement};
use ringgate_tests::gateway::{Client, Server, Wire, drivers, on_every_driver};
use std::{
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

static DROPPED: AtomicUsize = AtomicUsize::new(0);
static NOTICED: AtomicUsize = AtomicUsize::new(0);

struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

async fn forever(_: Request) -> &'static str {
    let _dropped = Dropped;
    std::future::pending::<()>().await;
    "never"
}

fn watchful(request: blocking::Request) -> &'static str {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if request.is_disconnected() {
            NOTICED.fetch_add(1, SeqCst);
            return "nobody";
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    "somebody"
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
        .route("/forever", forever)
        .route("/watchful", watchful)
        .route("/panic", |_: &Request| -> Response { panic!("inline") })
        .route("/panic-async", async |request: Request| -> Response {
            request.handle().sleep(Duration::from_millis(1)).await;
            panic!("async")
        })
        .route("/panic-blocking", |_: blocking::Request| -> Response { panic!("blocking") })
        .route("/collect", post(async |mut request: Request| request.body_mut().collect().await))
        .route("/big", |_: &Request| Response::bytes(vec![b'b'; 20_000_000]))
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

fn timeouts(change: impl FnOnce(&mut Timeouts)) -> Timeouts {
    let mut timeouts = Timeouts::default();
    change(&mut timeouts);
    timeouts
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
fn r_11_a_thousand_pipelined_requests_to_a_client_that_reads_late() {
    on_every_driver(app, |server| {
        let mut client = server.connect();
        let writer = client.wire.try_clone().unwrap();
        let asking = std::thread::spawn(move || {
            let mut writer = writer;
            writer.say("GET /now HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20_000).as_bytes());
        });
        std::thread::sleep(Duration::from_millis(100));
        for _ in 0..20_000 {
            assert_eq!(client.answer(false).text(), "now");
        }
        asking.join().unwrap();
    });
}

#[test]
fn a_panic_is_a_500_and_costs_nobody_else_anything() {
    on_every_driver(app, |server| {
        let mut other = server.connect();
        let mut client = server.connect();
        for (number, target) in ["/panic", "/panic-async", "/panic-blocking"].into_iter().enumerate() {
            assert_eq!(client.get(target).status, 500, "{target}");
            assert_eq!(server.count("handler_panics"), number as u64 + 1, "{target}");
            assert_eq!(client.get("/now").text(), "now", "the connection lives on");
            assert_eq!(other.get("/now").text(), "now");
        }
    });
}

#[test]
fn a_client_that_leaves_drops_the_handler_and_is_seen_by_the_blocking_one() {
    on_every_driver(app, |server| {
        let (dropped, noticed) = (DROPPED.load(SeqCst), NOTICED.load(SeqCst));
        for target in ["/forever", "/watchful"] {
            let mut client = server.connect();
            client.wire.say(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
            std::thread::sleep(Duration::from_millis(30));
        }
        let begun = Instant::now();
        while DROPPED.load(SeqCst) == dropped || NOTICED.load(SeqCst) == noticed {
            assert!(begun.elapsed() < Duration::from_secs(5), "the handlers were not told");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.await_count("disconnects", 2);
        server.await_count("connections_open", 0);
    });
}

#[test]
fn a_client_that_ends_its_side_still_gets_what_was_begun() {
    on_every_driver(app, |server| {
        let mut client = server.connect();
        client.wire.say(b"GET /now HTTP/1.1\r\nhost: a\r\n\r\nGET /big HTTP/1.1\r\nhost: a\r\n\r\n");
        client.wire.finish();
        assert_eq!(client.answer(false).text(), "now");
        assert_eq!(client.answer(false).body.len(), 20_000_000);
        assert!(client.is_over());
    });
}

#[test]
fn e_1_early_hints_take_the_form_they_say() {
    on_every_driver(app, |server| {
        for target in ["/hints", "/hints-inline", "/hints-blocking"] {
            let mut client = server.connect();
            let interim = client.get(target);
            assert_eq!((interim.status, interim.field("link")), (103, Some("</a>; rel=preload")), "{target}");
            let answer = client.answer(false);
            assert_eq!((answer.text(), answer.field("link")), ("Interim", None), "{target}");
            let mut client = server.connect();
            client.wire.say(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
            let answer = client.answer(false);
            assert_eq!((answer.text(), answer.field("link")), ("LinkField", Some("</a>; rel=preload")), "{target}");
        }
    });
}

#[test]
fn a_full_crew_is_a_503_with_retry_after() {
    for driver in drivers() {
        let mut limits = Limits::default();
        limits.blocking_threads_max = 1;
        limits.blocking_queue_max = 1;
        let server = Server::start_with(driver, app, |gateway| gateway.limits(limits));
        let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.wire.say(b"GET /beside?ms=300 HTTP/1.1\r\nhost: a\r\n\r\n");
            std::thread::sleep(Duration::from_millis(50));
        }
        let refused = clients[2].answer(false);
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
        assert_eq!(clients[0].answer(false).text(), "beside");
        assert_eq!(clients[1].answer(false).text(), "beside");
        assert_eq!(server.count("crew_full"), 1);
    }
}

#[test]
fn r_01_to_r_05_everything_has_its_time() {
    for driver in drivers() {
        let server = Server::start_with(driver, app, |gateway| {
            gateway.timeouts(timeouts(|timeouts| {
                timeouts.header_timeout_ms = 150;
                timeouts.idle_timeout_ms = 300;
                timeouts.progress_grace_ms = 200;
                timeouts.progress_bytes_per_s_min = 1_000_000;
                timeouts.request_timeout_ms = 250;
                timeouts.linger_timeout_ms = 100;
            }))
        });
        let took = |client: &mut Client<TcpStream>| {
            let begun = Instant::now();
            assert!(client.is_over());
            begun.elapsed().as_millis()
        };
        assert!((100..280).contains(&took(&mut server.connect())), "r_04: connect and wait");
        let mut client = server.connect();
        client.wire.say(b"GET /now HT");
        assert_eq!(client.answer(false).status, 408, "r_01: a head that does not end");
        let mut client = server.connect();
        assert_eq!(client.get("/now").status, 200);
        assert!((220..900).contains(&took(&mut client)), "r_05: keep-alive without a request");
        let mut client = server.connect();
        assert_eq!(client.get("/now").status, 200);
        std::thread::sleep(Duration::from_millis(200));
        client.wire.say(b"GET /now HT");
        assert_eq!(client.answer(false).status, 408, "a later head that does not end");
        let mut client = server.connect();
        client.wire.say(b"POST /collect HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
        assert_eq!(client.answer(false).status, 408, "r_02: a body that does not come");
        let mut client = server.connect();
        assert_eq!(client.get("/forever").status, 503, "a handler that does not answer");
        let mut client = server.connect();
        client.wire.say(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n");
        server.await_count("timeouts_send", 1);
        assert!(client.rest().len() < 20_000_000, "r_03: a client that does not read");
        server.await_count("connections_open", 0);
        assert_eq!((server.count("timeouts_header"), server.count("timeouts_body")), (3, 1));
    }
}

#[test]
fn connections_have_a_bound() {
    for driver in drivers() {
        let mut limits = Limits::default();
        limits.connections_max = 2;
        let server = Server::start_with(driver, app, |gateway| gateway.limits(limits));
        let (mut first, mut second) = (server.connect(), server.connect());
        assert_eq!((first.get("/now").status, second.get("/now").status), (200, 200));
        assert!(server.connect().is_over());
        drop(first);
        server.await_count("connections_open", 1);
        assert_eq!(server.connect().get("/now").status, 200);
    }
}

#[test]
fn a_drain_ends_the_idle_finishes_the_running_and_cuts_what_is_left() {
    on_every_driver(app, |_| {});
    for driver in drivers() {
        let server = Server::start(driver, app);
        let (mut idle, mut running, mut endless, fresh) =
            (server.connect(), server.connect(), server.connect(), server.connect());
        assert_eq!(idle.get("/now").status, 200);
        running.wire.say(b"GET /later?ms=200 HTTP/1.1\r\nhost: a\r\n\r\nGET /now HTTP/1.1\r\nhost: a\r\n\r\n");
        endless.wire.say(b"GET /forever HTTP/1.1\r\nhost: a\r\n\r\n");
        server.await_count("connections_open", 4);
        std::thread::sleep(Duration::from_millis(50));
        let Some(Address::Tcp(address)) = server.gateway.addresses().first().cloned() else { panic!() };
        let stopping = std::thread::spawn(move || server.gateway.stop(Duration::from_millis(600)).unwrap());
        assert!(idle.is_over());
        let answer = running.answer(false);
        assert_eq!((answer.text(), answer.field("connection")), ("later", Some("close")));
        assert!(running.is_over(), "the pipelined one is not begun any more");
        drop((fresh, running, idle));
        let report = stopping.join().unwrap();
        assert_eq!((report.open, report.cut), (4, 1));
        assert!((500..2000).contains(&report.took.as_millis()), "{:?}", report.took);
        assert!(endless.is_over());
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }
}

#[test]
fn one_port_on_two_cores_a_unix_socket_and_a_bound_one() {
    for driver in drivers() {
        let path = std::env::temp_dir().join(format!("ringgate-test-{}-{driver:?}.sock", std::process::id()));
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound_address = bound.local_addr().unwrap();
        let server = Server::start_with(driver, app, |gateway| {
            gateway.cores(Placement::Unpinned { count: 2 }).listen(Address::Unix(path.clone())).listen_bound(bound)
        });
        assert_eq!(server.gateway.addresses().len(), 3);
        assert_eq!(server.gateway.driver_reports().len(), 2);
        for _ in 0..20 {
            assert_eq!(server.connect().get("/now").text(), "now");
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
        server.gateway.stop(Duration::from_secs(1)).unwrap();
        assert!(!path.exists(), "the socket file is removed");
    }
}

#[test]
fn two_thousand_connections_leave_nothing_behind() {
    on_every_driver(app, |server| {
        for round in 0..100 {
            let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
            for (number, client) in clients.iter_mut().enumerate() {
                match (round + number) % 5 {
                    0 => drop(client.get("/now")),
                    1 => drop(client.post("/collect", b"abc")),
                    2 => client.wire.say(b"GET /forever HTTP/1.1\r\nhost: a\r\n\r\n"),
                    3 => client.wire.say(b"POST /collect HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc"),
                    _ => client.wire.say(b"GET /no"),
                }
            }
        }
        server.await_count("connections_open", 0);
        assert_eq!(server.count("connections_accepted"), 2000);
    });
}
