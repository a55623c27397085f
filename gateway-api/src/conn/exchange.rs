//! One exchange that takes longer than a turn: a handler that waits, a body that comes in, a body that goes out. Both
//! directions may be under way at once; backpressure holds in both.

use crate::{
    body::Inbound,
    conn::{
        http1::{Flow, fault},
        output::{self, Written},
        wire::Wire,
    },
    core::Core,
    dispatch::Begun,
    error::BodyError,
    request::{Request, header_map},
    response::{ChunkStream, Payload, Response},
    websocket::upgrade::Upgrade,
};
use http::{HeaderMap, StatusCode};
use ringgate_protocols::{
    http::head::Head,
    http1::{
        connection::Connection,
        error::{Fault, Misuse},
        event::{Drain, Event, Then},
    },
};
use ringgate_runtime::{
    buffer::{Piece, SendBuf},
    net::ByteStream,
    time::Instant,
};
use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::{Context, Poll},
};

/// What the driver keeps of a running exchange.
pub(crate) struct Exchange {
    /// The driver's hold on the request.
    request: Request,
    begun: Begun,
    incoming: Option<Incoming>,
    /// A response that has begun already.
    response: Option<(Payload, Option<Box<HeaderMap>>)>,
    /// What is to go out next.
    buf: SendBuf,
    send_deadline: Instant,
    /// The peer has ended its side; while a response is under way that only means that it sends nothing more.
    is_half_closed: bool,
    /// The response has made the connection a WebSocket's.
    upgrade: Option<Box<Upgrade>>,
}

/// The request body on its way in.
struct Incoming {
    inbound: Rc<Inbound>,
    head: Head,
    trailers: Option<HeaderMap>,
    is_ended: bool,
    /// Since when the peer is waited for, and what has come since: a body must keep to the minimum rate.
    waiting: Option<Instant>,
    bytes: u64,
    discarded: u64,
}

/// Why an exchange ends before its response does.
enum End {
    /// The peer went away.
    Gone,
    /// The peer broke the protocol, or is too slow.
    Fault(Fault),
    /// The handler ran out of time.
    Late,
    /// The body of the response broke off, or has another length than announced.
    Broken,
}

impl From<Misuse> for End {
    fn from(_: Misuse) -> Self {
        Self::Broken
    }
}

impl Exchange {
    /// A handler that is not ready, or has a body to read.
    pub(crate) fn of_handler(core: &Core, request: Request, begun: Begun, inbound: Option<Rc<Inbound>>) -> Self {
        let incoming = inbound.map(|inbound| Incoming {
            inbound,
            head: Head::default(),
            trailers: None,
            is_ended: false,
            waiting: None,
            bytes: 0,
            discarded: 0,
        });
        let config = &core.shared.config;
        // What earlier answers have in flight has its time too.
        let send_deadline = core.handle().now() + config.timeouts.progress(config.limits.output_bytes_max as u64);
        let buf = core.handle().take_send_buf();
        Self { request, begun, incoming, response: None, buf, send_deadline, is_half_closed: false, upgrade: None }
    }

    /// A response whose head is in `buf` and whose body comes by and by.
    pub(crate) fn with_response(mut self, buf: SendBuf, payload: Payload, trailers: Option<Box<HeaderMap>>) -> Self {
        self.buf = buf;
        self.response = Some((payload, trailers));
        self
    }

    /// Runs the exchange to its end.
    pub(crate) async fn run<S: ByteStream>(mut self: Box<Self>, wire: &mut Wire<S>, machine: &mut Connection) -> Flow {
        let then = match self.converse(wire, machine).await {
            Ok(then) => Ok(then),
            Err(end) => self.break_off(wire, machine, end).ok_or(()),
        };
        // Somebody may still hold the body: nothing more will come. What is wrong with the rest of it, once the response is
        // made, must not cost the response.
        self.incoming = None;
        let Ok(then) = then else { return Flow::Gone };
        if let Some(upgrade) = self.upgrade.take() {
            return Flow::Upgrade(Box::new((*upgrade, std::mem::take(&mut self.buf))));
        }
        if self.flush_all(wire, machine).await.is_err() {
            wire.core().shared.counters.disconnects.up();
            return Flow::Gone;
        }
        let core = wire.core().clone();
        core.handle().recycle_send_buf(std::mem::take(&mut self.buf));
        let limits = &core.shared.config.limits.protocol;
        wire.has_served = true;
        let timeouts = &core.shared.config.timeouts;
        let drain = match then {
            Then::KeepAlive => Drain::Done,
            Then::Drain => machine.begin_drain(limits),
            Then::Close(reason) => Drain::Close(reason),
            Then::Switch => return Flow::Close,
        };
        match drain {
            Drain::Done => wire.allow(timeouts.idle_timeout_ms),
            Drain::Reading => wire.allow(timeouts.header_timeout_ms),
            Drain::Close(_) => return Flow::Close,
        }
        Flow::Wait
    }

