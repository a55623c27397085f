//! Arbitrary blocks to the decoder; what it reads is encoded and read again, and must be the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringgate_protocols::hpack::decode::{BlockLimits, Decoder, Outcome};
use ringgate_protocols::hpack::encode::Encoder;
use ringgate_protocols::hpack::text::Text;

const LIMITS: BlockLimits = BlockLimits { header_bytes_max: 32_768, field_count_max: 100 };

fuzz_target!(|data: &[u8]| {
    let (mut decoder, mut encoder, mut mirror) = (Decoder::new(4096), Encoder::new(4096), Decoder::new(4096));
    for block in data.split(|&byte| byte == 0x1f) {
        let (mut text, mut fields) = (Text::default(), vec![]);
        let outcome = decoder.decode(block, &mut text, LIMITS, |_, field| fields.push(field));
        assert!(text.len() <= 3 * 32_768 + block.len() * 2);
        if outcome != Ok(Outcome::Complete) {
            return;
        }
        let mut out = vec![];
        encoder.begin(&mut out);
        for field in &fields {
            encoder.field(
                &mut out,
                field.name.of(text.as_slice()),
                field.value.of(text.as_slice()),
                field.never_indexed,
            );
        }
        let (mut again, mut count) = (Text::default(), 0);
        let outcome = mirror.decode(&out, &mut again, LIMITS, |bytes, field| {
            assert_eq!(field.name.of(bytes), fields[count].name.of(text.as_slice()));
            assert_eq!(field.value.of(bytes), fields[count].value.of(text.as_slice()));
            assert_eq!(field.kind, fields[count].kind);
            count += 1;
        });
        assert_eq!((outcome, count), (Ok(Outcome::Complete), fields.len()));
        assert_eq!(mirror.table().size(), encoder.table().size());
    }
});
