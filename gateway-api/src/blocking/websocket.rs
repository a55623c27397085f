//! A WebSocket on a thread of the crew: the mirror of the async one, "blocks" for "waits".

use crate::{
    blocking::{request::Request, run::full},
    core::Core,
    features::Protocol,
    request,
    response::Response,
    websocket::{CloseFrame, Message, Outgoing, SocketError, WebSocket as CoreSocket, upgrade::Conversation},
};
use bytes::Bytes;
use ringgate_protocols::websocket::{close::CloseCode, message::Kind};
use ringgate_runtime::offload::{Full, Offloaded};
use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// A conversation on a thread; true when it failed.
pub(crate) type SocketFn = dyn Fn(WebSocket) -> bool + Send + Sync;

/// Bytes that may wait between thread and core in each direction.
const LINE_BYTES_MAX: usize = 65_536;

/// What one empty message counts in the line, so that many of them are bounded too.
const MESSAGE_BYTES_MIN: usize = 64;

/// A WebSocket on a thread of the crew. It holds its thread as long as it lives: for hundreds of sockets at a time
/// there is the async one.
///
/// It is an iterator over what the peer sends:
/// ```
/// use ringgate::{App, blocking};
/// fn echo(mut socket: blocking::WebSocket) {
///     while let Some(Ok(message)) = socket.recv() {
///         if socket.send(message).is_err() {
///             return;
///         }
///     }
/// }
/// # let _ = App::new().route("/ws", echo);
/// ```
pub struct WebSocket {
    request: Option<Request>,
    protocol: Protocol,
    subprotocol: Option<&'static str>,
    receiver: Receiver,
    sender: Sender,
}

impl WebSocket {
    /// The opening request: path, parameters, fields, peer.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The opening request, to be kept elsewhere.
    pub fn take_request(&mut self) -> Option<Request> {
        self.request.take()
    }

    /// What the bytes travel over.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The subprotocol that was agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol
    }

    /// The next message, whole. Blocks. `None` is the end in good order; after an error there is nothing more either.
    ///
    /// # Errors
    /// [`SocketError::Fault`] when the peer broke the protocol, [`SocketError::Disconnected`] when it left without a
    /// Close.
    pub fn recv(&mut self) -> Option<Result<Message, SocketError>> {
        self.receiver.recv()
    }

    /// Sends a message. Blocks while the line to the core is full.
    ///
    /// # Errors
    /// As the async `send`; an error of the wire is told by a later call.
    pub fn send<'a>(&mut self, message: impl Into<Outgoing<'a>>) -> Result<(), SocketError> {
        self.sender.send(message)
    }

    /// Sends a message piece by piece: `write` is called with something to write to, each write is a fragment.
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn begin(&mut self, kind: Kind) -> Result<MessageWriter<'_>, SocketError> {
        self.sender.begin(kind)
    }

    /// Begins the closing handshake.
    ///
    /// # Errors
    /// [`SocketError::TooLong`] for a reason beyond 123 bytes, and as [`WebSocket::send`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SocketError> {
        self.sender.close(code, reason)
    }

    /// The peer's Close, once it has come.
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.receiver.close_frame()
    }

    /// Two halves, for two threads.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Iterator for WebSocket {
    type Item = Result<Message, SocketError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// The receiving half: an iterator over what the peer sends.
#[derive(Debug)]
pub struct Receiver {
    line: Arc<Line>,
}

impl Receiver {
    /// The next message. See [`WebSocket::recv`].
    ///
    /// # Errors
    /// As [`WebSocket::recv`].
    pub fn recv(&mut self) -> Option<Result<Message, SocketError>> {
        let mut state = self.line.lock();
        loop {
            if let Some((kind, bytes)) = state.inbound.pop_front() {
                state.inbound_bytes -= bytes.len().max(MESSAGE_BYTES_MIN);
                state.wake();
                return Some(Ok(Message::new(kind, bytes.into())));
            }
            match state.inbound_end {
                Some(Some(error)) => {
                    state.inbound_end = Some(None);
                    return Some(Err(error));
                }
                Some(None) => return None,
                None => state = self.line.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The peer's Close, once it has come.
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.line.lock().close.clone()
    }
}

impl Iterator for Receiver {
    type Item = Result<Message, SocketError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.receiver_gone = true;
        state.inbound.clear();
        state.inbound_bytes = 0;
        state.wake();
    }
}

/// The sending half.
#[derive(Debug)]
pub struct Sender {
    line: Arc<Line>,
}

impl Sender {
    /// Sends a message. See [`WebSocket::send`].
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn send<'a>(&mut self, message: impl Into<Outgoing<'a>>) -> Result<(), SocketError> {
        let message = message.into();
        let (kind, compressed) = (message.kind, message.compressed);
        self.put(Command::Send { kind, bytes: message.into_bytes(), compressed })
    }

