//! Flow-control arithmetic, RFC 9113 sections 5.2 and 6.9.

/// Windows never exceed this, section 6.9.1.
pub const WINDOW_MAX: i64 = 0x7fff_ffff;

/// Window of the connection and of every stream before anybody says otherwise, section 6.9.2.
pub const WINDOW_INITIAL: u32 = 65_535;

/// What the peer allows us to send on one stream, kept as the difference from its INITIAL_WINDOW_SIZE.
///
/// So a change of that setting changes every stream without touching any (F-11); the sum may be negative. The difference
/// itself stays within 31 bits either way: no window passes [`WINDOW_MAX`], and no more is spent than is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SendWindow {
    delta: i32,
}

impl SendWindow {
    /// Bytes that may be sent; not positive when the window is shut.
    #[must_use]
    #[inline]
    pub const fn available(self, initial: u32) -> i64 {
        initial as i64 + self.delta as i64
    }

    /// Counts sent bytes.
    #[inline]
    pub const fn spend(&mut self, bytes: usize) {
        self.delta = self.delta.saturating_sub_unsigned(bytes as u32);
    }

    /// A WINDOW_UPDATE; false when the window would pass 2^31 - 1 (then nothing changes).
    #[must_use]
    #[inline]
    pub const fn widen(&mut self, initial: u32, increment: u32) -> bool {
        let delta = self.delta as i64 + increment as i64;
        if initial as i64 + delta > WINDOW_MAX {
            return false;
        }
        self.delta = delta as i32;
        true
    }

    /// The difference from the initial size.
    #[must_use]
    pub const fn delta(self) -> i64 {
        self.delta as i64
    }
}

/// What we allow the peer to send, and what of it waits to be given back.
///
/// `open + unannounced + held` stays constant: every byte charged is credited again exactly once (H2-12, H2-13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveWindow {
    /// Bytes the peer may still send; negative by what it has overrun.
    open: i32,
    /// Bytes consumed and not yet announced by WINDOW_UPDATE.
    unannounced: u32,
}

impl ReceiveWindow {
    /// A window of this many bytes, and of [`WINDOW_MAX`] at most.
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        let open = if bytes as i64 > WINDOW_MAX { i32::MAX } else { bytes as i32 };
        Self { open, unannounced: 0 }
    }

    /// Bytes the peer may still send.
    #[must_use]
    pub const fn open(self) -> i64 {
        self.open as i64
    }

    /// Bytes consumed and not yet announced.
    #[must_use]
    pub const fn unannounced(self) -> u32 {
        self.unannounced
    }

    /// Charges a whole DATA payload; false when the peer overran the window by more than `slack`.
    #[must_use]
    #[inline]
    pub const fn charge(&mut self, bytes: u32, slack: u32) -> bool {
        self.open = self.open.saturating_sub_unsigned(bytes);
        self.open as i64 + slack as i64 >= 0
    }

    /// Bytes were consumed; gives the increment to announce once at least half of `full` has come together.
    #[inline]
    pub const fn consume(&mut self, bytes: u32, full: u32) -> Option<u32> {
        self.unannounced += bytes;
        if self.unannounced > 0 && self.unannounced >= full / 2 {
            let increment = self.unannounced;
            self.unannounced = 0;
            self.open = self.open.saturating_add_unsigned(increment);
            Some(increment)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ReceiveWindow, SendWindow};

    #[test]
    fn h2_11_windows_go_negative_and_come_back() {
        let mut window = SendWindow::default();
        window.spend(60_000);
        assert_eq!(window.available(65_535), 5_535);
        assert_eq!(window.available(10), -59_990);
        assert!(window.widen(10, 60_000));
        assert_eq!(window.available(10), 10);
        assert!(!window.widen(10, 0x7fff_ffff));
        assert!(window.widen(10, 0x7fff_ffff - 10));
    }

    #[test]
    fn credit_is_given_back_once_at_half() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.charge(60, 0));
        assert_eq!(window.consume(49, 100), None);
        assert_eq!(window.consume(1, 100), Some(50));
        assert_eq!(window.consume(10, 100), None);
        assert_eq!(window.open() + i64::from(window.unannounced()), 100);
        assert!(!window.charge(91, 0));
    }
}
