//! What comes in: the machine's events, as long as there is room for the answers.

use crate::{
    conn::{
        http2::{Driver, milliseconds},
        input::Input,
        wire::Wire,
    },
    error::BodyError,
    request::{Link, header_map},
};
use ringgate_protocols::http2::connection::Event;
use ringgate_runtime::net::ByteStream;
use std::task::{Context, Poll};

/// Received pieces that one poll takes in; then the other connections of the core have their turn.
const LEASES_PER_POLL_MAX: usize = 8;

/// What a round of receiving came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    Waiting,
    /// The peer has ended its side.
    End,
    Gone,
}

impl Driver {
    /// Takes in what has come, as long as there is room for the answers.
    pub(super) fn receive<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Received {
        self.is_paused = false;
        for _ in 0..LEASES_PER_POLL_MAX {
            if !wire.input.is_empty() {
                self.take_in(wire);
            }
            if self.machine.is_finished() {
                return Received::Waiting;
            }
            if !self.machine.wants_input(self.buf.len()) {
                wire.stream.pause_recv();
                self.is_paused = true;
                return Received::Waiting;
            }
            match wire.poll_input(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Received::End,
                Poll::Ready(Err(_)) => return Received::Gone,
                Poll::Pending => return Received::Waiting,
            }
        }
        cx.waker().wake_by_ref();
        Received::Waiting
    }

    /// Gives the input to the machine and acts on its events.
    fn take_in<S: ByteStream>(&mut self, wire: &mut Wire<S>) {
        let core = wire.link.core.clone();
        let now = milliseconds(wire.now());
        let mut shell = core.shared.requests.take_bare();
        // One received buffer can hold a thousand requests whose answers are ready at once.
        while !wire.input.is_empty() && self.machine.wants_input(self.buf.len()) {
            let step = {
                let mut heads = core.shared.heads.borrow_mut();
                self.machine.handle_input(&mut heads, wire.input.bytes(), now)
            };
            let Ok(step) = step else {
                core.shared.counters.requests_malformed.up();
                wire.input = Input::EMPTY;
                break;
            };
            match step.event {
                None => {}
                Some(Event::Data { stream, span, end_stream }) => {
                    let (lease, start) = wire.input.share();
                    self.data(
                        stream,
                        lease.slice(start + span.start()..start + span.end()),
                        end_stream,
                        core.shared.config.limits.drain_bytes_max,
                    );
                }
                Some(Event::Request { stream, head, end_stream }) => {
                    shell = self.request(wire, shell, stream, head, end_stream);
                }
                Some(event) => self.event(&wire.link, event),
            }
            wire.input.consume(step.consumed);
        }
        core.shared.requests.give(shell);
    }

    pub(super) fn event(&mut self, link: &Link, event: Event) {
        match event {
            Event::Trailers { stream, head } => {
                if let Some(inbound) = self.live(stream).and_then(|live| live.inbound()) {
                    let bytes = head.bytes();
                    let fields = head.head.fields.iter().map(|field| (field.name.of(bytes), field.value.of(bytes)));
                    inbound.finish(Some(header_map(fields)));
                }
                self.receiving.retain(|key| *key != stream);
                link.core.shared.heads.borrow_mut().recycle(head);
            }
            Event::Reset { stream, by_peer, .. } => {
                // (A WebSocket counts the end of its own.)
                if by_peer && !self.live(stream).is_some_and(|live| live.is_tunnel()) {
                    link.core.shared.counters.disconnects.up();
                }
                self.end(&link.core, stream, BodyError::Disconnected);
            }
            Event::Goaway { .. } | Event::Data { .. } | Event::Request { .. } => {}
        }
    }
}
