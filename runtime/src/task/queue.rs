//! The tasks of one core: those that are alive, those that are to run, and those that other threads have woken.

use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::wake::WakeCell;
use crate::task::header::{RemoteTask, TaskPtr, allocate, empty, release, run};
use crate::task::join::JoinHandle;

thread_local! {
    /// Its address tells threads apart; nothing is ever stored in it.
    static THREAD_MARK: u8 = const { 0 };
}

fn thread_mark() -> usize {
    THREAD_MARK.with(|mark| std::ptr::from_ref(mark) as usize)
}

/// The side of the queue that every thread may touch.
pub(crate) struct Remote {
    /// The owner thread's mark; zero once the queue is closed.
    owner: AtomicUsize,
    has_tasks: AtomicBool,
    tasks: Mutex<Vec<RemoteTask>>,
    wake: Arc<WakeCell>,
    local: LocalPtr,
}

/// The way from a task to the owner thread's side: valid while a task is not complete, since a queue that goes completes
/// all of them first.
struct LocalPtr(*const Local);

// SAFETY: other threads only keep it; it is followed by the owner thread alone (`Remote::local`).
unsafe impl Send for LocalPtr {}
// SAFETY: as above.
unsafe impl Sync for LocalPtr {}

impl Remote {
    /// The owner thread's side.
    ///
    /// # Safety
    /// To be called on the owner thread, for a task that is not complete, or while the queue is open.
    pub(super) unsafe fn local(&self) -> &Local {
        // SAFETY: by the caller; the queue holds it, and gives it up after the last task is complete.
        unsafe { &*self.local.0 }
    }

    pub(super) fn is_owner_thread(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == thread_mark()
    }

    pub(super) fn push(&self, task: RemoteTask) {
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if self.owner.load(Ordering::Acquire) == 0 {
                return;
            }
            tasks.push(task);
            // Under the lock, as in `take`: the flag says what the list holds, in every order of the two.
            self.has_tasks.store(true, Ordering::Release);
        }
        self.wake.wake();
    }

    /// Whether other threads have woken tasks that are not yet queued.
    pub(crate) fn has_tasks(&self) -> bool {
        self.has_tasks.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<RemoteTask> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_tasks.store(false, Ordering::Relaxed);
        std::mem::take(&mut *tasks)
    }
}

/// The side that only the owner thread touches.
pub(super) struct Local {
    first: Cell<Option<TaskPtr>>,
    last: Cell<Option<TaskPtr>>,
    live: Cell<Option<TaskPtr>>,
    live_count: Cell<usize>,
    panics: Cell<usize>,
}

impl Local {
    /// Puts a task at the end of the run queue, unless it is there or has ended.
    pub(super) fn push(&self, task: TaskPtr) {
        // SAFETY: the caller has a count; owner thread.
        let header = unsafe { task.as_ref() };
        if header.queued.get() || header.complete.get() {
            return;
        }
        header.queued.set(true);
        header.next_queued.set(None);
        match self.last.replace(Some(task)) {
            // SAFETY: queued tasks are alive: the live set or, once complete, the queue's entry holds a count.
            Some(last) => unsafe { last.as_ref() }.next_queued.set(Some(task)),
            None => self.first.set(Some(task)),
        }
    }

    fn pop(&self) -> Option<TaskPtr> {
        let task = self.first.get()?;
        // SAFETY: as in `push`.
        let header = unsafe { task.as_ref() };
        self.first.set(header.next_queued.take());
        if self.first.get().is_none() {
            self.last.set(None);
        }
        header.queued.set(false);
        Some(task)
    }

    fn insert_live(&self, task: TaskPtr) {
        // SAFETY: just made, or a member of the set: alive.
        let header = unsafe { task.as_ref() };
        let next = self.live.replace(Some(task));
        header.next_live.set(next);
        if let Some(next) = next {
            // SAFETY: as above.
            unsafe { next.as_ref() }.previous_live.set(Some(task));
        }
        self.live_count.set(self.live_count.get() + 1);
    }

    fn remove_live(&self, task: TaskPtr) {
        // SAFETY: members of the set are alive.
        let header = unsafe { task.as_ref() };
        let (previous, next) = (header.previous_live.take(), header.next_live.take());
        match previous {
            // SAFETY: as above.
            Some(previous) => unsafe { previous.as_ref() }.next_live.set(next),
            None => self.live.set(next),
        }
        if let Some(next) = next {
            // SAFETY: as above.
            unsafe { next.as_ref() }.previous_live.set(previous);
        }
        self.live_count.set(self.live_count.get() - 1);
    }