    async fn converse<S: ByteStream>(&mut self, wire: &mut Wire<S>, machine: &mut Connection) -> Result<Then, End> {
        let core = wire.core().clone();
        let (payload, trailers) = match self.response.take() {
            Some(begun) => begun,
            None => {
                let table = wire.table.clone();
                let driven = self.drive(wire, machine, |it, _, _, cx| table.poll(&core, &mut it.begun, cx).map(Ok));
                let mut response = match driven.await {
                    Err(End::Late) => {
                        table.forget(&core, &mut self.begun);
                        late(machine)
                    }
                    driven => driven?,
                };
                table.run_after(&core, self.begun.route, &self.request, &mut response);
                if core.shared.draining.get() {
                    machine.close_after_response();
                }
                output::hints_before(machine, &core, &mut self.buf, &self.request, &mut response);
                if self.incoming.as_ref().is_some_and(|incoming| !incoming.inbound.is_abandoned()) {
                    // The response will read the body while it goes out (an echo): the invitation cannot come later.
                    machine.send_continue(self.buf.tail());
                }
                match output::respond(machine, &core, &mut self.buf, &mut response) {
                    Written::Whole(then) => return Ok(then),
                    Written::Upgraded(upgrade) => {
                        self.upgrade = Some(upgrade);
                        return Ok(Then::Switch);
                    }
                    Written::Begun(payload, trailers) => (payload, trailers),
                }
            }
        };
        wire.ends_body = machine.ends_body_by_closing();
        match payload {
            Payload::Stream { chunks, .. } => self.stream(wire, machine, chunks, trailers).await,
            Payload::Bytes(bytes) => {
                let output_bytes_max = core.shared.config.limits.output_bytes_max.max(1);
                for start in (0..bytes.len()).step_by(output_bytes_max) {
                    let end = bytes.len().min(start + output_bytes_max);
                    self.send_piece(wire, machine, Piece::Shared(bytes.slice(start..end))).await?;
                }
                Ok(machine.send_end(self.buf.tail(), [])?)
            }
            Payload::Static(bytes) => {
                for part in bytes.chunks(core.shared.config.limits.output_bytes_max.max(1)) {
                    self.send_piece(wire, machine, Piece::Static(part)).await?;
                }
                Ok(machine.send_end(self.buf.tail(), [])?)
            }
            Payload::Empty | Payload::Writer { .. } | Payload::Upgrade(_) => Err(End::Broken),
        }
    }

    async fn send_piece<S: ByteStream>(
        &mut self,
        wire: &mut Wire<S>,
        machine: &mut Connection,
        piece: Piece,
    ) -> Result<(), End> {
        let length = piece.as_slice().len() as u64;
        machine.send_data_start(self.buf.tail(), length)?;
        self.buf.push(piece);
        machine.send_data_end(self.buf.tail(), length);
        self.flush_all(wire, machine).await
    }

