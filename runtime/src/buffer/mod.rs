//! Receive buffers and the leases on them; buffers to send from.
//!
//! # The room and its unsafe
//! A [`ReceivePool`] is one block of memory cut into equal buffers. At any time a buffer has exactly
//! one owner: the free list, the driver (the kernel may be writing into it), or the leases on it. The rules are:
//!
//! 1. The kernel writes only into buffers that the driver took with `take_free`; nobody reads those.
//! 2. When the driver learns that the kernel has finished a buffer it calls `lend`, once: from then on the kernel does
//!    not touch it and the bytes are plain initialised memory (the block is zeroed when it is allocated).
//! 3. Leases of one buffer count themselves. While the count is above one they are read-only; a single lease may
//!    change its bytes. The last one to go puts the buffer on the free list, or gives back memory that is not a pool's.
//! 4. Everything is of one thread (`Rc`, `Cell`): a lease is not `Send`.
//! 5. A lease holds a plain pointer to what it is counted on, which stays where it is as long as it is: a buffer that is
//!    lent keeps its whole pool alive, so a lease may outlive the executor; other memory is boxed with its count. The
//!    driver keeps the pool alive as well, until the kernel has let go of the ring.

mod lease;
mod receive;
mod send;

pub use lease::Lease;
pub use receive::{ReceiveConfig, ReceivePool};
pub use send::{Piece, SendBuf};
