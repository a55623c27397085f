//! A slow, obvious model of the stream table, and the machine in lockstep with it. Operations come from a property test
//! (`http2_model.rs`) and from the fuzzer (`fuzz/fuzz_targets/http2_model.rs`).
#![allow(dead_code, unreachable_pub, reason = "a module of some suites and of a fuzz target")]

use std::collections::BTreeMap;

use crate::peer::*;
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::limits::Http2Limits;

/// What may happen: frames of the client, verbs of the application.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Headers { id: u32, end: bool },
    Data { id: u32, length: usize, end: bool },
    Rst(u32),
    Widen { id: u32, by: u32 },
    InitialWindow(u32),
    Respond { id: u32, bytes: usize },
    Drain(usize),
    Reset(u32),
    Done(u32),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Closed {
    Normally,
    ByPeer,
    ByUs,
}

#[derive(Clone, Debug, Default)]
struct Model {
    streams: BTreeMap<u32, Stream>,
    highest: u32,
    /// What the peer allows us: the connection, and the size of new streams.
    window: i64,
    initial: i64,
}

#[derive(Clone, Debug)]
struct Stream {
    peer_done: bool,
    we_done: bool,
    head: bool,
    closed: Option<Closed>,
    running: bool,
    /// Sum of WINDOW_UPDATE minus what was sent.
    window: i64,
    waiting: usize,
}

#[derive(Clone, PartialEq, Debug)]
enum Expected {
    Nothing,
    Told(&'static str, u32),
    StreamError(Reason),
    ConnectionError(Reason),
}

pub const STREAMS_MAX: usize = 4;

impl Stream {
    fn close(&mut self, how: Closed) {
        self.closed = self.closed.or(Some(how));
        self.waiting = 0;
    }

    fn check_end(&mut self) {
        if self.peer_done && self.we_done {
            self.close(Closed::Normally);
        }
        // Nobody reads the rest: we stop the peer.
        if self.we_done && !self.running && self.closed.is_none() {
            self.close(Closed::ByUs);
        }
    }
}

impl Model {
    fn live(&self) -> usize {
        self.streams.values().filter(|stream| stream.running || stream.closed.is_none()).count()
    }

    fn frame(&mut self, id: u32, operation: Operation) -> Expected {
        use Expected::{ConnectionError, Nothing, StreamError, Told};
        if id > self.highest {
            return match operation {
                Operation::Headers { end, .. } => {
                    self.highest = id;
                    let full = self.live() >= STREAMS_MAX;
                    let stream = Stream {
                        peer_done: end,
                        we_done: false,
                        head: false,
                        closed: full.then_some(Closed::ByUs),
                        running: !full,
                        window: 0,
                        waiting: 0,
                    };
                    self.streams.insert(id, stream);
                    if full { StreamError(Reason::REFUSED_STREAM) } else { Told("request", id) }
                }
                _ => ConnectionError(Reason::PROTOCOL_ERROR),
            };
        }
        let initial = self.initial;
        let Some(stream) = self.streams.get_mut(&id) else {
            // Skipped.
            return match operation {
                Operation::Headers { .. } => ConnectionError(Reason::PROTOCOL_ERROR),
                Operation::Data { .. } => {
                    let closed = Some(Closed::ByUs);
                    let (peer_done, we_done, head, running, window, waiting) = (false, false, false, false, 0, 0);
                    self.streams.insert(id, Stream { peer_done, we_done, head, closed, running, window, waiting });
                    StreamError(Reason::STREAM_CLOSED)
                }
                _ => Nothing,
            };
        };
        match (stream.closed, operation) {
            (Some(_), Operation::Rst(_) | Operation::Widen { .. }) | (Some(Closed::ByUs), _) => Nothing,
            (Some(Closed::Normally), Operation::Headers { .. }) => ConnectionError(Reason::STREAM_CLOSED),
            (Some(_), _) => {
                stream.closed = Some(Closed::ByUs);
                StreamError(Reason::STREAM_CLOSED)
            }
            (None, Operation::Rst(_)) => {
                let is_told = stream.running || stream.waiting > 0;
                stream.close(Closed::ByPeer);
                if is_told { Told("reset", id) } else { Nothing }
            }
            (None, Operation::Widen { by, .. }) => {
                if by == 0 || initial + stream.window + i64::from(by) > 0x7fff_ffff {
                    stream.close(Closed::ByUs);
                    return StreamError(if by == 0 { Reason::PROTOCOL_ERROR } else { Reason::FLOW_CONTROL_ERROR });
                }
                stream.window += i64::from(by);
                Nothing
            }
            (None, _) if stream.peer_done => {
                stream.close(Closed::ByUs);
                StreamError(Reason::STREAM_CLOSED)
            }
            (None, Operation::Headers { end: false, .. }) => {
                stream.close(Closed::ByUs);
                StreamError(Reason::PROTOCOL_ERROR)
            }
            (None, Operation::Headers { end: true, .. }) => {
                stream.peer_done = true;
                let running = stream.running;
                stream.check_end();
                if running { Told("trailers", id) } else { Nothing }
            }
            (None, Operation::Data { length, end, .. }) => {
                stream.peer_done |= end;
                let running = stream.running;
                stream.check_end();
                if running && (length > 0 || end) { Told("data", id) } else { Nothing }
            }
            (None, _) => unreachable!("verbs are not frames"),
        }
    }

