//! The connection as a whole: preface and SETTINGS, windows, PING, GOAWAY, push, priorities, h2c.
//! Rows H2-01 to H2-03, H2-08, H2-11 to H2-13, H2-25 to H2-29, P-1, P-2, Q-2 to Q-4, C-4, C-5, E-1.

mod peer;

use http::{HeaderName, HeaderValue, StatusCode};
use peer::*;
use ringgate_protocols::http2::connection::{Connection, Promise};
use ringgate_protocols::http2::error::{Fault, PushRefused, SendError};
use ringgate_protocols::http2::priority::Priority;
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::http2::request::HeadPool;
use ringgate_protocols::http2::state::State;
use ringgate_protocols::http2::stream_id::StreamId;
use ringgate_protocols::http2::upgrade::UpgradeSettings;
use ringgate_protocols::limits::Http2Limits;

fn kinds(frames: &[Sent]) -> Vec<u8> {
    frames.iter().map(|sent| sent.kind).collect()
}

#[test]
fn a_reset_is_told_as_long_as_bytes_wait_to_be_sent() {
    for waits in [true, false] {
        let mut talk = Talk::new();
        talk.feed(&get(1)).unwrap();
        let key = talk.key(1);
        talk.connection.send_response(&mut talk.out, key, StatusCode::OK, [], false).unwrap();
        talk.connection.offer(&mut talk.out, key, 100_000, true).unwrap();
        talk.connection.stream_done(key);
        if !waits {
            talk.feed(&[window_update(0, 100_000), window_update(1, 100_000)].concat()).unwrap();
            while talk.connection.next_data(&mut talk.out, 100_000).is_some() {}
        }
        assert_eq!(talk.feed(&rst(1)).unwrap().len(), usize::from(waits));
        assert_eq!(talk.connection.streams_live(), 0);
    }
}

#[test]
fn h2_01_preface_and_settings_come_first_from_both_sides() {
    let mut talk = Talk::fresh(Http2Limits::default());
    assert_eq!(kinds(&talk.sent()), [SETTINGS, WINDOW_UPDATE]);
    // Ours is first even when a response is written before anybody polls.
    let mut talk = Talk::fresh(Http2Limits::default());
    talk.feed(&[PREFACE, &settings(&[]), &get(1)].concat()).unwrap();
    talk.respond(1, b"x");
    assert_eq!(kinds(&talk.sent()), [SETTINGS, WINDOW_UPDATE, SETTINGS, HEADERS, DATA]);
    for wrong in [b"GET / HTTP/1.1\r\n".to_vec(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".to_vec()] {
        Talk::fresh(Http2Limits::default()).expect_connection_error(&wrong, Reason::PROTOCOL_ERROR);
    }
    for wrong in [get(1), frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[]), frame(0xee, 0, 0, &[])] {
        let mut talk = Talk::fresh(Http2Limits::default());
        talk.feed(PREFACE).unwrap();
        talk.expect_connection_error(&wrong, Reason::PROTOCOL_ERROR);
    }
}

#[test]
fn h2_02_every_settings_is_acknowledged_after_it_was_applied() {
    let mut talk = Talk::new();
    talk.feed(&[settings(&[(4, 1)]), settings(&[]), settings(&[(4, 2)])].concat()).unwrap();
    let sent = talk.sent();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|sent| (sent.kind, sent.flags, sent.payload.len()) == (SETTINGS, ACK, 0)));
    // A missing acknowledgement ends in SETTINGS_TIMEOUT.
    let mut talk = Talk::fresh(Http2Limits::default());
    talk.feed(&[PREFACE, &settings(&[])].concat()).unwrap();
    assert_eq!(talk.connection.poll_timeout(), Some(15_000));
    assert_eq!(talk.connection.handle_timeout(15_000).unwrap_err().reason, Reason::SETTINGS_TIMEOUT);
}

#[test]
fn h2_03_values_out_of_range() {
    for (entry, reason) in [
        ((2, 2), Reason::PROTOCOL_ERROR),
        ((4, 0x8000_0000), Reason::FLOW_CONTROL_ERROR),
        ((5, 16_383), Reason::PROTOCOL_ERROR),
        ((8, 2), Reason::PROTOCOL_ERROR),
        ((9, 2), Reason::PROTOCOL_ERROR),
    ] {
        Talk::new().expect_connection_error(&settings(&[entry]), reason);
    }
    assert!(Talk::new().feed(&settings(&[(2, 0), (2, 1), (4, 0x7fff_ffff), (0xffff, 7), (0, 0)])).is_ok());
}

