//! Whether `without-io-uring` does what it says, and what a core does when the kernel has no memory for it.

use ringgate_runtime::{
    driver::DriverChoice,
    executor::{Executor, ExecutorConfig},
};
use std::{process::Command, time::Duration};

/// Prints what the kernel says to a wish for a ring. Run by the test below as a process of its own.
#[test]
#[ignore = "the child of the other test"]
fn child() {
    match io_uring::IoUring::new(2) {
        Ok(_) => println!("ring: yes"),
        Err(error) => println!("ring: errno {:?}", error.raw_os_error()),
    }
}

fn what_the_child_says(command: &mut Command) -> String {
    let output = command.args(["child", "--exact", "--ignored", "--nocapture"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_ring_is_refused_and_all_else_goes_on() {
    let itself = std::env::current_exe().unwrap();
    let mut filtered = Command::new(env!("CARGO_BIN_EXE_without-io-uring"));
    let said = what_the_child_says(filtered.arg(&itself));
    assert!(said.contains("ring: errno Some(1)"), "{said}");
    // Where the kernel itself grants a ring, the refusal was the filter's.
    let unfiltered = what_the_child_says(&mut Command::new(&itself));
    assert!(unfiltered.contains("ring: "), "{unfiltered}");
    if io_uring::IoUring::new(2).is_ok() {
        assert!(unfiltered.contains("ring: yes"), "{unfiltered}");
    }
}

#[test]
fn a_program_that_is_not_there() {
    let output = Command::new(env!("CARGO_BIN_EXE_without-io-uring")).arg("/nowhere/at/all").output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at/all"));
}

/// Each core and its filter have a thread of their own.
#[test]
fn a_core_outlives_a_kernel_without_memory() {
    let on_its_thread = |errno: i32| {
        let config = ExecutorConfig { driver: DriverChoice::IoUring, ..ExecutorConfig::default() };
        let Ok(mut executor) = Executor::new(config) else {
            eprintln!("io_uring is not to be had here: left out");
            return;
        };
        let (handle, counters) = (executor.handle(), executor.handle().counters());
        executor.block_on(handle.sleep(Duration::from_millis(1)));
        assert_eq!(counters.get("enters_refused"), Some(0));
        ringgate_tests::seccomp::fail_io_uring_enter(errno).unwrap();
        let task = handle.spawn("timer", {
            let handle = handle.clone();
            async move {
                handle.sleep(Duration::from_millis(20)).await;
                7
            }
        });
        assert_eq!(executor.block_on(task).ok(), Some(7), "tasks and timers go on");
        let refused = counters.get("enters_refused").unwrap();
        assert!((1..=30).contains(&refused), "{refused} in 20 ms: asked again, and not without a pause");
    };
    for errno in [libc::ENOMEM, libc::EAGAIN, libc::EBUSY] {
        std::thread::spawn(move || on_its_thread(errno)).join().unwrap();
    }
}
