//! The object a handler holds, and its halves.

use crate::{
    core::Core,
    features::Protocol,
    request::Request,
    websocket::{
        error::SocketError,
        message::{Message, MessageBytes},
        outgoing::Outgoing,
        socket::Socket,
        state::{CloseFrame, Piece},
    },
};
use futures_core::Stream;
use futures_sink::Sink;
use ringgate_protocols::websocket::{close::CloseCode, message::Kind};
use ringgate_runtime::net::Address;
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// A WebSocket on the core that accepted it. Neither handler nor caller knows whether the bytes travel over HTTP/1.1
/// or an HTTP/2 stream.
///
/// Pings are answered, silence is pinged and the closing handshake is completed while the handler does something else, up
/// to the first message that it has not received: nothing is read past that, so that the peer feels it. A Close behind a
/// message waits for the reply: it is answered when the handler asks for the next message, or after a second. Then nothing
/// more is sent.
///
/// When the object, or the last of its halves, is dropped, the socket closes with 1000; a panic of whoever holds it or one
/// of them closes with 1011, a drain of the gateway with 1001. Once the connection is over, a handler that does not notice
/// is dropped after `close_timeout_ms`.
///
/// ```
/// use ringgate::{App, websocket::{Message, SocketError, WebSocket}};
/// async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
///     while let Some(message) = socket.recv().await {
///         match message? {
///             Message::Text(text) => socket.send(text.as_str()).await?,
///             binary => socket.send(binary).await?,
///         }
///     }
///     Ok(())
/// }
/// # let app = App::new().route("/ws", echo);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/ws", &["one", "two"]), ["one", "two"]);
/// ```
pub struct WebSocket {
    /// Boxed: it is gone when the handler waits, and handlers hold this object twice.
    request: Option<Box<Request>>,
    socket: Rc<Socket>,
}

impl WebSocket {
    pub(crate) fn new(socket: Rc<Socket>, request: Request) -> Self {
        Self { request: Some(Box::new(request)), socket }
    }

    pub(crate) fn shared(&self) -> &Rc<Socket> {
        &self.socket
    }

    /// The opening request: path, parameters, fields, peer. Its memory is given back when `recv` first waits: an idle
    /// socket holds no head. `None` from then on; [`WebSocket::take_request`] keeps it.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.request.as_deref()
    }

    /// The opening request, to be kept as long as it is needed. Has no body.
    pub fn take_request(&mut self) -> Option<Request> {
        let mut request = *self.request.take()?;
        request.detach();
        Some(request)
    }

    /// What the bytes travel over.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.shared().protocol
    }

    /// The subprotocol that was agreed on: the client's most wanted among those of the route.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.shared().subprotocol()
    }

    /// Whether permessage-deflate was agreed on.
    #[must_use]
    pub fn is_deflated(&self) -> bool {
        self.shared().state.borrow().machine.parameters().is_some()
    }

    /// The core this socket is on.
    #[must_use]
    pub fn core(&self) -> &Core {
        self.shared().core()
    }

    /// The other end, if it has an address.
    #[must_use]
    pub fn peer_address(&self) -> Option<&Address> {
        self.shared().link.peer.as_ref()
    }

    /// The next message, whole. `None` is the end in good order ([`WebSocket::close_frame`] says how); after an error
    /// there is nothing more either.
    ///
    /// Cancel safe: a message that was not given out is given out next time.
    ///
    /// # Errors
    /// [`SocketError::Fault`] when the peer broke the protocol, [`SocketError::Disconnected`] when it left without a
    /// Close.
    #[inline]
    pub fn recv(&mut self) -> Receiving<'_> {
        Receiving { socket: self }
    }

    /// Poll form of [`WebSocket::recv`].
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, SocketError>>> {
        match self.socket.take_message() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => self.poll_recv_slowly(cx).map_ok(|(kind, bytes)| Message::new(kind, bytes)),
        }
    }

    #[inline(never)]
    fn poll_recv_slowly(&mut self, cx: &Context<'_>) -> Poll<Option<Result<(Kind, MessageBytes), SocketError>>> {
        let polled = self.socket.poll_message_slowly(cx);
        if polled.is_pending() {
            self.request = None;
        }
        polled
    }

    /// The next piece of a message, as it comes from the wire: for messages too large to be held. See
    /// [`Receiver::recv_piece`].
    ///
    /// # Errors
    /// As [`WebSocket::recv`].
    pub async fn recv_piece(&mut self) -> Option<Result<Piece, SocketError>> {
        poll_fn(|cx| self.socket.poll_piece(cx)).await
    }

    /// Sends a message. See [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    #[inline]
    pub fn send<'a>(&'a mut self, message: impl Into<Outgoing<'a>>) -> Sending<'a> {
        Sending { socket: &self.socket, message: Some(message.into()) }
    }

    /// Begins a message that is sent in fragments. See [`Sender::begin`].
    ///
    /// # Errors
    /// As [`Sender::begin`].
    pub fn begin(&mut self, kind: Kind) -> Result<MessageWriter<'_>, SocketError> {
        MessageWriter::begin(&self.socket, kind)
    }

    /// Sends a ping. See [`Sender::ping`].
    ///
    /// # Errors
    /// As [`Sender::ping`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SocketError> {
        self.socket.ping(payload)
    }

    /// Begins the closing handshake. See [`Sender::close`].
    ///
    /// # Errors
    /// As [`Sender::close`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SocketError> {
        self.socket.close(Some(code), reason)
    }

    /// The peer's Close, once it has come.
    ///
    /// ```
    /// use ringgate::websocket::{CloseCode, SocketError, WebSocket};
    /// # static GOODBYES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    /// async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
    ///     while let Some(message) = socket.recv().await {
    ///         socket.send(message?).await?;
    ///     }
    ///     match socket.close_frame() {
    ///         Some(close) if close.code == Some(CloseCode::NORMAL) => {
    /// #           GOODBYES.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    ///             println!("it said goodbye: {}", close.reason);
    ///         }
    ///         close => println!("it left like this: {close:?}"),
    ///     }
    ///     Ok(())
    /// }
    /// # let app = ringgate::App::new().route("/echo", echo);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert_eq!(client::converse(app, "/echo", &["one"]), ["one"]);
    /// # assert_eq!(GOODBYES.load(std::sync::atomic::Ordering::SeqCst), 1);
    /// ```
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.socket.state.borrow().close().cloned()
    }

    /// Whether messages can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared().is_open()
    }

    /// Two halves, for two tasks of this core.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        self.socket.split();
        (Sender { socket: self.socket.clone() }, Receiver { socket: self.socket.clone() })
    }
}