#[test]
fn q_2_no_rfc7540_priorities_does_not_change() {
    Talk::new().expect_connection_error(&settings(&[(9, 1)]), Reason::PROTOCOL_ERROR);
    assert!(Talk::new().feed(&settings(&[(9, 0)])).is_ok());
    let mut talk = Talk::fresh(Http2Limits::default());
    talk.feed(&[PREFACE, &settings(&[(9, 1)]), &settings(&[(9, 1)])].concat()).unwrap();
    talk.expect_connection_error(&settings(&[(9, 0)]), Reason::PROTOCOL_ERROR);
}

#[test]
fn h2_08_streams_above_the_limit_are_refused() {
    let mut talk = Talk::new();
    for id in (1..200).step_by(2) {
        assert_eq!(talk.feed(&get(id)).unwrap().len(), 1);
    }
    talk.expect_stream_error(&get(201), 201, Reason::REFUSED_STREAM);
    talk.respond(1, b"x");
    assert_eq!(talk.feed(&get(203)).unwrap().len(), 1);
}

#[test]
fn h2_11_increments_of_zero_and_beyond_the_maximum() {
    Talk::new().expect_connection_error(&window_update(0, 0), Reason::PROTOCOL_ERROR);
    Talk::new().expect_connection_error(&window_update(0, 0x7fff_ffff), Reason::FLOW_CONTROL_ERROR);
    assert!(Talk::new().feed(&window_update(0, 0x7fff_ffff - 65_535)).is_ok());
    for (increment, reason) in [(0, Reason::PROTOCOL_ERROR), (0x7fff_ffff, Reason::FLOW_CONTROL_ERROR)] {
        let mut talk = Talk::new();
        talk.feed(&get(1)).unwrap();
        talk.expect_stream_error(&window_update(1, increment), 1, reason);
    }
    // A setting that lifts any stream above the maximum is a connection error; also after others were lifted and left.
    let mut talk = Talk::new();
    talk.feed(&[get(1), window_update(1, 0x7fff_ffff - 65_535)].concat()).unwrap();
    talk.expect_connection_error(&settings(&[(4, 65_536)]), Reason::FLOW_CONTROL_ERROR);
    let mut talk = Talk::new();
    talk.feed(&[get(1), window_update(1, 0x7fff_ffff - 65_535)].concat()).unwrap();
    talk.respond(1, b"x");
    assert!(talk.feed(&settings(&[(4, 0x7fff_ffff)])).is_ok());
}

#[test]
fn h2_11_windows_go_negative_on_a_settings_change() {
    let mut talk = Talk::new();
    talk.feed(&get(1)).unwrap();
    let key = talk.key(1);
    talk.connection.send_response(&mut talk.out, key, StatusCode::OK, [], false).unwrap();
    talk.connection.offer(&mut talk.out, key, 100, true).unwrap();
    assert_eq!(talk.connection.next_data(&mut talk.out, 60).unwrap().length, 60);
    talk.out.clear();
    talk.feed(&settings(&[(4, 10)])).unwrap(); // now -50
    assert_eq!(talk.connection.next_data(&mut talk.out, 60), None);
    talk.feed(&window_update(1, 50)).unwrap(); // 0
    assert_eq!(talk.connection.next_data(&mut talk.out, 60), None);
    talk.feed(&settings(&[(4, 15)])).unwrap(); // 5, by the setting alone
    assert_eq!(talk.connection.next_data(&mut talk.out, 60).unwrap().length, 5);
    talk.feed(&window_update(1, 1000)).unwrap();
    let grant = talk.connection.next_data(&mut talk.out, 60).unwrap();
    assert_eq!((grant.length, grant.end_stream), (35, true));
}

/// Section 6.9.2 speaks of windows, and a stream that is over has none, be it that its handler still runs.
#[test]
fn h2_11_the_window_of_a_stream_that_was_reset_limits_nothing() {
    let mut talk = Talk::new();
    talk.feed(&[settings(&[(4, 0)]), get(1), window_update(1, 0x7fff_ffff), rst(1)].concat()).unwrap();
    assert_eq!(talk.connection.streams_live(), 1);
    talk.feed(&settings(&[(4, 1)])).unwrap();
}

