//! A WebSocket on a thread of the crew: the mirror of the async one, "blocks" for "waits".

use crate::{
    blocking::{
        core::Core,
        line::{Command, Line, Wants},
        request::Request,
    },
    features::Protocol,
    websocket::{CloseFrame, Message, Outgoing, Piece, SocketError, WebSocket as CoreSocket},
};
use bytes::Bytes;
use ringgate_protocols::websocket::{
    close::{CloseCode, REASON_BYTES_MAX},
    message::Kind,
};
use ringgate_runtime::net::Address;
use std::{fmt, sync::Arc};

/// What a ping carries at most (RFC 6455 section 5.5).
const PING_BYTES_MAX: usize = 125;

/// A WebSocket on a thread of the crew. It holds its thread as long as it lives: for hundreds of sockets at a time
/// there is the async one.
///
/// It is an iterator over what the peer sends:
/// ```
/// use ringgate::{App, blocking, websocket::SocketError};
/// fn echo(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
///     while let Some(message) = socket.next() {
///         socket.send(message?)?;
///     }
///     Ok(())
/// }
/// # let app = App::new().route("/ws", echo);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/ws", &["one", "two"]), ["one", "two"]);
/// ```
///
/// As with the async one pings are answered, silence is pinged and the closing handshake is completed while the thread
/// does something else, up to the first message for which there is no room: 64 KiB are read ahead of a thread that has
/// begun to receive. A Close behind a message waits for the reply: it is answered when the thread has taken everything and
/// asks for more, or after a second. Dropping it, or the last of its halves, closes with 1000, a panic with 1011, a
/// drain of the gateway with 1001. A thread cannot be ended from outside: it learns from an error that nobody is there
/// any more.
pub struct WebSocket {
    request: Option<Request>,
    protocol: Protocol,
    subprotocol: Option<String>,
    is_deflated: bool,
    peer: Option<Address>,
    receiver: Receiver,
    sender: Sender,
}

impl WebSocket {
    pub(super) fn new(socket: &CoreSocket, request: Option<Request>, line: Arc<Line>, core: Core, number: u64) -> Self {
        Self {
            request,
            protocol: socket.protocol(),
            subprotocol: socket.subprotocol().map(str::to_owned),
            is_deflated: socket.is_deflated(),
            peer: socket.peer_address().cloned(),
            receiver: Receiver { line: line.clone(), is_inside: false },
            sender: Sender { line, core, number },
        }
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The opening request: path, parameters, fields, peer. It stays until it is taken.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The opening request, to be kept elsewhere. Has no body.
    pub fn take_request(&mut self) -> Option<Request> {
        self.request.take()
    }

    /// What the bytes travel over.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The subprotocol that was agreed on: the client's most wanted among those of the route.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Whether permessage-deflate was agreed on.
    #[must_use]
    pub fn is_deflated(&self) -> bool {
        self.is_deflated
    }

    /// The core this socket is on: its topics and counters.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.sender.core
    }

    /// The other end, if it has an address.
    #[must_use]
    pub fn peer_address(&self) -> Option<&Address> {
        self.peer.as_ref()
    }

    /// The next message, whole. Blocks. `None` is the end in good order ([`WebSocket::close_frame`] says how); after an
    /// error there is nothing more either.
    ///
    /// # Errors
    /// [`SocketError::Fault`] when the peer broke the protocol, [`SocketError::Disconnected`] when it left without a
    /// Close.
    pub fn recv(&mut self) -> Option<Result<Message, SocketError>> {
        self.receiver.recv()
    }

    /// The next piece of a message, as it comes from the wire: for messages too large to be held. Blocks. See
    /// [`Receiver::recv_piece`].
    ///
    /// # Errors
    /// As [`WebSocket::recv`].
    pub fn recv_piece(&mut self) -> Option<Result<Piece, SocketError>> {
        self.receiver.recv_piece()
    }

