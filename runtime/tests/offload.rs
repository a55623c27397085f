//! The crew under all the circumstances its documentation names.
//!
//! Not under Miri, which lacks `sched_setscheduler`, and with it every thread of a crew. What crosses threads is walked there
//! by the tests at the foot of `offload/answer.rs`.
#![cfg(not(miri))]

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use ringgate_runtime::{
    offload::{
        Crew, CrewConfig, Drained, Full, ShutDown,
        files::{FileError, FileReader, read_file},
    },
    sys::affinity::{current_thread_cpus, pin_current_thread},
};

/// Wakes a thread: the smallest executor there is. Ten seconds without an answer is a failure.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(Instant::now() < until, "no wake came");
        thread::park_timeout(Duration::from_secs(10));
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn crew(threads_max: usize, queue_max: usize) -> Crew {
    Crew::new(CrewConfig { threads_max, queue_max, idle_timeout_ms: 10_000, cpus: None })
}

fn in_ms(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

/// A job that holds its thread until the returned sender is dropped.
fn hold(crew: &Crew) -> (mpsc::Sender<()>, ringgate_runtime::offload::Offloaded<()>) {
    let (release, held) = mpsc::channel::<()>();
    let (begun, begins) = mpsc::channel();
    let job = crew.run(move || {
        begun.send(()).unwrap();
        let _ = held.recv();
    });
    begins.recv_timeout(Duration::from_secs(10)).unwrap();
    (release, job.unwrap())
}

#[test]
fn an_answer_wakes_the_asker() {
    let crew = crew(4, 100);
    let answer = crew.run(|| {
        thread::sleep(Duration::from_millis(20));
        thread::current().name().map(str::to_owned)
    });
    assert_eq!(block_on(answer.unwrap()).unwrap().as_deref(), Some("crew-0"));
    eventually("the thread reports back", || crew.counters().busy == 0);
    assert_eq!(block_on(crew.run(|| 7).unwrap()).unwrap(), 7);
    eventually("the thread reports back", || crew.counters().busy == 0);
    let counters = crew.counters();
    assert_eq!((counters.threads, counters.ran, counters.queued), (1, 2, 0));
}

#[test]
fn grows_to_its_bound_and_refuses_beyond_the_queue() {
    let crew = crew(3, 2);
    let held: Vec<_> = (0..3).map(|_| hold(&crew)).collect();
    let waiting = [crew.run(|| 1).unwrap(), crew.run(|| 2).unwrap()];
    assert_eq!(crew.run(|| 3).unwrap_err(), Full);
    let counters = crew.counters();
    assert_eq!((counters.threads, counters.busy, counters.queued, counters.refused), (3, 3, 2, 1));
    drop(held);
    for (job, expected) in waiting.into_iter().zip(1..) {
        assert_eq!(block_on(job).unwrap(), expected);
    }
}

#[test]
fn without_a_queue_a_free_thread_is_enough() {
    let crew = crew(1, 0);
    for round in 0..50 {
        assert_eq!(block_on(crew.run(move || round).unwrap()).unwrap(), round);
        eventually("the thread reports back", || crew.counters().busy == 0);
    }
    let (release, job) = hold(&crew);
    assert_eq!(crew.run(|| ()).unwrap_err(), Full);
    drop(release);
    block_on(job).unwrap();
}

#[test]
fn panics_are_contained() {
    let crew = crew(1, 10);
    let panicked = block_on(crew.run(|| panic!("on purpose")).unwrap()).unwrap_err();
    assert_eq!(panicked.message(), Some("on purpose"));
    assert_eq!(block_on(crew.run(|| 5).unwrap()).unwrap(), 5);
    eventually("the thread reports back", || crew.counters().ran == 2);
    assert_eq!((crew.counters().panicked, crew.counters().threads), (1, 1));
}

#[test]
fn a_job_forgotten_before_it_began_is_dropped_at_once_and_not_run() {
    let crew = crew(1, 1);
    let (release, held) = hold(&crew);
    let ran = Arc::new(AtomicBool::new(false));
    let flag = ran.clone();
    let job = crew.run(move || flag.store(true, Ordering::SeqCst)).unwrap();
    assert_eq!(Arc::strong_count(&ran), 2);
    drop(job);
    assert_eq!(Arc::strong_count(&ran), 1, "what the job holds is freed where it was forgotten");
    let counters = crew.counters();
    assert_eq!((counters.queued, counters.forgotten), (0, 1), "its place in the queue is free again");
    let next = crew.run(|| 2).unwrap();
    drop(release);
    assert_eq!(block_on(next).unwrap(), 2);
    block_on(held).unwrap();
    assert!(!ran.load(Ordering::SeqCst));
}

/// Reports the thread it is dropped on; panics there if asked to.
struct Witness(mpsc::Sender<Option<String>>, bool);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().map(str::to_owned));
        assert!(!self.1, "a drop that panics, on purpose");
    }
}

