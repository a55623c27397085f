//! Takes io_uring away from this process, as Docker's default seccomp profile does, so that the fallback to epoll can be
//! tested on a kernel that has it; or has it fail, as it does where a kernel has no memory.
//!
//! # The unsafe of this room
//! Two system calls. `prctl(PR_SET_NO_NEW_PRIVS)` takes only numbers. `seccomp(SECCOMP_SET_MODE_FILTER)` reads a
//! `sock_fprog` and the instructions it points to, and copies both before it returns; both live on the stack of the
//! caller until then. Neither writes to our memory. What follows for the process (some system calls fail) is what a
//! caller asks for, and no more than any kernel may do.

use std::io;

use libc::{
    BPF_ABS, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, EPERM, SECCOMP_FILTER_FLAG_TSYNC,
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_SET_MODE_FILTER, sock_filter, sock_fprog,
};

/// These three numbers are the same on every architecture, so the filter need not look at it.
const IO_URING_SETUP: u32 = 425;
const IO_URING_ENTER: u32 = 426;
const IO_URING_REGISTER: u32 = 427;

/// From now on `io_uring_setup`, `io_uring_enter` and `io_uring_register` fail with EPERM, in all threads of this process
/// and in every process it starts. Cannot be taken back. Also gives up the chance to gain privileges by executing a
/// set-user-id program, without which the kernel takes a filter from root only.
///
/// # Errors
/// What the kernel says: EINVAL or ENOSYS if it was built without seccomp; ESRCH, as an "other" error, if a thread has a
/// filter of its own.
pub fn deny_io_uring() -> io::Result<()> {
    refuse(IO_URING_SETUP, IO_URING_REGISTER, EPERM, SECCOMP_FILTER_FLAG_TSYNC)
}

/// From now on `io_uring_enter` fails with this error on this thread, and on those that it starts.
///
/// # Errors
/// As [`deny_io_uring`].
pub fn fail_io_uring_enter(errno: i32) -> io::Result<()> {
    refuse(IO_URING_ENTER, IO_URING_ENTER, errno, 0)
}

/// The system calls from `first` to `last` answer `errno`.
fn refuse(first: u32, last: u32, errno: i32, flags: libc::c_ulong) -> io::Result<()> {
    let statement = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k: u32, jt: u8, jf: u8| sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        // The number of the system call is the first word of `struct seccomp_data`.
        statement(BPF_LD | BPF_W | BPF_ABS, 0),
        jump(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
        jump(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno as u32),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    ];
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };

    // SAFETY: only numbers are passed; see the head of the file.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `program` and the `filter` it points to live until the call has returned; see the head of the file.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match answer {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} could not take the filter"))),
    }
}
