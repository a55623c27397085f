//! Why a connection ends.

use crate::http1::error::{Fault, Misuse};

/// The reason for which no further request is read from a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The client said `Connection: close`, or speaks HTTP/1.0 and did not ask for more.
    Client,
    /// The application or the gateway asked for it.
    Server,
    /// The body of the response ends where the connection ends: HTTP/1.0 and no length.
    EndsBody,
    /// The request body was not read, and it is too long, or was never invited, to be thrown away.
    UnreadBody,
    /// The peer broke the protocol.
    Fault(Fault),
    /// We did.
    Misuse(Misuse),
    /// The peer ended the connection between two requests.
    EndOfInput,
}
