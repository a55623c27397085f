//! The core's side of a socket that a thread holds: what has come goes into the line, what the thread has said goes to
//! the wire.

use crate::{
    blocking::{
        core::{Core, SocketNumber},
        line::{Command, Hold, Inbound, LINE_BYTES_MAX, Line, LineState, Wants, weight},
        run::full,
        websocket::WebSocket,
    },
    request::Request,
    response::Response,
    websocket::{SocketError, WebSocket as CoreSocket, socket::milliseconds, upgrade::Conversation},
};
use ringgate_runtime::offload::{Full, Offloaded};
use std::{
    any::Any,
    future::Future,
    mem,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, MutexGuard},
    task::{Context, Poll},
};

/// A conversation on a thread; true when it failed.
pub(crate) type SocketFn = dyn Fn(WebSocket) -> bool + Send + Sync;

/// Begins a conversation on a thread; with the crew full it is refused before the handshake is answered.
pub(crate) fn begin(run: Arc<SocketFn>, mut socket: CoreSocket) -> Result<Conversation, Response> {
    let core = socket.core().clone();
    let line = Arc::new(Line::default());
    let request = socket.take_request();
    let job = request.as_ref().and_then(Request::job);
    let (door, number) = (Core::of(&core), SocketNumber::of(&core, socket.shared()));
    let request = request.map(|request| request.copy_for_thread(&door));
    let mirror = WebSocket::new(&socket, request, line.clone(), door, number.get());
    let conversation = move || {
        let _job = job;
        run(mirror)
    };
    socket.shared().state.borrow_mut().reads_ahead = true;
    match core.crew().run(conversation) {
        Ok(job) => Ok(Box::pin(Bridge {
            socket,
            hold: Hold(line),
            job,
            outcome: None,
            command: None,
            is_inside: false,
            _number: number,
        })),
        Err(Full) => Err(full(&core.shared.counters)),
    }
}

/// How the conversation on the thread has ended.
enum Outcome {
    Done,
    Failed,
    /// To be passed on to who runs conversations on the core, once everything that was said before is out.
    Panicked(Box<dyn Any + Send>),
}

struct Bridge {
    socket: CoreSocket,
    hold: Hold,
    job: Offloaded<bool>,
    outcome: Option<Outcome>,
    /// Taken from the line, waits for room on the wire.
    command: Option<Command>,
    /// The thread has the beginning of a message, and not its end.
    is_inside: bool,
    _number: SocketNumber,
}

impl Drop for Bridge {
    /// A thread that is still busy with something else learns, when it looks, that the peer has closed.
    fn drop(&mut self) {
        let is_left = self.socket.shared().state.borrow().ready.is_some();
        if let Some(close) = self.socket.close_frame().filter(|_| !is_left) {
            let mut state = self.hold.0.lock();
            state.close = Some(close);
            state.inbound_end.get_or_insert(None);
            state.end_outbound(SocketError::Closed);
        }
    }
}

impl Future for Bridge {
    type Output = Result<(), ()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_all(cx).map(|failed| if failed { Err(()) } else { Ok(()) })
    }
}