#[test]
fn h2_12_a_peer_over_its_window() {
    let limits = Http2Limits { stream_window_bytes: 65_535, ..Default::default() };
    let mut talk = Talk::with(limits);
    talk.feed(&post(1)).unwrap();
    for _ in 0..3 {
        talk.feed(&frame(DATA, 0, 1, &[0; 16_384])).unwrap();
    }
    talk.feed(&frame(DATA, 0, 1, &[0; 16_383])).unwrap();
    let told = talk.expect_stream_error(&frame(DATA, 0, 1, &[0; 1]), 1, Reason::FLOW_CONTROL_ERROR);
    assert_eq!(told, [Told::Reset { id: 1, reason: Reason::FLOW_CONTROL_ERROR, by_peer: false }]);
    // The connection's window, over many streams that nobody reads.
    let limits = Http2Limits { connection_window_bytes: 65_535, unread_bytes_max: 0, ..Default::default() };
    let mut talk = Talk::with(limits);
    for id in (1..9).step_by(2) {
        talk.feed(&[post(id), frame(DATA, 0, id, &[0; 16_383])].concat()).unwrap();
    }
    assert_eq!(talk.connection.held_bytes(), 65_532);
    talk.feed(&frame(DATA, 0, 1, &[0; 3])).unwrap();
    talk.expect_connection_error(&frame(DATA, 0, 3, &[0; 1]), Reason::FLOW_CONTROL_ERROR);
}

/// Sum of the increments sent for a stream.
fn credited(frames: &[Sent], id: u32) -> u32 {
    let updates = frames.iter().filter(|sent| sent.kind == WINDOW_UPDATE && sent.id == id);
    updates.map(|sent| u32::from_be_bytes(sent.payload[..4].try_into().unwrap())).sum()
}

#[test]
fn h2_12_h2_13_all_credit_comes_back() {
    let limits = Http2Limits { stream_window_bytes: 65_536, connection_window_bytes: 65_536, ..Default::default() };
    // Consumed data and padding: both windows.
    let mut talk = Talk::with(limits.clone());
    talk.feed(&post(1)).unwrap();
    let (mut stream, mut connection) = (0, 0);
    for _ in 0..100 {
        let mut padded = vec![100];
        padded.extend([0; 1100]);
        for event in talk.feed(&frame(DATA, PADDED, 1, &padded)).unwrap() {
            let Told::Data { bytes, .. } = event else { panic!() };
            talk.connection.release_capacity(talk.key(1), bytes.len());
        }
        let sent = talk.sent();
        stream += credited(&sent, 1);
        connection += credited(&sent, 0);
    }
    assert!(stream > 110_100 - 32_768 && connection > 110_100 - 32_768, "{stream} {connection}");
    assert_eq!(talk.connection.held_bytes(), 0);
    // Data on streams that are reset, closed, or ignored after GOAWAY: the connection's window.
    for case in 0..3 {
        let mut talk = Talk::with(limits.clone());
        let mut credit = 0;
        if case == 2 {
            talk.connection.drain(0);
            talk.now = 5_000;
            talk.connection.handle_timeout(5_000).unwrap();
        }
        talk.feed(&post(1)).unwrap();
        if case == 0 {
            talk.connection.reset(talk.key(1), Reason::CANCEL);
        } else if case == 1 {
            talk.connection.reset(talk.key(1), Reason::CANCEL);
            talk.done(1);
        }
        for _ in 0..100 {
            assert_eq!(talk.feed(&frame(DATA, 0, 1, &[0; 1000])), Ok(vec![]));
            credit += credited(&talk.sent(), 0);
        }
        assert!(credit > 100_000 - 32_768, "case {case}: {credit}");
    }
}

