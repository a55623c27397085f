//! The machine: received bytes in, events out. Sending is in the file beside, `send.rs`.

use crate::limits::WebSocketLimits;
use crate::span::Span;
use crate::websocket::budget::Budget;
use crate::websocket::close::CloseCode;
use crate::websocket::deflate::{Bounds, Deflater, Inflater, Parameters, Pool};
use crate::websocket::error::Fault;
use crate::websocket::frame::{CONTROL_BYTES_MAX, Expectation, Header, Opcode};
use crate::websocket::mask::Mask;
use crate::websocket::message::{Kind, Payload};
use crate::websocket::state::{Occurrence, State, Verdict};
use crate::websocket::utf8::{NotUtf8, Validator};

/// What the machine borrows from its core while it works.
#[derive(Debug)]
pub struct Environment<'a> {
    /// The bounds of this connection.
    pub limits: &'a WebSocketLimits,
    /// The deflate contexts of the core.
    pub pool: &'a mut Pool,
    /// Where messages are inflated to. The machine only appends; the owner clears it when it likes.
    pub scratch: &'a mut Vec<u8>,
    /// The time, in milliseconds of a clock that never goes back.
    pub now_ms: u64,
}

/// The outcome of one call of [`Connection::handle_input`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes at the beginning of the input that are done with once the event is.
    pub consumed: usize,
    /// What they were.
    pub event: Event,
}

/// What was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nothing to report before more bytes come. What is not consumed, at most 138 bytes, comes again in front of them.
    NeedInput,
    /// A whole message.
    Message {
        /// Text or binary.
        kind: Kind,
        /// All of it.
        payload: Payload,
    },
    /// A part of a message of which more is to come or has been told. Parts are cut where the input was, not where the
    /// frames were (section 5.4: fragmentation has no meaning).
    Piece {
        /// Text or binary. A text may be cut inside a character; all that is told is valid so far.
        kind: Kind,
        /// The next bytes of the message; may be empty in the last piece.
        payload: Payload,
        /// The message begins here.
        first: bool,
        /// The message ends here.
        last: bool,
    },
    /// A ping; the machine answers it by [`Connection::poll_output`].
    Ping(Span),
    /// A pong, asked for or not.
    Pong(Span),
    /// The peer's Close; nothing is received after it.
    Close {
        /// Its code, if it carries one (section 7.1.5).
        code: Option<CloseCode>,
        /// Its reason, valid UTF-8.
        reason: Span,
    },
}

/// What a timer led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// It was not yet time.
    Nothing,
    /// A ping or a Close was appended to the output.
    Wrote,
    /// The peer is given up; [`Connection::poll_output`] has the Close.
    Fault(Fault),
    /// The peer did not answer our Close: close the transport now.
    Abandoned,
}

/// Bytes of a following fragment that are moved up to their message rather than told apart: moving so few costs less
/// than one more event.
const COALESCED_BYTES_MAX: u64 = 2_048;

/// Bytes unmasked and judged at a time, so that the second look finds them in the first-level cache.
const BLOCK_BYTES: usize = 8_192;

