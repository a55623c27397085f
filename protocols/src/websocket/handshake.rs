//! The opening handshake, RFC 6455 section 4.2, and its form on an HTTP/2 stream, RFC 8441.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::Version;
use sha1::{Digest, Sha1};

use crate::http::head::Head;
use crate::websocket::negotiation::{DeflateConfig, Negotiated, is_token, is_well_formed, negotiate};

/// What every key is hashed with, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key.
///
/// ```
/// use ringgate_protocols::websocket::handshake::accept_key;
/// assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[must_use]
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(hash.finalize(), &mut accept);
    debug_assert_eq!(written, Ok(28), "20 bytes make 28 characters");
    accept
}

/// Why a request does not become a WebSocket. It is answered as an ordinary request, and the next bytes are HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Refusal {
    /// It asks for no upgrade to WebSocket: 426.
    NotAnUpgrade,
    /// It asks for a version other than 13 (section 4.4): 426.
    Version,
    /// It asks for a version other than 13 on an HTTP/2 stream, where nothing can be upgraded: 400.
    VersionOnStream,
    /// It breaks section 4.2.1: 400.
    Malformed,
    /// Its origin is not welcome (section 4.2.2, step 4): 403. The gateway's policy says so, not this module.
    Origin,
    /// Its `:protocol` is not `websocket` (RFC 8441 section 4): 501.
    Protocol,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NotAnUpgrade | Self::Version => 426,
            Self::Malformed | Self::VersionOnStream => 400,
            Self::Origin => 403,
            Self::Protocol => 501,
        }
    }

    /// Fields the answer must have. `Connection: upgrade` goes with Upgrade (RFC 9110 section 7.8).
    #[must_use]
    pub const fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // RFC 9110 section 15.5.22: a 426 "MUST" name the protocol in Upgrade.
            Self::NotAnUpgrade | Self::Version => {
                &[("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13")]
            }
            Self::VersionOnStream => &[("sec-websocket-version", "13")],
            Self::Malformed | Self::Origin | Self::Protocol => &[],
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebSocket refused with {}: {self:?}", self.status())
    }
}

impl std::error::Error for Refusal {}

/// A request that may become a WebSocket. What it offers is read from the head when asked for.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    head: &'a Head,
    bytes: &'a [u8],
    accept: Option<[u8; 28]>,
}

impl<'a> Handshake<'a> {
    /// Judges an HTTP/1.1 request, section 4.2.1. `bytes` is the buffer the spans of `head` refer to.
    ///
    /// # Errors
    /// The [`Refusal`]; the request is then an ordinary one.
    pub fn judge(head: &'a Head, bytes: &'a [u8]) -> Result<Self, Refusal> {
        // RFC 9110 section 7.8: Upgrade is ignored in HTTP/1.0.
        if head.version != Version::HTTP_11
            || !listed(head, bytes, b"upgrade", b"websocket")
            || !listed(head, bytes, b"connection", b"upgrade")
        {
            return Err(Refusal::NotAnUpgrade);
        }
        if head.method != Method::GET || head.authority.is_empty() {
            return Err(Refusal::Malformed);
        }
        if single(head, bytes, b"sec-websocket-version")? != Some(b"13") {
            return Err(Refusal::Version);
        }
        let key = single(head, bytes, b"sec-websocket-key")?.ok_or(Refusal::Malformed)?;
        // 4.2.1: "a base64-encoded value that, when decoded, is 16 bytes in length."
        let mut nonce = [0; 18];
        if key.len() != 24 || STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
            return Err(Refusal::Malformed);
        }
        judge_lists(head, bytes)?;
        Ok(Self { head, bytes, accept: Some(accept_key(key)) })
    }

    /// Judges an extended CONNECT, RFC 8441 sections 4 and 5, whose `:protocol` is given. There is no key: the stream
    /// itself shows that both sides mean the same request. It is answered with 200.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn judge_stream(head: &'a Head, bytes: &'a [u8], protocol: &[u8]) -> Result<Self, Refusal> {
        if protocol != b"websocket" {
            return Err(Refusal::Protocol);
        }
        if head.method != Method::CONNECT || head.authority.is_empty() || head.target.is_empty() {
            return Err(Refusal::Malformed);
        }
        if single(head, bytes, b"sec-websocket-version")? != Some(b"13") {
            return Err(Refusal::VersionOnStream);
        }
        judge_lists(head, bytes)?;
        Ok(Self { head, bytes, accept: None })
    }

    /// The value of Sec-WebSocket-Accept; none on an HTTP/2 stream.
    #[must_use]
    pub const fn accept(&self) -> Option<[u8; 28]> {
        self.accept
    }

    /// The status that accepts: 101, or 200 on an HTTP/2 stream.
    #[must_use]
    pub const fn status(&self) -> u16 {
        if self.accept.is_some() { 101 } else { 200 }
    }

    /// The subprotocols offered, the most wanted first (section 11.3.4).
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        elements(self.head, self.bytes, b"sec-websocket-protocol").filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// The client's most wanted subprotocol among those the application speaks. Only an offered one may be answered, and
    /// only one (section 4.2.2).
    #[must_use]
    pub fn choose_subprotocol(&self, spoken: &[&str]) -> Option<&'a str> {
        self.subprotocols().find(|offered| spoken.contains(offered))
    }

    /// What becomes of the offers of permessage-deflate.
    #[must_use]
    pub fn negotiate(&self, config: &DeflateConfig) -> Option<Negotiated> {
        negotiate(values(self.head, self.bytes, b"sec-websocket-extensions"), config)
    }

    /// The Origin field, which browsers always send (section 10.2). `Err` if there is more than one.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn origin(&self) -> Result<Option<&'a [u8]>, Refusal> {
        single(self.head, self.bytes, b"origin")
    }

    /// True when there is no Origin, or it names the host and port of this request: the policy to begin with (W-15). A
    /// missing port means that of the origin's scheme.
    #[must_use]
    pub fn is_same_host(&self) -> bool {
        match self.origin() {
            Ok(None) => true,
            Ok(Some(origin)) => is_same_host(origin, self.head.authority.of(self.bytes)),
            Err(_) => false,
        }
    }
}

