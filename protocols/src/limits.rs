//! Every bound of the protocol machines, each with its reason.

/// Limits of the grammar and of counting. Times are the gateway's business and come as arguments.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all field lines of one head, trailers sharing it; HTTP/2 counts name + value + 32 per field,
    /// HTTP/1 the lines as they came, line ends included; beyond it 431.
    /// 32,768: between hyper's 16 KiB and Envoy's 60 KiB.
    pub header_bytes_max: u32,
    /// Field lines of one head, trailers and cookie crumbs sharing it; beyond it 431.
    /// 100: common to h2o, hyper, Apache and Envoy.
    pub field_count_max: u32,
    /// Bytes of one HTTP/1 field line without its line end; beyond it 431.
    /// 8,192: the line of Apache and nginx.
    pub field_line_bytes_max: u32,
    /// Bytes of the request-target; beyond it 414.
    /// 8,192: as the field line.
    pub target_bytes_max: u32,
    /// Bytes of the method; beyond it 501 (RFC 9112 section 3), beyond eight times as many without a space 400.
    /// 32: the longest registered method, `UPDATEREDIRECTREF`, has 17.
    pub method_bytes_max: u32,
    /// Empty lines before a request line; beyond it 400.
    /// 1: what RFC 9112 section 2.2 asks for, since old clients send one stray CRLF after a body.
    pub leading_empty_lines_max: u32,
    /// Bytes of chunk extensions in one message; beyond it 400.
    /// 16,384: node's cap; hardly anybody uses extensions.
    pub chunk_extension_bytes_max: u32,
    /// Bytes of one chunk-size line beyond its significant digits: extensions, and zeros in front; beyond it 400.
    /// 256: room for a signature, none for a flood.
    pub chunk_extension_line_bytes_max: u32,
    /// Bytes of a request body, unless the application asks for more; beyond it 413.
    /// 1,048,576: nginx's default.
    pub body_bytes_max: u64,
    /// Bytes of an unread request body that are read and thrown away to keep the connection; beyond it it is closed.
    /// 262,144: cheaper than a new connection.
    pub drain_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 32_768,
            field_count_max: 100,
            field_line_bytes_max: 8_192,
            target_bytes_max: 8_192,
            method_bytes_max: 32,
            leading_empty_lines_max: 1,
            chunk_extension_bytes_max: 16_384,
            chunk_extension_line_bytes_max: 256,
            body_bytes_max: 1_048_576,
            drain_bytes_max: 262_144,
        }
    }
}

/// Bounds and deadlines of one HTTP/2 connection. Every default carries its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Sum of name + value + 32 over the fields of one head, trailers sharing it. Announced as MAX_HEADER_LIST_SIZE. A list
    /// up to twice as long is answered with 431, a longer one ends the connection. Also bounds the encoded block.
    pub header_bytes_max: u32,
    /// Field lines of one head, trailers sharing it; pseudo-fields and cookie crumbs count (the HTTP/2 bomb). Beyond it 431.
    /// 100 as h2o, hyper, Apache and Envoy have it.
    pub field_count_max: u32,
    /// Streams at once, running handlers of reset streams included; 32,767 at most. Beyond it REFUSED_STREAM. 100 as Apache,
    /// h2o and Envoy's edge guide.
    pub streams_max: u32,
    /// Abuse budget: tokens in the bucket. A reset or a refused stream takes 10, DATA that carries nothing 5, a control frame
    /// 1, a WINDOW_UPDATE beyond its allowance a fifth. Who empties it gets a GOAWAY with ENHANCE_YOUR_CALM. nghttp2's value.
    pub glitch_tokens_max: u32,
    /// Abuse budget: tokens that come back per second, nghttp2's value.
    pub glitch_tokens_per_s: u32,
    /// CONTINUATION frames of one block, beyond it ENHANCE_YOUR_CALM; 32 KiB of head need two or three. nghttp2's value.
    pub continuation_frames_max: u32,
    /// Entries of one SETTINGS frame, beyond it ENHANCE_YOUR_CALM; nghttp2's value.
    pub settings_entries_max: u32,
    /// Control frames that may wait for the transport; beyond it the connection is ended. Envoy's value.
    pub control_frames_queued_max: u32,
    /// Bytes that may wait for the transport; beyond it nothing is read. Half of h2o's.
    pub output_bytes_max: u32,
    /// Octets of each field compression table, 65,535 at most; the RFC's default, and the encoder never goes above it.
    pub table_bytes_max: u32,
    /// Window of each request body: bytes the application has not yet read. 128 KiB: a disk or a slow peer hides behind
    /// it, and a hundred streams stay within 12.5 MiB. Below 65,535 the difference is tolerated until acknowledged. At most
    /// 2^31 - 1 (RFC 9113 section 6.9.1), as the next one.
    pub stream_window_bytes: u32,
    /// Window of the connection, credited on receipt, so that a slow handler shuts its own stream and not all of them.
    pub connection_window_bytes: u32,
    /// Body bytes of all streams that the application may leave unread before the connection's window shuts too.
    pub unread_bytes_max: u32,
    /// Announces extended CONNECT (RFC 8441).
    pub connect_protocol: bool,
    /// Lets `push_promise` promise. Off: browsers have removed it.
    pub push: bool,
    /// The preface and the first SETTINGS have to be there after this, in ms from the first bytes; then GOAWAY. 5 s: both are
    /// the first thing that a client sends.
    pub first_settings_timeout_ms: u32,
    /// A header block has to be complete after this, in ms; h2o's value. Our SETTINGS have to be acknowledged so long after
    /// `first_settings_timeout_ms`. Whoever is late gets a GOAWAY.
    pub header_timeout_ms: u32,
    /// A header block that is not complete after this, in ms, has to keep to `header_bytes_per_s_min`. 2 s: a head is a few
    /// packets.
    pub header_grace_ms: u32,
    /// The least rate at which a header block may arrive, averaged from its beginning behind the grace; Apache's value.
    pub header_bytes_per_s_min: u32,
    /// How long the drain waits for the PING's answer before the last GOAWAY, in ms.
    pub drain_ping_timeout_ms: u32,
    /// A response that waits on the peer's windows for so long is reset with CANCEL, in ms, if they take nothing
    /// of it. What they take gives time back at `progress_bytes_per_s_min`, to three times as much at most. 30 s: longer
    /// than the grace on HTTP/1, since a window is shut by whoever pauses behind the peer, and not only by a slow line.
    pub stall_timeout_ms: u32,
    /// The least rate at which the peer takes what waits on its windows, all such responses of the connection together,
    /// averaged behind `stall_timeout_ms`; Apache's value, as on HTTP/1.
    pub progress_bytes_per_s_min: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 32_768,
            field_count_max: 100,
            streams_max: 100,
            glitch_tokens_max: 1_000,
            glitch_tokens_per_s: 33,
            continuation_frames_max: 8,
            settings_entries_max: 32,
            control_frames_queued_max: 1_000,
            output_bytes_max: 262_144,
            table_bytes_max: 4_096,
            stream_window_bytes: 131_072,
            connection_window_bytes: 1_048_576,
            unread_bytes_max: 1_048_576,
            connect_protocol: true,
            push: false,
            first_settings_timeout_ms: 5_000,
            header_timeout_ms: 10_000,
            header_grace_ms: 2_000,
            header_bytes_per_s_min: 500,
            drain_ping_timeout_ms: 1_000,
            stall_timeout_ms: 30_000,
            progress_bytes_per_s_min: 500,
        }
    }
}

