//! Getting a ring: sizes, flags best first, what must be there, and what to say where there is none.

use std::io;
use std::os::fd::AsFd;

use io_uring::{EnterFlags, IoUring, cqueue, opcode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};

use crate::buffer::{ReceiveConfig, ReceivePool, SendBuf};
use crate::driver::slot::Sending;
use crate::driver::uring::buffer_ring::{BUFFER_GROUP, BufferRing};
use crate::driver::uring::operation::{self, Telling};

/// Sizes of the ring; tests make them tiny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Entries of the submission queue. 256: a turn's sends and re-arms; when it is full it is submitted early.
    pub submissions: u32,
    /// Entries of the completion queue. 4,096: one multishot receive can post 33 completions in one pass.
    pub completions: u32,
    /// What is not to be used although the kernel has it: where a kernel has it with a fault, and for tests.
    pub without: &'static [RingFeature],
}

/// What some kernels have and others do not. The driver does without each of them, or there is none and epoll serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFeature {
    /// `IORING_SETUP_DEFER_TASKRUN`, of 6.1. Without it the kernel interrupts the core to complete operations.
    DeferTaskrun,
    /// `IORING_SETUP_SINGLE_ISSUER`, of 6.0. Without it there is no `DEFER_TASKRUN` either.
    SingleIssuer,
    /// Sends that tell only if they go short. Without them each answer wakes a core that sleeps once more.
    SilentSends,
    /// Receives that fill several buffers at once, up to a bound, of 6.17. Without them each brings one buffer.
    Bundles,
    /// Receiving and accepting until further notice, of 6.0. Without it there is no driver.
    Multishot,
    /// Rings of provided buffers, of 5.19. Without them there is no driver.
    BufferRing,
}

impl RingConfig {
    pub(super) fn has(&self, feature: RingFeature) -> bool {
        !self.without.contains(&feature)
    }
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { submissions: 256, completions: 4096, without: &[] }
    }
}

/// Why io_uring cannot be had, and what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) errno: i32,
    pub(crate) what: &'static str,
}

impl Unavailable {
    pub(super) fn new(what: &'static str, error: &io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(0), what }
    }

    /// The operator's way out, by errno.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.errno {
            libc::EPERM | libc::EACCES => {
                "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, and set \
                 kernel.io_uring_disabled=0 (or join kernel.io_uring_group)"
            }
            libc::ENOMEM => "raise RLIMIT_MEMLOCK (ulimit -l)",
            libc::ENOSYS => "none: this kernel has no io_uring",
            libc::EINVAL => "none: this kernel is older than 6.0",
            _ => "none known",
        }
    }
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "{}: {error}; remedy: {}", self.what, self.remedy())
    }
}

/// Flags that go together, and the features they need.
struct Tier {
    name: &'static str,
    needs: &'static [RingFeature],
    apply: fn(&mut io_uring::Builder),
}

/// Best first; each drops what is newest in the one before.
const TIERS: [Tier; 3] = [
    Tier {
        name: "SINGLE_ISSUER|DEFER_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL",
        needs: &[RingFeature::SingleIssuer, RingFeature::DeferTaskrun],
        apply: |builder| {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
        },
    },
    Tier {
        name: "SINGLE_ISSUER|COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL",
        needs: &[RingFeature::SingleIssuer],
        apply: |builder| {
            builder.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        },
    },
    Tier {
        name: "COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL",
        needs: &[],
        apply: |builder| {
            builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        },
    },
];

/// A ring, and what it turned out to be able to do.
pub(super) struct Setup {
    pub(super) uring: IoUring,
    pub(super) tier: String,
    /// The tier above, if it was refused.
    pub(super) refused: Option<&'static str>,
    /// [`RingFeature::SilentSends`] was seen to work.
    pub(super) has_silent_sends: bool,
    /// [`RingFeature::Bundles`] was seen to work.
    pub(super) has_bundles: bool,
}

impl Setup {
    /// Tries the tiers one by one, as the kernel refuses them.
    pub(super) fn new(config: RingConfig) -> Result<Self, Unavailable> {
        let mut refusal = io::Error::from_raw_os_error(libc::EINVAL);
        let mut refused = None;
        for tier in &TIERS {
            match build(config, tier) {
                Ok(uring) => {
                    probe(&uring, config)?;
                    let has_silent_sends = config.has(RingFeature::SilentSends) && sends_silently(config, tier);
                    let has_bundles = config.has(RingFeature::Bundles) && receives_bundles(config, tier);
                    let sends = if has_silent_sends { "" } else { ", every send tells" };
                    let receives = if has_bundles { "" } else { ", no bundles" };
                    let tier = format!("{}{sends}{receives}", tier.name);
                    return Ok(Self { uring, tier, refused, has_silent_sends, has_bundles });
                }
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    refusal = error;
                    refused = Some(tier.name);
                }
                Err(error) => return Err(Unavailable::new("io_uring_setup", &error)),
            }
        }
        Err(Unavailable::new("io_uring_setup refused every set of flags", &refusal))
    }
}

