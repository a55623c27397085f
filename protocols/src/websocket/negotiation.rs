//! The choice among the offers of permessage-deflate, RFC 7692 sections 5 and 7.1.

use crate::scan::class::TOKEN;
use crate::websocket::deflate::Parameters;

/// What the application allows.
///
/// # Memory
/// Without context takeover a connection holds 47 KiB to inflate while a compressed message comes in, and 372 KiB to deflate
/// while one goes out in fragments; otherwise nothing, since a core lends them. With it a direction keeps its own from the
/// first compressed message to the end of the connection. Deflating with the smallest window takes 246 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeflateConfig {
    /// We begin each message with an empty window even if the client does not ask: an idle connection then holds no
    /// deflating context, and prepared messages are shared between connections.
    pub server_no_context_takeover: bool,
    /// We ask the client to do the same, so that an idle connection holds no inflating context.
    pub client_no_context_takeover: bool,
    /// Largest window of ours, 9 to 15.
    pub server_window_bits_max: u8,
    /// Largest window of the client's, 9 to 15; below 15 it binds only clients that offer to be bound.
    pub client_window_bits_max: u8,
}

impl Default for DeflateConfig {
    /// No context takeover either way, full windows: memory only while a message is under way.
    fn default() -> Self {
        Self {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_window_bits_max: 15,
            client_window_bits_max: 15,
        }
    }
}

/// An offer that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// What holds from now on.
    pub parameters: Parameters,
    /// The answer says `server_max_window_bits`: it must when the offer did, also for the whole window (section 7.1.2.1).
    server_bits_told: bool,
    /// The answer says `client_max_window_bits`, which it may only if the offer did.
    client_bits_told: bool,
}

/// Writes the value of Sec-WebSocket-Extensions of the answer.
impl std::fmt::Display for Negotiated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAME)?;
        if self.parameters.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.parameters.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if self.server_bits_told {
            write!(f, "; server_max_window_bits={}", self.parameters.server_window_bits)?;
        }
        if self.client_bits_told {
            write!(f, "; client_max_window_bits={}", self.parameters.client_window_bits)?;
        }
        Ok(())
    }
}

const NAME: &str = "permessage-deflate";

/// Takes the first offer that can be accepted, of all offers in all Sec-WebSocket-Extensions fields. An offer that is ill
/// formed, unknown or beyond us is declined; the connection then goes on without it.
///
/// ```
/// use ringgate_protocols::websocket::negotiation::{DeflateConfig, negotiate};
/// let offers: [&[u8]; 1] = [b"permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits"];
/// let chosen = negotiate(offers.into_iter(), &DeflateConfig::default()).unwrap();
/// assert_eq!(
///     chosen.to_string(),
///     "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
/// );
/// ```
#[must_use]
pub fn negotiate<'a>(fields: impl Iterator<Item = &'a [u8]>, config: &DeflateConfig) -> Option<Negotiated> {
    fields.flat_map(|field| split(field, b',')).find_map(|offer| judge(offer, config))
}

/// Whether these fields are together a list of extensions by the grammar of RFC 6455 section 9.1. Whoever receives
/// anything else "MUST immediately Fail the WebSocket Connection"; what is well formed and unknown is only declined. So is a
/// value that is empty: it is taken for ill-valued (W-09).
pub(super) fn is_well_formed<'a>(fields: impl Iterator<Item = &'a [u8]>) -> bool {
    // An empty element does not count (RFC 9110 section 5.6.1.2), but there has to be one that is not.
    let mut offers =
        fields.flat_map(|field| split(field, b',')).filter(|offer| !offer.trim_ascii().is_empty()).peekable();
    offers.peek().is_some() && offers.all(is_extension)
}

fn is_extension(offer: &[u8]) -> bool {
    let mut parts = split(offer, b';');
    parts.next().is_some_and(|name| is_token(name.trim_ascii()))
        && parts.map(name_and_value).all(|(name, value)| is_token(name) && value.is_none_or(is_value))
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && TOKEN.has_all(bytes)
}

