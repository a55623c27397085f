//! Writing a response head and the frames of its body: RFC 9112 sections 4, 5 and 7.

use http::{HeaderName, HeaderValue, StatusCode};

use crate::http::field::has_element;
use crate::http::length::parse_content_length;
use crate::http1::error::Misuse;

/// The head of a response, as the application gives it.
///
/// Names and values are of types that cannot carry a line end, and the reason phrase is always the registered one, so
/// a response cannot be split (RFC 9112 section 11.1). Four fields are the machine's business and are never copied:
///
/// - `Transfer-Encoding` is a misuse.
/// - `Content-Length` must agree with the body; it stands in for an unknown length.
/// - `Connection`: of its options `close` is obeyed, the others are dropped.
/// - `Keep-Alive` is dropped.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a, F> {
    /// The final status.
    pub status: StatusCode,
    /// Field lines that are already encoded, each with its CRLF: what every response repeats, as Server and Date. It is
    /// the gateway that makes them, not the application; they are copied as they are.
    pub block: &'a [u8],
    /// Field names and values.
    pub fields: F,
}

/// The beginning of a response head, written once for many responses that differ in their bodies only: the status line,
/// the lines that every response repeats, and the `content-length` line up to its number.
///
/// ```
/// use ringgate_protocols::http1::encode::Opening;
/// let opening = Opening::new(http::StatusCode::OK, b"server: ringgate\r\n");
/// assert_eq!(opening.block(), b"server: ringgate\r\n");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Opening {
    text: Vec<u8>,
    /// Where the repeated lines begin: behind the status line.
    block_start: usize,
    /// The status says nothing about the body: it goes out with its length.
    is_ordinary: bool,
}

/// How the line about the length of a body begins.
const CONTENT_LENGTH: &[u8] = b"content-length: ";

impl Opening {
    /// Writes it for a status and a block ([`ResponseHead::block`]).
    #[must_use]
    pub fn new(status: StatusCode, block: &[u8]) -> Self {
        let mut text = Vec::with_capacity(64 + block.len());
        status_line(&mut text, status);
        let block_start = text.len();
        text.extend_from_slice(block);
        text.extend_from_slice(CONTENT_LENGTH);
        let is_ordinary = !status.is_informational() && !matches!(status.as_u16(), 204 | 205 | 304);
        Self { text, block_start, is_ordinary }
    }

    /// The repeated lines alone.
    #[must_use]
    pub fn block(&self) -> &[u8] {
        self.text.get(self.block_start..self.text.len() - CONTENT_LENGTH.len()).unwrap_or_default()
    }

    /// The text, where a response of its status goes out with the length of its body.
    #[inline]
    pub(crate) fn ordinary(&self) -> Option<&[u8]> {
        self.is_ordinary.then_some(&self.text)
    }
}

/// The length of a response body, as the application knows it. It is that of the answer to GET also where a response
/// to HEAD, or a 304, goes without the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// So many bytes.
    Known(u64),
    /// It will show.
    Unknown,
}

/// How the body of a response must go out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFraming {
    /// No body may be sent.
    None,
    /// Exactly so many bytes, at least one.
    Sized(u64),
    /// In chunks, with trailers if there are any.
    Chunked,
    /// As it is; the connection ends it. Trailers are dropped.
    UntilClose,
    /// The connection is a tunnel now: 2xx to CONNECT.
    Tunnel,
}

/// What the application's fields say about framing.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Claims {
    pub(crate) length: Option<u64>,
    pub(crate) close: bool,
    pub(crate) upgrade: bool,
}

/// The line about the body that goes into the head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LengthLine {
    None,
    ContentLength(u64),
    Chunked,
}

/// The request, as far as it decides about the response.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    pub(crate) by_head: bool,
    pub(crate) by_connect: bool,
    pub(crate) in_old_version: bool,
}

/// Decides how a final response is framed: RFC 9112 section 6, RFC 9110 section 8.6.
#[inline]
pub(crate) fn frame(
    status: StatusCode,
    length: BodyLength,
    claimed: Option<u64>,
    asked: Asked,
) -> Result<(LengthLine, BodyFraming), Misuse> {
    let length = match (length, claimed) {
        (length, None) => length,
        (BodyLength::Unknown, Some(claimed)) => BodyLength::Known(claimed),
        (BodyLength::Known(known), Some(claimed)) if known == claimed => length,
        // The answer to HEAD, and a 304, name a length that no body shows.
        (BodyLength::None | BodyLength::Known(0), Some(claimed))
            if asked.by_head || status == StatusCode::NOT_MODIFIED || claimed == 0 =>
        {
            BodyLength::Known(claimed)
        }
        _ => return Err(Misuse::LengthContradicted),
    };
    let has_body = matches!(length, BodyLength::Known(1..) | BodyLength::Unknown);
    match status.as_u16() {
        ..200 => Err(Misuse::StatusInvalid),
        200..300 if asked.by_connect => Ok((LengthLine::None, BodyFraming::Tunnel)),
        204 | 205 if has_body && !asked.by_head => Err(Misuse::BodyNotAllowed),
        204 => Ok((LengthLine::None, BodyFraming::None)),
        205 => Ok((LengthLine::ContentLength(0), BodyFraming::None)),
        304 => Ok((known_line(length, claimed.is_some()), BodyFraming::None)),
        _ if asked.by_head => Ok((known_line(length, true), BodyFraming::None)),
        _ => Ok(match length {
            BodyLength::None | BodyLength::Known(0) => (LengthLine::ContentLength(0), BodyFraming::None),
            BodyLength::Known(bytes) => (LengthLine::ContentLength(bytes), BodyFraming::Sized(bytes)),
            BodyLength::Unknown if asked.in_old_version => (LengthLine::None, BodyFraming::UntilClose),
            BodyLength::Unknown => (LengthLine::Chunked, BodyFraming::Chunked),
        }),
    }
}