/// Received bytes of a compressed message after which empty blocks are counted.
const CHARGE_EVERY_BYTES: u64 = 4_096;

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
/// use ringgate_protocols::websocket::connection::{Connection, Environment, Event};
/// use ringgate_protocols::websocket::deflate::Pool;
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
    /// Payload bytes of the data frame in hand that are still to come.
    pub(super) frame_left: u64,
    /// Bytes of the message in hand, as the application sees them.
    message_bytes: u64,
    /// Bytes of the message in hand, as they were received.
    wire_bytes: u64,
    message_since_ms: u64,
    heard_ms: u64,
    pub(super) message_ms: u64,
    /// Since when we wait: for a pong while open, for the Close while closing.
    pub(super) waiting_since_ms: u64,
    budget: Budget,
    /// The payload of the latest ping that is not answered.
    pong: Option<Box<[u8]>>,
    pub(super) keys: Option<MaskKeys>,
    pub(super) deflater: Option<Box<Deflater>>,
    inflater: Option<Box<Inflater>>,
    mask: Mask,
    text: Validator,
    fragments: u32,
    /// Tokens charged for the message in hand.
    charged: u32,
    /// The code of the Close that we owe; 0 for none.
    answer: u16,
    pub(super) parameters: Option<Parameters>,
    pub(super) state: State,
    kind: Kind,
    /// A data frame is in hand, and whether it is the last of its message.
    in_frame: bool,
    last_frame: bool,
    /// A message is in hand; whether it is compressed; whether a piece of it was told.
    in_message: bool,
    compressed: bool,
    told: bool,
    waiting_for_pong: bool,
    /// A message was sent since the idle time was looked at.
    pub(super) spoke: bool,
    pub(super) outgoing: Outgoing,
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
            .field("in_message", &self.in_message)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// The server's end, with what the handshake negotiated. `now_ms` as in [`Environment`].
    #[must_use]
    pub fn server(parameters: Option<Parameters>, now_ms: u64) -> Self {
        Self {
            frame_left: 0,
            message_bytes: 0,
            wire_bytes: 0,
            message_since_ms: 0,
            heard_ms: now_ms,
            message_ms: now_ms,
            waiting_since_ms: 0,
            budget: Budget::new(now_ms),
            pong: None,
            keys: None,
            deflater: None,
            inflater: None,
            mask: Mask::default(),
            text: Validator::default(),
            fragments: 0,
            charged: 0,
            answer: 0,
            parameters,
            state: State::Open,
            kind: Kind::Binary,
            in_frame: false,
            last_frame: false,
            in_message: false,
            compressed: false,
            told: false,
            waiting_for_pong: false,
            spoke: false,
            outgoing: Outgoing::None,
        }
    }

    /// The client's end. It exists for tests and load generators: it masks what it sends, with a fresh key for each
    /// frame, and refuses frames that are masked.
    #[must_use]
    pub fn client(parameters: Option<Parameters>, keys: MaskKeys, now_ms: u64) -> Self {
        Self { keys: Some(keys), ..Self::server(parameters, now_ms) }
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
        match self.state.on(Occurrence::Receive) {
            Verdict::To(_) => {}
            // W-12: what follows a Close is discarded.
            _ => return Ok(Step { consumed: input.len(), event: Event::NeedInput }),
        }
        if !input.is_empty() {
            self.heard_ms = around.now_ms;
        }
        match self.receive(input, around) {
            Ok(step) => Ok(step),
            Err(fault) => {
                self.fail(fault);
                Err(fault)
            }
        }
    }

    fn receive(&mut self, input: &mut [u8], around: &mut Environment<'_>) -> Result<Step, Fault> {
        let scratch_start = around.scratch.len();
        let (mut start, mut end) = (0, 0);
        let mut at = 0;
        let ended = loop {
            if !self.in_frame {
                let Some((header, bytes)) = Header::parse(&input[at..], self.expectation())? else { break false };
                if header.opcode.is_control() {
                    // A piece in hand is told first; the control frame is then at the beginning of the input.
                    if end > start || around.scratch.len() > scratch_start {
                        break false;
                    }
                    if input.len() - at - bytes < header.length as usize {
                        break false;
                    }
                    let body = at + bytes..at + bytes + header.length as usize;
                    return self.control(header, input, body, around);
                }
                if end > start && header.length > COALESCED_BYTES_MAX {
                    break false;
                }
                self.begin_frame(header, around)?;
                at += bytes;
            }
            let here = usize::try_from(self.frame_left).unwrap_or(usize::MAX).min(input.len() - at);
            self.frame_left -= here as u64;
            self.wire_bytes += here as u64;
            let bytes = &mut input[at..at + here];
            if self.compressed {
                self.inflate(bytes, around)?;
            } else {
                self.unmask(bytes)?;
                self.message_bytes += here as u64;
                if end == start {
                    (start, end) = (at, at + here);
                } else {
                    input.copy_within(at..at + here, end);
                    end += here;
                }
            }
            at += here;
            if self.frame_left > 0 {
                break false;
            }
            self.in_frame = false;
            if self.last_frame {
                if self.compressed {
                    self.finish_inflating(around)?;
                }
                if self.kind == Kind::Text && !self.text.is_complete() {
                    return Err(Fault::Utf8);
                }
                break true;
            }
        };
        let payload = if self.compressed {
            Payload::Scratch(Span::new(scratch_start as u32, around.scratch.len() as u32))
        } else {
            Payload::Input(Span::new(start as u32, end as u32))
        };
        let kind = self.kind;
        let event = if ended {
            let first = !std::mem::take(&mut self.told);
            self.in_message = false;
            self.message_ms = around.now_ms;
            if first { Event::Message { kind, payload } } else { Event::Piece { kind, payload, first, last: true } }
        } else if payload.is_empty() {
            Event::NeedInput
        } else {
            let first = !std::mem::replace(&mut self.told, true);
            Event::Piece { kind, payload, first, last: false }
        };
        Ok(Step { consumed: at, event })
    }

    #[inline]
    fn expectation(&self) -> Expectation {
        Expectation { masked: self.keys.is_none(), compression: self.parameters.is_some(), unfinished: self.in_message }
    }

    /// Takes the header of a data frame; all limits are judged here, before a byte of the payload is looked at.
    #[inline]
    fn begin_frame(&mut self, header: Header, around: &mut Environment<'_>) -> Result<(), Fault> {
        if header.opcode != Opcode::Continuation {
            self.in_message = true;
            self.kind = if header.opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
            self.compressed = header.compressed;
            self.text = Validator::default();
            (self.message_bytes, self.wire_bytes) = (0, 0);
            (self.fragments, self.charged) = (0, 0);
            self.message_since_ms = around.now_ms;
        }
        self.fragments += 1;
        if self.fragments > around.limits.fragment_count_max {
            return Err(Fault::TooManyFragments);
        }
        let most = around.limits.message_bytes_max;
        // Blocks that are stored rather than compressed, and flushes, make a message a little longer than it is.
        let most = if self.compressed { most.saturating_add(most / 8).saturating_add(1_024) } else { most };
        if header.length > most.saturating_sub(self.wire_bytes) {
            return Err(Fault::MessageTooBig);
        }
        self.mask = Mask::new(header.mask.unwrap_or_default());
        self.frame_left = header.length;
        self.in_frame = true;
        self.last_frame = header.last;
        Ok(())
    }

    /// Unmasks in place and, for text, judges the bytes while they are at hand.
    #[inline]
    fn unmask(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        match (self.kind, self.keys.is_some()) {
            (Kind::Binary, true) => Ok(()),
            (Kind::Binary, false) => {
                self.mask.apply(bytes);
                Ok(())
            }
            (Kind::Text, true) => self.text.feed(bytes).map_err(not_utf8),
            (Kind::Text, false) => bytes.chunks_mut(BLOCK_BYTES).try_for_each(|block| {
                let judged = match self.mask.apply_is_ascii(block) {
                    true => self.text.feed_ascii(block),
                    false => self.text.feed_any(block),
                };
                judged.map_err(not_utf8)
            }),
        }
    }

    /// Unmasks and inflates into the scratch, in steps that end where empty blocks are counted: the count must not depend
    /// on how the input was cut.
    fn inflate(&mut self, bytes: &mut [u8], around: &mut Environment<'_>) -> Result<(), Fault> {
        let mut wire = self.wire_bytes - bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let step = (CHARGE_EVERY_BYTES - wire % CHARGE_EVERY_BYTES).min(rest.len() as u64);
            let (block, later) = rest.split_at_mut(step as usize);
            rest = later;
            wire += step;
            if self.keys.is_none() {
                self.mask.apply(block);
            }
            self.inflate_with(around, |inflater, scratch, bounds| inflater.inflate(block, scratch, bounds))?;
            if wire.is_multiple_of(CHARGE_EVERY_BYTES) {
                self.charge_emptiness(wire, around)?;
            }
        }
        Ok(())
    }

    fn finish_inflating(&mut self, around: &mut Environment<'_>) -> Result<(), Fault> {
        let takeover = self.parameters.is_some_and(|parameters| !peer_window(parameters, self.keys.is_some()).0);
        self.inflate_with(around, |inflater, scratch, bounds| inflater.finish(takeover, scratch, bounds))?;
        self.charge_emptiness(self.wire_bytes, around)?;
        if !takeover && let Some(inflater) = self.inflater.take() {
            around.pool.give_inflater(inflater);
        }
        Ok(())
    }

    fn inflate_with(
        &mut self,
        around: &mut Environment<'_>,
        work: impl FnOnce(&mut Inflater, &mut Vec<u8>, Bounds) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let inflater = match &mut self.inflater {
            Some(inflater) => inflater,
            none => {
                none.insert(match self.parameters.map(|parameters| peer_window(parameters, self.keys.is_some())) {
                    // What is kept for long is made no larger than the peer's window.
                    Some((false, window_bits)) => Box::new(Inflater::new(window_bits)),
                    _ => around.pool.take_inflater(),
                })
            }
        };
        let bounds = Bounds {
            bytes_max: around.limits.message_bytes_max,
            ratio_max: around.limits.inflate_ratio_max,
            ratio_from_bytes: around.limits.inflate_ratio_from_bytes,
        };
        let length = around.scratch.len();
        let outcome = work(inflater, around.scratch, bounds);
        self.message_bytes += (around.scratch.len() - length) as u64;
        if self.kind == Kind::Text {
            // Also what was inflated before a fault: had the input been cut there, it would have been judged.
            self.text.feed(&around.scratch[length..]).map_err(not_utf8)?;
        }
        outcome
    }

    /// W-08: received bytes that inflate to nothing are work without a purpose. Half a kibibyte and an eighth of the
    /// content are free: the heads of blocks, flushes, incompressible data. The rest costs a token for 64 bytes.
    fn charge_emptiness(&mut self, wire: u64, around: &Environment<'_>) -> Result<(), Fault> {
        let fair = self.message_bytes + self.message_bytes / 8 + 512;
        let tokens = u32::try_from(wire.saturating_sub(fair) / 64).unwrap_or(u32::MAX);
        let more = tokens.saturating_sub(self.charged);
        self.charged = self.charged.max(tokens);
        self.charge(more, around)
    }

    fn charge(&mut self, tokens: u32, around: &Environment<'_>) -> Result<(), Fault> {
        let limits = around.limits;
        if self.budget.charge(tokens, limits.ping_tokens_max, limits.ping_tokens_per_s, around.now_ms) {
            Ok(())
        } else {
            Err(Fault::Flood)
        }
    }

    /// Takes one control frame that lies whole in `input`.
    fn control(
        &mut self,
        header: Header,
        input: &mut [u8],
        body: std::ops::Range<usize>,
        around: &mut Environment<'_>,
    ) -> Result<Step, Fault> {
        let span = Span::new(body.start as u32, body.end as u32);
        let consumed = body.end;
        let body = &mut input[body];
        if let Some(key) = header.mask {
            Mask::new(key).apply(body);
        }
        let event = match header.opcode {
            Opcode::Ping => {
                self.charge(1, around)?;
                // 5.5.3: only the latest ping need be answered. After our own Close nothing is said any more.
                if self.state == State::Open {
                    self.pong = Some((&*body).into());
                }
                Event::Ping(span)
            }
            Opcode::Pong => {
                if !std::mem::take(&mut self.waiting_for_pong) {
                    self.charge(1, around)?;
                }
                Event::Pong(span)
            }
            _ => {
                let (code, reason) = match *body {
                    [] => (None, Span::new(span.end() as u32, span.end() as u32)),
                    [high, low, ref reason @ ..] => {
                        let code = CloseCode::new(u16::from_be_bytes([high, low])).ok_or(Fault::CloseBody)?;
                        std::str::from_utf8(reason).map_err(|_| Fault::Utf8)?;
                        (Some(code), Span::new(span.start() as u32 + 2, span.end() as u32))
                    }
                    [_] => return Err(Fault::CloseBody),
                };
                // 5.5.1: "the endpoint typically echos the status code it received."
                self.answer = code.map_or(0, CloseCode::get);
                self.turn(Occurrence::ReceiveClose);
                Event::Close { code, reason }
            }
        };
        Ok(Step { consumed, event })
    }

    /// Stops for a fault: what is in hand is dropped, the Close is owed.
    fn fail(&mut self, fault: Fault) {
        if self.turn(Occurrence::Violation) == State::Failing {
            self.answer = fault.close_code().get();
        }
        (self.in_frame, self.in_message) = (false, false);
        self.inflater = None;
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
        if let Some(body) = self.pong.take() {
            self.write_control(out, Opcode::Pong, &body);
        }
        if matches!(self.state, State::Answering | State::Failing) {
            let code = self.answer.to_be_bytes();
            self.write_control(out, Opcode::Close, if self.answer == 0 { &[] } else { &code });
            self.turn(Occurrence::Answered);
        }
        true
    }

    /// When [`Connection::handle_timeout`] is next to be called, in milliseconds of the caller's clock.
    #[must_use]
    pub fn poll_timeout(&self, limits: &WebSocketLimits) -> Option<u64> {
        let after = |since_ms: u64, time_ms: u32| (time_ms > 0).then(|| since_ms + u64::from(time_ms));
        match self.state {
            State::Open => {
                let life = if self.waiting_for_pong && self.heard_ms <= self.waiting_since_ms {
                    after(self.waiting_since_ms, limits.pong_timeout_ms)
                } else {
                    after(self.heard_ms, limits.ping_interval_ms)
                };
                let idle = after(self.message_ms, limits.idle_timeout_ms).filter(|_| !self.in_message);
                [life, idle, self.progress_deadline(limits)].into_iter().flatten().min()
            }
            State::Closing => after(self.waiting_since_ms, limits.close_timeout_ms),
            State::Answering | State::Failing | State::Closed => None,
        }
    }

    /// W-13: when the message in hand falls below its rate if nothing more comes.
    fn progress_deadline(&self, limits: &WebSocketLimits) -> Option<u64> {
        if !self.in_message || limits.progress_bytes_per_s_min == 0 {
            return None;
        }
        let earned = self.wire_bytes.saturating_mul(1_000) / u64::from(limits.progress_bytes_per_s_min);
        Some(self.message_since_ms.saturating_add(earned.max(u64::from(limits.progress_grace_ms))))
    }

    /// Does what is due at `now_ms`: a ping after silence, the Close of an idle connection, the end of a peer that does not
    /// answer or dribbles. Calling it early is harmless.
    pub fn handle_timeout(&mut self, out: &mut Vec<u8>, limits: &WebSocketLimits, now_ms: u64) -> Expiry {
        if std::mem::take(&mut self.spoke) {
            self.message_ms = now_ms;
        }
        if self.poll_timeout(limits).is_none_or(|deadline| now_ms < deadline) {
            return Expiry::Nothing;
        }
        if self.state == State::Closing {
            self.turn(Occurrence::Expired);
            return Expiry::Abandoned;
        }
        if self.progress_deadline(limits).is_some_and(|deadline| now_ms >= deadline) {
            self.fail(Fault::TooSlow);
            return Expiry::Fault(Fault::TooSlow);
        }
        let idle = limits.idle_timeout_ms > 0 && !self.in_message;
        if idle && now_ms >= self.message_ms + u64::from(limits.idle_timeout_ms) {
            let closed = self.close(out, Some(CloseCode::GOING_AWAY), "", now_ms);
            debug_assert_eq!(closed, Ok(()), "an open connection can be closed");
            return Expiry::Wrote;
        }
        if self.waiting_for_pong && self.heard_ms <= self.waiting_since_ms {
            self.fail(Fault::Unresponsive);
            return Expiry::Fault(Fault::Unresponsive);
        }
        (self.waiting_for_pong, self.waiting_since_ms) = (true, now_ms);
        self.write_control(out, Opcode::Ping, b"");
        Expiry::Wrote
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

/// Whether the peer begins each message with an empty window, and how large its window is.
const fn peer_window(parameters: Parameters, we_are_client: bool) -> (bool, u8) {
    if we_are_client {
        (parameters.server_no_context_takeover, parameters.server_window_bits)
    } else {
        (parameters.client_no_context_takeover, parameters.client_window_bits)
    }
}

const fn not_utf8(NotUtf8: NotUtf8) -> Fault {
    Fault::Utf8
}
