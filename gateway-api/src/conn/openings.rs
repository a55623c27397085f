//! The beginnings of HTTP/1 response heads that a core keeps: status line, server, date and content type, as one text.

use http::StatusCode;
use ringgate_protocols::http1::encode::Opening;
use ringgate_runtime::time::Instant;
use std::cell::RefCell;

/// They are found by status and content type, and made anew once a second (RFC 9110 section 6.6.1).
#[derive(Default)]
pub(crate) struct Openings {
    places: RefCell<[Place; PLACES]>,
}

/// Beginnings that are kept: more than the pairs of status and content type that a core answers with again and again.
const PLACES: usize = 16;

#[derive(Default)]
struct Place {
    status: StatusCode,
    content_type: Option<&'static str>,
    until: Instant,
    opening: Opening,
}

impl Openings {
    /// Calls `write` with the beginning; `date` says what `Date` says, if it has to be made.
    #[inline]
    pub(crate) fn with<R>(
        &self,
        now: Instant,
        status: StatusCode,
        content_type: Option<&'static str>,
        date: impl FnOnce() -> [u8; 29],
        write: impl FnOnce(&Opening) -> R,
    ) -> R {
        let address = content_type.map_or(0, |text| text.as_ptr() as usize);
        let mut places = self.places.borrow_mut();
        let place = &mut places[(address >> 3 ^ usize::from(status.as_u16())) % PLACES];
        let is_same = match (place.content_type, content_type) {
            (Some(known), Some(text)) => std::ptr::eq(known, text),
            (known, text) => known.is_none() && text.is_none(),
        };
        if now >= place.until || !is_same || place.status != status {
            *place = Place::new(now, status, content_type, &date());
        }
        write(&place.opening)
    }
}

impl Place {
    #[cold]
    fn new(now: Instant, status: StatusCode, content_type: Option<&'static str>, date: &[u8; 29]) -> Self {
        let mut block = Vec::with_capacity(128);
        block.extend_from_slice(b"server: ringgate\r\ndate: ");
        block.extend_from_slice(date);
        block.extend_from_slice(b"\r\n");
        // Text of the program, but no text may end a line: what could is left out.
        if let Some(text) = content_type.filter(|text| !text.bytes().any(|byte| byte.is_ascii_control())) {
            block.extend_from_slice(b"content-type: ");
            block.extend_from_slice(text.as_bytes());
            block.extend_from_slice(b"\r\n");
        }
        let until = Instant::from_nanos((now.as_nanos() / 1_000_000_000 + 1) * 1_000_000_000);
        Self { status, content_type, until, opening: Opening::new(status, &block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_its_own_text_and_a_second_its_own_date() {
        let openings = Openings::default();
        let lines = |now: u64, status, content_type, date: &[u8; 29]| {
            let copy = |opening: &Opening| String::from_utf8(opening.block().to_vec()).unwrap();
            openings.with(Instant::from_nanos(now), status, content_type, || *date, copy)
        };
        let (first, second) = (b"Thu, 01 Jan 1970 00:00:00 GMT", b"Thu, 01 Jan 1970 00:00:01 GMT");
        for _ in 0..2 {
            for status in (200..600).map(|code| StatusCode::from_u16(code).unwrap()) {
                for content_type in [None, Some("text/plain"), Some("text/html")] {
                    let lines = lines(7, status, content_type, first);
                    assert!(lines.starts_with("server: ringgate\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
                    let typed = lines.lines().nth(2).map(|line| line.trim_start_matches("content-type: "));
                    assert_eq!(typed, content_type);
                }
            }
        }
        assert!(lines(7, StatusCode::OK, None, first).contains("00:00:00"));
        // Within the second nobody asks for the date again.
        assert!(lines(999_999_999, StatusCode::OK, None, second).contains("00:00:00"));
        assert!(lines(1_000_000_000, StatusCode::OK, None, second).contains("00:00:01"));
        assert!(!lines(1_000_000_000, StatusCode::OK, Some("a\r\nb: c"), second).contains("b: c"));
    }
}
