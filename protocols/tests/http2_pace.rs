//! The least rate at which a peer takes responses (F-05, F-16): who is too slow, and who is not to blame.

mod peer;

use peer::*;
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::limits::Http2Limits;

const INITIAL_WINDOW_SIZE: u16 = 4;
const WIDE: u32 = 0x7000_0000;

/// A client whose requests are answered by bodies of this many bytes, all at hand.
fn reading(ids: &[u32], window: u32, connection: u32, bytes: usize) -> Talk {
    let mut talk = Talk::new();
    talk.feed(&[settings(&[(INITIAL_WINDOW_SIZE, window)]), window_update(0, connection)].concat()).unwrap();
    for &id in ids {
        talk.feed(&get(id)).unwrap();
        let key = talk.key(id);
        talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], false).unwrap();
        talk.connection.offer(&mut talk.out, key, bytes, true).unwrap();
    }
    grant(&mut talk);
    talk
}

/// Sends all that windows allow; how many bytes.
fn grant(talk: &mut Talk) -> usize {
    let mut bytes = 0;
    while let Some(grant) = talk.connection.next_data(&mut talk.out, 16_384) {
        bytes += grant.length;
    }
    talk.out.clear();
    bytes
}

/// The streams that are reset by the time that has come.
fn resets(talk: &mut Talk) -> Vec<u32> {
    let mut ids = vec![];
    while talk.connection.poll_timeout().is_some_and(|due| due <= talk.now) {
        let Some(event) = talk.connection.handle_timeout(talk.now).unwrap() else { continue };
        let Told::Reset { id, reason: Reason::CANCEL, by_peer: false } = talk.tell(event, b"") else { panic!() };
        talk.done(id);
        ids.push(id);
    }
    let said: Vec<u32> = talk.sent().iter().filter(|sent| sent.kind == RST_STREAM).map(|sent| sent.id).collect();
    assert_eq!(said, ids);
    ids
}

/// Lets the client do something every second, for as long as no stream is reset; the second of the first reset.
fn lasts(talk: &mut Talk, seconds: u64, mut every_second: impl FnMut(&mut Talk, u64)) -> Option<u64> {
    for second in 1..=seconds {
        talk.now += 1_000;
        every_second(talk, second);
        grant(talk);
        if !resets(talk).is_empty() {
            return Some(second);
        }
    }
    None
}

const HOUR: u64 = 3_600;

#[test]
fn f_16_f_05_what_is_not_taken_is_reset() {
    // No window at all: half a period late at most, as checks come.
    let mut talk = reading(&[1, 3], 0, WIDE, 1_000);
    assert_eq!(talk.connection.poll_timeout(), Some(15_000));
    assert_eq!(lasts(&mut talk, HOUR, |_, _| {}), Some(45));
    assert_eq!(talk.connection.streams_live(), 0, "both");
    assert_eq!(talk.connection.poll_timeout(), None);
    // After the first window, of which much may be under way yet.
    for (window, connection) in [(65_535, WIDE), (WIDE, 1)] {
        let mut talk = reading(&[1, 3, 5], window, connection, 1_000_000);
        assert_eq!(lasts(&mut talk, HOUR, |_, _| {}), Some(105), "{window}");
        assert_eq!(talk.connection.streams_live(), 0, "all of them");
    }
    // A verb long after the last input is not taken for an old one.
    let mut talk = reading(&[1], 0, WIDE, 1_000);
    talk.now = 1_000_000;
    assert_eq!(resets(&mut talk), []);
    talk.now = 1_029_000;
    assert_eq!(resets(&mut talk), []);
    talk.now = 1_045_000;
    assert_eq!(resets(&mut talk), [1]);
}

