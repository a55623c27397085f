//! What a thread and the core share of one socket: messages in both directions, each bounded.

use crate::websocket::{Cargo, CloseFrame, SocketError};
use bytes::Bytes;
use ringgate_protocols::websocket::{close::CloseCode, message::Kind};
use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

/// Bytes that may wait between thread and core in each direction: as much as a socket's own queue holds by default.
pub(super) const LINE_BYTES_MAX: usize = 65_536;

/// What one empty message counts in the line, so that many of them are bounded too.
const MESSAGE_BYTES_MIN: usize = 64;

/// What the line counts for so many bytes.
pub(super) fn weight(bytes: usize) -> usize {
    bytes.max(MESSAGE_BYTES_MIN)
}

/// A message, or a part of one, on its way to the thread.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) kind: Kind,
    pub(super) bytes: Bytes,
    pub(super) first: bool,
    pub(super) last: bool,
}

/// What the thread asks of the core, in order.
#[derive(Debug)]
pub(super) enum Command {
    Send(Cargo),
    Begin(Kind),
    Fragment(Bytes, bool),
    Ping(Bytes),
    Close(CloseCode, String),
}

impl Command {
    pub(super) fn weight(&self) -> usize {
        weight(match self {
            Self::Send(cargo) => cargo.len(),
            Self::Fragment(bytes, _) => bytes.len(),
            Self::Begin(_) | Self::Ping(_) | Self::Close(..) => 0,
        })
    }
}

/// How the thread takes what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wants {
    Messages,
    Pieces,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    state: Mutex<LineState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct LineState {
    pub(super) inbound: VecDeque<Inbound>,
    pub(super) inbound_bytes: usize,
    /// The end of what comes in: in good order, or an error to be told once.
    pub(super) inbound_end: Option<Option<SocketError>>,
    /// Until the thread asks for something nothing is fetched: it might not want whole messages.
    pub(super) wants: Option<Wants>,
    /// The thread has taken everything, and waits for more.
    pub(super) is_asking: bool,
    /// The core fetches no more until there is room.
    pub(super) is_full: bool,
    /// The peer's Close waits for the thread to reply, and the thread has not come for the next message since.
    pub(super) holds_close: bool,
    pub(super) close: Option<CloseFrame>,
    pub(super) outbound: VecDeque<Command>,
    pub(super) outbound_bytes: usize,
    /// Why nothing can be sent.
    pub(super) outbound_end: Option<SocketError>,
    /// The thread has said its Close.
    pub(super) is_closing: bool,
    pub(super) receiver_gone: bool,
    pub(super) sender_gone: bool,
    pub(super) core: Option<Waker>,
}

impl Line {
    /// Every change is complete before a call that could panic, so a poisoned lock is still good.
    pub(super) fn lock(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the core has changed something.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, LineState>) -> MutexGuard<'a, LineState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the threads that the core has changed something.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// The next thing that has come, for a thread that takes it so. Blocks.
    pub(super) fn fetch(&self, wants: Wants) -> Option<Result<Inbound, SocketError>> {
        let mut state = self.lock();
        loop {
            if state.wants != Some(wants) {
                state.wants = Some(wants);
                state.wake();
            }
            if mem::take(&mut state.holds_close) {
                state.wake();
            }
            if let Some(inbound) = state.inbound.pop_front() {
                state.inbound_bytes -= weight(inbound.bytes.len());
                if state.is_full && state.inbound_bytes < LINE_BYTES_MAX {
                    state.is_full = false;
                    state.wake();
                }
                return Some(Ok(inbound));
            }
            match state.inbound_end {
                Some(Some(error)) => {
                    state.inbound_end = Some(None);
                    return Some(Err(error));
                }
                Some(None) => return None,
                None => {
                    state.is_asking = true;
                    state = self.wait(state);
                }
            }
        }
    }

    /// Hands a command over. Blocks while the line is full.
    pub(super) fn put(&self, command: Command) -> Result<(), SocketError> {
        let mut state = self.lock();
        loop {
            if let Some(error) = state.outbound_end {
                return Err(error);
            }
            if state.is_closing {
                return Err(SocketError::Closed);
            }
            if state.outbound_bytes < LINE_BYTES_MAX {
                break;
            }
            state = self.wait(state);
        }
        state.push(command);
        Ok(())
    }

    /// Says the thread's Close, behind everything before it. Never blocks: there is only one.
    pub(super) fn close(&self, code: CloseCode, reason: &str) -> Result<(), SocketError> {
        let mut state = self.lock();
        match state.outbound_end {
            // It can still answer the peer's Close in its own words.
            None | Some(SocketError::Closed) if !state.is_closing => {}
            Some(SocketError::Disconnected) => return Err(SocketError::Disconnected),
            _ => return Err(SocketError::Closed),
        }
        state.is_closing = true;
        state.push(Command::Close(code, reason.to_owned()));
        Ok(())
    }

    /// Closes with 1011 where an end is dropped by a panic, whatever thread held it.
    pub(super) fn close_in_panic(&self) {
        if std::thread::panicking() {
            let _ = self.close(CloseCode::INTERNAL, "");
        }
    }

    /// Whether messages can still be sent.
    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        state.outbound_end.is_none() && !state.is_closing
    }

    /// The peer's Close.
    pub(super) fn close_frame(&self) -> Option<CloseFrame> {
        self.lock().close.clone()
    }
}

impl LineState {
    /// Wakes the core, if it has looked since it was last woken.
    pub(super) fn wake(&mut self) {
        if let Some(core) = self.core.take() {
            core.wake();
        }
    }

    fn push(&mut self, command: Command) {
        self.outbound_bytes += command.weight();
        self.outbound.push_back(command);
        self.wake();
    }

    /// Nothing more can be sent. True when that is news.
    pub(super) fn end_outbound(&mut self, error: SocketError) -> bool {
        let is_news = self.outbound_end.is_none();
        self.outbound_end.get_or_insert(error);
        is_news
    }
}

/// Tells the threads that nobody is there any more, however the core's side ends.
pub(super) struct Hold(pub(super) Arc<Line>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.inbound_end.get_or_insert(Some(SocketError::Disconnected));
        state.outbound_end.get_or_insert(SocketError::Disconnected);
        drop(state);
        self.0.notify();
    }
}
