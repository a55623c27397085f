//! How fast are unmasking, the judging of text, and the machine with many small messages?
//!
//! `cargo run --release -p ringgate-protocols --example websocket_speed`. Medians of alternated rounds, on one core.

use std::hint::black_box;
use std::time::Instant;

use ringgate_protocols::limits::WebSocketLimits;
use ringgate_protocols::scan::mask;
use ringgate_protocols::scan::utf8::Kernel;
use ringgate_protocols::websocket::connection::Connection;
use ringgate_protocols::websocket::deflate::{Parameters, Pool};
use ringgate_protocols::websocket::event::{Environment, Event};
use ringgate_protocols::websocket::mask::Mask;
use ringgate_protocols::websocket::message::Kind;
use ringgate_protocols::websocket::utf8::Validator;

const BLOCK: usize = 65_536;
const ROUNDS: usize = 41;

/// Nanoseconds of `work`, each of the `tasks` once per round, the median of the rounds.
fn medians(tasks: &mut [(&str, &mut dyn FnMut())], times: u32) -> Vec<f64> {
    let mut seen = vec![Vec::new(); tasks.len()];
    for _ in 0..ROUNDS {
        for (number, (_, work)) in tasks.iter_mut().enumerate() {
            let start = Instant::now();
            (0..times).for_each(|_| work());
            seen[number].push(start.elapsed().as_nanos() as f64 / f64::from(times));
        }
    }
    seen.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    seen.iter().map(|times| times[ROUNDS / 2]).collect()
}

/// Texts as people write them, from those that are nearly ASCII to those that have none.
const TEXTS: [(&str, &str); 7] = [
    ("ASCII", "The quick brown fox jumps over the lazy dog. "),
    ("umlauts and emoji", "Übergrößenträger kauft käse, 12.50 € 🦀 "),
    ("umlauts and emoji, dense", "Äöüß🦀ÄÖÜ🎉éèê€🚀 "),
    ("Cyrillic", "Съешь же ещё этих мягких французских булок, да выпей чаю. "),
    ("Chinese", "視野無限廣，窗外有藍天。我能吞下玻璃而不伤身体。"),
    ("Korean", "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. "),
    ("emoji", "🦀🎉🚀👩‍💻🇪🇺"),
];

/// `length` bytes of `text` over and over, and not a cut character at the end.
fn repeated(text: &str, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.bytes().cycle().take(length).collect();
    let end = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
    bytes[end..].fill(b' ');
    bytes
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0xfe);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let key = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend(key);
    bytes.extend(payload.iter().enumerate().map(|(place, byte)| byte ^ key[place & 3]));
    bytes
}

/// Restores `input` from `source` and lets the machine eat it; an `Echo` also writes what it ate.
fn eat(socket: &mut Connection, source: &[u8], input: &mut [u8], pool: &mut Pool, scratch: &mut Vec<u8>) -> usize {
    input.copy_from_slice(source);
    let limits = WebSocketLimits::default();
    let mut around = Environment { limits: &limits, pool, scratch, now_ms: 1 };
    let (mut at, mut messages) = (0, 0);
    loop {
        let step = socket.handle_input(&mut input[at..], &mut around).expect("the frames are good");
        at += step.consumed;
        match black_box(step.event) {
            Event::NeedInput => return messages,
            _ => {
                messages += 1;
                around.scratch.clear();
            }
        }
    }
}

