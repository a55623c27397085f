//! Every bound of the protocol machines, each with its reason.

/// Limits of the grammar and of counting. Times are the gateway's business and come as arguments.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all field lines of one head, trailers sharing it; HTTP/2 counts name + value + 32 per field.
    /// 32,768: between hyper's 16 KiB and Envoy's 60 KiB.
    pub header_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes_max: 32_768 }
    }
}

/// Limits of one WebSocket, RFC 6455 and RFC 7692. Times are milliseconds of the caller's monotonic clock; a time of 0
/// switches its rule off.
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
    /// Tokens for pings, unasked pongs and deflate blocks without content. 1,000: nghttp2's bucket for resets.
    pub ping_tokens_max: u32,
    /// Tokens that come back each second. 33: nghttp2's rate. A flood beyond it: 1008.
    pub ping_tokens_per_s: u32,
    /// Time the peer has to answer our Close. 5,000: a round trip on a bad network, twice.
    pub close_timeout_ms: u32,
    /// Silence after which we send a ping. 20,000: the value of python's websockets, below the idle time of proxies.
    pub ping_interval_ms: u32,
    /// Time the peer has to show life after our ping. 20,000: as above.
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
