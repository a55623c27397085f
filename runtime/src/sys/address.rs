//! Where to listen or to connect.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A TCP or a Unix address. In text: `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/gateway.sock`.
///
/// ```
/// use ringgate_runtime::net::Address;
/// let address: Address = "unix:/run/gateway.sock".parse()?;
/// assert_eq!(address.to_string(), "unix:/run/gateway.sock");
/// # Ok::<(), ringgate_runtime::net::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix stream socket at this path.
    Unix(PathBuf),
}

/// The text is no address. Names are not looked up: that may block, and is the program's business.
///
/// ```
/// use ringgate_runtime::net::Address;
/// for text in ["localhost:8080", "127.0.0.1", "unix:"] {
///     let error = text.parse::<Address>().unwrap_err();
///     assert!(error.to_string().starts_with(&format!("`{text}` is no address")));
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    text: String,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no address: expected IP:PORT, [IPv6]:PORT or unix:PATH", self.text)
    }
}

impl std::error::Error for AddressError {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(AddressError { text: text.into() }),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressError { text: text.into() }),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}
