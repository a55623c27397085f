//! Question: what does it cost to spawn a task, to let it wait for its turn again, and to wake it?
//!
//! Divide by the number of tasks or yields in the row's name. Everything happens on one executor without I/O, so that
//! what is measured is the queue, the waker and the poll; each turn of the loop still asks the driver once.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringgate_runtime::driver::DriverChoice;
use ringgate_runtime::executor::{Executor, ExecutorConfig};

const TASKS: u64 = 1000;

fn tasks(criterion: &mut Criterion) {
    for (name, driver) in [("io_uring", DriverChoice::IoUring), ("epoll", DriverChoice::Epoll)] {
        let config = ExecutorConfig { driver, ..ExecutorConfig::default() };
        let Ok(mut executor) = Executor::new(config) else {
            eprintln!("task_wake: {name} is not to be had here");
            continue;
        };
        let handle = executor.handle();
        let mut group = criterion.benchmark_group(format!("task_wake/{name}"));
        group.throughput(Throughput::Elements(TASKS));
        group.bench_function("spawn and join 1000", |bencher| {
            bencher.iter(|| {
                executor.block_on(async {
                    let joins: Vec<_> = (0..TASKS).map(|number| handle.spawn("bench", async move { number })).collect();
                    let mut sum = 0;
                    for join in joins {
                        sum += join.await.unwrap();
                    }
                    assert_eq!(sum, TASKS * (TASKS - 1) / 2);
                });
            });
        });
        group.bench_function("1000 yields of one task", |bencher| {
            bencher.iter(|| {
                executor.block_on(async {
                    let yielding = handle.clone();
                    let task = handle.spawn("bench", async move {
                        for _ in 0..TASKS {
                            yielding.yield_now().await;
                        }
                    });
                    task.await.unwrap();
                });
            });
        });
        group.bench_function("10 yields of 100 tasks", |bencher| {
            bencher.iter(|| {
                executor.block_on(async {
                    let spawn = |_| {
                        let yielding = handle.clone();
                        handle.spawn("bench", async move {
                            for _ in 0..10 {
                                yielding.yield_now().await;
                            }
                        })
                    };
                    let joins: Vec<_> = (0..100).map(spawn).collect();
                    for join in joins {
                        join.await.unwrap();
                    }
                });
            });
        });
        group.finish();
    }
}

criterion_group!(benches, tasks);
criterion_main!(benches);
