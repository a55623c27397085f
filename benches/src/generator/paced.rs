//! Open loop: requests are sent at a fixed rate whether or not earlier ones were answered, and a latency counts from
//! the moment the request *should* have left. A server that stalls is charged for everybody who had to wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::generator::exchange::Exchange;
use crate::generator::{Load, Outcome, SILENCE_MAX};
use crate::histogram::Histogram;

impl<E: Exchange> Load<E> {
    /// Sends `per_second` requests for `duration`, spread evenly over time and in turn over the connections (opened
    /// with one request in flight). A connection that still waits for a response queues its next requests.
    ///
    /// The thread spins: it has a core to itself, and a sleeping generator would add its own wake-up to each latency.
    /// For the same reason what happens `beside` it is done by the same thread: it is called once in each round of the
    /// loop and must not wait.
    ///
    /// # Panics
    /// When the load was opened with more than one request in flight, or the kernel refuses to wait on epoll.
    pub fn run_paced(&mut self, per_second: u64, duration: Duration, mut beside: impl FnMut()) -> (Outcome, Histogram) {
        assert_eq!(self.in_flight, 1, "an open loop sends single requests");
        let total = (duration.as_secs_f64() * per_second as f64) as u64;
        let interval_ns = 1e9 / per_second as f64;
        // Nanoseconds from the start at which the requests queued on a connection should have left.
        let mut queues: Vec<VecDeque<u64>> = vec![VecDeque::new(); self.connections.len()];
        let mut histogram = Histogram::default();
        let mut outcome = Outcome::default();
        let mut events = Vec::with_capacity(1024);
        let immediately = Timespec { tv_sec: 0, tv_nsec: 0 };
        let start = Instant::now();
        let mut intended = 0u64;
        let mut last_progress = start;
        while intended < total || queues.iter().any(|queue| !queue.is_empty()) {
            let now = Instant::now();
            let now_ns = (now - start).as_nanos() as u64;
            while intended < total {
                let due_ns = (intended as f64 * interval_ns) as u64;
                if due_ns > now_ns {
                    break;
                }
                let index = intended as usize % self.connections.len();
                intended += 1;
                if self.connections[index].is_none() {
                    outcome.errors += 1;
                    continue;
                }
                queues[index].push_back(due_ns);
                if queues[index].len() == 1 && !self.start_block(index) {
                    outcome.errors += queues[index].drain(..).count() as u64;
                }
            }
            beside();
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&immediately))
                .expect("epoll waits on descriptors we own");
            for event in &events {
                let index = event.data.u64() as usize;
                let flags = event.flags;
                let mut alive = !flags.contains(epoll::EventFlags::OUT) || self.send(index);
                if alive && !(flags - epoll::EventFlags::OUT).is_empty() {
                    alive = match self.receive(index) {
                        Some(0) => true,
                        Some(_) => {
                            last_progress = Instant::now();
                            let due_ns = queues[index].pop_front().unwrap_or_default();
                            histogram.record(((last_progress - start).as_nanos() as u64).saturating_sub(due_ns));
                            outcome.answered += 1;
                            queues[index].is_empty() || self.start_block(index)
                        }
                        None => false,
                    };
                }
                if !alive {
                    outcome.errors += queues[index].drain(..).count() as u64;
                }
            }
            let waiting = queues.iter().map(VecDeque::len).sum::<usize>();
            if waiting > 0 && now.saturating_duration_since(last_progress) > SILENCE_MAX {
                outcome.errors += waiting as u64;
                self.first_error.get_or_insert_with(|| format!("no response for {SILENCE_MAX:?}"));
                break;
            }
        }
        outcome.elapsed = start.elapsed();
        (outcome, histogram)
    }
}
