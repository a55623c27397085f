//! One turn of the loop.
use std::{io, time::Duration, future::Future, sync::Arc, os::fd::OwnedFd};
use crate::{buffer::SendBuf, driver::{DriverChoice, DriverReport}, net::{Address, Listener, SocketStream}, task::JoinHandle, time::{Instant, Sleep}};

/// How one executor is set up.
#[derive(Clone, Debug, Default)]
pub struct ExecutorConfig { /// Which driver.
    pub driver: DriverChoice,
    /// CPU to pin the thread to at start.
    pub cpu: Option<usize> }

/// One core's loop: driver, tasks, timers, buffers. Lives on one thread.
pub struct Executor {}
impl Executor {
    /// Sets up the driver on this thread.
    pub fn new(_config: ExecutorConfig) -> io::Result<Self> { todo!() }
    /// The way in for code that runs on this executor.
    pub fn handle(&self) -> Handle { todo!() }
    /// Runs until `future` is done. Other tasks run too.
    pub fn block_on<F: Future>(&mut self, _future: F) -> F::Output { todo!() }
    /// One turn: wait at most `timeout` (None: until something happens), reap, run, submit.
    pub fn turn(&mut self, _timeout: Option<Duration>) -> io::Result<()> { todo!() }
}

/// A handle of one core's executor: cheap to clone, not `Send`, passed down instead of a thread-local.
#[derive(Clone)]
pub struct Handle { _todo: std::rc::Rc<()> }
impl Handle {
    /// Number of this core in its pool, from 0.
    pub fn core(&self) -> usize { todo!() }
    /// The time of this turn (virtual on the sim driver).
    pub fn now(&self) -> Instant { todo!() }
    /// The wall clock that goes with `now` (virtual on the sim driver).
    pub fn wall_clock(&self) -> std::time::SystemTime { todo!() }
    /// Starts a task on this core. Dropping the handle cancels the task unless `detach` is called.
    pub fn spawn<F>(&self, _name: &'static str, _future: F) -> JoinHandle<F::Output> where F: Future + 'static, F::Output: 'static { todo!() }
    /// Done at `now + duration`.
    pub fn sleep(&self, _duration: Duration) -> Sleep { todo!() }
    /// Done at `deadline`.
    pub fn sleep_until(&self, _deadline: Instant) -> Sleep { todo!() }
    /// Binds (SO_REUSEPORT for TCP, so that every core has its own) and listens.
    pub fn listen(&self, _address: &Address) -> io::Result<Listener> { todo!() }
    /// Takes over a socket that is bound and listening.
    pub fn adopt_listener(&self, _fd: OwnedFd) -> io::Result<Listener> { todo!() }
    /// Takes over a connected stream socket.
    pub fn adopt_stream(&self, _fd: OwnedFd) -> io::Result<SocketStream> { todo!() }
    /// Connects.
    pub async fn connect(&self, _address: &Address) -> io::Result<SocketStream> { todo!() }
    /// An empty buffer from this core's pool, to be handed to `start_send`, after which it comes back by itself.
    pub fn take_send_buf(&self) -> SendBuf { todo!() }
    /// This core's counters, readable from any thread.
    pub fn counters(&self) -> Arc<Counters> { todo!() }
    /// Which driver runs and why.
    pub fn driver_report(&self) -> DriverReport { todo!() }
    /// Name of what runs now, for stall reports (a route, say); None: the task's own name.
    pub fn set_activity(&self, _name: Option<&'static str>) { todo!() }
}

/// Counters of one core.
#[derive(Debug, Default)]
pub struct Counters {}
impl Counters {
    /// (name, value) of every counter, for a metrics page.
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> { todo!() }
}
