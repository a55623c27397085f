//! What HTTP/2 costs without a socket: nanoseconds of codec and machine, beside other crates.
//!
//! `cargo run --release --example http2_cost`

use std::hint::black_box;
use std::time::Instant;

use http::{HeaderName, HeaderValue, StatusCode};
use ringgate_protocols::hpack::decode::{BlockLimits, Decoder};
use ringgate_protocols::hpack::encode::Encoder;
use ringgate_protocols::hpack::text::Text;
use ringgate_protocols::http2::connection::{Connection, Event};
use ringgate_protocols::http2::request::HeadPool;
use ringgate_protocols::limits::Http2Limits;

/// Nanoseconds per call: the best of several rounds, so that a disturbed round does not count.
fn best(rounds: usize, calls: usize, mut call: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / calls as f64);
    }
    best
}

const BROWSER: [(&str, &str); 12] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "www.example.org"),
    (":path", "/articles/2026/11/a-title-of-some-length?ref=front&page=2"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://www.example.org/articles/"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("upgrade-insecure-requests", "1"),
    ("sec-fetch-site", "same-origin"),
];

const RESPONSE: [(&str, &str); 6] = [
    (":status", "200"),
    ("server", "ringgate"),
    ("date", "Sun, 22 Nov 2026 14:00:00 GMT"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "5310"),
    ("cache-control", "max-age=3600"),
];

fn row(name: &str, ns: f64) {
    println!("{name:<58} {ns:>10.1} ns");
}

fn encode_ours(fields: &[(&str, &str)], encoder: &mut Encoder, out: &mut Vec<u8>) {
    out.clear();
    encoder.begin(out);
    for (name, value) in fields {
        encoder.field(out, name.as_bytes(), value.as_bytes(), false);
    }
}

fn codec() {
    let limits = BlockLimits { header_bytes_max: 32_768, field_count_max: 100 };
    let mut first = Vec::new();
    let mut encoder = Encoder::new(4096);
    encode_ours(&BROWSER, &mut encoder, &mut first);
    let mut again = Vec::new();
    for _ in 0..3 {
        encode_ours(&BROWSER, &mut encoder, &mut again);
    }
    println!("browser-like block: {} bytes first, {} bytes again, {} fields", first.len(), again.len(), BROWSER.len());

    let mut text = Text::default();
    row(
        "decode, first block, new decoder: ours",
        best(20, 20_000, || {
            text.truncate(0);
            let mut decoder = Decoder::new(4096);
            let mut count = 0;
            decoder.decode(black_box(&first), &mut text, limits, |_, _| count += 1).unwrap();
            black_box(count);
        }),
    );
    row(
        "decode, first block, new decoder: httlib-hpack",
        best(5, 500, || {
            let mut decoder = httlib_hpack::Decoder::default();
            let mut list = Vec::new();
            decoder.decode(&mut black_box(&first).clone(), &mut list).unwrap();
            black_box(list.len());
        }),
    );
    row(
        "decode, first block, new decoder: fluke-hpack",
        best(3, 50, || {
            black_box(fluke_hpack::Decoder::new().decode(black_box(&first)).unwrap().len());
        }),
    );
    row(
        "decode, first block, new decoder: hpack",
        best(3, 50, || {
            black_box(hpack::Decoder::new().decode(black_box(&first)).unwrap().len());
        }),
    );

    // The same request again on the same connection: nearly all by index.
    let prepare = |decoder: &mut Decoder, text: &mut Text| {
        let mut encoder = Encoder::new(4096);
        let mut out = Vec::new();
        for _ in 0..4 {
            encode_ours(&BROWSER, &mut encoder, &mut out);
            text.truncate(0);
            decoder.decode(&out, text, limits, |_, _| {}).unwrap();
        }
        out
    };
    let mut decoder = Decoder::new(4096);
    let repeated = prepare(&mut decoder, &mut text);
    row(
        "decode, repeated block: ours",
        best(20, 20_000, || {
            text.truncate(0);
            let mut count = 0;
            decoder.decode(black_box(&repeated), &mut text, limits, |_, _| count += 1).unwrap();
            black_box(count);
        }),
    );
    let mut others = fluke_hpack::Decoder::new();
    let mut oldest = hpack::Decoder::new();
    let mut encoder = Encoder::new(4096);
    let mut out = Vec::new();
    for _ in 0..4 {
        encode_ours(&BROWSER, &mut encoder, &mut out);
        others.decode(&out).unwrap();
        oldest.decode(&out).unwrap();
    }
    row(
        "decode, repeated block: fluke-hpack",
        best(5, 500, || {
            black_box(others.decode(black_box(&out)).unwrap().len());
        }),
    );
    row(
        "decode, repeated block: hpack",
        best(5, 500, || {
            black_box(oldest.decode(black_box(&out)).unwrap().len());
        }),
    );

    let mut encoder = Encoder::new(4096);
    row(
        "encode a response, repeated: ours",
        best(20, 20_000, || {
            encode_ours(black_box(&RESPONSE), &mut encoder, &mut out);
            black_box(out.len());
        }),
    );
    row(
        "encode a response, new encoder: ours",
        best(20, 5_000, || {
            encode_ours(black_box(&RESPONSE), &mut Encoder::new(4096), &mut out);
            black_box(out.len());
        }),
    );
    let pairs: Vec<(&[u8], &[u8])> = RESPONSE.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let mut others = fluke_hpack::Encoder::new();
    row(
        "encode a response, repeated: fluke-hpack",
        best(5, 5_000, || {
            black_box(others.encode(black_box(&pairs).iter().copied()).len());
        }),
    );
    let mut oldest = hpack::Encoder::new();
    row(
        "encode a response, repeated: hpack",
        best(5, 5_000, || {
            black_box(oldest.encode(black_box(&pairs).iter().copied()).len());
        }),
    );
}