/// The slow read: a few bytes now and then, on the window of the stream, on that of the connection, on both in turns, or by
/// the setting.
#[test]
fn f_16_what_is_taken_too_slowly_is_reset() {
    type Dribble = fn(&mut Talk, u64);
    let dribbles: [(u32, u32, Dribble); 5] = [
        (0, WIDE, |talk, second| {
            if second % 30 == 0 {
                talk.feed(&window_update(1, 64)).unwrap();
            }
        }),
        (65_535, WIDE, |talk, second| {
            if second % 12 == 0 {
                talk.feed(&window_update(1, 5_000)).unwrap();
            }
        }),
        (WIDE, 1, |talk, second| {
            if second % 30 == 0 {
                talk.feed(&window_update(0, 64)).unwrap();
            }
        }),
        // Shut here at one check, and there at the next one.
        (65_535, 1, |talk, second| match second % 30 {
            14 => drop(talk.feed(&window_update(1, 640)).unwrap()),
            29 => drop(talk.feed(&window_update(0, 640)).unwrap()),
            _ => {}
        }),
        (0, WIDE, |talk, second| {
            if second % 30 == 0 {
                talk.feed(&settings(&[(INITIAL_WINDOW_SIZE, 2 * second as u32)])).unwrap();
            }
        }),
    ];
    for (number, (window, connection, dribble)) in dribbles.into_iter().enumerate() {
        let mut talk = reading(&[1], window, connection, 10_000_000);
        let second = lasts(&mut talk, 3 * HOUR, dribble).expect("nobody minds");
        println!("dribble {number}: {second} s");
        // 417 bytes per second use up a second in six.
        assert!((45..=if number == 1 { 700 } else { 120 }).contains(&second), "dribble {number}: {second} s");
    }
    // A hundred of them come to less than the least rate together.
    let ids: Vec<u32> = (0..100).map(|number| 2 * number + 1).collect();
    let mut talk = reading(&ids, 100, WIDE, 10_000_000);
    let mut last = 0;
    while talk.connection.streams_live() > 0 {
        last += lasts(&mut talk, HOUR, |talk, _| {
            if talk.now.is_multiple_of(30_000) {
                ids.iter().for_each(|&id| drop(talk.feed(&window_update(id, 64)).unwrap()));
            }
        })
        .expect("nobody minds");
    }
    assert!(last <= 150, "{last} s");
    // Others on the connection take well, and that is no excuse for a stream of which nothing is taken.
    let mut talk = reading(&[1, 3], 65_535, WIDE, 1 << 40);
    let second = lasts(&mut talk, HOUR, |talk, _| drop(talk.feed(&window_update(3, 30_000)).unwrap()));
    assert_eq!(second, Some(105));
    assert_eq!(talk.connection.streams_live(), 1);
}

/// A line of little more than the least rate, however windows are opened.
#[test]
fn f_16_who_keeps_to_the_least_rate_lives() {
    for (window, gulp) in [(65_535, 1_000), (65_535, 8_000), (65_535, 32_768), (20, 1_000), (0, 10_000)] {
        for on_connection in [false, true] {
            let mut talk =
                if on_connection { reading(&[1], WIDE, 1, 1 << 40) } else { reading(&[1], window, WIDE, 1 << 40) };
            let id = u32::from(!on_connection);
            let mut taken = 0;
            let second = lasts(&mut talk, 4 * HOUR, |talk, second| {
                // What was received is given back as soon as it is a gulp.
                if second * 520 - taken >= gulp {
                    taken += gulp;
                    talk.feed(&window_update(id, gulp as u32)).unwrap();
                }
            });
            assert_eq!(second, None, "gulps of {gulp}, on the connection: {on_connection}");
        }
    }
    // The rate is one for all: fifty responses over a slow line.
    let ids: Vec<u32> = (0..50).map(|number| 2 * number + 1).collect();
    let mut talk = reading(&ids, 2_000, WIDE, 1 << 40);
    let second = lasts(&mut talk, 4 * HOUR, |talk, second| {
        let id = ids[second as usize % 50];
        talk.feed(&window_update(id, 600)).unwrap();
    });
    assert_eq!(second, None);
    // The least rate is a setting.
    let limits = Http2Limits { progress_bytes_per_s_min: 100, ..Default::default() };
    let mut talk = Talk::with(limits);
    talk.feed(&[settings(&[(INITIAL_WINDOW_SIZE, 0)]), window_update(0, WIDE), get(1)].concat()).unwrap();
    let key = talk.key(1);
    talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], false).unwrap();
    talk.connection.offer(&mut talk.out, key, 1 << 40, true).unwrap();
    let second = lasts(&mut talk, HOUR, |talk, _| drop(talk.feed(&window_update(1, 110)).unwrap()));
    assert_eq!(second, None);
    let second = lasts(&mut talk, HOUR, |talk, _| drop(talk.feed(&window_update(1, 70)).unwrap()));
    assert!(second.is_some());
}

