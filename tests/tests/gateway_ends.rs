//! How things end: times that run out, handlers that panic as they go, drains beside each other, socket files.

use ringgate::{
    App, Config, Core, Gateway, Request, Response, RunningGateway, Site, blocking, post, websocket::WebSocket,
};
use ringgate_runtime::{
    driver::sim::SimConfig,
    executor::{Executor, ExecutorConfig},
    net::Address,
    sys::placement::Placement,
};
use ringgate_tests::gateway::{
    Client, Ground, Http2, Server, Talk, Wire, drivers, grounds, in_every_world, on_every_driver_with, seeds,
};
use ringgate_tests::websocket::{PROTOCOLS, extended_connect, frame, opening};
use std::{
    future::pending,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        mpsc::{Sender, channel},
    },
    task::Poll,
    time::Duration,
};

/// Panics when it is dropped, whatever else does.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a drop that panics");
    }
}

/// Two at once, for a panic while another unwinds would end the process, and one that takes the place of another.
macro_rules! keep_bombs {
    ($request:expr) => {
        $request.set_value(Bomb);
        $request.set_value([Bomb; 1]);
        $request.set_value(Bomb);
    };
}

/// Where `/kept` sends its requests.
static KEPT: Mutex<Option<Sender<blocking::Request>>> = Mutex::new(None);

/// A body whose drop panics.
fn bomb_body() -> Response {
    struct Body(Bomb, bool);
    impl futures_core::Stream for Body {
        type Item = Result<&'static str, std::io::Error>;
        fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(std::mem::take(&mut self.1).then_some(Ok("half")))
        }
    }
    Response::stream(Body(Bomb, true))
}

/// Tells the client, with a 103, that its handler has begun.
fn say_here(request: &Request) {
    request.early_hints([http::HeaderValue::from_static("</a>; rel=preload")]);
}

fn await_here(client: &mut impl Read) {
    let mut start = [0; 12];
    client.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 103");
}

