//! The bare loop: one epoll instance, level-triggered; each ready socket is read once, answered, and written once.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll;
use rustix::fd::OwnedFd;

/// Large enough for a pipelined block or a 64 KiB message in one receive.
const RECEIVE_BYTES: usize = 256 * 1024;
const LISTENER: u64 = u64::MAX;

/// What a reference server says.
pub trait Answer {
    /// What it remembers of a connection.
    type State: Default;

    /// Answers what is complete in the input, appending to the output; returns how many bytes of input it is done
    /// with. The rest is shown again with more behind it. `None` closes the connection.
    fn answer(&self, state: &mut Self::State, input: &mut [u8], output: &mut Vec<u8>) -> Option<usize>;
}

struct Peer<S> {
    stream: TcpStream,
    state: S,
    /// Input that was not complete yet; empty nearly always.
    input: Vec<u8>,
    /// Output the kernel did not take; empty nearly always.
    output: Vec<u8>,
}

/// Serves until the process is ended.
///
/// # Errors
/// The kernel's, from epoll or the listener.
pub fn serve<A: Answer>(listener: TcpListener, answer: &A) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut peers: Vec<Option<Peer<A::State>>> = Vec::new();
    let mut vacant = Vec::new();
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut output = Vec::with_capacity(RECEIVE_BYTES);
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            if event.data.u64() == LISTENER {
                accept(&listener, &epoll, &mut peers, &mut vacant)?;
                continue;
            }
            let index = event.data.u64() as usize;
            let Some(peer) = &mut peers[index] else { continue };
            if !turn(peer, answer, &epoll, index, &mut buffer, &mut output) {
                peers[index] = None;
                vacant.push(index);
            }
        }
    }
}

fn accept<S: Default>(
    listener: &TcpListener,
    epoll: &OwnedFd,
    peers: &mut Vec<Option<Peer<S>>>,
    vacant: &mut Vec<usize>,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let index = vacant.pop().unwrap_or_else(|| {
            peers.push(None);
            peers.len() - 1
        });
        epoll::add(epoll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        peers[index] = Some(Peer { stream, state: S::default(), input: Vec::new(), output: Vec::new() });
    }
}

/// One readiness of one socket. False when the connection is over.
fn turn<A: Answer>(
    peer: &mut Peer<A::State>,
    answer: &A,
    epoll: &OwnedFd,
    index: usize,
    buffer: &mut [u8],
    output: &mut Vec<u8>,
) -> bool {
    if !peer.output.is_empty() {
        // While the peer does not read, we do not read either.
        return flush_rest(peer, epoll, index);
    }
    let received = match peer.stream.read(buffer) {
        Ok(0) => return false,
        Ok(received) => received,
        Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    };
    output.clear();
    let done = if peer.input.is_empty() {
        let done = answer.answer(&mut peer.state, &mut buffer[..received], output);
        done.inspect(|&done| peer.input.extend_from_slice(&buffer[done..received]))
    } else {
        peer.input.extend_from_slice(&buffer[..received]);
        let done = answer.answer(&mut peer.state, &mut peer.input, output);
        done.inspect(|&done| drop(peer.input.drain(..done)))
    };
    if done.is_none() {
        return false;
    }
    if output.is_empty() {
        return true;
    }
    match peer.stream.write(output) {
        Ok(taken) if taken == output.len() => true,
        Ok(taken) => {
            peer.output.extend_from_slice(&output[taken..]);
            watch(peer, epoll, index, epoll::EventFlags::OUT)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            peer.output.extend_from_slice(output);
            watch(peer, epoll, index, epoll::EventFlags::OUT)
        }
        Err(_) => false,
    }
}

fn flush_rest<S>(peer: &mut Peer<S>, epoll: &OwnedFd, index: usize) -> bool {
    match peer.stream.write(&peer.output) {
        Ok(taken) => {
            peer.output.drain(..taken);
            !peer.output.is_empty() || watch(peer, epoll, index, epoll::EventFlags::IN)
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn watch<S>(peer: &Peer<S>, epoll: &OwnedFd, index: usize, flags: epoll::EventFlags) -> bool {
    epoll::modify(epoll, &peer.stream, epoll::EventData::new_u64(index as u64), flags).is_ok()
}