/// The line of a head without body: the length that GET would have, or nothing. A 304 that says nothing about the
/// length does not mean 0.
fn known_line(length: BodyLength, zero_counts: bool) -> LengthLine {
    match length {
        BodyLength::Known(bytes) if bytes > 0 || zero_counts => LengthLine::ContentLength(bytes),
        _ => LengthLine::None,
    }
}

/// Writes the status line. Its version is ours, whatever the client speaks (RFC 9110 section 6.2).
#[inline]
pub(crate) fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the application's fields and notes what they claim.
#[inline(always)]
pub(crate) fn fields<'a>(
    out: &mut Vec<u8>,
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Result<Claims, Misuse> {
    /// The lengths of the names that are looked at.
    const LENGTHS: u32 = 1 << 7 | 1 << 10 | 1 << 14 | 1 << 17;
    let mut claims = Claims::default();
    for (name, value) in fields {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        if name.len() < 18 && LENGTHS >> name.len() & 1 != 0 && is_ours(name, value, &mut claims)? {
            continue;
        }
        line(out, name, value);
    }
    Ok(claims)
}

/// True when the field is the machine's business and not copied.
#[inline]
fn is_ours(name: &[u8], value: &[u8], claims: &mut Claims) -> Result<bool, Misuse> {
    match name {
        b"transfer-encoding" => return Err(Misuse::CodingSet),
        b"content-length" => {
            let length = parse_content_length(value).filter(|_| claims.length.is_none());
            claims.length = Some(length.ok_or(Misuse::LengthContradicted)?);
        }
        b"connection" => claims.close |= has_element(value, "close"),
        b"keep-alive" => {}
        b"upgrade" => {
            claims.upgrade = true;
            return Ok(false);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Writes one field line.
#[inline(always)]
pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes the line about the body.
#[inline]
pub(crate) fn length_line(out: &mut Vec<u8>, line: LengthLine) {
    match line {
        LengthLine::None => {}
        LengthLine::ContentLength(bytes) => {
            out.extend_from_slice(CONTENT_LENGTH);
            decimal_line(out, bytes);
        }
        LengthLine::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

/// Writes the Connection line, where one is needed: RFC 9112 section 9.3, RFC 9110 section 7.8.
#[inline]
pub(crate) fn connection_line(out: &mut Vec<u8>, close: bool, keep_alive: bool, upgrade: bool) {
    let text: &[u8] = match (close, keep_alive, upgrade) {
        (false, false, false) => return,
        (true, _, false) => b"connection: close\r\n",
        (true, _, true) => b"connection: close, upgrade\r\n",
        (false, true, false) => b"connection: keep-alive\r\n",
        (false, true, true) => b"connection: keep-alive, upgrade\r\n",
        (false, false, true) => b"connection: upgrade\r\n",
    };
    out.extend_from_slice(text);
}

/// Writes a number in decimal digits, and the end of its line.
#[inline]
pub(crate) fn decimal_line(out: &mut Vec<u8>, number: u64) {
    if number >= 1_000_000 {
        return long_decimal_line(out, number);
    }
    // Built in a register, from its end. A copy of fixed length, of which the rest is taken back, is one move.
    let (mut rest, mut line, mut bytes) = (number as u32, u64::from_le_bytes(*b"\r\n\0\0\0\0\0\0"), 2);
    loop {
        line = line << 8 | u64::from(b'0' + (rest % 10) as u8);
        bytes += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let end = out.len() + bytes;
    out.extend_from_slice(&line.to_le_bytes());
    out.truncate(end);
}

fn long_decimal_line(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes the size line of a chunk.
#[inline]
pub(crate) fn chunk_size(out: &mut Vec<u8>, size: u64) {
    let mut line = [0; 18];
    let digits = (16 - size.leading_zeros() as usize / 4).max(1);
    for (index, digit) in line[..digits].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(size >> (4 * (digits - 1 - index)) & 15) as usize];
    }
    line[digits..digits + 2].copy_from_slice(b"\r\n");
    out.extend_from_slice(&line[..digits + 2]);
}

#[cfg(test)]
mod tests {
    use super::{chunk_size, decimal_line};

    #[test]
    fn numbers_of_every_size() {
        let mut numbers = vec![0, u64::MAX];
        for shift in 0..64 {
            numbers.extend([1 << shift, (1 << shift) - 1]);
        }
        for power in 0..20 {
            numbers.extend([10u64.pow(power), 10u64.pow(power) - 1]);
        }
        for number in numbers.into_iter().step_by(if cfg!(miri) { 7 } else { 1 }) {
            let mut out = Vec::new();
            decimal_line(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{number}\r\n"));
            let mut out = Vec::new();
            chunk_size(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{number:x}\r\n"));
        }
    }
}
