//! What is in use and what is possible, for this request.

/// The protocol a request came by. They are ordered: what needs HTTP/1.1 asks for `>= Protocol::Http11`.
///
/// ```
/// use ringgate::{App, Protocol, Request};
/// fn who(request: &Request) -> String {
///     let is_old = request.protocol() < Protocol::Http11;
///     format!("{}{}\n", request.protocol(), if is_old { ", well, well" } else { "" })
/// }
/// # let app = App::new().route("/who", who);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /who HTTP/1.0", "").ends_with("HTTP/1.0, well, well\n"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// Of a version that is spoken here.
    #[inline]
    pub(crate) fn of(version: http::Version) -> Self {
        match version {
            http::Version::HTTP_10 => Self::Http10,
            http::Version::HTTP_2 => Self::Http2,
            _ => Self::Http11,
        }
    }

    /// As in a status line or a log: `HTTP/1.1`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The optional features, each true when it works for *this* request. Where one is false its degraded form is used:
///
/// | feature | degraded form |
/// |---|---|
/// | `trailers` | dropped |
/// | `early_hints` | `Link` fields of the final response |
/// | `push` | early hints |
/// | `streaming` | the response still streams, the end of the connection ends it |
/// | `full_duplex` | the request body should be read before the response begins |
/// | `keep_alive` | the connection closes after this response |
/// | `multiplexed` | requests of the connection are answered in their order |
/// | `websocket` | [`WebSocketRoute::otherwise`](crate::websocket::WebSocketRoute::otherwise) answers, or 426 |
///
/// `upgrade` has none: it says what the client asks for, not what the gateway can do.
///
/// ```
/// use ringgate::{App, Request};
/// fn list(request: &Request) -> String {
///     let features = request.features();
///     let checksum = if features.trailers { "behind the body" } else { "not to be had" };
///     let possible: Vec<_> = features.iter().filter(|(_, is_possible)| *is_possible).map(|(name, _)| name).collect();
///     format!("checksum {checksum}; {}\n", possible.join(" "))
/// }
/// # fn application() -> App { App::new().route("/list", list) }
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # let answer = client::ask(application(), "GET /list HTTP/1.1\r\nte: trailers\r\nconnection: te", "");
/// # assert!(answer.ends_with("checksum behind the body; trailers early_hints streaming\n"), "{answer}");
/// # let answer = client::ask(application(), "GET /list HTTP/1.0", "");
/// # assert!(answer.ends_with("checksum not to be had; \n"), "{answer}");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Features {
    /// Response trailers reach the client: HTTP/2, or chunked with `TE: trailers`.
    pub trailers: bool,
    /// 103 goes out as an interim response.
    pub early_hints: bool,
    /// Server push; only on HTTP/2, only where the client allows it, and only if
    /// [`push`](ringgate_protocols::limits::Http2Limits::push) is on in the limits, which it is not by default.
    pub push: bool,
    /// A response of unknown length is delimited (chunked or frames), not ended by closing.
    pub streaming: bool,
    /// The request has a body, and response bytes can go out while it comes in.
    pub full_duplex: bool,
    /// Further requests can follow on this connection.
    pub keep_alive: bool,
    /// Several requests share the connection at the same time.
    pub multiplexed: bool,
    /// The client asks to go over to another protocol.
    pub upgrade: bool,
    /// A WebSocket can be opened with this request.
    pub websocket: bool,
}

impl Features {
    /// As bits, in the order of the fields.
    pub(crate) const fn to_bits(self) -> u16 {
        self.trailers as u16
            | (self.early_hints as u16) << 1
            | (self.push as u16) << 2
            | (self.streaming as u16) << 3
            | (self.full_duplex as u16) << 4
            | (self.keep_alive as u16) << 5
            | (self.multiplexed as u16) << 6
            | (self.upgrade as u16) << 7
            | (self.websocket as u16) << 8
    }

    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self {
            trailers: bits & 1 != 0,
            early_hints: bits & 1 << 1 != 0,
            push: bits & 1 << 2 != 0,
            streaming: bits & 1 << 3 != 0,
            full_duplex: bits & 1 << 4 != 0,
            keep_alive: bits & 1 << 5 != 0,
            multiplexed: bits & 1 << 6 != 0,
            upgrade: bits & 1 << 7 != 0,
            websocket: bits & 1 << 8 != 0,
        }
    }

    /// Every feature by name, for a page that lists them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, bool)> {
        [
            ("trailers", self.trailers),
            ("early_hints", self.early_hints),
            ("push", self.push),
            ("streaming", self.streaming),
            ("full_duplex", self.full_duplex),
            ("keep_alive", self.keep_alive),
            ("multiplexed", self.multiplexed),
            ("upgrade", self.upgrade),
            ("websocket", self.websocket),
        ]
        .into_iter()
    }
}

/// Which form early hints took; told by [`Request::early_hints`](crate::Request::early_hints).
///
/// ```
/// use ringgate::{App, HintsForm, Request};
/// fn page(request: &Request) -> &'static str {
///     let link = http::HeaderValue::from_static("</app.js>; rel=preload; as=script");
///     match request.early_hints([link]) {
///         HintsForm::Interim => "hinted ahead of this\n",
///         HintsForm::LinkField => "hinted along with this\n",
///         HintsForm::Dropped => "this was on its way already\n",
///     }
/// }
/// # let app = App::new().route("/", page);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET / HTTP/1.0", "").ends_with("hinted along with this\n"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HintsForm {
    /// A 103 response goes out ahead of the final one (RFC 8297).
    Interim,
    /// The hints become `Link` fields of the final response.
    LinkField,
    /// Nothing: the final response has begun.
    Dropped,
}

/// Which form a push took; told by [`Request::push`](crate::Request::push).
///
/// ```
/// use ringgate::{App, HintsForm, PushForm, Request};
/// fn page(request: &Request) -> &'static str {
///     match request.push("/app.js") {
///         PushForm::Promised => "it comes by itself\n",
///         PushForm::Hinted(HintsForm::Dropped) => "nobody is told\n",
///         PushForm::Hinted(_) => "the client is told to fetch it\n",
///     }
/// }
/// # let app = App::new().route("/", page);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET / HTTP/1.1", "").ends_with("the client is told to fetch it\n"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushForm {
    /// The resource is promised and goes out beside the response (RFC 9113 section 8.4).
    Promised,
    /// The client is told to fetch it: an early hint, in this form.
    Hinted(HintsForm),
}

/// Which form trailers took; told by [`BodySender::finish_with`](crate::BodySender::finish_with). What will be is told before
/// by `trailers` of [`Features`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrailersForm {
    /// They go out behind the body.
    Sent,
    /// They are dropped: HTTP/1.0, a body of known length, or a client that did not say `TE: trailers`.
    Dropped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_bit_of_its_own() {
        let features: Vec<Features> = (0..9).map(|bit| Features::from_bits(1 << bit)).collect();
        for (bit, features) in features.iter().enumerate() {
            let on: Vec<usize> =
                features.iter().enumerate().filter(|(_, (_, is_on))| *is_on).map(|(place, _)| place).collect();
            assert_eq!((on, features.to_bits()), (vec![bit], 1 << bit));
        }
        assert_eq!(Features::default().iter().count(), features.len());
    }
}