#[test]
fn a_slow_handler_shuts_its_own_stream_and_not_the_connection() {
    let limits = Http2Limits {
        stream_window_bytes: 65_535,
        connection_window_bytes: 65_535,
        unread_bytes_max: 200_000,
        ..Default::default()
    };
    let mut talk = Talk::with(limits);
    talk.feed(&[post(1), post(3)].concat()).unwrap();
    let mut window = 65_535i64;
    for round in 0..20 {
        let id = if round < 3 { 1 } else { 3 };
        talk.feed(&frame(DATA, 0, id, &[0; 16_000])).unwrap();
        if id == 3 {
            talk.connection.release_capacity(talk.key(3), 16_000);
        }
        let sent = talk.sent();
        assert_eq!(credited(&sent, 1), 0, "nobody has read stream 1");
        window += i64::from(credited(&sent, 0)) - 16_000;
        assert!(window > 0);
    }
    talk.connection.release_capacity(talk.key(1), 1 << 30);
    assert_eq!(credited(&talk.sent(), 1), 48_000);
    assert_eq!(talk.connection.held_bytes(), 0);
}

/// What nobody will read any more is nobody's debt, also while a thread that cannot be stopped keeps the stream.
#[test]
fn an_abandoned_stream_gives_the_connections_window_back() {
    let limits = Http2Limits { connection_window_bytes: 65_535, unread_bytes_max: 0, ..Default::default() };
    let mut talk = Talk::with(limits);
    talk.feed(&[post(1), post(3)].concat()).unwrap();
    for _ in 0..4 {
        talk.feed(&frame(DATA, 0, 1, &[0; 16_000])).unwrap();
        assert_eq!(credited(&talk.sent(), 0), 0, "the window shuts: too much is unread");
    }
    talk.feed(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).unwrap();
    talk.connection.abandon(talk.key(1));
    assert_eq!(talk.connection.held_bytes(), 0);
    assert_eq!(credited(&talk.sent(), 0), 64_000, "stream 3 has its window");
}

#[test]
fn h2_25_ping_is_answered_ahead_of_other_output() {
    let mut talk = Talk::new();
    talk.feed(&get(1)).unwrap();
    talk.feed(&frame(PING, 0, 0, b"12345678")).unwrap();
    talk.respond(1, b"x");
    let sent = talk.sent();
    assert_eq!((sent[0].kind, sent[0].flags, &sent[0].payload[..]), (PING, ACK, &b"12345678"[..]));
    assert_eq!(talk.feed(&frame(PING, ACK, 0, b"12345678")), Ok(vec![]));
    assert_eq!(talk.sent(), []);
}

#[test]
fn h2_26_h2_27_the_graceful_end() {
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    talk.connection.drain(0);
    talk.connection.drain(0);
    let sent = talk.sent();
    assert_eq!(kinds(&sent), [GOAWAY, PING]);
    assert_eq!(sent[0].payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    talk.feed(&post(3)).unwrap(); // under way while we spoke
    assert_eq!(talk.keys.len(), 2);
    talk.feed(&frame(PING, ACK, 0, &sent[1].payload)).unwrap();
    let sent = talk.sent();
    assert_eq!((kinds(&sent), &sent[0].payload[..]), (vec![GOAWAY], &[0, 0, 0, 3, 0, 0, 0, 0][..]));
    // Higher streams are ignored, their blocks decoded and their data credited.
    let mut entry = block(&POST);
    entry.extend(b"\x40\x01a\x01b");
    assert_eq!(talk.feed(&frame(HEADERS, END_HEADERS, 5, &entry)), Ok(vec![]));
    assert_eq!(talk.feed(&frame(DATA, END_STREAM, 5, b"x")), Ok(vec![]));
    let trailers = talk.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0xbe])).unwrap();
    assert_eq!(trailers, [Told::Trailers { id: 3, fields: vec![("a".into(), "b".into())] }]);
    assert!(!talk.connection.is_finished());
    talk.respond(1, b"x");
    assert!(!talk.connection.is_finished());
    talk.respond(3, b"x");
    assert!(talk.connection.is_finished());
    // The last stream never rises, also not in the GOAWAY of an error.
    talk.sent();
    talk.feed(&frame(PING, 0, 1, &[0; 8])).unwrap_err();
    assert_eq!(talk.sent()[0].payload, [0, 0, 0, 3, 0, 0, 0, 1]);
    // Without an answer to the PING the deadline does it.
    let mut talk = Talk::new();
    talk.connection.drain(0);
    talk.sent();
    assert_eq!(talk.connection.poll_timeout(), Some(1000));
    assert!(talk.connection.handle_timeout(1000).unwrap().is_none());
    assert_eq!(kinds(&talk.sent()), [GOAWAY]);
}

