//! Work on many bytes at once: the one room of this crate where `unsafe` is allowed.
//!
//! # Unsafe: unmasking
//! `mask` writes its kernels as safe Rust over slices and lets the compiler vectorise them; some of them are compiled
//! for instruction sets that not every processor has. The only unsafe act is the call of such a function, and each call
//! stands behind the runtime question whether the processor has that set. No pointer is touched by hand.

pub mod mask;
