//! Getting a ring: sizes, flags best first, what must be there, and what to say where there is none.

use std::io;

use io_uring::{IoUring, opcode};

/// Sizes of the ring; tests make them tiny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Entries of the submission queue. 256: a turn's sends and re-arms; when it is full it is submitted early.
    pub submissions: u32,
    /// Entries of the completion queue. 4,096: one multishot receive can post 33 completions in one pass.
    pub completions: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { submissions: 256, completions: 4096 }
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

/// Tries the flags best first and drops them one by one, newest first, as the kernel refuses them.
pub(super) fn set_up(config: RingConfig) -> Result<(IoUring, String), Unavailable> {
    type Apply = fn(&mut io_uring::Builder);
    let tiers: [(&str, Apply); 3] = [
        ("SINGLE_ISSUER|DEFER_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL", |builder| {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
        }),
        ("SINGLE_ISSUER|COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL", |builder| {
            builder.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }),
        ("COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL", |builder| {
            builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }),
    ];
    let mut refused = None;
    for (name, apply) in tiers {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(config.completions).setup_clamp().dontfork();
        apply(&mut builder);
        match builder.build(config.submissions) {
            Ok(ring) => {
                probe(&ring)?;
                return Ok((ring, name.to_owned()));
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(Unavailable::new("io_uring_setup", &error)),
        }
    }
    let error = refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL));
    Err(Unavailable::new("io_uring_setup refused every set of flags", &error))
}

/// Behaviour, not version numbers: without these there is no driver.
fn probe(ring: &IoUring) -> Result<(), Unavailable> {
    let unsupported = |what| Unavailable { errno: libc::EINVAL, what };
    let parameters = ring.params();
    if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() {
        return Err(unsupported("the kernel's io_uring lacks EXT_ARG or NODROP"));
    }
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| Unavailable::new("io_uring probe", &error))?;
    let needed = [opcode::Accept::CODE, opcode::Recv::CODE, opcode::Send::CODE, opcode::SendMsg::CODE];
    if needed.iter().all(|code| probe.is_supported(*code)) && probe.is_supported(opcode::SendZc::CODE) {
        // SEND_ZC came with 6.0, as did multishot receive, which no probe shows.
        Ok(())
    } else {
        Err(unsupported("the kernel's io_uring lacks multishot receive"))
    }
}
