//! Every (state, frame) cell of RFC 9113 section 5.1, by conversation and not by reading the table (H2-05, H2-06).

mod peer;

use peer::*;
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::http2::state::State;
use ringgate_protocols::http2::stream_id::StreamId;
use ringgate_protocols::limits::Http2Limits;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// Taken; the stream is in this state afterwards.
    To(State),
    /// Nothing happens, nothing is sent.
    Ignored,
    Stream(Reason),
    Connection(Reason),
}

/// Brings stream 1 (or the promised stream 2) into a state.
fn in_state(state: State) -> (Talk, u32) {
    let limits = Http2Limits { push: true, ..Default::default() };
    let mut talk = Talk::with(limits);
    match state {
        State::Idle => {}
        State::ReservedLocal => {
            talk.feed(&get(1)).unwrap();
            let promise = ringgate_protocols::http2::connection::Promise {
                method: &http::Method::GET,
                scheme: "http",
                authority: "a",
                path: "/style",
            };
            let parent = talk.key(1);
            let key = talk.connection.push_promise(&mut talk.out, parent, promise, []).unwrap();
            talk.keys.insert(2, key);
            talk.sent();
            return (talk, 2);
        }
        State::Open => drop(talk.feed(&post(1)).unwrap()),
        State::HalfClosedRemote => drop(talk.feed(&get(1)).unwrap()),
        State::HalfClosedLocal => {
            talk.feed(&post(1)).unwrap();
            let key = talk.key(1);
            talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], true).unwrap();
        }
        State::Finished => {
            talk.feed(&get(1)).unwrap();
            talk.respond(1, b"x");
        }
        State::Cancelled => {
            talk.feed(&post(1)).unwrap();
            talk.feed(&rst(1)).unwrap();
            talk.done(1);
        }
        State::Reset => {
            talk.feed(&post(1)).unwrap();
            let key = talk.key(1);
            talk.connection.reset(key, Reason::CANCEL);
            talk.done(1);
        }
    }
    talk.sent();
    assert_eq!(talk.connection.stream_state(StreamId::new(1)), state);
    (talk, 1)
}

#[test]
fn h2_06_every_state_and_every_frame() {
    use Outcome::{Connection, Ignored, Stream, To};
    use State as S;
    const P: Outcome = Connection(Reason::PROTOCOL_ERROR);
    const C: Outcome = Stream(Reason::STREAM_CLOSED);
    // Written down from section 5.1 and 6, not from state.rs.
    #[rustfmt::skip]
    let table: [(S, [Outcome; 8]); 8] = [
        //                     DATA                     DATA+END                 HEADERS (no END)             HEADERS+END              PRIORITY RST_STREAM        WINDOW_UPDATE            PUSH_PROMISE
        (S::Idle,             [P,                       P,                       To(S::Open),                 To(S::HalfClosedRemote), Ignored, P,                P,                       P]),
        (S::ReservedLocal,    [P,                       P,                       P,                           P,                       Ignored, To(S::Cancelled), To(S::ReservedLocal),    P]),
        (S::Open,             [To(S::Open),             To(S::HalfClosedRemote), Stream(Reason::PROTOCOL_ERROR), To(S::HalfClosedRemote), Ignored, To(S::Cancelled), To(S::Open),          P]),
        (S::HalfClosedLocal,  [To(S::HalfClosedLocal),  To(S::Finished),         Stream(Reason::PROTOCOL_ERROR), To(S::Finished),      Ignored, To(S::Cancelled), To(S::HalfClosedLocal),  P]),
        (S::HalfClosedRemote, [C,                       C,                       C,                           C,                       Ignored, To(S::Cancelled), To(S::HalfClosedRemote), P]),
        (S::Finished,         [C,                       C,                       Connection(Reason::STREAM_CLOSED), Connection(Reason::STREAM_CLOSED), Ignored, Ignored, Ignored,           P]),
        (S::Cancelled,        [C,                       C,                       C,                           C,                       Ignored, Ignored,          Ignored,                 P]),
        (S::Reset,            [Ignored,                 Ignored,                 Ignored,                     Ignored,                 Ignored, Ignored,          Ignored,                 P]),
    ];
    for (state, row) in table {
        for (column, expected) in row.into_iter().enumerate() {
            let (mut talk, id) = in_state(state);
            let head = if matches!(state, S::Idle) { block(&GET) } else { block(&[("x-trailer", "1")]) };
            let bytes = match column {
                0 => frame(DATA, 0, id, b"abc"),
                1 => frame(DATA, END_STREAM, id, b"abc"),
                2 => frame(HEADERS, END_HEADERS, id, &head),
                3 => frame(HEADERS, END_HEADERS | END_STREAM, id, &head),
                4 => frame(PRIORITY, 0, id, &[0; 5]),
                5 => rst(id),
                6 => window_update(id, 1),
                _ => frame(PUSH_PROMISE, END_HEADERS, id, &[0, 0, 0, 2]),
            };
            let what = format!("{state:?} and column {column}");
            match expected {
                Connection(reason) => talk.expect_connection_error(&bytes, reason),
                Stream(reason) => {
                    talk.expect_stream_error(&bytes, id, reason);
                    assert_eq!(talk.connection.stream_state(StreamId::new(id)), S::Reset, "{what}");
                }
                Ignored => {
                    assert_eq!(talk.feed(&bytes), Ok(vec![]), "{what}");
                    assert_eq!(talk.sent(), [], "{what}");
                    assert_eq!(talk.connection.stream_state(StreamId::new(id)), state, "{what}");
                }
                To(next) => {
                    talk.feed(&bytes).expect(&what);
                    assert_eq!(talk.sent(), [], "{what}");
                    assert_eq!(talk.connection.stream_state(StreamId::new(id)), next, "{what}");
                }
            }
        }
    }
}

