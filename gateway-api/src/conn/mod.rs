//! The drivers: the only files that name both runtime and protocols.

pub(crate) mod exchange;
pub(crate) mod http1;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod wire;

use crate::conn::wire::Wire;
use ringgate_protocols::preface::{Preface, detect};
use ringgate_runtime::{buffer::SendBuf, net::ByteStream};
use std::{future::poll_fn, task::{Context, Poll}};

/// Serves one connection, whatever it speaks, to its end.
pub(crate) async fn serve<S: ByteStream>(mut wire: Wire<S>) {
    let canned: &[u8] = match poll_fn(|cx| poll_preface(&mut wire, cx)).await {
        Some(Preface::Http1) => match http1::serve(&mut wire).await {
            http1::Next::Close => &[],
            http1::Next::Gone => return,
        },
        Some(Preface::Http2) => HTTP2_REFUSED,
        Some(Preface::Tls) => TLS_REFUSED,
        _ => return,
    };
    wire.send(SendBuf::from_vec(canned.to_vec()));
    Box::pin(wire.close()).await;
}
