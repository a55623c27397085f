//! Threads at work for a request. They cannot be stopped: a stream that was reset keeps its place on its connection until
//! they have returned, or a peer could have any number of them by opening and resetting (F-01).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

/// How many jobs of the crew a request has, waiting ones included.
#[derive(Debug, Default)]
pub(crate) struct Work {
    jobs: AtomicUsize,
    /// Who wants to know when there is none.
    waker: Mutex<Option<Waker>>,
}

impl Work {
    /// Whether there is none; wakes `waker` when there is none any more.
    pub(crate) fn is_over(&self, waker: &Waker) -> bool {
        if self.jobs.load(Ordering::Acquire) == 0 {
            return true;
        }
        *self.lock() = Some(waker.clone());
        // The last one may have ended in between, and have found nobody to wake.
        self.jobs.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One job, from its acceptance to its end.
#[derive(Debug)]
pub(crate) struct Job {
    work: Arc<Work>,
}

impl Job {
    pub(crate) fn new(work: Arc<Work>) -> Self {
        work.jobs.fetch_add(1, Ordering::Relaxed);
        Self { work }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.work.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waker = self.work.lock().take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    struct Flag(AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_last_job_wakes_who_asked() {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(flag.clone());
        let work = Arc::new(Work::default());
        assert!(work.is_over(&waker));
        let (one, two) = (Job::new(work.clone()), Job::new(work.clone()));
        assert!(!work.is_over(&waker));
        drop(one);
        assert!(!flag.0.load(Ordering::SeqCst) && !work.is_over(&waker));
        std::thread::spawn(|| drop(two)).join().unwrap();
        assert!(flag.0.load(Ordering::SeqCst) && work.is_over(&waker));
    }
}
