//! The machine. Its ways in, out and through time are in the files beside: `receive.rs`, `send.rs`, `timer.rs`.

use crate::websocket::budget::Budget;
use crate::websocket::deflate::{Deflater, Inflater, Parameters};
use crate::websocket::error::Fault;
use crate::websocket::event::{Environment, Event, Step, Whole};
use crate::websocket::frame::{CONTROL_BYTES_MAX, Header, Opcode};
use crate::websocket::mask::Mask;
use crate::websocket::message::{Kind, Payload};
use crate::websocket::state::{Occurrence, State, Verdict};
use crate::websocket::utf8::Validator;

/// Makes the masking keys of a client. It must be a cryptographically strong source (section 10.3).
pub type MaskKeys = Box<dyn FnMut() -> [u8; 4] + Send>;

/// One WebSocket, after its handshake.
///
/// - **In:** [`handle_input`](Self::handle_input) takes received bytes and tells one event; call it again with what is
///   left until it says [`Event::NeedInput`].
/// - **Out:** `send_*`, [`ping`](Self::ping), [`close`](Self::close) and their like append to a buffer of the caller.
///   [`poll_output`](Self::poll_output) appends what the protocol owes: a pong, the answer to a Close. Call it between
///   frames, when output is drained, and before the end.
/// - **Time:** [`poll_timeout`](Self::poll_timeout) names the deadline, [`handle_timeout`](Self::handle_timeout) keeps it.
/// - **End:** once [`is_closed`](Self::is_closed), and with the output written, the server closes the transport (section
///   7.1.1). Over HTTP/2 END_STREAM stands for that, RST_STREAM(CANCEL) for an abort (RFC 8441 section 5).
///
/// An idle connection holds the bytes of this struct and nothing on the heap, unless context takeover was negotiated.
///
/// ```
/// use ringgate_protocols::limits::WebSocketLimits;
/// use ringgate_protocols::websocket::connection::Connection;
/// use ringgate_protocols::websocket::deflate::Pool;
/// use ringgate_protocols::websocket::event::{Environment, Event};
///
/// let mut socket = Connection::server(None, 0);
/// let (mut pool, mut scratch) = (Pool::default(), Vec::new());
/// let limits = WebSocketLimits::default();
/// let mut around = Environment { limits: &limits, pool: &mut pool, scratch: &mut scratch, now_ms: 1 };
///
/// // A masked "Hello", RFC 6455 section 5.7.
/// let mut input = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
/// let step = socket.handle_input(&mut input, &mut around).unwrap();
/// let Event::Message { kind, payload } = step.event else { panic!() };
///
/// let mut output = Vec::new();
/// socket.send_message(&mut output, kind, payload.of(&input, around.scratch)).unwrap();
/// assert_eq!(output, b"\x81\x05Hello");
/// assert_eq!(step.consumed, input.len());
/// ```
pub struct Connection {
    pub(super) heard_ms: u64,
    pub(super) message_ms: u64,
    /// Since when we wait: for a pong while open, for the Close while closing.
    pub(super) waiting_since_ms: u64,
    pub(super) budget: Budget,
    /// The payload of the latest ping that is not answered.
    #[expect(clippy::box_collection, reason = "an idle connection, which owes no pong, pays 8 bytes for it, not 16")]
    pub(super) pong: Option<Box<Vec<u8>>>,
    /// The client's; boxed again, for the server's end does not pay for two pointers.
    pub(super) keys: Option<Box<MaskKeys>>,
    pub(super) deflater: Option<Box<Deflater>>,
    pub(super) inflater: Option<Box<Inflater>>,
    /// The message in hand. Boxed: a connection at rest, or whose messages come whole, has none.
    pub(super) incoming: Option<Box<Incoming>>,
    /// The code of the Close that we owe; 0 for none.
    pub(super) answer: u16,
    pub(super) parameters: Option<Parameters>,
    pub(super) state: State,
    /// Bytes of a header or control frame that are still to be whole, and have been looked at.
    pub(super) unfinished: u8,
    pub(super) waiting_for_pong: bool,
    /// A message was sent that is not dated yet.
    pub(super) spoke: bool,
    pub(super) outgoing: Outgoing,
}

