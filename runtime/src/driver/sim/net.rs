//! The test's end of the world.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;

use crate::driver::sim::connection::{End, Inbound};
use crate::driver::sim::transcript::SimEvent;
use crate::driver::sim::wire::Wire;
use crate::sys::address::Address;
use crate::time::Instant;

/// The virtual network of a simulated executor: connects to its listeners, listens for its connects, moves its clock.
///
/// Nothing of it blocks or runs the executor: what it does is seen by the executor's next turns. Its `async` methods are
/// for tasks (and the `block_on`) of that executor.
#[derive(Clone)]
pub struct SimNet {
    wire: Rc<RefCell<Wire>>,
}

impl SimNet {
    pub(super) fn new(wire: Rc<RefCell<Wire>>) -> Self {
        Self { wire }
    }

    /// Connects to a listener of the executor (or of the test).
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody listens there (`NotFound` for a Unix address), or the backlog is full.
    pub fn connect(&self, address: &Address) -> io::Result<SimPeer> {
        let end = self.wire.borrow_mut().connect(address)?;
        self.wire.borrow_mut().note("the peer connects", end.connection, 0);
        Ok(SimPeer { wire: Rc::clone(&self.wire), end })
    }

    /// Listens, so that the executor can connect. Port 0 gets a number.
    ///
    /// # Errors
    /// `AddrInUse` for a Unix address that is listened on.
    pub fn listen(&self, address: &Address) -> io::Result<SimListener> {
        let post = self.wire.borrow_mut().listen(address)?;
        Ok(SimListener { wire: Rc::clone(&self.wire), post })
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.wire.borrow().now()
    }

    /// Lets virtual time go by; the executor's next turn sees it.
    pub fn advance(&self, duration: Duration) {
        let wire = self.wire.borrow();
        wire.advance_to(wire.now() + duration);
    }

    /// The seed of this run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.wire.borrow().config.seed
    }

    /// The last events, oldest first.
    #[must_use]
    pub fn transcript(&self) -> Vec<SimEvent> {
        self.wire.borrow().transcript.events().collect()
    }

    /// A checksum of all events so far: two runs with the same one have gone the same way.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.wire.borrow().transcript.digest()
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").field("seed", &self.seed()).field("now", &self.now()).finish()
    }
}

/// A listener of the test's. Dropping it stops listening and resets what was not accepted.
pub struct SimListener {
    wire: Rc<RefCell<Wire>>,
    post: u32,
}

impl SimListener {
    /// Where it listens.
    ///
    /// # Panics
    /// Never: the listener is there until it is dropped.
    #[must_use]
    pub fn local_address(&self) -> Address {
        self.wire.borrow().listens_on(self.post).expect("it listens")
    }

    /// A connection that waits, if there is one.
    #[must_use]
    pub fn try_accept(&self) -> Option<SimPeer> {
        let end = self.wire.borrow_mut().accept(self.post)?;
        Some(SimPeer { wire: Rc::clone(&self.wire), end })
    }