fn main() {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let ascii = vec![b'a'; BLOCK];
    let (mut target, mut bytes, mut other) = (vec![0; BLOCK], ascii.clone(), ascii.clone());
    let times = medians(
        &mut [
            ("memcpy", &mut || black_box(&mut target[..]).copy_from_slice(black_box(&ascii))),
            ("unmask", &mut || mask::xor(black_box(&mut bytes), key)),
            ("unmask and look", &mut || _ = black_box(mask::xor_is_ascii(black_box(&mut other), key))),
        ],
        200,
    );
    println!("64 KiB: memcpy {:.0} ns ({:.1} GB/s)", times[0], BLOCK as f64 / times[0]);
    println!("  unmask in place          {:6.0} ns, {:4.0} % of memcpy", times[1], 100.0 * times[0] / times[1]);
    println!("  unmask, highest bits     {:6.0} ns, {:4.0} % of memcpy", times[2], 100.0 * times[0] / times[2]);

    for (name, text) in TEXTS {
        // The key is none, so that the bytes are the same every time.
        let mut bytes = repeated(text, BLOCK);
        for way in Kernel::all().map(Some).chain([None]) {
            let times = medians(
                &mut [
                    ("memcpy", &mut || black_box(&mut target[..]).copy_from_slice(black_box(&ascii))),
                    ("judge", &mut || {
                        let judged =
                            Validator::default().feed_masked_by(way, black_box(&mut bytes), &mut Mask::default());
                        assert_eq!(judged, Ok(()));
                    }),
                ],
                200,
            );
            let way = way.map_or("two looks", Kernel::name);
            println!("  judge {name:24} {way:9} {:6.0} ns, {:4.0} % of memcpy", times[1], 100.0 * times[0] / times[1]);
        }
    }

    let (mut pool, mut scratch) = (Pool::default(), Vec::new());
    let payloads = TEXTS.map(|(name, text)| (name, 0x81, repeated(text, BLOCK)));
    for (name, first, payload) in [("binary", 0x82, ascii.clone())].iter().chain(&payloads) {
        let (first, payload) = (*first, &payload[..]);
        // The copy that restores the input is measured as well, and taken off.
        let source = frame(first, payload);
        let (mut input, mut copy) = (source.clone(), source.clone());
        let mut socket = Connection::server(None, 0);
        let times = medians(
            &mut [
                ("restore", &mut || black_box(&mut copy[..]).copy_from_slice(black_box(&source))),
                ("all", &mut || _ = eat(&mut socket, &source, &mut input, &mut pool, &mut scratch)),
            ],
            200,
        );
        let own = times[1] - times[0];
        println!("  machine, {name:24} {own:6.0} ns, {:4.0} % of memcpy", 100.0 * times[0] / own);
    }

    for (bytes, count) in [(16, 64), (64, 64), (125, 64)] {
        for (name, first) in [("text", 0x81), ("binary", 0x82)] {
            let source = frame(first, &ascii[..bytes]).repeat(count);
            let (mut input, mut copy) = (source.clone(), source.clone());
            let mut socket = Connection::server(None, 0);
            let times = medians(
                &mut [
                    ("restore", &mut || black_box(&mut copy[..]).copy_from_slice(black_box(&source))),
                    ("all", &mut || assert_eq!(eat(&mut socket, &source, &mut input, &mut pool, &mut scratch), count)),
                ],
                500,
            );
            println!("{bytes} B {name}: {:.1} ns per message received", (times[1] - times[0]) / count as f64);
        }
    }

    let mut socket = Connection::server(None, 0);
    let mut out = Vec::new();
    let times = medians(
        &mut [("send", &mut || {
            out.clear();
            for _ in 0..64 {
                socket.send_message(&mut out, Kind::Text, black_box(&ascii[..64])).expect("it is open");
            }
        })],
        500,
    );
    println!("64 B text: {:.1} ns per message sent", times[0] / 64.0);

    let parameters = Parameters {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_window_bits: 15,
        client_window_bits: 15,
    };
    let word = "{\"symbol\":\"RGT\",\"price\":1024.50,\"size\":100,\"side\":\"buy\"},";
    for (name, parameters) in [
        ("no context takeover", parameters),
        (
            "context takeover",
            Parameters { server_no_context_takeover: false, client_no_context_takeover: false, ..parameters },
        ),
    ] {
        for size in [256, 4_096, 65_536] {
            let payload: Vec<u8> = word.bytes().cycle().take(size).collect();
            let mut socket = Connection::server(Some(parameters), 0);
            let mut client = Connection::client(Some(parameters), Box::new(|| [1, 2, 3, 4]), 0);
            let mut client_pool = Pool::default();
            let (mut sent, mut input) = (Vec::new(), Vec::new());
            let mut spent = [Vec::new(), Vec::new()];
            for _ in 0..200 {
                sent.clear();
                client.send_compressed(&mut sent, Kind::Text, &payload, &mut client_pool).expect("it is open");
                input.clone_from(&sent);
                let start = Instant::now();
                eat(&mut socket, &sent, &mut input, &mut pool, &mut scratch);
                spent[0].push(start.elapsed().as_nanos());
                out.clear();
                let start = Instant::now();
                socket.send_compressed(&mut out, Kind::Text, &payload, &mut pool).expect("it is open");
                spent[1].push(start.elapsed().as_nanos());
            }
            spent.iter_mut().for_each(|times| times.sort_unstable());
            println!(
                "deflate, {name}, {size} B of JSON: received in {:.1} µs, sent in {:.1} µs as {} B",
                spent[0][100] as f64 / 1e3,
                spent[1][100] as f64 / 1e3,
                out.len()
            );
        }
    }
    println!("a connection is {} bytes", size_of::<Connection>());
}