/// Any HEADERS frame makes a promised stream half-closed, an interim response too.
#[test]
fn p_2_a_promised_stream_is_opened_by_its_first_headers() {
    for is_interim in [true, false] {
        let (mut talk, id) = in_state(State::ReservedLocal);
        let pushed = talk.key(id);
        if is_interim {
            talk.connection.send_interim(&mut talk.out, pushed, http::StatusCode::EARLY_HINTS, []).unwrap();
        } else {
            talk.connection.send_response(&mut talk.out, pushed, http::StatusCode::OK, [], false).unwrap();
        }
        assert_eq!(talk.connection.stream_state(StreamId::new(id)), State::HalfClosedRemote);
        talk.sent();
        talk.expect_stream_error(&frame(DATA, 0, id, b"x"), id, Reason::STREAM_CLOSED);
    }
}

#[test]
fn h2_05_right_stream_per_type() {
    for (kind, payload) in
        [(DATA, &b"x"[..]), (HEADERS, &block(&GET)), (PRIORITY, &[0; 5]), (RST_STREAM, &[0; 4]), (CONTINUATION, &[])]
    {
        Talk::new().expect_connection_error(&frame(kind, END_HEADERS, 0, payload), Reason::PROTOCOL_ERROR);
    }
    for (kind, payload) in [(SETTINGS, &[][..]), (PING, &[0; 8]), (GOAWAY, &[0; 8]), (PRIORITY_UPDATE, &[0, 0, 0, 1])] {
        Talk::new().expect_connection_error(&frame(kind, 0, 1, payload), Reason::PROTOCOL_ERROR);
    }
}

#[test]
fn h2_04_sizes_per_type() {
    let mut over =
        vec![frame(DATA, 0, 1, &[0; 16_385]), frame(HEADERS, 0, 1, &[0; 16_385]), frame(0xfa, 0, 1, &[0; 16_385])];
    over.push(frame(PING, 0, 0, &[0; 7]));
    over.push(frame(PING, 0, 0, &[0; 9]));
    over.push(frame(RST_STREAM, 0, 1, &[0; 3]));
    over.push(frame(WINDOW_UPDATE, 0, 0, &[0; 5]));
    over.push(frame(WINDOW_UPDATE, 0, 1, &[0; 3]));
    over.push(frame(GOAWAY, 0, 0, &[0; 7]));
    over.push(frame(SETTINGS, 0, 0, &[0; 5]));
    over.push(frame(SETTINGS, ACK, 0, &[0; 6]));
    over.push(frame(PRIORITY_UPDATE, 0, 0, &[0; 3]));
    for bytes in over {
        let mut talk = Talk::new();
        talk.feed(&post(1)).unwrap();
        talk.expect_connection_error(&bytes, Reason::FRAME_SIZE_ERROR);
    }
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    assert!(talk.feed(&frame(DATA, 0, 1, &[0; 16_384])).is_ok());
}

