//! Who may say for whom a connection is.

use ringgate_runtime::net::Address;
use std::{fmt, net::IpAddr, str::FromStr};

/// The proxies in front of a listener: only they connect to it, and each connection begins with a PROXY header, version 1
/// or 2, that says for whom it is. In text: prefixes, addresses, and `unix` for whoever may connect to a Unix socket,
/// with commas between them.
///
/// ```
/// use ringgate::TrustedProxies;
/// let proxies: TrustedProxies = "10.0.0.0/8, 2001:db8::/32, 192.0.2.1, unix".parse()?;
/// assert!(proxies.trusts(Some(&"10.1.2.3:4567".parse()?)));
/// assert!(!proxies.trusts(Some(&"192.0.2.2:4567".parse()?)));
/// assert!("10.0.0.0/33".parse::<TrustedProxies>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    prefixes: Vec<(IpAddr, u8)>,
    has_unix: bool,
}

impl TrustedProxies {
    /// Whether a connection from there is a trusted proxy's; `None` is a Unix peer without a name.
    #[must_use]
    pub fn trusts(&self, peer: Option<&Address>) -> bool {
        let Some(Address::Tcp(peer)) = peer else { return self.has_unix };
        // What comes to an IPv6 socket over IPv4 is judged as what it is.
        let peer = peer.ip().to_canonical();
        self.prefixes.iter().any(|(prefix, bits)| match (prefix, peer) {
            (IpAddr::V4(prefix), IpAddr::V4(peer)) => share(prefix.to_bits().into(), peer.to_bits().into(), 32 - bits),
            (IpAddr::V6(prefix), IpAddr::V6(peer)) => share(prefix.to_bits(), peer.to_bits(), 128 - bits),
            _ => false,
        })
    }
}

/// Whether two numbers are the same but for their last bits.
fn share(one: u128, other: u128, last: u8) -> bool {
    (one ^ other).checked_shr(last.into()).unwrap_or(0) == 0
}

/// The text names no proxies: an empty word, a host name, a prefix longer than the address.
///
/// ```
/// use ringgate::TrustedProxies;
/// let error = "10.0.0.0/8, balancer.example".parse::<TrustedProxies>().unwrap_err();
/// assert_eq!(error.to_string(), "`balancer.example` is no proxy: expected IP, IP/BITS or unix");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxiesError {
    text: String,
}

impl fmt::Display for TrustedProxiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no proxy: expected IP, IP/BITS or unix", self.text)
    }
}

impl std::error::Error for TrustedProxiesError {}

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    fn from_str(text: &str) -> Result<Self, TrustedProxiesError> {
        let mut proxies = Self { prefixes: Vec::new(), has_unix: false };
        for word in text.split(',').map(str::trim) {
            if word == "unix" {
                proxies.has_unix = true;
            } else {
                proxies.prefixes.push(prefix(word).ok_or_else(|| TrustedProxiesError { text: word.into() })?);
            }
        }
        Ok(proxies)
    }
}

fn prefix(word: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = word.split_once('/').map_or((word, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
    // Peers are judged as what they are, so this is too: IPv4 in the clothes of IPv6 (RFC 4291 section 2.5.5.2).
    match address {
        IpAddr::V6(mapped) if bits >= 96 => match mapped.to_ipv4_mapped() {
            Some(address) => Some((address.into(), bits - 96)),
            None => Some((mapped.into(), bits)),
        },
        address => Some((address, bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y_1_prefixes_of_both_families() {
        let proxies: TrustedProxies = "10.1.0.0/16,2001:db8::/33,192.0.2.1".parse().unwrap();
        let trusts = |peer: &str| proxies.trusts(Some(&peer.parse().unwrap()));
        assert!(trusts("10.1.255.255:1") && trusts("[::ffff:10.1.0.1]:1") && trusts("192.0.2.1:1"));
        assert!(trusts("[2001:db8:7fff::1]:1"));
        for stranger in ["10.2.0.0:1", "192.0.2.0:1", "[2001:db8:8000::]:1", "[::1]:1", "unix:/run/x"] {
            assert!(!trusts(stranger), "{stranger}");
        }
        assert!(!proxies.trusts(None));
        let mapped: TrustedProxies = "::ffff:10.1.0.0/112, ::ffff:192.0.2.1".parse().unwrap();
        for (peer, is_trusted) in
            [("10.1.2.3:1", true), ("192.0.2.1:1", true), ("10.2.0.0:1", false), ("[::1]:1", false)]
        {
            assert_eq!(mapped.trusts(Some(&peer.parse().unwrap())), is_trusted, "{peer}");
        }
        let all: TrustedProxies = "0.0.0.0/0,::/0,unix".parse().unwrap();
        for anybody in ["1.2.3.4:1", "[::1]:1", "unix:/run/x"] {
            assert!(all.trusts(Some(&anybody.parse().unwrap())), "{anybody}");
        }
        assert!(all.trusts(None));
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in ["", ",", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10/8", "localhost", "Unix"] {
            assert!(text.parse::<TrustedProxies>().is_err(), "{text}");
        }
    }
}
