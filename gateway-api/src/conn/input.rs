//! Bytes that were received and not consumed.

use ringgate_runtime::buffer::Lease;

/// What is left of the input. Empty while a connection is idle: it holds no buffer then.
#[derive(Default)]
pub(crate) enum Input {
    #[default]
    Empty,
    /// In a received buffer; the bytes before `start` are consumed. `start < lease.len()`.
    Lease { lease: Lease, start: usize },
    /// A head, or the like, that came in pieces: put together in memory of its own.
    Joined(Vec<u8>),
}

impl Input {
    /// Everything not consumed.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Lease { lease, start } => &lease[*start..],
            Self::Joined(bytes) => bytes,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// More bytes have come.
    #[inline]
    pub(crate) fn push(&mut self, lease: Lease) {
        if lease.is_empty() {
            return;
        }
        *self = match std::mem::take(self) {
            Self::Empty => Self::Lease { lease, start: 0 },
            Self::Lease { lease: before, start } => {
                let mut bytes = Vec::with_capacity(before.len() - start + lease.len());
                bytes.extend_from_slice(&before[start..]);
                bytes.extend_from_slice(&lease);
                Self::Joined(bytes)
            }
            Self::Joined(mut bytes) => {
                bytes.extend_from_slice(&lease);
                Self::Joined(bytes)
            }
        };
    }

    /// The buffer, and the place in it where the unconsumed bytes begin. What was joined becomes a lease of its own.
    #[inline]
    pub(crate) fn share(&mut self) -> (Lease, usize) {
        match self.lease() {
            Some((lease, start)) => (lease.clone(), start),
            None => (Lease::empty(), 0),
        }
    }

    /// The same, to look at; `None` when everything is consumed.
    #[inline]
    pub(crate) fn lease(&mut self) -> Option<(&Lease, usize)> {
        if let Self::Joined(bytes) = self {
            *self = Self::Lease { lease: Lease::from_vec(std::mem::take(bytes)), start: 0 };
        }
        match self {
            Self::Lease { lease, start } => Some((lease, *start)),
            _ => None,
        }
    }

    /// Everything not consumed, to be changed in place. What somebody else looks at is copied first.
    #[inline]
    pub(crate) fn unique(&mut self) -> &mut [u8] {
        let is_unique = match self {
            Self::Lease { lease, .. } => lease.as_mut_slice().is_some(),
            Self::Joined(_) => false,
            Self::Empty => true,
        };
        if !is_unique {
            self.make_unique();
        }
        match self {
            Self::Lease { lease, start } => match lease.as_mut_slice() {
                Some(bytes) => &mut bytes[*start..],
                None => unreachable!("a fresh copy has one owner"),
            },
            _ => &mut [],
        }
    }

    #[inline(never)]
    fn make_unique(&mut self) {
        if let Self::Joined(bytes) = self {
            *self = Self::Lease { lease: Lease::from_vec(std::mem::take(bytes)), start: 0 };
        }
        if let Self::Lease { lease, start } = self
            && lease.as_mut_slice().is_none()
        {
            *self = Self::Lease { lease: Lease::from_vec(lease[*start..].to_vec()), start: 0 };
        }
    }

    /// Takes the part `range` of the unconsumed bytes out, and consumes `count`. The last part takes the buffer along.
    #[inline]
    pub(crate) fn take(&mut self, count: usize, range: std::ops::Range<usize>) -> Lease {
        match self {
            Self::Lease { lease, start } if *start + count >= lease.len() => {
                let mut part = std::mem::replace(lease, Lease::empty());
                part.truncate(*start + range.end);
                part.advance(*start + range.start);
                *self = Self::Empty;
                part
            }
            Self::Lease { lease, start } => {
                let part = lease.slice(*start + range.start..*start + range.end);
                *start += count;
                part
            }
            _ => {
                let (lease, start) = self.share();
                self.consume(count);
                lease.slice(start + range.start..start + range.end)
            }
        }
    }

    /// Lets go of the received buffer: what is left, the beginning of something, is short and waits elsewhere.
    pub(crate) fn detach(&mut self) {
        if let Self::Lease { lease, start } = self {
            *self = Self::Joined(lease[*start..].to_vec());
        }
    }

    /// The first `count` bytes are done with.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        if let Self::Lease { lease, start } = self
            && *start + count < lease.len()
        {
            *start += count;
            return;
        }
        self.consume_rest(count);
    }

    /// The same where nothing is left of a buffer, or where bytes were joined.
    fn consume_rest(&mut self, count: usize) {
        match self {
            Self::Empty => debug_assert!(count == 0, "nothing to consume"),
            Self::Lease { .. } => *self = Self::Empty,
            Self::Joined(bytes) if count >= bytes.len() => *self = Self::Empty,
            Self::Joined(_) if count == 0 => {}
            Self::Joined(bytes) => {
                *self = Self::Lease { lease: Lease::from_vec(std::mem::take(bytes)), start: count };
            }
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
