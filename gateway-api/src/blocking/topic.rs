//! Topics for threads: the mirror of the async ones, "blocks" for "waits".

use crate::{
    blocking::{
        core::{Core, Question},
        websocket::{Sender, WebSocket},
    },
    websocket::{Outgoing, Prepared},
};
use std::{fmt, sync::Arc};

/// A topic of a gateway: the same on all its cores, for threads and tasks. See
/// [`websocket::Topic`](crate::websocket::Topic). Cheap to clone; any thread may hold it.
///
/// ```
/// use ringgate::{App, blocking};
/// fn chat(socket: blocking::WebSocket) {
///     let room = socket.core().topic("lobby");
///     let _here = room.subscribe(&socket);
///     let (_sender, mut receiver) = socket.split();
///     while let Some(Ok(message)) = receiver.recv() {
///         room.publish(message);
///     }
///     room.publish("somebody left");
/// }
/// # let app = App::new().route("/chat", chat);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/chat", &["hello"]), ["hello"]);
/// ```
#[derive(Clone)]
pub struct Topic {
    core: Core,
    name: Arc<str>,
}

impl Topic {
    pub(super) fn new(core: Core, name: &str) -> Self {
        Self { core, name: name.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Subscribers on this core. Blocks; 0 when the gateway has ended.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.core.ask(|answer| Question::Subscribers { topic: self.name.clone(), answer }).unwrap_or(0)
    }

    /// Lets a socket hear what is published, until the answer is dropped. Blocks until it does.
    pub fn subscribe(&self, socket: &WebSocket) -> Subscription {
        self.subscribe_sender(socket.sender())
    }

    /// The same for a socket that was split.
    pub fn subscribe_sender(&self, sender: &Sender) -> Subscription {
        // The socket's core, which need not be the topic's: the name is the same everywhere.
        let core = sender.core().clone();
        let (place, socket) = (core.number(), sender.number());
        core.ask(|answer| Question::Subscribe { topic: self.name.clone(), socket, place, answer });
        Subscription { core, place, name: self.name.clone() }
    }

    /// Publishes a message to all subscribers of all cores. Blocks until those of this core have it, or have been treated
    /// as their policy says, and while the way to another core is full. Answers how many sockets of this core took it;
    /// 0 when the gateway has ended.
    pub fn publish<'a>(&self, message: impl Into<Outgoing<'a>>) -> usize {
        let message = Prepared::from(message.into());
        self.core.ask(|answer| Question::Publish { topic: self.name.clone(), message, answer }).unwrap_or(0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A socket's place among the subscribers of a topic. Dropping it ends the subscription, before anything that the same
/// thread publishes afterwards.
#[must_use = "dropping it ends the subscription"]
pub struct Subscription {
    core: Core,
    place: u64,
    name: Arc<str>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.core.tell(Question::Unsubscribe { place: self.place });
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.name).finish_non_exhaustive()
    }
}
