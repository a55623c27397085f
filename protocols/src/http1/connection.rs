//! The machine of one connection, the server's side.

use http::{Method, Version};

use crate::http::head::Head;
use crate::http::options::{Expectation, UpgradeOffer};
use crate::http::target;
use crate::http::trailer;
use crate::http1::chunked::{self, Counters, Piece, Place};
use crate::http1::close::CloseReason;
use crate::http1::encode::Asked;
use crate::http1::error::Fault;
use crate::http1::event::{Drain, Event, RequestFacts, Step};
use crate::http1::framing::{self, Body};
use crate::http1::head::{self, Read, Seen};
use crate::http1::judge::{self, Budget, Progress};
use crate::http1::state::{Action, Reading, Writing};
use crate::limits::Limits;
use crate::span::Span;

/// HTTP/1 on one connection, without the connection: bytes in, events out, bytes out.
///
/// The machine holds no memory but its own few bytes, and no more when it is busy than when it is idle.
///
/// - *In:* [`handle_input`](Self::handle_input) takes all bytes that were received and not consumed, and yields one
///   event. One request is in progress at a time: after [`Event::Request`] and, if it has a body,
///   [`Event::Body`]… [`Event::Trailers`]? [`Event::End`], the next request is read when the response has ended. A
///   driver that answers at once therefore works through pipelined requests, in order, with one call for each.
/// - *Out:* [`send_response`](Self::send_response), or [`send_head`](Self::send_head), `send_data`…,
///   [`send_end`](Self::send_end), append to the driver's buffer. Both directions may be under way at once.
/// - *Errors:* a [`Fault`] is the peer's and ends reading; [`send_fault`](Self::send_fault) answers it. A
///   [`Misuse`](crate::http1::error::Misuse) is ours.
/// - *Time:* the driver's. [`Fault::HeaderTimeout`] and [`Fault::BodyTimeout`] are there for it to send.
///
/// ```
/// use ringgate_protocols::http::head::Head;
/// use ringgate_protocols::http1::connection::Connection;
/// use ringgate_protocols::http1::event::{Event, Then};
/// use ringgate_protocols::http1::encode::ResponseHead;
/// use ringgate_protocols::limits::Limits;
///
/// let input = b"GET /hello HTTP/1.1\r\nHost: example.com\r\n\r\n";
/// let (mut connection, mut head) = (Connection::new(), Head::default());
/// let step = connection.handle_input(input, &mut head, &Limits::default()).unwrap();
/// assert!(matches!(step.event, Event::Request(_)));
/// assert_eq!(head.path.of(input), b"/hello");
///
/// let mut out = Vec::new();
/// let response = ResponseHead { status: http::StatusCode::OK, block: b"", fields: [] };
/// let then = connection.send_response(&mut out, response, b"Hello", &Limits::default()).unwrap();
/// assert_eq!(then, Then::KeepAlive);
/// assert_eq!(out, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello");
/// ```
#[derive(Clone)]
pub struct Connection {
    progress: Progress,
    counters: Counters,
    pub(super) response_left: u64,
    /// Bytes of the head's field lines, which the trailers share the limit with.
    head_bytes: u32,
    empty_lines: u8,
    pub(super) reading: Reading,
    pub(super) writing: Writing,
    pub(super) close: Option<CloseReason>,
    pub(super) asked: Asked,
    pub(super) continue_due: bool,
    pub(super) switch_offered: bool,
    draining: bool,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("reading", &self.reading)
            .field("writing", &self.writing)
            .field("close", &self.close)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection on which nothing has been read.
    #[must_use]
    pub fn new() -> Self {
        Self {
            progress: Progress::default(),
            counters: Counters::default(),
            response_left: 0,
            head_bytes: 0,
            empty_lines: 0,
            reading: Reading::Head,
            writing: Writing::Idle,
            close: None,
            asked: Asked { by_head: false, by_connect: false, in_old_version: false },
            continue_due: false,
            switch_offered: false,
            draining: false,
        }
    }

    /// Reads on. `input` is everything that was received and not consumed, in one piece; `head` is filled with
    /// [`Event::Request`] and [`Event::Trailers`], its spans are places in this input.
    ///
    /// An unfinished head or trailer section is not consumed, but it is not looked at again either: the work is linear
    /// in the bytes received. Bodies and chunk sizes are consumed as they come.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit. Nothing is read any more; [`send_fault`](Self::send_fault) answers.
    #[inline]
    pub fn handle_input(&mut self, input: &[u8], head: &mut Head, limits: &Limits) -> Result<Step, Fault> {
        // Places are of 32 bits; whoever holds more input than that gives the rest again.
        let input = &input[..input.len().min(u32::MAX as usize)];
        let result = match self.reading {
            Reading::Head => self.read_head(input, head, limits),
            _ => self.read_rest(input, head, limits),
        };
        if let Err(fault) = result {
            self.fail(fault);
        }
        result
    }

