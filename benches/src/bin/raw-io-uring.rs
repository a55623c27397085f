//! The floor for HTTP/1.1 on io_uring: multishot accept and receive, provided buffers, canned answers.
//!
//! # Safety
//! This is the only file of the package with `unsafe` code. The kernel is given three kinds of memory: the buffer
//! ring and its buffers, which live as long as the process (they are leaked on purpose); the canned answers, which are
//! a leaked constant block; and nothing else. A descriptor is closed only when its connection has neither a receive
//! nor a send in flight, so that a number the kernel reuses never meets an operation of its former owner.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use ringgate_benches::raw::requests::count_heads;
use ringgate_benches::raw::{CANNED, listen_as_told};

const BUFFERS: u16 = 1024;
const BUFFER_BYTES: usize = 4096;
const BUFFER_GROUP: u16 = 0;
/// One send carries at most this many answers; a longer pipeline goes out in several.
const ANSWERS_MAX: usize = 64;

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

/// 1024 entries of 16 bytes, aligned to a page as the kernel demands.
#[repr(C, align(4096))]
struct BufferRing([MaybeUninit<BufRingEntry>; BUFFERS as usize]);

/// The receive buffers and the ring through which the kernel gets them back.
struct Buffers {
    ring: &'static mut BufferRing,
    memory: &'static mut [u8],
    tail: u16,
}

impl Buffers {
    fn register(uring: &IoUring) -> io::Result<Self> {
        let ring = Box::leak(Box::new(BufferRing([const { MaybeUninit::zeroed() }; BUFFERS as usize])));
        let memory = vec![0; BUFFERS as usize * BUFFER_BYTES].leak();
        // SAFETY: the ring is page-aligned, has BUFFERS entries and is never freed.
        unsafe { uring.submitter().register_buf_ring_with_flags(ring.0.as_ptr() as u64, BUFFERS, BUFFER_GROUP, 0)? };
        let mut buffers = Self { ring, memory, tail: 0 };
        (0..BUFFERS).for_each(|buffer| buffers.give_back(buffer));
        buffers.publish();
        Ok(buffers)
    }

    fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        &self.memory[usize::from(buffer) * BUFFER_BYTES..][..length]
    }

    fn give_back(&mut self, buffer: u16) {
        let address = &raw mut self.memory[usize::from(buffer) * BUFFER_BYTES] as u64;
        let entry = &mut self.ring.0[usize::from(self.tail % BUFFERS)];
        // SAFETY: the entries were zeroed, and all-zero is a valid entry. Setters leave the tail, which overlays the
        // last field of entry 0, alone.
        let entry = unsafe { entry.assume_init_mut() };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes all buffers given back since the last time visible to the kernel.
    fn publish(&mut self) {
        let base = self.ring.0.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `base` is the address of the first, initialised entry of the ring; the tail in it is only ever
        // written through this atomic, by this thread, and read by the kernel.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

#[derive(Default)]
struct Peer {
    socket: Option<OwnedFd>,
    incomplete: Vec<u8>,
    answers_owed: usize,
    sending: bool,
    receiving: bool,
}

struct Server {
    uring: IoUring,
    buffers: Buffers,
    peers: Vec<Peer>,
    vacant: Vec<usize>,
    listener: TcpListener,
    answers: &'static [u8],
}

impl Server {
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: see the top of the file: all memory named by our entries is leaked, all descriptors outlive them.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.uring.submit().expect("the kernel takes our entries");
        }
    }

    fn push_accept(&mut self) {
        let entry = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).build().user_data(ACCEPT);
        self.push(&entry);
    }

    fn push_receive(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else { return };
        peer.receiving = true;
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), BUFFER_GROUP);
        self.push(&entry.build().user_data((index as u64) << 2 | RECEIVE));
    }

    fn push_send(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else { return };
        if peer.sending || peer.answers_owed == 0 {
            return;
        }
        peer.sending = true;
        let answers = peer.answers_owed.min(ANSWERS_MAX);
        peer.answers_owed -= answers;
        let length = (answers * CANNED.len()) as u32;
        let flags = rustix::net::SendFlags::NOSIGNAL.bits() as i32 | 0x100; // MSG_WAITALL: no short sends
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), self.answers.as_ptr(), length).flags(flags);
        self.push(&entry.build().user_data((index as u64) << 2 | SEND));
    }

    fn accepted(&mut self, result: i32, flags: u32) {
        if result >= 0 {
            // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
            let index = self.vacant.pop().unwrap_or_else(|| {
                self.peers.push(Peer::default());
                self.peers.len() - 1
            });
            self.peers[index] = Peer { socket: Some(socket), ..Peer::default() };
            self.push_receive(index);
        }
        if !cqueue::more(flags) {
            self.push_accept();
        }
    }

    fn received(&mut self, index: usize, result: i32, flags: u32) {
        let peer = &mut self.peers[index];
        if let Some(buffer) = cqueue::buffer_select(flags) {
            let bytes = self.buffers.bytes(buffer, result.max(0) as usize);
            let (heads, end, rest) = if peer.incomplete.is_empty() {
                let (heads, end) = count_heads(bytes);
                (heads, end, bytes)
            } else {
                peer.incomplete.extend_from_slice(bytes);
                let (heads, end) = count_heads(&peer.incomplete);
                peer.incomplete.drain(..end);
                (heads, 0, &[][..])
            };
            peer.incomplete.extend_from_slice(&rest[end..]);
            peer.answers_owed += heads;
            self.buffers.give_back(buffer);
        }
        if !cqueue::more(flags) {
            peer.receiving = false;
            // Out of buffers, or so many completions that the kernel ended the multishot: ask again.
            if result > 0 || result == -rustix::io::Errno::NOBUFS.raw_os_error() {
                self.buffers.publish();
                self.push_receive(index);
            }
        }
        self.push_send(index);
        self.close_if_over(index);
    }

    fn sent(&mut self, index: usize, result: i32) {
        self.peers[index].sending = false;
        if result < 0 {
            self.peers[index].answers_owed = 0;
        }
        self.push_send(index);
        self.close_if_over(index);
    }

    fn close_if_over(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if !peer.receiving && !peer.sending && peer.socket.take().is_some() {
            self.vacant.push(index);
        }
    }

    fn run(&mut self) -> io::Result<()> {
        self.push_accept();
        let mut completions = VecDeque::with_capacity(4096);
        loop {
            match self.uring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
            completions.extend(self.uring.completion().map(|entry| (entry.user_data(), entry.result(), entry.flags())));
            while let Some((user_data, result, flags)) = completions.pop_front() {
                let index = (user_data >> 2) as usize;
                match user_data & 3 {
                    ACCEPT => self.accepted(result, flags),
                    RECEIVE => self.received(index, result, flags),
                    _ => self.sent(index, result),
                }
            }
            self.buffers.publish();
        }
    }
}

fn main() -> Result<(), String> {
    let listener = listen_as_told()?;
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all().setup_cqsize(8192);
    let uring = builder.build(1024).map_err(|error| format!("io_uring: {error}"))?;
    let buffers = Buffers::register(&uring).map_err(|error| format!("buffer ring: {error}"))?;
    let answers = CANNED.repeat(ANSWERS_MAX).leak();
    let mut server = Server { uring, buffers, peers: Vec::new(), vacant: Vec::new(), listener, answers };
    server.run().map_err(|error| error.to_string())
}
