//! One core's end of the mesh.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::mesh::bell::{Bell, Ticket};

/// What all ends share: who waits for what. No message passes here.
struct Bells {
    cores: usize,
    /// For each core: its receiver waits for a message.
    mail: Vec<Bell>,
    /// For each pair, `from * cores + to`: tasks of `from` wait for room in the ring to `to`.
    room: Vec<Bell>,
}

impl Bells {
    fn room(&self, from: usize, to: usize) -> &Bell {
        &self.room[from * self.cores + to]
    }
}

/// A full mesh of `cores` ends, each of which can send to every other and to itself; `messages_max` messages (at least
/// 1) fit into each of the `cores²` rings. A ring's memory, `messages_max` times the size of `T`, is taken here.
///
/// ```
/// use ringgate_runtime::mesh::mesh;
/// let ends = mesh::<&str>(2, 16);
/// ends[0].try_send(1, "hello").unwrap();
/// assert_eq!(ends[1].try_recv(), Some((0, "hello")));
/// assert_eq!(ends[1].try_recv(), None);
/// ```
pub fn mesh<T: Send>(cores: usize, messages_max: usize) -> Vec<MeshEnd<T>> {
    let bells = |count: usize| (0..count).map(|_| Bell::default()).collect();
    let shared = Arc::new(Bells { cores, mail: bells(cores), room: bells(cores * cores) });
    let mut ends: Vec<MeshEnd<T>> = (0..cores)
        .map(|core| MeshEnd {
            core,
            bells: shared.clone(),
            outgoing: RefCell::new(Vec::with_capacity(cores)),
            incoming: RefCell::new(Vec::with_capacity(cores)),
            next_sender: Cell::new(0),
        })
        .collect();
    for from in 0..cores {
        for to in 0..cores {
            let (producer, consumer) = RingBuffer::new(messages_max.max(1));
            ends[from].outgoing.get_mut().push(producer);
            // `from` rises in the outer loop: consumer number `from` of `to`.
            ends[to].incoming.get_mut().push(consumer);
        }
    }
    ends
}

/// One core's end of a [`mesh`]: moves to that core's thread, and is shared there by its tasks (in an `Rc`); `Send`, not
/// `Sync`. Any number of its tasks may send; messages of one task arrive in their order. Dropping it drops the messages
/// that wait for it, and tells every sender that this core is gone; a message that is pushed at that very moment may live
/// until its sender's end is dropped.
pub struct MeshEnd<T> {
    core: usize,
    bells: Arc<Bells>,
    /// One for each receiving core.
    outgoing: RefCell<Vec<Producer<T>>>,
    /// One for each sending core.
    incoming: RefCell<Vec<Consumer<T>>>,
    /// Whose ring is looked at first: the one after the last that gave a message.
    next_sender: Cell<usize>,
}

impl<T: Send> MeshEnd<T> {
    /// This core's number in the mesh.
    pub fn core(&self) -> usize {
        self.core
    }

    /// Number of cores in the mesh.
    pub fn cores(&self) -> usize {
        self.bells.cores
    }

    /// Puts a message into the ring to another core (or our own), and wakes that core if it waits for messages.
    ///
    /// # Errors
    /// The message, if the ring is full or the core is gone ([`is_gone`](Self::is_gone) tells).
    ///
    /// # Panics
    /// If there is no such core.
    pub fn try_send(&self, core: usize, message: T) -> Result<(), T> {
        let mut outgoing = self.outgoing.borrow_mut();
        let ring = &mut outgoing[core];
        if ring.is_abandoned() {
            return Err(message);
        }
        let pushed = ring.push(message).map_err(|rtrb::PushError::Full(message)| message);
        drop(outgoing);
        if pushed.is_ok() {
            self.bells.mail[core].ring();
        }
        pushed
    }

    /// Sends, and waits for room if the ring is full. Dropping the future before it is done drops the message, unsent. Among
    /// tasks that wait for room in the same ring the order is not kept.
    ///
    /// Who waits is woken once half the ring (of an odd number, the larger half) has been received, not for every place: a
    /// pair of cores that is busy with each other should not wake each other for every message. So a receiver must go on
    /// receiving, however slowly; it must not take a few messages and then wait for something that only a waiting sender
    /// would do.
    ///
    /// # Errors
    /// The message, if the core is gone.
    pub fn send(&self, core: usize, message: T) -> Sending<'_, T> {
        Sending { end: self, core, message: Some(message), ticket: None }
    }

    /// Whether a core has dropped its end: nothing sent to it arrives any more.
    pub fn is_gone(&self, core: usize) -> bool {
        self.outgoing.borrow()[core].is_abandoned()
    }

    /// A message that has arrived, and the core that sent it. Senders are asked in turn: one who floods us cannot keep
    /// the others out.
    pub fn try_recv(&self) -> Option<(usize, T)> {
        let mut incoming = self.incoming.borrow_mut();
        let (cores, first) = (incoming.len(), self.next_sender.get());
        for from in (first..cores).chain(0..first) {
            let Ok(message) = incoming[from].pop() else { continue };
            // Waking for every place that becomes free would have all waiting tasks run for one of them to succeed, and
            // cores wake each other for every message. Who waits has seen the ring full, so half of it is still to be
            // received, and then comes this.
            let mostly_free = incoming[from].slots() <= incoming[from].buffer().capacity() / 2;
            drop(incoming);
            self.next_sender.set(if from + 1 == cores { 0 } else { from + 1 });
            if mostly_free {
                self.bells.room(from, self.core).ring();
            }
            return Some((from, message));
        }
        None
    }

    /// The next message and the core that sent it. For ever pending once all other cores are gone. Dropping the future
    /// loses no message.
    pub fn recv(&self) -> Receiving<'_, T> {
        Receiving { end: self, ticket: None }
    }
}

