//! Looking at many bytes at once: the one room of this crate with `unsafe`.
//!
//! # What may go wrong here, and why it does not
//! Two things need `unsafe`: calling a function that was compiled for instructions the processor may not have, and
//! loading a vector from a pointer or storing it to one.
//!
//! - *Instructions.* A value of `avx2::Avx2` or `sse42::Sse42` is proof that the processor has them: `dispatch`
//!   makes such a value only after asking the processor, and nobody else can make one (the field is private to this
//!   room). Every method that needs the instructions takes the value as `self`.
//! - *Loads.* Every vector is loaded from a reference to an array of exactly its size, which safe code took out of the
//!   slice. No pointer is ever moved, and nothing beyond the slice is read: at the end of the input the last whole
//!   vector is loaded once more and shifted.
//!
//! - *Unmasking* ([`mask`]) is safe code over slices that the compiler vectorises; only the call of a function compiled
//!   for an instruction set is unsafe, and it stands behind the question whether the processor has that set.
//! - *Judging text* ([`utf8`]) is the same with vectors: they are loaded from and stored to references to arrays of their
//!   size. A value of [`utf8::Kernel`] is proof that the processor has the instructions: only the list of those that can
//!   run here makes one, and it asks the processor.
//!
//! # How it stays cheap
//! A `Job` is compiled once per instruction set with everything inlined, so that the choice is made once for each
//! head and not once for each token. The choice itself is one relaxed load of a byte.
//!
//! Every kernel has a scalar twin, and the tests compare them over every byte value, place and length.
//! Miri (`.ci/run memory`) walks every kernel with some of those, as of a processor with all of the vectors and of one that
//! ends at SSE4.2. It knows no permutation of bytes and no ternary logic of AVX-512: these stand in words of Rust for it, so
//! it watches what that kernel loads and stores, and not what the instructions make of it.

pub(crate) mod class;
pub mod mask;
mod scalar;
pub mod utf8;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod sse42;

#[cfg(test)]
pub(crate) mod tests;

use class::Class;

/// What stands in up to 64 bytes; bit `i` is the byte `i`. Bits beyond the end of the input are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Masks {
    /// Bytes that cannot stand in a field value ([`class::is_stop`]).
    pub(crate) stop: u64,
    /// Bytes that cannot stand in a field name (all but [`class::TOKEN`]).
    pub(crate) not_name: u64,
}

/// The bytes that one [`Masks`] describes.
pub(crate) const BLOCK: usize = 64;

/// One way of looking at bytes: an instruction set, or none.
pub(crate) trait Scan: Copy {
    /// What stands in the 64 bytes from `at`. `at` may be at the end of the input or beyond; then nothing does.
    fn masks(self, input: &[u8], at: usize) -> Masks;

    /// The first place from `at` on whose byte is not in `class`, or the end of the input.
    fn skip(self, class: &Class, input: &[u8], at: usize) -> usize;
}

/// Work to be compiled once for each instruction set.
pub(crate) trait Job {
    /// What comes of it.
    type Output;

    /// Does the work. Implementations must be `#[inline(always)]`, or the instruction set is lost.
    fn run<S: Scan>(self, scan: S) -> Self::Output;
}

/// Runs a job with the best instruction set that the processor has.
#[inline]
pub(crate) fn dispatch<J: Job>(job: J) -> J::Output {
    #[cfg(target_arch = "x86_64")]
    {
        use level::Level;
        match level::detect() {
            // SAFETY: `detect` has found every instruction that the function is compiled for.
            Level::Avx2 => return unsafe { avx2::run(job) },
            // SAFETY: as above.
            Level::Sse42 => return unsafe { sse42::run(job) },
            Level::Scalar => {}
        }
    }
    job.run(scalar::Scalar)
}

/// The first byte from `at` on that cannot stand in a field value, or the end of the input.
pub(crate) fn first_stop(input: &[u8], at: usize) -> usize {
    struct FirstStop<'a>(&'a [u8], usize);

    impl Job for FirstStop<'_> {
        type Output = usize;

        #[inline(always)]
        fn run<S: Scan>(self, scan: S) -> usize {
            let Self(input, mut at) = self;
            while at < input.len() {
                let stop = scan.masks(input, at).stop;
                if stop != 0 {
                    return at + stop.trailing_zeros() as usize;
                }
                at += BLOCK;
            }
            input.len()
        }
    }

    dispatch(FirstStop(input, at))
}

#[cfg(target_arch = "x86_64")]
mod level {
    //! Which instruction set the processor has, asked once.

    use std::sync::atomic::{AtomicU8, Ordering};

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) enum Level {
        Scalar,
        Sse42,
        Avx2,
    }

    const UNKNOWN: u8 = 0;
    const SCALAR: u8 = 1;
    const SSE42: u8 = 2;
    const AVX2: u8 = 3;

    static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[inline(always)]
    pub(super) fn detect() -> Level {
        // Relaxed: the byte carries nothing but itself, and everybody computes the same.
        match LEVEL.load(Ordering::Relaxed) {
            AVX2 => Level::Avx2,
            SSE42 => Level::Sse42,
            SCALAR => Level::Scalar,
            _ => ask(),
        }
    }

    #[cold]
    fn ask() -> Level {
        let has_avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        let (number, level) = if has_avx2 {
            (AVX2, Level::Avx2)
        } else if is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("popcnt") {
            (SSE42, Level::Sse42)
        } else {
            (SCALAR, Level::Scalar)
        };
        LEVEL.store(number, Ordering::Relaxed);
        level
    }
}
