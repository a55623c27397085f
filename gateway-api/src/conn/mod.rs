//! The drivers: the only files that name both runtime and protocols.

pub(crate) mod common_fields;
pub(crate) mod exchange;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod input;
pub(crate) mod next;
pub(crate) mod openings;
pub(crate) mod output;
pub(crate) mod proxy;
pub(crate) mod websocket;
pub(crate) mod wire;

use crate::conn::{next::Next, wire::Wire};
use ringgate_protocols::preface::{Preface, detect};
use ringgate_runtime::{buffer::SendBuf, net::ByteStream};
use std::{
    future::{Future, poll_fn},
    task::{Context, Poll},
};

/// Serves one connection, whatever it speaks, to its end. `guard` lives as long.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn holds its arguments twice; idle connections are counted in bytes"
)]
pub(crate) fn serve<S: ByteStream, G>(mut wire: Wire<S>, guard: G) -> impl Future<Output = ()> + use<S, G> {
    async move {
        let _guard = &guard;
        let canned: &[u8] = match poll_fn(|cx| poll_preface(&mut wire, cx)).await {
            Some(Preface::Http1) => {
                let next = 'served: {
                    // A block of its own: what HTTP/1 came to is not held while the next protocol is spoken.
                    let upgrade = 'websocket: {
                        let upgraded = match http1::serve(&mut wire).await {
                            Next::Upgrade(upgrade) => break 'websocket upgrade,
                            Next::Http2(upgraded) => upgraded,
                            next => break 'served next,
                        };
                        break 'served Box::pin(http2::serve_upgraded(&mut wire, *upgraded)).await;
                    };
                    websocket::begin(&mut wire, upgrade).await
                };
                match next {
                    Next::Close => &[],
                    _ => return,
                }
            }
            // Boxed: a connection of HTTP/1 does not pay for it.
            Some(Preface::Http2) => match Box::pin(http2::serve(&mut wire)).await {
                Next::Close => &[],
                _ => return,
            },
            Some(Preface::Tls) => TLS_REFUSED,
            _ => return,
        };
        wire.send(SendBuf::from_vec(canned.to_vec()));
        Box::pin(wire.close()).await;
    }
}

/// Not served here: the fatal alert handshake_failure (RFC 8446 section 6.2).
const TLS_REFUSED: &[u8] = b"\x15\x03\x01\0\x02\x02\x28";

/// What the first bytes announce; `None` when nothing is to be answered: the peer left, nothing came in time, or the
/// gateway is draining.
fn poll_preface<S: ByteStream>(wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Option<Preface>> {
    loop {
        match detect(wire.input.bytes()) {
            Preface::NeedMore => {}
            preface => return Poll::Ready(Some(preface)),
        }
        match wire.poll_input(cx) {
            Poll::Ready(Ok(true)) => {}
            // Not even the first bytes of a protocol, but the HTTP/1 machine knows what to say about them.
            Poll::Ready(Ok(false)) if !wire.input.is_empty() => return Poll::Ready(Some(Preface::Http1)),
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending => break,
        }
    }
    if wire.core().shared.draining.get() && wire.input.is_empty() {
        return Poll::Ready(None);
    }
    if wire.poll_deadline(cx).is_pending() {
        return Poll::Pending;
    }
    if wire.input.is_empty() {
        // Nothing came: there is nobody to talk to.
        wire.core().shared.counters.timeouts_header.up();
        return Poll::Ready(None);
    }
    // A head that did not come in time: HTTP/1 says so, 408, and counts it.
    Poll::Ready(Some(Preface::Http1))
}