fn app(_: &Core) -> App {
    App::new()
        .route("/now", |_: &Request| "now")
        .route("/here", async |request: Request| {
            say_here(&request);
            pending::<&'static str>().await
        })
        .route("/ws", async |mut socket: WebSocket| {
            while let Some(Ok(message)) = socket.recv().await {
                let _ = socket.send(message).await;
            }
        })
        .route("/forever", async |_: Request| pending::<&'static str>().await)
        .route("/until-the-drain", async |request: Request| {
            say_here(&request);
            while !request.core().is_draining() {
                request.handle().sleep(Duration::from_millis(1)).await;
            }
            "over"
        })
        .route("/kept", |request: blocking::Request| {
            let kept = KEPT.lock().unwrap().clone();
            kept.unwrap().send(request).unwrap();
            "kept"
        })
        .route("/announcements", async |request: Request| {
            say_here(&request);
            let (core, handle) = (request.core().clone(), request.handle().clone());
            drop(request);
            while !core.is_draining() {
                handle.sleep(Duration::from_millis(1)).await;
            }
            let topic = core.topic("news");
            for number in 0..1_000 {
                topic.publish(format!("{number}")).await;
            }
            "announced"
        })
        .route("/bomb", async |_: Request| {
            let _bomb = Bomb;
            pending::<&'static str>().await
        })
        .route("/bomb-body", |_: &Request| bomb_body())
        .route("/bomb-status", |_: &Request| bomb_body().status(http::StatusCode::NO_CONTENT))
        .route("/bomb-value/inline", |request: &Request| {
            keep_bombs!(request);
            "kept"
        })
        .route("/bomb-value/async", async |request: Request| {
            keep_bombs!(request);
            request.handle().sleep(Duration::from_millis(1)).await;
            "kept"
        })
        .route("/bomb-value/blocking", |request: blocking::Request| {
            keep_bombs!(request);
            "kept"
        })
        .route(
            "/collect",
            post(async |mut request: Request| {
                let _bomb = Bomb;
                let body = request.body_mut().collect().await;
                pending::<()>().await;
                body
            }),
        )
}

#[test]
fn r_04_a_preface_that_does_not_end_is_counted_once() {
    let configure = |config: &mut Config| config.timeouts.header_timeout_ms = 150;
    in_every_world(
        app,
        configure,
        |_| {},
        |server| {
            for (number, begun) in ["P", "PRI * HT", "PO"].into_iter().enumerate() {
                let mut client = server.connect();
                client.wire.say(begun.as_bytes());
                assert_eq!(client.answer(false).status, 408, "{begun}");
                assert!(client.is_over());
                assert_eq!(server.count("timeouts_header"), number as u64 + 1, "{begun}");
            }
        },
    );
}

#[test]
fn a_handler_that_panics_when_it_is_cancelled_costs_no_answer() {
    let configure = |config: &mut Config| config.timeouts.request_timeout_ms = 150;
    on_every_driver_with(app, configure, |server| {
        for (protocol, mut client) in server.tongues() {
            assert_eq!(client.get("/bomb").status, 503, "{protocol}");
        }
        for (protocol, mut client) in server.tongues() {
            assert_eq!(client.post("/collect", b"abc").status, 503, "{protocol}");
        }
        assert_eq!(server.count("handler_panics"), 4);
        assert_eq!(server.runtime_count("panics"), 0);
    });
}

#[test]
fn handlers_that_panic_while_their_connection_is_cut_end_nothing_else() {
    for driver in drivers() {
        let gateway = start(|gateway| gateway.driver(driver).listen("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = gateway.addresses()[0].to_string();
        let mut client = Http2::new(TcpStream::connect(&address).unwrap());
        for _ in 0..3 {
            client.begin("/bomb");
        }
        assert_eq!(client.get("/now").text(), "now");
        assert_eq!(gateway.stop(Duration::from_millis(20)).unwrap().cut, 1, "the second panic would end the process");
    }
}

#[test]
fn a_body_that_panics_when_it_is_dropped_costs_no_other_stream() {
    on_every_driver_with(
        app,
        |_| {},
        |server| {
            for head in ["HEAD /bomb-body HTTP/1.1", "GET /bomb-status HTTP/1.1", "GET /bomb-body HTTP/1.1"] {
                let mut client = server.connect_http2();
                let waiting = client.begin("/forever");
                let answer = client.ask(head);
                assert!(matches!(answer.status, 200 | 204), "{head}");
                assert_eq!(client.get("/now").text(), "now", "{head}");
                client.reset(waiting, 8);
            }
            for head in ["GET /bomb-status HTTP/1.1", "GET /bomb-body HTTP/1.1"] {
                let mut client = server.connect();
                let answer = client.ask(head);
                assert!(matches!(answer.status, 200 | 204), "{head}");
                assert_eq!(client.get("/now").text(), "now", "{head}");
            }
        },
    );
}

#[test]
fn values_that_panic_when_they_are_dropped_cost_no_connection() {
    on_every_driver_with(
        app,
        |_| {},
        |server| {
            for (protocol, mut client) in server.tongues() {
                for kind in ["/bomb-value/inline", "/bomb-value/async", "/bomb-value/blocking"] {
                    assert_eq!(client.get(kind).text(), "kept", "{protocol} {kind}");
                    assert_eq!(client.get("/now").text(), "now", "{protocol} {kind}");
                }
            }
            server.await_count("connections_open", 0);
            assert_eq!((server.runtime_count("panics"), server.count("handler_panics")), (0, 0));
        },
    );
}

#[test]
fn a_websocket_whose_client_goes_away_is_counted_once() {
    let count = |server: &Server, before: u64, what: &str| {
        server.await_count("websockets_open", 0);
        assert_eq!(server.count("disconnects") - before, 1, "{what}");
    };
    on_every_driver_with(
        app,
        |_| {},
        |server| {
            for protocol in PROTOCOLS {
                let before = server.count("disconnects");
                let mut client = server.websocket(protocol, "/ws", "");
                client.wire.say(&frame(0x81, b"well"));
                assert_eq!(client.text(), "well");
                drop(client);
                server.await_count("connections_open", 0);
                count(server, before, protocol);
            }
            let before = server.count("disconnects");
            let mut client = server.connect_http2();
            let id = client.open_fields(&extended_connect("/ws"), false);
            client.send(id, &frame(0x81, b"well"), false);
            server.await_count("websockets_open", 1);
            client.reset(id, 8);
            count(server, before, "reset");
            assert_eq!(client.get("/now").text(), "now");
        },
    );
}

#[test]
fn drains_beside_each_other_end_together() {
    let mut executor = Executor::new(ExecutorConfig::default()).unwrap();
    let handle = executor.handle();
    let site = Site::new(&handle, Config::default(), |_| {
        App::new().route("/slow", async |request: Request| {
            request.handle().sleep(Duration::from_millis(100)).await;
            "slow"
        })
    });
    executor.block_on(async {
        let address = site.listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let mut client = handle.connect(&address).await.unwrap();
        let request = b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec();
        client.send(ringgate_runtime::buffer::SendBuf::from_vec(request)).await.unwrap();
        while site.connections() == 0 {
            handle.sleep(Duration::from_millis(1)).await;
        }
        handle.sleep(Duration::from_millis(20)).await;
        let begun = handle.now();
        let drains: Vec<_> = (0..3)
            .map(|_| {
                let site = site.clone();
                handle.spawn("drain", async move { site.drain(Duration::from_secs(5)).await })
            })
            .collect();
        let reader = handle.spawn("reader", async move { while !client.recv().await.unwrap().is_empty() {} });
        for drain in drains {
            let report = drain.await.unwrap();
            assert_eq!((report.open, report.cut), (1, 0));
        }
        reader.await.unwrap();
        assert!(handle.now().since(begun) < Duration::from_secs(4), "nobody waits for the deadline");
    });
}

#[test]
fn a_connection_that_goes_on_in_another_task_keeps_its_time() {
    for (is_websocket, says) in [(true, &b"\x89"[..]), (false, b"")] {
        let (mut executor, net) = Executor::simulated(ExecutorConfig::default(), SimConfig::new(1));
        let handle = executor.handle();
        let site = Site::new(&handle, Config::default(), |_| {
            App::new()
                .route("/now", |_: &Request| "now")
                .route("/ws", async |mut socket: WebSocket| while let Some(Ok(_)) = socket.recv().await {})
        });
        let address: Address = "192.0.2.1:80".parse().unwrap();
        let listener = handle.listen(&address).unwrap();
        let peer = net.connect(&address).unwrap();
        executor.block_on(async {
            let stream = listener.accept().await.unwrap();
            let mut connection = Box::pin(async move { site.serve(stream, None, None).await });
            match is_websocket {
                true => peer.write(opening("/ws", "").as_bytes()),
                false => peer.write(b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n"),
            }
            // Here it is answered, and begins to wait; then its task is over, and another one goes on with it.
            let deadline = handle.now() + Duration::from_secs(1);
            let mut alarm = handle.sleep_until(deadline);
            let task = handle.spawn("one", async move {
                std::future::poll_fn(|cx| {
                    assert!(connection.as_mut().poll(cx).is_pending());
                    std::pin::Pin::new(&mut alarm).poll(cx)
                })
                .await;
                (connection,)
            });
            let (connection,) = task.await.unwrap();
            assert!(peer.read().starts_with(b"HTTP/1.1 "));
            let other = handle.spawn("other", connection);
            handle.sleep(Duration::from_secs(200)).await;
            assert!(other.is_finished(), "a peer that is silent is not waited for");
            assert!(peer.read().starts_with(says));
        });
    }
}

fn start(configure: impl FnOnce(Gateway) -> Gateway) -> std::io::Result<RunningGateway> {
    configure(Gateway::builder(app).cores(Placement::Unpinned { count: 1 })).start()
}

fn is_served(path: &Path) -> bool {
    let Ok(mut client) = UnixStream::connect(path) else { return false };
    client.write_all(b"GET /now HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer.ends_with("now")
}

fn socket_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ringgate-ends-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn a_gateway_takes_away_its_own_socket_file_only() {
    // One that is told to stop while a client is still at it, and its successor, which comes before it has ended.
    let path = socket_path("successor");
    let address = Address::Unix(path.clone());
    let first = start(|gateway| gateway.listen(address.clone())).unwrap();
    assert!(start(|gateway| gateway.listen(address.clone())).is_err(), "somebody listens");
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"GET /here HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    await_here(&mut client);
    let stopping = std::thread::spawn(move || first.stop(Duration::from_millis(500)).unwrap());
    while UnixStream::connect(&path).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = start(|gateway| gateway.listen(address.clone())).unwrap();
    assert!(is_served(&path));
    assert_eq!(stopping.join().unwrap().cut, 1);
    assert!(is_served(&path), "the successor keeps its file");
    second.stop(Duration::from_secs(1)).unwrap();
    assert!(!path.exists());

    // Moved aside while it runs.
    let first = start(|gateway| gateway.listen(address.clone())).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = start(|gateway| gateway.listen(address.clone())).unwrap();
    first.stop(Duration::from_secs(1)).unwrap();
    assert!(is_served(&path), "the successor keeps its file");
    second.stop(Duration::from_secs(1)).unwrap();
    assert!(!path.exists());

    // One that it was given: whoever gave it goes on with it.
    let bound = UnixListener::bind(&path).unwrap();
    for _ in 0..2 {
        let gateway = start(|gateway| gateway.listen_bound(bound.try_clone().unwrap())).unwrap();
        assert!(is_served(&path));
        gateway.stop(Duration::from_secs(1)).unwrap();
    }
    assert!(path.exists(), "the file is its giver's");
    std::fs::remove_file(&path).unwrap();

    // One that could not start.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = Address::Tcp(taken.local_addr().unwrap());
    assert!(start(|gateway| gateway.listen(address.clone()).listen(taken)).is_err());
    assert!(!path.exists(), "nothing is left of a start that failed");
}

#[test]
fn a_socket_file_whose_server_is_too_busy_to_accept_is_not_waited_for() {
    let path = socket_path("busy");
    let busy = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let address = socket2::SockAddr::unix(&path).unwrap();
    busy.bind(&address).unwrap();
    busy.listen(0).unwrap();
    let waiting: Vec<_> = std::iter::from_fn(|| {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        client.connect(&address).is_ok().then_some(client)
    })
    .collect();
    assert!(!waiting.is_empty());
    let (told, tell) = channel();
    let place = Address::Unix(path.clone());
    std::thread::spawn(move || told.send(start(|gateway| gateway.listen(place)).map(drop)));
    let started = tell.recv_timeout(Duration::from_secs(5)).expect("an answer, and not a wait");
    assert_eq!(started.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    assert!(path.exists(), "somebody listens there");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_drain_does_not_wait_for_a_body_that_nobody_reads() {
    for ground in grounds() {
        let mut config = Config::default();
        config.timeouts.linger_timeout_ms = 100;
        let server = Server::start_with(ground, app, config);
        let mut client = server.connect();
        client.wire.say(b"POST /now HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
        assert_eq!(client.answer(false).status, 200);
        let report = server.stop(Duration::from_secs(3)).report();
        assert_eq!((report.open, report.cut), (1, 0), "{ground:?}");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_drain_does_not_wait_for_clients_that_keep_their_side_open() {
    for ground in grounds() {
        let mut config = Config::default();
        config.timeouts.linger_timeout_ms = 60_000;
        let server = Server::start_with(ground, app, config);
        // One that was told before it begins, one that is told by it.
        let (mut told, mut running) = (server.connect(), server.connect());
        assert_eq!(told.ask("GET /now HTTP/1.1\r\nconnection: close").text(), "now");
        assert!(told.is_over());
        running.begin("/until-the-drain");
        assert_eq!(running.answer(false).status, 103);
        let stopping = server.stop(Duration::from_secs(50));
        let answer = running.answer(false);
        assert_eq!((answer.text(), answer.field("connection")), ("over", Some("close")));
        assert!(running.is_over());
        let report = stopping.report();
        assert_eq!((report.open, report.cut), (2, 0), "{ground:?}");
        // (On a kernel, whatever else the machine does.)
        let most = if matches!(ground, Ground::Sim(_)) { 1 } else { 30 };
        assert!(report.took < Duration::from_secs(most), "{ground:?}: {report:?}");
    }
}

#[test]
fn a_drain_waits_for_clients_that_still_send() {
    for seed in seeds(5) {
        let server = Server::start_sim(seed, app, Config::default(), |_| {});
        let world = server.world().clone();
        let mut client = server.connect();
        client.wire.say(b"POST /now HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\n");
        assert_eq!(client.answer(false).text(), "now");
        let stopping = server.stop(Duration::from_secs(50));
        let begun = world.now();
        for _ in 0..10 {
            client.wire.say(b"what it has begun to send before it knew");
            world.pass(Duration::from_millis(100));
        }
        let sent = world.now() - begun;
        let report = stopping.report();
        assert_eq!((report.open, report.cut), (1, 0), "seed {seed}");
        assert!(report.took >= sent, "seed {seed}: {report:?}, {sent:?}");
        assert!(report.took < Duration::from_millis(1_900), "seed {seed}: not the whole time either: {report:?}");
    }
}

#[test]
fn who_publishes_during_a_drain_is_not_held_up() {
    let gateway =
        start(|gateway| gateway.cores(Placement::Unpinned { count: 2 }).listen("127.0.0.1:0".parse().unwrap()));
    let gateway = gateway.unwrap();
    let address = gateway.addresses()[0].to_string();
    let mut clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = TcpStream::connect(&address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.write_all(b"GET /announcements HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            client
        })
        .collect();
    clients.iter_mut().for_each(await_here);
    let report = gateway.stop(Duration::from_secs(5)).unwrap();
    assert_eq!((report.open, report.cut), (8, 0));
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("announced"), "{answer}");
    }
}

#[test]
fn a_thread_may_ask_a_request_whose_gateway_has_ended() {
    let (sender, kept) = channel();
    *KEPT.lock().unwrap() = Some(sender);
    for driver in drivers() {
        for is_asked_before in [true, false] {
            let gateway = start(|gateway| gateway.driver(driver).listen("127.0.0.1:0".parse().unwrap())).unwrap();
            let address = gateway.addresses()[0].to_string();
            let mut client = TcpStream::connect(&address).unwrap();
            client.write_all(b"POST /kept HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabc").unwrap();
            let mut request = kept.recv_timeout(Duration::from_secs(10)).unwrap();
            if is_asked_before {
                assert!(!request.core().is_draining());
            }
            gateway.stop(Duration::from_millis(20)).unwrap();
            let (done, is_done) = channel();
            let thread = std::thread::spawn(move || {
                let topic = request.core().topic("news");
                assert_eq!((topic.publish("news"), topic.subscribers()), (0, 0));
                assert!(request.core().is_draining());
                let _ = (request.push("/now"), request.early_hints([]));
                while request.body_mut().next().is_some_and(|piece| piece.is_ok()) {}
                drop(request);
                done.send(()).unwrap();
            });
            is_done.recv_timeout(Duration::from_secs(10)).expect("nothing waits for what has ended");
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_socket_that_does_not_block_is_taken_over_like_any_other() {
    for driver in drivers() {
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        bound.set_nonblocking(true).unwrap();
        let address = bound.local_addr().unwrap();
        let gateway = start(|gateway| gateway.driver(driver).listen_bound(bound)).unwrap();
        for _ in 0..3 {
            assert_eq!(Client::new(TcpStream::connect(address).unwrap()).get("/now").text(), "now");
            std::thread::sleep(Duration::from_millis(50));
        }
        let turns = gateway.metrics().render();
        let turns = turns.lines().find_map(|line| line.strip_prefix("ringgate_runtime_turns{core=\"0\"} ")).unwrap();
        assert!(turns.parse::<u64>().unwrap() < 1_000, "{driver:?}: {turns} turns");
        gateway.stop(Duration::from_secs(1)).unwrap();
    }
}

#[test]
fn a_drain_without_a_deadline_is_a_drain() {
    for _ in 0..20 {
        let gateway = start(|gateway| gateway.listen("127.0.0.1:0".parse().unwrap())).unwrap();
        assert_eq!(gateway.stop(Duration::MAX).unwrap().cut, 0);
    }
}