#[test]
fn h2_07_numbers_odd_rising_never_used_again() {
    let mut talk = Talk::new();
    talk.feed(&get(5)).unwrap();
    talk.expect_connection_error(&get(3), Reason::PROTOCOL_ERROR);
    Talk::new().expect_connection_error(&get(2), Reason::PROTOCOL_ERROR);
    let mut talk = Talk::new();
    talk.feed(&get(5)).unwrap();
    talk.respond(5, b"x");
    talk.expect_connection_error(&get(5), Reason::STREAM_CLOSED);
    // A skipped stream is closed: DATA on it is a stream error, WINDOW_UPDATE is tolerated.
    let mut talk = Talk::new();
    talk.feed(&get(5)).unwrap();
    talk.feed(&window_update(3, 1)).unwrap();
    talk.expect_stream_error(&frame(DATA, 0, 3, b"x"), 3, Reason::STREAM_CLOSED);
}

#[test]
fn h2_09_foreign_frames_inside_a_header_block() {
    let begin = frame(HEADERS, 0, 1, &block(&GET)[..5]);
    for foreign in [
        frame(DATA, 0, 1, b"x"),
        get(3),
        frame(PING, 0, 0, &[0; 8]),
        frame(0xee, 0, 0, &[]),
        frame(SETTINGS, 0, 0, &[]),
        frame(CONTINUATION, END_HEADERS, 3, &block(&GET)[5..]),
    ] {
        let mut talk = Talk::new();
        talk.feed(&begin).unwrap();
        talk.expect_connection_error(&foreign, Reason::PROTOCOL_ERROR);
    }
    let mut talk = Talk::new();
    talk.feed(&begin).unwrap();
    assert_eq!(talk.feed(&frame(CONTINUATION, END_HEADERS, 1, &block(&GET)[5..])).unwrap().len(), 1);
    Talk::new().expect_connection_error(&frame(CONTINUATION, END_HEADERS, 1, &[]), Reason::PROTOCOL_ERROR);
    // Unknown frames and flags elsewhere are ignored.
    let mut talk = Talk::new();
    assert_eq!(talk.feed(&frame(0xee, 0xff, 7, b"whatever")), Ok(vec![]));
    assert_eq!(talk.feed(&frame(PING, 0xfe, 0, &[1; 8])), Ok(vec![]));
    assert_eq!(talk.sent().len(), 1);
}

#[test]
fn limits_beyond_what_can_be_kept_or_announced_are_the_largest_that_can() {
    let most = u32::MAX;
    let limits = Http2Limits {
        streams_max: most,
        table_bytes_max: most,
        stream_window_bytes: most,
        connection_window_bytes: most,
        glitch_tokens_max: most,
        ..Http2Limits::default()
    };
    let mut talk = Talk::fresh(limits);
    talk.feed(&[PREFACE, &settings(&[])].concat()).unwrap();
    let sent = talk.sent();
    let said: Vec<&[u8]> = sent[0].payload.chunks(6).collect();
    for entry in [b"\0\x01\0\0\xff\xff", b"\0\x03\0\0\x7f\xff", b"\0\x04\x7f\xff\xff\xff"] {
        assert!(said.contains(&&entry[..]), "{said:x?}");
    }
    // With what the window has already, 2^31 - 1.
    assert_eq!(sent[1].payload, (0x7fff_ffff_u32 - 65_535).to_be_bytes());
    for number in 0..32_767 {
        assert_eq!(talk.feed(&post(2 * number + 1)).unwrap().len(), 1, "{number}");
    }
    talk.expect_stream_error(&post(65_535), 65_535, Reason::REFUSED_STREAM);
}
