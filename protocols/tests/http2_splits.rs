//! Every conversation gives the same events and the same answers, however it is cut into pieces.

mod peer;

use peer::*;
use proptest::prelude::*;
use ringgate_protocols::http2::error::ConnectionError;
use ringgate_protocols::limits::Http2Limits;

/// What an application that answers every complete request was told, with neighbouring pieces of a body joined, what it
/// sent, and how it ended. Window updates are left out: where a piece ends decides when one is due.
type Transcript = (Vec<Told>, Vec<Sent>, Option<ConnectionError>);

fn run(pieces: &[&[u8]]) -> Transcript {
    let mut talk = Talk::fresh(Http2Limits { streams_max: 4, ..Default::default() });
    let (mut told, mut error) = (vec![], None);
    'pieces: for piece in pieces {
        let mut at = 0;
        loop {
            let step = match talk.connection.handle_input(&mut talk.heads, &piece[at..], 0) {
                Ok(step) => step,
                Err(fault) => {
                    error = Some(fault);
                    break 'pieces;
                }
            };
            let input = &piece[at..];
            at += step.consumed;
            let Some(event) = step.event else { break };
            match talk.tell(event, input) {
                Told::Data { id, bytes, end } => {
                    talk.connection.release_capacity(talk.key(id), bytes.len());
                    answer(&mut talk, id, end);
                    match told.last_mut() {
                        Some(Told::Data { id: last, bytes: joined, end: last_end }) if *last == id => {
                            joined.extend(bytes);
                            *last_end = end;
                        }
                        _ => told.push(Told::Data { id, bytes, end }),
                    }
                }
                event => {
                    match event {
                        Told::Request { id, end, .. } => answer(&mut talk, id, end),
                        Told::Trailers { id, .. } => answer(&mut talk, id, true),
                        Told::Reset { id, .. } => talk.done(id),
                        _ => {}
                    }
                    told.push(event);
                }
            }
        }
    }
    let sent = talk.sent().into_iter().filter(|sent| sent.kind != WINDOW_UPDATE).collect();
    (told, sent, error)
}

fn answer(talk: &mut Talk, id: u32, end: bool) {
    if end {
        let key = talk.key(id);
        let _ = talk.connection.send_response_with_body(&mut talk.out, key, http::StatusCode::OK, [], b"hello");
        talk.connection.stream_done(key);
    }
}

fn every_split(conversation: &[u8]) {
    let whole = run(&[conversation]);
    let bytes: Vec<&[u8]> = conversation.chunks(1).collect();
    assert_eq!(run(&bytes), whole, "byte by byte");
    for cut in 0..=conversation.len() {
        let (left, right) = conversation.split_at(cut);
        assert_eq!(run(&[left, right]), whole, "cut at {cut}");
    }
}

fn hello() -> Vec<u8> {
    [PREFACE, &settings(&[(3, 100), (4, 1 << 20)]), &frame(SETTINGS, ACK, 0, &[])].concat()
}

#[test]
fn conversations_at_every_cut() {
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&[("x-sum", "1")]));
    let long = block(&[GET.as_slice(), &[("x", "a value that is cut"), ("cookie", "a"), ("cookie", "b")]].concat());
    let conversations = [
        vec![get(1), get(3)],
        vec![post(1), frame(DATA, 0, 1, b"hello "), frame(DATA, PADDED | END_STREAM, 1, b"\x03world\0\0\0")],
        vec![post(3), frame(DATA, 0, 3, b"abc"), frame(DATA, PADDED, 3, b"\x01\0"), trailers],
        vec![
            frame(HEADERS, 0, 1, &long[..20]),
            frame(CONTINUATION, 0, 1, &long[20..21]),
            frame(CONTINUATION, 0, 1, &[]),
            frame(CONTINUATION, END_HEADERS, 1, &long[21..]),
            frame(DATA, END_STREAM, 1, &[]),
        ],
        vec![
            frame(PING, 0, 0, b"12345678"),
            settings(&[(4, 1)]),
            get(1),
            window_update(1, 10),
            frame(0xee, 0, 9, b"junk"),
        ],
        vec![post(1), rst(1), frame(DATA, 0, 1, b"late"), get(3)],
        vec![get(1), frame(DATA, 0, 1, b"closed"), get(3), frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0debug")],
        vec![
            request(1, 0, &[POST.as_slice(), &[("content-length", "3")]].concat()),
            frame(DATA, 0, 1, b"four"),
            frame(PRIORITY_UPDATE, 0, 0, &[b"\0\0\0\x05u=1" as &[u8], &[b' '; 400]].concat()),
            get(5),
        ],
        vec![post(1), post(3), post(5), post(7), post(9), frame(DATA, END_STREAM, 3, b"x"), get(11)],
        vec![get(1), frame(HEADERS, END_HEADERS, 3, &[0x80]), get(5)],
        vec![request(1, END_STREAM, &[("X", "bad")]), frame(PRIORITY, 0, 3, &[0; 5]), get(3), get(1)],
        vec![frame(HEADERS, END_HEADERS, 1, &[0x82; 120]), get(3)],
    ];
    for conversation in conversations {
        every_split(&[hello(), conversation.concat()].concat());
    }
    every_split(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![6 => (0u32..8).prop_map(|id| 2 * id + 1), 1 => 0u32..10];
    prop_oneof![
        4 => id.clone().prop_map(get),
        4 => id.clone().prop_map(post),
        4 => (id.clone(), any::<bool>(), 0usize..40).prop_map(|(id, end, length)| frame(DATA, u8::from(end), id, &vec![b'd'; length])),
        1 => (id.clone(), 0u8..20, 0usize..30).prop_map(|(id, pad, length)| frame(DATA, PADDED, id, &[&[pad][..], &vec![0; length]].concat())),
        1 => id.clone().prop_map(rst),
        1 => (id.clone(), 0u32..1000).prop_map(|(id, by)| window_update(id, by)),
        1 => id.clone().prop_map(|id| frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&[("t", "1")]))),
        1 => (0u16..10, 0u32..70_000).prop_map(|(identifier, value)| settings(&[(identifier, value)])),
        1 => (any::<u8>(), any::<u8>(), id, proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(kind, flags, id, payload)| frame(kind % 18, flags, id, &payload)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arbitrary_frames_at_arbitrary_cuts(
        frames in proptest::collection::vec(any_frame(), 0..25),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let conversation = [hello(), frames.concat()].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(conversation.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut pieces, mut from) = (vec![], 0);
        for cut in cuts.into_iter().chain([conversation.len()]) {
            pieces.push(&conversation[from..cut]);
            from = cut;
        }
        prop_assert_eq!(run(&pieces), run(&[&conversation]));
    }
}