#[test]
fn a_forgotten_answer_is_dropped_on_the_crews_thread_even_if_that_panics() {
    let crew = crew(1, 10);
    for panics in [false, true] {
        let (dropped, report) = mpsc::channel();
        let (meet, meeting) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (meet_there, meeting_there) = (meet.clone(), meeting.clone());
        let job = crew.run(move || {
            meet_there.wait();
            meeting_there.wait();
            Witness(dropped, panics)
        });
        meet.wait();
        drop(job.unwrap());
        meeting.wait();
        assert_eq!(report.recv_timeout(Duration::from_secs(10)).unwrap().as_deref(), Some("crew-0"));
    }
    assert_eq!(block_on(crew.run(|| 1).unwrap()).unwrap(), 1);
}

#[test]
fn idle_threads_leave_and_come_back() {
    let crew = Crew::new(CrewConfig { threads_max: 4, queue_max: 10, idle_timeout_ms: 30, cpus: None });
    let held: Vec<_> = (0..4).map(|_| hold(&crew)).collect();
    assert_eq!(crew.counters().threads, 4);
    drop(held);
    eventually("idle threads leave", || crew.counters().threads == 0);
    assert_eq!(block_on(crew.run(|| 1).unwrap()).unwrap(), 1);
}

#[test]
fn threads_do_not_inherit_the_pinning_of_a_core() {
    let all = current_thread_cpus().unwrap();
    let crew = crew(2, 10);
    let last = *all.last().unwrap();
    let chosen = Crew::new(CrewConfig { cpus: Some(vec![last]), ..CrewConfig::default() });
    thread::spawn(move || {
        pin_current_thread(all[0]).unwrap();
        assert_eq!(block_on(crew.run(|| current_thread_cpus().unwrap()).unwrap()).unwrap(), all);
        assert_eq!(block_on(chosen.run(|| current_thread_cpus().unwrap()).unwrap()).unwrap(), [last]);
    })
    .join()
    .unwrap();
}

#[test]
fn threads_do_not_interrupt_a_core_when_they_wake() {
    // Field 41 of `stat` is the policy, counted behind the name in field 2.
    let policy = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(41 - 3).unwrap().parse::<i32>().unwrap()
    };
    assert_eq!(block_on(crew(1, 1).run(policy).unwrap()).unwrap(), libc::SCHED_BATCH);
    assert_eq!(policy(), libc::SCHED_OTHER, "the asker keeps its own");
}

#[test]
fn shutdown_runs_what_waits() {
    let crew = crew(1, 100);
    let done = Arc::new(AtomicUsize::new(0));
    let jobs: Vec<_> = (0..50)
        .map(|_| {
            let done = done.clone();
            crew.run(move || done.fetch_add(1, Ordering::SeqCst)).unwrap()
        })
        .collect();
    assert_eq!(crew.shutdown(in_ms(10_000)), Drained { abandoned: 0, running: 0 });
    assert_eq!(done.load(Ordering::SeqCst), 50);
    assert_eq!(crew.counters().threads, 0);
    assert_eq!(crew.run(|| ()).unwrap_err(), Full);
    for job in jobs {
        block_on(job).unwrap();
    }
}

#[test]
fn shutdown_gives_up_at_its_deadline() {
    let crew = crew(1, 10);
    let (release, held) = hold(&crew);
    let waiting = crew.run(|| ()).unwrap();
    let before = Instant::now();
    assert_eq!(crew.shutdown(in_ms(50)), Drained { abandoned: 1, running: 1 });
    assert!(before.elapsed() >= Duration::from_millis(50));
    let abandoned = block_on(waiting).unwrap_err();
    assert!(abandoned.0.is::<ShutDown>(), "{abandoned}");
    drop(release);
    block_on(held).unwrap();
    eventually("the thread leaves", || crew.counters().threads == 0);
}

#[test]
fn without_handles_the_threads_finish_and_leave() {
    let crew = crew(1, 10);
    let (release, held) = hold(&crew);
    let waiting = crew.run(|| 9).unwrap();
    drop(crew);
    drop(release);
    block_on(held).unwrap();
    assert_eq!(block_on(waiting).unwrap(), 9);
}