    /// Asks for pieces as the wire takes them: what is ready at once leaves in one send.
    async fn stream<S: ByteStream>(
        &mut self,
        wire: &mut Wire<S>,
        machine: &mut Connection,
        mut chunks: ChunkStream,
        mut trailers: Option<Box<HeaderMap>>,
    ) -> Result<Then, End> {
        let core = wire.core().clone();
        let features = self.request.features();
        let mut is_ended = false;
        while !is_ended {
            let gather = |it: &mut Self, wire: &mut Wire<S>, machine: &mut Connection, cx: &mut Context<'_>| {
                match wire.stream.poll_sent(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                    Poll::Pending => return Poll::Pending,
                }
                let head_bytes = it.buf.len();
                while it.buf.len() < core.shared.config.limits.body_buffer_bytes_max {
                    let next = catch_unwind(AssertUnwindSafe(|| chunks.as_mut().poll_next(cx)));
                    let Ok(next) = next else {
                        core.shared.counters.handler_panics.up();
                        return Poll::Ready(Err(End::Broken));
                    };
                    match next {
                        Poll::Ready(Some(Ok(chunk))) => match output::data(machine, &mut it.buf, chunk, features) {
                            Ok(None) => {}
                            Ok(last) => trailers = last,
                            Err(_) => {
                                core.shared.counters.responses_misused.up();
                                return Poll::Ready(Err(End::Broken));
                            }
                        },
                        Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(End::Broken)),
                        Poll::Ready(None) => {
                            is_ended = true;
                            break;
                        }
                        // The head waits for the first piece only if that is ready.
                        Poll::Pending if it.buf.len() == head_bytes && head_bytes == 0 => return Poll::Pending,
                        Poll::Pending => break,
                    }
                }
                Poll::Ready(Ok(()))
            };
            self.drive(wire, machine, gather).await?;
            if is_ended {
                break;
            }
            self.flush(wire);
            if !wire.stream.is_sending() {
                // The wire takes everything at once: let others have their turn.
                core.handle().yield_now().await;
            }
        }
        output::end(machine, &mut self.buf, trailers.as_deref(), features).map_err(|_| {
            core.shared.counters.responses_misused.up();
            End::Broken
        })
    }

    /// Polls `work`, and the rest of the exchange beside it: the request body, early hints, time.
    async fn drive<S: ByteStream, T>(
        &mut self,
        wire: &mut Wire<S>,
        machine: &mut Connection,
        mut work: impl FnMut(&mut Self, &mut Wire<S>, &mut Connection, &mut Context<'_>) -> Poll<Result<T, End>>,
    ) -> Result<T, End> {
        poll_fn(|cx| {
            self.receive(wire, machine, cx)?;
            if let Poll::Ready(done) = work(self, wire, machine, cx) {
                return Poll::Ready(done);
            }
            // The work may have made room, asked for the body, or left hints.
            self.receive(wire, machine, cx)?;
            output::hints(machine, wire.core(), &mut self.buf, &self.request);
            self.flush(wire);
            self.poll_time(wire, cx).map(Err)
        })
        .await
    }

    /// Takes from the wire what there is room for; with the body whole, watches for the peer to leave.
    fn receive<S: ByteStream>(
        &mut self,
        wire: &mut Wire<S>,
        machine: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Result<(), End> {
        while let Some(incoming) = self.incoming.as_mut().filter(|incoming| !incoming.is_ended) {
            if incoming.inbound.poll_room(cx).is_pending() || incoming.is_unwanted(wire.core()) {
                incoming.waiting = None;
                wire.stream.pause_recv();
                return Ok(());
            }
            if machine.is_continue_due() && incoming.inbound.poll_wanted(cx).is_ready() {
                machine.send_continue(self.buf.tail());
            }
            if incoming.take(wire, machine)? {
                continue;
            }
            match wire.poll_input(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(_) => {
                    incoming.inbound.fail(BodyError::Disconnected);
                    return Err(End::Gone);
                }
                // Who was not invited to send cannot be late.
                Poll::Pending if machine.is_uninvited() => return Ok(()),
                Poll::Pending => {
                    let now = wire.now();
                    incoming.waiting.get_or_insert_with(|| {
                        incoming.bytes = 0;
                        now
                    });
                    return Ok(());
                }
            }
        }
        if !wire.input.is_empty() || self.is_half_closed {
            // The next request is here already: it has to wait, and the peer behind it.
            return Ok(());
        }
        match wire.poll_input(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(true)) => {
                wire.stream.pause_recv();
                Ok(())
            }
            // While a response goes out the end of the peer's side is just that. Before it, it is taken for a client
            // that has left: of the two that look the same on the wire, the one that costs work for nobody.
            Poll::Ready(Ok(false)) if !self.begun.is_pending() => {
                self.is_half_closed = true;
                Ok(())
            }
            Poll::Ready(_) => Err(End::Gone),
        }
    }

    /// Starts the next send, if none is in flight.
    fn flush<S: ByteStream>(&mut self, wire: &mut Wire<S>) {
        if !self.buf.is_empty() && !wire.stream.is_sending() {
            self.send_deadline = wire.send_allowance(self.buf.len());
            let next = wire.core().handle().take_send_buf();
            wire.send(std::mem::replace(&mut self.buf, next));
        }
    }

    /// Waits until everything so far has been handed to the wire and the wire has taken what came before it.
    async fn flush_all<S: ByteStream>(&mut self, wire: &mut Wire<S>, machine: &mut Connection) -> Result<(), End> {
        self.drive(wire, machine, |it, wire, _, cx| match wire.stream.poll_sent(cx) {
            Poll::Ready(Ok(())) => {
                it.flush(wire);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(End::Gone)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Ready when something has taken too long.
    fn poll_time<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<End> {
        let handler = self.request.deadline().filter(|_| self.begun.is_pending());
        let timeouts = &wire.core().shared.config.timeouts;
        let body = self.incoming.as_ref().and_then(|incoming| {
            let since = incoming.waiting.filter(|_| !incoming.is_ended)?;
            Some(since + timeouts.progress(incoming.bytes))
        });
        let send = wire.stream.is_sending().then_some(self.send_deadline);
        let Some(first) = [handler, body, send].into_iter().flatten().min() else { return Poll::Pending };
        wire.deadline = first;
        if wire.poll_deadline(cx).is_pending() {
            return Poll::Pending;
        }
        let counters = &wire.core().shared.counters;
        Poll::Ready(if send == Some(first) {
            counters.timeouts_send.up();
            End::Gone
        } else if body == Some(first) {
            counters.timeouts_body.up();
            self.incoming.iter().for_each(|incoming| incoming.inbound.fail(BodyError::TooSlow));
            End::Fault(Fault::BodyTimeout)
        } else {
            counters.timeouts_handler.up();
            End::Late
        })
    }

    /// The exchange ends early; the handler is dropped with it. Answers what follows, or nothing if there is nobody to
    /// answer, or no way to.
    fn break_off<S: ByteStream>(&mut self, wire: &mut Wire<S>, machine: &mut Connection, end: End) -> Option<Then> {
        let core = wire.core().clone();
        let is_answered = !self.begun.is_pending();
        wire.table.forget(&core, &mut self.begun);
        match end {
            End::Gone => {
                core.shared.counters.disconnects.up();
                None
            }
            End::Broken | End::Late => None,
            End::Fault(_) if is_answered => None,
            End::Fault(reason) => {
                fault(wire, machine, &mut self.buf, reason);
                machine.close_reason().map(Then::Close)
            }
        }
    }
}

/// In place of a handler that ran out of time, and of what it would have answered.
fn late(machine: &mut Connection) -> Response {
    machine.close_after_response();
    Response::text("the request took too long\n").status(StatusCode::SERVICE_UNAVAILABLE)
}

impl Drop for Incoming {
    /// However the exchange ends, by a cut for instance: who reads the body, a thread perhaps, learns it.
    fn drop(&mut self) {
        self.inbound.fail(BodyError::Disconnected);
    }
}

impl Incoming {
    /// Nobody reads any more, and more has been thrown away than it is worth.
    fn is_unwanted(&self, core: &Core) -> bool {
        self.discarded > core.shared.config.limits.drain_bytes_max
    }

    /// Takes one event out of the input. False when more bytes are needed for it.
    fn take<S: ByteStream>(&mut self, wire: &mut Wire<S>, machine: &mut Connection) -> Result<bool, End> {
        let core = wire.link.core.clone();
        let step = match machine.handle_input(wire.input.bytes(), &mut self.head, &core.shared.config.limits.protocol) {
            Ok(step) => step,
            Err(reason) => {
                self.inbound.fail(BodyError::Malformed);
                return Err(End::Fault(reason));
            }
        };
        match step.event {
            Event::Body(span) => {
                let (lease, start) = wire.input.share();
                self.bytes += span.len() as u64;
                if self.inbound.push(lease.slice(start + span.start()..start + span.end())).is_err() {
                    self.discarded += span.len() as u64;
                }
            }
            Event::Trailers => {
                let bytes = wire.input.bytes();
                let fields = self.head.fields.iter().map(|field| (field.name.of(bytes), field.value.of(bytes)));
                self.trailers = Some(header_map(fields));
            }
            Event::End => {
                self.inbound.finish(self.trailers.take());
                self.is_ended = true;
            }
            Event::NeedInput => {
                wire.input.consume(step.consumed);
                return Ok(false);
            }
            Event::Request(_) | Event::Busy | Event::Closed => self.is_ended = true,
        }
        wire.input.consume(step.consumed);
        Ok(true)
    }
}
