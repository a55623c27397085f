//! Question: what does it cost to have something done by the crew and to get the answer back on the core?
//!
//! One at a time is latency: two wake-ups of sleeping threads. 64 at once is throughput: the price a blocking handler
//! pays on a busy core.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringgate_runtime::driver::DriverChoice;
use ringgate_runtime::executor::{Executor, ExecutorConfig};
use ringgate_runtime::offload::{Crew, CrewConfig};

const AT_ONCE: usize = 64;

fn round_trips(criterion: &mut Criterion) {
    let crew = Crew::new(CrewConfig { threads_max: 4, ..CrewConfig::default() });
    let config = ExecutorConfig { driver: DriverChoice::Auto, ..ExecutorConfig::default() };
    let mut executor = Executor::new(config).expect("an executor can be had on this machine");
    let mut group = criterion.benchmark_group("offload");
    group.bench_function("one at a time", |bencher| {
        bencher.iter(|| {
            executor.block_on(async {
                let answer = crew.run(|| 42).expect("the crew has room").await;
                assert!(matches!(answer, Ok(42)));
            });
        });
    });
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    group.bench_function("64 at once", |bencher| {
        bencher.iter(|| {
            executor.block_on(async {
                let jobs: Vec<_> =
                    (0..AT_ONCE).map(|number| crew.run(move || number).expect("the crew has room")).collect();
                for (number, job) in jobs.into_iter().enumerate() {
                    assert!(matches!(job.await, Ok(answer) if answer == number));
                }
            });
        });
    });
    group.finish();
    drop(executor);
    crew.shutdown(std::time::Instant::now() + std::time::Duration::from_secs(5));
}

criterion_group!(benches, round_trips);
criterion_main!(benches);