#[test]
fn h2_27_a_received_goaway_does_not_end_the_peers_streams() {
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    let told = talk.feed(&frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x0bbye bye")).unwrap();
    assert_eq!(told, [Told::Goaway { last: 0, reason: Reason::ENHANCE_YOUR_CALM }]);
    assert_eq!(talk.feed(&frame(DATA, END_STREAM, 1, b"x")).unwrap().len(), 1);
    assert_eq!(talk.feed(&get(3)).unwrap().len(), 1);
    talk.respond(3, b"x");
    assert_eq!(kinds(&talk.sent()), [HEADERS, DATA]);
}

#[test]
fn h2_28_early_response_and_resets() {
    // The request is not read to its end: RST_STREAM(NO_ERROR) behind the complete response, and no charge.
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    talk.respond(1, b"early");
    let sent = talk.sent();
    assert_eq!(kinds(&sent), [HEADERS, DATA, RST_STREAM]);
    assert_eq!(sent[2].payload, [0; 4]);
    assert_eq!(talk.connection.glitch_tokens(), 1000);
    assert_eq!(talk.feed(&frame(DATA, END_STREAM, 1, b"late")), Ok(vec![]));
    // Never RST_STREAM in answer to RST_STREAM.
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    let told = talk.feed(&rst(1)).unwrap();
    assert_eq!(told, [Told::Reset { id: 1, reason: Reason::CANCEL, by_peer: true }]);
    let key = talk.key(1);
    talk.connection.reset(key, Reason::CANCEL);
    assert_eq!(talk.connection.send_response(&mut talk.out, key, StatusCode::OK, [], true), Err(SendError::Gone));
    talk.done(1);
    assert_eq!(talk.sent(), []);
    // A handler that ends without a response.
    let mut talk = Talk::new();
    talk.feed(&get(1)).unwrap();
    talk.done(1);
    assert_eq!(talk.sent()[0].payload, Reason::INTERNAL_ERROR.0.to_be_bytes());
}

#[test]
fn h2_29_unknown_reasons_mean_nothing_special() {
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    let told = talk.feed(&frame(RST_STREAM, 0, 1, &[0xff; 4])).unwrap();
    assert_eq!(told, [Told::Reset { id: 1, reason: Reason(u32::MAX), by_peer: true }]);
    assert_eq!(format!("{:?} {:?}", Reason(0xff), Reason::HTTP_1_1_REQUIRED), "Reason(0xff) HTTP_1_1_REQUIRED");
}

#[test]
fn h2_23_e_1_interim_responses() {
    let mut talk = Talk::new();
    talk.feed(&get(1)).unwrap();
    let key = talk.key(1);
    let link = HeaderValue::from_static("</a>; rel=preload");
    for _ in 0..2 {
        let fields = [(&http::header::LINK, &link)];
        talk.connection.send_interim(&mut talk.out, key, StatusCode::EARLY_HINTS, fields).unwrap();
    }
    for wrong in [StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK] {
        assert_eq!(talk.connection.send_interim(&mut talk.out, key, wrong, []), Err(SendError::Status));
    }
    let wrong = talk.connection.send_response(&mut talk.out, key, StatusCode::CONTINUE, [], false);
    assert_eq!(wrong, Err(SendError::Status));
    assert_eq!(talk.connection.offer(&mut talk.out, key, 1, true), Err(SendError::HeadMissing));
    assert_eq!(talk.connection.send_trailers(&mut talk.out, key, []), Err(SendError::HeadMissing));
    talk.connection.send_response(&mut talk.out, key, StatusCode::OK, [], false).unwrap();
    let again = talk.connection.send_response(&mut talk.out, key, StatusCode::OK, [], false);
    assert_eq!(again, Err(SendError::HeadSent));
    let late = talk.connection.send_interim(&mut talk.out, key, StatusCode::CONTINUE, []);
    assert_eq!(late, Err(SendError::HeadSent));
    talk.connection.offer(&mut talk.out, key, 3, false).unwrap();
    assert_eq!(talk.connection.send_trailers(&mut talk.out, key, []), Err(SendError::BodyPending));
    assert_eq!(talk.connection.next_data(&mut talk.out, 10).unwrap().length, 3);
    talk.out.extend_from_slice(b"abc");
    talk.connection.send_trailers(&mut talk.out, key, []).unwrap();
    let sent = talk.sent();
    assert_eq!(kinds(&sent), [HEADERS, HEADERS, HEADERS, DATA, HEADERS]);
    assert_eq!(sent.iter().map(|sent| sent.flags & END_STREAM).collect::<Vec<_>>(), [0, 0, 0, 0, 1]);
    assert_eq!(talk.connection.stream_state(StreamId::new(1)), State::Finished);
}

#[test]
fn large_heads_are_cut_into_continuation() {
    let mut talk = Talk::new();
    talk.feed(&get(1)).unwrap();
    let key = talk.key(1);
    let value = HeaderValue::from_str(&"\x7e".repeat(20_000)).unwrap();
    let name = HeaderName::from_static("x-large");
    talk.connection
        .send_response(&mut talk.out, key, StatusCode::OK, [(&name, &value), (&name, &value)], true)
        .unwrap();
    let sent = talk.sent();
    assert_eq!(kinds(&sent), [HEADERS, CONTINUATION, CONTINUATION]);
    assert_eq!(sent.iter().map(|sent| sent.flags).collect::<Vec<_>>(), [END_STREAM, 0, END_HEADERS]);
    assert!(sent.iter().all(|sent| sent.id == 1 && sent.payload.len() <= 16_384));
    assert!(sent.iter().map(|sent| sent.payload.len()).sum::<usize>() > 40_000);
}

#[test]
fn what_http2_forbids_is_left_out_of_responses() {
    for (sensitive, literal) in [(false, b"\x00\x01x\x01v"), (true, b"\x10\x01x\x01v")] {
        let mut talk = Talk::new();
        talk.feed(&get(1)).unwrap();
        let key = talk.key(1);
        let [mut close, mut blank] = ["close", " v "].map(HeaderValue::from_static);
        [&mut close, &mut blank].into_iter().for_each(|value| value.set_sensitive(sensitive));
        let names = ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"]
            .map(HeaderName::from_static);
        let own = HeaderName::from_static("x");
        let fields = names.iter().map(|name| (name, &close)).chain([(&own, &blank)]);
        talk.connection.send_response(&mut talk.out, key, StatusCode::OK, fields, true).unwrap();
        assert_eq!(talk.sent()[0].payload, [&[0x88][..], literal].concat());
    }
}

fn promise() -> Promise<'static> {
    Promise { method: &http::Method::GET, scheme: "http", authority: "a", path: "/style" }
}

