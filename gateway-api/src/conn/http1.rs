//! HTTP/1.0 and HTTP/1.1 on one connection: what comes in is answered in order, and leaves in one send.

use crate::{
    body::{Body, Inbound},
    conn::{
        exchange::Exchange,
        next::{Next, Upgraded},
        output::{self, Written},
        wire::Wire,
    },
    core::Core,
    dispatch::{Begun, Outcome, SHED},
    features::Features,
    request::Request,
};
use ringgate_protocols::{
    http::options::UpgradeOffer,
    http1::{
        connection::Connection,
        error::Fault,
        event::{Drain, Event, RequestFacts, Then},
        framing,
    },
    http2::upgrade::UpgradeSettings,
};
use ringgate_runtime::{buffer::SendBuf, net::ByteStream, time::Instant};
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// What a round over the input came to.
enum Flow {
    /// Everything complete is answered.
    Wait,
    /// As much is answered as may wait for the wire.
    Full,
    /// A handler that is not ready, a body, a stream: the exchange takes over.
    Exchange(Box<Exchange>),
    /// HTTP/1 is done with the socket.
    Done(Next),
}

/// Serves a connection until it ends. Between requests this future holds the socket and the timer, and nothing else:
/// a machine at rest is as good as a new one, and what a running exchange needs is boxed and exists as long as it runs.
///
/// Not an `async fn`, which would hold its argument twice, and nothing of a round's outcome is alive while the next one is
/// awaited: idle connections are counted in bytes.
#[expect(clippy::manual_async_fn, reason = "see above")]
pub(crate) fn serve<S: ByteStream>(wire: &mut Wire<S>) -> impl Future<Output = Next> + use<'_, S> {
    async move {
        let mut kept: Option<Box<Connection>> = None;
        loop {
            let exchange = match poll_fn(|cx| poll_kept(wire, &mut kept, cx)).await {
                Flow::Exchange(exchange) => exchange,
                Flow::Done(next) => return next,
                Flow::Wait | Flow::Full => continue,
            };
            let machine = kept.get_or_insert_default();
            let next = Box::pin(exchange.run(wire, machine)).await;
            if machine.is_idle() {
                kept = None;
            }
            if let Some(next) = next {
                return next;
            }
        }
    }
}

/// A round with the machine that was kept, or with a new one, which is kept only if it is in the middle of something.
fn poll_kept<S: ByteStream>(
    wire: &mut Wire<S>,
    kept: &mut Option<Box<Connection>>,
    cx: &mut Context<'_>,
) -> Poll<Flow> {
    if let Some(machine) = kept {
        let polled = poll_round(wire, machine, cx);
        if wire.is_at_rest && polled.is_pending() {
            *kept = None;
        }
        return polled;
    }
    let mut machine = Connection::new();
    let polled = poll_round(wire, &mut machine, cx);
    if !wire.is_at_rest {
        *kept = Some(Box::new(machine));
    }
    polled
}

/// Receives and answers, until there is something to do that takes longer than a turn.
fn poll_round<S: ByteStream>(wire: &mut Wire<S>, machine: &mut Connection, cx: &mut Context<'_>) -> Poll<Flow> {
    let mut is_fresh = wire.input.is_empty();
    loop {
        if !is_fresh {
            // One send at a time, and no answer before the last ones are on their way: a client that pipelines
            // without reading is not read.
            if wire.stream.is_sending() && ready!(wire.poll_flushed(cx)).is_err() {
                return Poll::Ready(Flow::Done(Next::Gone));
            }
            match answer(wire, machine, cx) {
                Flow::Wait => {}
                Flow::Full => continue,
                flow => return Poll::Ready(flow),
            }
        }
        is_fresh = false;
        match wire.poll_input(cx) {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) => return Poll::Ready(Flow::Done(end_of_input(wire, machine))),
            Poll::Ready(Err(_)) => return Poll::Ready(Flow::Done(Next::Gone)),
            Poll::Pending => return poll_quiet(wire, machine, cx).map(Flow::Done),
        }
    }
}

