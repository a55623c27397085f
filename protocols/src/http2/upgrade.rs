//! `HTTP2-Settings` of an `Upgrade: h2c` request, RFC 7540 section 3.2.1.

use crate::http2::frame::settings::ENTRY_BYTES;
use crate::http2::settings::PeerSettings;

/// The settings a client sent in its HTTP/1.1 request, decoded and valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpgradeSettings {
    settings: PeerSettings,
}

impl UpgradeSettings {
    /// Reads the value of the one `HTTP2-Settings` field: base64url without padding (padding is tolerated by nobody's
    /// need, so it is refused), a whole number of entries, every value in range. `None` means: no upgrade, the request
    /// goes on as HTTP/1.1 (C-2). That there is exactly one such field, and that `Connection` lists it, is the caller's
    /// to check.
    ///
    /// ```
    /// use ringgate_protocols::http2::upgrade::UpgradeSettings;
    /// assert!(UpgradeSettings::parse(b"AAMAAABkAAQAAP__").is_some());
    /// assert!(UpgradeSettings::parse(b"AAMAAABkAAQAAP//").is_none());
    /// ```
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        // 32 entries and more say nothing that a client has to say here.
        let mut payload = [0; 32 * ENTRY_BYTES];
        let length = decode_base64url(value, &mut payload)?;
        if !length.is_multiple_of(ENTRY_BYTES) {
            return None;
        }
        let mut settings = PeerSettings::default();
        settings.apply(&payload[..length], true).ok()?;
        // The first SETTINGS frame is still to come and may say it anew.
        settings.no_rfc7540_priorities = None;
        Some(Self { settings })
    }

    /// What the client asked for.
    #[must_use]
    pub const fn settings(&self) -> &PeerSettings {
        &self.settings
    }
}

/// Strict base64url: no padding, no white space, no bits left over.
fn decode_base64url(value: &[u8], target: &mut [u8]) -> Option<usize> {
    let (mut bits, mut held, mut written) = (0u32, 0, 0);
    for &byte in value {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            *target.get_mut(written)? = (bits >> held) as u8;
            written += 1;
            bits &= (1 << held) - 1;
        }
    }
    (held < 6 && bits == 0).then_some(written)
}

#[cfg(test)]
mod tests {
    use super::UpgradeSettings;

    #[test]
    fn c2_valid_base64url_and_whole_entries_or_no_upgrade() {
        let settings = UpgradeSettings::parse(b"AAMAAABkAAQAAP__").unwrap();
        assert_eq!(settings.settings().max_concurrent_streams, 100);
        assert_eq!(settings.settings().initial_window_size, 65_535);
        assert!(UpgradeSettings::parse(b"").is_some());
        for bad in ["A", "AAMAAABkAAQAAP", "AAMAAABkAAQAAP==", "AAMAAABk AAQAAP__", "AAQAgAAAAAAA", "AAIAAAAC"] {
            assert!(UpgradeSettings::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(UpgradeSettings::parse(&[b'A'; 8 * 40]).is_none());
    }
}
