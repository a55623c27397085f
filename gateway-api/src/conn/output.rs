//! Responses on their way out over HTTP/1: into the block, or lent from where they are.

use crate::{
    config::COPIED_BYTES_MAX,
    core::Core,
    features::{Features, TrailersForm},
    request::Request,
    response::{Payload, Response},
    stream::{Chunk, Content},
    websocket::upgrade::Upgrade,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ringgate_protocols::http1::{
    close::CloseReason,
    connection::Connection,
    encode::{BodyFraming, BodyLength, Opening, ResponseHead},
    error::{Fault, Misuse},
    event::Then,
};
use ringgate_runtime::buffer::{Piece, SendBuf};

/// What has become of a response.
pub(crate) enum Written {
    /// It is in the block, as a whole.
    Whole(Then),
    /// Its head is in the block; the body comes by and by.
    Begun(Payload, Option<Box<HeaderMap>>),
    /// The 101 is in the block: the connection is a WebSocket's.
    Upgraded(Box<Upgrade>),
}

/// Writes what can be written of a response at once. What a handler got wrong becomes a 500.
#[inline]
pub(crate) fn respond(machine: &mut Connection, core: &Core, buf: &mut SendBuf, response: &mut Response) -> Written {
    if write_ordinary(machine, core, buf, response) {
        return Written::Whole(Then::KeepAlive);
    }
    write(machine, core, buf, response).unwrap_or_else(|_| misused(machine, core, buf))
}

/// Writes and counts what most responses are: short, whole, nothing special about them. False, and nothing is written, if
/// it is another.
#[inline]
fn write_ordinary(machine: &mut Connection, core: &Core, buf: &mut SendBuf, response: &Response) -> bool {
    let body = match &response.body {
        Payload::Empty => Some(&[][..]),
        body => body.at_hand(),
    };
    let Some(body) = body.filter(|body| body.len() <= COPIED_BYTES_MAX) else { return false };
    let fields = ours_aside(&response.fields);
    let ordinary = |opening: &Opening| machine.send_ordinary(buf.tail(), opening, fields, body);
    let is_written = with_opening(core, response.status, response.content_type, ordinary);
    if is_written {
        core.shared.counters.response(response.status);
    }
    is_written
}

/// Writes and counts any other, as far as it can be written at once.
fn write(machine: &mut Connection, core: &Core, buf: &mut SendBuf, response: &mut Response) -> Result<Written, Misuse> {
    let written = begin(machine, core, buf, response)?;
    core.shared.counters.response(response.status);
    Ok(written)
}

/// Calls `write` with the beginning of the head of a response of this status and type.
#[inline]
fn with_opening<R>(
    core: &Core,
    status: StatusCode,
    content_type: Option<&'static str>,
    write: impl FnOnce(&Opening) -> R,
) -> R {
    let shared = &core.shared;
    shared.openings.with(shared.handle.now(), status, content_type, || shared.date(), write)
}

/// The fields of a response, without those that the gateway sends itself.
#[inline]
fn ours_aside(fields: &[(HeaderName, HeaderValue)]) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let ours = |name: &HeaderName| *name == header::DATE || *name == header::SERVER;
    fields.iter().filter(move |(name, _)| !ours(name)).map(|(name, value)| (name, value))
}

/// The same without those that the framing makes of its own.
fn framing_aside(fields: &[(HeaderName, HeaderValue)]) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    ours_aside(fields).filter(|(name, _)| *name != header::TRANSFER_ENCODING && *name != header::CONTENT_LENGTH)
}