    /// Tells the machine that the peer sends nothing more. `input` is what was received and not consumed.
    ///
    /// # Errors
    /// [`Fault::Truncated`] when that is in the middle of a request.
    pub fn handle_end_of_input(&mut self, input: &[u8]) -> Result<(), Fault> {
        match self.reading {
            Reading::Head if input.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {
                self.reading = Reading::Closed;
                self.close.get_or_insert(CloseReason::EndOfInput);
                Ok(())
            }
            Reading::Done | Reading::Closed => {
                self.close.get_or_insert(CloseReason::EndOfInput);
                Ok(())
            }
            _ => {
                self.fail(Fault::Truncated);
                Err(Fault::Truncated)
            }
        }
    }

    /// Makes the response in progress, or the next one, the last one.
    pub fn close_after_response(&mut self) {
        self.close.get_or_insert(CloseReason::Server);
    }

    /// Begins to throw the rest of the request body away, up to `drain_bytes_max`.
    pub fn begin_drain(&mut self, limits: &Limits) -> Drain {
        if let Some(reason) = self.close {
            return Drain::Close(reason);
        }
        let is_too_long = match self.reading {
            Reading::Head | Reading::Done => return Drain::Done,
            Reading::Closed => true,
            Reading::Sized | Reading::Chunked(Place::Data) => self.counters.chunk_left > limits.drain_bytes_max,
            Reading::Chunked(_) | Reading::Trailers => false,
        };
        if is_too_long || self.continue_due {
            return Drain::Close(self.stop(CloseReason::UnreadBody));
        }
        self.draining = true;
        self.counters.body_left = limits.drain_bytes_max;
        Drain::Reading
    }

