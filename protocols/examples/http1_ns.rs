//! How long the hot paths of HTTP/1 take: nanoseconds per call, the best of several runs.
//! `cargo run --release -p ringgate-protocols --example http1_ns`

use std::hint::black_box;
use std::time::Instant;

use http::{HeaderName, HeaderValue, StatusCode};
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::encode::ResponseHead;
use ringgate_protocols::http1::event::{Event, Then};
use ringgate_protocols::limits::Limits;

const SMALL: &[u8] = b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: wrk/4.2.0\r\nAccept: */*\r\n\r\n";
const BROWSER: &[u8] = b"GET /search?q=ringgate&lang=en HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\n\
    Referer: https://www.example.com/index.html\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Priority: u=0, i\r\n\r\n";
const BLOCK: &[u8] = b"server: ringgate\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

/// Only what has the first argument in its name is measured.
fn measure(what: &str, per: u32, mut work: impl FnMut()) {
    if std::env::args().nth(1).is_some_and(|wanted| !what.contains(&wanted)) {
        return;
    }
    const ROUNDS: u32 = 5_000;
    let mut best = f64::MAX;
    for _ in 0..150 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS * per));
    }
    println!("{what:<44} {best:>8.1} ns");
}

fn answer(connection: &mut Connection, out: &mut Vec<u8>, limits: &Limits) -> Then {
    static NAME: HeaderName = http::header::CONTENT_TYPE;
    static VALUE: HeaderValue = HeaderValue::from_static("text/plain");
    let head = ResponseHead { status: StatusCode::OK, block: BLOCK, fields: [(&NAME, &VALUE)] };
    connection.send_response(out, head, b"Hello, World!", limits).unwrap()
}

fn main() {
    let limits = Limits::default();
    let mut head = Head::default();
    for (name, input) in [("small head", SMALL), ("browser head", BROWSER)] {
        measure(&format!("{name}, ringgate, all checks"), 1, || {
            let mut connection = Connection::new();
            black_box(connection.handle_input(black_box(input), &mut head, &limits).unwrap());
        });
        measure(&format!("{name}, httparse, tokens only"), 1, || {
            let mut fields = [std::mem::MaybeUninit::uninit(); 100];
            let mut request = httparse::Request::new(&mut []);
            black_box(request.parse_with_uninit_headers(black_box(input), &mut fields).unwrap());
        });
    }
    let mut out = Vec::with_capacity(4096);
    let mut connection = Connection::new();
    measure("parse small + answer hello", 1, || {
        out.clear();
        connection.handle_input(black_box(SMALL), &mut head, &limits).unwrap();
        black_box(answer(&mut connection, &mut out, &limits));
    });
    let clones: Vec<_> = {
        let mut connection = Connection::new();
        connection.handle_input(SMALL, &mut head, &limits).unwrap();
        vec![connection; 1]
    };
    measure("answer hello (with copying the machine)", 1, || {
        out.clear();
        let mut connection = black_box(&clones)[0].clone();
        black_box(answer(&mut connection, &mut out, &limits));
    });
    let pipelined = SMALL.repeat(16);
    measure("16 pipelined, per request", 16, || {
        out.clear();
        let mut rest = black_box(&pipelined[..]);
        while !rest.is_empty() {
            let step = connection.handle_input(rest, &mut head, &limits).unwrap();
            assert!(matches!(step.event, Event::Request(_)));
            rest = &rest[step.consumed..];
            black_box(answer(&mut connection, &mut out, &limits));
        }
    });
    println!("a connection is {} bytes", size_of::<Connection>());
}
