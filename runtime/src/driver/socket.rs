//! Sockets as both kernel drivers make them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::sys::address::Address;

/// Connections that wait in the kernel to be accepted. 4,096: a burst of reconnects after a restart fits; the kernel
/// cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

fn stream_socket(address: &Address, flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let family = match address {
        Address::Tcp(std::net::SocketAddr::V4(_)) => AddressFamily::INET,
        Address::Tcp(std::net::SocketAddr::V6(_)) => AddressFamily::INET6,
        Address::Unix(_) => AddressFamily::UNIX,
    };
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | flags, None)
}

/// Binds and listens. TCP: every core binds its own socket to the same address; accepted sockets inherit `TCP_NODELAY`.
/// Unix: a socket file that nobody listens on any more is replaced.
pub(crate) fn listen(address: &Address) -> io::Result<OwnedFd> {
    let fd = stream_socket(address, SocketFlags::empty())?;
    match address {
        Address::Tcp(tcp) => {
            sockopt::set_socket_reuseaddr(&fd, true)?;
            sockopt::set_socket_reuseport(&fd, true)?;
            sockopt::set_tcp_nodelay(&fd, true)?;
            rustix::net::bind(&fd, tcp)?;
        }
        Address::Unix(path) => {
            let name = SocketAddrUnix::new(path)?;
            if let Err(errno) = rustix::net::bind(&fd, &name) {
                if errno != Errno::ADDRINUSE || !is_abandoned(&name) {
                    return Err(errno.into());
                }
                std::fs::remove_file(path)?;
                rustix::net::bind(&fd, &name)?;
            }
        }
    }
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd)
}

/// Whether descriptors can be passed on it between the bytes.
pub(crate) fn is_unix(fd: &OwnedFd) -> bool {
    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
}

/// A socket file whose server is gone refuses connections; any other file gives another error. One whose server does not
/// accept in time (EAGAIN) is not waited for.
fn is_abandoned(name: &SocketAddrUnix) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    probe.is_ok_and(|probe| rustix::net::connect(&probe, name) == Err(Errno::CONNREFUSED))
}

/// Begins to connect; true when it is connected already.
pub(crate) fn connect(address: &Address) -> io::Result<(OwnedFd, bool)> {
    let fd = stream_socket(address, SocketFlags::NONBLOCK)?;
    let begun = match address {
        Address::Tcp(tcp) => {
            sockopt::set_tcp_nodelay(&fd, true)?;
            rustix::net::connect(&fd, tcp)
        }
        Address::Unix(path) => rustix::net::connect(&fd, &SocketAddrUnix::new(path)?),
    };
    match begun {
        Ok(()) => Ok((fd, true)),
        Err(Errno::INPROGRESS) => Ok((fd, false)),
        Err(errno) => Err(errno.into()),
    }
}

/// How a connect that was begun has ended.
pub(crate) fn connected(fd: &OwnedFd) -> Result<(), Errno> {
    sockopt::socket_error(fd)?
}

/// The socket's own address.
pub(crate) fn local_address(fd: impl AsFd) -> io::Result<Option<Address>> {
    Ok(address_of(&rustix::net::getsockname(fd)?))
}

/// The peer's address.
pub(crate) fn peer_address(fd: impl AsFd) -> io::Result<Option<Address>> {
    Ok(rustix::net::getpeername(fd)?.as_ref().and_then(address_of))
}

/// `None` for an unnamed Unix socket and for families that we never open.
fn address_of(address: &SocketAddrAny) -> Option<Address> {
    if let Ok(tcp) = std::net::SocketAddr::try_from(address.clone()) {
        return Some(Address::Tcp(tcp));
    }
    let unix = SocketAddrUnix::try_from(address.clone()).ok()?;
    let path = unix.path()?;
    use std::os::unix::ffi::OsStrExt as _;
    Some(Address::Unix(std::ffi::OsStr::from_bytes(path.to_bytes()).into()))
}
