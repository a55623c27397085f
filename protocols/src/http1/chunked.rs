//! The chunked transfer coding, read piece by piece: RFC 9112 section 7.1.
//!
//! Nothing is kept back: a size line is consumed as it comes, so a piece of it costs the same however it was cut, and
//! an unfinished one occupies no buffer.

use crate::http1::error::Fault;
use crate::limits::Limits;
use crate::scan::class::TOKEN;
use crate::span::Span;

/// Where the decoder is. Line ends are CR LF and nothing else, in all places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Before the first digit of a size.
    SizeStart,
    /// Behind at least one digit.
    Size,
    /// Behind the semicolon of an extension, before its name.
    NameStart,
    /// In the name of an extension.
    Name,
    /// In white space behind the name.
    NameEnd,
    /// Behind the equals sign.
    ValueStart,
    /// In a value that is a token.
    Value,
    /// In a value that is a quoted string.
    Quoted,
    /// Behind the backslash in a quoted string.
    Escaped,
    /// Behind the quote that ends the string.
    Closed,
    /// In white space behind a value.
    ValueEnd,
    /// Behind the CR of a size line.
    SizeEnd,
    /// In the data.
    Data,
    /// Behind the data.
    DataEnd,
    /// Behind the CR that follows the data.
    DataEndLine,
}

/// The counters of the decoder.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    /// The size of the chunk while it is read, then the bytes of it that have not come.
    pub(crate) chunk_left: u64,
    /// Bytes of the body that may still come.
    pub(crate) body_left: u64,
    /// Bytes of extensions in this message.
    pub(crate) extension_bytes: u32,
    /// Bytes of this size line beyond the significant digits.
    pub(crate) line_extra_bytes: u16,
    /// Field lines of the head, which the trailers share the limit with.
    pub(crate) head_fields: u16,
}

/// What one step found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// Everything is consumed.
    NeedInput,
    /// Data, so far as it has come.
    Data(Span),
    /// The last chunk: trailers follow.
    Last,
}

/// Goes on from `place` and says what came and how many bytes were consumed.
pub(crate) fn step(
    place: &mut Place,
    counters: &mut Counters,
    input: &[u8],
    limits: &Limits,
) -> Result<(usize, Piece), Fault> {
    let mut at = 0;
    loop {
        if *place == Place::Data {
            let length = counters.chunk_left.min((input.len() - at) as u64);
            if length == 0 {
                return Ok((at, Piece::NeedInput));
            }
            counters.chunk_left -= length;
            // Not below zero, should the limit have been lowered within a chunk.
            counters.body_left = counters.body_left.saturating_sub(length);
            if counters.chunk_left == 0 {
                *place = Place::DataEnd;
            }
            let end = at + length as usize;
            return Ok((end, Piece::Data(Span::new(at as u32, end as u32))));
        }
        let Some(&byte) = input.get(at) else {
            return Ok((at, Piece::NeedInput));
        };
        at += 1;
        *place = match (*place, byte) {
            (Place::SizeStart | Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if *place == Place::SizeStart {
                    counters.chunk_left = 0;
                    counters.line_extra_bytes = 0;
                } else if counters.chunk_left == 0 {
                    // The digit before this one was a zero in front.
                    count_line(counters, limits)?;
                }
                if counters.chunk_left >> 60 != 0 {
                    return Err(Fault::ChunkSizeInvalid);
                }
                let digit = if byte <= b'9' { byte - b'0' } else { (byte | 0x20) - b'a' + 10 };
                counters.chunk_left = counters.chunk_left << 4 | u64::from(digit);
                Place::Size
            }
            (Place::Size | Place::Name | Place::Value | Place::Closed, b'\r') => Place::SizeEnd,
            (Place::Size, b';') => count_extension(counters, limits).map(|()| Place::NameStart)?,
            (Place::SizeStart | Place::Size, _) => return Err(Fault::ChunkSizeInvalid),
            (Place::SizeEnd, b'\n') if counters.chunk_left == 0 => return Ok((at, Piece::Last)),
            (Place::SizeEnd, b'\n') if counters.chunk_left > counters.body_left => return Err(Fault::BodyTooLarge),
            (Place::SizeEnd, b'\n') => Place::Data,
            (Place::SizeEnd, _) => return Err(Fault::ChunkSizeInvalid),
            (Place::DataEnd, b'\r') => Place::DataEndLine,
            (Place::DataEndLine, b'\n') => Place::SizeStart,
            (Place::DataEnd | Place::DataEndLine | Place::Data, _) => return Err(Fault::ChunkDataInvalid),
            (place, byte) => {
                let next = after_extension_byte(place, byte).ok_or(Fault::ChunkExtensionInvalid)?;
                count_extension(counters, limits)?;
                next
            }
        };
    }
}

/// The table of RFC 9112 section 7.1.1: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`. `None` where
/// the byte has no place. Extensions mean nothing here; what is not one is refused all the same, since others may find
/// the end of the line elsewhere in it (S-09, S-10). The white space before the first semicolon is refused with the size
/// (S-08), and bytes from 0x80 up in strings.
fn after_extension_byte(place: Place, byte: u8) -> Option<Place> {
    Some(match (place, byte) {
        (Place::NameStart, b' ' | b'\t') => Place::NameStart,
        (Place::NameStart | Place::Name, _) if TOKEN.has(byte) => Place::Name,
        (Place::Name | Place::NameEnd, b' ' | b'\t') => Place::NameEnd,
        (Place::Name | Place::NameEnd, b'=') => Place::ValueStart,
        (Place::ValueStart, b' ' | b'\t') => Place::ValueStart,
        (Place::ValueStart, b'"') => Place::Quoted,
        (Place::ValueStart | Place::Value, _) if TOKEN.has(byte) => Place::Value,
        (Place::Quoted, b'\\') => Place::Escaped,
        (Place::Quoted, b'"') => Place::Closed,
        (Place::Quoted | Place::Escaped, b' '..=b'~' | b'\t') => Place::Quoted,
        (Place::Value | Place::Closed | Place::ValueEnd, b' ' | b'\t') => Place::ValueEnd,
        (Place::Name | Place::NameEnd | Place::Value | Place::Closed | Place::ValueEnd, b';') => Place::NameStart,
        _ => return None,
    })
}

fn count_line(counters: &mut Counters, limits: &Limits) -> Result<(), Fault> {
    if u32::from(counters.line_extra_bytes) >= limits.chunk_extension_line_bytes_max.min(u32::from(u16::MAX)) {
        return Err(Fault::ChunkExtensionTooLong);
    }
    counters.line_extra_bytes += 1;
    Ok(())
}

fn count_extension(counters: &mut Counters, limits: &Limits) -> Result<(), Fault> {
    count_line(counters, limits)?;
    if counters.extension_bytes >= limits.chunk_extension_bytes_max {
        return Err(Fault::ChunkExtensionTooLong);
    }
    counters.extension_bytes += 1;
    Ok(())
}
