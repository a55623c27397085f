//! Tasks of one core.
use std::{future::Future, pin::Pin, task::{Context, Poll}};
/// Waits for a task. Dropping it cancels the task (its future is dropped at once if it is not running).
#[derive(Debug)]
pub struct JoinHandle<T> { _t: std::marker::PhantomData<T> }
impl<T> JoinHandle<T> {
    /// Lets the task go on by itself.
    pub fn detach(self) { todo!() }
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool { todo!() }
}
/// A panic that ended a task.
#[derive(Debug)]
pub struct TaskPanicked(/// what the panic carried
    pub Box<dyn std::any::Any + Send>);
impl<T> Future for JoinHandle<T> { type Output = Result<T, TaskPanicked>; fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> { todo!() } }