impl Bridge {
    /// True when the conversation failed.
    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.outcome.is_none()
            && let Poll::Ready(done) = Pin::new(&mut self.job).poll(cx)
        {
            self.outcome = Some(match done {
                Ok(false) => Outcome::Done,
                Ok(true) => Outcome::Failed,
                Err(panicked) => Outcome::Panicked(panicked.0),
            });
        }
        let line = self.hold.0.clone();
        // Before anything is looked at: what the thread does from now on calls for another look.
        line.lock().core = Some(cx.waker().clone());
        // What the thread has said comes before the end that it may be about to hear of.
        let has_sent = self.send(&line, cx);
        let has_received = self.receive(&line, cx);
        let has_ended = self.tell_end(&line);
        if has_sent || has_received || has_ended {
            line.notify();
        }
        let state = line.lock();
        let is_drained = self.command.is_none() && state.outbound.is_empty();
        let is_left = state.receiver_gone && state.sender_gone;
        drop(state);
        match &self.outcome {
            Some(Outcome::Failed) if is_drained => Poll::Ready(true),
            // Halves may live on, on threads of the handler's own.
            Some(Outcome::Done) if is_drained && is_left => Poll::Ready(false),
            Some(Outcome::Panicked(_)) if is_drained => match self.outcome.take() {
                Some(Outcome::Panicked(panic)) => resume_unwind(panic),
                _ => Poll::Ready(true),
            },
            _ => Poll::Pending,
        }
    }

    /// Hands over what has come, as far as it is wanted and there is room. Whether anything changed for the thread.
    fn receive(&mut self, line: &Line, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        loop {
            let mut state = line.lock();
            if self.has_replied(&state) {
                self.socket.shared().state.borrow_mut().is_replying = false;
            }
            let wants = match state.wants {
                _ if state.inbound_end.is_some() => return changed,
                _ if state.receiver_gone => Wants::Pieces,
                None => return changed,
                Some(_) if state.inbound_bytes >= LINE_BYTES_MAX => {
                    state.is_full = true;
                    self.allow_reply(&mut state);
                    return changed;
                }
                // What was begun in pieces goes on so, up to its end.
                Some(_) if self.is_inside => Wants::Pieces,
                Some(wants) => wants,
            };
            drop(state);
            match self.poll_inbound(wants, cx) {
                Poll::Ready(received) => changed |= self.put(line.lock(), received),
                Poll::Pending if self.socket.shared().state.borrow().holds_close() => {
                    let mut state = line.lock();
                    if !self.has_replied(&state) {
                        self.allow_reply(&mut state);
                        return changed;
                    }
                }
                Poll::Pending => return changed,
            }
        }
    }

    /// Whatever the thread had to say to what has come is said, and on its way.
    fn has_replied(&self, state: &LineState) -> bool {
        (state.is_asking || state.receiver_gone) && state.outbound.is_empty() && self.command.is_none()
    }

    /// Where the peer's Close waits for a reply: the time for that begins with its message.
    fn allow_reply(&self, line: &mut LineState) {
        let state = &mut *self.socket.shared().state.borrow_mut();
        if state.holds_close() && !mem::replace(&mut line.holds_close, true) {
            state.machine.excuse(milliseconds(self.socket.core()));
        }
    }

    fn poll_inbound(&mut self, wants: Wants, cx: &mut Context<'_>) -> Poll<Option<Result<Inbound, SocketError>>> {
        match wants {
            Wants::Messages => self.socket.poll_recv(cx).map_ok(|message| {
                let (kind, bytes) = (message.kind(), message.into_bytes());
                Inbound { kind, bytes, first: true, last: true }
            }),
            Wants::Pieces => self.socket.shared().poll_piece(cx).map_ok(|piece| Inbound {
                kind: piece.kind,
                bytes: piece.bytes.into_bytes(),
                first: piece.first,
                last: piece.last,
            }),
        }
    }

    fn put(&mut self, mut state: MutexGuard<'_, LineState>, received: Option<Result<Inbound, SocketError>>) -> bool {
        match received {
            Some(Ok(_)) if state.receiver_gone => return false,
            Some(Ok(inbound)) => {
                self.is_inside = !inbound.last;
                state.inbound_bytes += weight(inbound.bytes.len());
                state.inbound.push_back(inbound);
                state.is_asking = false;
            }
            Some(Err(error)) => state.inbound_end = Some(Some(error)),
            None => {
                state.close = self.socket.close_frame();
                state.inbound_end = Some(None);
            }
        }
        true
    }

    /// Sends what the thread has left. Whether anything changed for it.
    fn send(&mut self, line: &Line, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        loop {
            let Some(command) = self.command.take().or_else(|| {
                let mut state = line.lock();
                let command = state.outbound.pop_front()?;
                state.outbound_bytes -= command.weight();
                changed = true;
                Some(command)
            }) else {
                break;
            };
            let shared = self.socket.shared();
            let needs_room = matches!(command, Command::Send(_) | Command::Fragment(..));
            let room = if needs_room { shared.poll_room(cx) } else { Poll::Ready(Ok(())) };
            let outcome = match (room, command) {
                (Poll::Pending, command) => {
                    self.command = Some(command);
                    break;
                }
                (Poll::Ready(Err(error)), _) => Err(error),
                (_, Command::Send(cargo)) => shared.write(cargo.into()),
                (_, Command::Begin(kind)) => shared.begin(kind, true),
                (_, Command::Fragment(bytes, last)) => shared.write_fragment(&bytes, last),
                (_, Command::Ping(payload)) => shared.ping(&payload),
                (_, Command::Close(code, reason)) => shared.close(Some(code), &reason),
            };
            if let Err(error) = outcome {
                changed |= line.lock().end_outbound(error);
            }
        }
        changed
    }

    /// A thread that says nothing learns of the end all the same. Whether that is news to it.
    fn tell_end(&self, line: &Line) -> bool {
        let sendable = self.socket.shared().state.borrow().sendable();
        sendable.is_err_and(|error| line.lock().end_outbound(error))
    }
}
