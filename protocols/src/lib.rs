//! The wire protocols of Ringgate as machines without a socket: bytes in, events out, bytes out.
//!
//! No machine here owns a socket, a clock, a thread or a task. Time, limits and memory are arguments. So a machine can be
//! driven from any runtime, and a test can play a whole conversation, with its hours of silence, in microseconds.
//!
//! # A conversation
//! Two requests in one packet. The driver tells by the first bytes who is to be asked, gives the machine what was
//! received, and answers as the events come:
//! ```
//! use ringgate_protocols::{
//!     http::head::Head,
//!     http1::{connection::Connection, encode::ResponseHead, event::{Event, Then}},
//!     limits::Limits,
//!     preface::{Preface, detect},
//! };
//!
//! let input = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
//! assert_eq!(detect(input), Preface::Http1);
//!
//! let (mut machine, mut head, limits) = (Connection::new(), Head::default(), Limits::default());
//! let (mut at, mut out, mut paths) = (0, Vec::new(), Vec::new());
//! loop {
//!     let step = machine.handle_input(&input[at..], &mut head, &limits).expect("a client that keeps the rules");
//!     let Event::Request(_) = step.event else { unreachable!("neither of the two has a body") };
//!     // The head is a list of places in the input: nothing was copied.
//!     paths.push(head.path.of(&input[at..]));
//!     at += step.consumed;
//!     let response = ResponseHead { status: http::StatusCode::OK, block: b"", fields: [] };
//!     match machine.send_response(&mut out, response, b"well\n", &limits).expect("a response that can be sent") {
//!         Then::KeepAlive => {}
//!         then => break assert!(matches!(then, Then::Close(_)), "as the client wished"),
//!     }
//! }
//! assert_eq!(paths, [b"/one", b"/two"]);
//! assert_eq!(out.windows(15).filter(|bytes| bytes == b"HTTP/1.1 200 OK").count(), 2);
//! ```
//! The other two have the same shape, and the same kind of example at their `Connection`:
//!
//! | machine | what it holds between events | what is lent to it |
//! |---|---|---|
//! | [`http1::connection::Connection`] | where it stands, a few bytes | the head to fill |
//! | [`http2::connection::Connection`] | streams, windows, two compression tables | a pool of decoded heads |
//! | [`websocket::connection::Connection`] | where it stands; with takeover its compressors | scratch, a pool of compressors |
//!
//! # The verbs
//! - *In:* `handle_input` takes bytes and yields one event, with the number of bytes it has consumed.
//! - *The application speaks:* `send_…` and its like append to a buffer of the caller. Bodies of HTTP/1 and HTTP/2 need
//!   only be announced: their bytes can leave from where they are.
//! - *The protocol speaks:* `poll_output` appends what the machine itself owes: acknowledgements, window updates, pongs,
//!   GOAWAY. HTTP/1 owes nothing of its own accord.
//! - *Time:* `poll_timeout` names a deadline in milliseconds of the caller's clock, `handle_timeout` keeps it. HTTP/1
//!   leaves its two times to the driver.
//!
//! An error says whose it is, the peer's or the application's, and what follows on the wire: a status, a reset, a GOAWAY,
//! a close code. All of them are small and `Copy`; there is no text and no `std::io::Error` in them.
//!
//! # The floors
//! A module names only modules on lower floors.
//!
//! | floor | module | what is in it |
//! |---|---|---|
//! | 0 | [`span`] | a place in the caller's buffer: the currency of zero-copy |
//! | 0 | [`limits`] | every bound, each with its reason |
//! | 0 | [`scan`] | looking at many bytes at once; the one room with `unsafe` |
//! | 1 | [`http`] | what both versions share: method, target, head, field rules, length, date |
//! | 2 | [`http1`] | RFC 9112: heads, framing, chunked bodies, trailers |
//! | 2 | [`hpack`] | RFC 7541: header compression in both directions |
//! | 2 | [`websocket`] | RFC 6455, 7692, 8441: handshake, frames, messages, compression |
//! | 2 | [`preface`] | TLS, HTTP/2 or HTTP/1, by the first bytes |
//! | 2 | [`proxy`] | the PROXY header, versions 1 and 2, that a proxy says before anything else |
//! | 3 | [`http2`] | RFC 9113, 9218: frames, streams, windows, priorities, the budget against abuse |
//!
//! There is one grammar and it is strict; no switch makes it lenient.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod hpack;
pub mod http;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod preface;
pub mod proxy;
pub mod span;
pub mod websocket;

// The one room where unsafe code may live; see the essay at its top.
#[allow(unsafe_code)]
pub mod scan;
