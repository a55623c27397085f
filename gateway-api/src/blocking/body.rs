//! The body of a request, read on a thread.

use crate::{error::BodyError, pipe::Pipe};
use bytes::{Buf, Bytes};
use http::HeaderMap;
use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

/// The body of a request, read on a thread of the crew. The mirror of the async `Body`: reading blocks where that one
/// waits, and the same limits hold. A client that leaves ends it with an error, so no read blocks for ever.
///
/// ```
/// use ringgate::{App, blocking, post};
/// use std::io::{self, BufRead, BufReader};
/// fn longest(mut request: blocking::Request) -> io::Result<String> {
///     let mut longest = 0;
///     for line in BufReader::new(request.body_mut()).lines() {
///         longest = longest.max(line?.len());
///     }
///     Ok(format!("{longest}\n"))
/// }
/// # let app = App::new().route("/longest", post(longest));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "POST /longest HTTP/1.1", "one\nthree\ntwo").ends_with("\r\n\r\n5\n"));
/// ```
#[derive(Default)]
pub struct Body {
    pipe: Option<Arc<Pipe>>,
    /// What is left of the piece being read.
    piece: Bytes,
    length: Option<u64>,
    bytes_max: u64,
    /// Bytes taken from the pipe.
    read: u64,
    /// What every call answers from now on.
    failed: Option<BodyError>,
}

impl Body {
    pub(crate) fn new(pipe: Option<(Arc<Pipe>, u64)>, length: Option<u64>) -> Self {
        let (pipe, bytes_max) = pipe.map_or((None, 0), |(pipe, bytes_max)| (Some(pipe), bytes_max));
        Self { pipe, piece: Bytes::new(), length, bytes_max, read: 0, failed: None }
    }

    /// True when the request announced no body, or the body is read to its end.
    #[must_use]
    pub fn is_end(&self) -> bool {
        let is_read = self.pipe.as_ref().is_none_or(|pipe| pipe.is_read());
        self.piece.is_empty() && self.failed.is_none() && is_read
    }

    /// Bytes announced by `Content-Length`; `Some(0)` without a body, `None` when only the end will tell.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes this body may have, in place of the gateway's `body_bytes_max`. `u64::MAX` lifts the limit, for bodies
    /// that are streamed through.
    pub fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// The next piece. Blocks. `None` is the end; an error is final.
    ///
    /// # Errors
    /// [`BodyError`] when the body breaks off, is too long, too slow, or malformed.
    #[expect(clippy::should_implement_trait, reason = "mirrors the async name; the iterator is one call away")]
    pub fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if !self.piece.is_empty() {
            return Some(Ok(std::mem::take(&mut self.piece)));
        }
        if let Some(error) = self.failed {
            return Some(Err(error));
        }
        let pipe = self.pipe.as_ref()?;
        let mut next = match self.length {
            Some(length) if length > self.bytes_max => Some(Err(BodyError::TooLarge)),
            _ => pipe.pop_blocking(),
        };
        if let Some(Ok(piece)) = &next {
            self.read += piece.len() as u64;
            if self.read > self.bytes_max {
                pipe.leave();
                next = Some(Err(BodyError::TooLarge));
            }
        }
        self.failed = next.as_ref().and_then(|next| next.as_ref().err()).copied();
        next
    }

    /// The whole body in one piece of memory. Blocks.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] beyond `body_bytes_max`, and what [`Body::next`] can answer.
    pub fn collect(&mut self) -> Result<Bytes, BodyError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next() {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.into())
    }

    /// The trailers, once the body is read to its end and if there were any.
    #[must_use]
    pub fn trailers(&self) -> Option<HeaderMap> {
        self.pipe.as_ref().filter(|_| self.is_end()).and_then(|pipe| pipe.trailers())
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.piece.is_empty() {
            match self.next() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(pipe) = &self.pipe {
            pipe.leave();
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("length", &self.length).field("is_end", &self.is_end()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_across_their_borders() {
        let pipe = Pipe::new(100);
        for piece in ["ab", "", "cde"] {
            pipe.push(piece.as_bytes());
        }
        pipe.finish(Ok(()));
        let mut body = Body::new(Some((pipe, 100)), None);
        let mut two = [0; 2];
        body.read_exact(&mut two[..1]).unwrap();
        body.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"bc");
        assert!(!body.is_end());
        assert_eq!(body.next().unwrap().unwrap(), "de");
        assert!(body.is_end() && body.next().is_none(), "as with the async one it is known before it is told");
    }

    #[test]
    fn a_body_broken_off_is_an_error_not_an_end() {
        let pipe = Pipe::new(100);
        pipe.finish(Err(BodyError::Disconnected));
        let error = Body::new(Some((pipe, 100)), None).read(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
