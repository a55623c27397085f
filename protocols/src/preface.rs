//! What the first bytes of a connection announce: TLS, HTTP/2 or HTTP/1.

/// The client's connection preface of HTTP/2: RFC 9113 section 3.4.
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol that a connection begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preface {
    /// A TLS record: a handshake of protocol version 3.x.
    Tls,
    /// HTTP/2 with prior knowledge: the whole preface is there.
    Http2,
    /// Everything else, and so also what is no protocol at all: the HTTP/1 machine says why.
    Http1,
    /// Too few bytes to tell. At most 23 bytes can lead to this answer, so it needs no limit, only a time.
    NeedMore,
}

/// Judges the first bytes of a connection. Consumes nothing.
///
/// ```
/// use ringgate_protocols::preface::{Preface, detect};
/// assert_eq!(detect(b"GET / HTTP/1.1\r\n"), Preface::Http1);
/// assert_eq!(detect(b"PRI * HT"), Preface::NeedMore);
/// ```
#[must_use]
pub fn detect(input: &[u8]) -> Preface {
    match input {
        [] | [0x16] => Preface::NeedMore,
        // RFC 8446 section 5.1: content type handshake(22), legacy version 0x0301 or 0x0303.
        [0x16, 0x03, ..] => Preface::Tls,
        _ if input.starts_with(HTTP2_PREFACE) => Preface::Http2,
        _ if HTTP2_PREFACE.starts_with(input) => Preface::NeedMore,
        _ => Preface::Http1,
    }
}

#[cfg(test)]
mod tests {
    use super::{HTTP2_PREFACE, Preface, detect};

    #[test]
    fn s_15_every_beginning() {
        assert_eq!(detect(b""), Preface::NeedMore);
        assert_eq!(detect(b"\x16"), Preface::NeedMore);
        assert_eq!(detect(b"\x16\x03\x01\x02\x00"), Preface::Tls);
        assert_eq!(detect(b"\x16\x04"), Preface::Http1);
        for end in 1..24 {
            assert_eq!(detect(&HTTP2_PREFACE[..end]), Preface::NeedMore);
            let mut other = HTTP2_PREFACE[..=end].to_vec();
            other[end] ^= 0x20;
            assert_eq!(detect(&other), Preface::Http1);
        }
        assert_eq!(detect(HTTP2_PREFACE), Preface::Http2);
        assert_eq!(detect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04"), Preface::Http2);
        for request in ["P", "PR"] {
            assert_eq!(detect(request.as_bytes()), Preface::NeedMore);
        }
        for request in ["POST", "PROPFIND", "G", "\r\n", "\0"] {
            assert_eq!(detect(request.as_bytes()), Preface::Http1);
        }
    }
}