    /// Begins a message that is sent in fragments. See [`WebSocket::begin`].
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn begin(&mut self, kind: Kind) -> Result<MessageWriter<'_>, SocketError> {
        self.put(Command::Begin(kind))?;
        Ok(MessageWriter { sender: self, is_finished: false })
    }

    /// Begins the closing handshake.
    ///
    /// # Errors
    /// As [`WebSocket::close`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SocketError> {
        if reason.len() > ringgate_protocols::websocket::close::REASON_BYTES_MAX {
            return Err(SocketError::TooLong);
        }
        self.put(Command::Close(code, reason.to_owned()))
    }

    fn put(&mut self, command: Command) -> Result<(), SocketError> {
        let mut state = self.line.lock();
        while state.outbound_bytes >= LINE_BYTES_MAX && state.outbound_end.is_none() {
            state = self.line.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = state.outbound_end {
            return Err(error);
        }
        state.outbound_bytes += command.weight();
        state.outbound.push_back(command);
        state.wake();
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.sender_gone = true;
        state.wake();
    }
}

/// A message on its way out in fragments. Dropping it before [`MessageWriter::finish`] closes the socket with 1011.
#[derive(Debug)]
pub struct MessageWriter<'a> {
    sender: &'a mut Sender,
    is_finished: bool,
}

impl MessageWriter<'_> {
    /// Sends the next bytes as a fragment. Text may be cut anywhere, and is UTF-8 as a whole.
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), SocketError> {
        self.sender.put(Command::Fragment(Bytes::copy_from_slice(bytes.as_ref()), false))
    }

    /// Ends the message.
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn finish(mut self) -> Result<(), SocketError> {
        self.is_finished = true;
        self.sender.put(Command::Fragment(Bytes::new(), true))
    }
}

impl Drop for MessageWriter<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.sender.put(Command::Close(CloseCode::INTERNAL, String::new()));
        }
    }
}

/// What the thread asks of the core.
#[derive(Debug)]
enum Command {
    Send { kind: Kind, bytes: Bytes, compressed: Option<bool> },
    Begin(Kind),
    Fragment(Bytes, bool),
    Close(CloseCode, String),
}

impl Command {
    fn weight(&self) -> usize {
        match self {
            Self::Send { bytes, .. } | Self::Fragment(bytes, _) => bytes.len().max(MESSAGE_BYTES_MIN),
            Self::Begin(_) | Self::Close(..) => MESSAGE_BYTES_MIN,
        }
    }
}

/// What thread and core share.
#[derive(Debug, Default)]
struct Line {
    state: Mutex<LineState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LineState {
    inbound: VecDeque<(Kind, Bytes)>,
    inbound_bytes: usize,
    /// The end of what comes in: in good order, or an error to be told once.
    inbound_end: Option<Option<SocketError>>,
    close: Option<CloseFrame>,
    outbound: VecDeque<Command>,
    outbound_bytes: usize,
    outbound_end: Option<SocketError>,
    receiver_gone: bool,
    sender_gone: bool,
    core: Option<Waker>,
}

impl Line {
    /// Every change is complete before a call that could panic, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LineState {
    fn wake(&mut self) {
        if let Some(core) = self.core.take() {
            core.wake();
        }
    }
}

/// Tells the thread that nobody is there any more, however the core's side ends.
struct Hold {
    line: Arc<Line>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.inbound_end.get_or_insert(Some(SocketError::Disconnected));
        state.outbound_end.get_or_insert(SocketError::Disconnected);
        drop(state);
        self.line.changed.notify_all();
    }
}