#[test]
fn p_1_push_is_off_and_never_from_a_client() {
    let mut talk = Talk::fresh(Http2Limits::default());
    let first = talk.sent().remove(0);
    assert!(first.payload.chunks(6).all(|entry| entry[..2] != [0, 2]), "ENABLE_PUSH is never sent");
    let mut talk = Talk::new();
    talk.feed(&get(1)).unwrap();
    let key = talk.key(1);
    assert!(!talk.connection.can_push());
    assert_eq!(talk.connection.push_promise(&mut talk.out, key, promise(), []), Err(PushRefused::Disabled));
    Talk::new().expect_connection_error(&frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]), Reason::PROTOCOL_ERROR);
}

#[test]
fn p_2_push_where_the_client_allows_it() {
    let limits = Http2Limits { push: true, ..Default::default() };
    let mut talk = Talk::with(limits.clone());
    talk.feed(&settings(&[(3, 1)])).unwrap();
    talk.feed(&get(1)).unwrap();
    talk.sent();
    let key = talk.key(1);
    let post = Promise { method: &http::Method::POST, ..promise() };
    assert_eq!(talk.connection.push_promise(&mut talk.out, key, post, []), Err(PushRefused::Method));
    let pushed = talk.connection.push_promise(&mut talk.out, key, promise(), []).unwrap();
    assert_eq!(talk.connection.push_promise(&mut talk.out, key, promise(), []), Err(PushRefused::TooMany));
    assert_eq!(talk.connection.push_promise(&mut talk.out, pushed, promise(), []), Err(PushRefused::Parent));
    talk.connection.send_response_with_body(&mut talk.out, pushed, StatusCode::OK, [], b"css").unwrap();
    talk.connection.stream_done(pushed);
    assert!(talk.connection.can_push());
    let sent = talk.sent();
    assert_eq!(
        sent.iter().map(|sent| (sent.kind, sent.id)).collect::<Vec<_>>(),
        [(PUSH_PROMISE, 1), (HEADERS, 2), (DATA, 2)]
    );
    assert_eq!((&sent[0].payload[..4], sent[0].flags), (&[0, 0, 0, 2][..], END_HEADERS));
    // A declined promise: no harm, and little cost.
    let pushed = talk.connection.push_promise(&mut talk.out, key, promise(), []).unwrap();
    let told = talk.feed(&rst(4)).unwrap();
    assert_eq!(told, [Told::Reset { id: 4, reason: Reason::CANCEL, by_peer: true }]);
    talk.connection.stream_done(pushed);
    assert!(talk.connection.glitch_tokens() >= 998);
    talk.feed(&frame(GOAWAY, 0, 0, &[0; 8])).unwrap();
    assert_eq!(talk.connection.push_promise(&mut talk.out, key, promise(), []), Err(PushRefused::Parent));
    let mut talk = Talk::with(limits);
    talk.feed(&[settings(&[(2, 0)]), get(1)].concat()).unwrap();
    let key = talk.key(1);
    assert_eq!(talk.connection.push_promise(&mut talk.out, key, promise(), []), Err(PushRefused::Disabled));
}

