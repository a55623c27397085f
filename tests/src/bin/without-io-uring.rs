//! Runs a program that cannot have io_uring: `without-io-uring PROGRAM [ARGUMENT]…`. Becomes that program (same process
//! id), so that signals and waiting work as if it had been started directly.

use std::{env, os::unix::process::CommandExt, process::Command};

fn main() {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: without-io-uring PROGRAM [ARGUMENT]…");
        std::process::exit(2);
    };
    if let Err(error) = ringgate_tests::seccomp::deny_io_uring() {
        eprintln!("without-io-uring: the filter was not taken: {error}");
        std::process::exit(125);
    }
    // Returns only if it fails.
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("without-io-uring: {}: {error}", program.display());
    std::process::exit(127);
}
