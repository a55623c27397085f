//! How fast the peer takes what waits for its windows (F-05, F-16).
//!
//! A response waits on the peer while bytes of it are offered, and its window or the connection's is shut. It begins with
//! `stall_timeout_ms` of patience; waiting uses it up, and what the peer takes gives it back at `progress_bytes_per_s_min`,
//! to three times the beginning at most: who has opened half of the window that everybody begins with is not heard of for
//! 66 s, at the least rate, while those bytes are under way, and a check may come late. Without patience the response is
//! reset. So one that takes nothing is reset, and so is one that takes 64 bytes now and then.
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
        let (now_ms, initial) = (self.now_ms, self.peer.initial_window_size);
        self.pace_check_at.filter(|&due| due <= now_ms)?;
        let beginning = u64::from(self.limits.stall_timeout_ms);
        let most = (PATIENCE_MAX * beginning).min(u64::from(u32::MAX));
        let per_s = u64::from(self.limits.progress_bytes_per_s_min.max(1));
        let earned = |bytes: u32, sharing: u32| u64::from(bytes) * u64::from(sharing) * 1_000 / per_s;
        let is_open = self.send_window.available(WINDOW_INITIAL) > 0;
        let taken = self.taken();
        let mut book = self.book.take().unwrap_or_default();
        // What was slept through counts, but not more of it than a period: it may have been this side that slept.
        let (since_ms, until_ms) = std::mem::take(&mut book.stood_ms);
        let excused = until_ms.min(now_ms).saturating_sub(since_ms.max(book.checked_ms));
        let elapsed = (now_ms.saturating_sub(book.checked_ms) - excused).min(beginning);
        let taken_by_all = taken.wrapping_sub(book.taken);
        (book.checked_ms, book.taken) = (now_ms.max(book.checked_ms), taken);
        let is_shut = |stream: &Stream| stream.send_window.available(initial) <= 0;
        let offering = self.streams.keys().filter_map(|key| self.streams.get(key)).filter(|stream| stream.offered > 0);
        let sharing = offering.filter(|stream| is_shut(stream)).count() as u32;
        let (mut are_offered, mut do_wait, mut exhausted) = (false, false, None);
        let slots = self.streams.slots();
        for slot in 0..slots {
            let Some(key) = self.streams.at(slot) else { continue };
            let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.offered > 0) else { continue };
            are_offered = true;
            let is_shut = is_shut(stream);
            let waits = is_shut || !is_open;
            if stream.found == Found::Never && !waits {
                continue;
            }
            if book.paces.len() <= slot {
                book.paces.reserve_exact(slots - book.paces.len());
                book.paces.resize(slot + 1, Pace::default());
            }
            let pace = &mut book.paces[slot];
            let own = std::mem::take(&mut pace.taken);
            let (patience_ms, own) = match stream.found {
                // What was open at the beginning has been taken, or it would be open.
                Found::Never => (beginning, if is_shut { initial } else { 0 }),
                Found::Moving | Found::Waiting => (u64::from(pace.patience_ms), own),
            };
            let earned = if is_shut { earned(own, sharing) } else { earned(taken_by_all.max(own), 1) };
            let used = if waits && stream.found == Found::Waiting { elapsed } else { 0 };
            let patience_ms = (patience_ms + earned).saturating_sub(used).min(most);
            pace.patience_ms = patience_ms as u32;
            stream.found = if waits { Found::Waiting } else { Found::Moving };
            do_wait = true;
            if waits && patience_ms == 0 {
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
