//! Question: what does a deadline cost, with 10,000 others set, beside an ordered map?
//!
//! A connection resets its deadline with nearly every request and almost never lets it fire: `reset` is the figure that
//! matters.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringgate_runtime::time::wheel::{TimerKey, Wheel};

const OTHERS: u64 = 10_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Deadlines spread over a minute, in an order that is not theirs.
fn deadline(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (60 * SECOND_NS)
}

fn filled() -> (Wheel<u64>, Vec<TimerKey>) {
    let mut wheel = Wheel::new(0);
    let keys = (0..OTHERS).map(|number| wheel.insert(deadline(number) + SECOND_NS, number)).collect();
    (wheel, keys)
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer_wheel");
    group.bench_function("wheel: reset to later", |bencher| {
        let (mut wheel, keys) = filled();
        let mut number = 0u64;
        bencher.iter(|| {
            number += 1;
            assert!(wheel.reset(keys[number as usize % keys.len()], black_box(70 * SECOND_NS + number * 1000)));
        });
    });
    group.bench_function("wheel: insert and cancel", |bencher| {
        let (mut wheel, _) = filled();
        let mut number = 0;
        bencher.iter(|| {
            number += 1;
            let key = wheel.insert(black_box(deadline(number)), number);
            assert_eq!(wheel.cancel(key), Some(number));
        });
    });
    group.bench_function("wheel: insert and fire", |bencher| {
        let (mut wheel, mut now) = (Wheel::new(0), 0);
        bencher.iter(|| {
            now += 2_000_000;
            wheel.insert(now - 1_000_000, ());
            let mut fired = 0;
            wheel.advance(now, &mut |()| fired += 1);
            assert_eq!(fired, 1);
        });
    });
    group.bench_function("ordered map: reset to later", |bencher| {
        let mut map: BTreeMap<(u64, u64), ()> = (0..OTHERS).map(|number| ((deadline(number), number), ())).collect();
        let mut deadlines: Vec<u64> = (0..OTHERS).map(deadline).collect();
        let mut turn = 0u64;
        bencher.iter(|| {
            turn += 1;
            let number = turn % OTHERS;
            assert!(map.remove(&(deadlines[number as usize], number)).is_some());
            deadlines[number as usize] = black_box(70 * SECOND_NS + turn * 1000);
            map.insert((deadlines[number as usize], number), ());
        });
    });
    group.finish();
}

criterion_group!(benches, timers);
criterion_main!(benches);