/// True when `origin` (RFC 6454 section 7) and `authority` name the same host and port.
///
/// ```
/// use ringgate_protocols::websocket::handshake::is_same_host;
/// assert!(is_same_host(b"https://example.org", b"Example.org:443"));
/// assert!(!is_same_host(b"https://example.org.attacker.net", b"example.org"));
/// assert!(!is_same_host(b"null", b"example.org"));
/// ```
#[must_use]
pub fn is_same_host(origin: &[u8], authority: &[u8]) -> bool {
    let (port, origin) = if let Some(rest) = strip_scheme(origin, b"http://") {
        (b"80".as_slice(), rest)
    } else if let Some(rest) = strip_scheme(origin, b"https://") {
        (b"443".as_slice(), rest)
    } else {
        return false;
    };
    let ((origin_host, origin_port), (host, own_port)) = (host_and_port(origin), host_and_port(authority));
    !host.is_empty()
        && origin_host.eq_ignore_ascii_case(host)
        && origin_port.unwrap_or(port) == own_port.unwrap_or(port)
}

fn strip_scheme<'a>(origin: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = origin.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Splits at the colon behind the host; colons inside the brackets of an IPv6 address are part of it.
fn host_and_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match authority.iter().rposition(|&byte| byte == b':' || byte == b']') {
        Some(place) if authority[place] == b':' => {
            let port = &authority[place + 1..];
            (&authority[..place], Some(port).filter(|port| !port.is_empty()))
        }
        _ => (authority, None),
    }
}

/// The values of all fields of this name.
fn values<'a>(head: &'a Head, bytes: &'a [u8], name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
    let fields = head.fields.iter().filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(name));
    fields.map(|field| field.value.of(bytes))
}

/// The elements of all fields of this name, which are lists (RFC 9110 section 5.6.1).
fn elements<'a>(head: &'a Head, bytes: &'a [u8], name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let pieces = values(head, bytes, name).flat_map(|value| value.split(|&byte| byte == b','));
    pieces.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn listed(head: &Head, bytes: &[u8], name: &'static [u8], wanted: &[u8]) -> bool {
    elements(head, bytes, name).any(|element| element.eq_ignore_ascii_case(wanted))
}

/// Section 4.2.1: "any violations of the ABNF grammar specified for the components of the handshake" end it with 400. What
/// is offered may be left out, but where it is not it is a list of at least one (section 4.3).
fn judge_lists(head: &Head, bytes: &[u8]) -> Result<(), Refusal> {
    let is_there = |name| values(head, bytes, name).next().is_some();
    let protocols = || elements(head, bytes, b"sec-websocket-protocol");
    if is_there(b"sec-websocket-protocol") && (protocols().next().is_none() || !protocols().all(is_token)) {
        return Err(Refusal::Malformed);
    }
    let extensions = b"sec-websocket-extensions";
    if is_there(extensions) && !is_well_formed(values(head, bytes, extensions)) {
        return Err(Refusal::Malformed);
    }
    Ok(())
}

/// The value of a field that may stand only once.
fn single<'a>(head: &'a Head, bytes: &'a [u8], name: &'static [u8]) -> Result<Option<&'a [u8]>, Refusal> {
    let mut values = values(head, bytes, name);
    let first = values.next();
    if values.next().is_some() { Err(Refusal::Malformed) } else { Ok(first) }
}
