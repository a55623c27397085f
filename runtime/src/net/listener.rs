//! Accepting connections.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;

use crate::driver::Close;
use crate::driver::slot::Key;
use crate::executor::Handle;
use crate::executor::core::Core;
use crate::net::socket_stream::SocketStream;
use crate::sys::address::Address;
use crate::time::Sleep;

/// How long a listener pauses when descriptors or memory have run out: connections close in the meantime.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// A listening socket of this core. Dropping it stops accepting and closes it; connections that were accepted and not
/// taken are closed as well.
///
/// ```
/// use ringgate_runtime::buffer::SendBuf;
/// use ringgate_runtime::executor::{Executor, ExecutorConfig};
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let handle = executor.handle();
/// executor.block_on(async {
///     let listener = handle.listen(&"127.0.0.1:0".parse().unwrap())?;
///     let mut client = handle.connect(&listener.local_address()?.unwrap()).await?;
///     let mut server = listener.accept().await?;
///     client.send(SendBuf::from_vec(b"ping".to_vec())).await?;
///     assert_eq!(&server.recv().await?[..], b"ping");
///     drop(client);
///     assert!(server.recv().await?.is_empty());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Listener {
    core: Rc<Core>,
    key: Key,
    pause: RefCell<Option<Sleep>>,
}

impl Handle {
    /// Binds and listens. Every core binds TCP for itself (`SO_REUSEPORT`); a Unix path is bound by one core, the others
    /// take a duplicate of its descriptor. A Unix socket file nobody listens on is replaced.
    ///
    /// # Errors
    /// As `bind(2)` and `listen(2)`.
    pub fn listen(&self, address: &Address) -> io::Result<Listener> {
        self.listener(|driver, sockets| driver.listen(sockets, address))
    }

    /// Takes over a socket that is bound and listening (socket activation, or handed down by a parent).
    ///
    /// # Errors
    /// When the descriptor is not a socket.
    pub fn adopt_listener(&self, fd: OwnedFd) -> io::Result<Listener> {
        self.listener(|driver, sockets| driver.adopt_listener(sockets, fd))
    }

    fn listener(
        &self,
        make: impl FnOnce(&mut dyn crate::driver::Driver, &mut crate::driver::slot::Sockets) -> io::Result<Key>,
    ) -> io::Result<Listener> {
        let core = Rc::clone(self.shared());
        let key = {
            let mut io = core.io.borrow_mut();
            let (driver, sockets) = io.parts();
            make(driver, sockets)?
        };
        Ok(Listener { core, key, pause: RefCell::new(None) })
    }
}

impl Listener {
    /// The next connection. When descriptors or memory have run out it pauses and goes on by itself.
    ///
    /// # Errors
    /// Only when the listening socket itself is broken.
    pub async fn accept(&self) -> io::Result<SocketStream> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// The poll form of [`accept`](Self::accept).
    ///
    /// # Errors
    /// As `accept`.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<SocketStream>> {
        loop {
            ready!(self.poll_pause(context));
            let mut io = self.core.io.borrow_mut();
            let (driver, sockets) = io.parts();
            let slot = sockets.owned(self.key);
            if let Some(taken) = slot.accepted.as_mut().and_then(|accepted| accepted.pop_front()) {
                return Poll::Ready(Ok(SocketStream::new(Rc::clone(&self.core), taken)));
            }
            if let Some(errno) = slot.send_error.take() {
                // All others pass: descriptors and memory come back, and errors of the network are those of a connection
                // that was lost before it was accepted (accept(2), "Error handling").
                if matches!(errno, Errno::BADF | Errno::INVAL | Errno::NOTSOCK) {
                    return Poll::Ready(Err(errno.into()));
                }
                let deadline = self.core.timers.now() + EXHAUSTED_PAUSE;
                *self.pause.borrow_mut() = Some(Sleep::new(Rc::clone(&self.core.timers), deadline));
                continue;
            }
            match &slot.receive_waker {
                Some(waker) if waker.will_wake(context.waker()) => {}
                _ => slot.receive_waker = Some(context.waker().clone()),
            }
            driver.arm_accept(sockets, self.key);
            return Poll::Pending;
        }
    }

    fn poll_pause(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut pause = self.pause.borrow_mut();
        if let Some(sleep) = &mut *pause {
            ready!(Pin::new(sleep).poll(context));
            *pause = None;
        }
        Poll::Ready(())
    }

    /// Where it listens; `None` for an unnamed socket.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn local_address(&self) -> io::Result<Option<Address>> {
        let mut io = self.core.io.borrow_mut();
        let (driver, sockets) = io.parts();
        driver.local_address(sockets, self.key)
    }

    /// A duplicate of the descriptor, to be adopted by another core.
    ///
    /// # Errors
    /// When the process has no descriptor left, or the driver has none at all (simulated).
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.core.io.borrow_mut().parts().1.fd(self.key)?.try_clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.core.close(self.key, Close::Orderly);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("key", &self.key).finish_non_exhaustive()
    }
}
