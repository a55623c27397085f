//! Any bytes, whole and in pieces: the same is told, memory and answers stay within their bounds, nothing panics.
//!
//! The first byte chooses what was negotiated and whether frames are masked by the harness, the second the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringgate_protocols::limits::WebSocketLimits;
use ringgate_protocols::websocket::connection::Connection;
use ringgate_protocols::websocket::deflate::{Parameters, Pool};
use ringgate_protocols::websocket::event::{Environment, Event};
use ringgate_protocols::websocket::message::{Kind, Payload};

/// What the application would know.
#[derive(PartialEq, Eq, Debug)]
enum Told {
    Message(Kind, Vec<u8>),
    Control(Event, Vec<u8>),
    Fault,
}

fn run<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    parameters: Option<Parameters>,
    server: bool,
    limits: &WebSocketLimits,
) -> (Vec<Told>, Vec<u8>) {
    let mut socket = match server {
        true => Connection::server(parameters, 0),
        false => Connection::client(parameters, Box::new(|| [0; 4]), 0),
    };
    let (mut pool, mut scratch) = (Pool::default(), Vec::new());
    let (mut input, mut message, mut told, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let mut around = Environment { limits, pool: &mut pool, scratch: &mut scratch, now_ms: 0 };
            let Ok(step) = socket.handle_input(&mut input, &mut around) else {
                told.push(Told::Fault);
                continue;
            };
            let bytes = |payload: Payload| payload.of(&input, &scratch).to_vec();
            match step.event {
                Event::NeedInput => {}
                Event::Message { kind, payload } => told.push(Told::Message(kind, bytes(payload))),
                Event::Piece { kind, payload, last, .. } => {
                    message.extend(bytes(payload));
                    if last {
                        told.push(Told::Message(kind, std::mem::take(&mut message)));
                    }
                }
                // Places depend on the cuts, so only the bytes are kept.
                Event::Ping(span) => {
                    told.push(Told::Control(Event::Ping(Default::default()), bytes(Payload::Input(span))));
                }
                Event::Pong(span) => {
                    told.push(Told::Control(Event::Pong(Default::default()), bytes(Payload::Input(span))));
                }
                Event::Close { code, reason } => {
                    let event = Event::Close { code, reason: Default::default() };
                    told.push(Told::Control(event, bytes(Payload::Input(reason))));
                }
            }
            if let Some(Told::Message(Kind::Text, bytes)) = told.last() {
                assert!(std::str::from_utf8(bytes).is_ok());
            }
            assert!(scratch.len() as u64 <= limits.message_bytes_max + 1);
            assert!(message.len() as u64 <= limits.message_bytes_max);
            if !matches!(step.event, Event::Ping(_) | Event::Pong(_)) {
                scratch.clear();
            }
            input.drain(..step.consumed);
            socket.poll_output(&mut out);
            if step.event == Event::NeedInput {
                assert!(input.len() <= 138);
                break;
            }
            assert!(step.consumed > 0);
        }
    }
    (told, out)
}

fuzz_target!(|data: &[u8]| {
    let [choice, step, bytes @ ..] = data else { return };
    let parameters = (choice & 1 != 0).then_some(Parameters {
        server_no_context_takeover: choice & 2 != 0,
        client_no_context_takeover: choice & 2 != 0,
        server_window_bits: 15,
        client_window_bits: 15,
    });
    let server = choice & 4 == 0;
    let limits = WebSocketLimits {
        message_bytes_max: 20_000,
        fragment_count_max: 20,
        ping_tokens_max: 20,
        // Judged at the end of each step of inflation, which is not quite the same place in every cut.
        inflate_ratio_max: u32::MAX,
        ..WebSocketLimits::default()
    };
    let whole = run(std::iter::once(bytes), parameters, server, &limits);
    assert_eq!(run(bytes.chunks(usize::from(*step).max(1)), parameters, server, &limits), whole);
    assert_eq!(run(bytes.chunks(1), parameters, server, &limits), whole);
});
