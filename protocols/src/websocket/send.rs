//! Sending: what the application says, as frames.

use bytes::Bytes;

use crate::websocket::close::{CloseCode, REASON_BYTES_MAX};
use crate::websocket::connection::{Connection, Outgoing};
use crate::websocket::deflate::{Deflater, Pool};
use crate::websocket::error::Misuse;
use crate::websocket::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode};
use crate::websocket::mask::Mask;
use crate::websocket::message::{Kind, Prepared, Variant};
use crate::websocket::state::{Occurrence, Verdict};

impl Connection {
    /// Appends one message as one frame, not compressed. Text must be UTF-8.
    ///
    /// # Errors
    /// `Closing`, and `MessageUnfinished` inside a fragmented message.
    #[inline]
    pub fn send_message(&mut self, out: &mut Vec<u8>, kind: Kind, payload: &[u8]) -> Result<(), Misuse> {
        self.may_begin()?;
        self.write_plain(out, kind.opcode(), true, payload);
        Ok(())
    }

    /// Appends one message as one frame, compressed if that was negotiated and makes it shorter. It is a choice for each
    /// message: do not compress secrets beside text that an attacker can choose (the CRIME attack).
    ///
    /// # Errors
    /// As [`Connection::send_message`].
    pub fn send_compressed(
        &mut self,
        out: &mut Vec<u8>,
        kind: Kind,
        payload: &[u8],
        pool: &mut Pool,
    ) -> Result<(), Misuse> {
        self.may_begin()?;
        let start = out.len();
        let Some(mut deflater) = self.take_deflater(pool) else {
            self.write_plain(out, kind.opcode(), true, payload);
            return Ok(());
        };
        self.write_deflated(out, kind.opcode(), payload, true, &mut deflater);
        let mask = self.keys.as_ref().map(|_| [0; 4]);
        let opcode = kind.opcode();
        let plain = Header { last: true, compressed: false, opcode, mask, length: payload.len() as u64 };
        if out.len() - start > plain.encoded_bytes() + payload.len() {
            out.truncate(start);
            self.write_plain(out, kind.opcode(), true, payload);
            // The peer has not seen what the window now holds.
            deflater.reset();
        }
        self.give_deflater(deflater, pool);
        Ok(())
    }

    /// Appends only the header of a message that is one frame of `length` bytes; the caller sends the payload behind it,
    /// from wherever it lies, before anything else. For servers: a client must mask its payload, so it copies.
    ///
    /// # Errors
    /// As [`Connection::send_message`].
    ///
    /// # Panics
    /// In the client role.
    #[inline]
    pub fn send_header(&mut self, out: &mut Vec<u8>, kind: Kind, length: u64) -> Result<(), Misuse> {
        assert!(self.keys.is_none(), "a client's payload is masked and cannot be lent");
        self.may_begin()?;
        Header { last: true, compressed: false, opcode: kind.opcode(), mask: None, length }.encode(out);
        Ok(())
    }

    /// The shared bytes of a message prepared for many connections, in the form that fits this one; `compress` as in
    /// [`Connection::send_compressed`]. For servers.
    ///
    /// # Errors
    /// As [`Connection::send_message`].
    ///
    /// # Panics
    /// In the client role.
    pub fn send_prepared(&mut self, message: &Prepared, compress: bool, pool: &mut Pool) -> Result<Bytes, Misuse> {
        assert!(self.keys.is_none(), "a client's frames carry a mask of their own");
        self.may_begin()?;
        let variant = if compress { self.variant() } else { Variant::Plain };
        if variant != Variant::Plain
            && let Some(deflater) = &mut self.deflater
        {
            // The peer's window moves on by a message that ours does not hold: begin anew.
            deflater.reset();
        }
        Ok(message.frame(variant, pool))
    }

    /// The form of compressed frames that this connection understands.
    #[must_use]
    pub fn variant(&self) -> Variant {
        match self.parameters {
            Some(parameters) => Variant::Deflate { window_bits: parameters.server_window_bits },
            None => Variant::Plain,
        }
    }

    /// Begins a message that is sent in fragments by [`Connection::send_fragment`]; nothing is written yet. `compress` as
    /// in [`Connection::send_compressed`].
    ///
    /// # Errors
    /// As [`Connection::send_message`].
    pub fn begin_message(&mut self, kind: Kind, compress: bool) -> Result<(), Misuse> {
        self.may_begin()?;
        self.outgoing = Outgoing::Begun(kind, compress && self.parameters.is_some());
        Ok(())
    }

    /// Appends the next fragment of the message begun, and ends the message with the `last` one. Text may be cut anywhere.
    ///
    /// # Errors
    /// `Closing`, and `NoMessage` if none was begun.
    pub fn send_fragment(
        &mut self,
        out: &mut Vec<u8>,
        payload: &[u8],
        last: bool,
        pool: &mut Pool,
    ) -> Result<(), Misuse> {
        if let Verdict::Refuse = self.state.on(Occurrence::Send) {
            return Err(Misuse::Closing);
        }
        let (opcode, compress) = match self.outgoing {
            Outgoing::None => return Err(Misuse::NoMessage),
            Outgoing::Begun(kind, compress) => (kind.opcode(), compress),
            Outgoing::Continued(compress) => (Opcode::Continuation, compress),
        };
        self.spoke = true;
        if compress && let Some(mut deflater) = self.take_deflater(pool) {
            self.write_deflated(out, opcode, payload, last, &mut deflater);
            if last {
                self.give_deflater(deflater, pool);
            } else {
                self.deflater = Some(deflater);
            }
        } else {
            self.write_plain(out, opcode, last, payload);
        }
        self.outgoing = if last { Outgoing::None } else { Outgoing::Continued(compress) };
        Ok(())
    }

