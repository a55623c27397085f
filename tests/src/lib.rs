//! What the conversations, conformance and fault tests share.

pub mod gateway;
pub mod obedient;
pub mod seccomp;
pub mod source;

/// What the first page promises compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
pub mod websocket;
