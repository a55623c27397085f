//! The simulated kernel's books, looked through after every wait.

use crate::driver::sim::Sim;
use crate::driver::sim::socket::Repeat;
use crate::driver::slot::{Repeating, Sockets};

impl Sim {
    /// Whether all books balance.
    ///
    /// # Panics
    /// When they do not: that is a fault of the runtime.
    pub(super) fn audit(&self, sockets: &mut Sockets) {
        let seed = self.wire.borrow().config.seed;
        let buffers = self.posted.len() + self.pool.free() + self.pool.lent() as usize;
        assert_eq!(buffers, usize::from(self.pool.buffers()), "seed {seed}: buffers were lost or doubled");
        assert!(self.pool.lent() <= u32::from(self.pool.buffers() / 2), "seed {seed}: the lending cap does not hold");
        assert_eq!(sockets.in_use(), self.sockets.len(), "seed {seed}: slots and sockets differ");
        for socket in self.sockets.values() {
            let Some(slot) = sockets.get(socket.key) else {
                panic!("seed {seed}: {socket:?} lost its slot");
            };
            assert_eq!(slot.operations, socket.operations(), "seed {seed}: {socket:?} and {slot:?}");
            assert_eq!(slot.closing, socket.closing.is_some(), "seed {seed}: {socket:?} and {slot:?}");
            assert!(!slot.closing || slot.operations > 0, "seed {seed}: a closed slot without operations stays");
            assert_eq!(slot.sending.is_some(), socket.sending, "seed {seed}: {socket:?} and {slot:?}");
            assert!(!slot.closing || slot.inbound() == 0, "seed {seed}: a closed slot holds leases");
            let armed = match slot.receiving {
                Repeating::Idle | Repeating::Starved => Repeat::None,
                Repeating::Armed => Repeat::Armed,
                Repeating::Pausing => Repeat::Cancelled,
            };
            assert!(slot.closing || armed == socket.repeat, "seed {seed}: {socket:?} and {slot:?}");
        }
    }
}
