//! Question: what does it cost to decode a chunked body, and how much of that is the size of the chunks?
//!
//! The body stays where it is: decoding yields places in the input. So the cost is per chunk, not per byte.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::event::Event;
use ringgate_protocols::limits::Limits;

const BODY_BYTES: usize = 64 * 1024;
const HEAD: &[u8] = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

fn request(chunk_bytes: usize) -> Vec<u8> {
    let mut request = HEAD.to_vec();
    for chunk in vec![b'a'; BODY_BYTES].chunks(chunk_bytes) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

/// Reads the whole request; returns the bytes of body.
fn read(input: &[u8], head: &mut Head, limits: &Limits) -> usize {
    let mut connection = Connection::new();
    let (mut position, mut body_bytes) = (0, 0);
    loop {
        let step = connection.handle_input(&input[position..], head, limits).unwrap();
        match step.event {
            Event::Body(span) => body_bytes += black_box(span.of(&input[position..])).len(),
            Event::End => return body_bytes,
            Event::Request(_) => {}
            other => panic!("{other:?} in the middle of a whole request"),
        }
        position += step.consumed;
    }
}

fn chunked(criterion: &mut Criterion) {
    let limits = Limits::default();
    let mut head = Head::default();
    for chunk_bytes in [16, 256, 4096, BODY_BYTES] {
        let input = request(chunk_bytes);
        assert_eq!(read(&input, &mut head, &limits), BODY_BYTES);
        let mut group = criterion.benchmark_group("http1_chunked/64 KiB");
        group.throughput(Throughput::Elements(BODY_BYTES.div_ceil(chunk_bytes) as u64));
        group.bench_function(format!("chunks of {chunk_bytes}"), |bencher| {
            bencher.iter(|| read(black_box(&input), &mut head, &limits));
        });
        group.finish();
    }
}

criterion_group!(benches, chunked);
criterion_main!(benches);
