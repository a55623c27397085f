//! The header of a proxy, ahead of everything else.

use crate::{
    conn::{self, wire::Wire},
    drain::Member,
    request::Link,
};
use ringgate_protocols::proxy::{Origin, Step, read};
use ringgate_runtime::net::{Address, ByteStream};
use std::{
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll},
};

/// Serves a connection that begins with such a header: to whoever asks it is between the addresses that the header names.
/// The time of the first head covers it.
pub(crate) async fn serve<S: ByteStream>(mut wire: Wire<S>, member: Member) {
    let Some(origin) = poll_fn(|cx| poll_header(&mut wire, cx)).await else { return };
    let tcp = |address: SocketAddr| Address::Tcp(address);
    let addresses = match origin {
        Origin::Socket => None,
        Origin::Ipv4 { source, destination } => Some((tcp(source.into()), tcp(destination.into()))),
        Origin::Ipv6 { source, destination } => Some((tcp(source.into()), tcp(destination.into()))),
    };
    if let Some((peer, local)) = addresses {
        let link = Rc::new(Link::new(wire.core().clone(), Some(peer), Some(Rc::new(local))));
        member.relink(link.clone());
        wire.link = link;
    }
    conn::serve(wire, member).await;
}

/// What the header says. `None` when it is none, does not come, or there is no time for it any more: the connection is
/// closed without a word, for who should understand it is not known.
fn poll_header<S: ByteStream>(wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Option<Origin>> {
    loop {
        match read(wire.input.bytes()) {
            Ok(Step::Whole { consumed, origin }) => {
                wire.input.consume(consumed);
                return Poll::Ready(Some(origin));
            }
            Ok(Step::NeedInput) => {}
            Err(_) => {
                wire.core().shared.counters.proxy_headers_refused.up();
                return Poll::Ready(None);
            }
        }
        match wire.poll_input(cx) {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending => break,
        }
    }
    if wire.core().shared.draining.get() {
        return Poll::Ready(None);
    }
    wire.poll_deadline(cx).map(|()| {
        wire.core().shared.counters.timeouts_header.up();
        None
    })
}
