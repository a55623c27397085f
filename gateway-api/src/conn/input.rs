//! Bytes that were received and not consumed.

use ringgate_runtime::buffer::Lease;

/// What is left of the input. Empty while a connection is idle: it holds no buffer then.
pub(crate) struct Input {
    /// A received buffer, or memory of its own where a head, or the like, came in pieces.
    lease: Lease,
    /// The bytes before it are consumed. `start < lease.len()`, or both are zero.
    start: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Input {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self { lease: Lease::empty(), start: 0 };

    /// Everything not consumed.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.lease[self.start..]
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.lease.is_empty()
    }

    /// More bytes have come.
    #[inline]
    pub(crate) fn push(&mut self, lease: Lease) {
        if self.is_empty() {
            self.lease = lease;
        } else if !lease.is_empty() {
            self.join(&lease);
        }
    }

    /// Puts both together in memory of their own.
    fn join(&mut self, more: &[u8]) {
        let Self { mut lease, start } = std::mem::take(self);
        lease.advance(start);
        // What has been joined before goes on growing where it is.
        let mut bytes = lease.into_vec();
        bytes.extend_from_slice(more);
        self.lease = Lease::from_vec(bytes);
    }

    /// The buffer, and the place in it where the unconsumed bytes begin.
    #[inline]
    pub(crate) fn share(&self) -> (Lease, usize) {
        (self.lease.clone(), self.start)
    }

    /// The same, to look at; `None` when everything is consumed.
    #[inline]
    pub(crate) fn lease(&self) -> Option<(&Lease, usize)> {
        (!self.is_empty()).then_some((&self.lease, self.start))
    }

    /// Everything not consumed, to be changed in place. What somebody else looks at is copied first.
    #[inline]
    pub(crate) fn unique(&mut self) -> &mut [u8] {
        if !self.lease.is_unique() {
            self.detach();
        }
        match self.lease.as_mut_slice() {
            Some(bytes) => &mut bytes[self.start..],
            None => unreachable!("a fresh copy has one owner"),
        }
    }

    /// Takes the part `range` of the unconsumed bytes out, and consumes `count`. The last part takes the buffer along.
    #[inline]
    pub(crate) fn take(&mut self, count: usize, range: std::ops::Range<usize>) -> Lease {
        let Self { lease, start } = self;
        let range = *start + range.start..*start + range.end;
        if *start + count < lease.len() {
            *start += count;
            return lease.slice(range);
        }
        let mut part = std::mem::take(self).lease;
        part.truncate(range.end);
        part.advance(range.start);
        part
    }

    /// Lets go of the received buffer: what is left waits in memory of its own.
    #[inline(never)]
    pub(crate) fn detach(&mut self) {
        self.keep(usize::MAX);
    }

    /// The same, and only its first `count` bytes: what is behind them is of no use.
    pub(crate) fn keep(&mut self, count: usize) {
        let bytes = self.bytes();
        *self = Self { lease: Lease::from_vec(bytes[..count.min(bytes.len())].to_vec()), start: 0 };
    }

    /// The first `count` bytes are done with.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.bytes().len(), "more consumed than there is");
        self.start += count;
        if self.start >= self.lease.len() {
            *self = Self::EMPTY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(text: &str) -> Lease {
        Lease::from_vec(text.as_bytes().to_vec())
    }

    #[test]
    fn pieces_are_joined_only_when_something_is_left() {
        let mut input = Input::default();
        input.push(lease("abc"));
        input.consume(3);
        assert!(input.is_empty());
        input.push(lease("abc"));
        input.consume(1);
        input.push(lease("de"));
        assert_eq!(input.bytes(), b"bcde");
        let (shared, start) = input.share();
        assert_eq!((&shared[start..], input.bytes()), (&b"bcde"[..], &b"bcde"[..]));
        input.consume(1);
        input.push(lease("f"));
        assert_eq!(input.bytes(), b"cdef");
        input.consume(4);
        assert!(input.is_empty());
        input.push(Lease::empty());
        assert!(input.is_empty());
    }
}
