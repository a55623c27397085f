//! Waiting for a task, or giving it up.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::task::header::{Header, TaskPtr, empty, output, release, wake};

/// Waits for a task of the same core. Dropping it cancels the task: its future is dropped at once (or, if the task drops
/// its own handle, when its poll returns). [`detach`](Self::detach) lets the task go on by itself.
///
/// Awaited, it gives what the task's future gave, or [`TaskPanicked`]; never anything once the executor was dropped.
///
/// ```
/// use ringgate_runtime::executor::{Executor, ExecutorConfig};
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let handle = executor.handle();
/// executor.block_on(async {
///     let sum = handle.spawn("sum", async { 1 + 1 });
///     let waits = handle.spawn("waits", std::future::pending::<()>());
///     drop(waits); // cancelled
///     assert_eq!(sum.await.unwrap(), 2);
///     let fails = handle.spawn("fails", async { panic!("contained") });
///     assert!(fails.await.is_err());
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping the handle cancels the task; call `detach` to let it go on"]
pub struct JoinHandle<T> {
    /// It has a count of its own.
    task: TaskPtr,
    output: PhantomData<fn() -> T>,
}

/// A panic that ended a task. It is contained: other tasks of the core go on.
pub struct TaskPanicked {
    /// What the panic carried.
    pub panic: Box<dyn Any + Send>,
}

impl fmt::Debug for TaskPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskPanicked")
    }
}

impl fmt::Display for TaskPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task panicked")
    }
}

impl std::error::Error for TaskPanicked {}

impl<T> JoinHandle<T> {
    /// Takes over one count of the task, whose output is a `T`.
    pub(super) fn new(task: TaskPtr) -> Self {
        Self { task, output: PhantomData }
    }

    /// Lets the task go on by itself; its output is dropped when it ends.
    pub fn detach(self) {
        let task = ManuallyDrop::new(self).task;
        // SAFETY: the handle's count keeps the cell alive.
        let header = unsafe { task.as_ref() };
        if header.complete.get() {
            empty(task);
        } else {
            header.detached.set(true);
        }
        release(task);
    }

    /// Lets the task run in the next turn, whatever it waits for.
    pub fn wake(&self) {
        wake(self.task);
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        // SAFETY: the handle's count keeps the cell alive.
        unsafe { self.task.as_ref() }.complete.get()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, TaskPanicked>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.task;
        // SAFETY: the handle's count keeps the cell alive; owner thread.
        let header = unsafe { task.as_ref() };
        if !header.complete.get() {
            wait(header, context.waker());
        }
        // What is foreign in a waker may have run the turn that ended the task.
        if header.complete.get() {
            // SAFETY: the handle was made with the output's type.
            return match unsafe { output::<T>(task) } {
                Some(output) => Poll::Ready(output.map_err(|panic| TaskPanicked { panic })),
                // Cancelled with the executor: there is nothing to wait for any more, nor anybody to wake.
                None => Poll::Pending,
            };
        }
        Poll::Pending
    }
}

/// Leaves the waker that is woken when the task ends.
fn wait(header: &Header, waker: &Waker) {
    // SAFETY: owner thread; comparing wakers runs nothing foreign, so the cell is not reached while it is borrowed (rule 7).
    if unsafe { &*header.joiner.get() }.as_ref().is_some_and(|known| known.will_wake(waker)) {
        return;
    }
    let waker = Box::new(waker.clone());
    if !header.complete.get() {
        // SAFETY: owner thread; the clone was made before, and what was there is dropped after.
        let outdated = unsafe { (*header.joiner.get()).replace(waker) };
        drop(outdated);
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let task = self.task;
        // SAFETY: the handle's count keeps the cell alive; owner thread.
        let header = unsafe { task.as_ref() };
        if header.complete.get() {
            empty(task);
        } else if header.running.get() {
            header.cancelled.set(true);
        } else {
            empty(task);
            // The future's own drop may have closed the queue, which ends all tasks.
            if !header.complete.get() {
                // SAFETY: owner thread, and the task is not complete.
                unsafe { header.remote.local() }.ended(task);
            }
        }
        release(task);
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish()
    }
}
