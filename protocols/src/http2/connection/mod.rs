//! The HTTP/2 machine of a server.

mod data;
mod drain;
mod frames;
mod headers;
mod input;
mod output;
mod pace;
mod time;

pub use data::Grant;
pub use output::Promise;

use crate::hpack::decode::Decoder;
use crate::hpack::encode::Encoder;
use crate::http2::budget::{Budget, Cost};
use crate::http2::error::{ConnectionError, Fault, SendError, StreamError};
use crate::http2::frame::{goaway, rst_stream, settings, window_update};
use crate::http2::priority::Priority;
use crate::http2::reason::Reason;
use crate::http2::recurring::Recurring;
use crate::http2::repeat::{RepeatKey, Repeated};
use crate::http2::request::RequestHead;
use crate::http2::settings::{PeerSettings, id};
use crate::http2::state::{self, Sending, State};
use crate::http2::stream::{Stream, StreamKey};
use crate::http2::stream_id::StreamId;
use crate::http2::streams::Streams;
use crate::http2::upgrade::UpgradeSettings;
use crate::http2::window::{ReceiveWindow, SendWindow, WINDOW_INITIAL};
use crate::limits::Http2Limits;
use crate::span::Span;

use drain::Drain;
use input::Reading;
use pace::Book;

/// The server's side of one HTTP/2 connection, without a socket or a clock.
///
/// Three kinds of methods:
/// - **input**: [`handle_input`](Self::handle_input) takes received bytes, whole or in any pieces, and gives one
///   [`Event`] at a time. It consumes everything it is given unless it returns an event, so no leftovers need to be
///   kept. [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says so.
/// - **the application speaks**: `send_response`, `offer` and `next_data`, `send_trailers`, `reset`,
///   `release_capacity`, `stream_done`, … They append to the output that is passed in.
/// - **what the protocol itself has to say** (acknowledgements, window updates, pongs, GOAWAY):
///   [`poll_output`](Self::poll_output). Every verb that writes puts these first.
///
/// Response bodies are lent, not copied: the application [`offer`](Self::offer)s a number of bytes, and
/// [`next_data`](Self::next_data) says which stream may send how many of them now, having written the frame header.
///
/// After a connection error the machine is dead: it has queued GOAWAY, and ignores input and verbs.
///
/// One whole life:
/// ```
/// use ringgate_protocols::http2::connection::{Connection, Event};
/// use ringgate_protocols::http2::request::HeadPool;
/// use ringgate_protocols::limits::Http2Limits;
///
/// let (mut heads, mut out) = (HeadPool::new(), Vec::new());
/// let mut connection = Connection::new(Http2Limits::default(), 0);
///
/// // The client: preface, empty SETTINGS, and GET http://a/ as stream 1.
/// let mut input = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
/// input.extend(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a");
///
/// let step = connection.handle_input(&mut heads, &input, 1).unwrap();
/// let Some(Event::Request { stream, head, end_stream }) = step.event else { panic!() };
/// assert_eq!(head.head.method, http::Method::GET);
/// assert_eq!(head.head.target.of(head.bytes()), b"/");
/// assert!(end_stream);
/// heads.recycle(head);
/// let step = connection.handle_input(&mut heads, &input[step.consumed..], 1).unwrap();
/// assert!(step.event.is_none());
///
/// // A response whose body is lent: 5 bytes are ready, and that is all of it.
/// connection.send_response(&mut out, stream, http::StatusCode::OK, [], false).unwrap();
/// connection.offer(&mut out, stream, 5, true).unwrap();
/// let grant = connection.next_data(&mut out, 1 << 20).unwrap();
/// assert_eq!((grant.stream, grant.length, grant.end_stream), (stream, 5, true));
/// out.extend_from_slice(b"hello");
/// connection.stream_done(stream);
/// assert!(out.ends_with(b"\0\0\x05\0\x01\0\0\0\x01hello"));
///
/// // The end: GOAWAY and PING, the client's answer to the PING, the last GOAWAY.
/// out.clear();
/// connection.drain(3);
/// connection.poll_output(&mut out);
/// let ping: [u8; 8] = out[out.len() - 8..].try_into().unwrap();
/// let mut pong = b"\0\0\x08\x06\x01\0\0\0\0".to_vec();
/// pong.extend(ping);
/// connection.handle_input(&mut heads, &pong, 2).unwrap();
/// connection.poll_output(&mut out);
/// assert!(connection.is_finished());
/// ```
#[derive(Debug)]
pub struct Connection {
    limits: Http2Limits,
    reading: Reading,
    /// A frame that has not arrived as a whole; empty between frames.
    partial: Vec<u8>,
    /// When the incomplete frame began.
    partial_ms: u64,
    /// A header block that goes on in CONTINUATION.
    block: Option<Box<Block>>,
    decoder: Decoder,
    recurring: Recurring,
    encoder: Encoder,
    repeated: Repeated,
    /// What the next response head is.
    repeat: Option<RepeatKey>,
    streams: Streams,
    budget: Budget,
    peer: PeerSettings,
    send_window: SendWindow,
    /// By how much it was widened, around the range of the number.
    widened: u32,
    /// No stream's send window ever was further above the initial size than this.
    send_delta_max: i64,
    receive_window: ReceiveWindow,
    /// Bytes received and not yet credited to the connection's window.
    uncredited: u32,
    /// Bytes delivered and not released, over all streams.
    held: u64,
    /// What the protocol has to say, and of how many frames it consists.
    control: Vec<u8>,
    control_frames: u32,
    last_client: StreamId,
    last_promised: StreamId,
    promised_live: u32,
    first_settings_seen: bool,
    settings_acked: bool,
    peer_goaway: bool,
    drain: Drain,
    dead: Option<ConnectionError>,
    /// Bytes of `control` up to and with the GOAWAY that ended the connection; nothing behind it goes out.
    last_words: usize,
    /// PRIORITY_UPDATE for streams that do not exist yet.
    early_priorities: Vec<(StreamId, Priority)>,
    now_ms: u64,
    opened_ms: u64,
    /// When it is time to look at the responses that wait on the peer.
    pace_check_at: Option<u64>,
    /// While some do.
    book: Option<Box<Book>>,
}