    /// Appends a ping.
    ///
    /// # Errors
    /// `Closing`, and `ControlTooLong` beyond 125 bytes.
    pub fn ping(&mut self, out: &mut Vec<u8>, payload: &[u8]) -> Result<(), Misuse> {
        self.say(out, Opcode::Ping, payload)
    }

    /// Appends a pong nobody asked for (section 5.5.3). Pings are answered without it.
    ///
    /// # Errors
    /// As [`Connection::ping`].
    pub fn pong(&mut self, out: &mut Vec<u8>, payload: &[u8]) -> Result<(), Misuse> {
        self.say(out, Opcode::Pong, payload)
    }

    /// Appends a Close, or the answer to the peer's Close with a code of the application's choice. `reason` is given only
    /// with a code. A pong that is owed goes ahead of it. Then the peer has `close_timeout_ms` to answer.
    ///
    /// # Errors
    /// `Closing` if a Close was sent or is owed for a fault, and `ControlTooLong` if the reason exceeds 123 bytes.
    pub fn close(
        &mut self,
        out: &mut Vec<u8>,
        code: Option<CloseCode>,
        reason: &str,
        now_ms: u64,
    ) -> Result<(), Misuse> {
        let Verdict::To(_) = self.state.on(Occurrence::SendClose) else { return Err(Misuse::Closing) };
        if reason.len() > REASON_BYTES_MAX {
            return Err(Misuse::ControlTooLong);
        }
        let mut body = [0; CONTROL_BYTES_MAX];
        let mut length = 0;
        if let Some(code) = code {
            body[..2].copy_from_slice(&code.get().to_be_bytes());
            length = 2 + reason.len();
            body[2..length].copy_from_slice(reason.as_bytes());
        }
        // Nothing is said behind a Close.
        self.write_pong(out);
        self.write_control(out, Opcode::Close, &body[..length]);
        self.waiting_since_ms = now_ms;
        self.turn(Occurrence::SendClose);
        Ok(())
    }

    #[inline]
    fn may_begin(&mut self) -> Result<(), Misuse> {
        if let Verdict::Refuse = self.state.on(Occurrence::Send) {
            return Err(Misuse::Closing);
        }
        if self.outgoing != Outgoing::None {
            return Err(Misuse::MessageUnfinished);
        }
        self.spoke = true;
        Ok(())
    }

    fn say(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) -> Result<(), Misuse> {
        if let Verdict::Refuse = self.state.on(Occurrence::Send) {
            return Err(Misuse::Closing);
        }
        if payload.len() > CONTROL_BYTES_MAX {
            return Err(Misuse::ControlTooLong);
        }
        self.write_control(out, opcode, payload);
        Ok(())
    }

    #[inline]
    fn write_plain(&mut self, out: &mut Vec<u8>, opcode: Opcode, last: bool, payload: &[u8]) {
        let header = Header { last, compressed: false, opcode, mask: None, length: payload.len() as u64 };
        if self.keys.is_some() {
            return self.write_masked(out, header, payload);
        }
        header.encode(out);
        out.extend_from_slice(payload);
    }

    /// The same in the client role.
    #[inline(never)]
    fn write_masked(&mut self, out: &mut Vec<u8>, header: Header, payload: &[u8]) {
        let mask = self.keys.as_mut().map(|keys| keys());
        out.reserve(payload.len() + HEADER_BYTES_MAX);
        Header { mask, ..header }.encode(out);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(key) = mask {
            Mask::new(key).apply(&mut out[start..]);
        }
    }

    /// Deflates behind a gap for the header, then writes the header and closes the gap.
    fn write_deflated(
        &mut self,
        out: &mut Vec<u8>,
        opcode: Opcode,
        payload: &[u8],
        last: bool,
        deflater: &mut Deflater,
    ) {
        let mask = self.keys.as_mut().map(|keys| keys());
        // RSV1 stands on the first frame of the message only (RFC 7692 section 6).
        let compressed = opcode != Opcode::Continuation;
        let start = out.len();
        out.resize(start + HEADER_BYTES_MAX, 0);
        deflater.deflate(payload, out, last);
        let body = start + HEADER_BYTES_MAX;
        if let Some(key) = mask {
            Mask::new(key).apply(&mut out[body..]);
        }
        let header = Header { last, compressed, opcode, mask, length: (out.len() - body) as u64 };
        let moved = start + header.encoded_bytes();
        let end = out.len();
        out.copy_within(body..end, moved);
        let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX);
        header.encode(&mut bytes);
        out[start..moved].copy_from_slice(&bytes);
        out.truncate(moved + (end - body));
    }

    /// True when our window goes on from message to message.
    fn keeps_window(&self) -> bool {
        self.parameters.is_some_and(|parameters| match self.keys {
            None => !parameters.server_no_context_takeover,
            Some(_) => !parameters.client_no_context_takeover,
        })
    }

    /// The context of this connection, or one of the pool; none if compression was not negotiated.
    fn take_deflater(&mut self, pool: &mut Pool) -> Option<Box<Deflater>> {
        let parameters = self.parameters?;
        let bits = match self.keys {
            None => parameters.server_window_bits,
            // A client that was allowed 8 uses no window at all that zlib can make: it stays plain.
            Some(_) if parameters.client_window_bits < 9 => return None,
            Some(_) => parameters.client_window_bits,
        };
        Some(self.deflater.take().unwrap_or_else(|| pool.take_deflater(bits)))
    }

    fn give_deflater(&mut self, deflater: Box<Deflater>, pool: &mut Pool) {
        if self.keeps_window() {
            self.deflater = Some(deflater);
        } else {
            pool.give_deflater(deflater);
        }
    }
}