    /// Sends a message. See [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn send<'a>(&mut self, message: impl Into<Outgoing<'a>>) -> Result<(), SocketError> {
        self.sender.send(message)
    }

    /// Begins a message that is sent in fragments. See [`Sender::begin`].
    ///
    /// # Errors
    /// As [`Sender::begin`].
    pub fn begin(&mut self, kind: Kind) -> Result<MessageWriter<'_>, SocketError> {
        self.sender.begin(kind)
    }

    /// Sends a ping. See [`Sender::ping`].
    ///
    /// # Errors
    /// As [`Sender::ping`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SocketError> {
        self.sender.ping(payload)
    }

    /// Begins the closing handshake. See [`Sender::close`].
    ///
    /// # Errors
    /// As [`Sender::close`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SocketError> {
        self.sender.close(code, reason)
    }

    /// The peer's Close, once the end has been received.
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.receiver.close_frame()
    }

    /// Whether messages can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.sender.is_open()
    }

    /// Two halves, for two threads.
    ///
    /// ```
    /// use ringgate::{App, blocking};
    /// use std::{thread, time::Duration};
    /// fn clock(socket: blocking::WebSocket) {
    ///     let (mut sender, receiver) = socket.split();
    ///     thread::scope(|scope| {
    ///         scope.spawn(move || (0..).take_while(|tick| {
    ///             thread::sleep(Duration::from_millis(10));
    ///             sender.send(format!("tick {tick}")).is_ok()
    ///         }).count());
    ///         // An iterator too; it ends with the socket.
    ///         receiver.for_each(|message| println!("{message:?}"));
    ///     });
    /// }
    /// # let app = App::new().route("/clock", clock);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert_eq!(client::converse(app, "/clock", &["what time is it?"]), ["tick 0"]);
    /// ```
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
        f.debug_struct("WebSocket")
            .field("protocol", &self.protocol)
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// The receiving half: an iterator over what the peer sends. Dropped alone it means that what the peer says is thrown
/// away.
pub struct Receiver {
    line: Arc<Line>,
    /// A piece was given out and its message has not ended.
    is_inside: bool,
}

impl Receiver {
    /// The next message, whole. Blocks. See [`WebSocket::recv`].
    ///
    /// # Errors
    /// As [`WebSocket::recv`].
    pub fn recv(&mut self) -> Option<Result<Message, SocketError>> {
        // Mostly a message comes whole; in pieces only behind one that was asked for so.
        let mut assembly = Vec::new();
        loop {
            let inbound = match self.line.fetch(Wants::Messages)? {
                Ok(inbound) => inbound,
                Err(error) => return Some(Err(error)),
            };
            if inbound.first && inbound.last {
                self.is_inside = false;
                return Some(Ok(Message::new(inbound.kind, inbound.bytes.into())));
            }
            if self.is_inside && !inbound.first {
                self.is_inside = !inbound.last;
                continue;
            }
            self.is_inside = false;
            assembly.extend_from_slice(&inbound.bytes);
            if inbound.last {
                return Some(Ok(Message::new(inbound.kind, assembly.into())));
            }
        }
    }

    /// The next piece of a message, as it comes from the wire: for messages too large to be held. Blocks. Asking for
    /// whole messages in the middle of one passes over its rest.
    ///
    /// While no piece is asked for little of a message is read: the peer waits. Only behind a call of
    /// [`Receiver::recv`] the next message may have been put together already.
    /// ```
    /// use ringgate::{App, blocking, websocket::SocketError};
    /// use std::io::{self, Write};
    /// fn upload(mut socket: blocking::WebSocket) -> io::Result<()> {
    ///     let mut sink = io::sink();
    ///     while let Some(piece) = socket.recv_piece() {
    ///         let piece = piece?;
    ///         sink.write_all(&piece.bytes)?;
    ///         if piece.last {
    ///             socket.send("stored")?;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # let app = App::new().route("/upload", upload);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert_eq!(client::converse(app, "/upload", &["a part", "another"]), ["stored", "stored"]);
    /// ```
    ///
    /// # Errors
    /// As [`WebSocket::recv`].
    pub fn recv_piece(&mut self) -> Option<Result<Piece, SocketError>> {
        let fetched = self.line.fetch(Wants::Pieces)?;
        Some(fetched.map(|inbound| {
            self.is_inside = !inbound.last;
            Piece { kind: inbound.kind, bytes: inbound.bytes.into(), first: inbound.first, last: inbound.last }
        }))
    }