/// A header block in more than one frame.
#[derive(Debug)]
struct Block {
    stream: StreamId,
    end_stream: bool,
    frames: u32,
    bytes: Vec<u8>,
    since_ms: u64,
}

/// What one call of [`Connection::handle_input`] did.
#[derive(Debug)]
pub struct Step {
    /// Bytes taken from the input; all of them unless there is an event.
    pub consumed: usize,
    /// What the application has to know.
    pub event: Option<Event>,
}

/// What the application has to know.
#[derive(Debug)]
pub enum Event {
    /// A request. The stream counts against the limit until [`Connection::stream_done`].
    Request {
        /// The stream.
        stream: StreamKey,
        /// The head; give it back with [`HeadPool::recycle`](crate::http2::request::HeadPool::recycle).
        head: Box<RequestHead>,
        /// There is no body and there are no trailers.
        end_stream: bool,
    },
    /// A piece of a request body, where it stands in this call's input. Its bytes stay charged to the stream's window
    /// until [`Connection::release_capacity`].
    Data {
        /// The stream.
        stream: StreamKey,
        /// Place in the input; empty when only the end is to be told.
        span: Span,
        /// The body ends here.
        end_stream: bool,
    },
    /// Trailers, the end of the request.
    Trailers {
        /// The stream.
        stream: StreamKey,
        /// Only `fields` has meaning.
        head: Box<RequestHead>,
    },
    /// The stream was reset: by the peer, or by us because the peer broke a rule or took too little. Nothing more can be sent;
    /// the handler is to be cancelled and [`Connection::stream_done`] said. Told of streams whose handler runs, and of
    /// those that have bytes to send yet.
    Reset {
        /// The stream.
        stream: StreamKey,
        /// Why.
        reason: Reason,
        /// The peer did it.
        by_peer: bool,
    },
    /// The peer will open no further streams and accepts no further promises. Its own streams go on.
    Goaway {
        /// The last promised stream it has taken.
        last: StreamId,
        /// Why.
        reason: Reason,
    },
}

impl Connection {
    /// A connection on which nothing was received yet. The preface is expected, and our SETTINGS are queued.
    #[must_use]
    pub fn new(limits: Http2Limits, now_ms: u64) -> Self {
        let limits = limits.within_reach();
        let table = limits.table_bytes_max as usize;
        let mut connection = Self {
            reading: Reading::Preface(0),
            partial: Vec::new(),
            partial_ms: now_ms,
            block: None,
            // Until our SETTINGS are acknowledged the peer may use the default.
            decoder: Decoder::new(4096),
            recurring: Recurring::default(),
            encoder: Encoder::new(table),
            repeated: Repeated::default(),
            repeat: None,
            streams: Streams::new(),
            budget: Budget::new(limits.glitch_tokens_max, limits.glitch_tokens_per_s, now_ms),
            peer: PeerSettings::default(),
            send_window: SendWindow::default(),
            widened: 0,
            send_delta_max: 0,
            receive_window: ReceiveWindow::new(limits.connection_window_bytes.max(WINDOW_INITIAL)),
            uncredited: 0,
            held: 0,
            control: Vec::new(),
            control_frames: 0,
            last_client: StreamId::CONNECTION,
            last_promised: StreamId::CONNECTION,
            promised_live: 0,
            first_settings_seen: false,
            settings_acked: false,
            peer_goaway: false,
            drain: Drain::No,
            dead: None,
            last_words: 0,
            early_priorities: Vec::new(),
            now_ms,
            opened_ms: now_ms,
            pace_check_at: None,
            book: None,
            limits,
        };
        connection.queue_settings();
        connection
    }

