//! The wire protocols of Ringgate as machines without a socket: bytes in, events out, bytes out.
//!
//! No machine here owns a socket, a clock, a thread or a task. Time and limits are arguments.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod hpack;
pub mod http;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod preface;
pub mod span;
pub mod websocket;

// The one room where unsafe code may live; see the essay at its top.
#[allow(unsafe_code)]
pub mod scan;
