//! Topics: what is published once, and heard by every socket that subscribed.

use crate::{
    core::Core,
    websocket::{
        hub::Hub,
        object::{Sender, WebSocket},
        outgoing::{Outgoing, Prepared},
        queue::TURNS_UNDER_WAY,
        socket::{Delivery, Socket},
    },
};
use ringgate_runtime::mesh::MeshEnd;
use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    rc::{Rc, Weak},
    sync::Arc,
};

/// Broadcasts that may wait between two cores; a publisher waits for room. 2 KiB for each pair of cores.
pub(crate) const BROADCASTS_MAX: usize = 256;

/// A message for the subscribers of another core: framed already, its bytes shared.
#[derive(Clone)]
pub(crate) struct Broadcast {
    topic: Arc<str>,
    message: Prepared,
}

/// One core's topics, and the way to those of the other cores.
pub(crate) struct Topics {
    core: Weak<crate::core::Shared>,
    known: RefCell<HashMap<Arc<str>, Weak<Inner>>>,
    mesh: RefCell<Option<Rc<MeshEnd<Box<Broadcast>>>>>,
}

impl Topics {
    pub(crate) fn new(core: &Core) -> Self {
        Self { core: Rc::downgrade(&core.shared), known: RefCell::default(), mesh: RefCell::default() }
    }

    fn topic(&self, hub: &Rc<Hub>, name: &str) -> Topic {
        let mut known = self.known.borrow_mut();
        if let Some(inner) = known.get(name).and_then(Weak::upgrade) {
            return Topic { inner };
        }
        let name: Arc<str> = name.into();
        let inner = Rc::new(Inner { name: name.clone(), hub: hub.clone(), members: RefCell::default() });
        known.insert(name, Rc::downgrade(&inner));
        Topic { inner }
    }
}

impl Hub {
    /// Puts this core into the mesh of its gateway, and hears what comes from the others.
    pub(crate) fn join(self: &Rc<Self>, end: MeshEnd<Box<Broadcast>>) -> impl Future<Output = ()> + use<> {
        let end = Rc::new(end);
        *self.topics.mesh.borrow_mut() = Some(end.clone());
        let hub = Rc::downgrade(self);
        async move {
            loop {
                let (_, broadcast) = end.recv().await;
                let Broadcast { topic, message } = *broadcast;
                let Some(hub) = hub.upgrade() else { return };
                let inner = hub.topics.known.borrow().get(&topic).and_then(Weak::upgrade);
                if let Some(inner) = inner
                    && inner.deliver(&message).is_crowded
                {
                    inner.let_go().await;
                }
            }
        }
    }
}

struct Inner {
    name: Arc<str>,
    hub: Rc<Hub>,
    members: RefCell<Members>,
}

#[derive(Default)]
struct Members {
    places: Vec<Option<Rc<Socket>>>,
    free: Vec<usize>,
}

/// What became of a message on this core.
struct Delivered {
    /// Sockets that took it.
    taken: usize,
    /// There are queues that a next message would find full, and no slow peer behind them.
    is_crowded: bool,
}

impl Inner {
    fn deliver(&self, prepared: &Prepared) -> Delivered {
        let mut delivered = Delivered { taken: 0, is_crowded: false };
        for socket in self.members.borrow().places.iter().flatten() {
            let delivery = socket.deliver(prepared);
            delivered.taken += usize::from(delivery != Delivery::Refused);
            delivered.is_crowded |= delivery == Delivery::TakenAndFull;
        }
        delivered
    }