/// Opens responses with bodies on these streams and says in which order the DATA frames go out.
fn order(talk: &mut Talk, requests: &[(u32, &str)], bytes: usize, piece: usize) -> Vec<u32> {
    for &(id, priority) in requests {
        let fields = [GET.as_slice(), &[("priority", priority)]].concat();
        talk.feed(&request(id, END_STREAM, &fields)).unwrap();
        let key = talk.key(id);
        talk.connection.send_response(&mut talk.out, key, StatusCode::OK, [], false).unwrap();
        talk.connection.offer(&mut talk.out, key, bytes, true).unwrap();
    }
    let mut order = vec![];
    while let Some(grant) = talk.connection.next_data(&mut talk.out, piece) {
        order.push(grant.stream.id().get());
    }
    order
}

#[test]
fn q_4_urgency_then_order_then_turns() {
    let order_of = |requests: &[(u32, &str)]| order(&mut Talk::new(), requests, 30, 10);
    assert_eq!(order_of(&[(1, "u=5"), (3, "u=1"), (5, "")]), [3, 3, 3, 5, 5, 5, 1, 1, 1]);
    assert_eq!(order_of(&[(1, ""), (3, "")]), [1, 1, 1, 3, 3, 3]);
    assert_eq!(order_of(&[(1, "i"), (3, "i"), (5, "i")]), [1, 3, 5, 1, 3, 5, 1, 3, 5]);
    // No starvation: the least urgent gets a turn now and then.
    let long = order(&mut Talk::new(), &[(1, "u=7"), (3, "u=0")], 200, 10);
    assert!(long[..19].contains(&1) && long[..19].iter().filter(|&&id| id == 3).count() >= 17);
}

#[test]
fn q_3_priority_update() {
    let update =
        |id: u32, value: &str| frame(PRIORITY_UPDATE, 0, 0, &[&id.to_be_bytes()[..], value.as_bytes()].concat());
    Talk::new().expect_connection_error(&update(0, "u=1"), Reason::PROTOCOL_ERROR);
    Talk::new().expect_connection_error(&update(2, "u=1"), Reason::PROTOCOL_ERROR);
    Talk::new().expect_connection_error(&frame(PRIORITY_UPDATE, 0, 3, &[0, 0, 0, 1]), Reason::PROTOCOL_ERROR);
    // For a stream to come; it beats the field.
    let mut talk = Talk::new();
    talk.feed(&update(3, "u=0")).unwrap();
    assert_eq!(order(&mut talk, &[(1, "u=1"), (3, "u=5")], 10, 10), [3, 1]);
    // For a stream that waits.
    let mut talk = Talk::new();
    talk.feed(&settings(&[(4, 0)])).unwrap();
    assert_eq!(order(&mut talk, &[(1, ""), (3, "")], 10, 10), []);
    talk.feed(&[update(1, "u=6"), update(3, "u=4, i"), settings(&[(4, 100)])].concat()).unwrap();
    assert_eq!(order(&mut talk, &[], 10, 10), [3, 1]);
    // Nonsense and length: ignored.
    let mut talk = Talk::new();
    talk.feed(&[update(1, "\0\u{fe}"), update(3, &"u=1,".repeat(200)), update(5, "")].concat()).unwrap();
    assert_eq!(talk.sent(), []);
    assert_eq!(Priority::default(), Priority { urgency: 3, incremental: false });
}

