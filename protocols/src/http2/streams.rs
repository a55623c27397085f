//! All streams of a connection: a slab, a small index from number to slot, queues by urgency, and a short memory of
//! streams that are over.
//!
//! Of those only the ones are remembered on which a late frame is the client's mistake: those that it has ended itself, and
//! the numbers that it skipped. On all others it may have had anything under way when our RST_STREAM went out, and nothing
//! tells us when that has ended: section 5.1 demands that it be accounted for and thrown away, and asks for no timers. A
//! memory of our resets would have to outlast any number of streams that end after them; this one may forget, and what it
//! has forgotten it suffers, as nghttp2 does with all of them; but for requests, which are never late.

use crate::hpack::decode::BlockSize;
use crate::http2::state::State;
use crate::http2::stream::{NOBODY, Stream, StreamKey};
use crate::http2::stream_id::StreamId;

/// How many streams that the client has ended are remembered. Frames on older ones are thrown away, as behind our
/// RST_STREAM.
const REMEMBERED: usize = 32;

/// How many times a client may leave out numbers until the first of them are forgotten. Most never do, some begin at 15.
/// What comes on forgotten ones is judged by what it is ([`Streams::is_forgotten`]).
const SKIPS_REMEMBERED: usize = 4;

/// Urgencies of RFC 9218.
const URGENCIES: usize = 8;

/// Every so many picks the least urgent waiting stream is served, so that none starves (RFC 9218 section 10).
const FAIRNESS_PERIOD: u8 = 16;

/// Slots that a connection without streams keeps.
const IDLE_SLOTS_MAX: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u16,
    last: u16,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    slots: Vec<Stream>,
    /// By slot, for requests whose body is to come: what their heads were, since trailers share their limits. In a
    /// list of its own, which a connection without bodies never needs.
    head_sizes: Vec<BlockSize>,
    free: u16,
    live: u16,
    /// Live streams that the client opened; the others were promised.
    live_client: u16,
    /// Open addressing, slot + 1 by number / 2; a power of two, at least twice the live streams.
    index: Vec<u16>,
    queues: [Queue; URGENCIES],
    /// Bit per urgency whose queue is not empty.
    waiting: u8,
    picks: u8,
    over_at: u8,
    over_ids: [u32; REMEMBERED],
    over_states: [State; REMEMBERED],
    skips_at: u8,
    /// First and last of the numbers left out, one time each; never used ones are 0.
    skips: [(u32, u32); SKIPS_REMEMBERED],
    /// The last of the numbers left out that are not among `skips` any more.
    skipped_before: u32,
}

