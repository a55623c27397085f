//! How fast the peer takes what waits for its windows (F-05, F-16).
//!
//! A response waits on the peer while bytes of it are offered, and its window or the connection's is shut. It begins with
//! `stall_timeout_ms` of patience; waiting uses it up, and what the peer takes gives it back at `progress_bytes_per_s_min`,
//! to three times the beginning at most: who has opened half of the window that everybody begins with is not heard of for
//! 66 s, at the least rate, while those bytes are under way, and a check may come late. Without patience the response is
//! reset. So one that takes nothing is reset, and so is one that takes 64 bytes now and then. One that stops
//! behind a whole window has 105 s: until the 66 s are over nothing tells it from a slow line, where a PING would wait
//! behind the bytes as well.
//!
//! The rate is one for all of the connection, as on HTTP/1: a peer behind a slow line takes a little of everything. Where
//! several responses wait on their own windows each has to take its share. One whose own window is open waits for the
//! connection's window, and there all that others take counts for it. One that waits for its turn, for the transport or
//! for its handler is not judged at all.
//!
//! The reset is a RST_STREAM, since what is too slow is mostly one reader behind the peer, who must not cost the others
//! their connection; if it is all of them, all are reset. Its reason is CANCEL, "no longer needed": nothing about the
//! stream was wrong, ENHANCE_YOUR_CALM would speak of too much and not of too little, and no client takes it for leave
//! to send the request again.
//!
//! Only here is time known for certain (verbs have none). So bytes are counted by the verbs, and judged by a check every half
//! of `stall_timeout_ms`: none of it costs a grant more than an addition, nor a stream memory before it was found waiting.

use crate::http2::connection::{Connection, Event};
use crate::http2::reason::Reason;
use crate::http2::stream::{Found, Stream};
use crate::http2::window::WINDOW_INITIAL;

/// The most patience, in units of what a response begins with.
const PATIENCE_MAX: u64 = 3;

/// What is kept while responses wait.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// When they were looked at, or last had an excuse to wait until then.
    checked_ms: u64,
    /// From when to when a send has stood.
    stood_ms: (u64, u64),
    /// What the connection had taken by then.
    taken: u32,
    /// By slot; has meaning for streams that were found waiting.
    paces: Vec<Pace>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    patience_ms: u32,
    /// Bytes since the last check.
    taken: u32,
}

impl Book {
    pub(super) fn capacity_bytes(&self) -> usize {
        size_of::<Self>() + self.paces.capacity() * size_of::<Pace>()
    }

    /// Bytes of the stream in this slot were granted.
    pub(super) fn count(&mut self, slot: u16, bytes: usize) {
        if let Some(pace) = self.paces.get_mut(usize::from(slot)) {
            pace.taken = pace.taken.saturating_add(bytes as u32);
        }
    }
}

impl Connection {
    /// From `since_ms` to `until_ms` a send has stood that had time for it by its length: what the peer did not take then it
    /// did not have. To be said before [`handle_timeout`](Self::handle_timeout), of the send that stands now; the last word
    /// counts.
    pub fn excuse_waits(&mut self, since_ms: u64, until_ms: u64) {
        if let Some(book) = &mut self.book {
            book.stood_ms = (since_ms, until_ms);
        }
    }

    /// The same for responses that wait, where nothing was read until `now_ms`.
    pub(super) fn excuse_all_waits(&mut self, now_ms: u64) {
        if let Some(book) = &mut self.book {
            book.checked_ms = book.checked_ms.max(now_ms);
        }
    }

    /// Half of the patience that a response begins with; at least one, so that no patience is no loop.
    pub(super) fn pace_check_ms(&self) -> u64 {
        u64::from(self.limits.stall_timeout_ms).div_ceil(2).max(1)
    }

    /// All body bytes that were ever granted, around the range of the number.
    fn taken(&self) -> u32 {
        self.widened.wrapping_sub(self.send_window.delta() as u32)
    }