impl Http2Limits {
    /// The same, where a number is larger than can be kept or announced the largest that can.
    #[must_use]
    pub(crate) fn within_reach(self) -> Self {
        const WINDOW_BYTES_MAX: u32 = i32::MAX as u32;
        Self {
            // Places are numbered in 16 bits, and promised streams come on top.
            streams_max: self.streams_max.min(32_767),
            table_bytes_max: self.table_bytes_max.min(u32::from(u16::MAX)),
            stream_window_bytes: self.stream_window_bytes.min(WINDOW_BYTES_MAX),
            connection_window_bytes: self.connection_window_bytes.min(WINDOW_BYTES_MAX),
            ..self
        }
    }
}

/// Limits of one WebSocket, RFC 6455 and RFC 7692. Times are milliseconds of the caller's monotonic clock. A time or a rate of
/// 0 switches its rule off; without its grace the rate is judged from the beginning.
#[derive(Clone, Debug)]
pub struct WebSocketLimits {
    /// Bytes of one message, after inflation. 1,048,576: the value of python's websockets. Beyond it: 1009.
    pub message_bytes_max: u64,
    /// Frames of one message. 1,024: the 131,072 of node's ws proved too high. Beyond it: 1008.
    pub fragment_count_max: u32,
    /// Inflated bytes for each received byte of a message. 200: real text stays far below. Beyond it: 1009.
    pub inflate_ratio_max: u32,
    /// Inflated bytes up to which the ratio is not judged. 65,536: small messages may be very regular.
    pub inflate_ratio_from_bytes: u64,
    /// Tokens for pings, unasked pongs and deflate blocks without content, one each. 1,000: nghttp2's bucket for resets.
    pub ping_tokens_max: u32,
    /// Tokens that come back each second. 33: nghttp2's rate. A flood beyond it: 1008.
    pub ping_tokens_per_s: u32,
    /// Time the peer has to answer our Close; then the connection ends without its answer. 5,000: a round trip on a bad
    /// network, twice.
    pub close_timeout_ms: u32,
    /// Silence after which we send a ping. 20,000: the value of python's websockets, below the idle time of proxies.
    pub ping_interval_ms: u32,
    /// Time the peer has to show life after our ping, by any byte; then 1011. 20,000: as above.
    pub pong_timeout_ms: u32,
    /// Time without a message either way after which we close with 1001. 0: a quiet socket is normal, pings find the
    /// dead ones.
    pub idle_timeout_ms: u32,
    /// Average rate below which an unfinished message is given up with 1008. 500 bytes per second: Apache's rate.
    pub progress_bytes_per_s_min: u32,
    /// Age of an unfinished message before its rate is judged. 10,000: a message that is merely unlucky gets through.
    pub progress_grace_ms: u32,
}

impl Default for WebSocketLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1_048_576,
            fragment_count_max: 1_024,
            inflate_ratio_max: 200,
            inflate_ratio_from_bytes: 65_536,
            ping_tokens_max: 1_000,
            ping_tokens_per_s: 33,
            close_timeout_ms: 5_000,
            ping_interval_ms: 20_000,
            pong_timeout_ms: 20_000,
            idle_timeout_ms: 0,
            progress_bytes_per_s_min: 500,
            progress_grace_ms: 10_000,
        }
    }
}
