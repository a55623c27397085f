//! What the conversations, conformance and fault tests share.

pub mod gateway;
pub mod seccomp;
pub mod websocket;
