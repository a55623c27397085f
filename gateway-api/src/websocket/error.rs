//! Why a socket does not go on.

use ringgate_protocols::websocket::error::Fault;
use std::{fmt, io};

/// Why nothing more is received or sent. A handler that returns it with `?` need not close the socket: if it is still open
/// it closes with 1011.
///
/// ```
/// use ringgate::websocket::{SocketError, WebSocket};
/// async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
///     while let Some(message) = socket.recv().await {
///         match message {
///             Ok(message) => socket.send(message).await?,
///             Err(SocketError::Disconnected) => eprintln!("a client has gone without a word"),
///             Err(SocketError::Fault(fault)) => eprintln!("told with {:?}: {fault}", fault.close_code()),
///             Err(error) => return Err(error),
///         }
///     }
///     Ok(())
/// }
/// # let app = ringgate::App::new().route("/ws", echo);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/ws", &["one"]), ["one"]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SocketError {
    /// The closing handshake has begun: nothing may follow a Close (RFC 6455 section 5.5.1).
    Closed,
    /// The peer went away without a Close.
    Disconnected,
    /// The peer broke the protocol or a limit; it has been told with the fault's close code.
    Fault(Fault),
    /// The reason of a Close is longer than 123 bytes, or a ping than 125. Nothing was sent.
    TooLong,
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the WebSocket is closing"),
            Self::Disconnected => f.write_str("the peer went away"),
            Self::Fault(fault) => fault.fmt(f),
            Self::TooLong => f.write_str("a control frame carries at most 125 bytes"),
        }
    }
}

impl std::error::Error for SocketError {}

impl From<SocketError> for io::Error {
    fn from(error: SocketError) -> Self {
        let kind = match error {
            SocketError::Closed => io::ErrorKind::BrokenPipe,
            SocketError::Disconnected => io::ErrorKind::ConnectionAborted,
            SocketError::Fault(_) => io::ErrorKind::InvalidData,
            SocketError::TooLong => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
