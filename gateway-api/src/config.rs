//! Every bound of the gateway above the grammar, each with its reason. Bounds of the grammar itself are in
//! [`ringgate_protocols::limits::Limits`].

use std::time::Duration;

/// Outgoing bytes up to this size are copied behind what goes before them; longer ones are lent from where they are. 4 KiB:
/// below it the copy is cheaper than one more piece in the send.
pub(crate) const COPIED_BYTES_MAX: usize = 4096;

/// How much of everything. The defaults are safe for a port that faces the internet. Taken from [`Limits::default`] and
/// changed field by field, as at [`Config`]; what must differ from route to route is said there (`Body::set_bytes_max`,
/// [`WebSocketRoute::limits`](crate::websocket::WebSocketRoute::limits)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Limits of the wire grammar of HTTP/1: bytes and numbers of field lines, chunk extensions. Beyond them a request is
    /// answered with 431, 414, 501 or 400, and its connection closed, before a handler hears of it. Its `body_bytes_max` and
    /// `drain_bytes_max` give way to those below.
    pub protocol: ringgate_protocols::limits::Limits,
    /// Limits of HTTP/2: fields, streams, windows, the abuse budget, and whether pushes are promised at all (`push`, off).
    /// Its times for heads and its least rates give way to those of [`Timeouts`]; `connect_protocol` counts only where a route
    /// opens WebSockets.
    pub http2: ringgate_protocols::limits::Http2Limits,
    /// Bytes that a handler may read of one request body; beyond it reading ends with
    /// [`BodyError::TooLarge`](crate::BodyError::TooLarge), which answers 413 if the handler returns it. 1 MiB is nginx's. A
    /// handler may raise it for its own request with `Body::set_bytes_max` before it reads.
    pub body_bytes_max: u64,
    /// Bytes of an unread body that are received and thrown away so that the connection can live on; beyond it, or when they
    /// have not come within `header_timeout_ms` of the response, the connection closes. On HTTP/2 only the window of that
    /// stream stays shut. 256 KiB cost less than a new connection.
    pub drain_bytes_max: u64,
    /// Bytes of a body that may wait between the wire and its handler, and between a handler and the wire; beyond it
    /// the faster side waits. A [`BodySender`](crate::BodySender) holds 64 KiB of its own, whatever is set here. 64 KiB keep
    /// one connection of a fast network busy.
    pub body_buffer_bytes_max: usize,
    /// Bytes of responses that may wait for one connection, as one send; beyond it the rest is not made yet, and on HTTP/1 no
    /// further request is read (on HTTP/2 `output_bytes_max` of `http2` says when). 256 KiB, half of h2o's.
    pub output_bytes_max: usize,
    /// Connections of one core; beyond it new ones are closed at once, and counted as `connections_refused`. 100,000 idle ones
    /// hold about 50 MiB. ([`Site::serve`](crate::Site::serve) leaves the counting to its caller.)
    pub connections_max: usize,
    /// Bytes of memory that the process may hold; beyond it new requests are answered 503 with `Retry-After`, their
    /// connections end, HTTP/2 connections get a GOAWAY, and what runs goes on, until it is a sixteenth less. Pages of
    /// files do not count, nor what the kernel holds for sockets. `None`, the default, is nine tenths of what the cgroups
    /// of the process allow, or of the machine's memory where that is less: to refuse is better than to be killed.
    /// `Some(u64::MAX)` is no limit. Looked at five times a second, while requests come.
    pub process_bytes_max: Option<u64>,
    /// Threads that run blocking handlers, for the whole gateway; each [`Site`](crate::Site) made by itself has as many of its
    /// own. 64 hide 20 ms waits at 3,000 requests per second. A blocking WebSocket holds one as long as it lives.
    pub blocking_threads_max: usize,
    /// Blocking requests that wait for a thread; beyond it 503 with `Retry-After`, counted as `crew_full`. 256: at 20
    /// ms and 64 threads the last of them waits 80 ms.
    pub blocking_queue_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            protocol: ringgate_protocols::limits::Limits::default(),
            http2: ringgate_protocols::limits::Http2Limits::default(),
            body_bytes_max: 1_048_576,
            drain_bytes_max: 262_144,
            body_buffer_bytes_max: 65_536,
            output_bytes_max: 262_144,
            connections_max: 100_000,
            process_bytes_max: None,
            blocking_threads_max: 64,
            blocking_queue_max: 256,
        }
    }
}

