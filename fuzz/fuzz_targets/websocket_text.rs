//! Any bytes as masked text, by every kernel that the processor has and by two looks: each says what std says, at every
//! cut, and leaves the bytes unmasked.
//!
//! The first five bytes are the masking key and what is chosen: where in a buffer the bytes lie, and how often they are
//! repeated, so that short inputs also reach the steps of many vectors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringgate_protocols::scan::utf8::Kernel;
use ringgate_protocols::websocket::mask::Mask;
use ringgate_protocols::websocket::utf8::{NotUtf8, Validator};

/// The first length at which no continuation makes the bytes good, and whether a character is cut before that.
struct Told {
    bad_from: usize,
    boundaries: Vec<bool>,
}

fn told_by_std(bytes: &[u8]) -> Told {
    let good = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    // Behind the good characters: how many bytes of the next one may still become good.
    let more = (good + 1..=bytes.len())
        .take_while(|&end| std::str::from_utf8(&bytes[good..end]).is_err_and(|error| error.error_len().is_none()))
        .count();
    let text = std::str::from_utf8(&bytes[..good]).expect("so std said");
    let boundaries = (0..=good + more).map(|end| end <= good && text.is_char_boundary(end)).collect();
    Told { bad_from: good + more + 1, boundaries }
}

fuzz_target!(|data: &[u8]| {
    let [a, b, c, d, choice, bytes @ ..] = data else { return };
    let key = [*a, *b, *c, *d];
    let (offset, times) = (usize::from(choice & 0x3f), if choice & 0x40 == 0 { 1 } else { 1 + 300 / (bytes.len() + 1) });
    let bytes = bytes.repeat(times);
    let told = told_by_std(&bytes);
    let mut buffer = vec![0; offset + bytes.len()];
    for way in Kernel::all().map(Some).chain([None]) {
        // Every cut of short ones, some of long ones.
        for cut in (0..=bytes.len()).step_by(1 + bytes.len() / 400) {
            let masked = &mut buffer[offset..];
            masked.copy_from_slice(&bytes);
            Mask::new(key).apply(masked);
            let (mut text, mut mask) = (Validator::default(), Mask::new(key));
            for range in [0..cut, cut..bytes.len()] {
                let said = text.feed_masked_by(way, &mut masked[range.clone()], &mut mask);
                let expected = if range.end < told.bad_from { Ok(told.boundaries[range.end]) } else { Err(NotUtf8) };
                assert_eq!(said.map(|()| text.is_complete()), expected, "{way:?}, cut {cut}, until {}", range.end);
                if said.is_err() {
                    break;
                }
                assert_eq!(masked[range.clone()], bytes[range], "{way:?}, cut {cut}");
            }
        }
    }
});