impl Streams {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            head_sizes: Vec::new(),
            free: NOBODY,
            live: 0,
            live_client: 0,
            index: Vec::new(),
            queues: [Queue { first: NOBODY, last: NOBODY }; URGENCIES],
            waiting: 0,
            picks: 0,
            over_at: 0,
            over_ids: [0; REMEMBERED],
            over_states: [State::Idle; REMEMBERED],
            skips_at: 0,
            skips: [(0, 0); SKIPS_REMEMBERED],
            skipped_before: 0,
        }
    }

    /// Streams whose slot is taken.
    pub(crate) const fn live(&self) -> usize {
        self.live as usize
    }

    /// Those of them that the client opened.
    pub(crate) const fn live_client(&self) -> usize {
        self.live_client as usize
    }

    pub(crate) fn capacity_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Stream>()
            + self.index.capacity() * size_of::<u16>()
            + self.head_sizes.capacity() * size_of::<BlockSize>()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots.get_mut(usize::from(key.slot)).filter(|stream| stream.id == key.id)
    }

    #[inline]
    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.slots.get(usize::from(key.slot)).filter(|stream| stream.id == key.id)
    }

    /// Finds the live stream with this number.
    #[inline]
    pub(crate) fn find(&self, id: StreamId) -> Option<StreamKey> {
        if self.index.is_empty() {
            return None;
        }
        let mask = self.index.len() - 1;
        let mut at = home(id, mask);
        loop {
            let slot = self.index[at].checked_sub(1)?;
            if self.slots[usize::from(slot)].id == id {
                return Some(StreamKey { id, slot });
            }
            at = (at + 1) & mask;
        }
    }

    pub(crate) fn insert(&mut self, stream: Stream) -> StreamKey {
        if self.index.len() < 2 * (usize::from(self.live) + 1) {
            self.grow_index();
        }
        let id = stream.id;
        let slot = if self.free == NOBODY {
            if self.slots.capacity() == self.slots.len() {
                // Grown by little and not doubled: a connection with many streams is where memory counts.
                let more = self.slots.len() / 2;
                self.slots.reserve_exact(more.clamp(4, (self.slots.len() / 8).max(16)));
            }
            self.slots.push(stream);
            (self.slots.len() - 1) as u16
        } else {
            let slot = self.free;
            self.free = self.slots[usize::from(slot)].next;
            self.slots[usize::from(slot)] = stream;
            slot
        };
        self.live += 1;
        self.live_client += u16::from(id.is_client());
        self.index_slot(id, slot);
        StreamKey { id, slot }
    }

    /// Remembers the size of a head whose trailers may come.
    pub(crate) fn keep_head_size(&mut self, key: StreamKey, size: BlockSize) {
        let slot = usize::from(key.slot);
        if self.head_sizes.len() <= slot {
            self.head_sizes.reserve_exact(self.slots.capacity() - self.head_sizes.len());
            self.head_sizes.resize(slot + 1, BlockSize::default());
        }
        self.head_sizes[slot] = size;
    }

    /// The size of the head of a request whose trailers come.
    pub(crate) fn head_size(&self, key: StreamKey) -> BlockSize {
        self.head_sizes.get(usize::from(key.slot)).copied().unwrap_or_default()
    }

    fn index_slot(&mut self, id: StreamId, slot: u16) {
        let mask = self.index.len() - 1;
        let mut at = home(id, mask);
        while self.index[at] != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = slot + 1;
    }

    #[cold]
    fn grow_index(&mut self) {
        let old = std::mem::take(&mut self.index);
        self.index = vec![0; (old.len() * 2).max(16)];
        for entry in old {
            if let Some(slot) = entry.checked_sub(1) {
                self.index_slot(self.slots[usize::from(slot)].id, slot);
            }
        }
    }

    /// Frees the slot, and remembers the stream if it was not reset by us. With the last stream of many their memory goes too.
    pub(crate) fn remove(&mut self, key: StreamKey) {
        self.dequeue(key.slot);
        let state = self.slots[usize::from(key.slot)].state;
        self.unindex(key);
        let stream = &mut self.slots[usize::from(key.slot)];
        stream.id = StreamId::CONNECTION;
        stream.next = self.free;
        self.free = key.slot;
        self.live -= 1;
        self.live_client -= u16::from(key.id.is_client());
        self.remember(key.id, state);
        if self.live == 0 && self.slots.len() > IDLE_SLOTS_MAX {
            (self.slots, self.index, self.free) = (Vec::new(), Vec::new(), NOBODY);
            self.head_sizes = Vec::new();
        }
    }

    /// Deletion by shifting back, so that the index never holds tombstones.
    fn unindex(&mut self, key: StreamKey) {
        let mask = self.index.len() - 1;
        let mut hole = home(key.id, mask);
        while self.index[hole] != key.slot + 1 {
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(slot) = self.index[at].checked_sub(1) else { break };
            let home = home(self.slots[usize::from(slot)].id, mask);
            // The entry may move into the hole when its home is not behind the hole (cyclically).
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.index[hole] = slot + 1;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }

    /// Remembers how a stream without a slot ended; a reset by us is what is taken for granted.
    #[inline]
    pub(crate) fn remember(&mut self, id: StreamId, state: State) {
        if state != State::Reset {
            self.keep(id, state);
        }
    }

    #[inline]
    fn keep(&mut self, id: StreamId, state: State) {
        let at = usize::from(self.over_at) % REMEMBERED;
        self.over_ids[at] = id.get();
        self.over_states[at] = state;
        self.over_at = self.over_at.wrapping_add(1);
    }

    /// A stream that may be remembered, or was skipped, has been reset by us since.
    pub(crate) fn remember_reset(&mut self, id: StreamId) {
        match self.over_ids.iter().position(|&over| over == id.get()) {
            Some(at) => self.over_states[at] = State::Reset,
            None if self.is_skipped(id) => self.keep(id, State::Reset),
            None => {}
        }
    }

    /// The client has left out the numbers from `first` to before `next`, which closes them (section 5.1.1).
    #[cold]
    pub(crate) fn skip(&mut self, first: StreamId, next: StreamId) {
        let oldest = &mut self.skips[usize::from(self.skips_at) % SKIPS_REMEMBERED];
        (_, self.skipped_before) = std::mem::replace(oldest, (first.get(), next.get() - 1));
        self.skips_at = self.skips_at.wrapping_add(1);
    }

    /// The client has left this number out, as far as is remembered.
    fn is_skipped(&self, id: StreamId) -> bool {
        id.is_client() && self.skips.iter().any(|&(first, last)| (first..=last).contains(&id.get()))
    }

    /// Nobody knows any more whether this number was left out or its stream was reset by us. Of a stream that was opened
    /// only trailers can come late, and no trailers can open one: so a block tells which of the two it is.
    pub(crate) fn is_forgotten(&self, id: StreamId) -> bool {
        id.is_client() && id.get() <= self.skipped_before && !self.over_ids.contains(&id.get())
    }

    /// How a stream ended that does not live any more; `None` when it never lived, because its number was skipped.
    pub(crate) fn recall(&self, id: StreamId) -> Option<State> {
        match self.over_ids.iter().position(|&over| over == id.get()) {
            Some(at) => Some(self.over_states[at]),
            None => (!self.is_skipped(id)).then_some(State::Reset),
        }
    }

    /// All live streams.
    pub(crate) fn keys(&self) -> impl Iterator<Item = StreamKey> + '_ {
        (0..self.slots.len()).filter_map(|slot| self.at(slot))
    }

    /// Slots there are, taken or not.
    pub(crate) const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The live stream in a slot.
    pub(crate) fn at(&self, slot: usize) -> Option<StreamKey> {
        let stream = self.slots.get(slot)?;
        (!stream.id.is_connection()).then_some(StreamKey { id: stream.id, slot: slot as u16 })
    }

    /// Puts a stream at the end of its urgency's queue.
    pub(crate) fn enqueue(&mut self, slot: u16) {
        let stream = &mut self.slots[usize::from(slot)];
        if stream.queued {
            return;
        }
        let urgency = usize::from(stream.priority.urgency & 7);
        let queue = &mut self.queues[urgency];
        stream.queued = true;
        stream.next = NOBODY;
        stream.previous = queue.last;
        let last = queue.last;
        queue.last = slot;
        if last == NOBODY {
            queue.first = slot;
            self.waiting |= 1 << urgency;
        } else {
            self.slots[usize::from(last)].next = slot;
        }
    }

    /// Takes a stream out of its queue.
    pub(crate) fn dequeue(&mut self, slot: u16) {
        let stream = &mut self.slots[usize::from(slot)];
        if !stream.queued {
            return;
        }
        stream.queued = false;
        let (previous, next, urgency) = (stream.previous, stream.next, usize::from(stream.priority.urgency & 7));
        match previous {
            NOBODY => self.queues[urgency].first = next,
            _ => self.slots[usize::from(previous)].next = next,
        }
        match next {
            NOBODY => self.queues[urgency].last = previous,
            _ => self.slots[usize::from(next)].previous = previous,
        }
        if self.queues[urgency].first == NOBODY {
            self.waiting &= !(1 << urgency);
        }
    }

    /// Who sends next: the first of the most urgent queue, and now and then of the least urgent one.
    #[inline]
    pub(crate) fn pick(&mut self) -> Option<StreamKey> {
        if self.waiting == 0 {
            return None;
        }
        self.picks = (self.picks + 1) % FAIRNESS_PERIOD;
        let urgency =
            if self.picks == 0 { 7 - self.waiting.leading_zeros() } else { self.waiting.trailing_zeros() } as usize;
        let slot = self.queues[urgency].first;
        Some(StreamKey { id: self.slots[usize::from(slot)].id, slot })
    }

    /// The smallest urgency number that waits; 8 when none does.
    #[inline]
    pub(crate) const fn most_urgent(&self) -> u32 {
        self.waiting.trailing_zeros()
    }
}