/// Begins a conversation on a thread; with the crew full it is refused before the handshake is answered.
pub(crate) fn begin(run: Arc<SocketFn>, mut socket: CoreSocket) -> Result<Conversation, Response> {
    let core: Core = socket.core().clone();
    let line = Arc::new(Line::default());
    let request = socket.take_request();
    let job = request.as_ref().and_then(request::Request::job);
    let request = request.map(|request| request.copy_for_thread());
    let (protocol, subprotocol) = (socket.protocol(), socket.subprotocol_static());
    let (receiver, sender) = (Receiver { line: line.clone() }, Sender { line: line.clone() });
    let mirror = WebSocket { request, protocol, subprotocol, receiver, sender };
    let conversation = move || {
        let _job = job;
        run(mirror)
    };
    match core.crew().run(conversation) {
        Ok(job) => Ok(Box::pin(Bridge { socket, hold: Hold { line }, job, outcome: None, command: None })),
        Err(Full) => Err(full(&core.shared.counters)),
    }
}

/// The core's side.
struct Bridge {
    socket: CoreSocket,
    hold: Hold,
    job: Offloaded<bool>,
    outcome: Option<bool>,
    /// Taken from the line, waits for room on the wire.
    command: Option<Command>,
}

impl Future for Bridge {
    type Output = Result<(), ()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_all(cx).map(|failed| if failed { Err(()) } else { Ok(()) })
    }
}

impl Bridge {
    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.outcome.is_none()
            && let Poll::Ready(done) = Pin::new(&mut self.job).poll(cx)
        {
            match done {
                Ok(outcome) => self.outcome = Some(outcome),
                Err(panicked) => resume_unwind(panicked.0),
            }
        }
        let line = self.hold.line.clone();
        let changed_in = self.receive(&line, cx);
        let (changed_out, is_drained) = self.send(&line, cx);
        if changed_in || changed_out {
            line.changed.notify_all();
        }
        match self.outcome {
            Some(outcome) if is_drained => Poll::Ready(outcome),
            _ => Poll::Pending,
        }
    }

    /// Hands over what has come, as far as there is room.
    fn receive(&mut self, line: &Line, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        loop {
            let mut state = line.lock();
            if state.inbound_end.is_some() {
                return changed;
            }
            if state.inbound_bytes >= LINE_BYTES_MAX && !state.receiver_gone {
                state.core = Some(cx.waker().clone());
                return changed;
            }
            drop(state);
            let Poll::Ready(received) = self.socket.poll_recv(cx) else { return changed };
            let mut state = line.lock();
            changed = true;
            match received {
                Some(Ok(_)) if state.receiver_gone => {}
                Some(Ok(message)) => {
                    let kind = message.kind();
                    let bytes = message.into_bytes();
                    state.inbound_bytes += bytes.len().max(MESSAGE_BYTES_MIN);
                    state.inbound.push_back((kind, bytes));
                }
                Some(Err(error)) => state.inbound_end = Some(Some(error)),
                None => {
                    state.close = self.socket.close_frame();
                    state.inbound_end = Some(None);
                }
            }
        }
    }

    /// Sends what the thread has left. Whether anything changed for it, and whether all is sent.
    fn send(&mut self, line: &Line, cx: &mut Context<'_>) -> (bool, bool) {
        let mut changed = false;
        loop {
            let command = match self.command.take() {
                Some(command) => command,
                None => {
                    let mut state = line.lock();
                    let Some(command) = state.outbound.pop_front() else {
                        state.core = Some(cx.waker().clone());
                        return (changed, true);
                    };
                    state.outbound_bytes -= command.weight();
                    changed = true;
                    command
                }
            };
            let shared = self.socket.shared();
            let outcome = match &command {
                Command::Close(code, reason) => shared.close(Some(*code), reason),
                _ => match shared.poll_room(cx) {
                    Poll::Pending => {
                        self.command = Some(command);
                        return (changed, false);
                    }
                    Poll::Ready(Err(error)) => Err(error),
                    Poll::Ready(Ok(())) => match command {
                        Command::Send { kind, bytes, compressed } => {
                            let mut outgoing = Outgoing::new(kind, bytes);
                            outgoing.compressed = compressed;
                            shared.write(outgoing)
                        }
                        Command::Begin(kind) => shared.begin(kind, true),
                        Command::Fragment(bytes, last) => shared.write_fragment(&bytes, last),
                        Command::Close(..) => Ok(()),
                    },
                },
            };
            if let Err(error) = outcome {
                let mut state = line.lock();
                state.outbound_end.get_or_insert(error);
                state.outbound.clear();
                changed = true;
            }
        }
    }
}