    /// Lets what is under way leave the queues.
    async fn let_go(&self) {
        let Some(handle) = self.hub.topics.core.upgrade().map(|core| core.handle.clone()) else { return };
        let is_crowded = || self.members.borrow().places.iter().flatten().any(|socket| socket.is_crowded());
        for _ in 0..TURNS_UNDER_WAY {
            handle.next_turn().await;
            if !is_crowded() {
                return;
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut known = self.hub.topics.known.borrow_mut();
        if known.get(&self.name).is_some_and(|inner| inner.strong_count() == 0) {
            known.remove(&self.name);
        }
    }
}

/// A topic of a gateway: the same on all its cores. A message published is framed once, and compressed once for each
/// form that was negotiated, and its bytes are shared by all subscribers of a core.
///
/// A subscriber whose queue is full is treated as its route's [`QueuePolicy`](crate::websocket::QueuePolicy) says, and
/// never holds up the others. Cheap to clone.
///
/// ```
/// use ringgate::{App, websocket::WebSocket};
/// async fn chat(socket: WebSocket) {
///     let room = socket.core().topic("lobby");
///     let _here = room.subscribe(&socket);
///     let (_sender, mut receiver) = socket.split();
///     while let Some(Ok(message)) = receiver.recv().await {
///         room.publish(message).await;
///     }
/// }
/// # let app = App::new().route("/chat", chat);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/chat", &["hello", "you"]), ["hello", "you"]);
/// ```
#[derive(Clone)]
pub struct Topic {
    inner: Rc<Inner>,
}

impl Core {
    /// The topic of this name, made if nobody asked for it before.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        let hub = Hub::of(self);
        hub.topics.topic(&hub, name)
    }
}

impl Topic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Subscribers on this core.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.inner.members.borrow().places.iter().flatten().count()
    }

    /// Lets a socket hear what is published, until the answer is dropped.
    pub fn subscribe(&self, socket: &WebSocket) -> Subscription {
        self.enter(socket.shared())
    }

    /// The same for a socket that was split.
    pub fn subscribe_sender(&self, sender: &Sender) -> Subscription {
        self.enter(sender.shared())
    }

    pub(crate) fn enter(&self, socket: &Rc<Socket>) -> Subscription {
        let mut members = self.inner.members.borrow_mut();
        let place = match members.free.pop() {
            Some(place) => place,
            None => {
                members.places.push(None);
                members.places.len() - 1
            }
        };
        members.places[place] = Some(socket.clone());
        Subscription { inner: self.inner.clone(), place }
    }

    /// Publishes a message to all subscribers of all cores. Those of this core have it, or have been treated as their
    /// policy says, before anything is waited for; it waits while the way to another core is full, and a few turns
    /// where a queue is full of what is only under way. Answers how many sockets of this core took
    /// it.
    ///
    /// Dropped while it waits, some of the other cores may not hear the message.
    pub async fn publish(&self, message: impl Into<Outgoing<'_>>) -> usize {
        let prepared = Prepared::from(message.into());
        let Delivered { taken, is_crowded } = self.inner.deliver(&prepared);
        let mesh = self.inner.hub.topics.mesh.borrow().clone();
        if let Some(shared) = self.inner.hub.topics.core.upgrade() {
            shared.counters.websocket_broadcasts.up();
        }
        if let Some(mesh) = mesh {
            for core in (0..mesh.cores()).filter(|core| *core != mesh.core()) {
                let broadcast = Box::new(Broadcast { topic: self.inner.name.clone(), message: prepared.clone() });
                // A core that is gone has no subscribers.
                let _ = mesh.send(core, broadcast).await;
            }
        }
        if is_crowded {
            self.inner.let_go().await;
        }
        taken
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("name", &self.name()).field("subscribers", &self.subscribers()).finish()
    }
}

/// A socket's place among the subscribers of a topic. Dropping it ends the subscription. It keeps the socket's memory, not
/// the socket: a socket may close, or be dropped, before it.
///
/// ```
/// use ringgate::{App, websocket::{SocketError, WebSocket}};
/// // `+room` enters, `-room` leaves.
/// async fn rooms(mut socket: WebSocket) -> Result<(), SocketError> {
///     let core = socket.core().clone();
///     let mut rooms = Vec::new();
///     while let Some(message) = socket.recv().await {
///         let message = message?;
///         match message.to_text().unwrap_or_default().split_at_checked(1) {
///             Some(("+", room)) => rooms.push((room.to_owned(), core.topic(room).subscribe(&socket))),
///             Some(("-", room)) => rooms.retain(|(entered, _)| entered != room),
///             _ => {}
///         }
///         socket.send(format!("in {} rooms", rooms.len())).await?;
///     }
///     Ok(())
/// }
/// # let app = App::new().route("/rooms", rooms);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/rooms", &["+a", "+b", "-a"]), ["in 1 rooms", "in 2 rooms", "in 1 rooms"]);
/// ```
#[must_use = "dropping it ends the subscription"]
pub struct Subscription {
    inner: Rc<Inner>,
    place: usize,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut members = self.inner.members.borrow_mut();
        members.places[self.place] = None;
        members.free.push(self.place);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.inner.name).finish()
    }
}
