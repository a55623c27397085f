//! The machine speaks: response heads, bodies, and the end of an exchange.

use http::{HeaderName, HeaderValue, StatusCode};

use crate::http::trailer;
use crate::http1::close::CloseReason;
use crate::http1::connection::Connection;
use crate::http1::encode::{self, Asked, BodyFraming, BodyLength, Claims, Opening, ResponseHead};
use crate::http1::error::{Fault, Misuse};
use crate::http1::event::Then;
use crate::http1::state::{Action, Reading, Writing};
use crate::limits::Limits;

impl Connection {
    /// Sends an interim response: 100, 103, or another 1xx but 101. Returns false, and writes nothing, where the
    /// client speaks HTTP/1.0, which has none (RFC 9110 section 15.2). May be sent any number of times before the head.
    ///
    /// # Errors
    /// [`Misuse::StatusInvalid`] for other statuses, [`Misuse::OutOfOrder`] after the head.
    pub fn send_interim<'a>(
        &mut self,
        out: &mut Vec<u8>,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Result<bool, Misuse> {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Misuse::StatusInvalid);
        }
        self.writing = self.writing.after(Action::Interim).ok_or(Misuse::OutOfOrder)?;
        if self.asked.in_old_version {
            return Ok(false);
        }
        let start = out.len();
        encode::status_line(out, status);
        // RFC 9110 section 8.6: no Content-Length in a 1xx; the claim is dropped with the line.
        undo(out, start, |out| encode::fields(out, fields))?;
        out.extend_from_slice(b"\r\n");
        if status == StatusCode::CONTINUE {
            self.continue_due = false;
        }
        Ok(true)
    }

    /// Sends 100 if the client waits for it, and says whether it did.
    pub fn send_continue(&mut self, out: &mut Vec<u8>) -> bool {
        let is_due = self.is_continue_due();
        if is_due {
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.continue_due = false;
        }
        is_due
    }

    /// Sends the head of the final response and says how its body must go out.
    ///
    /// # Errors
    /// A [`Misuse`]; nothing was written then, and another head may be sent.
    #[inline]
    pub fn send_head<'a, F>(
        &mut self,
        out: &mut Vec<u8>,
        head: ResponseHead<'_, F>,
        length: BodyLength,
    ) -> Result<BodyFraming, Misuse>
    where
        F: IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    {
        if self.writing != Writing::Head {
            return Err(Misuse::OutOfOrder);
        }
        let start = out.len();
        out.reserve(256 + head.block.len());
        encode::status_line(out, head.status);
        out.extend_from_slice(head.block);
        let (claims, line, framing) = undo(out, start, |out| {
            let claims = encode::fields(out, head.fields)?;
            let (line, framing) = encode::frame(head.status, length, claims.length, self.asked)?;
            Ok((claims, line, framing))
        })?;
        encode::length_line(out, line);
        if framing == BodyFraming::UntilClose {
            self.close.get_or_insert(CloseReason::EndsBody);
        }
        if claims.close {
            self.close.get_or_insert(CloseReason::Server);
        }
        if self.continue_due {
            // Nobody can know whether the body still comes (RFC 9110 section 10.1.1).
            self.close.get_or_insert(CloseReason::UnreadBody);
        }
        let is_tunnel = framing == BodyFraming::Tunnel;
        let close = self.close.is_some() && !is_tunnel;
        let keep_alive = self.asked.in_old_version && !close && !is_tunnel;
        encode::connection_line(out, close, keep_alive, claims.upgrade);
        out.extend_from_slice(b"\r\n");
        self.writing = self.writing.after(Action::Head(framing)).ok_or(Misuse::OutOfOrder)?;
        self.response_left = match framing {
            BodyFraming::Sized(bytes) => bytes,
            _ => 0,
        };
        if is_tunnel {
            self.reading = Reading::Closed;
        }
        Ok(framing)
    }

    /// Sends a whole response whose body is at hand: head, body and end. Where the body does not belong to the wire
    /// (HEAD, 304) only its length is told.
    ///
    /// # Errors
    /// A [`Misuse`]; nothing was written then, and another response may be sent.
    #[inline]
    pub fn send_response<'a, F>(
        &mut self,
        out: &mut Vec<u8>,
        head: ResponseHead<'_, F>,
        body: &[u8],
        limits: &Limits,
    ) -> Result<Then, Misuse>
    where
        F: IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    {
        if self.reading == Reading::Sized && self.unread_bytes() > limits.drain_bytes_max {
            // Said in the head already, because it is known: the body will not be thrown away.
            self.close.get_or_insert(CloseReason::UnreadBody);
        }
        match self.send_head(out, head, BodyLength::Known(body.len() as u64))? {
            BodyFraming::Sized(_) => out.extend_from_slice(body),
            BodyFraming::Tunnel => return Ok(Then::Switch),
            _ => {}
        }
        self.writing = Writing::Done;
        Ok(self.finish())
    }

    /// Sends a whole response whose head holds no question: nearly all are such, and then most of the head was written
    /// before. True when it is sent; the next request may be read.
    ///
    /// False, with nothing written, where something else than the body has a say: the client's version or method, a
    /// close, a request body that is not read, a status without a body, a field about framing. Then
    /// [`send_response`](Self::send_response) sends it.
    ///
    /// ```
    /// # use ringgate_protocols::{http::head::Head, http1::connection::Connection, http1::encode::Opening, limits::Limits};
    /// let mut connection = Connection::new();
    /// connection.handle_input(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &mut Head::default(), &Limits::default()).unwrap();
    /// let (mut out, opening) = (Vec::new(), Opening::new(http::StatusCode::OK, b"server: ringgate\r\n"));
    /// assert!(connection.send_ordinary(&mut out, &opening, [], b"Hello"));
    /// assert_eq!(out, b"HTTP/1.1 200 OK\r\nserver: ringgate\r\ncontent-length: 5\r\n\r\nHello");
    /// ```
    #[inline]
    pub fn send_ordinary<'a>(
        &mut self,
        out: &mut Vec<u8>,
        opening: &Opening,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        body: &[u8],
    ) -> bool {
        let is_ordinary = (self.reading, self.writing) == (Reading::Done, Writing::Head)
            && self.asked == Asked::default()
            && self.close.is_none()
            && !self.continue_due;
        let Some(text) = opening.ordinary().filter(|_| is_ordinary) else { return false };
        let start = out.len();
        // With room for the number, the end of the head, and a few fields.
        out.reserve(text.len() + body.len() + 256);
        out.extend_from_slice(text);
        encode::decimal_line(out, body.len() as u64);
        if !matches!(encode::fields(out, fields), Ok(claims) if claims == Claims::default()) {
            out.truncate(start);
            return false;
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        self.begin_next();
        true
    }

    /// Announces a piece of `bytes` of the body, which the driver then appends or lends; its end
    /// ([`send_data_end`](Self::send_data_end)) must follow. Nothing is written for an empty piece.
    ///
    /// # Errors
    /// [`Misuse::BodyTooLong`] when the announced length is passed, [`Misuse::OutOfOrder`] where no body belongs.
    #[inline]
    pub fn send_data_start(&mut self, out: &mut Vec<u8>, bytes: u64) -> Result<(), Misuse> {
        self.writing = self.writing.after(Action::Data).ok_or(Misuse::OutOfOrder)?;
        match self.writing {
            Writing::Sized if bytes > self.response_left => {
                self.stop(CloseReason::Misuse(Misuse::BodyTooLong));
                return Err(Misuse::BodyTooLong);
            }
            Writing::Sized => self.response_left -= bytes,
            // An empty chunk would be the last one.
            Writing::Chunked if bytes > 0 => encode::chunk_size(out, bytes),
            _ => {}
        }
        Ok(())
    }

    /// Ends a piece that [`send_data_start`](Self::send_data_start) announced with the same number of bytes.
    #[inline]
    pub fn send_data_end(&mut self, out: &mut Vec<u8>, bytes: u64) {
        if self.writing == Writing::Chunked && bytes > 0 {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Sends a piece of the body by copying it.
    ///
    /// # Errors
    /// As [`send_data_start`](Self::send_data_start).
    #[inline]
    pub fn send_data(&mut self, out: &mut Vec<u8>, data: &[u8]) -> Result<(), Misuse> {
        let bytes = data.len() as u64;
        self.send_data_start(out, bytes)?;
        out.extend_from_slice(data);
        self.send_data_end(out, bytes);
        Ok(())
    }

    /// True when trailers given to [`send_end`](Self::send_end) will be sent, and not dropped: the body goes in chunks.
    #[must_use]
    pub fn sends_trailers(&self) -> bool {
        self.writing == Writing::Chunked
    }

    /// Ends the response. Trailers go out only in a chunked body; names that may not be trailers are left out.
    ///
    /// # Errors
    /// [`Misuse::BodyTooShort`] when bytes of the announced length are missing; then the connection must be closed.
    pub fn send_end<'a>(
        &mut self,
        out: &mut Vec<u8>,
        trailers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Result<Then, Misuse> {
        let before = self.writing;
        self.writing = before.after(Action::End).ok_or(Misuse::OutOfOrder)?;
        if before == Writing::Sized && self.response_left > 0 {
            self.stop(CloseReason::Misuse(Misuse::BodyTooShort));
            return Err(Misuse::BodyTooShort);
        }
        if before == Writing::Chunked {
            out.extend_from_slice(b"0\r\n");
            for (name, value) in trailers {
                if !trailer::is_forbidden(name.as_str().as_bytes()) {
                    encode::line(out, name.as_str().as_bytes(), value.as_bytes());
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        Ok(self.finish())
    }

    /// Switches protocols: sends 101, with `connection: upgrade`. The fields must name the protocol (`upgrade`), which
    /// must be one that the client offered. The input not consumed belongs to it.
    ///
    /// # Errors
    /// [`Misuse::SwitchNotOffered`] when the client offered none, when no `upgrade` is among the fields, or before the
    /// request is whole, its body included (RFC 9110 section 7.8). Nothing was written then.
    pub fn send_switch<'a>(
        &mut self,
        out: &mut Vec<u8>,
        block: &[u8],
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Result<(), Misuse> {
        let after = self.writing.after(Action::Switch).ok_or(Misuse::OutOfOrder)?;
        if !self.switch_offered || self.reading != Reading::Done {
            return Err(Misuse::SwitchNotOffered);
        }
        let start = out.len();
        encode::status_line(out, StatusCode::SWITCHING_PROTOCOLS);
        out.extend_from_slice(block);
        undo(out, start, |out| {
            let claims = encode::fields(out, fields)?;
            if claims.upgrade { Ok(()) } else { Err(Misuse::SwitchNotOffered) }
        })?;
        encode::connection_line(out, false, false, true);
        out.extend_from_slice(b"\r\n");
        self.writing = after;
        self.reading = Reading::Closed;
        Ok(())
    }

    /// Answers a fault, if it can be answered: not when a response has begun, nor when nobody is left to read it.
    /// Returns whether it did. In any case nothing is read any more, and the connection is to be closed.
    pub fn send_fault(&mut self, out: &mut Vec<u8>, fault: Fault, block: &[u8]) -> bool {
        self.fail(fault);
        let is_answered = fault.is_answered() && matches!(self.writing, Writing::Idle | Writing::Head);
        if is_answered {
            encode::status_line(out, fault.status());
            out.extend_from_slice(block);
            out.extend_from_slice(b"content-type: text/plain\r\n");
            encode::length_line(out, encode::LengthLine::ContentLength(fault.reason().len() as u64));
            out.extend_from_slice(b"connection: close\r\n\r\n");
            if !(self.writing == Writing::Head && self.asked.by_head) {
                out.extend_from_slice(fault.reason().as_bytes());
            }
        }
        self.writing = Writing::Done;
        is_answered
    }

    /// The response has ended: what follows.
    #[inline]
    fn finish(&mut self) -> Then {
        if let Some(reason) = self.close {
            self.reading = Reading::Closed;
            return Then::Close(reason);
        }
        match self.reading {
            Reading::Done => {
                self.begin_next();
                Then::KeepAlive
            }
            Reading::Closed => Then::Close(self.stop(CloseReason::Server)),
            _ => Then::Drain,
        }
    }
}

/// Runs a writer that may fail, and takes back what it and its predecessors wrote if it does.
#[inline]
fn undo<T>(
    out: &mut Vec<u8>,
    start: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Result<T, Misuse>,
) -> Result<T, Misuse> {
    let result = write(out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}