#[test]
fn many_askers_at_once() {
    let crew = crew(4, 10_000);
    thread::scope(|scope| {
        for asker in 0..4u64 {
            let crew = &crew;
            scope.spawn(move || {
                for round in 0..500 {
                    let job = crew.run(move || asker * 1000 + round).unwrap();
                    if round % 7 == 0 {
                        drop(job);
                    } else {
                        assert_eq!(block_on(job).unwrap(), asker * 1000 + round);
                    }
                }
            });
        }
    });
    assert_eq!(crew.shutdown(in_ms(10_000)), Drained { abandoned: 0, running: 0 });
    let counters = crew.counters();
    assert_eq!(counters.ran + counters.forgotten, 2000);
    assert_eq!((counters.queued, counters.refused, counters.panicked), (0, 0, 0));
}

/// A file in the temporary directory, removed on drop.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("ringgate-offload-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 % 251) as u8).collect()
}

#[test]
fn a_whole_file_within_its_bound() {
    let (crew, bytes) = (crew(2, 10), pattern(10_000));
    let file = Scratch::new("whole", &bytes);
    assert_eq!(block_on(read_file(&crew, &file.0, 10_000)).unwrap(), bytes);
    assert!(matches!(block_on(read_file(&crew, &file.0, 9_999)), Err(FileError::TooLarge)));
    let missing = block_on(read_file(&crew, file.0.with_extension("none"), 1)).unwrap_err();
    assert!(matches!(missing, FileError::Io(error) if error.kind() == std::io::ErrorKind::NotFound));
    assert!(matches!(block_on(read_file(&crew, std::env::temp_dir(), 1)), Err(FileError::NotAFile)));
    // Says that it is empty, and is not.
    assert!(!block_on(read_file(&crew, "/proc/self/status", 100_000)).unwrap().is_empty());
    assert!(matches!(block_on(read_file(&crew, "/proc/self/status", 10)), Err(FileError::TooLarge)));
}

#[test]
fn a_fifo_holds_no_thread() {
    let path = std::env::temp_dir().join(format!("ringgate-offload-{}-fifo", std::process::id()));
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let answer = block_on(read_file(&crew(1, 1), &path, 10));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(answer, Err(FileError::NotAFile)));
}

#[test]
fn a_range_in_chunks() {
    let (crew, bytes) = (crew(2, 10), pattern(10_000));
    let file = Scratch::new("range", &bytes);
    for (start, end) in [(0, 10_000), (1, 9_999), (500, 501), (4096, 8192), (10_000, 10_000), (7, 7)] {
        let mut reader = block_on(FileReader::open_range(&crew, &file.0, start..end, 1000)).unwrap();
        assert_eq!((reader.metadata().len(), reader.remaining()), (10_000, end - start));
        let mut read = Vec::new();
        while let Some(chunk) = block_on(reader.next_chunk()).unwrap() {
            assert!(chunk.len() == 1000 || reader.remaining() == 0);
            read.extend_from_slice(&chunk);
        }
        assert_eq!(read, bytes[start as usize..end as usize]);
    }
    let open = |range: (std::ops::Bound<u64>, std::ops::Bound<u64>)| {
        block_on(FileReader::open_range(&crew, &file.0, range, 1000)).map(|reader| reader.remaining())
    };
    use std::ops::Bound::{Excluded, Included, Unbounded};
    assert_eq!(open((Unbounded, Included(99))).unwrap(), 100);
    assert_eq!(open((Included(9_000), Unbounded)).unwrap(), 1_000);
    for range in [
        (Included(0), Excluded(10_001)),
        (Included(10_001), Unbounded),
        (Included(5), Excluded(4)),
        (Unbounded, Included(u64::MAX)),
    ] {
        assert!(matches!(open(range), Err(FileError::OutOfRange(10_000))), "{range:?}");
    }
}

#[test]
fn a_reader_survives_truncation_refusal_and_a_dropped_read() {
    let (crew, bytes) = (crew(1, 1), pattern(3_000));
    let file = Scratch::new("survives", &bytes);
    let mut reader = block_on(FileReader::open(&crew, &file.0, 1000)).unwrap();
    // While the only thread is held, a read can only wait; then the queue is full, and it cannot even do that.
    let (release, held) = hold(&crew);
    {
        let mut dropped = pin!(reader.next_chunk());
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let waiting = crew.run(|| ()).unwrap();
    assert!(matches!(block_on(reader.next_chunk()), Err(FileError::Full)));
    drop(release);
    block_on(held).unwrap();
    block_on(waiting).unwrap();
    assert_eq!(block_on(reader.next_chunk()).unwrap().unwrap(), bytes[..1000]);
    std::fs::OpenOptions::new().write(true).open(&file.0).unwrap().set_len(1_500).unwrap();
    assert!(matches!(block_on(reader.next_chunk()), Err(FileError::Truncated)));
}
