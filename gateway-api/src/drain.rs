//! The connections of a core, so that they can be told to end, waited for, and cut.

use crate::request::Link;
use ringgate_runtime::task::JoinHandle;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::{Future, poll_fn},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// What a drain came to.
///
/// ```
/// use ringgate::{App, DrainReport, Gateway, Request};
/// use std::{io::Write, net::TcpStream, time::Duration};
/// # static BEGUN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
/// async fn endless(_: Request) {
/// #   BEGUN.store(true, std::sync::atomic::Ordering::SeqCst);
///     std::future::pending().await
/// }
/// let gateway = Gateway::builder(|_| App::new().route("/", endless)).listen("127.0.0.1:0".parse().unwrap()).start()?;
/// let mut client = TcpStream::connect(gateway.addresses()[0].to_string())?;
/// client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
/// # while !BEGUN.load(std::sync::atomic::Ordering::SeqCst) {
/// #     std::thread::sleep(Duration::from_millis(1));
/// # }
/// let DrainReport { open, cut, took } = gateway.stop(Duration::from_millis(100))?;
/// println!("{cut} of {open} connections were cut after {took:?}");
/// assert_eq!((open, cut), (1, 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections open when it began.
    pub open: usize,
    /// Connections that were cut at the deadline, their exchanges unfinished.
    pub cut: usize,
    /// How long it took.
    pub took: Duration,
}

/// All connections of a core.
#[derive(Default)]
pub(crate) struct Registry {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    count: usize,
    /// Wakes the connections that are not in a task of ours, by their places.
    foreign: BTreeMap<u32, Waker>,
    /// Wait for the last one to end: drains, and there may be several.
    waiting: Vec<Waker>,
}

struct Entry {
    link: Rc<Link>,
    task: Option<JoinHandle<()>>,
}

impl Registry {
    /// Connections open now.
    pub(crate) fn count(&self) -> usize {
        self.inner.borrow().count
    }

    /// Takes a connection in; it leaves when the answer is dropped.
    pub(crate) fn enter(self: &Rc<Self>, link: Rc<Link>) -> Member {
        let mut inner = self.inner.borrow_mut();
        let entry = Some(Entry { link, task: None });
        inner.count += 1;
        let place = match inner.free.pop() {
            Some(place) => {
                inner.entries[place as usize] = entry;
                place
            }
            None => {
                inner.entries.push(entry);
                (inner.entries.len() - 1) as u32
            }
        };
        Member { registry: self.clone(), place }
    }

    /// Keeps the task of a connection, so that it can be cut.
    pub(crate) fn keep(&self, place: u32, task: JoinHandle<()>) {
        match self.inner.borrow_mut().entries[place as usize].as_mut() {
            Some(entry) => entry.task = Some(task),
            None => task.detach(),
        }
    }

    /// Keeps what wakes a connection that is polled by somebody else.
    pub(crate) fn remember(&self, place: u32, cx: &Context<'_>) {
        let mut inner = self.inner.borrow_mut();
        if !inner.foreign.get(&place).is_some_and(|waker| waker.will_wake(cx.waker())) {
            let former = inner.foreign.insert(place, cx.waker().clone());
            // A foreign waker may hold what comes back to us when it is dropped.
            drop(inner);
            drop(former);
        }
    }

    /// Wakes every connection: those that are idle end by themselves.
    pub(crate) fn wake_all(&self) {
        let inner = self.inner.borrow();
        inner.entries.iter().flatten().filter_map(|entry| entry.task.as_ref()).for_each(JoinHandle::wake);
        let foreign: Vec<Waker> = inner.foreign.values().cloned().collect();
        // What a foreign waker does is not known: it may come back to us.
        drop(inner);
        foreign.into_iter().for_each(Waker::wake);
    }

    /// Done when no connection is left.
    pub(crate) async fn empty(&self) {
        poll_fn(|cx| {
            let mut inner = self.inner.borrow_mut();
            if inner.count == 0 {
                return Poll::Ready(());
            }
            if !inner.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                inner.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Ends what is left, at once. Answers how many had not finished their exchange.
    pub(crate) fn cut(&self) -> usize {
        let mut unfinished = 0;
        let mut tasks = Vec::new();
        for entry in self.inner.borrow_mut().entries.iter_mut().flatten() {
            // One that somebody else drives goes on.
            let Some(task) = entry.task.take() else { continue };
            unfinished += usize::from(!entry.link.is_finished.get());
            tasks.push(task);
        }
        // Dropping a task's handle drops the task, and with it its membership here.
        drop(tasks);
        unfinished
    }
}

/// A connection's place among the others.
pub(crate) struct Member {
    registry: Rc<Registry>,
    place: u32,
}

impl Member {
    /// What a drain looks at is this from now on.
    pub(crate) fn relink(&self, link: Rc<Link>) {
        if let Some(entry) = &mut self.registry.inner.borrow_mut().entries[self.place as usize] {
            entry.link = link;
        }
    }

    pub(crate) fn place(&self) -> u32 {
        self.place
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut inner = self.registry.inner.borrow_mut();
        let entry = inner.entries[self.place as usize].take();
        inner.free.push(self.place);
        let foreign = inner.foreign.remove(&self.place);
        inner.count -= 1;
        let waiting = if inner.count == 0 { std::mem::take(&mut inner.waiting) } else { Vec::new() };
        drop(inner);
        drop(foreign);
        if let Some(Entry { link, task }) = entry {
            link.core.shared.counters.connections_open.down();
            task.into_iter().for_each(JoinHandle::detach);
        }
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// The first of two futures that is done; the other is dropped.
pub(crate) async fn either(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    poll_fn(|cx| {
        if first.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        second.as_mut().poll(cx)
    })
    .await;
}