/// Nothing to read: the connection waits, until the deadline or a drain.
fn poll_quiet<S: ByteStream>(wire: &mut Wire<S>, machine: &mut Connection, cx: &mut Context<'_>) -> Poll<Next> {
    let is_idle = machine.is_idle() && wire.input.is_empty();
    if wire.core().shared.draining.get() {
        if is_idle {
            // Nothing is unread that could cost the peer its last response: no need for stages.
            return wire.poll_flushed(cx).map(|_| Next::Gone);
        }
        if machine.is_draining() {
            // It is answered, and no further request is wanted behind the rest of its body.
            return Poll::Ready(Next::Close);
        }
    }
    // While an answer is on its way, the time is the answer's.
    let is_late =
        if is_idle || wire.stream.is_sending() { wire.poll_deadline(cx) } else { wire.poll_head_deadline(cx) };
    ready!(is_late);
    let counters = &wire.core().shared.counters;
    if wire.stream.is_sending() {
        counters.timeouts_send.up();
        return Poll::Ready(Next::Gone);
    }
    if is_idle {
        counters.timeouts_idle.up();
        return Poll::Ready(Next::Close);
    }
    if machine.is_draining() {
        counters.timeouts_body.up();
        return Poll::Ready(Next::Close);
    }
    counters.timeouts_header.up();
    let mut buf = wire.core().handle().take_send_buf();
    output::fault(machine, wire.core(), &mut buf, Fault::HeaderTimeout);
    wire.send(buf);
    Poll::Ready(Next::Close)
}

/// The peer sends nothing more. What was asked is answered already.
fn end_of_input<S: ByteStream>(wire: &mut Wire<S>, machine: &mut Connection) -> Next {
    if machine.handle_end_of_input(wire.input.bytes()).is_err() {
        wire.core().shared.counters.disconnects.up();
    }
    Next::Close
}

/// The heart: every complete request in the input is dispatched, answered, and its answer put behind the others.
fn answer<S: ByteStream>(wire: &mut Wire<S>, machine: &mut Connection, cx: &mut Context<'_>) -> Flow {
    let core = wire.link.core.clone();
    let limits = &core.shared.config.limits;
    let mut buf = core.handle().take_send_buf();
    let mut request = core.shared.requests.take();
    let before = Stance::of(machine);
    // The clock stands still within a turn: all that is read now has the same time.
    let deadline = core.request_deadline();
    let mut has_answered = false;
    let flow = loop {
        if buf.len() > limits.output_bytes_max {
            break Flow::Full;
        }
        // Looked at where it lies: what was written field by field is slow to be copied as a whole.
        let read = machine.handle_input(wire.input.bytes(), request.head_mut(), &limits.protocol);
        let step = match &read {
            Ok(step) => step,
            Err(reason) => {
                output::fault(machine, &core, &mut buf, *reason);
                break Flow::Done(Next::Close);
            }
        };
        let facts = match &step.event {
            Event::Request(facts) => facts,
            Event::NeedInput => {
                wire.input.consume(step.consumed);
                break Flow::Wait;
            }
            // The rest of a body that nobody read: thrown away by the machine.
            Event::Body(_) | Event::Trailers | Event::End => {
                wire.input.consume(step.consumed);
                continue;
            }
            Event::Busy | Event::Closed => break Flow::Done(Next::Close),
        };
        let inbound = accept(wire, &mut request, facts, step.consumed, deadline);
        if core.shared.draining.get() {
            machine.close_after_response();
        }
        if facts.upgrade == UpgradeOffer::H2c
            && let Some(settings) = switch_to_http2(&core, machine, &mut buf, &request, facts)
        {
            let request = std::mem::replace(&mut request, core.shared.requests.take());
            let upgraded = Upgraded { request, settings, buf: std::mem::take(&mut buf) };
            break Flow::Done(Next::Http2(Box::new(upgraded)));
        }
        let mut ready = None;
        let (route, future) = wire.table.begin_into(&core, &mut request, &mut ready);
        if route == SHED {
            machine.close_after_response();
        }
        if let Some(future) = future {
            let mut begun = Begun { route, outcome: Outcome::Pending(future) };
            // Without a body to read it may well be ready at once, and then costs no more than an inline one.
            let polled = inbound.is_none().then(|| wire.table.poll(&core, &mut begun, cx));
            let Some(Poll::Ready(response)) = polled else {
                let shared = std::mem::replace(&mut request, core.shared.requests.take());
                break Flow::Exchange(Box::new(Exchange::of_handler(&core, shared, begun, inbound)));
            };
            ready = Some(response);
        }
        let Some(response) = &mut ready else { unreachable!("a handler without a future has answered") };
        wire.table.run_after(&core, route, &request, response);
        output::hints_before(machine, &core, &mut buf, &request, response);
        match output::respond(machine, &core, &mut buf, response) {
            Written::Whole(Then::KeepAlive) => {}
            Written::Whole(Then::Drain) => match machine.begin_drain(&limits.protocol) {
                Drain::Done | Drain::Reading => {}
                Drain::Close(_) => break Flow::Done(Next::Close),
            },
            Written::Whole(Then::Close(_) | Then::Switch) => break Flow::Done(Next::Close),
            Written::Upgraded(upgrade) => {
                break Flow::Done(Next::Upgrade(Box::new((*upgrade, std::mem::take(&mut buf)))));
            }
            Written::Begun(payload, trailers) => {
                let shared = std::mem::replace(&mut request, core.shared.requests.take());
                let exchange = Exchange::of_handler(&core, shared, Begun::answered(route), inbound);
                let buf = std::mem::take(&mut buf);
                break Flow::Exchange(Box::new(exchange.with_response(buf, payload, trailers)));
            }
        }
        has_answered = true;
        if !request.is_unshared() {
            // A handler keeps it; the next request gets a shell of its own.
            request = core.shared.requests.take();
        }
    };
    wire.send(buf);
    core.shared.requests.give(request);
    set_deadline(wire, machine, before, has_answered);
    flow
}