/// Only the peer's windows count: not the responses in front, nor a transport that takes little.
#[test]
fn f_16_a_response_that_waits_for_its_turn_is_not_judged() {
    // The connection's window, opened as it is used up, is as good as an open one.
    for (connection, credit) in [(WIDE, 0), (1, 16_384)] {
        let mut talk = reading(&[], WIDE, connection, 0);
        for id in [1, 3] {
            talk.feed(&get(id)).unwrap();
            let key = talk.key(id);
            talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], false).unwrap();
            talk.connection.offer(&mut talk.out, key, 10_000_000, true).unwrap();
        }
        for second in 1..300 {
            talk.now = second * 1_000;
            let granted = talk.connection.next_data(&mut talk.out, 16_384).map(|grant| grant.stream.id().get());
            assert_eq!(granted.unwrap_or(1), 1);
            talk.out.clear();
            assert_eq!(resets(&mut talk), [], "after {second} s");
            if credit > 0 && granted.is_some() {
                talk.feed(&window_update(0, credit)).unwrap();
            }
        }
    }
}

/// A handler that makes little has all of it taken: that its window is shut whenever one looks says nothing.
#[test]
fn f_16_a_handler_that_is_slow_is_not_the_peers_fault() {
    let mut talk = reading(&[], 100, WIDE, 0);
    talk.feed(&get(1)).unwrap();
    let key = talk.key(1);
    talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], false).unwrap();
    let second = lasts(&mut talk, HOUR, |talk, second| {
        match second % 20 {
            5 => talk.connection.offer(&mut talk.out, key, 100, false).unwrap(),
            // It waits for the window, for as long as a slow line may take. All of it goes out, and the window is shut.
            15 => drop(talk.feed(&window_update(1, 100)).unwrap()),
            _ => {}
        };
    });
    assert_eq!(second, None);
}

/// What is under way in our own sends, the peer does not have; and while we do not listen it may say what it likes.
#[test]
fn f_16_time_that_is_not_the_peers_does_not_count() {
    let mut talk = reading(&[1], 65_535, WIDE, 1 << 40);
    let mut stands_since = 0;
    let second = lasts(&mut talk, HOUR, |talk, _| {
        // 250 KB at 500 bytes per second, twice.
        if talk.now <= 1_000_000 {
            talk.connection.excuse_waits(stands_since, talk.now);
            stands_since = if talk.now < 500_000 { 0 } else { 500_000 };
        }
    });
    assert!((1_060..1_110).contains(&second.unwrap()), "{second:?}");
    // A send that has just begun excuses nothing, how often it may be.
    let mut talk = reading(&[1], 65_535, WIDE, 1 << 40);
    assert_eq!(lasts(&mut talk, HOUR, |talk, _| talk.connection.excuse_waits(talk.now, talk.now)), Some(105));
    let mut talk = reading(&[1], 65_535, WIDE, 1 << 40);
    let second = lasts(&mut talk, HOUR, |talk, second| {
        if second <= 1_000 {
            talk.connection.excuse(talk.now);
        }
    });
    assert!((1_060..1_110).contains(&second.unwrap()), "{second:?}");
    // This side slept for ten minutes.
    let mut talk = reading(&[1], 65_535, WIDE, 1 << 40);
    assert_eq!(lasts(&mut talk, 16, |_, _| {}), None);
    talk.now += 600_000;
    assert_eq!(resets(&mut talk), []);
    assert_eq!(lasts(&mut talk, 40, |_, _| {}), None);
}

#[test]
fn f_16_what_is_kept_of_waiting_is_little_and_goes_with_it() {
    let ids: Vec<u32> = (0..100).map(|number| 2 * number + 1).collect();
    let mut talk = reading(&ids, 10, WIDE, 1_000);
    talk.sent();
    let before = talk.connection.memory_bytes();
    talk.now = 20_000;
    assert_eq!(resets(&mut talk), []);
    assert!(
        (1..1_000).contains(&(talk.connection.memory_bytes() - before)),
        "{}",
        talk.connection.memory_bytes() - before
    );
    for &id in &ids {
        talk.feed(&window_update(id, 990)).unwrap();
    }
    assert_eq!(grant(&mut talk), 99_000);
    talk.now = 40_000;
    assert_eq!(resets(&mut talk), []);
    assert_eq!((talk.connection.memory_bytes(), talk.connection.poll_timeout()), (before, None));
}