    /// Bytes of a sized request body that have not come.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.counters.chunk_left
    }

    /// True when nothing is in progress: no byte of a request has come since the last response ended.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.reading == Reading::Head && !self.progress.has_begun()
    }

    /// True while the rest of a body is thrown away: after [`begin_drain`](Self::begin_drain), up to the body's end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Why no further request is read after the present one, if so.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.close
    }

    /// True when the client waits for 100 before it sends the body: the time to send it is when the application first
    /// asks for the body. It is no longer due once a byte of the body has come (RFC 9110 section 10.1.1).
    #[must_use]
    pub fn is_continue_due(&self) -> bool {
        self.continue_due && self.writing == Writing::Head
    }

    /// True while the client may be waiting for an invitation that it has not got, also when it is too late for one: it
    /// owes no byte of the body.
    #[must_use]
    pub fn is_uninvited(&self) -> bool {
        self.continue_due
    }

    /// True while the answer to HEAD is under way: it goes without its body.
    #[must_use]
    pub fn answers_head(&self) -> bool {
        self.asked.by_head
    }

    /// True while a response goes out whose body ends where the connection ends: cut short, the connection must not end in
    /// good order.
    #[must_use]
    pub fn ends_body_by_closing(&self) -> bool {
        self.writing == Writing::UntilClose
    }

    #[inline]
    fn read_head(&mut self, input: &[u8], head: &mut Head, limits: &Limits) -> Result<Step, Fault> {
        let mut start = 0;
        if self.progress.has_begun() {
            if !judge::resume(input, &mut self.progress, false, limits, Budget::of_head(limits))? {
                return Ok(Step { consumed: 0, event: Event::NeedInput });
            }
        } else if !matches!(input.first(), Some(b' '..)) {
            start = self.skip_empty_lines(input, limits)?;
            if start == input.len() || input[start..] == *b"\r" {
                return Ok(Step { consumed: start, event: Event::NeedInput });
            }
        }
        let mut seen = Seen::default();
        match head::read_request(input, start, head, &mut seen, limits) {
            Read::Whole { end, field_bytes } => {
                self.progress = Progress::default();
                let facts = self.begin_request(input, head, &seen, field_bytes, limits)?;
                Ok(Step { consumed: end, event: Event::Request(facts) })
            }
            Read::Trouble(progress) => self.incomplete_head(input, start, progress, limits),
        }
    }

    #[cold]
    fn incomplete_head(
        &mut self,
        input: &[u8],
        start: usize,
        mut progress: Progress,
        limits: &Limits,
    ) -> Result<Step, Fault> {
        if judge::resume(input, &mut progress, false, limits, Budget::of_head(limits))? {
            // The two readers disagree. That is a mistake of ours; refusing is the safe side of it.
            debug_assert!(false, "the careful reader accepts what the fast one does not");
            return Err(Fault::RequestLineInvalid);
        }
        progress.forget(start);
        self.progress = progress;
        Ok(Step { consumed: start, event: Event::NeedInput })
    }

    /// Skips the empty lines before a request (RFC 9112 section 2.2) and says where they end.
    #[cold]
    fn skip_empty_lines(&mut self, input: &[u8], limits: &Limits) -> Result<usize, Fault> {
        let mut at = 0;
        loop {
            match &input[at..] {
                [b'\r', b'\n', ..] => {
                    if u32::from(self.empty_lines) >= limits.leading_empty_lines_max.min(u32::from(u8::MAX)) {
                        return Err(Fault::TooManyEmptyLines);
                    }
                    self.empty_lines += 1;
                    at += 2;
                }
                [b'\r', _, ..] => return Err(Fault::BareCarriageReturn),
                [b'\n', ..] => return Err(Fault::BareLineFeed),
                _ => return Ok(at),
            }
        }
    }

    /// Judges a whole head as a message and begins the exchange.
    #[inline]
    fn begin_request(
        &mut self,
        input: &[u8],
        head: &mut Head,
        seen: &Seen,
        field_bytes: u32,
        limits: &Limits,
    ) -> Result<RequestFacts, Fault> {
        let is_connect = head.method == Method::CONNECT;
        let is_old = head.version == Version::HTTP_10;
        judge_host(input, head, seen, is_old, is_connect)?;
        let body = framing::body(seen.coding, seen.length, head.version, is_connect)?;
        if seen.content_types > 1 {
            return Err(Fault::TypeRepeated);
        }
        // RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is ignored.
        if !is_old && seen.expectation == Expectation::Unknown {
            return Err(Fault::ExpectationUnknown);
        }
        let keep_alive = !seen.options.close && (!is_old || seen.options.keep_alive);
        let is_head = head.method == Method::HEAD;
        let upgrade = if seen.options.upgrade && !is_old { seen.upgrade } else { UpgradeOffer::None };
        let expect_continue = !is_old && body != Body::None && seen.expectation == Expectation::Continue;
        if !keep_alive {
            self.close.get_or_insert(CloseReason::Client);
        }
        self.reading = match body {
            Body::None => Reading::Done,
            Body::Known(bytes) => {
                self.counters = Counters { chunk_left: bytes, body_left: limits.body_bytes_max, ..Counters::default() };
                Reading::Sized
            }
            Body::Chunked => {
                self.counters = Counters {
                    body_left: limits.body_bytes_max,
                    head_fields: head.fields.len() as u16,
                    ..Counters::default()
                };
                self.head_bytes = field_bytes;
                Reading::Chunked(Place::SizeStart)
            }
        };
        debug_assert_eq!(self.writing.after(Action::Request), Some(Writing::Head));
        self.writing = Writing::Head;
        self.asked = Asked { by_head: is_head, by_connect: is_connect, in_old_version: is_old };
        self.empty_lines = 0;
        self.continue_due = expect_continue;
        self.switch_offered = upgrade != UpgradeOffer::None;
        Ok(RequestFacts {
            body,
            keep_alive,
            expect_continue,
            upgrade,
            http2_settings: seen.options.http2_settings,
            is_head,
            accepts_trailers: seen.accepts_trailers && !is_old,
        })
    }

    fn read_rest(&mut self, input: &[u8], head: &mut Head, limits: &Limits) -> Result<Step, Fault> {
        if !self.draining {
            return self.read_body(input, head, limits);
        }
        let mut consumed = 0;
        loop {
            let step = self.read_body(&input[consumed..], head, limits)?;
            consumed += step.consumed;
            match step.event {
                // Thrown away; go on with what is there.
                Event::Body(_) | Event::Trailers => {}
                event => return Ok(Step { consumed, event }),
            }
        }
    }

    fn read_body(&mut self, input: &[u8], head: &mut Head, limits: &Limits) -> Result<Step, Fault> {
        match self.reading {
            Reading::Sized => self.read_sized(input),
            Reading::Chunked(mut place) => {
                self.continue_due &= input.is_empty();
                let result = chunked::step(&mut place, &mut self.counters, input, limits);
                self.reading = Reading::Chunked(place);
                let (consumed, piece) = match result {
                    Err(Fault::BodyTooLarge) if self.draining => return Ok(self.give_up(0)),
                    result => result?,
                };
                match piece {
                    Piece::NeedInput => Ok(Step { consumed, event: Event::NeedInput }),
                    Piece::Data(span) => Ok(Step { consumed, event: Event::Body(span) }),
                    Piece::Last => {
                        self.reading = Reading::Trailers;
                        self.progress = Progress::at_trailers();
                        let step = self.read_trailers(&input[consumed..], head, limits, consumed)?;
                        Ok(Step { consumed: step.consumed + consumed, ..step })
                    }
                }
            }
            Reading::Trailers => self.read_trailers(input, head, limits, 0),
            Reading::Head => Ok(Step { consumed: 0, event: Event::NeedInput }),
            Reading::Done => Ok(Step { consumed: 0, event: Event::Busy }),
            Reading::Closed => Ok(Step { consumed: 0, event: Event::Closed }),
        }
    }

    fn read_sized(&mut self, input: &[u8]) -> Result<Step, Fault> {
        let left = self.counters.chunk_left;
        if left == 0 {
            return Ok(self.end_request(0));
        }
        if left > self.counters.body_left {
            return if self.draining { Ok(self.give_up(0)) } else { Err(Fault::BodyTooLarge) };
        }
        if input.is_empty() {
            return Ok(Step { consumed: 0, event: Event::NeedInput });
        }
        self.continue_due = false;
        let length = left.min(input.len() as u64);
        self.counters.chunk_left -= length;
        self.counters.body_left -= length;
        Ok(Step { consumed: length as usize, event: Event::Body(Span::new(0, length as u32)) })
    }

    /// Reads the trailer section, which begins with `input`; its places are moved by `offset`.
    fn read_trailers(&mut self, input: &[u8], head: &mut Head, limits: &Limits, offset: usize) -> Result<Step, Fault> {
        let Budget { bytes, fields } = Budget::of_head(limits);
        let budget = Budget {
            bytes: bytes.saturating_sub(self.head_bytes),
            fields: fields.saturating_sub(u32::from(self.counters.head_fields)),
        };
        if !judge::resume(input, &mut self.progress, true, limits, budget)? {
            return Ok(Step { consumed: 0, event: Event::NeedInput });
        }
        let Read::Whole { end, .. } = head::read_trailers(input, head, limits, budget) else {
            debug_assert!(false, "the careful reader accepts what the fast one does not");
            return Err(Fault::FieldNameInvalid);
        };
        self.progress = Progress::default();
        head.fields.retain(|field| !trailer::is_forbidden(field.name.of(input)));
        let moved = |span: Span| Span::new((span.start() + offset) as u32, (span.end() + offset) as u32);
        for field in &mut head.fields {
            field.name = moved(field.name);
            field.value = moved(field.value);
        }
        if head.fields.is_empty() || self.draining {
            return Ok(self.end_request(end));
        }
        // The end is told by the next call.
        self.reading = Reading::Sized;
        self.counters.chunk_left = 0;
        Ok(Step { consumed: end, event: Event::Trailers })
    }

    fn end_request(&mut self, consumed: usize) -> Step {
        self.reading = Reading::Done;
        self.draining = false;
        if self.writing == Writing::Done {
            self.begin_next();
        }
        Step { consumed, event: Event::End }
    }

    /// Both halves of an exchange have ended, and the connection persists.
    #[inline]
    pub(super) fn begin_next(&mut self) {
        self.reading = Reading::Head;
        self.writing = Writing::Idle;
        self.continue_due = false;
        self.draining = false;
    }

    /// The body is too long to be thrown away.
    fn give_up(&mut self, consumed: usize) -> Step {
        self.stop(CloseReason::UnreadBody);
        Step { consumed, event: Event::Closed }
    }

    /// Reads nothing any more. The first reason is the one that is told.
    pub(super) fn stop(&mut self, reason: CloseReason) -> CloseReason {
        self.reading = Reading::Closed;
        *self.close.get_or_insert(reason)
    }

    #[cold]
    pub(super) fn fail(&mut self, fault: Fault) {
        self.reading = Reading::Closed;
        self.close = Some(CloseReason::Fault(fault));
    }
}

/// The Host field and the target name one authority: RFC 9112 sections 3.2 and 3.3.
#[inline]
fn judge_host(input: &[u8], head: &mut Head, seen: &Seen, is_old: bool, is_connect: bool) -> Result<(), Fault> {
    head.authority = seen.host;
    if is_connect || head.path.is_empty() {
        let parts = target::parse(&head.method, head.target.of(input)).ok_or(Fault::TargetInvalid)?;
        let base = head.target.start();
        let moved = |span: Span| Span::new((span.start() + base) as u32, (span.end() + base) as u32);
        head.path = moved(parts.path);
        head.query = parts.query.map(moved);
        if let Some(authority) = parts.authority {
            // RFC 9112 section 3.2.2: the Host field is ignored. It must be there and be good all the same.
            head.authority = moved(authority);
        }
    }
    match seen.hosts {
        0 if is_old => Ok(()),
        0 => Err(Fault::HostMissing),
        // The empty one too: http and https name an authority, and RFC 9112 section 3.3 leaves it to the server whether
        // to invent one. HTTP/2 is judged alike.
        1 if seen.is_host_good => Ok(()),
        1 => Err(Fault::HostInvalid),
        _ => Err(Fault::HostRepeated),
    }
}