/// The next message, to be awaited: see [`WebSocket::recv`]. Dropped before it is done, nothing is lost.
#[must_use = "nothing is received until it is awaited"]
#[derive(Debug)]
pub struct Receiving<'a> {
    socket: &'a mut WebSocket,
}

impl Future for Receiving<'_> {
    type Output = Option<Result<Message, SocketError>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.socket.poll_recv(cx)
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.socket.leave(true, true);
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("protocol", &self.protocol())
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// The receiving half. Dropped alone it means that what the peer says is thrown away.
///
/// ```
/// use ringgate::websocket::WebSocket;
/// use std::time::Duration;
/// async fn clock(socket: WebSocket) {
///     let handle = socket.core().handle().clone();
///     let (mut sender, mut receiver) = socket.split();
///     let ticks = handle.spawn("ticks", {
///         let handle = handle.clone();
///         async move {
///             while sender.send("tick").await.is_ok() {
///                 handle.sleep(Duration::from_secs(1)).await;
///             }
///         }
///     });
///     while let Some(Ok(_)) = receiver.recv().await {}
///     drop(ticks); // it ends with the conversation
/// }
/// # let app = ringgate::App::new().route("/clock", clock);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/clock", &["what time is it?"]), ["tick"]);
/// ```
pub struct Receiver {
    socket: Rc<Socket>,
}

impl Receiver {
    /// The next message, whole. See [`WebSocket::recv`].
    ///
    /// # Errors
    /// As [`WebSocket::recv`].
    pub async fn recv(&mut self) -> Option<Result<Message, SocketError>> {
        poll_fn(|cx| self.socket.poll_message(cx)).await
    }

    /// The next piece of a message, as it comes from the wire: for messages too large to be held. Asking for whole
    /// messages in the middle of one passes over its rest. The limits on messages hold for those in pieces too. Cancel safe,
    /// as [`WebSocket::recv`].
    ///
    /// ```
    /// use ringgate::websocket::{SocketError, WebSocket};
    /// async fn measure(mut socket: WebSocket) -> Result<(), SocketError> {
    ///     let mut bytes = 0;
    ///     while let Some(piece) = socket.recv_piece().await {
    ///         let piece = piece?;
    ///         bytes += piece.bytes.len();
    ///         if piece.last {
    ///             socket.send(format!("{bytes} bytes")).await?;
    ///             bytes = 0;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # let app = ringgate::App::new().route("/measure", measure);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert_eq!(client::converse(app, "/measure", &["hello", ""]), ["5 bytes", "0 bytes"]);
    /// ```
    ///
    /// # Errors
    /// As [`WebSocket::recv`].
    pub async fn recv_piece(&mut self) -> Option<Result<Piece, SocketError>> {
        poll_fn(|cx| self.socket.poll_piece(cx)).await
    }

    /// The peer's Close, once it has come.
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.socket.state.borrow().close().cloned()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.socket.leave(true, false);
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("is_open", &self.socket.is_open()).finish_non_exhaustive()
    }
}

