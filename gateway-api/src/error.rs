//! What can go wrong, by who sees it: the handler that reads a body, the one that sends, the one who starts a gateway.

use http::StatusCode;
use std::{fmt, io};

/// Why a body cannot be read to its end. A handler that returns it answers with [`BodyError::status`].
///
/// ```
/// use ringgate::{BodyError, Request, Response};
/// async fn upload(mut request: Request) -> Result<Response, BodyError> {
///     match request.body_mut().collect().await {
///         Err(BodyError::TooLarge) => Ok(Response::text("at most 1 MiB\n").status(BodyError::TooLarge.status())),
///         body => Ok(Response::bytes(body?)),
///     }
/// }
/// # let app = ringgate::App::new().route("/upload", ringgate::post(upload));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # let answer = client::ask(app, "POST /upload HTTP/1.1", &"a".repeat(1_100_000));
/// # assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("at most 1 MiB\n"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// More bytes than `body_bytes_max`, or than [`Body::set_bytes_max`](crate::Body::set_bytes_max) allows; 413.
    TooLarge,
    /// The peer went away before the end.
    Disconnected,
    /// The peer sent slower than `progress_bytes_per_s_min`; 408. The gateway has answered so already: an async handler is
    /// dropped and does not see it, a thread does.
    TooSlow,
    /// The framing is wrong; 400, answered by the gateway as above. Over HTTP/2 the stream is reset, which is
    /// [`BodyError::Disconnected`] here.
    Malformed,
    /// This handler's world does not read bodies, or the body was taken before.
    Taken,
}

impl BodyError {
    /// The status that tells the client (RFC 9110 sections 15.5.1, 15.5.9 and 15.5.14).
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Disconnected | Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Taken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is larger than allowed",
            Self::Disconnected => "the peer went away",
            Self::TooSlow => "the peer sends too slowly",
            Self::Malformed => "the body is malformed",
            Self::Taken => "the body is not to be had here",
        })
    }
}

impl std::error::Error for BodyError {}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge => io::ErrorKind::FileTooLarge,
            BodyError::Disconnected => io::ErrorKind::ConnectionAborted,
            BodyError::TooSlow => io::ErrorKind::TimedOut,
            BodyError::Malformed => io::ErrorKind::InvalidData,
            BodyError::Taken => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

/// Nobody reads any more: the client went away, or the gateway gave the exchange up. Told by
/// [`BodySender`](crate::BodySender) and, as an [`io::Error`], to the code of [`Response::writer`](crate::Response::writer):
/// whoever makes the body had better stop, and need not clean up.
///
/// ```
/// use ringgate::{App, Disconnected, Request, Response};
/// use std::{io, time::Duration};
/// async fn ticks(request: Request) -> Response {
///     let (mut sender, response) = Response::channel();
///     let handle = request.handle().clone();
///     request.handle().spawn("ticks", async move {
///         while let Ok(()) = sender.send("tick\n").await { // Err(Disconnected), some time after the client has gone
///             handle.sleep(Duration::from_secs(1)).await;
///         }
///     }).detach();
///     response
/// }
/// # let _ = App::new().route("/ticks", ticks);
/// assert_eq!(io::Error::from(Disconnected).kind(), io::ErrorKind::BrokenPipe);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnected;

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer went away")
    }
}

impl std::error::Error for Disconnected {}

impl From<Disconnected> for io::Error {
    fn from(error: Disconnected) -> Self {
        Self::new(io::ErrorKind::BrokenPipe, error)
    }
}