/// Sends 101 if the gateway takes `Upgrade: h2c` and the request may be upgraded: no body (RFC 7540 section 3.2), and
/// exactly one valid `HTTP2-Settings`, named by `Connection` (section 3.2.1). Otherwise it is an ordinary request.
#[cold]
fn switch_to_http2(
    core: &Core,
    machine: &mut Connection,
    buf: &mut SendBuf,
    request: &Request,
    facts: &RequestFacts,
) -> Option<UpgradeSettings> {
    if !core.shared.config.is_h2c_upgraded || facts.body != framing::Body::None || !facts.http2_settings {
        return None;
    }
    let mut values = request.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"http2-settings"));
    let (Some((_, value)), None) = (values.next(), values.next()) else { return None };
    let settings = UpgradeSettings::parse(value)?;
    let h2c = http::HeaderValue::from_static("h2c");
    machine.send_switch(buf.tail(), b"", [(&http::header::UPGRADE, &h2c)]).ok()?;
    core.shared.counters.response(http::StatusCode::SWITCHING_PROTOCOLS);
    Some(settings)
}

/// What a connection waits for between two answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stance {
    /// A request.
    Idle,
    /// The rest of a body that nobody read.
    Draining,
    /// The rest of a head.
    Head,
}

impl Stance {
    fn of(machine: &Connection) -> Self {
        match machine.is_idle() {
            true => Self::Idle,
            false if machine.is_draining() => Self::Draining,
            false => Self::Head,
        }
    }
}

/// Each stance has its time from when it begins. The first head since accept has it from then on.
fn set_deadline<S: ByteStream>(wire: &mut Wire<S>, machine: &Connection, before: Stance, has_answered: bool) {
    let timeouts = &wire.link.core.shared.config.timeouts;
    let (idle, header) = (timeouts.idle_timeout_ms, timeouts.header_timeout_ms);
    let stance = Stance::of(machine);
    // Whatever it waits for now, it is another request's.
    let is_next = has_answered || (before == Stance::Draining && stance != before);
    wire.has_served |= has_answered;
    // After stray line ends, which are counted, the machine is idle and not at rest.
    wire.is_at_rest = is_next && stance == Stance::Idle;
    if !is_next && stance == before {
        return;
    }
    match stance {
        Stance::Idle => wire.allow(idle),
        Stance::Draining => wire.allow(header),
        Stance::Head => {
            if wire.has_served {
                wire.allow(header);
            }
            wire.begin_head();
        }
    }
}

/// Makes the head that the machine has read a request of this connection. Answers the driver's end of its body.
fn accept<S: ByteStream>(
    wire: &mut Wire<S>,
    request: &mut Request,
    facts: &RequestFacts,
    consumed: usize,
    deadline: Option<Instant>,
) -> Option<Rc<Inbound>> {
    let config = &wire.link.core.shared.config;
    if let Some((lease, start)) = wire.input.lease() {
        request.locate(lease, start);
    }
    wire.input.consume(consumed);
    let is_new = request.version() != http::Version::HTTP_10;
    let features = Features {
        trailers: is_new && facts.accepts_trailers && !facts.is_head,
        early_hints: is_new,
        push: false,
        streaming: is_new,
        full_duplex: facts.body != framing::Body::None,
        keep_alive: facts.keep_alive,
        multiplexed: false,
        upgrade: facts.upgrade != UpgradeOffer::None,
        websocket: facts.upgrade == UpgradeOffer::WebSocket && facts.body == framing::Body::None,
    };
    request.attach(&wire.link, features, deadline);
    let declared = match facts.body {
        framing::Body::None => return None,
        framing::Body::Known(bytes) => Some(bytes),
        framing::Body::Chunked => None,
    };
    let limits = &config.limits;
    let inbound = Inbound::new(declared, limits.body_bytes_max, limits.body_buffer_bytes_max);
    request.set_body(Body::new(inbound.clone()));
    Some(inbound)
}
