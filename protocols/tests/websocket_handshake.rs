//! The opening handshake: what is accepted, what is refused and with which status, what is negotiated.

use http::Method;
use http::Version;
use ringgate_protocols::http::head::{Field, Head};
use ringgate_protocols::span::Span;
use ringgate_protocols::websocket::deflate::Parameters;
use ringgate_protocols::websocket::handshake::{Handshake, Refusal, is_same_host};
use ringgate_protocols::websocket::negotiation::{DeflateConfig, negotiate};

/// The example of RFC 6455 section 1.3.
const GOOD: &str = "GET /chat\nHost: server.example.com\nUpgrade: websocket\nConnection: Upgrade\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: http://example.com\n\
    Sec-WebSocket-Protocol: chat, superchat\nSec-WebSocket-Version: 13";

/// Reads `METHOD target` and field lines; the strict reading of heads is tested elsewhere.
fn head(text: &str) -> Head {
    let place = |part: &str| {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        Span::new(start as u32, (start + part.len()) as u32)
    };
    let mut head = Head::default();
    for (number, line) in text.split('\n').enumerate() {
        if number == 0 {
            let (method, target) = line.split_once(' ').unwrap();
            head.method = Method::from_bytes(method.as_bytes()).unwrap();
            head.target = place(target);
            continue;
        }
        let (name, value) = line.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("host") {
            head.authority = place(value.trim());
        }
        head.fields.push(Field { name: place(name), value: place(value.trim()) });
    }
    head
}

fn refusal(text: &str) -> Option<Refusal> {
    Handshake::judge(&head(text), text.as_bytes()).err()
}