#[inline]
const fn home(id: StreamId, mask: usize) -> usize {
    (id.get() >> 1) as usize & mask
}

#[cfg(test)]
mod tests {
    use super::Streams;
    use crate::http2::state::State;
    use crate::http2::stream::Stream;
    use crate::http2::stream_id::StreamId;
    use std::collections::BTreeMap;

    #[test]
    fn index_in_lockstep_with_a_map_also_when_numbers_collide() {
        let mut streams = Streams::new();
        let mut model = BTreeMap::new();
        let mut seed = 3u64;
        let mut id = 1;
        for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let random = (seed >> 33) as u32;
            if model.len() < 100 && random.is_multiple_of(2) {
                id += if random.is_multiple_of(3) { 512 } else { 2 };
                let key = streams.insert(Stream::new(StreamId::new(id), State::Open, 0));
                assert!(model.insert(id, key).is_none());
            } else if let Some((&victim, &key)) = model.iter().nth(random as usize % model.len().max(1)) {
                streams.remove(key);
                model.remove(&victim);
                assert_eq!(streams.find(StreamId::new(victim)), None);
                assert!(streams.get(key).is_none());
                assert_eq!(streams.recall(StreamId::new(victim)), Some(State::Open));
            }
            assert_eq!(streams.live(), model.len());
            for (&id, &key) in &model {
                assert_eq!(streams.find(StreamId::new(id)), Some(key));
            }
        }
    }
}
