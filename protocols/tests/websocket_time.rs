//! The timers, on pretended time.

mod websocket_common;

use ringgate_protocols::websocket::error::Fault;
use ringgate_protocols::websocket::event::Expiry;
use ringgate_protocols::websocket::message::Kind;
use websocket_common::{End, close_frame, frame, unmasked};

fn deadline(end: &End) -> Option<u64> {
    end.socket.poll_timeout(&end.limits)
}

fn expire(end: &mut End, now_ms: u64) -> Expiry {
    end.now_ms = now_ms;
    end.socket.handle_timeout(&mut end.out, &end.limits, now_ms)
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let mut end = End::server(None);
    assert_eq!(deadline(&end), Some(20_000));
    assert_eq!(expire(&mut end, 19_999), Expiry::Nothing);
    assert_eq!(expire(&mut end, 20_000), Expiry::Wrote);
    assert_eq!(std::mem::take(&mut end.out), unmasked(0x89, b""));
    assert_eq!(deadline(&end), Some(40_000));
    // Any byte is a sign of life.
    end.now_ms = 39_999;
    end.feed(&frame(0x8a, b""));
    assert_eq!(deadline(&end), Some(59_999));
    assert_eq!(expire(&mut end, 59_999), Expiry::Wrote);
    end.out.clear();
    assert_eq!(expire(&mut end, 79_998), Expiry::Nothing);
    assert_eq!(expire(&mut end, 79_999), Expiry::Fault(Fault::Unresponsive));
    assert_eq!(end.answer(b""), close_frame(1011));
    assert!(end.socket.is_closed());
    assert_eq!(deadline(&end), None);
}

/// The beginning of a frame is a sign of life once, however often it is looked at while nothing follows.
#[test]
fn half_a_frame_is_heard_once() {
    for (bytes, cut) in [(frame(0x81, b"text"), 1), (frame(0x82, &[0; 70_000]), 12), (frame(0x89, b"ping"), 9)] {
        let mut end = End::server(None);
        end.now_ms = 1_000;
        end.feed(&bytes[..cut]);
        assert_eq!(deadline(&end), Some(21_000), "{cut}");
        end.now_ms = 20_000;
        end.feed(b"");
        assert_eq!(deadline(&end), Some(21_000), "{cut}");
        assert_eq!(expire(&mut end, 21_000), Expiry::Wrote, "{cut}");
        end.feed(b"");
        assert_eq!(deadline(&end), Some(41_000), "{cut}");
        // The next byte is news.
        let mut lively = End::server(None);
        lively.feed(&bytes[..cut]);
        lively.now_ms = 5_000;
        lively.feed(&bytes[cut..=cut]);
        assert_eq!(deadline(&lively), Some(25_000), "{cut}");
        assert_eq!(expire(&mut end, 41_000), Expiry::Fault(Fault::Unresponsive), "{cut}");
    }
}

#[test]
fn w_12_the_wait_for_the_close_is_timed() {
    let mut end = End::server(None);
    end.socket.close(&mut end.out, None, "", 1_000).unwrap();
    assert_eq!(deadline(&end), Some(6_000));
    end.now_ms = 3_000;
    end.feed(&frame(0x81, b"chatter does not prolong it"));
    assert_eq!(expire(&mut end, 5_999), Expiry::Nothing);
    assert_eq!(expire(&mut end, 6_000), Expiry::Abandoned);
    assert!(end.socket.is_closed());
    // In time, no timer is left.
    let mut end = End::server(None);
    end.socket.close(&mut end.out, None, "", 1_000).unwrap();
    end.feed(&frame(0x88, b""));
    assert_eq!(deadline(&end), None);
}

