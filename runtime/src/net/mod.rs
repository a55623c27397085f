//! Listeners and streams.
use std::{io, net::SocketAddr, path::PathBuf, task::{Context, Poll}};
use crate::buffer::{Lease, SendBuf};

/// Where to listen or to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address { /// TCP over IPv4 or IPv6
    Tcp(SocketAddr), /// Unix domain stream socket
    Unix(PathBuf) }
impl std::fmt::Display for Address { fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { todo!() } }
impl std::str::FromStr for Address { type Err = String; /// `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`
    fn from_str(_s: &str) -> Result<Self, String> { todo!() } }

/// A listening socket of this core. Dropping it stops accepting and closes it.
pub struct Listener {}
impl Listener {
    /// The next connection.
    pub async fn accept(&self) -> io::Result<SocketStream> { todo!() }
    /// Poll form of `accept`.
    pub fn poll_accept(&self, _cx: &mut Context<'_>) -> Poll<io::Result<SocketStream>> { todo!() }
    /// Where it listens.
    pub fn local_address(&self) -> io::Result<Address> { todo!() }
}

/// What a connection driver needs of a stream of bytes: a plain socket, TLS, or a foreign executor's stream.
///
/// All methods of `poll_` kind register `cx` when they answer `Pending`.
pub trait ByteStream {
    /// The next received bytes; an empty lease is the end of the peer's side, for ever after.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>>;
    /// Stop taking bytes from the kernel until the next `poll_recv` (backpressure).
    fn pause_recv(&mut self);
    /// Starts one send. Must not be called while one is in flight (`is_sending`).
    fn start_send(&mut self, buf: SendBuf);
    /// True while a send is in flight (no waker is registered: for "may I start the next one?").
    fn is_sending(&self) -> bool;
    /// Ready when nothing is in flight any more (at once if nothing was), with the error if the send failed.
    ///
    /// Calling it is optional: a send that nobody waits for completes by itself and wakes nobody; its memory goes back
    /// to the core's pool (`Handle::take_send_buf`), and an error is kept for the next call of any method here.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Half-close: FIN to the peer; reading goes on.
    fn shutdown_write(&mut self);
}

/// A connected stream socket of this core. Dropping it closes it, whatever is in flight.
#[derive(Debug)]
pub struct SocketStream {}
impl SocketStream {
    /// Async form of `poll_recv`.
    pub async fn recv(&mut self) -> io::Result<Lease> { todo!() }
    /// Sends all of `buf`; its memory returns to the core's pool.
    pub async fn send(&mut self, _buf: SendBuf) -> io::Result<()> { todo!() }
    /// The peer's address (None for unnamed Unix peers).
    pub fn peer_address(&self) -> io::Result<Option<Address>> { todo!() }
    /// Our end's address.
    pub fn local_address(&self) -> io::Result<Address> { todo!() }
    /// Closes with a reset instead of a FIN (SO_LINGER 0).
    pub fn abort(self) { todo!() }
}
impl ByteStream for SocketStream {
    fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Lease>> { todo!() }
    fn pause_recv(&mut self) { todo!() }
    fn start_send(&mut self, _buf: SendBuf) { todo!() }
    fn is_sending(&self) -> bool { todo!() }
    fn poll_sent(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> { todo!() }
    fn shutdown_write(&mut self) { todo!() }
}
