//! What is received: messages, and the bytes they are made of.

use bytes::Bytes;
use ringgate_protocols::websocket::message::Kind;
use ringgate_runtime::buffer::Lease;
use std::{fmt, ops::Deref};

/// Bytes of a message, where they are: in the received buffer, unmasked in place, or in memory that can be shared.
///
/// A message that is kept keeps the buffer it came in; what is to live long is better copied ([`MessageBytes::into_bytes`]).
///
/// ```
/// use ringgate::websocket::MessageBytes;
/// let bytes = MessageBytes::from(vec![1, 2, 3]);
/// assert_eq!((bytes.len(), &bytes[1..]), (3, &[2, 3][..])); // as a slice
/// assert_eq!(bytes.into_bytes(), [1, 2, 3].as_slice());
/// ```
#[derive(Clone)]
pub struct MessageBytes {
    pub(crate) lease: Lease,
}

impl MessageBytes {
    /// The bytes, free of the core and its buffers. Copies unless they are memory of their own already.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.lease.into_bytes()
    }
}

impl Deref for MessageBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.lease
    }
}

impl AsRef<[u8]> for MessageBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Lease> for MessageBytes {
    #[inline]
    fn from(lease: Lease) -> Self {
        Self { lease }
    }
}

impl From<Bytes> for MessageBytes {
    fn from(bytes: Bytes) -> Self {
        Lease::from_bytes(bytes).into()
    }
}

impl From<Vec<u8>> for MessageBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Lease::from_vec(bytes).into()
    }
}

impl PartialEq for MessageBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for MessageBytes {}

impl fmt::Debug for MessageBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageBytes({} bytes)", self.len())
    }
}

/// The text of a message: UTF-8, judged as it arrived.
///
/// ```
/// use ringgate::websocket::{Message, Text};
/// let Message::Text(text) = Message::from("grün") else { panic!("a text") };
/// assert!(text.ends_with("n")); // as a `str`
/// assert_eq!((text.as_str(), text.as_bytes().len()), ("grün", 5));
/// assert_eq!(text, Text::from("grün"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    bytes: MessageBytes,
}

impl Text {
    /// Only for bytes that the machine has judged, or that come from a `str`.
    pub(crate) fn new(bytes: MessageBytes) -> Self {
        Self { bytes }
    }

    /// The text. The bytes are looked through once more at each call: this crate has no unsafe code to skip that.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// The text as bytes, at no cost.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes themselves.
    #[must_use]
    pub fn into_message_bytes(self) -> MessageBytes {
        self.bytes
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes().into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A whole message, however many frames it came in.
///
/// ```
/// use ringgate::websocket::Message;
/// let message = Message::from("hello");
/// assert_eq!(message.to_text(), Some("hello"));
/// assert_eq!(message.as_bytes(), b"hello");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(u64)] // As its bytes are: whole words, which a move need not put together.
pub enum Message {
    /// Valid UTF-8.
    Text(Text),
    /// Any bytes.
    Binary(MessageBytes),
}

impl Message {
    pub(crate) fn new(kind: Kind, bytes: MessageBytes) -> Self {
        match kind {
            Kind::Text => Self::Text(Text::new(bytes)),
            Kind::Binary => Self::Binary(bytes),
        }
    }

    /// Text or binary.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    /// The payload, of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn to_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Binary(_) => None,
        }
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// True when there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, of either kind.
    #[must_use]
    pub fn into_message_bytes(self) -> MessageBytes {
        match self {
            Self::Text(text) => text.into_message_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload, free of the core and its buffers.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.into_message_bytes().into_bytes()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes.into())
    }
}