    /// How much the machine may send in all, and whether a stream with waiting bytes could send at all.
    fn sendable(&self) -> bool {
        self.window > 0 && self.streams.values().any(|stream| stream.waiting > 0 && self.initial + stream.window > 0)
    }
}

/// Does everything to both, and looks after each step whether they agree; `look` at the machine as well.
///
/// # Panics
/// When they do not.
pub fn run(operations: impl IntoIterator<Item = Operation>, mut look: impl FnMut(&Talk)) {
    // The budget has tests of its own.
    let limits = Http2Limits { streams_max: STREAMS_MAX as u32, glitch_tokens_max: 1 << 20, ..Default::default() };
    let mut talk = Talk::with(limits);
    let mut model = Model { window: 65_535, initial: 65_535, ..Default::default() };
    for operation in operations {
        look(&talk);
        let (bytes, id) = match operation {
            Operation::Headers { id, end } => {
                let fields = if id > model.highest { block(&POST) } else { block(&[("t", "1")]) };
                (frame(HEADERS, END_HEADERS | u8::from(end), id, &fields), id)
            }
            Operation::Data { id, length, end } => (frame(DATA, u8::from(end), id, &vec![b'd'; length]), id),
            Operation::Rst(id) => (rst(id), id),
            Operation::Widen { id: 0, by } => {
                model.window += i64::from(by);
                assert_eq!(talk.feed(&window_update(0, by)), Ok(vec![]));
                continue;
            }
            Operation::Widen { id, by } => (window_update(id, by), id),
            Operation::InitialWindow(size) => {
                let too_large =
                    |stream: &Stream| stream.closed.is_none() && i64::from(size) + stream.window > 0x7fff_ffff;
                if model.streams.values().any(too_large) {
                    assert!(talk.feed(&settings(&[(4, size)])).is_err());
                    return;
                }
                model.initial = i64::from(size);
                assert_eq!(talk.feed(&settings(&[(4, size)])), Ok(vec![]));
                continue;
            }
            Operation::Respond { id, bytes } => {
                let Some(&key) = talk.keys.get(&id) else { continue };
                let stream = model.streams.get_mut(&id).unwrap();
                let possible = stream.closed.is_none() && !stream.head && !stream.we_done;
                let done = talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], bytes == 0);
                assert_eq!(done.is_ok(), possible);
                if possible {
                    stream.head = true;
                    if bytes == 0 {
                        stream.we_done = true;
                        stream.check_end();
                    } else {
                        stream.waiting = bytes;
                        talk.connection.offer(&mut talk.out, key, bytes, true).unwrap();
                    }
                }
                continue;
            }
            Operation::Drain(most) => {
                talk.out.clear();
                let grant = talk.connection.next_data(&mut talk.out, most);
                assert_eq!(grant.is_some(), model.sendable());
                if let Some(grant) = grant {
                    let stream = model.streams.get_mut(&grant.stream.id().get()).unwrap();
                    let allowed =
                        [most as i64, 16_384, stream.waiting as i64, model.window, model.initial + stream.window];
                    assert_eq!(grant.length as i64, allowed.into_iter().min().unwrap());
                    stream.waiting -= grant.length;
                    stream.window -= grant.length as i64;
                    model.window -= grant.length as i64;
                    assert_eq!(grant.end_stream, stream.waiting == 0);
                    stream.we_done = stream.waiting == 0;
                    stream.check_end();
                }
                talk.out.clear();
                continue;
            }
            Operation::Reset(id) => {
                let Some(&key) = talk.keys.get(&id) else { continue };
                talk.connection.reset(key, Reason::CANCEL);
                let stream = model.streams.get_mut(&id).unwrap();
                stream.close(Closed::ByUs);
                continue;
            }
            Operation::Done(id) => {
                let Some(&key) = talk.keys.get(&id) else { continue };
                talk.connection.stream_done(key);
                let stream = model.streams.get_mut(&id).unwrap();
                stream.running = false;
                if stream.closed.is_none() && !stream.we_done && stream.waiting == 0 {
                    stream.close(Closed::ByUs);
                }
                stream.check_end();
                continue;
            }
        };
        talk.sent();
        let expected = model.frame(id, operation);
        let actual = match talk.feed(&bytes) {
            Err(error) => Expected::ConnectionError(error.reason),
            Ok(told) => {
                let reset =
                    talk.sent().into_iter().find(|sent| sent.kind == RST_STREAM && !sent.payload.ends_with(&[0]));
                match (reset, told.first()) {
                    (Some(reset), _) => {
                        assert_eq!(reset.id, id);
                        Expected::StreamError(Reason(u32::from_be_bytes(reset.payload[..4].try_into().unwrap())))
                    }
                    (None, None) => Expected::Nothing,
                    (None, Some(Told::Request { id, .. })) => Expected::Told("request", *id),
                    (None, Some(Told::Data { id, .. })) => Expected::Told("data", *id),
                    (None, Some(Told::Trailers { id, .. })) => Expected::Told("trailers", *id),
                    (None, Some(Told::Reset { id, .. })) => Expected::Told("reset", *id),
                    (None, Some(Told::Goaway { .. })) => Expected::Nothing,
                }
            }
        };
        assert_eq!(&actual, &expected, "{:?}", operation);
        if matches!(actual, Expected::ConnectionError(_)) {
            return;
        }
        assert_eq!(talk.connection.streams_live(), model.live(), "{:?}", operation);
    }
    // At rest: end all handlers, and every slot and byte is back.
    for key in talk.keys.values() {
        talk.connection.stream_done(*key);
    }
    for id in talk.keys.keys() {
        let _ = talk.connection.handle_input(&mut talk.heads, &rst(*id), 0);
    }
    assert_eq!(talk.connection.held_bytes(), 0);
    assert_eq!(talk.connection.streams_live(), 0);
}