    /// Judges all that waits, when it is time, and resets one response that has used up its patience. To be called again
    /// while it gives one.
    pub(super) fn check_pace(&mut self) -> Option<Event> {
        let now_ms = self.now_ms;
        self.pace_check_at.filter(|&due| due <= now_ms)?;
        let (initial, slots) = (self.peer.initial_window_size, self.streams.slots());
        let mut book = self.book.take().unwrap_or_default();
        let period = Period {
            elapsed_ms: book.elapsed_ms(now_ms, self.limits.stall_timeout_ms),
            taken_by_all: book.taken_by_all(self.taken()),
            are_shut: self
                .streams
                .keys()
                .filter_map(|key| self.streams.get(key))
                .filter(|it| is_shut(it, initial))
                .count(),
            is_open: self.send_window.available(WINDOW_INITIAL) > 0,
            beginning_ms: self.limits.stall_timeout_ms,
            bytes_per_s_min: self.limits.progress_bytes_per_s_min.max(1),
        };
        let (mut are_offered, mut do_wait, mut exhausted) = (false, false, None);
        for slot in 0..slots {
            let Some(key) = self.streams.at(slot) else { continue };
            let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.offered > 0) else { continue };
            are_offered = true;
            let is_shut = is_shut(stream, initial);
            let waits = is_shut || !period.is_open;
            if stream.found == Found::Never && !waits {
                continue;
            }
            let pace = book.pace(slot, slots);
            if stream.found == Found::Never {
                // What was open at the beginning has been taken, or it would be open.
                *pace = Pace { patience_ms: period.beginning_ms, taken: if is_shut { initial } else { 0 } };
            }
            period.settle(pace, is_shut, waits && stream.found == Found::Waiting);
            stream.found = if waits { Found::Waiting } else { Found::Moving };
            do_wait = true;
            if waits && pace.patience_ms == 0 {
                exhausted = Some(key);
            }
        }
        self.book = do_wait.then_some(book);
        if let Some(key) = exhausted {
            // The check stays due, and has no time to judge when it comes again.
            self.reset_live(key, Reason::CANCEL);
            return Some(Event::Reset { stream: key, reason: Reason::CANCEL, by_peer: false });
        }
        self.pace_check_at = are_offered.then_some(now_ms + self.pace_check_ms());
        None
    }
}

/// Bytes are offered, and the stream's own window is shut.
fn is_shut(stream: &Stream, initial: u32) -> bool {
    stream.offered > 0 && stream.send_window.available(initial) <= 0
}

impl Book {
    /// The time since the last check that is to be accounted for, and begins the next period.
    fn elapsed_ms(&mut self, now_ms: u64, most_ms: u32) -> u32 {
        let (since_ms, until_ms) = std::mem::take(&mut self.stood_ms);
        let excused_ms = until_ms.min(now_ms).saturating_sub(since_ms.max(self.checked_ms));
        let elapsed_ms = now_ms.saturating_sub(self.checked_ms).saturating_sub(excused_ms);
        self.checked_ms = self.checked_ms.max(now_ms);
        // What was slept through counts, but not more of it than a period: it may have been this side that slept.
        elapsed_ms.min(most_ms.into()) as u32
    }

    /// What the connection has taken since the last check.
    fn taken_by_all(&mut self, taken: u32) -> u32 {
        taken.wrapping_sub(std::mem::replace(&mut self.taken, taken))
    }

    fn pace(&mut self, slot: usize, slots: usize) -> &mut Pace {
        if self.paces.len() <= slot {
            self.paces.reserve_exact(slots - self.paces.len());
            self.paces.resize(slot + 1, Pace::default());
        }
        &mut self.paces[slot]
    }
}

/// What all streams have in common between two checks.
struct Period {
    elapsed_ms: u32,
    taken_by_all: u32,
    /// Streams that wait on their own windows.
    are_shut: usize,
    /// The connection's window.
    is_open: bool,
    beginning_ms: u32,
    bytes_per_s_min: u32,
}

impl Period {
    /// Gives patience for what was taken, and takes what was waited.
    fn settle(&self, pace: &mut Pace, is_shut: bool, has_waited: bool) {
        let own = u64::from(std::mem::take(&mut pace.taken));
        let bytes = if is_shut { own * self.are_shut as u64 } else { own.max(self.taken_by_all.into()) };
        let earned_ms = bytes.saturating_mul(1_000) / u64::from(self.bytes_per_s_min);
        let used_ms = if has_waited { self.elapsed_ms } else { 0 };
        let most_ms = (PATIENCE_MAX * u64::from(self.beginning_ms)).min(u32::MAX.into());
        let patience_ms = (u64::from(pace.patience_ms) + earned_ms).saturating_sub(used_ms.into());
        pace.patience_ms = patience_ms.min(most_ms) as u32;
    }
}
