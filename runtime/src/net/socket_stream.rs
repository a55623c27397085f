//! A connected socket of this core.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::buffer::{Lease, SendBuf};
use crate::driver::Close;
use crate::driver::slot::{INBOUND_LEASES_MAX, Key};
use crate::executor::Handle;
use crate::executor::core::Core;
use crate::net::byte_stream::ByteStream;
use crate::sys::address::Address;

/// A connected TCP or Unix stream socket. Dropping it closes it, whatever is in flight: what the kernel has taken is
/// still delivered, what it has not is lost.
///
/// What is read comes in leases of the executor's buffers, as much as there is: nothing is asked for by length. One send is
/// in flight at a time; [`send`](Self::send) waits for it, and more pieces in one [`SendBuf`] leave together. The waiting
/// methods are here; those of [`ByteStream`] are what drivers of protocols are written against.
///
/// ```
/// use ringgate_runtime::buffer::{Piece, SendBuf};
/// use ringgate_runtime::executor::{Executor, ExecutorConfig};
/// use ringgate_runtime::net::ByteStream;
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let handle = executor.handle();
/// let (ours, theirs) = UnixStream::pair()?;
/// executor.block_on(async {
///     let (mut ours, mut theirs) = (handle.adopt_stream(ours.into())?, handle.adopt_stream(theirs.into())?);
///     let mut buf = SendBuf::from_vec(b"to ".to_vec());
///     buf.push(Piece::Static(b"whom"));
///     ours.send(buf).await?;
///     ours.shutdown_write();
///     // A stream is bytes: how many leases they come in is not said.
///     let mut heard = Vec::new();
///     loop {
///         let lease = theirs.recv().await?;
///         if lease.is_empty() {
///             break; // the end of their side; ours is still open
///         }
///         heard.extend_from_slice(&lease);
///     }
///     assert_eq!(heard, b"to whom");
///     theirs.send(SendBuf::from_vec(b"it concerns".to_vec())).await?;
///     assert_eq!(&ours.recv().await?[..], b"it concerns");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SocketStream {
    core: Rc<Core>,
    key: Key,
}

impl Handle {
    /// Takes over a connected stream socket.
    ///
    /// # Errors
    /// When the descriptor is not a socket.
    pub fn adopt_stream(&self, fd: OwnedFd) -> io::Result<SocketStream> {
        let core = Rc::clone(self.shared());
        let key = {
            let mut io = core.io.borrow_mut();
            let (driver, sockets) = io.parts();
            driver.adopt_stream(sockets, fd)?
        };
        Ok(SocketStream::new(core, key))
    }

    /// Connects. Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub async fn connect(&self, address: &Address) -> io::Result<SocketStream> {
        let core = Rc::clone(self.shared());
        let key = {
            let mut io = core.io.borrow_mut();
            let (driver, sockets) = io.parts();
            driver.connect(sockets, address)?
        };
        let stream = SocketStream::new(core, key);
        poll_fn(|context| stream.poll_connected(context)).await?;
        Ok(stream)
    }
}

impl SocketStream {
    pub(super) fn new(core: Rc<Core>, key: Key) -> Self {
        Self { core, key }
    }

    fn poll_connected(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.core.io.borrow_mut();
        let slot = io.parts().1.owned(self.key);
        if slot.connecting {
            remember(&mut slot.receive_waker, context);
            return Poll::Pending;
        }
        Poll::Ready(slot.send_error.take().map_or(Ok(()), |errno| Err(errno.into())))
    }

    /// The next received bytes; an empty lease is the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`ByteStream::poll_recv`].
    pub async fn recv(&mut self) -> io::Result<Lease> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Sends all of `buf`; waits for a send in flight first. Once it has begun, dropping the future does not stop it.
    ///
    /// # Errors
    /// As [`ByteStream::poll_sent`].
    pub async fn send(&mut self, buf: SendBuf) -> io::Result<()> {
        poll_fn(|context| self.poll_sent(context)).await?;
        self.start_send(buf);
        poll_fn(|context| self.poll_sent(context)).await
    }

    /// The peer's address; `None` for an unnamed Unix peer.
    ///
    /// # Errors
    /// As `getpeername(2)`: a connection that is over has none.
    pub fn peer_address(&self) -> io::Result<Option<Address>> {
        let mut io = self.core.io.borrow_mut();
        let (driver, sockets) = io.parts();
        driver.peer_address(sockets, self.key)
    }

    /// Our end's address.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn local_address(&self) -> io::Result<Option<Address>> {
        let mut io = self.core.io.borrow_mut();
        let (driver, sockets) = io.parts();
        driver.local_address(sockets, self.key)
    }

    /// Closes with a reset instead of a FIN: the peer learns at once that nothing more comes, and no state lingers.
    pub fn abort(self) {
        self.core.close(self.key, Close::Abort);
    }
}

fn remember(kept: &mut Option<Waker>, context: &Context<'_>) {
    match kept {
        Some(waker) if waker.will_wake(context.waker()) => {}
        _ => *kept = Some(context.waker().clone()),
    }
}

impl ByteStream for SocketStream {
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        let mut io = self.core.io.borrow_mut();
        let (driver, sockets) = io.parts();
        let received = sockets.take_received(self.key);
        let slot = sockets.owned(self.key);
        // Armed again below the mark at which the driver stops, so that a reader that keeps up never waits.
        if slot.inbound() < INBOUND_LEASES_MAX / 2 {
            driver.arm_receive(sockets, self.key);
        }
        match received {
            Some(received) => Poll::Ready(received),
            None => {
                remember(&mut sockets.owned(self.key).receive_waker, context);
                Poll::Pending
            }
        }
    }

    fn pause_recv(&mut self) {
        let mut io = self.core.io.borrow_mut();
        let (driver, sockets) = io.parts();
        // Nobody waits any more: a receive that ends from now on must not be armed again by itself.
        sockets.owned(self.key).receive_waker = None;
        driver.pause_receive(sockets, self.key);
    }

    fn start_send(&mut self, buf: SendBuf) {
        let mut io = self.core.io.borrow_mut();
        let (driver, sockets) = io.parts();
        let slot = sockets.owned(self.key);
        assert!(slot.sending.is_none(), "one send in flight per connection");
        if slot.send_error.is_some() || buf.is_empty() {
            sockets.recycle(buf);
        } else {
            driver.send(sockets, self.key, buf);
        }
    }

    fn is_sending(&self) -> bool {
        self.core.io.borrow_mut().parts().1.owned(self.key).sending.is_some()
    }

    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.core.io.borrow_mut();
        let (_, sockets) = io.parts();
        let slot = sockets.owned(self.key);
        if let Some(sending) = &mut slot.sending {
            remember(&mut sending.waker, context);
            sockets.completion_awaited = true;
            return Poll::Pending;
        }
        match slot.send_error {
            Some(errno) => Poll::Ready(Err(errno.into())),
            None => Poll::Ready(Ok(())),
        }
    }

    fn reset(&mut self) {
        self.core.close(self.key, Close::Abort);
    }

    fn shutdown_write(&mut self) {
        let mut io = self.core.io.borrow_mut();
        let (driver, sockets) = io.parts();
        driver.shutdown_write(sockets, self.key);
    }
}

impl Drop for SocketStream {
    fn drop(&mut self) {
        self.core.close(self.key, Close::Orderly);
    }
}

impl fmt::Debug for SocketStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketStream").field("key", &self.key).finish_non_exhaustive()
    }
}