    /// The peer's Close, once the end has been received.
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.line.close_frame()
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
        self.line.close_in_panic();
        let mut state = self.line.lock();
        state.receiver_gone = true;
        state.inbound.clear();
        state.inbound_bytes = 0;
        state.wake();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("is_open", &self.line.is_open()).finish_non_exhaustive()
    }
}

/// The sending half. For an example of both see [`WebSocket::split`].
pub struct Sender {
    line: Arc<Line>,
    core: Core,
    /// The socket's, among those of its core.
    number: u64,
}

impl Sender {
    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Sends a message. Blocks while 64 KiB wait between this thread and the core, which waits itself while the outgoing
    /// queue is full, unless the route has chosen another [`QueuePolicy`](crate::websocket::QueuePolicy).
    ///
    /// # Errors
    /// [`SocketError::Closed`] once the closing handshake has begun, [`SocketError::Disconnected`] when the peer has
    /// gone, [`SocketError::Fault`] when it broke the protocol. What the core finds out only when it sends is told by a
    /// later call.
    pub fn send<'a>(&mut self, message: impl Into<Outgoing<'a>>) -> Result<(), SocketError> {
        self.line.put(Command::Send(message.into().into_cargo()))
    }

    /// Begins a message that is sent in fragments, as it is made: nothing of it is held. Compressed if that was agreed
    /// on.
    ///
    /// ```
    /// use ringgate::{blocking, websocket::{Kind, SocketError}};
    /// fn numbers(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
    ///     let mut writer = socket.begin(Kind::Text)?;
    ///     for number in 0..1000 {
    ///         writer.write(format!("{number}\n"))?;
    ///     }
    ///     writer.finish()
    /// }
    /// # let app = ringgate::App::new().route("/numbers", numbers);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert_eq!(client::converse(app, "/numbers", &[])[0].lines().count(), 1000);
    /// ```
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn begin(&mut self, kind: Kind) -> Result<MessageWriter<'_>, SocketError> {
        self.line.put(Command::Begin(kind))?;
        Ok(MessageWriter { sender: self, is_finished: false })
    }

    /// Sends a ping of at most 125 bytes. Blocks as [`Sender::send`]. The gateway pings silent peers by itself; the pong
    /// is not told.
    ///
    /// # Errors
    /// As [`Sender::send`], and [`SocketError::TooLong`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SocketError> {
        if payload.len() > PING_BYTES_MAX {
            return Err(SocketError::TooLong);
        }
        self.line.put(Command::Ping(Bytes::copy_from_slice(payload)))
    }

    /// Begins the closing handshake, behind everything that was sent before. What the peer had sent before can still be
    /// received; then `recv` says `None`. In answer to the peer's Close it says our own code and reason, if no answer has
    /// gone out yet.
    ///
    /// # Errors
    /// [`SocketError::Closed`] when a Close was sent already, [`SocketError::TooLong`] for a reason beyond 123 bytes.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SocketError> {
        if reason.len() > REASON_BYTES_MAX {
            return Err(SocketError::TooLong);
        }
        self.line.close(code, reason)
    }

    /// Whether messages can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.line.is_open()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.line.close_in_panic();
        let mut state = self.line.lock();
        state.sender_gone = true;
        state.wake();
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

/// A message on its way out in fragments: see [`Sender::begin`]. Dropping it before [`MessageWriter::finish`]
/// closes the socket with 1011: the peer must not take a part for the whole.
#[derive(Debug)]
pub struct MessageWriter<'a> {
    sender: &'a mut Sender,
    is_finished: bool,
}

impl MessageWriter<'_> {
    /// Sends the next bytes as a fragment. Text may be cut anywhere, and is UTF-8 as a whole. Blocks as
    /// [`Sender::send`], and while the outgoing queue is full, whatever the policy.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), SocketError> {
        self.sender.line.put(Command::Fragment(Bytes::copy_from_slice(bytes.as_ref()), false))
    }

    /// Ends the message.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn finish(mut self) -> Result<(), SocketError> {
        self.is_finished = true;
        self.sender.line.put(Command::Fragment(Bytes::new(), true))
    }
}

impl Drop for MessageWriter<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.sender.line.close(CloseCode::INTERNAL, "");
        }
    }
}
