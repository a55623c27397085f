//! Which driver and tier runs where a kernel lacks something: the line that says so, and that it serves.

mod kernel;

use ringgate_runtime::buffer::SendBuf;
use ringgate_runtime::driver::{DriverChoice, RingConfig, RingFeature};
use ringgate_runtime::executor::{Executor, ExecutorConfig};

fn executor(driver: DriverChoice, without: &'static [RingFeature]) -> std::io::Result<Executor> {
    let ring = RingConfig { without, ..RingConfig::default() };
    Executor::new(ExecutorConfig { driver, ring, ..ExecutorConfig::default() })
}

/// A round trip, whatever runs; returns the line about the driver.
fn serves(mut executor: Executor) -> String {
    let handle = executor.handle();
    let echoed = executor.block_on(async {
        let listener = handle.listen(&"127.0.0.1:0".parse().unwrap())?;
        let mut client = handle.connect(&listener.local_address()?.unwrap()).await?;
        let mut server = listener.accept().await?;
        client.send(SendBuf::from_vec(b"served".to_vec())).await?;
        Ok::<_, std::io::Error>(server.recv().await?.to_vec())
    });
    assert_eq!(echoed.unwrap(), b"served");
    handle.driver_report().line
}

#[test]
fn each_flag_that_is_refused_leaves_the_next_tier() {
    use RingFeature::{DeferTaskrun, SilentSends, SingleIssuer};
    if !kernel::has_io_uring() {
        return;
    }
    let best = "SINGLE_ISSUER|DEFER_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL,";
    let second = "SINGLE_ISSUER|COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL,";
    let third = "COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL,";
    let every_send_tells = "every send tells";
    // Both the deferred work and the silent sends are of 6.1.
    let is_new = kernel::version() >= (6, 1);
    let tiers: [(&'static [RingFeature], &str, bool); 6] = [
        (&[], if is_new { best } else { second }, is_new),
        (&[SilentSends], if is_new { best } else { second }, false),
        (&[DeferTaskrun], second, is_new),
        (&[DeferTaskrun, SilentSends], second, false),
        // The kernel refuses DEFER_TASKRUN without it.
        (&[SingleIssuer], third, is_new),
        (&[SingleIssuer, SilentSends], third, false),
    ];
    for (without, tier, is_silent) in tiers {
        let line = serves(executor(DriverChoice::IoUring, without).unwrap());
        assert!(line.starts_with(&format!("driver io_uring, {tier}")), "without {without:?}: {line}");
        // Why this driver, and why not the tier above.
        let is_best = tier.contains("DEFER_TASKRUN");
        assert!(line.contains("(as configured; the kernel "), "without {without:?}: {line}");
        assert_eq!(line.contains("took the best flags"), is_best, "without {without:?}: {line}");
        assert_eq!(line.contains(every_send_tells), !is_silent, "without {without:?}: {line}");
    }
}

#[test]
fn without_bundles_each_receive_brings_one_buffer() {
    if !kernel::has_io_uring() {
        return;
    }
    let line = serves(executor(DriverChoice::IoUring, &[]).unwrap());
    assert_eq!(line.contains("no bundles"), kernel::version() < (6, 17), "{line}");
    let line = serves(executor(DriverChoice::IoUring, &[RingFeature::Bundles]).unwrap());
    assert!(line.contains("no bundles"), "{line}");
}

#[test]
fn a_kernel_without_io_uring_leaves_epoll_and_a_reason() {
    if kernel::has_io_uring() {
        return;
    }
    let line = serves(executor(DriverChoice::Auto, &[]).unwrap());
    assert!(line.starts_with("driver epoll (io_uring is not available: ") && line.contains("remedy: "), "{line}");
    let error = executor(DriverChoice::IoUring, &[]).unwrap_err();
    assert!(error.to_string().contains("was demanded") && error.to_string().contains("remedy: "), "{error}");
}

#[test]
fn what_there_is_no_doing_without_leaves_epoll_and_a_reason() {
    if !kernel::has_io_uring() {
        return;
    }
    for (without, reason) in [
        (&[RingFeature::Multishot], "lacks multishot receive"),
        (&[RingFeature::BufferRing], "registering the buffer ring"),
    ] {
        let line = serves(executor(DriverChoice::Auto, without).unwrap());
        assert!(line.starts_with("driver epoll") && line.contains(reason), "without {without:?}: {line}");
        assert!(line.contains("remedy: none"), "without {without:?}: {line}");
        let error = executor(DriverChoice::IoUring, without).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("was demanded") && error.to_string().contains(reason), "{error}");
    }
}