/// How long everything. Milliseconds, as the names say. Taken from [`Timeouts::default`] and changed field by field, as at
/// [`Config`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From accept, or from the first byte of a later request, to the end of the head; then 408, or GOAWAY on HTTP/2, and
    /// without a word where nothing has come at all. Counted as `timeouts_header`. 10 s is h2o's.
    pub header_timeout_ms: u64,
    /// A head that has begun may stand this long before its rate is judged by `progress_bytes_per_s_min`; then 408 before
    /// `header_timeout_ms` is over. 2 s: a head is a few packets.
    pub header_grace_ms: u64,
    /// A connection lives this long between the end of a response and the next request; then it is closed, on HTTP/2 with a
    /// GOAWAY. Counted as `timeouts_idle`. 75 s is nginx's. (WebSockets have their own:
    /// [`WebSocketLimits`](crate::websocket::WebSocketLimits).)
    pub idle_timeout_ms: u64,
    /// A body or a response that is under way may stand this long before its rate is judged. 10 s.
    pub progress_grace_ms: u64,
    /// After the grace a body must come in, and a response go out, at this rate on average. A body that is slower is 408
    /// (`timeouts_body`), a response that is taken more slowly ends with its connection (`timeouts_send`). 500 B/s is Apache's.
    /// On HTTP/2 it also counts for responses that wait for the client's windows, all of a connection together, behind
    /// `stall_timeout_ms` of its limits; one that is taken more slowly is reset.
    pub progress_bytes_per_s_min: u64,
    /// The handler's time from the end of the head to its response; 0 for none, which is the default: only the
    /// application knows. Then 503, and the handler is dropped, or, on a thread, sees
    /// [`is_disconnected`](crate::blocking::Request::is_disconnected). Counted as `timeouts_handler`. How long the body of the
    /// response may take then, and a WebSocket live, is not its business.
    pub request_timeout_ms: u64,
    /// After the last response: how long the peer's remaining bytes are read and thrown away before the socket
    /// closes, so that no reset destroys the response (RFC 9112 section 9.6); eight times `drain_bytes_max` of them at most.
    /// 2 s, a few round trips. During a drain who is silent for 250 ms is not waited for any longer.
    pub linger_timeout_ms: u64,
    /// How long `Gateway::run` and `RunningGateway::wait` let running exchanges go on after a signal. 30 s, what
    /// supervisors wait before they kill.
    pub drain_timeout_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header_timeout_ms: 10_000,
            header_grace_ms: 2_000,
            idle_timeout_ms: 75_000,
            progress_grace_ms: 10_000,
            progress_bytes_per_s_min: 500,
            request_timeout_ms: 0,
            linger_timeout_ms: 2_000,
            drain_timeout_ms: 30_000,
        }
    }
}

impl Timeouts {
    /// The time that `bytes` may take on their way: the grace, and then the minimum rate.
    pub(crate) fn progress(&self, bytes: u64) -> Duration {
        Duration::from_millis(self.progress_grace_ms) + self.at_least_rate(bytes)
    }

    /// The time that a head may take of which `bytes` have come, and not the end.
    pub(crate) fn head_progress(&self, bytes: u64) -> Duration {
        Duration::from_millis(self.header_grace_ms) + self.at_least_rate(bytes)
    }

    fn at_least_rate(&self, bytes: u64) -> Duration {
        Duration::from_millis(bytes.saturating_mul(1000) / self.progress_bytes_per_s_min.max(1))
    }
}

/// Limits and timeouts together: what a gateway is configured with. Each of them says what follows when it is reached, and
/// which counter of [`Metrics`](crate::Metrics) tells of it.
///
/// ```
/// use ringgate::{App, Config, Gateway, Request};
/// let mut config = Config::default();
/// config.limits.body_bytes_max = 10 << 20; // 10 MiB, then 413
/// config.limits.process_bytes_max = Some(512 << 20);
/// config.timeouts.request_timeout_ms = 5_000; // then 503
/// let gateway = Gateway::builder(|_| App::new().route("/", |_: &Request| "hello\n"))
///     .listen("127.0.0.1:0".parse()?)
///     .limits(config.limits)
///     .timeouts(config.timeouts)
///     .start()?;
/// # drop(gateway);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// How much.
    pub limits: Limits,
    /// How long.
    pub timeouts: Timeouts,
    /// Takes `Upgrade: h2c` (RFC 7540 section 3.2). Off: a proxy in front that forwards the upgrade without knowing it
    /// would be bypassed by everything behind the first request. HTTP/2 by its preface needs no upgrade.
    pub is_h2c_upgraded: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_grace_then_rate() {
        let timeouts = Timeouts::default();
        assert_eq!(timeouts.progress(0), Duration::from_secs(10));
        assert_eq!(timeouts.progress(5_000), Duration::from_secs(20));
        assert_eq!(timeouts.head_progress(1_000), Duration::from_secs(4));
        let odd = Timeouts { progress_bytes_per_s_min: 0, ..Timeouts::default() };
        assert!(odd.progress(u64::MAX) > Duration::from_secs(10), "a rate of zero does not divide by zero");
    }
}
