//! What is in flight behind our own RST_STREAM, RFC 9113 section 5.1: accounted for and thrown away, however many streams
//! were reset at once and however many have ended since. Only a flood of it is not suffered.

mod peer;

use peer::*;
use ringgate_protocols::http2::error::Fault;
use ringgate_protocols::http2::reason::Reason;

/// Trailers on `id` that put a field into the decoder's table.
fn trailers(id: u32) -> Vec<u8> {
    let mut bytes = vec![0x40];
    bytes.push(7);
    bytes.extend(b"x-check");
    bytes.push(5);
    bytes.extend(format!("{id:05}").bytes());
    frame(HEADERS, END_HEADERS | END_STREAM, id, &bytes)
}

/// A request on `id` shows that the last block of trailers, on stream `last`, is in the table.
fn expect_in_step(talk: &mut Talk, id: u32, last: u32) {
    let mut bytes = block(&GET);
    bytes.push(0x80 | 62);
    let told = talk.feed(&frame(HEADERS, END_HEADERS | END_STREAM, id, &bytes)).expect("the connection lives");
    let Some(Told::Request { fields, .. }) = told.first() else { panic!("{told:?}") };
    assert!(fields.contains(&("x-check".into(), format!("{last:05}"))), "{fields:?}");
}

/// Bodies and trailers of these streams, in turns, as a client sends what it has begun before it hears of the resets.
fn rest_of_uploads(talk: &mut Talk, ids: &[u32]) {
    for _ in 0..3 {
        for &id in ids {
            assert_eq!(talk.feed(&frame(DATA, 0, id, &[7; 1_000])), Ok(vec![]), "DATA on {id}");
        }
    }
    for &id in ids {
        assert_eq!(talk.feed(&trailers(id)), Ok(vec![]), "trailers on {id}");
    }
}

#[test]
fn h2_06_a_hundred_uploads_answered_early_at_once() {
    let mut talk = Talk::new();
    let ids: Vec<u32> = (1..200).step_by(2).collect();
    ids.iter().for_each(|&id| drop(talk.feed(&post(id)).unwrap()));
    ids.iter().for_each(|&id| talk.respond(id, b"too large"));
    talk.sent();
    rest_of_uploads(&mut talk, &ids);
    assert!(
        talk.sent().iter().all(|sent| sent.kind == WINDOW_UPDATE && sent.id == 0),
        "nothing is said to what is late"
    );
    assert_eq!(talk.connection.glitch_tokens(), 1_000, "an honest client is not charged");
    expect_in_step(&mut talk, 201, 199);
}

#[test]
fn h2_08_a_hundred_uploads_refused_at_once() {
    let mut talk = Talk::new();
    (1..200).step_by(2).for_each(|id| drop(talk.feed(&get(id)).unwrap()));
    let ids: Vec<u32> = (201..400).step_by(2).collect();
    ids.iter().for_each(|&id| assert_eq!(talk.feed(&post(id)), Ok(vec![])));
    assert_eq!(talk.sent().iter().filter(|sent| sent.kind == RST_STREAM).count(), 100);
    rest_of_uploads(&mut talk, &ids);
    talk.respond(1, b"x");
    expect_in_step(&mut talk, 401, 399);
}

#[test]
fn h2_06_a_reset_is_not_forgotten_for_the_streams_that_end_after_it() {
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    talk.connection.reset(talk.key(1), Reason::CANCEL);
    talk.done(1);
    for id in (3..2_000).step_by(2) {
        talk.feed(&get(id)).unwrap();
        talk.respond(id, b"x");
    }
    talk.sent();
    rest_of_uploads(&mut talk, &[1]);
    assert_eq!(talk.sent(), []);
    // An empty DATA frame may have ended it just as well, and the client may have reset it too.
    talk.feed(&post(2_001)).unwrap();
    talk.connection.reset(talk.key(2_001), Reason::CANCEL);
    talk.done(2_001);
    talk.sent();
    assert_eq!(talk.feed(&rst(2_001)), Ok(vec![]));
    assert_eq!((talk.sent(), talk.connection.glitch_tokens()), (vec![], 1_000));
    expect_in_step(&mut talk, 2_003, 1);
}

/// Section 5.1.1: a number that was skipped is closed, and can be no new stream, whatever else was opened meanwhile.
#[test]
fn h2_07_skipped_numbers_are_known_for_long() {
    for skipped in [1, 3, 9, 21, 23, 27] {
        let mut talk = Talk::new();
        for id in [5, 7, 11, 13, 15, 17, 19, 25, 29].into_iter().chain((31..400).step_by(2)) {
            talk.feed(&get(id)).unwrap();
            talk.respond(id, b"x");
        }
        talk.sent();
        assert_eq!(talk.feed(&window_update(skipped, 1)), Ok(vec![]));
        talk.expect_connection_error(&get(skipped), Reason::PROTOCOL_ERROR);
    }
}

/// However often numbers were left out: a request on one of them is a mistake, and what is late behind our RST_STREAM is none.
#[test]
fn h2_07_skipped_numbers_that_are_forgotten_open_no_stream() {
    let forgetful = || {
        let mut talk = Talk::new();
        talk.feed(&post(1)).unwrap();
        talk.respond(1, b"early");
        for id in (5..400).step_by(4) {
            talk.feed(&get(id)).unwrap();
            talk.respond(id, b"x");
        }
        talk.sent();
        talk
    };
    for number in [1, 3, 7, 11, 199, 391, 395] {
        forgetful().expect_connection_error(&get(number), Reason::PROTOCOL_ERROR);
        forgetful().expect_connection_error(&post(number), Reason::PROTOCOL_ERROR);
    }
    for unfinished in [frame(HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b"), frame(HEADERS, END_HEADERS, 3, b"")] {
        forgetful().expect_connection_error(&unfinished, Reason::PROTOCOL_ERROR);
    }
    let mut talk = forgetful();
    rest_of_uploads(&mut talk, &[1]);
    assert_eq!(talk.feed(&rst(1)), Ok(vec![]));
    assert_eq!(talk.sent(), []);
    expect_in_step(&mut talk, 401, 1);
}

#[test]
fn f_01_late_frames_are_no_free_way_to_keep_us_busy() {
    for late in [trailers(1), frame(DATA, END_STREAM, 1, b""), rst(1)] {
        let mut talk = Talk::new();
        talk.feed(&post(1)).unwrap();
        talk.respond(1, b"early");
        talk.sent();
        let passed = (0..10_000).take_while(|_| talk.feed(&late).is_ok()).count();
        assert_eq!(talk.connection.error().map(|error| error.fault), Some(Fault::Budget));
        // The first is what any client may have had under way.
        assert_eq!(passed, 1_001);
    }
}
