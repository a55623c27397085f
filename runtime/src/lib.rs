//! One executor per core, on io_uring or epoll. It knows no protocol above the socket.
//!
//! An [`executor::Executor`] is one driver, one queue of tasks, one timer wheel and the receive buffers of one core. What
//! runs on it stays on it: tasks need not be `Send`, and nothing that they share takes a lock. There is no ambient
//! "current" runtime: an [`executor::Handle`] is passed down.
//!
//! ```
//! use ringgate_runtime::{
//!     buffer::{Piece, SendBuf},
//!     executor::{Executor, ExecutorConfig},
//! };
//! use std::time::Duration;
//!
//! let mut executor = Executor::new(ExecutorConfig::default())?;
//! println!("{}", executor.handle().driver_report().line); // io_uring or epoll, and why
//! let handle = executor.handle();
//! executor.block_on(async {
//!     let listener = handle.listen(&"127.0.0.1:0".parse().unwrap())?;
//!     let address = listener.local_address()?.unwrap();
//!     let echo = handle.spawn("echo", async move {
//!         let mut stream = listener.accept().await?;
//!         loop {
//!             // What the kernel has filled is lent, and goes back out without a copy.
//!             let lease = stream.recv().await?;
//!             if lease.is_empty() {
//!                 return Ok::<(), std::io::Error>(());
//!             }
//!             let mut buf = SendBuf::default();
//!             buf.push(Piece::Lease(lease));
//!             stream.send(buf).await?;
//!         }
//!     });
//!     let mut client = handle.connect(&address).await?;
//!     client.send(SendBuf::from_vec(b"hello".to_vec())).await?;
//!     assert_eq!(&client.recv().await?[..], b"hello");
//!     drop(client);
//!     handle.sleep(Duration::from_millis(1)).await;
//!     echo.await.expect("it does not panic")
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Where it runs
//! - [`executor::Executor::block_on`] owns its thread.
//! - [`executor::Executor::turn`] is one turn of the loop, for somebody else's loop: it says when it wants the next one,
//!   and [`executor::Executor::readiness_fd`] is readable when there is something to do earlier.
//! - [`pool::ExecutorPool`] starts one executor for each core that a [`sys::placement::Placement`] names, pinned, and
//!   stops them together. Without further word these are the cores that affinity mask and cgroup leave to the process.
//!
//! # The floors
//! A module names only modules on lower floors.
//!
//! | floor | module | what is in it |
//! |---|---|---|
//! | 0 | [`sys`] | CPUs, our share of them, clocks, addresses; how a sleeping core is woken |
//! | 1 | [`buffer`] | buffers that the kernel fills, leases on them, buffers to send from |
//! | 1 | [`time`] | the wheel of timers, and futures that wait for them |
//! | 2 | [`driver`] | how a core talks to the kernel: interchangeable drivers behind one trait |
//! | 2 | [`task`] | a future, its waker and its join handle in one allocation |
//! | 3 | [`executor`] | one turn of the loop |
//! | 4 | [`net`] | listeners and streams |
//! | 4 | [`mesh`] | bounded channels between cores |
//! | 4 | [`offload`] | a bounded crew of threads for what blocks, file reads among it |
//! | 5 | [`pool`] | executors started and stopped together |
//!
//! `unsafe` lives in [`buffer`], [`task`], the io_uring driver, and four small places of [`executor`] and [`sys`]; each
//! room opens with an essay on who may touch what, and each use says why it holds.

pub mod buffer;
pub mod driver;
pub mod executor;
pub mod mesh;
pub mod net;
pub mod offload;
pub mod pool;
pub mod sys;
pub mod task;
pub mod time;
