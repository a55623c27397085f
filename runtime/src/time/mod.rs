//! Timers of one core.
pub mod wheel;
use std::{future::Future, pin::Pin, task::{Context, Poll}, time::Duration};
/// A moment: nanoseconds since the process's first executor started (virtual on the sim driver).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant { nanos: u64 }
impl Instant {
    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self { Self { nanos } }
    /// As nanoseconds.
    pub const fn as_nanos(self) -> u64 { self.nanos }
    /// Time since an earlier moment, zero if it is later.
    pub const fn since(self, earlier: Self) -> Duration { Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos)) }
}
impl std::ops::Add<Duration> for Instant { type Output = Self; fn add(self, d: Duration) -> Self { Self { nanos: self.nanos.saturating_add(d.as_nanos() as u64) } } }
/// Done at its deadline. `reset` moves the deadline; moving it later costs nothing until the old one fires.
#[derive(Debug)]
pub struct Sleep {}
impl Sleep {
    /// Moves the deadline.
    pub fn reset(&mut self, _deadline: Instant) { todo!() }
    /// The deadline.
    pub fn deadline(&self) -> Instant { todo!() }
}
impl Future for Sleep { type Output = (); fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> { todo!() } }