fn build(config: RingConfig, tier: &Tier) -> io::Result<IoUring> {
    if !tier.needs.iter().all(|feature| config.has(*feature)) {
        // What a kernel says that does not know a flag.
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut builder = IoUring::builder();
    builder.setup_cqsize(config.completions).setup_clamp().dontfork();
    (tier.apply)(&mut builder);
    builder.build(config.submissions)
}

/// Behaviour, not version numbers: without these there is no driver.
fn probe(uring: &IoUring, config: RingConfig) -> Result<(), Unavailable> {
    let unsupported = |what| Unavailable { errno: libc::EINVAL, what };
    let parameters = uring.params();
    if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() {
        return Err(unsupported("the kernel's io_uring lacks EXT_ARG or NODROP"));
    }
    let mut probe = io_uring::Probe::new();
    uring.submitter().register_probe(&mut probe).map_err(|error| Unavailable::new("io_uring probe", &error))?;
    // SEND_ZC came with 6.0, as did multishot receive, which no probe shows.
    let needed =
        [opcode::Accept::CODE, opcode::Recv::CODE, opcode::Send::CODE, opcode::SendMsg::CODE, opcode::SendZc::CODE];
    if config.has(RingFeature::Multishot) && needed.iter().all(|code| probe.is_supported(*code)) {
        Ok(())
    } else {
        Err(unsupported("the kernel's io_uring lacks multishot receive"))
    }
}

/// Whether a send that was asked to tell only if it goes short does so, and tells how far it came. Kernels before 6.1 forget
/// the bytes that a short one has sent. It is tried on a pair of sockets, in a ring of its own: after a surprise nothing of
/// it is used again.
fn sends_silently(config: RingConfig, tier: &Tier) -> bool {
    const BYTES: [usize; 2] = [16, 1 << 18];
    let mut sendings = BYTES.map(|bytes| Sending::new(SendBuf::from_vec(vec![0; bytes])));
    let mut attempt = || -> io::Result<bool> {
        let mut uring = build(RingConfig { submissions: 4, completions: 8, ..config }, tier)?;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_send_buffer_size(&ours, 8192)?;
        for (number, sending) in sendings.iter_mut().enumerate() {
            let (send, _) = operation::send(ours.as_fd(), sending, Telling::IfShort);
            // SAFETY: the bytes live in `sendings`, which is forgotten below if the kernel may still use them. The queue is
            // larger than what is tried.
            let _ = unsafe { uring.submission().push(&send.user_data(number as u64)) };
        }
        // SAFETY: no argument is passed, and the entries are those above.
        unsafe { uring.submitter().enter::<()>(2, 0, EnterFlags::GETEVENTS.bits(), None) }?;
        let told: Vec<_> = uring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        let arrived = rustix::io::ioctl_fionread(&theirs)? as usize;
        let [(1, sent @ 1..)] = told[..] else { return Ok(false) };
        Ok((sent as usize) < BYTES[1] && arrived == BYTES[0] + sent as usize)
    };
    let is_so = attempt().unwrap_or(false);
    if !is_so {
        std::mem::forget(sendings);
    }
    is_so
}

/// Whether one receive may fill several buffers, up to a bound. Kernels since 6.10 know bundles, but only 6.17 knows their
/// bound: without it one connection could take all buffers. Older ones refuse the length. Tried as above.
fn receives_bundles(config: RingConfig, tier: &Tier) -> bool {
    const BUFFERS: u16 = 4;
    const BYTES: u32 = 64;
    let pool = ReceivePool::new(ReceiveConfig { buffers: BUFFERS, buffer_bytes: BYTES });
    let mut buffers = BufferRing::new(pool);
    let mut has_ended = true;
    let mut attempt = || -> io::Result<bool> {
        let mut uring = build(RingConfig { submissions: 4, completions: 8, ..config }, tier)?;
        // SAFETY: the ring of entries is page-aligned, has exactly as many entries, and is forgotten below if the kernel may
        // still use it.
        unsafe { uring.submitter().register_buf_ring_with_flags(buffers.address(), BUFFERS, BUFFER_GROUP, 0) }?;
        buffers.replenish();
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // More than may come together, and no end behind it: Linux 6.18 forgets an end that stands behind a receive that was
        // bounded, unless that is cancelled. (Where streams are received from, the bound is where the reader is behind: they
        // are cancelled and begun again.)
        rustix::io::write(&theirs, &[0; 3 * BYTES as usize])?;
        let entries = [operation::receive(ours.as_fd(), 2 * BYTES), operation::cancel_all(ours.as_fd()).user_data(1)];
        let mut came = Vec::new();
        has_ended = false;
        for entry in &entries {
            // SAFETY: the operations refer to the buffers alone; the queue is larger than what is tried.
            let _ = unsafe { uring.submission().push(entry) };
            // SAFETY: no argument is passed, and the entry is the one above.
            unsafe { uring.submitter().enter::<()>(1, 1, EnterFlags::GETEVENTS.bits(), None) }?;
            for completion in uring.completion().filter(|completion| completion.user_data() == 0) {
                came.push(completion.result());
                has_ended |= !cqueue::more(completion.flags());
            }
        }
        Ok(came.first() == Some(&(2 * BYTES as i32)))
    };
    let is_so = attempt().unwrap_or(false);
    if !has_ended {
        std::mem::forget(buffers);
    }
    is_so
}