    /// The next connection.
    pub async fn accept(&self) -> SimPeer {
        poll_fn(|context| match self.try_accept() {
            Some(peer) => Poll::Ready(peer),
            None => {
                self.wire.borrow_mut().wait_for_connection(self.post, context.waker());
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.wire.borrow_mut().stop_listening(self.post);
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").field("address", &self.local_address()).finish()
    }
}

/// The test's end of a connection with the executor. Dropping it closes it as a kernel does: with a FIN, or with a reset
/// if something was sent to it that it has not read.
pub struct SimPeer {
    wire: Rc<RefCell<Wire>>,
    end: End,
}

impl SimPeer {
    /// Sends; the wire takes any amount. After [`finish`](Self::finish) or a reset the bytes go nowhere.
    pub fn write(&self, bytes: &[u8]) {
        let mut wire = self.wire.borrow_mut();
        if !wire.has_finished(self.end) && !wire.is_reset(self.end) {
            wire.put(self.end, bytes.iter().copied());
            wire.note("the peer writes", self.end.connection, bytes.len());
        }
    }

    /// Takes what has arrived by now: nothing, if nothing has, or at the end.
    pub fn read(&self) -> Vec<u8> {
        let mut wire = self.wire.borrow_mut();
        let Inbound::Bytes(count) = wire.inbound(self.end) else { return Vec::new() };
        let mut bytes = vec![0; count];
        let taken = wire.take(self.end, &mut bytes);
        bytes.truncate(taken);
        wire.note("the peer reads", self.end.connection, taken);
        bytes
    }

    /// Waits for something to arrive and takes it; empty at the executor's FIN.
    ///
    /// # Errors
    /// `ConnectionReset`.
    pub async fn recv(&self) -> io::Result<Vec<u8>> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The poll form of [`recv`](Self::recv).
    ///
    /// # Errors
    /// As `recv`.
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let inbound = self.wire.borrow().inbound(self.end);
        match inbound {
            Inbound::Bytes(_) => Poll::Ready(Ok(self.read())),
            Inbound::Finished => Poll::Ready(Ok(Vec::new())),
            Inbound::Reset => Poll::Ready(Err(Errno::CONNRESET.into())),
            Inbound::Nothing => {
                self.wire.borrow_mut().wait_for_inbound(self.end, context.waker());
                Poll::Pending
            }
        }
    }

    /// Waits for exactly `count` bytes; what comes behind them stays.
    ///
    /// # Errors
    /// `UnexpectedEof` at a FIN before that, `ConnectionReset`.
    pub async fn read_exact(&self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut taken = 0;
        poll_fn(|context| {
            let mut wire = self.wire.borrow_mut();
            taken += wire.take(self.end, &mut bytes[taken..]);
            if taken == count {
                return Poll::Ready(io::Result::Ok(()));
            }
            match wire.inbound(self.end) {
                Inbound::Finished => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Inbound::Reset => Poll::Ready(Err(Errno::CONNRESET.into())),
                Inbound::Nothing | Inbound::Bytes(_) => {
                    wire.wait_for_inbound(self.end, context.waker());
                    Poll::Pending
                }
            }
        })
        .await?;
        Ok(bytes)
    }

    /// Everything up to the executor's FIN.
    ///
    /// # Errors
    /// `ConnectionReset`; what came before it is lost.
    pub async fn read_to_end(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let bytes = self.recv().await?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend(bytes);
        }
    }

    /// FIN behind what was written; reading goes on.
    pub fn finish(&self) {
        let mut wire = self.wire.borrow_mut();
        wire.finish(self.end);
        wire.note("the peer finishes", self.end.connection, 0);
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let mut wire = self.wire.borrow_mut();
        wire.reset(self.end);
        wire.note("the peer resets", self.end.connection, 0);
    }

    /// How many bytes the executor may have under way to us that we have not read; 0 stops it, and what is under way
    /// still comes. The default is [`SimConfig::window_bytes`](super::SimConfig::window_bytes).
    pub fn set_window(&self, bytes: usize) {
        self.wire.borrow_mut().set_window(self.end, bytes);
    }

    /// Bytes we have written and the executor has not received.
    #[must_use]
    pub fn unreceived(&self) -> usize {
        self.wire.borrow().unreceived(self.end.other())
    }

    /// The executor's FIN has arrived and everything before it was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.wire.borrow().inbound(self.end) == Inbound::Finished
    }

    /// A reset has arrived.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.wire.borrow().is_reset(self.end)
    }

    /// Both directions are over: by FINs, or by a reset.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.wire.borrow().is_over(self.end)
    }

    /// Our address as the executor sees it; `None` on a Unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<Address> {
        self.wire.borrow().address(self.end)
    }
}

impl Drop for SimPeer {
    fn drop(&mut self) {
        self.wire.borrow_mut().close(self.end);
    }
}

impl fmt::Debug for SimPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimPeer").field("connection", &self.end.connection).finish_non_exhaustive()
    }
}
