//! Question: what does it cost to read a request head, beside `httparse`?
//!
//! The two do not do the same: ours also checks Host, decides the body's framing, and knows the fields that steer a
//! connection. `httparse` only finds the places. Both rows read the same bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::event::Event;
use ringgate_protocols::limits::Limits;

const SMALL: &[u8] = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BROWSER: &[u8] = b"GET /articles/2026/11/a-title-of-some-length?utm_source=feed HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: none\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-User: ?1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let limits = Limits::default();
    for (name, input) in [("small", SMALL), ("browser", BROWSER)] {
        let mut group = criterion.benchmark_group(format!("http1_head/{name}"));
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function("ringgate", |bencher| {
            let mut head = Head::default();
            bencher.iter(|| {
                let step = Connection::new().handle_input(black_box(input), &mut head, &limits).unwrap();
                assert!(matches!(step.event, Event::Request(_)));
                black_box(&head);
            });
        });
        group.bench_function("httparse", |bencher| {
            bencher.iter(|| {
                let mut fields = [httparse::EMPTY_HEADER; 32];
                let mut request = httparse::Request::new(&mut fields);
                let status = request.parse(black_box(input)).unwrap();
                assert!(status.is_complete());
                black_box(&request);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, heads);
criterion_main!(benches);