impl<T> fmt::Debug for MeshEnd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshEnd").field("core", &self.core).field("cores", &self.bells.cores).finish_non_exhaustive()
    }
}

impl<T> Drop for MeshEnd<T> {
    fn drop(&mut self) {
        // First the rings go, then whoever waits for room in them is told. A ring's memory, with what lies in it, lives
        // as long as either side: so it is emptied here.
        for mut ring in self.incoming.get_mut().drain(..) {
            while ring.pop().is_ok() {}
        }
        (0..self.bells.cores).for_each(|from| self.bells.room(from, self.core).ring());
    }
}

/// A message under way; see [`MeshEnd::send`].
#[must_use = "nothing is sent until it is awaited"]
pub struct Sending<'a, T> {
    end: &'a MeshEnd<T>,
    core: usize,
    message: Option<T>,
    ticket: Option<Ticket>,
}

/// The message is never pinned.
impl<T> Unpin for Sending<'_, T> {}

impl<T: Send> Sending<'_, T> {
    /// `None` while the ring is full.
    fn attempt(&mut self) -> Option<Result<(), T>> {
        let message = self.message.take().expect("a message is sent once");
        match self.end.try_send(self.core, message) {
            Ok(()) => Some(Ok(())),
            Err(message) if self.end.is_gone(self.core) => Some(Err(message)),
            Err(message) => {
                self.message = Some(message);
                None
            }
        }
    }
}

impl<T: Send> Future for Sending<'_, T> {
    type Output = Result<(), T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(sent) = self.attempt() {
            return Poll::Ready(sent);
        }
        let Self { end, core, ref mut ticket, .. } = *self;
        end.bells.room(end.core, core).listen(ticket, cx.waker());
        self.attempt().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.end.bells.room(self.end.core, self.core).leave(ticket);
        }
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("to", &self.core).finish_non_exhaustive()
    }
}

/// The wait for a message; see [`MeshEnd::recv`].
#[must_use = "nothing is received until it is awaited"]
#[derive(Debug)]
pub struct Receiving<'a, T> {
    end: &'a MeshEnd<T>,
    ticket: Option<Ticket>,
}

impl<T: Send> Future for Receiving<'_, T> {
    type Output = (usize, T);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(message) = self.end.try_recv() {
            return Poll::Ready(message);
        }
        let Self { end, ref mut ticket } = *self;
        end.bells.mail[end.core].listen(ticket, cx.waker());
        end.try_recv().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.end.bells.mail[self.end.core].leave(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn moves_to_its_core() {
        fn is_send<T: Send>(_: &T) {}
        is_send(&mesh::<Box<u8>>(2, 1)[0]);
    }

    #[test]
    fn each_sender_gets_its_turn() {
        let ends = mesh(3, 8);
        for round in 0..4 {
            ends[1].try_send(0, round).unwrap();
        }
        ends[2].try_send(0, 10).unwrap();
        ends[0].try_send(0, 20).unwrap();
        let received: Vec<_> = std::iter::from_fn(|| ends[0].try_recv()).collect();
        assert_eq!(received, [(0, 20), (1, 0), (2, 10), (1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn a_full_ring_gives_the_message_back_and_leaves_the_others_alone() {
        let ends = mesh(2, 2);
        ends[0].try_send(1, 1).unwrap();
        ends[0].try_send(1, 2).unwrap();
        assert_eq!(ends[0].try_send(1, 3), Err(3));
        assert_eq!(ends[1].try_send(1, 4), Ok(()));
    }

    #[test]
    fn who_waits_for_room_is_woken_when_half_of_it_is_there() {
        for (messages_max, received) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)] {
            let ends = mesh(2, messages_max);
            (0..messages_max).for_each(|message| ends[0].try_send(1, message).unwrap());
            let mut sending = ends[0].send(1, 9);
            assert_eq!(poll(&mut sending), Poll::Pending);
            let raised = || format!("{:?}", ends[0].bells.room(0, 1)).contains("raised: true");
            for message in 0..received {
                assert!(raised(), "{messages_max}: not before {received}");
                assert_eq!(ends[1].try_recv(), Some((0, message)));
            }
            assert!(!raised(), "{messages_max}: woken after {received}");
            assert_eq!(poll(&mut sending), Poll::Ready(Ok(())));
        }
    }

    #[test]
    fn a_core_that_goes_is_noticed_and_drops_its_mail() {
        let mut ends = mesh(2, 1);
        let counted = Arc::new(());
        ends[0].try_send(1, counted.clone()).unwrap();
        let gone = ends.pop().unwrap();
        let mut sending = ends[0].send(1, counted.clone());
        assert!(poll(&mut sending).is_pending());
        drop(gone);
        assert_eq!(poll(&mut sending), Poll::Ready(Err(counted.clone())));
        drop(sending);
        assert!(ends[0].is_gone(1) && !ends[0].is_gone(0));
        assert_eq!(ends[0].try_send(1, counted.clone()), Err(counted.clone()));
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn a_dropped_wait_leaves_no_waker_behind() {
        let ends = mesh(2, 1);
        ends[0].try_send(1, 1).unwrap();
        for _ in 0..3 {
            assert!(poll(&mut ends[0].send(1, 2)).is_pending());
        }
        assert!(poll(&mut ends[0].recv()).is_pending());
        let bells = format!("{:?}{:?}", ends[0].bells.room(0, 1), ends[0].bells.mail[0]);
        assert!(!bells.contains("raised: true"), "{bells}");
    }
}
