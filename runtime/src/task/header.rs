//! The cell of a task and everything that is done through a pointer to its header.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::task::queue::Remote;

/// What a panic carried.
pub(super) type Panic = Box<dyn Any + Send>;

/// A pointer to a task; what it stands for (a count or not) is said where it is kept.
pub(super) type TaskPtr = NonNull<Header>;

/// The part of a task's cell that is the same for every future. Idle connections are tasks: each byte counts.
pub(crate) struct Header {
    references: AtomicU32,
    /// The task is on the remote list.
    pub(super) woken_remotely: AtomicBool,
    /// The task is on the local run queue.
    pub(super) queued: Cell<bool>,
    /// The future, or its output, is being polled or dropped: the stage is in use.
    pub(super) running: Cell<bool>,
    /// The future is gone: it has completed or was cancelled.
    pub(super) complete: Cell<bool>,
    /// Cancelled while running: drop the future when its poll returns.
    pub(super) cancelled: Cell<bool>,
    /// A poll of the future ended in a panic.
    pub(super) panicked: Cell<bool>,
    /// Nobody will ask for the output.
    pub(super) detached: Cell<bool>,
    /// Bytes of the name, which begins at `name`: apart, they take 12 bytes and not 16.
    name_bytes: u32,
    name: NonNull<u8>,
    pub(super) remote: Arc<Remote>,
    vtable: &'static Vtable,
    /// Link of the local run queue.
    pub(super) next_queued: Cell<Option<TaskPtr>>,
    /// Links of the set of live tasks.
    pub(super) next_live: Cell<Option<TaskPtr>>,
    pub(super) previous_live: Cell<Option<TaskPtr>>,
    /// Who waits for the output: nobody, mostly.
    pub(super) joiner: UnsafeCell<Option<Box<Waker>>>,
}

impl Header {
    pub(super) fn name(&self) -> &'static str {
        // SAFETY: the two parts of one `&'static str`, taken apart in `allocate` and never changed.
        unsafe { str::from_utf8_unchecked(std::slice::from_raw_parts(self.name.as_ptr(), self.name_bytes as usize)) }
    }
}

/// What depends on the future's type.
struct Vtable {
    poll: unsafe fn(TaskPtr, &mut Context<'_>) -> bool,
    /// Empties the stage.
    clear: unsafe fn(TaskPtr),
    /// Moves the output to `*mut Option<Result<T, Panic>>`.
    take_output: unsafe fn(TaskPtr, *mut ()),
    free: unsafe fn(TaskPtr),
}

enum Stage<F: Future> {
    Future(F),
    Output(Result<F::Output, Panic>),
    Empty,
}

#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

/// Makes a task; the pointer carries two counts: the live set's and the join handle's.
pub(super) fn allocate<F: Future>(name: &'static str, future: F, remote: Arc<Remote>) -> TaskPtr {
    let name = if name.len() <= u32::MAX as usize { name } else { "" };
    let cell = Box::new(TaskCell {
        header: Header {
            references: AtomicU32::new(2),
            woken_remotely: AtomicBool::new(false),
            queued: Cell::new(false),
            running: Cell::new(false),
            complete: Cell::new(false),
            cancelled: Cell::new(false),
            panicked: Cell::new(false),
            detached: Cell::new(false),
            name_bytes: name.len() as u32,
            name: NonNull::from(name).cast(),
            remote,
            vtable: const { &Vtable { poll: poll::<F>, clear: clear::<F>, take_output: take_output::<F>, free: free::<F> } },
            next_queued: Cell::new(None),
            next_live: Cell::new(None),
            previous_live: Cell::new(None),
            joiner: UnsafeCell::new(None),
        },
        stage: UnsafeCell::new(Stage::Future(future)),
    });
    // The header is the first field of a repr(C) struct: a pointer to the cell is a pointer to it.
    NonNull::from(Box::leak(cell)).cast()
}

/// SAFETY (of every caller): owner thread, `task` is alive, made by `allocate::<F>`, and its stage is not borrowed.
unsafe fn poll<F: Future>(task: TaskPtr, context: &mut Context<'_>) -> bool {
    // SAFETY: by the caller; the stage is reached only here, in `clear` and `take_output`, none of which nests (running).
    let stage = unsafe { &mut *task.cast::<TaskCell<F>>().as_ref().stage.get() };
    let Stage::Future(future) = stage else { return true };
    // SAFETY: the future lies in a heap cell and is dropped in place before it could move.
    let future = unsafe { Pin::new_unchecked(future) };
    let output = match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
        Ok(Poll::Pending) => return false,
        Ok(Poll::Ready(output)) => Ok(output),
        Err(panic) => {
            // SAFETY: as above; the header is another field than the stage.
            unsafe { task.as_ref() }.panicked.set(true);
            Err(panic)
        }
    };
    // The future goes before its output comes; a panic of its drop is contained as well.
    let dropped = catch_unwind(AssertUnwindSafe(|| *stage = Stage::Empty));
    *stage = Stage::Output(dropped.and(output));
    true
}

