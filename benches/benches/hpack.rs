//! Question: what do HPACK decoding and encoding cost per block, beside `hpack` and `fluke-hpack`?
//!
//! Each side sees what it would see on a connection: the first block fills the tables, and the measured ones repeat it
//! unchanged. `hpack` and its fork build their Huffman table anew for each string, which is most of their cold row. The
//! codec of the `h2` crate is private to it and takes part only within hyper, in `compare`.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use ringgate_protocols::hpack::decode::{BlockLimits, Decoder};
use ringgate_protocols::hpack::encode::Encoder;
use ringgate_protocols::hpack::text::Text;

const REQUEST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/articles/2026/11/a-title-of-some-length?utm_source=feed"),
    (":authority", "www.example.com"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("cookie", "session=0123456789abcdef0123456789abcdef"),
];

const RESPONSE: &[(&str, &str)] = &[
    (":status", "200"),
    ("server", "ringgate"),
    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "15132"),
    ("cache-control", "private, max-age=0"),
];

const LIMITS: BlockLimits = BlockLimits { header_bytes_max: 32_768, field_count_max: 100 };

/// The same request twice, as our encoder sends it: first with everything new, then from the tables. Our encoder
/// uses Huffman coding and the dynamic table, as browsers do.
fn blocks(fields: &[(&str, &str)]) -> [Vec<u8>; 2] {
    let mut encoder = Encoder::new(4096);
    // The second sight is what indexes most fields; the third block is the one of a connection in its stride.
    let [first, second, third] = [(); 3].map(|()| encode(&mut encoder, fields));
    [[first, second].concat(), third]
}

fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    encode_into(encoder, fields, &mut block);
    block
}

fn encode_into(encoder: &mut Encoder, fields: &[(&str, &str)], block: &mut Vec<u8>) {
    encoder.begin(block);
    for (name, value) in fields {
        encoder.field(block, name.as_bytes(), value.as_bytes(), false);
    }
}

fn decode(criterion: &mut Criterion) {
    let mut first = Encoder::new(4096);
    let cold = encode(&mut first, REQUEST);
    let [before, warm] = blocks(REQUEST);
    for (name, before, block) in [("cold", &Vec::new(), &cold), ("warm", &before, &warm)] {
        let mut group = criterion.benchmark_group(format!("hpack_decode/{name}"));
        group.throughput(Throughput::Elements(REQUEST.len() as u64));
        decoders(&mut group, before, block);
        group.finish();
    }
}

/// A cold block changes the table each time it is decoded, in the same way for all.
fn decoders(group: &mut BenchmarkGroup<'_, WallTime>, before: &[u8], block: &[u8]) {
    group.bench_function("ringgate", |bencher| {
        let (mut decoder, mut text) = (Decoder::new(4096), Text::default());
        decoder.decode(before, &mut text, LIMITS, |_, _| {}).unwrap();
        bencher.iter(|| {
            text.truncate(0);
            let mut fields = 0;
            decoder
                .decode(black_box(block), &mut text, LIMITS, |_, field| {
                    black_box(field);
                    fields += 1;
                })
                .unwrap();
            assert_eq!(fields, REQUEST.len());
        });
    });
    group.bench_function("hpack", |bencher| {
        let mut decoder = hpack::Decoder::new();
        decoder.decode(before).unwrap();
        bencher.iter(|| assert_eq!(black_box(decoder.decode(black_box(block)).unwrap()).len(), REQUEST.len()));
    });
    group.bench_function("fluke-hpack", |bencher| {
        let mut decoder = fluke_hpack::Decoder::new();
        decoder.decode(before).unwrap();
        bencher.iter(|| assert_eq!(black_box(decoder.decode(black_box(block)).unwrap()).len(), REQUEST.len()));
    });
}

fn encode_response(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hpack_encode/response");
    group.throughput(Throughput::Elements(RESPONSE.len() as u64));
    let pairs: Vec<(&[u8], &[u8])> = RESPONSE.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    group.bench_function("ringgate", |bencher| {
        let (mut encoder, mut block) = (Encoder::new(4096), Vec::new());
        bencher.iter(|| {
            block.clear();
            encode_into(&mut encoder, black_box(RESPONSE), &mut block);
            black_box(&block);
        });
    });
    group.bench_function("hpack", |bencher| {
        let (mut encoder, mut block) = (hpack::Encoder::new(), Vec::new());
        bencher.iter(|| {
            block.clear();
            encoder.encode_into(black_box(&pairs).iter().copied(), &mut block).unwrap();
            black_box(&block);
        });
    });
    group.bench_function("fluke-hpack", |bencher| {
        let (mut encoder, mut block) = (fluke_hpack::Encoder::new(), Vec::new());
        bencher.iter(|| {
            block.clear();
            encoder.encode_into(black_box(&pairs).iter().copied(), &mut block).unwrap();
            black_box(&block);
        });
    });
    group.finish();
}

criterion_group!(benches, decode, encode_response);
criterion_main!(benches);
