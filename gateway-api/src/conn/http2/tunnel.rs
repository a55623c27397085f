//! A stream of HTTP/2 as a stream of bytes: what an extended CONNECT opens (RFC 8441 section 5). END_STREAM stands for
//! FIN, RST_STREAM with CANCEL for an abort.

use crate::{body::Body, conn::http2::outbound::Outbound, error::BodyError};
use ringgate_runtime::{
    buffer::{Lease, SendBuf},
    net::ByteStream,
};
use std::{
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// The stream's two directions. Dropping it without a half-close aborts the stream.
pub(crate) struct Tunnel {
    pub(crate) body: Body,
    pub(crate) outbound: Rc<Outbound>,
}

impl ByteStream for Tunnel {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        loop {
            return Poll::Ready(match ready!(self.body.poll_piece(cx)) {
                // An empty DATA frame is nothing, and not the end.
                Some(Ok(lease)) if lease.is_empty() => continue,
                Some(Ok(lease)) => Ok(lease),
                Some(Err(error)) => Err(error.into()),
                None => Ok(Lease::empty()),
            });
        }
    }

    /// The window closes by itself when nobody reads.
    fn pause_recv(&mut self) {}

    fn start_send(&mut self, buf: SendBuf) {
        if self.outbound.push(buf) {
            self.outbound.tell();
        }
    }

    fn is_sending(&self) -> bool {
        self.outbound.waiting() > 0
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.poll_empty(cx).map_err(Into::into)
    }

    fn shutdown_write(&mut self) {
        if self.outbound.finish(Ok(())) {
            self.outbound.tell();
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if self.outbound.finish(Err(BodyError::Disconnected)) {
            self.outbound.tell();
        }
    }
}