/// SAFETY (of every caller): as for `poll`.
unsafe fn clear<F: Future>(task: TaskPtr) {
    // SAFETY: by the caller.
    let stage = unsafe { &mut *task.cast::<TaskCell<F>>().as_ref().stage.get() };
    // A panic of a drop ends with the task it belongs to.
    let _ = catch_unwind(AssertUnwindSafe(|| *stage = Stage::Empty));
}

/// SAFETY (of every caller): as for `poll`, and `target` is a `*mut Option<Result<F::Output, Panic>>` to write to.
unsafe fn take_output<F: Future>(task: TaskPtr, target: *mut ()) {
    // SAFETY: by the caller.
    let stage = unsafe { &mut *task.cast::<TaskCell<F>>().as_ref().stage.get() };
    if let Stage::Output(_) = stage
        && let Stage::Output(output) = std::mem::replace(stage, Stage::Empty)
    {
        // SAFETY: by the caller.
        unsafe { *target.cast::<Option<Result<F::Output, Panic>>>() = Some(output) };
    }
}

/// SAFETY (of every caller): the last count is gone, nobody else has the pointer.
unsafe fn free<F: Future>(task: TaskPtr) {
    // SAFETY: made by `allocate` from a box of this type. The stage is empty (rule 5), so no foreign drop runs here.
    drop(unsafe { Box::from_raw(task.cast::<TaskCell<F>>().as_ptr()) });
}

/// One count more.
pub(super) fn retain(task: TaskPtr) {
    // SAFETY: whoever calls this has a count, so the cell is alive; the field is atomic.
    let before = unsafe { task.as_ref() }.references.fetch_add(1, Ordering::Relaxed);
    if before > i32::MAX as u32 {
        // As in `Arc`: only leaked wakers get here, and a count that wraps would free a live task.
        std::process::abort();
    }
}

/// One count less; the last frees the cell.
pub(super) fn release(task: TaskPtr) {
    // SAFETY: the caller gives up a count it has, so the cell is alive until this very operation.
    if unsafe { task.as_ref() }.references.fetch_sub(1, Ordering::Release) == 1 {
        fence(Ordering::Acquire);
        // SAFETY: the last count; the vtable is of this cell's type.
        unsafe { (task.as_ref().vtable.free)(task) }
    }
}

/// Polls the future once; true when it has ended. Owner thread only.
pub(super) fn run(task: TaskPtr) -> bool {
    // SAFETY: the caller (the queue) holds a count and is the owner thread.
    let header = unsafe { task.as_ref() };
    header.running.set(true);
    // SAFETY: the waker is never dropped, so it needs no count of its own; the vtable obeys the contract of `Waker`.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(task.as_ptr().cast(), &WAKER)) });
    // SAFETY: owner thread, alive, not running before this.
    let done = unsafe { (header.vtable.poll)(task, &mut Context::from_waker(&waker)) };
    header.running.set(false);
    done
}

/// Drops future or output. Owner thread only, and not while running.
pub(super) fn empty(task: TaskPtr) {
    // SAFETY: the caller has a count, so the task is alive.
    let header = unsafe { task.as_ref() };
    // What is dropped here may hold the task's own join handle: it must find the stage in use.
    header.running.set(true);
    // SAFETY: owner thread, alive, and not running before this.
    unsafe { (header.vtable.clear)(task) }
    header.running.set(false);
}

/// The output, once. Owner thread only; `T` is the output of the task's future.
///
/// # Safety
/// The task was made by `allocate::<F>` with `F::Output == T`, and the caller has a count.
pub(super) unsafe fn output<T>(task: TaskPtr) -> Option<Result<T, Panic>> {
    let mut output: Option<Result<T, Panic>> = None;
    // SAFETY: by the caller; the target is of the type that the vtable writes.
    unsafe { (task.as_ref().vtable.take_output)(task, (&raw mut output).cast()) };
    output
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |task| {
        retain(pointer(task));
        RawWaker::new(task, &WAKER)
    },
    |task| {
        wake(pointer(task));
        release(pointer(task));
    },
    |task| wake(pointer(task)),
    |task| release(pointer(task)),
);

fn pointer(task: *const ()) -> TaskPtr {
    NonNull::new(task.cast_mut().cast()).expect("a waker's pointer is of a task")
}

/// Puts a task on the run queue of its core. The caller has a count.
pub(super) fn wake(task: TaskPtr) {
    // SAFETY: the caller has a count; only the parts that any thread may touch are touched here (rule 2).
    let header = unsafe { task.as_ref() };
    if header.remote.is_owner_thread() {
        // SAFETY: the owner thread, and the queue is open, so the local side is alive.
        unsafe { header.remote.local() }.push(task);
    } else if !header.woken_remotely.swap(true, Ordering::AcqRel) {
        retain(task);
        header.remote.push(RemoteTask(task));
    }
}

/// A task on its way to its core; it holds a count.
pub(super) struct RemoteTask(pub(super) TaskPtr);

// SAFETY: other threads only store and drop it, and dropping touches the count alone (rules 2 and 5).
unsafe impl Send for RemoteTask {}

impl Drop for RemoteTask {
    fn drop(&mut self) {
        release(self.0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_every_task_holds_is_small() {
        assert_eq!(size_of::<super::Header>(), 72);
    }
}