#[test]
fn w_13_an_endless_message_must_make_progress() {
    // One byte a second is too slow, in one frame or in many; the pongs between do not help.
    for fragments in [false, true] {
        let mut end = End::server(None);
        end.limits.fragment_count_max = u32::MAX;
        end.feed(if fragments { b"\x02\x80\x00\x00\x00\x00" } else { b"\x82\xfe\xff\xff\x00\x00\x00\x00" });
        let mut ended = None;
        for second in 1..60 {
            if expire(&mut end, second * 1_000) == Expiry::Fault(Fault::TooSlow) {
                ended = Some(second);
                break;
            }
            end.feed(if fragments { b"\x00\x81\x00\x00\x00\x00x" } else { b"x" });
            if fragments {
                end.feed(&frame(0x8a, b""));
            }
        }
        assert_eq!(ended, Some(10));
        assert_eq!(end.answer(b""), close_frame(1008));
    }
    // 600 bytes a second go on for as long as they like, then stop: the average counts.
    let mut end = End::server(None);
    end.feed(b"\x82\xff\x00\x00\x00\x00\x00\x0f\xff\xff\x00\x00\x00\x00");
    for second in 1..=100 {
        assert_eq!(expire(&mut end, second * 1_000), Expiry::Nothing);
        end.feed(&[0; 600]);
    }
    assert_eq!(expire(&mut end, 119_999), Expiry::Nothing);
    assert_eq!(expire(&mut end, 120_000), Expiry::Fault(Fault::TooSlow));
    // A finished message owes nothing.
    let mut end = End::server(None);
    end.feed(&frame(0x82, b"x"));
    assert_eq!(deadline(&end), Some(20_000));
}

/// W-13: an owner that did not read for a while says so, and the peer has its whole time again.
#[test]
fn w_13_what_was_not_read_is_not_the_peers_delay() {
    let mut end = End::server(None);
    end.feed(&frame(0x02, b"x"));
    assert_eq!(deadline(&end), Some(10_000));
    end.socket.excuse(9_000);
    assert_eq!(deadline(&end), Some(19_000));
    assert_eq!(expire(&mut end, 18_999), Expiry::Nothing);
    assert_eq!(expire(&mut end, 19_000), Expiry::Fault(Fault::TooSlow));
    // Also silence begins then.
    let mut end = End::server(None);
    end.socket.excuse(15_000);
    assert_eq!(deadline(&end), Some(35_000));
}

#[test]
fn an_idle_connection_is_closed_where_that_is_wished() {
    let mut end = End::server(None);
    end.limits.idle_timeout_ms = 10_000;
    end.now_ms = 4_000;
    end.feed(&frame(0x81, b"x"));
    assert_eq!(deadline(&end), Some(14_000));
    // Pings are no messages.
    end.now_ms = 9_000;
    end.feed(&frame(0x89, b""));
    assert_eq!(deadline(&end), Some(14_000));
    // What we send prolongs it: from when that is said, or else looked at.
    end.socket.send_message(&mut end.out, Kind::Text, b"x").unwrap();
    end.socket.date_sent(10_000);
    end.socket.date_sent(13_000);
    assert_eq!(deadline(&end), Some(20_000));
    end.socket.send_message(&mut end.out, Kind::Text, b"x").unwrap();
    end.out.clear();
    assert_eq!(expire(&mut end, 20_000), Expiry::Nothing);
    // A ping comes first: nothing was heard for 20 s. It is no message either.
    assert_eq!(deadline(&end), Some(29_000));
    assert_eq!(expire(&mut end, 29_000), Expiry::Wrote);
    assert_eq!(std::mem::take(&mut end.out), unmasked(0x89, b""));
    assert_eq!(deadline(&end), Some(30_000));
    assert_eq!(expire(&mut end, 30_000), Expiry::Wrote);
    assert_eq!(end.out, close_frame(1001));
    assert_eq!(deadline(&end), Some(35_000));
}

#[test]
fn a_time_of_zero_is_no_rule() {
    let mut end = End::server(None);
    end.limits.ping_interval_ms = 0;
    assert_eq!(deadline(&end), None);
    end.limits.progress_bytes_per_s_min = 0;
    end.feed(b"\x02\x80\x00\x00\x00\x00");
    assert_eq!(deadline(&end), None);
    assert_eq!(expire(&mut end, u64::MAX / 2), Expiry::Nothing);
}
