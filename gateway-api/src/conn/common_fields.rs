//! What the response heads of HTTP/2 have in common, as a core keeps it: server, date, length and type of the content.

use http::{HeaderName, HeaderValue, StatusCode, header};
use ringgate_protocols::http2::repeat::RepeatKey;
use ringgate_runtime::time::Instant;
use smallvec::SmallVec;
use std::cell::RefCell;

/// A field of a response.
pub(crate) type FieldRef<'a> = (&'a HeaderName, &'a HeaderValue);

/// What tells a response head without fields of its own from all others: second, status, length and type.
#[inline]
pub(crate) fn repeat_key(
    now: Instant,
    status: StatusCode,
    length: Option<u64>,
    content_type: Option<&'static str>,
) -> RepeatKey {
    // Text of the program is known by its place.
    let text = content_type.unwrap_or_default();
    let (place, bytes) = (text.as_ptr() as u64, text.len() as u64);
    RepeatKey([second(now) << 16 | u64::from(status.as_u16()), length.unwrap_or(u64::MAX), place, bytes])
}

/// From 1, so that it is none at the beginning.
#[inline]
fn second(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000_000 + 1
}

/// Values that many responses share; the date is made anew once a second (RFC 9110 section 6.6.1).
pub(crate) struct CommonFields {
    kept: RefCell<Kept>,
}

struct Kept {
    second: u64,
    server: HeaderValue,
    date: HeaderValue,
    /// By their last bits: the lengths of what is asked for again and again.
    lengths: [Option<(u64, HeaderValue)>; LENGTHS],
}

/// Lengths that are kept as text.
const LENGTHS: usize = 16;

impl Default for CommonFields {
    fn default() -> Self {
        let kept = Kept {
            second: 0,
            server: HeaderValue::from_static("ringgate"),
            date: HeaderValue::from_static(""),
            lengths: [const { None }; LENGTHS],
        };
        Self { kept: RefCell::new(kept) }
    }
}

impl CommonFields {
    /// Calls `write` with the fields; `date` says what `Date` says, if it has to be made.
    pub(crate) fn with<R>(
        &self,
        now: Instant,
        length: Option<u64>,
        content_type: Option<&'static str>,
        date: impl FnOnce() -> [u8; 29],
        write: impl FnOnce(&[FieldRef<'_>]) -> R,
    ) -> R {
        let mut kept = self.kept.borrow_mut();
        if kept.second != second(now) {
            kept.renew(second(now), &date());
        }
        if let Some(length) = length {
            kept.learn(length);
        }
        // Text of the program, but no text may end a line: what could is left out.
        let content_type = content_type.filter(|text| text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
        let content_type = content_type.map(HeaderValue::from_static);
        let mut fields: SmallVec<[FieldRef<'_>; 4]> = SmallVec::new();
        fields.push((&header::SERVER, &kept.server));
        fields.push((&header::DATE, &kept.date));
        if let Some((_, length)) = length.and_then(|length| kept.lengths[Kept::place(length)].as_ref()) {
            fields.push((&header::CONTENT_LENGTH, length));
        }
        if let Some(value) = &content_type {
            fields.push((&header::CONTENT_TYPE, value));
        }
        write(&fields)
    }
}

impl Kept {
    const fn place(length: u64) -> usize {
        length as usize % LENGTHS
    }

    fn learn(&mut self, length: u64) {
        let place = &mut self.lengths[Self::place(length)];
        if place.as_ref().is_none_or(|(known, _)| *known != length) {
            *place = Some((length, HeaderValue::from(length)));
        }
    }

    #[cold]
    fn renew(&mut self, second: u64, date: &[u8; 29]) {
        self.second = second;
        self.date = HeaderValue::from_bytes(date).unwrap_or_else(|_| HeaderValue::from_static(""));
    }
}
