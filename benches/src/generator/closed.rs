//! Closed loop: every connection sends its next block as soon as the last response has arrived.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::generator::exchange::Exchange;
use crate::generator::{Load, Outcome, SILENCE_MAX};

/// When a closed loop stops starting new blocks. What is in flight then is still waited for.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this long.
    Elapsed(Duration),
    /// After this many requests, rounded up to whole blocks.
    Requests(u64),
}

impl<E: Exchange> Load<E> {
    /// Runs a closed loop over all connections, and waits for the last response.
    ///
    /// # Panics
    /// When the kernel refuses to wait on epoll, which it has no reason to.
    pub fn run(&mut self, until: Until) -> Outcome {
        let start = Instant::now();
        let mut outcome = Outcome::default();
        let mut started = 0;
        let goes_on = |started: u64, now: Instant| match until {
            Until::Elapsed(duration) => now - start < duration,
            Until::Requests(count) => started < count,
        };
        let mut active = 0usize;
        for index in 0..self.connections.len() {
            if self.is_idle(index) && goes_on(started, start) {
                started += self.in_flight as u64;
                active += usize::from(self.start_block(index));
            }
        }
        let silence = Timespec { tv_sec: SILENCE_MAX.as_secs() as i64, tv_nsec: 0 };
        let mut events = Vec::with_capacity(1024);
        let mut now = start;
        while active > 0 {
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&silence))
                .expect("epoll waits on descriptors we own");
            now = Instant::now();
            if events.is_empty() {
                self.first_error.get_or_insert_with(|| format!("no response for {SILENCE_MAX:?}"));
                break;
            }
            for event in &events {
                let index = event.data.u64() as usize;
                let flags = event.flags;
                if flags.contains(epoll::EventFlags::OUT) && !self.send(index) {
                    active -= 1;
                    continue;
                }
                if (flags - epoll::EventFlags::OUT).is_empty() {
                    continue;
                }
                let was_idle = self.is_idle(index);
                match self.receive(index) {
                    Some(answers) => outcome.answered += answers as u64,
                    None if was_idle => continue,
                    None => {
                        active -= 1;
                        continue;
                    }
                }
                if !was_idle && self.is_idle(index) {
                    let continues = goes_on(started, now) && {
                        started += self.in_flight as u64;
                        self.start_block(index)
                    };
                    active -= usize::from(!continues);
                }
            }
        }
        outcome.elapsed = now - start;
        // A load whose connections all broke earlier starts nothing, and that is no success.
        outcome.errors = (started - outcome.answered).max(u64::from(started == 0));
        outcome
    }

    /// One pass of a closed loop that somebody else's loop drives: takes what has come and, if it `goes_on`, sends the
    /// next block on every connection that has nothing in flight. Never waits. Returns the responses that came.
    ///
    /// # Panics
    /// When the kernel refuses to wait on epoll, which it has no reason to.
    pub fn pass(&mut self, goes_on: bool) -> u64 {
        let immediately = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut answered = 0;
        self.events.clear();
        let mut events = std::mem::take(&mut self.events);
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&immediately))
            .expect("epoll waits on descriptors we own");
        for event in &events {
            let index = event.data.u64() as usize;
            let flags = event.flags;
            let alive = !flags.contains(epoll::EventFlags::OUT) || self.send(index);
            if alive && !(flags - epoll::EventFlags::OUT).is_empty() {
                answered += self.receive(index).unwrap_or_default() as u64;
            }
        }
        self.events = events;
        if goes_on {
            for index in 0..self.connections.len() {
                if self.is_idle(index) {
                    self.start_block(index);
                }
            }
        }
        answered
    }

    /// Whether every connection that is still open has all its responses.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        (0..self.connections.len()).all(|index| self.connections[index].is_none() || self.is_idle(index))
    }
}
