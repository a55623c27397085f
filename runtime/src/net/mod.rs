//! Listeners and streams of one core.

mod byte_stream;
mod listener;
mod socket_stream;

pub use crate::sys::address::{Address, AddressError};
pub use byte_stream::ByteStream;
pub use listener::Listener;
pub use socket_stream::SocketStream;
