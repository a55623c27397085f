//! Behind proxies: the PROXY header, over sockets.

use ringgate::{App, Core, Gateway, Request, RunningGateway, TrustedProxies, blocking};
use ringgate_runtime::{driver::DriverChoice, net::Address};
use ringgate_tests::gateway::{Client, Http2, Wire, drivers, start_gateway};
use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n";
/// The same from [2001:db8::7]:51234 to [2001:db8::1]:443, and a TLV.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xc8\x22\x01\xbb\x04\0\x01x";
/// A health check.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn ends(peer: Option<&Address>, local: Option<&Address>) -> String {
    let text = |address: Option<&Address>| address.map_or_else(|| "nobody".into(), ToString::to_string);
    format!("{} {}", text(peer), text(local))
}

fn app(_: &Core) -> App {
    App::new()
        .route("/", |request: &Request| ends(request.peer_address(), request.local_address()))
        .route("/async", async |request: Request| ends(request.peer_address(), request.local_address()))
        .route("/beside", |request: blocking::Request| ends(request.peer_address(), request.local_address()))
        .route("/forever", async |_: Request| std::future::pending::<&'static str>().await)
}

fn behind(driver: DriverChoice, proxies: &str, configure: impl FnOnce(Gateway) -> Gateway) -> RunningGateway {
    let proxies: TrustedProxies = proxies.parse().unwrap();
    start_gateway(driver, app, |gateway| configure(gateway.behind(proxies)))
}

fn connect(gateway: &RunningGateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.addresses()[0].to_string()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn on_every_driver(test: impl Fn(DriverChoice)) {
    drivers().into_iter().for_each(test);
}

#[test]
fn y_1_the_addresses_are_those_of_the_header() {
    on_every_driver(|driver| {
        let gateway = behind(driver, "127.0.0.1", |gateway| gateway);
        let said = [(V1, "192.0.2.7:51234 198.51.100.1:443"), (V2, "[2001:db8::7]:51234 [2001:db8::1]:443")];
        for (header, ends) in said {
            let mut wire = connect(&gateway);
            wire.say(header);
            let mut client = Client::new(wire);
            for target in ["/", "/async", "/beside"] {
                assert_eq!(client.get(target).text(), ends);
            }
            let mut wire = connect(&gateway);
            wire.say(header);
            let mut client = Http2::new(wire);
            for target in ["/", "/async", "/beside"] {
                assert_eq!(client.get(target).text(), ends);
            }
        }
        for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
            let mut wire = connect(&gateway);
            let ends = format!("{} {}", wire.local_addr().unwrap(), wire.peer_addr().unwrap());
            wire.say(header);
            assert_eq!(Client::new(wire).get("/").text(), ends);
        }
        assert_eq!(gateway.metrics().get("proxy_headers_refused"), Some(0));
    });
}

#[test]
fn y_1_a_header_comes_in_pieces_and_with_what_is_behind_it() {
    on_every_driver(|driver| {
        let gateway = behind(driver, "127.0.0.1", |gateway| gateway);
        for header in [V1, V2] {
            let mut wire = connect(&gateway);
            for byte in header {
                wire.say(&[*byte]);
                std::thread::sleep(Duration::from_micros(200));
            }
            assert_eq!(Client::new(wire).get("/").status, 200);
            let mut wire = connect(&gateway);
            let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
            wire.say(&[header, request, request, b"GET / HT"].concat());
            let mut client = Client::new(wire);
            assert_eq!((client.answer(false).status, client.answer(false).status), (200, 200));
            client.wire.say(b"TP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(client.answer(false).status, 200);
        }
    });
}

#[test]
fn y_1_without_a_header_or_with_two_nobody_is_served() {
    on_every_driver(|driver| {
        let gateway = behind(driver, "127.0.0.1", |gateway| gateway);
        let refused = || gateway.metrics().get("proxy_headers_refused");
        for (number, bytes) in
            [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"].iter().enumerate()
        {
            let mut wire = connect(&gateway);
            wire.say(bytes);
            assert_eq!(wire.hear(), b"");
            assert_eq!(refused(), Some(number as u64 + 1));
        }
        // The second is the client's own: no request.
        let mut wire = connect(&gateway);
        wire.say(&[V1, V1].concat());
        assert_eq!(Client::new(wire).answer(false).status, 400);
        assert_eq!(refused(), Some(2));
        // Where none is expected it is no request either.
        let plain = start_gateway(driver, app, |gateway| gateway);
        let mut wire = connect(&plain);
        wire.say(&[V1, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"].concat());
        assert_eq!(Client::new(wire).answer(false).status, 400);
    });
}

#[test]
fn y_1_only_trusted_sources() {
    on_every_driver(|driver| {
        let gateway = behind(driver, "10.0.0.0/8,unix", |gateway| gateway);
        let mut wire = connect(&gateway);
        wire.say(V1);
        assert_eq!(wire.hear(), b"");
        assert_eq!(gateway.metrics().get("proxy_headers_refused"), Some(1));
        assert_eq!(gateway.metrics().get("connections_open"), Some(0));

        for (proxies, is_served) in [("10.0.0.0/8", false), ("unix", true)] {
            let path = std::env::temp_dir().join(format!("ringgate-proxy-{driver:?}-{}", std::process::id()));
            let address = Address::Unix(path.clone());
            // The first place has nobody in front of it.
            let gateway =
                start_gateway(driver, app, |gateway| gateway.listen(address).behind(proxies.parse().unwrap()));
            let mut wire = UnixStream::connect(&path).unwrap();
            wire.write_all(&[V1, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"].concat()).unwrap();
            let mut answer = Vec::new();
            let _ = wire.read_to_end(&mut answer);
            assert_eq!(answer.ends_with(b"192.0.2.7:51234 198.51.100.1:443"), is_served, "{proxies}");
            assert_eq!(Client::new(connect(&gateway)).get("/").status, 200);
        }
    });
}

#[test]
fn r_04_the_time_of_the_head_covers_the_header() {
    on_every_driver(|driver| {
        let with_time = |milliseconds| {
            let mut timeouts = ringgate::Timeouts::default();
            timeouts.header_timeout_ms = milliseconds;
            behind(driver, "127.0.0.1", |gateway| gateway.timeouts(timeouts))
        };
        let gateway = with_time(300);
        for said in [&b""[..], &V1[..20], &V2[..30]] {
            let begun = Instant::now();
            let mut wire = connect(&gateway);
            wire.say(said);
            assert_eq!(wire.hear(), b"");
            assert!((250..5_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        }
        assert_eq!(gateway.metrics().get("timeouts_header"), Some(3));
        // What it took is not there for the head: 1.5 s in all, and not 2.7.
        let gateway = with_time(1_500);
        let begun = Instant::now();
        let mut wire = connect(&gateway);
        std::thread::sleep(Duration::from_millis(1_200));
        wire.say(&[V1, b"GET / HT"].concat());
        assert_eq!(Client::new(wire).answer(false).status, 408);
        assert!((1_450..2_600).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        assert_eq!(gateway.metrics().get("timeouts_header"), Some(1));
    });
}

#[test]
fn a_drain_finds_connections_behind_a_proxy() {
    on_every_driver(|driver| {
        let gateway = behind(driver, "127.0.0.1", |gateway| gateway);
        let mut silent = connect(&gateway);
        silent.say(&V1[..10]);
        let mut idle = connect(&gateway);
        idle.say(V1);
        let mut idle = Client::new(idle);
        assert_eq!(idle.get("/").status, 200);
        let mut endless = connect(&gateway);
        endless.say(&[V1, b"GET /forever HTTP/1.1\r\nhost: a\r\n\r\n"].concat());
        std::thread::sleep(Duration::from_millis(50));
        let report = gateway.stop(Duration::from_millis(300)).unwrap();
        assert_eq!((report.open, report.cut), (3, 1));
        assert!(idle.is_over() && silent.hear().is_empty() && endless.hear().is_empty());
    });
}
