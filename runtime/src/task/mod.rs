//! Tasks of one core: a future, its waker and its join handle in one allocation.
//!
//! # The room and its unsafe
//! A task is one heap cell: `header::Header` followed by the stage (future, output or nothing). All handles to it are
//! raw pointers to the header. Who may touch what:
//!
//! 1. **The owner thread** (the one that runs the `Queue`) alone reads and writes everything except the header's two
//!    atomics: the stage, the links, the flags. Those are `Cell`s and `UnsafeCell`s. `Queue`, [`JoinHandle`] and the
//!    futures are not `Send`, so no other thread can reach them.
//! 2. **Any thread** may hold a `Waker`. It touches the reference count (atomic), the flag `woken_remotely` (atomic), and
//!    reads the pointer to the `Remote` side of the queue, which never changes and is kept alive by the task. The owner
//!    thread finds the `Local` side through it, which lives until every task is complete and the queue is closed.
//! 3. A wake on the owner thread puts the task on the local run queue: no atomic read-modify-write. A wake elsewhere
//!    sets the flag, puts the pointer (with a count of its own) on the remote list and wakes the core.
//! 4. **Counts.** The set of live tasks holds one, given up when the task has completed and is not queued; a join handle
//!    holds one; every waker holds one; every entry of the remote list holds one. An entry of the local queue holds none:
//!    a completed task that is still queued passes the set's count to the queue's entry.
//! 5. The cell is freed when the count reaches zero. The stage is emptied before, on the owner thread: a task that
//!    completes or is cancelled drops its future at once, and a join handle that goes drops the output. So whichever
//!    thread drops the last waker frees memory only.
//! 6. How the owner thread is recognised: by the address of a thread-local byte. When the queue is closed the address is
//!    replaced by zero, so a later thread with the same address is never mistaken for it.
//!
//! 7. **Foreign code** runs when a future is polled or dropped, when an output is dropped, and when a joiner's waker is
//!    cloned, woken or dropped. Outside of a turn it may do anything that the owner thread may: run a turn, drop handles,
//!    drop the executor. So nothing is borrowed from a cell while it runs but the stage, which `running` guards; and what
//!    was known of a task before is asked again after.
//!
//! A future is never polled or dropped while it is being polled or dropped: `running` says so meanwhile. A join handle that
//! goes then (the task dropped its own) only marks the task; a turn that finds it in its queue leaves it to whoever drops
//! the future, and so does a queue that is closed.
//!
//! A task that is many things at once gives each a waker of its own: see [`WakerGroup`], whose file has its own essay.

mod group;
mod header;
mod join;
mod queue;

pub use group::WakerGroup;
pub use join::{JoinHandle, TaskPanicked};
pub(crate) use queue::Queue;
