//! Where io_uring is forbidden runtime and gateway serve on epoll and say why and what to do; asked for io_uring only, the
//! runtime refuses with the same text. One test: the filter is the whole process's and cannot be taken back.

use ringgate::{App, Gateway, Request};
use ringgate_runtime::buffer::SendBuf;
use ringgate_runtime::driver::DriverChoice;
use ringgate_runtime::executor::{Executor, ExecutorConfig};
use ringgate_tests::gateway::Client;
use std::{net::TcpStream, time::Duration};

#[test]
fn without_io_uring_there_is_epoll_and_a_reason() {
    let with = |driver| Executor::new(ExecutorConfig { driver, ..ExecutorConfig::default() });
    let before = with(DriverChoice::Auto).unwrap().handle().driver_report();
    ringgate_tests::seccomp::deny_io_uring().unwrap();

    let mut executor = with(DriverChoice::Auto).unwrap();
    let handle = executor.handle();
    let report = handle.driver_report();
    assert_eq!(report.driver, "epoll", "before the filter it was {}", before.line);
    for part in [
        "driver epoll",
        "io_uring is not available",
        "io_uring_setup",
        "os error 1",
        "remedy: allow io_uring_setup",
        "seccomp profile",
        "kernel.io_uring_disabled=0",
    ] {
        assert!(report.line.contains(part), "`{part}` is missing: {}", report.line);
    }

    let error = with(DriverChoice::IoUring).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    let reason = report.line.split_once("not available: ").unwrap().1.trim_end_matches(')');
    assert!(error.to_string().contains("was demanded") && error.to_string().contains(reason), "{error} / {reason}");

    let echoed = executor.block_on(async {
        let listener = handle.listen(&"127.0.0.1:0".parse().unwrap())?;
        let mut client = handle.connect(&listener.local_address()?.unwrap()).await?;
        let mut server = listener.accept().await?;
        client.send(SendBuf::from_vec(b"served".to_vec())).await?;
        Ok::<_, std::io::Error>(server.recv().await?.to_vec())
    });
    assert_eq!(echoed.unwrap(), b"served");

    let application = |_: &_| App::new().route("/", |_: &Request| "served");
    let gateway = Gateway::builder(application).listen("127.0.0.1:0".parse().unwrap()).start().unwrap();
    assert!(gateway.driver_reports().iter().all(|core| core.line == report.line), "{:?}", gateway.driver_reports());
    let mut client = Client::new(TcpStream::connect(gateway.addresses()[0].to_string()).unwrap());
    assert_eq!(client.get("/").text(), "served");
    assert_eq!(gateway.stop(Duration::from_secs(1)).unwrap().cut, 0);
}