/// The sending half. For an example of both see [`Receiver`].
pub struct Sender {
    socket: Rc<Socket>,
}

impl Sender {
    pub(crate) fn shared(&self) -> &Rc<Socket> {
        &self.socket
    }

    /// Sends a message: it leaves at the end of this turn, together with all others of it. Waits while the outgoing
    /// queue is full, unless the route has chosen another [`QueuePolicy`](crate::websocket::QueuePolicy).
    ///
    /// # Errors
    /// [`SocketError::Closed`] once the closing handshake has begun, [`SocketError::Disconnected`] when the peer has
    /// gone, [`SocketError::Fault`] when it broke the protocol.
    #[inline]
    pub fn send<'a>(&'a mut self, message: impl Into<Outgoing<'a>>) -> Sending<'a> {
        Sending { socket: &self.socket, message: Some(message.into()) }
    }

    /// Begins a message that is sent in fragments, as it is made: nothing of it is held. Compressed if that was agreed
    /// on.
    ///
    /// ```
    /// use ringgate::websocket::{Kind, SocketError, WebSocket};
    /// async fn numbers(mut socket: WebSocket) -> Result<(), SocketError> {
    ///     let mut writer = socket.begin(Kind::Text)?;
    ///     for number in 0..1000 {
    ///         writer.write(format!("{number}\n")).await?;
    ///     }
    ///     writer.finish().await
    /// }
    /// # let app = ringgate::App::new().route("/numbers", numbers);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert_eq!(client::converse(app, "/numbers", &[])[0].lines().count(), 1000);
    /// ```
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn begin(&mut self, kind: Kind) -> Result<MessageWriter<'_>, SocketError> {
        MessageWriter::begin(&self.socket, kind)
    }

    /// Sends a ping of at most 125 bytes. The gateway pings silent peers by itself; the pong is not told. Where the outgoing
    /// queue is full none is sent: the peer has enough to answer for.
    ///
    /// # Errors
    /// As [`Sender::send`], and [`SocketError::TooLong`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SocketError> {
        self.socket.ping(payload)
    }

    /// Begins the closing handshake. What the peer had sent before can still be received; then `recv` says `None`. In
    /// answer to the peer's Close it says our own code and reason, if no answer has gone out yet.
    ///
    /// # Errors
    /// [`SocketError::Closed`] when a Close was sent already, [`SocketError::TooLong`] for a reason beyond 123 bytes.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SocketError> {
        self.socket.close(Some(code), reason)
    }

    /// Whether messages can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.socket.is_open()
    }
}

/// A message on its way into the outgoing queue: see [`Sender::send`]. Dropped before it is done, nothing was sent.
#[must_use = "nothing is sent until it is awaited"]
#[derive(Debug)]
pub struct Sending<'a> {
    socket: &'a Socket,
    message: Option<Outgoing<'a>>,
}

impl Future for Sending<'_> {
    type Output = Result<(), SocketError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let socket = self.socket;
        socket.poll_write(&mut self.message, cx)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.socket.leave(false, true);
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
    socket: &'a Socket,
    is_finished: bool,
}

impl<'a> MessageWriter<'a> {
    fn begin(socket: &'a Socket, kind: Kind) -> Result<Self, SocketError> {
        socket.begin(kind, true)?;
        Ok(Self { socket, is_finished: false })
    }

    /// Sends the next bytes as a fragment. Text may be cut anywhere, and is UTF-8 as a whole. Waits while the outgoing
    /// queue is full, whatever the policy. Dropped before it is done, these bytes are not sent: go on with the same ones, or
    /// drop the writer.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), SocketError> {
        poll_fn(|cx| self.socket.poll_room(cx)).await?;
        self.socket.write_fragment(bytes.as_ref(), false)
    }

    /// Ends the message. Waits as [`MessageWriter::write`]; dropped while it waits, it closes the socket with 1011.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn finish(mut self) -> Result<(), SocketError> {
        poll_fn(|cx| self.socket.poll_room(cx)).await?;
        self.is_finished = true;
        self.socket.write_fragment(&[], true)
    }
}

impl Drop for MessageWriter<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.socket.close(Some(CloseCode::INTERNAL), "");
        }
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, SocketError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx)
    }
}

impl Stream for Receiver {
    type Item = Result<Message, SocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.socket.poll_message(cx)
    }
}

macro_rules! sink {
    ($object:ty) => {
        impl Sink<Message> for $object {
            type Error = SocketError;

            fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
                self.socket.poll_room(cx)
            }

            fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
                self.socket.write(message.into())
            }

            /// Ready when everything has been handed to the wire.
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
                self.socket.poll_handed_over(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
                self.socket.poll_closed(cx)
            }
        }
    };
}

sink!(Sender);
sink!(WebSocket);
