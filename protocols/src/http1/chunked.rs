//! The chunked transfer coding, read piece by piece: RFC 9112 section 7.1.
//!
//! Nothing is kept back: a size line is consumed as it comes, so a piece of it costs the same however it was cut, and
//! an unfinished one occupies no buffer.

use crate::http1::error::Fault;
use crate::limits::Limits;
use crate::span::Span;

/// Where the decoder is. Line ends are CR LF and nothing else, in all places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Before the first digit of a size.
    SizeStart,
    /// Behind at least one digit.
    Size,
    /// In an extension.
    Extension,
    /// In a quoted string of an extension.
    Quoted,
    /// Behind the backslash in a quoted string.
    Escaped,
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
            (Place::Size | Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Size, b';') => count_extension(counters, limits).map(|()| Place::Extension)?,
            (Place::SizeStart | Place::Size, _) => return Err(Fault::ChunkSizeInvalid),
            (Place::Extension | Place::Quoted | Place::Escaped, b' '..=b'~' | b'\t') => {
                count_extension(counters, limits)?;
                match (*place, byte) {
                    (Place::Extension, b'"') => Place::Quoted,
                    (Place::Quoted, b'"') => Place::Extension,
                    (Place::Quoted, b'\\') => Place::Escaped,
                    (Place::Escaped, _) => Place::Quoted,
                    (same, _) => same,
                }
            }
            (Place::Extension | Place::Quoted | Place::Escaped, _) => return Err(Fault::ChunkExtensionInvalid),
            (Place::SizeEnd, b'\n') if counters.chunk_left == 0 => return Ok((at, Piece::Last)),
            (Place::SizeEnd, b'\n') if counters.chunk_left > counters.body_left => return Err(Fault::BodyTooLarge),
            (Place::SizeEnd, b'\n') => Place::Data,
            (Place::SizeEnd, _) => return Err(Fault::ChunkSizeInvalid),
            (Place::DataEnd, b'\r') => Place::DataEndLine,
            (Place::DataEndLine, b'\n') => Place::SizeStart,
            (Place::DataEnd | Place::DataEndLine | Place::Data, _) => return Err(Fault::ChunkDataInvalid),
        };
    }
}

fn count_line(counters: &mut Counters, limits: &Limits) -> Result<(), Fault> {
    counters.line_extra_bytes = counters.line_extra_bytes.saturating_add(1);
    if u32::from(counters.line_extra_bytes) > limits.chunk_extension_line_bytes_max {
        return Err(Fault::ChunkExtensionTooLong);
    }
    Ok(())
}

fn count_extension(counters: &mut Counters, limits: &Limits) -> Result<(), Fault> {
    count_line(counters, limits)?;
    counters.extension_bytes += 1;
    if counters.extension_bytes > limits.chunk_extension_bytes_max {
        return Err(Fault::ChunkExtensionTooLong);
    }
    Ok(())
}
