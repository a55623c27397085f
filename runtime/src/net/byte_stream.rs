//! What a connection driver needs of a stream of bytes.

use std::io;
use std::task::{Context, Poll};

use crate::buffer::{Lease, SendBuf};

/// A stream of bytes in both directions: a plain socket, TLS, or a foreign executor's stream.
///
/// Methods of the `poll_` kind register the context's waker when they answer `Pending`; one task receives and one sends
/// (usually the same).
pub trait ByteStream {
    /// The next received bytes. An empty lease is the end of the peer's side, at every call from then on.
    ///
    /// # Errors
    /// A reset, or any other error of the connection: it is over in both directions.
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Lease>>;

    /// Takes no more bytes from the kernel until the next `poll_recv`. What has arrived is kept. Optional: a reader that
    /// does not poll is noticed after a few buffers.
    fn pause_recv(&mut self);

    /// Starts to send all of `buf`. Must not be called while a send is in flight. An error is told by `poll_sent`.
    fn start_send(&mut self, buf: SendBuf);

    /// True while a send is in flight; registers no waker.
    fn is_sending(&self) -> bool;

    /// Ready when nothing is in flight any more, at once if nothing was.
    ///
    /// Calling it is optional: a send that nobody waits for completes by itself and wakes nobody, and its error is kept.
    ///
    /// # Errors
    /// Why the last send failed; what of it has gone out is unknown. It is told at every call from then on.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Half-close: FIN behind what was sent; receiving goes on.
    fn shutdown_write(&mut self);

    /// Ends the stream at once, and not in good order: a reset instead of a FIN, where there is such a thing. It is only
    /// dropped afterwards. Optional: without it the peer may take a part for the whole.
    fn reset(&mut self) {}
}