    /// A connection that begins by `Upgrade: h2c` (RFC 7540 section 3.2). The upgraded request is stream 1, already
    /// complete; it is answered like any other. The client's preface is still expected.
    ///
    /// The caller has sent 101, and has done so only for a request without a body still to come (C-3).
    #[must_use]
    pub fn new_after_upgrade(limits: Http2Limits, settings: &UpgradeSettings, now_ms: u64) -> (Self, StreamKey) {
        let mut connection = Self::new(limits, now_ms);
        // Applied and not acknowledged: the 101 is the acknowledgement (section 3.2.1).
        connection.peer = *settings.settings();
        connection.encoder.set_peer_limit(connection.peer.header_table_size as usize);
        connection.last_client = StreamId::new(1);
        let window = connection.limits.stream_window_bytes;
        let stream = Stream::new(StreamId::new(1), State::HalfClosedRemote, window);
        let key = connection.streams.insert(stream);
        (connection, key)
    }

    fn queue_settings(&mut self) {
        let limits = &self.limits;
        let mut entries = [(0, 0); 6];
        let mut count = 0;
        let mut say = |identifier: u16, value: u32, default: u32| {
            if value != default {
                entries[count] = (identifier, value);
                count += 1;
            }
        };
        say(id::HEADER_TABLE_SIZE, limits.table_bytes_max, 4096);
        say(id::MAX_CONCURRENT_STREAMS, limits.streams_max, u32::MAX);
        say(id::INITIAL_WINDOW_SIZE, limits.stream_window_bytes, WINDOW_INITIAL);
        say(id::MAX_HEADER_LIST_SIZE, limits.header_bytes_max, u32::MAX);
        say(id::ENABLE_CONNECT_PROTOCOL, u32::from(limits.connect_protocol), 0);
        say(id::NO_RFC7540_PRIORITIES, 1, 0);
        settings::write(&mut self.control, &entries[..count]);
        let more = self.limits.connection_window_bytes.saturating_sub(WINDOW_INITIAL);
        if more > 0 {
            window_update::write(&mut self.control, StreamId::CONNECTION, more);
        }
    }

    /// Appends what the protocol has to say: acknowledgements, window updates, pongs, resets, GOAWAY.
    #[inline]
    pub fn poll_output(&mut self, out: &mut Vec<u8>) {
        if !self.control.is_empty() {
            if self.dead.is_some() {
                self.control.truncate(std::mem::take(&mut self.last_words));
            }
            out.extend_from_slice(&self.control);
            self.control.clear();
            self.control.shrink_to(512);
            self.control_frames = 0;
        }
    }

    /// False while more than `output_bytes_max` waits: `queued_bytes` at the driver, the rest here. Then the driver
    /// stops reading until the transport has taken some (F-09, R-11).
    #[must_use]
    pub fn wants_input(&self, queued_bytes: usize) -> bool {
        self.dead.is_none() && self.control.len() + queued_bytes <= self.limits.output_bytes_max as usize
    }