/// A token, a quoted one, or nothing.
fn is_value(value: &[u8]) -> bool {
    let [b'"', quoted @ .., b'"'] = value else { return TOKEN.has_all(value) };
    let mut bytes = quoted.iter();
    while let Some(&byte) = bytes.next() {
        let Some(&meant) = (if byte == b'\\' { bytes.next() } else { Some(&byte) }) else { return false };
        if !TOKEN.has(meant) {
            return false;
        }
    }
    true
}

/// A parameter, cut at its `=`.
fn name_and_value(part: &[u8]) -> (&[u8], Option<&[u8]>) {
    match part.iter().position(|&byte| byte == b'=') {
        Some(place) => (part[..place].trim_ascii(), Some(part[place + 1..].trim_ascii())),
        None => (part.trim_ascii(), None),
    }
}

/// The parameters of one offer as they are met; each may stand once.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_window_bits: Option<u8>,
    /// Outer: offered at all; inner: with a value.
    client_window_bits: Option<Option<u8>>,
}

fn judge(offer: &[u8], config: &DeflateConfig) -> Option<Negotiated> {
    let mut parts = split(offer, b';');
    if !parts.next()?.trim_ascii().eq_ignore_ascii_case(NAME.as_bytes()) {
        return None;
    }
    let mut met = Offer::default();
    for part in parts {
        let (name, value) = match name_and_value(part) {
            (name, Some(value)) => (name, Some(unquoted(value)?)),
            (name, None) => (name, None),
        };
        let fresh = match (name, value) {
            (b"server_no_context_takeover", None) => !std::mem::replace(&mut met.server_no_context_takeover, true),
            (b"client_no_context_takeover", None) => !std::mem::replace(&mut met.client_no_context_takeover, true),
            (b"server_max_window_bits", Some(value)) => met.server_window_bits.replace(bits(value)?).is_none(),
            (b"client_max_window_bits", None) => met.client_window_bits.replace(None).is_none(),
            (b"client_max_window_bits", Some(value)) => met.client_window_bits.replace(Some(bits(value)?)).is_none(),
            _ => false,
        };
        if !fresh {
            return None;
        }
    }
    let server_window_bits = met.server_window_bits.unwrap_or(15).min(config.server_window_bits_max.clamp(9, 15));
    if server_window_bits < 9 {
        // Valid, but raw zlib cannot make a window of 256 bytes.
        return None;
    }
    let client_window_bits_max = config.client_window_bits_max.clamp(9, 15);
    let (client_window_bits, client_bits_told) = match met.client_window_bits {
        // The client cannot be bound (section 7.1.2.2).
        None => (15, false),
        Some(None) => (client_window_bits_max, client_window_bits_max < 15),
        // "client_max_window_bits=10" in an offer is a promise that holds whether we repeat it or not; we repeat it.
        Some(Some(offered)) => (offered.min(client_window_bits_max), true),
    };
    let parameters = Parameters {
        server_no_context_takeover: met.server_no_context_takeover || config.server_no_context_takeover,
        client_no_context_takeover: met.client_no_context_takeover || config.client_no_context_takeover,
        server_window_bits,
        client_window_bits,
    };
    let server_bits_told = met.server_window_bits.is_some() || server_window_bits < 15;
    Some(Negotiated { parameters, server_bits_told, client_bits_told })
}

/// 8 to 15, "a decimal integer value without leading zeroes" (section 7.1.2.1).
fn bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// A value as token or quoted string. What a quoted value means must be a token (RFC 6455 section 9.1), and no value here
/// needs a backslash.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    };
    (!value.is_empty() && value.iter().all(u8::is_ascii_alphanumeric)).then_some(value)
}

/// Splits at a separator that stands outside of quotes.
fn split(bytes: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = bytes.iter().position(|&byte| {
            let here = byte == separator && !quoted;
            if escaped {
                escaped = false;
            } else {
                quoted ^= byte == b'"';
                escaped = quoted && byte == b'\\';
            }
            here
        });
        rest = end.map(|end| &bytes[end + 1..]);
        Some(end.map_or(bytes, |end| &bytes[..end]))
    })
}
