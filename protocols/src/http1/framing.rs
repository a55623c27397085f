//! Where a request ends. All of request smuggling is decided here, in one table.
//!
//! The scanners deliver clean tokens; it is noted what the fields say, whatever the Connection field says about
//! them; then one function decides.

use http::Version;

use crate::http::field::{elements, trim};
use crate::http::length::parse_content_length;
use crate::http1::error::Fault;
use crate::scan::class::TOKEN;

/// The body of a request, as its head announces it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Body {
    /// There is none. No further event comes for this request.
    #[default]
    None,
    /// So many bytes, at least one.
    Known(u64),
    /// As many as the chunks have.
    Chunked,
}

/// What the Content-Length fields say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Length {
    #[default]
    Absent,
    Known(u64),
    Invalid,
    Repeated,
}

impl Length {
    pub(crate) fn add(&mut self, value: &[u8]) {
        *self = match (*self, parse_content_length(value)) {
            (Self::Absent, Some(length)) => Self::Known(length),
            (Self::Absent, None) => Self::Invalid,
            _ => Self::Repeated,
        };
    }
}

/// What the Transfer-Encoding fields say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Coding {
    #[default]
    Absent,
    Chunked,
    /// Ends with `chunked`, and has codings that we do not know before it.
    Unknown,
    Invalid,
    Repeated,
}

impl Coding {
    pub(crate) fn add(&mut self, value: &[u8]) {
        *self = if *self == Self::Absent { Self::read(value) } else { Self::Repeated };
    }

    fn read(value: &[u8]) -> Self {
        if value.eq_ignore_ascii_case(b"chunked") {
            return Self::Chunked;
        }
        // Empty elements count here: `chunked,` is not what everybody takes for `chunked`.
        let mut codings = value.rsplit(|&byte| byte == b',').map(trim);
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let known_end = codings.next().is_some_and(is_chunked);
        let clean = codings.all(|coding| !coding.is_empty() && TOKEN.has_all(coding) && !is_chunked(coding));
        if known_end && clean && elements(value).count() > 1 { Self::Unknown } else { Self::Invalid }
    }
}

/// The table. Rows are judged from top to bottom.
///
/// | Transfer-Encoding | Content-Length | version | method | result | RFC 9112 |
/// |---|---|---|---|---|---|
/// | present | present | any | any | 400 | 6.1, 6.3 |
/// | repeated | – | any | any | 400 (ours) | 6.1 |
/// | malformed, `chunked` not last | – | any | any | 400 | 6.3 |
/// | present | – | 1.0 | any | 400 | 6.1 |
/// | unknown before `chunked` | – | 1.1 | any | 501 | 6.1 |
/// | – | repeated, be they equal | any | any | 400 (ours) | 6.3 |
/// | – | malformed | any | any | 400 | 6.3 |
/// | `chunked` | – | 1.1 | CONNECT | 400 (ours) | 9110 9.3.6 |
/// | – | not 0 | any | CONNECT | 400 (ours) | 9110 9.3.6 |
/// | `chunked` | – | 1.1 | any other | chunked | 6.3 |
/// | – | number | any | any | so many bytes | 6.3 |
/// | – | – | any | any | no body | 6.3 |
#[inline]
pub(crate) fn body(coding: Coding, length: Length, version: Version, is_connect: bool) -> Result<Body, Fault> {
    let is_old = version == Version::HTTP_10;
    match (coding, length) {
        (Coding::Absent, Length::Absent | Length::Known(0)) => Ok(Body::None),
        (Coding::Absent, Length::Known(_)) if is_connect => Err(Fault::BodyWithConnect),
        (Coding::Absent, Length::Known(bytes)) => Ok(Body::Known(bytes)),
        (Coding::Absent, Length::Repeated) => Err(Fault::LengthRepeated),
        (Coding::Absent, Length::Invalid) => Err(Fault::LengthInvalid),
        (_, Length::Known(_) | Length::Repeated | Length::Invalid) => Err(Fault::LengthBesideCoding),
        (Coding::Repeated, Length::Absent) => Err(Fault::CodingRepeated),
        (Coding::Invalid, Length::Absent) => Err(Fault::CodingInvalid),
        (Coding::Chunked | Coding::Unknown, Length::Absent) if is_old => Err(Fault::CodingInOldVersion),
        (Coding::Unknown, Length::Absent) => Err(Fault::CodingUnknown),
        (Coding::Chunked, Length::Absent) if is_connect => Err(Fault::BodyWithConnect),
        (Coding::Chunked, Length::Absent) => Ok(Body::Chunked),
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Coding, Length, body};
    use crate::http1::error::Fault;
    use http::Version;

    #[test]
    fn s_02_one_chunked_and_nothing_else() {
        let read = |value: &[u8]| {
            let mut coding = Coding::default();
            coding.add(value);
            coding
        };
        assert_eq!(read(b"chunked"), Coding::Chunked);
        assert_eq!(read(b"ChUnKeD"), Coding::Chunked);
        assert_eq!(read(b"gzip, chunked"), Coding::Unknown);
        assert_eq!(read(b"gzip ,br,chunked"), Coding::Unknown);
        let bad: [&[u8]; 13] = [
            b"",
            b"xchunked",
            b"chunked, chunked",
            b"chunked, xchunked",
            b"chunked, gzip",
            b"chunked,",
            b",chunked",
            b"\"chunked\"",
            b"'chunked'",
            b"identity",
            b"chunked;q=1",
            b"gz ip, chunked",
            b"\x0bchunked",
        ];
        for value in bad {
            assert_eq!(read(value), Coding::Invalid, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn s_01_to_s_05_every_cell_of_the_table() {
        use Coding as C;
        use Length as L;
        let codings = [C::Absent, C::Chunked, C::Unknown, C::Invalid, C::Repeated];
        let lengths = [L::Absent, L::Known(0), L::Known(5), L::Invalid, L::Repeated];
        for coding in codings {
            for length in lengths {
                for version in [Version::HTTP_10, Version::HTTP_11] {
                    for is_connect in [false, true] {
                        let old = version == Version::HTTP_10;
                        // The table again, row by row.
                        let expected = if coding != C::Absent && length != L::Absent {
                            Err(Fault::LengthBesideCoding)
                        } else if coding == C::Repeated {
                            Err(Fault::CodingRepeated)
                        } else if coding == C::Invalid {
                            Err(Fault::CodingInvalid)
                        } else if coding != C::Absent && old {
                            Err(Fault::CodingInOldVersion)
                        } else if coding == C::Unknown {
                            Err(Fault::CodingUnknown)
                        } else if length == L::Repeated {
                            Err(Fault::LengthRepeated)
                        } else if length == L::Invalid {
                            Err(Fault::LengthInvalid)
                        } else if is_connect && (coding == C::Chunked || length == L::Known(5)) {
                            Err(Fault::BodyWithConnect)
                        } else if coding == C::Chunked {
                            Ok(Body::Chunked)
                        } else if length == L::Known(5) {
                            Ok(Body::Known(5))
                        } else {
                            Ok(Body::None)
                        };
                        assert_eq!(body(coding, length, version, is_connect), expected);
                    }
                }
            }
        }
    }
}