#[test]
fn small_bodies_wait_for_windows_and_for_more_urgent_streams() {
    let mut talk = Talk::new();
    talk.feed(&settings(&[(4, 4)])).unwrap();
    talk.feed(&get(1)).unwrap();
    let key = talk.key(1);
    let taken = talk.connection.send_response_with_body(&mut talk.out, key, StatusCode::OK, [], b"hello").unwrap();
    assert_eq!(taken, 0);
    talk.connection.stream_done(key);
    assert_eq!(talk.connection.next_data(&mut talk.out, 100).unwrap().length, 4);
    assert_eq!(talk.connection.next_data(&mut talk.out, 100), None);
    talk.out.clear();
    talk.feed(&window_update(1, 1)).unwrap();
    let grant = talk.connection.next_data(&mut talk.out, 100).unwrap();
    assert_eq!((grant.length, grant.end_stream), (1, true));
    assert_eq!(talk.connection.streams_live(), 0);
}

#[test]
fn c_4_c_5_after_an_upgrade() {
    let settings_value = UpgradeSettings::parse(b"AAQAAAAH").unwrap(); // INITIAL_WINDOW_SIZE 7
    let (connection, key) = Connection::new_after_upgrade(Http2Limits::default(), &settings_value, 0);
    let mut talk = Talk::fresh(Http2Limits::default());
    (talk.connection, talk.heads) = (connection, HeadPool::new());
    talk.keys.insert(1, key);
    // Our SETTINGS come first, and what HTTP2-Settings said is applied and not acknowledged.
    assert_eq!(kinds(&talk.sent()), [SETTINGS, WINDOW_UPDATE]);
    assert_eq!(talk.connection.stream_state(StreamId::new(1)), State::HalfClosedRemote);
    talk.connection.send_response(&mut talk.out, key, StatusCode::OK, [], false).unwrap();
    talk.connection.offer(&mut talk.out, key, 10, true).unwrap();
    assert_eq!(talk.connection.next_data(&mut talk.out, 100).unwrap().length, 7);
    talk.out.clear();
    // The preface is still required, and timed.
    assert_eq!(talk.connection.poll_timeout(), Some(5_000));
    talk.feed(&[PREFACE, &settings(&[(9, 1)]), &window_update(1, 3), &get(3)].concat()).unwrap();
    assert_eq!(talk.keys.keys().copied().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(talk.connection.next_data(&mut talk.out, 100).unwrap().length, 3);
    talk.out.clear();
    talk.expect_connection_error(&get(1), Reason::STREAM_CLOSED);
    let (connection, _) = Connection::new_after_upgrade(Http2Limits::default(), &settings_value, 0);
    let mut talk = Talk::fresh(Http2Limits::default());
    talk.connection = connection;
    let error = talk.feed(&settings(&[])).unwrap_err();
    assert_eq!(error.fault, Fault::Preface);
}

#[test]
fn k_3_a_smaller_table_is_demanded_after_the_acknowledgement() {
    let limits = Http2Limits { table_bytes_max: 0, ..Default::default() };
    let mut talk = Talk::fresh(limits);
    let hello = [PREFACE, &settings(&[]), &get(1)].concat();
    assert_eq!(talk.feed(&hello).unwrap().len(), 1, "before the acknowledgement the default holds");
    talk.feed(&frame(SETTINGS, ACK, 0, &[])).unwrap();
    let updated = [&[0x20][..], &block(&GET)].concat();
    assert_eq!(talk.feed(&frame(HEADERS, END_HEADERS, 3, &updated)).unwrap().len(), 1);
    let mut talk = Talk::fresh(Http2Limits { table_bytes_max: 0, ..Default::default() });
    talk.feed(&[PREFACE, &settings(&[]), &frame(SETTINGS, ACK, 0, &[])].concat()).unwrap();
    talk.expect_connection_error(&get(1), Reason::COMPRESSION_ERROR);
}