fn begin(machine: &mut Connection, core: &Core, buf: &mut SendBuf, response: &mut Response) -> Result<Written, Misuse> {
    let output_bytes_max = core.shared.config.limits.output_bytes_max;
    // These have none. (A 304 tells the length of the body that it goes without.)
    if matches!(response.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        response.body = Payload::Empty;
    }
    let is_head = machine.answers_head();
    let announced = response.announced_length(is_head);
    with_opening(core, response.status, response.content_type, |opening| {
        let block = opening.block();
        let head = ResponseHead { status: response.status, block, fields: framing_aside(&response.fields) };
        let body: &[u8] = match &response.body {
            Payload::Empty => &[],
            Payload::Static(bytes) => bytes,
            Payload::Bytes(bytes) => bytes,
            Payload::Upgrade(_) => {
                machine.send_switch(buf.tail(), block, head.fields)?;
                return Ok(match std::mem::take(&mut response.body) {
                    Payload::Upgrade(upgrade) => Written::Upgraded(upgrade),
                    body => Written::Begun(body, None),
                });
            }
            Payload::Stream { .. } | Payload::Writer { .. } => {
                let length = announced.map_or(BodyLength::Unknown, BodyLength::Known);
                let framing = machine.send_head(buf.tail(), head, length)?;
                return match framing {
                    BodyFraming::None => Ok(Written::Whole(machine.send_end(buf.tail(), [])?)),
                    BodyFraming::Tunnel => Ok(Written::Whole(Then::Switch)),
                    _ => Ok(Written::Begun(std::mem::take(&mut response.body), response.trailers.take())),
                };
            }
        };
        // What goes without its body, HEAD and 304, may tell another length, or none.
        let is_plain = announced.map_or(!is_head, |length| length == body.len() as u64);
        if body.len() <= COPIED_BYTES_MAX && is_plain {
            let limits = &core.shared.config.limits.protocol;
            return machine.send_response(buf.tail(), head, body, limits).map(Written::Whole);
        }
        let (length, is_long) = (body.len() as u64, body.len() > output_bytes_max);
        match machine.send_head(buf.tail(), head, announced.map_or(BodyLength::None, BodyLength::Known))? {
            BodyFraming::None => {}
            BodyFraming::Tunnel => return Ok(Written::Whole(Then::Switch)),
            _ if is_long => return Ok(Written::Begun(std::mem::take(&mut response.body), None)),
            _ => {
                machine.send_data_start(buf.tail(), length)?;
                buf.push(match std::mem::take(&mut response.body) {
                    Payload::Static(bytes) => Piece::Static(bytes),
                    Payload::Bytes(bytes) => Piece::Shared(bytes),
                    _ => unreachable!("the other bodies have no bytes at hand"),
                });
                machine.send_data_end(buf.tail(), length);
            }
        }
        machine.send_end(buf.tail(), []).map(Written::Whole)
    })
}

#[cold]
fn misused(machine: &mut Connection, core: &Core, buf: &mut SendBuf) -> Written {
    core.shared.counters.responses_misused.up();
    let mut response = Response::text("internal error\n").status(StatusCode::INTERNAL_SERVER_ERROR);
    // If the head was out already, only the end of the connection can tell the peer.
    let close = |misuse| Written::Whole(Then::Close(CloseReason::Misuse(misuse)));
    write(machine, core, buf, &mut response).unwrap_or_else(close)
}

/// Answers what the peer did wrong, if it can be answered; in any case nothing more is read.
pub(crate) fn fault(machine: &mut Connection, core: &Core, buf: &mut SendBuf, fault: Fault) {
    let status = fault.status();
    if with_opening(core, status, None, |opening| machine.send_fault(buf.tail(), fault, opening.block())) {
        core.shared.counters.requests_malformed.up();
        core.shared.counters.response(status);
    }
}

/// Writes a piece of a streamed body, or its trailers, which then are kept for the end.
pub(crate) fn data(
    machine: &mut Connection,
    buf: &mut SendBuf,
    chunk: Chunk,
    features: Features,
) -> Result<Option<Box<HeaderMap>>, Misuse> {
    match chunk.content {
        Content::Data(piece) => {
            let length = piece.as_slice().len();
            if length == 0 {
                return Ok(None);
            }
            machine.send_data_start(buf.tail(), length as u64)?;
            if length <= COPIED_BYTES_MAX {
                buf.tail().extend_from_slice(piece.as_slice());
            } else {
                buf.push(piece);
            }
            machine.send_data_end(buf.tail(), length as u64);
            Ok(None)
        }
        Content::Trailers { fields, form } => {
            let sent = features.trailers && machine.sends_trailers();
            if let Some(form) = form {
                form.set(Some(if sent { TrailersForm::Sent } else { TrailersForm::Dropped }));
            }
            Ok(Some(fields))
        }
    }
}

/// Ends a streamed body.
pub(crate) fn end(
    machine: &mut Connection,
    buf: &mut SendBuf,
    trailers: Option<&HeaderMap>,
    features: Features,
) -> Result<Then, Misuse> {
    let trailers = trailers.filter(|_| features.trailers);
    machine.send_end(buf.tail(), trailers.into_iter().flatten())
}

/// Sends early hints that a handler has left as a 103.
pub(crate) fn hints(machine: &mut Connection, core: &Core, buf: &mut SendBuf, request: &Request) {
    if !request.has_hints() || !request.features().early_hints {
        return;
    }
    let links = request.take_hints();
    let fields = links.iter().map(|link| (&header::LINK, link));
    if machine.send_interim(buf.tail(), StatusCode::EARLY_HINTS, fields) == Ok(true) {
        core.shared.counters.response(StatusCode::EARLY_HINTS);
    }
}

/// The same, ahead of the final response: what cannot go out as 103 becomes fields of the response.
#[inline]
pub(crate) fn hints_before(
    machine: &mut Connection,
    core: &Core,
    buf: &mut SendBuf,
    request: &Request,
    response: &mut Response,
) {
    if request.has_hints() {
        hints(machine, core, buf, request);
        request.take_hints().into_iter().for_each(|link| response.append(header::LINK, link));
    }
    request.set_answered();
}
