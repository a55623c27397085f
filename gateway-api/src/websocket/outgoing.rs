//! What is sent: anything that is or becomes one message.

use crate::websocket::message::{Message, MessageBytes};
use bytes::Bytes;
use ringgate_protocols::websocket::message::{Kind, Prepared as Frames};
use ringgate_runtime::buffer::Lease;
use std::{fmt, sync::Arc};

/// A message to be sent. Texts, bytes, received messages and prepared ones turn into it.
///
/// Whether it is compressed, where that was negotiated, is the route's choice by length; a message can insist.
/// Secrets beside text that an attacker can choose had better not be compressed (the CRIME attack).
///
/// ```
/// use ringgate::websocket::Outgoing;
/// # use ringgate::{App, websocket::{SocketError, WebSocket}};
/// async fn secretive(mut socket: WebSocket) -> Result<(), SocketError> {
///     socket.send("hello").await?;
///     socket.send(Outgoing::from("token=4711").compressed(false)).await
/// }
/// # let app = App::new().route("/ws", secretive);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/ws", &[]), ["hello", "token=4711"]);
/// ```
pub struct Outgoing<'a> {
    pub(crate) kind: Kind,
    pub(crate) content: Content<'a>,
    pub(crate) compressed: Option<bool>,
}

#[repr(u64)] // Whole words, as a lease is: what was received passes through here on its way out.
pub(crate) enum Content<'a> {
    Borrowed(&'a [u8]),
    Lease(Lease),
    Shared(Bytes),
    Prepared(Prepared),
}

/// An [`Outgoing`] between a thread and a core.
#[derive(Debug)]
pub(crate) struct Cargo {
    kind: Kind,
    load: Load,
    compressed: Option<bool>,
}

#[derive(Debug)]
enum Load {
    Bytes(Bytes),
    Prepared(Prepared),
}

impl Cargo {
    /// Bytes of the payload.
    pub(crate) fn len(&self) -> usize {
        match &self.load {
            Load::Bytes(bytes) => bytes.len(),
            Load::Prepared(prepared) => prepared.frames.payload().len(),
        }
    }
}

impl From<Cargo> for Outgoing<'_> {
    fn from(cargo: Cargo) -> Self {
        let content = match cargo.load {
            Load::Bytes(bytes) => Content::Shared(bytes),
            Load::Prepared(prepared) => Content::Prepared(prepared),
        };
        Self { kind: cargo.kind, content, compressed: cargo.compressed }
    }
}

impl<'a> Outgoing<'a> {
    /// A message of this kind. Text must be UTF-8: a peer closes with 1007 over one that is not.
    #[must_use]
    pub fn new(kind: Kind, bytes: impl Into<MessageBytes>) -> Self {
        Self { kind, content: Content::Lease(bytes.into().lease), compressed: None }
    }

    fn borrowed(kind: Kind, bytes: &'a [u8]) -> Self {
        Self { kind, content: Content::Borrowed(bytes), compressed: None }
    }

    /// In a form that can pass between a thread and a core. Copies what is borrowed.
    pub(crate) fn into_cargo(self) -> Cargo {
        let load = match self.content {
            Content::Borrowed(bytes) => Load::Bytes(Bytes::copy_from_slice(bytes)),
            Content::Lease(lease) => Load::Bytes(lease.into_bytes()),
            Content::Shared(bytes) => Load::Bytes(bytes),
            Content::Prepared(prepared) => Load::Prepared(prepared),
        };
        Cargo { kind: self.kind, load, compressed: self.compressed }
    }

    /// Insists on compression, or on none, whatever the length.
    #[must_use]
    pub fn compressed(mut self, compressed: bool) -> Self {
        self.compressed = Some(compressed);
        self
    }
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("kind", &self.kind)
            .field("compressed", &self.compressed)
            .finish_non_exhaustive()
    }
}

impl<'a> From<&'a str> for Outgoing<'a> {
    fn from(text: &'a str) -> Self {
        Self::borrowed(Kind::Text, text.as_bytes())
    }
}

impl<'a> From<&'a String> for Outgoing<'a> {
    fn from(text: &'a String) -> Self {
        Self::borrowed(Kind::Text, text.as_bytes())
    }
}

impl From<String> for Outgoing<'_> {
    fn from(text: String) -> Self {
        Self { kind: Kind::Text, content: Content::Shared(text.into()), compressed: None }
    }
}

impl<'a> From<&'a [u8]> for Outgoing<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::borrowed(Kind::Binary, bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Outgoing<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::borrowed(Kind::Binary, bytes)
    }
}

impl From<Vec<u8>> for Outgoing<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Bytes> for Outgoing<'_> {
    fn from(bytes: Bytes) -> Self {
        Self { kind: Kind::Binary, content: Content::Shared(bytes), compressed: None }
    }
}

impl From<Lease> for Outgoing<'_> {
    fn from(lease: Lease) -> Self {
        Self::new(Kind::Binary, lease)
    }
}

impl From<Message> for Outgoing<'_> {
    #[inline]
    fn from(message: Message) -> Self {
        let (kind, bytes) = match message {
            Message::Text(text) => (Kind::Text, text.into_message_bytes()),
            Message::Binary(bytes) => (Kind::Binary, bytes),
        };
        Self { kind, content: Content::Lease(bytes.lease), compressed: None }
    }
}

impl<'a> From<&'a Message> for Outgoing<'a> {
    fn from(message: &'a Message) -> Self {
        Self::borrowed(message.kind(), message.as_bytes())
    }
}

impl From<&Prepared> for Outgoing<'_> {
    fn from(prepared: &Prepared) -> Self {
        prepared.clone().into()
    }
}

impl From<Prepared> for Outgoing<'_> {
    fn from(prepared: Prepared) -> Self {
        Self { kind: prepared.kind(), compressed: prepared.compressed, content: Content::Prepared(prepared) }
    }
}

/// A message framed once, and compressed once for each negotiated form, to be sent on many sockets of any core, and by
/// any thread. A clone is the same message.
///
/// ```
/// use ringgate::{App, websocket::{Prepared, SocketError, WebSocket}};
/// // Framed when the application is made, and never again.
/// let hello = Prepared::text("hello, everybody");
/// let app = App::new().route("/ws", move |mut socket: WebSocket| {
///     let hello = hello.clone();
///     async move { socket.send(&hello).await }
/// });
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/ws", &[]), ["hello, everybody"]);
/// ```
#[derive(Clone)]
pub struct Prepared {
    pub(crate) frames: Arc<Frames>,
    /// As in [`Outgoing`].
    compressed: Option<bool>,
}

impl Prepared {
    /// A text message.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::of(Kind::Text, text.as_bytes())
    }

    /// A binary message.
    #[must_use]
    pub fn binary(bytes: &[u8]) -> Self {
        Self::of(Kind::Binary, bytes)
    }

    fn of(kind: Kind, bytes: &[u8]) -> Self {
        Self { frames: Arc::new(Frames::new(kind, bytes)), compressed: None }
    }

    /// Text or binary.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.frames.kind()
    }
}

impl From<Outgoing<'_>> for Prepared {
    fn from(outgoing: Outgoing<'_>) -> Self {
        let prepared = match outgoing.content {
            Content::Borrowed(bytes) => Self::of(outgoing.kind, bytes),
            Content::Lease(lease) => Self::of(outgoing.kind, &lease),
            Content::Shared(bytes) => Self::of(outgoing.kind, &bytes),
            Content::Prepared(prepared) => prepared,
        };
        Self { compressed: outgoing.compressed, ..prepared }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.kind()).finish()
    }
}