/// The message that is being received.
#[derive(Default)]
pub(super) struct Incoming {
    /// Payload bytes of the frame in hand that are still to come.
    pub(super) frame_left: u64,
    /// Bytes of the message, as the application sees them.
    pub(super) message_bytes: u64,
    /// Bytes of the message, as they were received.
    pub(super) wire_bytes: u64,
    pub(super) since_ms: u64,
    pub(super) mask: Mask,
    pub(super) text: Validator,
    pub(super) fragments: u32,
    /// Tokens charged for the message.
    pub(super) charged: u32,
    pub(super) is_text: bool,
    pub(super) compressed: bool,
    /// It has begun and not ended; false outside of a message.
    pub(super) is_begun: bool,
    /// A piece of it was told.
    pub(super) told: bool,
    /// A data frame is in hand, and whether it is the last of the message.
    pub(super) in_frame: bool,
    pub(super) last_frame: bool,
}

/// The fragmented message that is being sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outgoing {
    None,
    /// Begun by the application, no frame written yet.
    Begun(Kind, bool),
    /// At least one frame is written.
    Continued(bool),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("state", &self.state)
            .field("parameters", &self.parameters)
            .field("in_message", &self.in_message())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// The server's end, with what the handshake negotiated. `now_ms` as in [`Environment`].
    #[must_use]
    pub fn server(parameters: Option<Parameters>, now_ms: u64) -> Self {
        Self {
            heard_ms: now_ms,
            message_ms: now_ms,
            waiting_since_ms: 0,
            budget: Budget::new(now_ms),
            pong: None,
            keys: None,
            deflater: None,
            inflater: None,
            incoming: None,
            answer: 0,
            parameters,
            state: State::Open,
            unfinished: 0,
            waiting_for_pong: false,
            spoke: false,
            outgoing: Outgoing::None,
        }
    }

    /// The client's end. It exists for tests and load generators: it masks what it sends, with a fresh key for each
    /// frame, and refuses frames that are masked.
    #[must_use]
    pub fn client(parameters: Option<Parameters>, keys: MaskKeys, now_ms: u64) -> Self {
        Self { keys: Some(Box::new(keys)), ..Self::server(parameters, now_ms) }
    }

    /// Where the connection stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// True when nothing more is received or sent. The server closes the transport once its output is written.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Payload bytes of the frame in hand that are still to come: what an owner may want to make room for.
    #[must_use]
    pub fn frame_bytes_left(&self) -> u64 {
        self.incoming.as_ref().map_or(0, |incoming| incoming.frame_left)
    }

    /// When something was last heard of the peer, or it was [excused](Self::excuse).
    #[must_use]
    pub const fn heard_ms(&self) -> u64 {
        self.heard_ms
    }

    /// Whether `input` goes on with a Close, or the beginning of one, in an open connection. An owner may leave it there for
    /// a while: the answer is owed "as soon as practical" (section 5.5.1), and what was asked before it may still be answered.
    ///
    /// ```
    /// use ringgate_protocols::websocket::connection::Connection;
    ///
    /// let socket = Connection::server(None, 0);
    /// assert!(socket.is_close_next(b"\x88\x80"));
    /// assert!(!socket.is_close_next(b"\x89\x80"), "a ping");
    /// ```
    #[must_use]
    pub fn is_close_next(&self, input: &[u8]) -> bool {
        self.state == State::Open
            && input.first() == Some(&(0x80 | Opcode::Close as u8))
            && !self.incoming.as_ref().is_some_and(|incoming| incoming.in_frame)
    }

    /// Whether a message has begun and not ended.
    pub(super) const fn in_message(&self) -> bool {
        self.incoming.is_some()
    }

    /// What was negotiated for compression.
    #[must_use]
    pub const fn parameters(&self) -> Option<Parameters> {
        self.parameters
    }

    /// Takes received bytes and tells the next event. Payloads are unmasked in place; the spans of the event refer to
    /// `input` and are good until the consumed bytes are given up. Where a compressed message comes in pieces, they stand
    /// one behind the other in the scratch if it is not cleared between them.
    ///
    /// # Errors
    /// The peer's [`Fault`]. From then on all input is discarded; [`Connection::poll_output`] has the Close.
    #[inline]
    pub fn handle_input(&mut self, input: &mut [u8], around: &mut Environment<'_>) -> Result<Step, Fault> {
        if let Some(whole) = self.take_message(input, around.limits, around.now_ms) {
            let Whole { kind, payload, consumed } = whole?;
            return Ok(Step { consumed, event: Event::Message { kind, payload: Payload::Input(payload) } });
        }
        match self.state.on(Occurrence::Receive) {
            Verdict::To(_) => {}
            // W-12: what follows a Close is discarded.
            _ => return Ok(Step { consumed: input.len(), event: Event::NeedInput }),
        }
        // The beginning of a frame is looked at again whenever the owner likes: that is no sign of life.
        if input.len() > usize::from(self.unfinished) {
            self.heard_ms = around.now_ms;
        }
        match self.receive(input, around) {
            Ok(step) => {
                let rest = if let Event::NeedInput = step.event { input.len() - step.consumed } else { 0 };
                self.unfinished = rest.try_into().unwrap_or(u8::MAX);
                Ok(step)
            }
            Err(fault) => {
                self.fail(fault);
                Err(fault)
            }
        }
    }

    /// Stops for a fault: what is in hand is dropped, the Close is owed.
    pub(super) fn fail(&mut self, fault: Fault) {
        if self.turn(Occurrence::Violation) == State::Failing {
            self.answer = fault.close_code().get();
        }
        (self.incoming, self.inflater) = (None, None);
    }

    /// Moves along the table.
    pub(super) fn turn(&mut self, occurrence: Occurrence) -> State {
        if let Verdict::To(state) = self.state.on(occurrence) {
            self.state = state;
        }
        if self.state == State::Closed {
            // Nothing is said or read any more, so nothing is kept for it.
            (self.pong, self.inflater, self.deflater) = (None, None, None);
        }
        self.state
    }

    /// True when [`Connection::poll_output`] would append something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.pong.is_some() || matches!(self.state, State::Answering | State::Failing)
    }

    /// Appends what the protocol owes, and tells whether there was anything: the pong for the latest ping, the answer to a
    /// Close, the Close after a fault. Call it between frames, never inside a payload that is lent.
    pub fn poll_output(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.has_output() {
            return false;
        }
        self.write_pong(out);
        if matches!(self.state, State::Answering | State::Failing) {
            let code = self.answer.to_be_bytes();
            self.write_control(out, Opcode::Close, if self.answer == 0 { &[] } else { &code });
            self.turn(Occurrence::Answered);
        }
        true
    }

    /// Appends the pong that is owed, if one is.
    pub(super) fn write_pong(&mut self, out: &mut Vec<u8>) {
        if let Some(body) = self.pong.take() {
            self.write_control(out, Opcode::Pong, &body);
        }
    }

    /// Appends one control frame. `body` holds at most 125 bytes.
    pub(super) fn write_control(&mut self, out: &mut Vec<u8>, opcode: Opcode, body: &[u8]) {
        debug_assert!(body.len() <= CONTROL_BYTES_MAX);
        let mask = self.keys.as_mut().map(|keys| keys());
        Header { last: true, compressed: false, opcode, mask, length: body.len() as u64 }.encode(out);
        let start = out.len();
        out.extend_from_slice(body);
        if let Some(key) = mask {
            Mask::new(key).apply(&mut out[start..]);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_connection_at_rest_is_small() {
        assert_eq!(size_of::<super::Connection>(), 96);
    }
}