    /// The task has ended: it leaves the set, the set's count goes (or passes to the queue), and its joiner is told.
    pub(super) fn ended(&self, task: TaskPtr) {
        // SAFETY: a member of the set until now.
        let header = unsafe { task.as_ref() };
        header.complete.set(true);
        self.remove_live(task);
        // SAFETY: owner thread; the cell is borrowed here, in `JoinHandle::poll`, and nowhere while foreign code runs.
        let joiner = unsafe { (*header.joiner.get()).take() };
        if !header.queued.get() {
            release(task);
        }
        // Last: a waker may be anybody's, and run a turn, or drop the executor, before it returns.
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }
}

/// All tasks of one core.
pub(crate) struct Queue {
    local: Rc<Local>,
    remote: Arc<Remote>,
    /// The pointers in the tasks are of one thread.
    not_send: PhantomData<*const ()>,
}

impl Queue {
    /// A queue whose owner is the current thread.
    pub(crate) fn new(wake: Arc<WakeCell>) -> Self {
        let local = Rc::new(Local {
            first: Cell::new(None),
            last: Cell::new(None),
            live: Cell::new(None),
            live_count: Cell::new(0),
            panics: Cell::new(0),
        });
        Self {
            remote: Arc::new(Remote {
                owner: AtomicUsize::new(thread_mark()),
                has_tasks: AtomicBool::new(false),
                tasks: Mutex::default(),
                wake,
                local: LocalPtr(Rc::as_ptr(&local)),
            }),
            local,
            not_send: PhantomData,
        }
    }

    /// Starts a task.
    pub(crate) fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let task = allocate(name, future, Arc::clone(&self.remote));
        self.local.insert_live(task);
        if self.remote.is_owner_thread() {
            self.local.push(task);
        } else {
            // The queue is closed: the executor is being dropped, and with it goes what its tasks still spawn.
            empty(task);
            self.local.ended(task);
        }
        JoinHandle::new(task)
    }

    /// Moves what other threads have woken to the run queue.
    pub(crate) fn take_remote(&self) {
        if self.remote.has_tasks() {
            for task in self.remote.take() {
                // SAFETY: the entry holds a count.
                let header = unsafe { task.0.as_ref() };
                // Read and written in one: a waker that found the flag set did not push, and counts on this poll to see
                // what it published before. A plain store could pass the poll's own reads, and its news be lost.
                header.woken_remotely.swap(false, Ordering::AcqRel);
                self.local.push(task.0);
            }
        }
    }

    /// The other threads' side.
    pub(crate) fn remote(&self) -> &Remote {
        &self.remote
    }

    /// True when a task is to run.
    pub(crate) fn is_runnable(&self) -> bool {
        self.local.first.get().is_some()
    }

    /// Tasks that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.local.live_count.get()
    }

    /// Tasks that have ended in a panic.
    pub(crate) fn panics(&self) -> usize {
        self.local.panics.get()
    }

    /// Runs the next task for one poll, and says its name; `None` when none is to run.
    pub(crate) fn run_next(&self) -> Option<&'static str> {
        let task = self.local.pop()?;
        // SAFETY: a queued task is alive (rule 4).
        let header = unsafe { task.as_ref() };
        let name = header.name();
        if header.complete.get() {
            // It ended while it was queued; the set's count had passed to the queue's entry.
            release(task);
            return Some(name);
        }
        if header.running.get() {
            // Its future is being dropped, and that runs this turn; whoever drops it ends the task.
            return Some(name);
        }
        let done = run(task);
        let cancelled = header.cancelled.get();
        if cancelled || (done && header.detached.get()) {
            empty(task);
        }
        if header.panicked.get() {
            self.local.panics.set(self.local.panics.get() + 1);
        }
        if cancelled || done {
            self.local.ended(task);
        }
        Some(name)
    }

    /// Ends all tasks: their futures are dropped. What they spawn or wake meanwhile ends as well.
    pub(crate) fn close(&self) {
        while let Some(task) = self.local.live.get() {
            // SAFETY: members of the set are alive.
            if !unsafe { task.as_ref() }.running.get() {
                empty(task);
            }
            // Otherwise its future is being dropped already, and the executor with it.
            self.local.ended(task);
        }
        while let Some(task) = self.local.pop() {
            release(task);
        }
        {
            let _tasks = self.remote.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            self.remote.owner.store(0, Ordering::Release);
        }
        drop(self.remote.take());
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}
