//! What the generator asks of a protocol: the bytes of a request, and whether the bytes that come back are right.

use std::io;
use std::net::TcpStream;

/// How far the current response of a connection has been received.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Received bytes that do not make up a complete response yet and have to be looked at again.
    pub(crate) pending: Vec<u8>,
    /// Bytes of the current response that are already received and verified.
    pub(crate) verified: usize,
    /// Bytes of the current response's body still to come.
    pub(crate) body_left: u64,
}

/// A protocol under load. All connections of a load send the same request and expect the same response.
pub trait Exchange {
    /// The opening of a connection, on a blocking socket.
    ///
    /// # Errors
    /// The peer broke off or refused.
    fn open(&mut self, stream: &mut TcpStream) -> io::Result<()>;

    /// The bytes of one request.
    fn request(&self) -> &[u8];

    /// Takes received bytes and says how many responses they complete.
    ///
    /// # Errors
    /// A sentence saying what is wrong with the response.
    fn verify(&mut self, progress: &mut Progress, received: &[u8]) -> Result<usize, String>;
}
