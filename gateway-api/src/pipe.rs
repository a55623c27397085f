//! A bounded pipe of bytes between a core and a thread of the crew. Either end may be the waiting one (on the core,
//! with a waker) or the blocking one (on a thread, with a condition variable); the bytes are copied in once.

use crate::error::BodyError;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Small pieces are gathered up to this size.
pub(crate) const GATHERED_BYTES_MAX: usize = 4096;

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    queued: usize,
    end: Option<Result<(), BodyError>>,
    reader_gone: bool,
    wanted: bool,
    trailers: Option<HeaderMap>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Threads that block: without one nobody has to be notified, which would cost a system call.
    blocked: usize,
}

impl State {
    fn is_read(&self) -> bool {
        self.queue.is_empty() && self.end == Some(Ok(()))
    }
}

/// What both ends share. A queue never holds more than `capacity` bytes and one piece.
#[derive(Debug)]
pub(crate) struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), capacity: capacity.max(1) })
    }

    /// A panic on the other side cannot leave the queue half changed: every change is complete before a call that
    /// could panic, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the other end has done something.
    fn block<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.blocked += 1;
        let mut state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.blocked -= 1;
        state
    }

    /// Lets go of the lock and wakes whoever waits at the other end.
    fn wake(&self, state: MutexGuard<'_, State>, waker: Option<Waker>) {
        let is_blocked = state.blocked > 0;
        drop(state);
        if is_blocked {
            self.changed.notify_all();
        }
        waker.into_iter().for_each(Waker::wake);
    }

    /// Leaves trailers for the reader, before `finish`.
    pub(crate) fn set_trailers(&self, trailers: HeaderMap) {
        self.lock().trailers = Some(trailers);
    }

    /// The trailers, once everything before them is read.
    pub(crate) fn trailers(&self) -> Option<HeaderMap> {
        let state = self.lock();
        state.trailers.as_ref().filter(|_| state.is_read()).cloned()
    }

    /// Whether all of it is read, and its end was good.
    pub(crate) fn is_read(&self) -> bool {
        self.lock().is_read()
    }

    /// Puts a copy of a piece in, whatever the room (the caller asked before). Small pieces are gathered, so that a
    /// peer that sends single bytes does not get a place in the queue for each. False: the reader is gone.
    pub(crate) fn push(&self, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        if state.reader_gone {
            return false;
        }
        state.queued += bytes.len();
        match state.queue.pop_back().map(Bytes::try_into_mut) {
            Some(Ok(mut last)) if last.len() + bytes.len() <= GATHERED_BYTES_MAX => {
                last.extend_from_slice(bytes);
                state.queue.push_back(last.freeze());
            }
            last => {
                state.queue.extend(last.map(|last| last.map_or_else(|shared| shared, BytesMut::freeze)));
                state.queue.push_back(BytesMut::from(bytes).freeze());
            }
        }
        self.wake_reader(state);
        true
    }

    /// The same without a copy.
    fn push_shared(&self, bytes: Bytes) -> bool {
        let mut state = self.lock();
        if state.reader_gone {
            return false;
        }
        state.queued += bytes.len();
        state.queue.push_back(bytes);
        self.wake_reader(state);
        true
    }

    fn wake_reader(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.reader.take();
        self.wake(state, waker);
    }

    /// Puts a piece in, and blocks while there is no room.
    pub(crate) fn push_blocking(&self, bytes: Bytes) -> bool {
        let mut state = self.lock();
        while state.queued >= self.capacity && !state.reader_gone {
            state = self.block(state);
        }
        drop(state);
        self.push_shared(bytes)
    }

    /// Ready when there is room for a piece, or nobody reads any more.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.queued < self.capacity || state.reader_gone {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Bytes that wait for the reader. Keeps `cx` to be woken when it takes some.
    pub(crate) fn watch(&self, cx: &mut Context<'_>) -> usize {
        let mut state = self.lock();
        state.writer = Some(cx.waker().clone());
        state.queued
    }

    /// The end, good or bad. The first one counts.
    pub(crate) fn finish(&self, end: Result<(), BodyError>) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        let waker = state.reader.take();
        self.wake(state, waker);
    }

    /// The reader leaves; writers learn it at their next call.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.reader_gone = true;
        state.queue.clear();
        state.queued = 0;
        let waker = state.writer.take();
        self.wake(state, waker);
    }

    /// Whether the reader has left.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().reader_gone
    }

    /// Whether the reader has asked for bytes; until it does `cx` is kept to be woken.
    pub(crate) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.wanted || state.reader_gone {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next piece on a thread: blocks. `None` is the end.
    pub(crate) fn pop_blocking(&self) -> Option<Result<Bytes, BodyError>> {
        let mut state = self.lock();
        if !state.wanted {
            state.wanted = true;
            if let Some(waker) = state.writer.take() {
                waker.wake();
            }
        }
        loop {
            if let Some(bytes) = state.queue.pop_front() {
                state.queued -= bytes.len();
                let waker = state.writer.take();
                self.wake(state, waker);
                return Some(Ok(bytes));
            }
            match state.end {
                Some(Ok(())) => return None,
                Some(Err(error)) => return Some(Err(error)),
                None => state = self.block(state),
            }
        }
    }

    /// The next piece on a core. `None` is the end.
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = self.lock();
        if let Some(bytes) = state.queue.pop_front() {
            state.queued -= bytes.len();
            let waker = state.writer.take();
            self.wake(state, waker);
            return Poll::Ready(Some(Ok(bytes)));
        }
        match state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The same where the writer waits to be asked.
    #[cfg(feature = "tower")]
    pub(crate) fn poll_asked(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let next = self.poll_pop(cx);
        if next.is_pending() {
            let mut state = self.lock();
            let is_first = !std::mem::replace(&mut state.wanted, true);
            let waker = if is_first { state.writer.take() } else { None };
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_blocks_at_the_bound_and_an_abandoned_pipe_says_so() {
        let pipe = Pipe::new(4);
        let other = pipe.clone();
        let writer = std::thread::spawn(move || {
            let mut sent = 0;
            while other.push_blocking(Bytes::from_static(b"abc")) {
                sent += 1;
            }
            sent
        });
        assert_eq!(pipe.pop_blocking().unwrap().unwrap(), "abc");
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(pipe.lock().queued <= 6, "bound of 4 and one piece");
        pipe.leave();
        assert!(writer.join().unwrap() >= 2);
    }

    #[test]
    fn single_bytes_are_gathered() {
        let pipe = Pipe::new(10);
        let whole: Vec<u8> = (0..20_000_u32).map(|byte| byte as u8).collect();
        whole[..10_000].chunks(1).chain(whole[10_000..].chunks(5_000)).for_each(|piece| assert!(pipe.push(piece)));
        assert!(pipe.lock().queue.len() <= 3 + 2, "{}", pipe.lock().queue.len());
        pipe.finish(Ok(()));
        let came: Vec<u8> = std::iter::from_fn(|| pipe.pop_blocking()).flat_map(|piece| piece.unwrap()).collect();
        assert!(came == whole);
    }

    #[test]
    fn the_end_comes_behind_the_bytes() {
        let pipe = Pipe::new(10);
        assert!(pipe.push(b"x"));
        pipe.finish(Err(BodyError::Disconnected));
        pipe.finish(Ok(()));
        assert_eq!(pipe.pop_blocking(), Some(Ok(Bytes::from_static(b"x"))));
        assert_eq!(pipe.pop_blocking(), Some(Err(BodyError::Disconnected)));
    }
}
