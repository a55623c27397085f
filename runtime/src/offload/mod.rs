//! Bounded crew of threads for blocking work.
use std::{pin::Pin, future::Future, task::{Context, Poll}};

/// A bounded crew of threads; shared by all cores of a gateway. `Clone + Send + Sync`.
#[derive(Clone, Debug)]
pub struct Crew {}
/// How large a crew may get.
#[derive(Clone, Copy, Debug)]
pub struct CrewConfig { /// threads at most
    pub threads_max: usize, /// jobs that may wait
    pub queue_max: usize, /// idle thread leaves after this
    pub idle_timeout_ms: u64 }
/// The crew's queue is full: the work was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;
/// The job panicked; the panic was contained.
#[derive(Debug)]
pub struct Panicked(/// what the panic carried
    pub Box<dyn std::any::Any + Send>);
/// The answer of a job, on the core that asked. Dropping it forgets the answer; a job not yet begun is not run.
#[derive(Debug)]
pub struct Offloaded<T> { _t: std::marker::PhantomData<T> }
impl<T> Future for Offloaded<T> { type Output = Result<T, Panicked>; fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> { todo!() } }
impl Crew {
    /// A crew with no thread yet; threads start when work comes.
    pub fn new(_config: CrewConfig) -> Self { todo!() }
    /// Hands a job over, or says at once that the queue is full.
    pub fn run<T: Send + 'static>(&self, _job: impl FnOnce() -> T + Send + 'static) -> Result<Offloaded<T>, Full> { todo!() }
}