/// Frames of `count` requests as h2load sends them: everything indexed but the path, which is a Huffman literal.
fn h2load_requests(count: u32, first_stream: u32) -> Vec<u8> {
    let mut input = Vec::new();
    for number in 0..count {
        // :path is a literal without indexing, five bytes of Huffman: /hello
        let mut block = vec![0x82, 0x04, 0x85, 0x62, 0x72, 0xd1, 0x41, 0xff, 0x86];
        if first_stream == 1 && number == 0 {
            block.extend_from_slice(b"\x41\x0e127.0.0.1:8080");
            block.extend_from_slice(b"\x7a\x14h2load nghttp2/1.64.");
        } else {
            block.extend_from_slice(&[0xbf, 0xbe]);
        }
        let stream = first_stream + 2 * number;
        input.extend_from_slice(&[0, 0, block.len() as u8, 1, 5]);
        input.extend_from_slice(&stream.to_be_bytes());
        input.extend_from_slice(&block);
    }
    input
}

fn machine() {
    let fields: Vec<(HeaderName, HeaderValue)> = [
        ("server", "ringgate"),
        ("date", "Sun, 22 Nov 2026 14:00:00 GMT"),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "13"),
    ]
    .iter()
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .collect();
    let (mut heads, mut out) = (HeadPool::new(), Vec::new());
    let mut connection = Connection::new(Http2Limits::default(), 0);
    let mut input = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0".to_vec();
    // The client's window is large, as h2load's is.
    input.extend(b"\0\0\x04\x08\0\0\0\0\0\x7f\0\0\0");
    let mut stream = 1;
    input.extend(h2load_requests(1, 1));
    let mut turn = |input: &[u8], out: &mut Vec<u8>| {
        let mut at = 0;
        out.clear();
        loop {
            let step = connection.handle_input(&mut heads, &input[at..], 1).unwrap();
            at += step.consumed;
            let Some(Event::Request { stream, head, .. }) = step.event else { break };
            black_box(head.head.path.of(head.bytes()));
            heads.recycle(head);
            let fields = fields.iter().map(|(name, value)| (name, value));
            connection.send_response_with_body(out, stream, StatusCode::OK, fields, b"Hello, world!").unwrap();
            connection.stream_done(stream);
        }
        connection.poll_output(out);
        black_box(out.len());
    };
    turn(&input, &mut out);
    stream += 2;
    const BATCH: u32 = 32;
    let mut best = f64::MAX;
    for _ in 0..2_000 {
        let mut input = h2load_requests(BATCH, stream);
        stream += 2 * BATCH;
        // One WINDOW_UPDATE per batch keeps the connection's window open.
        input.extend(b"\0\0\x04\x08\0\0\0\0\0\0\0\x02\0");
        let start = Instant::now();
        turn(&input, &mut out);
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    row("machine: request in, response out, done (batch of 32)", best);
    println!("{:<58} {:>10} bytes", "  of output per response", out.len() / BATCH as usize);
    println!("{:<58} {:>10} bytes", "  memory of that connection when idle", connection.memory_bytes());
    println!("{:<58} {:>10} bytes", "  of it the machine itself", size_of::<Connection>());
}

fn memory() {
    let (mut heads, mut out) = (HeadPool::new(), Vec::new());
    let mut connection = Connection::new(Http2Limits::default(), 0);
    let mut input = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    input.extend(h2load_requests(100, 1));
    let mut at = 0;
    let mut streams = 0;
    loop {
        let step = connection.handle_input(&mut heads, &input[at..], 1).unwrap();
        at += step.consumed;
        let Some(Event::Request { head, .. }) = step.event else { break };
        heads.recycle(head);
        streams += 1;
    }
    connection.poll_output(&mut out);
    println!("{:<58} {:>10} bytes", format!("memory with {streams} open streams"), connection.memory_bytes());
}

fn main() {
    // With any argument only the machine runs: for a profiler.
    if std::env::args().len() > 1 {
        return (0..20).for_each(|_| machine());
    }
    codec();
    machine();
    memory();
}
