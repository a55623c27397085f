//! Whether `without-io-uring` does what it says.

use std::process::Command;

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
