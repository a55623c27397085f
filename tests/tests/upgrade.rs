//! `Upgrade: h2c` (RFC 7540 section 3.2): off unless configured, and then only where it is safe.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ringgate::{App, Gateway, Request, RunningGateway};
use ringgate_runtime::driver::DriverChoice;
use ringgate_runtime::sys::placement::Placement;
use ringgate_tests::gateway::drivers;

fn start(driver: DriverChoice, is_upgraded: bool) -> RunningGateway {
    Gateway::builder(|_| App::new().route("/", |request: &Request| format!("over {}", request.protocol())))
        .listen("127.0.0.1:0".parse().unwrap())
        .cores(Placement::Unpinned { count: 1 })
        .driver(driver)
        .upgrade_h2c(is_upgraded)
        .start()
        .unwrap()
}

/// Everything that comes back within a moment.
fn answer(gateway: &RunningGateway, request: &str, then: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(gateway.addresses()[0].to_string()).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    client.write_all(then).unwrap();
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = client.read(&mut piece) {
        received.extend_from_slice(&piece[..length]);
    }
    received
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn request(settings: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n{settings}\r\n")
}

#[test]
fn c_4_and_5_the_upgraded_request_is_stream_one_behind_our_settings() {
    for driver in drivers() {
        let gateway = start(driver, true);
        let received = answer(&gateway, &request("http2-settings: AAMAAABkAAQAAP__\r\n"), PREFACE);
        let head_end = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&received[..head_end]).to_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: h2c"), "{head}");
        let mut frames = Vec::new();
        let mut rest = &received[head_end..];
        while rest.len() >= 9 {
            let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
            frames.push((rest[3], rest[4], rest[8], rest[9..9 + length].to_vec()));
            rest = &rest[9 + length..];
        }
        assert_eq!((frames[0].0, frames[0].1), (4, 0), "our SETTINGS come first");
        assert!(frames.iter().any(|(kind, _, stream, _)| (*kind, *stream) == (1, 1)), "HEADERS on stream 1");
        assert!(frames.iter().any(|(kind, flags, stream, payload)| {
            (*kind, *flags, *stream, payload.as_slice()) == (0, 1, 1, b"over HTTP/2")
        }));
        assert!(
            frames.iter().any(|(kind, flags, ..)| (*kind, *flags) == (4, 1)),
            "the client's SETTINGS are acknowledged"
        );
        gateway.stop(Duration::from_secs(2)).unwrap();
    }
}

#[test]
fn c_1_off_unless_configured() {
    let gateway = start(DriverChoice::Auto, false);
    let received = answer(&gateway, &request("http2-settings: AAMAAABkAAQAAP__\r\n"), b"");
    let text = String::from_utf8_lossy(&received);
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("over HTTP/1.1"), "{text}");
    gateway.stop(Duration::from_secs(2)).unwrap();
}

#[test]
fn c_2_and_3_a_doubtful_request_goes_on_as_http1() {
    let gateway = start(DriverChoice::Auto, true);
    let doubtful = [
        request(""),
        request("http2-settings: AAMAAABkAAQAAP__\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"),
        request("http2-settings: AAMAAABkAAQAAP//\r\n"),
        request("http2-settings: AAMA\r\n"),
        request("http2-settings: AAMAAABkAAQAAP__\r\n").replace("upgrade, http2-settings", "upgrade"),
    ];
    for request in doubtful {
        let text = String::from_utf8_lossy(&answer(&gateway, &request, b"")).into_owned();
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("over HTTP/1.1"), "{request}: {text}");
    }
    let with_body = request("http2-settings: AAMAAABkAAQAAP__\r\ncontent-length: 2\r\n");
    let text = String::from_utf8_lossy(&answer(&gateway, &with_body, b"hi")).into_owned();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    gateway.stop(Duration::from_secs(2)).unwrap();
}