#[test]
fn ws_1_ws_2_the_example_of_the_rfc() {
    let head = head(GOOD);
    let handshake = Handshake::judge(&head, GOOD.as_bytes()).unwrap();
    assert_eq!(handshake.accept().as_ref(), Some(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(handshake.status(), 101);
    assert_eq!(handshake.subprotocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    // The client's order counts, and only what it offered.
    assert_eq!(handshake.choose_subprotocol(&["superchat", "chat"]), Some("chat"));
    assert_eq!(handshake.choose_subprotocol(&["superchat", "mqtt"]), Some("superchat"));
    assert_eq!(handshake.choose_subprotocol(&["mqtt", "Chat"]), None);
    assert!(handshake.negotiate(&DeflateConfig::default()).is_none());
}

#[test]
fn ws_1_what_is_accepted_in_other_words() {
    for (from, to) in [
        ("Upgrade: websocket", "upgrade: WebSocket"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket"),
        ("Upgrade: websocket", "Upgrade: h2c\nUpgrade: websocket"),
        ("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        ("Connection: Upgrade", "Connection: keep-alive\nConnection: upgrade"),
    ] {
        assert_eq!(refusal(&GOOD.replace(from, to)), None, "{to}");
    }
}

#[test]
fn ws_1_w_14_w_16_what_is_refused() {
    use Refusal::{Malformed, NotAnUpgrade, Version};
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let version = "Sec-WebSocket-Version: 13";
    for (from, to, expected) in [
        ("Upgrade: websocket\n", "", NotAnUpgrade),
        ("Upgrade: websocket", "Upgrade: websockets", NotAnUpgrade),
        ("Connection: Upgrade\n", "", NotAnUpgrade),
        ("Connection: Upgrade", "Connection: close", NotAnUpgrade),
        ("GET /chat", "POST /chat", Malformed),
        ("Host: server.example.com\n", "", Malformed),
        (version, "Sec-WebSocket-Version: 8", Version),
        (version, "Sec-WebSocket-Version: 013", Version),
        (version, "Sec-WebSocket-Version: 13, 8", Version),
        (version, "X: y", Version),
        (version, "Sec-WebSocket-Version: 13\nSec-WebSocket-Version: 13", Malformed),
        (key, "X: y", Malformed),
        (key, "Sec-WebSocket-Key:", Malformed),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", Malformed),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", Malformed),
        // 15 and 17 bytes, and 24 characters that are no base64.
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j", Malformed),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU=", Malformed),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==", Malformed),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD);
        assert_eq!(refusal(&text), Some(expected), "{to}");
    }
    // RFC 9110 section 7.8: in HTTP/1.0 Upgrade is ignored, so this is an ordinary request and nothing is wrong with it.
    let mut old = head(GOOD);
    old.version = http::Version::HTTP_10;
    assert_eq!(Handshake::judge(&old, GOOD.as_bytes()).err(), Some(NotAnUpgrade));
    let statuses = [NotAnUpgrade, Version, Malformed, Refusal::Origin, Refusal::Protocol].map(Refusal::status);
    assert_eq!(statuses, [426, 426, 400, 403, 501]);
    for refusal in [NotAnUpgrade, Version] {
        assert!(refusal.fields().contains(&("sec-websocket-version", "13")));
        assert!(refusal.fields().contains(&("upgrade", "websocket")));
    }
}

/// Sections 4.2.1, 4.3 and 9.1: what breaks the grammar of a list is refused; what is merely unknown is not.
#[test]
fn ws_1_what_is_offered_has_a_grammar() {
    let list = "Sec-WebSocket-Protocol: chat, superchat";
    for protocols in
        ["", ",", " , ", "a b", "a/b", "a, b c", "\"chat\"", "chat;v=1", "ch\u{e4}t", "a\nSec-WebSocket-Protocol: b c"]
    {
        let text = GOOD.replace(list, &format!("Sec-WebSocket-Protocol: {protocols}"));
        assert_eq!(refusal(&text), Some(Refusal::Malformed), "{protocols}");
    }
    for protocols in [
        "chat",
        ",chat,,",
        "chat,chat",
        "v1.chat+json!#$%&'*^_`|~",
        "a\nSec-WebSocket-Protocol: b",
        "\nSec-WebSocket-Protocol: b",
    ] {
        let text = GOOD.replace(list, &format!("Sec-WebSocket-Protocol: {protocols}"));
        assert_eq!(refusal(&text), None, "{protocols}");
    }
    for extensions in [
        "",
        ",",
        ";",
        ";;;",
        "permessage-deflate;",
        "permessage-deflate;;x",
        "permessage-deflate; =10",
        "permessage deflate",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate; server_max_window_bits=10\"",
        "permessage-deflate; server_max_window_bits=\"10\\\"",
        "permessage-deflate; server_max_window_bits=\"1\"0",
        "permessage-deflate; x=\"a b\"",
        "permessage-deflate; x=a=b",
        "permessage-deflate; x=a b",
        "permessage-deflate, x=y",
        "foo; x=\"a, permessage-deflate\"",
        "permessage-deflate\nSec-WebSocket-Extensions: a b",
    ] {
        let text = format!("{GOOD}\nSec-WebSocket-Extensions: {extensions}");
        assert_eq!(refusal(&text), Some(Refusal::Malformed), "{extensions}");
        let stream = Head { method: Method::CONNECT, ..head(&text) };
        let judged = Handshake::judge_stream(&stream, text.as_bytes(), b"websocket");
        assert_eq!(judged.err(), Some(Refusal::Malformed), "{extensions}");
    }
    for extensions in [
        "permessage-deflate",
        ",permessage-deflate,,",
        "permessage-deflate ; server_max_window_bits = \"1\\0\"",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=\"\"",
        "permessage-deflate; server_max_window_bits=-1; server_max_window_bits",
        "x-webkit-deflate-frame; x; y=z, foo",
        "foo\nSec-WebSocket-Extensions: bar",
    ] {
        let text = format!("{GOOD}\nSec-WebSocket-Extensions: {extensions}");
        assert_eq!(refusal(&text), None, "{extensions}");
    }
}

#[test]
fn w_15_the_same_host() {
    assert!(!Handshake::judge(&head(GOOD), GOOD.as_bytes()).unwrap().is_same_host());
    let same = GOOD.replace("http://example.com", "http://server.example.com");
    assert!(Handshake::judge(&head(&same), same.as_bytes()).unwrap().is_same_host());
    let none = GOOD.replace("Origin", "X-Origin");
    assert!(Handshake::judge(&head(&none), none.as_bytes()).unwrap().is_same_host());
    let twice = same.replace("Origin", "Origin: http://server.example.com\nOrigin");
    assert!(!Handshake::judge(&head(&twice), twice.as_bytes()).unwrap().is_same_host());
    for (origin, authority, expected) in [
        ("http://a", "a", true),
        ("HTTP://A", "a", true),
        ("http://a:80", "a", true),
        ("https://a", "a:443", true),
        ("https://a", "a:80", false),
        ("http://a:8080", "a:8080", true),
        ("http://a:8080", "a", false),
        ("http://[::1]:8080", "[::1]:8080", true),
        ("http://[::1]", "[::1]", true),
        ("http://[::1]", "[::2]", false),
        ("http://a.evil", "a", false),
        ("http://evil/a", "a", false),
        ("http://a@evil", "a", false),
        ("ws://a", "a", false),
        ("null", "null", false),
        ("", "a", false),
        ("http://", "", false),
    ] {
        assert_eq!(is_same_host(origin.as_bytes(), authority.as_bytes()), expected, "{origin} {authority}");
    }
}

#[test]
fn x_2_x_4_extended_connect() {
    let text = "CONNECT /chat\nHost: server.example.com\nSec-WebSocket-Version: 13\nSec-WebSocket-Protocol: chat\n\
        Sec-WebSocket-Extensions: permessage-deflate";
    let mut request = head(text);
    request.version = Version::HTTP_2;
    let handshake = Handshake::judge_stream(&request, text.as_bytes(), b"websocket").unwrap();
    assert_eq!((handshake.accept(), handshake.status()), (None, 200));
    assert_eq!(handshake.choose_subprotocol(&["chat"]), Some("chat"));
    assert!(handshake.negotiate(&DeflateConfig::default()).is_some());
    let judge = |request: &Head, protocol: &[u8]| Handshake::judge_stream(request, text.as_bytes(), protocol).err();
    assert_eq!(judge(&request, b"connect-udp"), Some(Refusal::Protocol));
    let mut other = request.clone();
    other.method = Method::GET;
    assert_eq!(judge(&other, b"websocket"), Some(Refusal::Malformed));
    let mut other = request.clone();
    other.authority = Span::default();
    assert_eq!(judge(&other, b"websocket"), Some(Refusal::Malformed));
    let mut other = request.clone();
    other.target = Span::default();
    assert_eq!(judge(&other, b"websocket"), Some(Refusal::Malformed));
    let mut other = request;
    other.fields.clear();
    assert_eq!(judge(&other, b"websocket"), Some(Refusal::VersionOnStream));
    assert_eq!((Refusal::VersionOnStream.status(), Refusal::Protocol.status()), (400, 501));
}

fn answer(offers: &str, config: &DeflateConfig) -> Option<String> {
    negotiate(offers.split('\n').map(str::as_bytes), config).map(|negotiated| negotiated.to_string())
}

const KEEP: DeflateConfig = DeflateConfig {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_window_bits_max: 15,
    client_window_bits_max: 15,
};

#[test]
fn d_1_d_2_offers_and_answers() {
    for (offers, expected) in [
        ("permessage-deflate", Some("")),
        ("Permessage-Deflate", Some("")),
        ("x-webkit-deflate-frame, permessage-deflate", Some("")),
        ("foo\npermessage-deflate", Some("")),
        ("permessage-deflate; server_no_context_takeover", Some("; server_no_context_takeover")),
        ("permessage-deflate;client_no_context_takeover", Some("; client_no_context_takeover")),
        ("permessage-deflate; server_max_window_bits=10", Some("; server_max_window_bits=10")),
        // An offer that names the window is accepted by naming it, whatever its size.
        ("permessage-deflate; server_max_window_bits=15", Some("; server_max_window_bits=15")),
        ("permessage-deflate; server_max_window_bits=\"10\"", Some("; server_max_window_bits=10")),
        ("permessage-deflate; client_max_window_bits", Some("")),
        ("permessage-deflate; client_max_window_bits=9", Some("; client_max_window_bits=9")),
        ("permessage-deflate; client_max_window_bits=8", Some("; client_max_window_bits=8")),
        // The first acceptable one.
        (
            "permessage-deflate; nonsense, permessage-deflate; server_max_window_bits=9",
            Some("; server_max_window_bits=9"),
        ),
        ("permessage-deflate; server_max_window_bits=11, permessage-deflate", Some("; server_max_window_bits=11")),
        // Declined: unknown, twice, a value where none belongs, none where one belongs.
        ("permessage-deflate; nonsense", None),
        ("permessage-deflate;", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits=10", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflates", None),
        ("foo; x=\"a, permessage-deflate\"", None),
        ("", None),
    ] {
        let expected = expected.map(|rest| format!("permessage-deflate{rest}"));
        assert_eq!(answer(offers, &KEEP), expected, "{offers}");
    }
}

#[test]
fn w_09_d_2_window_bits() {
    for value in ["7", "16", "09", "010", "", "0", "-9", "+9", " ", "1e1", "15.", "99999999999999999999", "\"\"", "8"] {
        let offer = format!("permessage-deflate; server_max_window_bits={value}");
        assert_eq!(answer(&offer, &KEEP), None, "{value}");
        if value != "8" {
            let offer = format!("permessage-deflate; client_max_window_bits={value}");
            assert_eq!(answer(&offer, &KEEP), None, "{value}");
        }
    }
    for bits in 9..=15 {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        assert!(answer(&offer, &KEEP).unwrap().ends_with(&format!("={bits}")));
    }
}

#[test]
fn d_2_our_own_wishes() {
    let small = DeflateConfig { server_window_bits_max: 11, client_window_bits_max: 10, ..DeflateConfig::default() };
    // A client that does not offer to be bound is not bound.
    let takeover = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let chosen = answer("permessage-deflate", &small);
    assert_eq!(chosen, Some(format!("{takeover}; server_max_window_bits=11")));
    let chosen = answer("permessage-deflate; client_max_window_bits", &small);
    assert_eq!(chosen, Some(format!("{takeover}; server_max_window_bits=11; client_max_window_bits=10")));
    let offer: [&[u8]; 1] = [b"permessage-deflate; client_max_window_bits=9; server_max_window_bits=12"];
    let chosen = negotiate(offer.into_iter(), &small).unwrap().parameters;
    let expected = Parameters {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_window_bits: 11,
        client_window_bits: 9,
    };
    assert_eq!(chosen, expected);
    // Limits beyond what zlib can do are brought within.
    let wild = DeflateConfig { server_window_bits_max: 99, client_window_bits_max: 0, ..KEEP };
    assert_eq!(answer("permessage-deflate", &wild), Some("permessage-deflate".into()));
}