    /// True when the connection can be closed once the output is written: it is dead, or drained to the end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let drained = matches!(self.drain, Drain::Last(_)) && self.streams.live() == 0;
        self.dead.is_some() || drained
    }

    /// The error that killed the machine.
    #[must_use]
    pub const fn error(&self) -> Option<ConnectionError> {
        self.dead
    }

    /// Streams that are open or whose handlers still run.
    #[must_use]
    pub const fn streams_live(&self) -> usize {
        self.streams.live()
    }

    /// Whole tokens left in the abuse budget.
    #[must_use]
    pub const fn glitch_tokens(&self) -> i64 {
        self.budget.tokens()
    }

    /// True when the client would take a promise now.
    #[must_use]
    pub fn can_push(&self) -> bool {
        self.promises_left() > 0
    }

    /// How many more promises the client would take now.
    #[must_use]
    pub fn promises_left(&self) -> u32 {
        let is_open = self.limits.push
            && self.peer.enable_push
            && !self.peer_goaway
            && self.dead.is_none()
            && self.drain == Drain::No;
        let most = self.peer.max_concurrent_streams.min(self.limits.streams_max);
        if is_open { most.saturating_sub(self.promised_live) } else { 0 }
    }

    /// Body bytes delivered and not released.
    #[must_use]
    pub const fn held_bytes(&self) -> u64 {
        self.held
    }

    /// Bytes of memory this connection holds, bookkeeping and tables included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.partial.capacity()
            + self.block.as_ref().map_or(0, |block| size_of::<Block>() + block.bytes.capacity())
            + self.decoder.table().capacity()
            + self.recurring.capacity_bytes()
            + self.encoder.table().capacity()
            + self.streams.capacity_bytes()
            + self.control.capacity()
            + self.book.as_ref().map_or(0, |book| book.capacity_bytes())
            + self.early_priorities.capacity() * size_of::<(StreamId, Priority)>()
    }

    /// Ends the connection now, with this reason. Streams are abandoned.
    pub fn abort(&mut self, reason: Reason, fault: Fault) {
        self.die(ConnectionError { reason, fault });
    }

    /// Queues GOAWAY and ignores everything from here on. What is still owed to the peer goes out before.
    fn die(&mut self, error: ConnectionError) {
        if self.dead.is_none() {
            goaway::write(&mut self.control, self.drain.last_promised_to(self.last_client), error.reason);
            self.dead = Some(error);
            self.last_words = self.control.len();
            self.partial = Vec::new();
            self.block = None;
        }
    }

    #[inline]
    fn charge(&mut self, cost: Cost) -> Result<(), ConnectionError> {
        if self.budget.charge(cost, self.now_ms) {
            Ok(())
        } else {
            Err(ConnectionError { reason: Reason::ENHANCE_YOUR_CALM, fault: Fault::Budget })
        }
    }

    /// A frame behind our RST_STREAM.
    fn charge_late(&mut self) -> Result<(), ConnectionError> {
        if self.budget.charge_late(self.now_ms) {
            Ok(())
        } else {
            Err(ConnectionError { reason: Reason::ENHANCE_YOUR_CALM, fault: Fault::Budget })
        }
    }

    /// Counts one frame that waits in `control`.
    fn count_control(&mut self) -> Result<(), ConnectionError> {
        self.control_frames += 1;
        if self.control_frames > self.limits.control_frames_queued_max {
            return Err(ConnectionError { reason: Reason::ENHANCE_YOUR_CALM, fault: Fault::ControlQueue });
        }
        Ok(())
    }

    /// The peer broke a rule on a live stream: RST_STREAM, charged; the application is told if it has to do with it.
    fn stream_error(&mut self, key: StreamKey, error: StreamError) -> Result<Option<Event>, ConnectionError> {
        self.charge(Cost::Reset)?;
        self.count_control()?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        let is_told = stream.concerns_application() && !stream.state.is_closed();
        self.reset_live(key, error.reason);
        let event = Event::Reset { stream: key, reason: error.reason, by_peer: false };
        Ok(is_told.then_some(event))
    }

    /// The peer broke a rule on a stream that does not live here: RST_STREAM, charged and only once.
    fn stream_error_over(&mut self, id: StreamId, reason: Reason) -> Result<(), ConnectionError> {
        self.charge(Cost::Reset)?;
        self.count_control()?;
        rst_stream::write(&mut self.control, id, reason);
        self.streams.remember_reset(id);
        Ok(())
    }

    /// Writes RST_STREAM for a live stream and forgets what was to be sent; no charge.
    fn reset_live(&mut self, key: StreamKey, reason: Reason) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(next) = state::send(stream.state, Sending::RstStream) else { return };
        stream.state = next;
        stream.offered = 0;
        rst_stream::write(&mut self.control, key.id, reason);
        self.budget.stream_reset();
        self.streams.dequeue(key.slot);
        self.settle(key);
    }

    /// The stream, while something may still be sent on it.
    #[inline]
    fn sendable(&mut self, key: StreamKey) -> Result<&mut Stream, SendError> {
        let alive = self.dead.is_none();
        self.streams.get_mut(key).filter(|stream| alive && stream.state.is_sending()).ok_or(SendError::Gone)
    }

    /// Takes the slot back when the stream is over and its handler has ended.
    #[inline]
    fn settle(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.handled {
            return;
        }
        if stream.state == State::HalfClosedLocal {
            // The response is complete and nobody reads the rest of the request: section 8.1 asks to stop the peer.
            self.reset_live(key, Reason::NO_ERROR);
            return;
        }
        if stream.state.is_closed() {
            self.held -= u64::from(stream.held);
            if !key.id.is_client() {
                self.promised_live -= 1;
            }
            self.streams.remove(key);
            if self.streams.slots() == 0 {
                // The last of many: a connection at rest holds no more than before.
                self.recurring = Recurring::default();
            }
        }
    }
}
