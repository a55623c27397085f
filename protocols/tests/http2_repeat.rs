//! What is sent again and again says the same again and again.

mod peer;

use http::{HeaderName, HeaderValue, StatusCode};
use peer::*;
use ringgate_protocols::hpack::decode::{BlockLimits, DecodedField, Decoder};
use ringgate_protocols::hpack::text::Text;
use ringgate_protocols::http2::repeat::RepeatKey;

/// A head that is sent again and again is written from memory, and says the same to the peer's decoder whatever is sent in
/// between and however small the peer makes its table.
#[test]
fn a_repeated_head_is_the_same_head() {
    let field =
        |name: &'static str, value: String| (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
    let mut talk = Talk::new();
    let mut decoder = Decoder::new(4096);
    let mut known = 0;
    for round in 0..400_u32 {
        let id = 2 * round + 1;
        if round == 200 {
            talk.feed(&settings(&[(1, 120)])).unwrap();
        }
        talk.feed(&get(id)).unwrap();
        talk.sent();
        // Two heads by turns, a few of each in a row, and now and then one of its own.
        let (which, is_own) = (round / 7 % 2, round % 11 == 0);
        let fields: Vec<_> = match is_own {
            true => vec![field("cache-control", format!("max-age={round}")), field("vary", "accept".into())],
            false => vec![field("server", "ringgate".into()), field("content-type", format!("text/{which}"))],
        };
        let (key, status) = (talk.key(id), StatusCode::from_u16(200 + which as u16).unwrap());
        let is_known = !is_own && talk.connection.repeat(RepeatKey([u64::from(which), 0, 0, 0]));
        let given = if is_known { &[][..] } else { &fields[..] };
        let given = given.iter().map(|(name, value)| (name, value));
        talk.connection.send_response(&mut talk.out, key, status, given, true).unwrap();
        talk.connection.stream_done(key);
        known += usize::from(is_known);
        let frames = parse(&talk.out);
        let [head] = &frames[..] else { panic!("one frame: {frames:?}") };
        assert_eq!((head.kind, head.flags, head.id), (HEADERS, END_HEADERS | END_STREAM, id));
        let (mut text, mut heard) = (Text::default(), vec![]);
        let limits = BlockLimits { header_bytes_max: 4096, field_count_max: 100 };
        let each = |text: &[u8], field: DecodedField| {
            heard.push((field.name.of(text).to_vec(), field.value.of(text).to_vec()));
        };
        decoder.decode(&head.payload, &mut text, limits, each).unwrap();
        let mut expected = vec![(b":status".to_vec(), status.as_str().as_bytes().to_vec())];
        expected.extend(fields.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())));
        assert_eq!(heard, expected, "round {round}");
    }
    assert!(known > 150, "{known} of 400 were written from memory");
}
