//! The header that a proxy puts ahead of a connection to say for whom it is: the PROXY protocol, versions 1 and 2
//! (haproxy's `proxy-protocol.txt`, of which the sections cited here are).
//!
//! Whether there is one is not guessed from the bytes but known of the listener, or a client could claim any address.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Bytes of a header of version 1, its line end included (section 2.1).
pub const PROXY_V1_BYTES_MAX: usize = 107;

/// Bytes of a header of version 2. Addresses take 52 at most; the rest is room for what else a proxy tells (TLVs), as a
/// certificate's name.
pub const PROXY_V2_BYTES_MAX: usize = 4096;

/// Begins a header of version 2 (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

/// The type of the TLV that holds a checksum of the header (section 2.2.4).
const TYPE_CRC32C: u8 = 0x03;

/// For whom a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The proxy's own (a health check), or for somebody whom it cannot name in addresses of TCP: the addresses are
    /// those of the socket.
    Socket,
    /// TCP over IPv4: who connected to the proxy, and to where.
    Ipv4 {
        /// Address and port of the client.
        source: (Ipv4Addr, u16),
        /// Address and port that it connected to.
        destination: (Ipv4Addr, u16),
    },
    /// TCP over IPv6.
    Ipv6 {
        /// Address and port of the client.
        source: (Ipv6Addr, u16),
        /// Address and port that it connected to.
        destination: (Ipv6Addr, u16),
    },
}

/// What a look at the bytes came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The header is not whole.
    NeedInput,
    /// It is, and so long; the connection's own bytes come behind it.
    Whole {
        /// Bytes of the header.
        consumed: usize,
        /// What it says.
        origin: Origin,
    },
}

/// Why a header is none. There is nobody to be told: the connection is closed (section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The bytes begin neither version.
    SignatureUnknown,
    /// Version 1: not one line of at most 107 bytes that ends with CRLF.
    LineInvalid,
    /// Version 1: a family, an address or a port that is none, or not one blank between them.
    AddressInvalid,
    /// Version 2: another version, command, family or transport than those that are assigned.
    CodeUnknown,
    /// Version 2: longer than the limit, or too short for its addresses.
    LengthInvalid,
    /// Version 2: the TLVs do not end with the header.
    TlvInvalid,
    /// Version 2: the checksum is not that of the header.
    ChecksumWrong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SignatureUnknown => "no PROXY header",
            Self::LineInvalid => "a PROXY line that does not end",
            Self::AddressInvalid => "a PROXY line with bad addresses",
            Self::CodeUnknown => "a PROXY header with unknown codes",
            Self::LengthInvalid => "a PROXY header of a bad length",
            Self::TlvInvalid => "a PROXY header with bad TLVs",
            Self::ChecksumWrong => "a PROXY header with a wrong checksum",
        })
    }
}

impl std::error::Error for Fault {}

/// Reads the header that `input`, all that has come of the connection so far, must begin with. Consumes nothing.
///
/// ```
/// use ringgate_protocols::proxy::{Origin, Step, read};
/// let input = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET / HTTP/1.1\r\n";
/// let Ok(Step::Whole { consumed, origin: Origin::Ipv4 { source, .. } }) = read(input) else { panic!() };
/// assert_eq!(source, ([192, 0, 2, 7].into(), 51234));
/// assert!(input[consumed..].starts_with(b"GET /"));
/// assert_eq!(read(&input[..20]), Ok(Step::NeedInput));
/// ```
///
/// # Errors
/// The bytes cannot become a header any more.
pub fn read(input: &[u8]) -> Result<Step, Fault> {
    let begins = |whole: &[u8]| input.iter().zip(whole).all(|(byte, expected)| byte == expected);
    if begins(SIGNATURE) && input.len() >= SIGNATURE.len() {
        return read_v2(input);
    }
    if begins(b"PROXY ") {
        return read_v1(input);
    }
    if begins(SIGNATURE) { Ok(Step::NeedInput) } else { Err(Fault::SignatureUnknown) }
}

/// `PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535`, or `PROXY UNKNOWN` and anything, and CRLF.
fn read_v1(input: &[u8]) -> Result<Step, Fault> {
    let line = &input[..input.len().min(PROXY_V1_BYTES_MAX)];
    let Some(end) = line.iter().position(|byte| !matches!(byte, b' '..=b'~')) else {
        return if line.len() < PROXY_V1_BYTES_MAX { Ok(Step::NeedInput) } else { Err(Fault::LineInvalid) };
    };
    match &line[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if line.len() < PROXY_V1_BYTES_MAX => return Ok(Step::NeedInput),
        _ => return Err(Fault::LineInvalid),
    }
    let text = std::str::from_utf8(&line["PROXY ".len().min(end)..end]).map_err(|_| Fault::LineInvalid)?;
    let origin = addresses(text).ok_or(Fault::AddressInvalid)?;
    Ok(Step::Whole { consumed: end + 2, origin })
}

fn addresses(text: &str) -> Option<Origin> {
    let mut words = text.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Origin::Socket);
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else { return None };
    let (source_port, destination_port) = (port(source_port)?, port(destination_port)?);
    Some(match family {
        "TCP4" => Origin::Ipv4 {
            source: (source.parse().ok()?, source_port),
            destination: (destination.parse().ok()?, destination_port),
        },
        "TCP6" => Origin::Ipv6 {
            source: (source.parse().ok()?, source_port),
            destination: (destination.parse().ok()?, destination_port),
        },
        _ => return None,
    })
}

/// Digits without a sign, and without zeros ahead.
fn port(text: &str) -> Option<u16> {
    let is_strict = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| is_strict)
}

fn read_v2(input: &[u8]) -> Result<Step, Fault> {
    // What is wrong is told as soon as it is there.
    match input.get(12) {
        None | Some(0x20 | 0x21) => {}
        Some(_) => return Err(Fault::CodeUnknown),
    }
    if input.get(13).is_some_and(|codes| codes >> 4 > 3 || codes & 15 > 2) {
        return Err(Fault::CodeUnknown);
    }
    let Some(fixed) = input.first_chunk::<FIXED_BYTES>() else { return Ok(Step::NeedInput) };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let address_bytes = match fixed[13] >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    // The block of a LOCAL connection is passed over, whatever it says.
    let is_local = fixed[12] == 0x20;
    if length > PROXY_V2_BYTES_MAX || (!is_local && length < FIXED_BYTES + address_bytes) {
        return Err(Fault::LengthInvalid);
    }
    let Some(header) = input.get(..length) else { return Ok(Step::NeedInput) };
    if is_local {
        return Ok(Step::Whole { consumed: length, origin: Origin::Socket });
    }
    let (addresses, tlvs) = header[FIXED_BYTES..].split_at(address_bytes);
    check_tlvs(header, tlvs)?;
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let ipv4 = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&addresses[at..at + 4]).unwrap_or_default());
    let ipv6 = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&addresses[at..at + 16]).unwrap_or_default());
    let origin = match fixed[13] {
        0x11 => Origin::Ipv4 { source: (ipv4(0), port(8)), destination: (ipv4(4), port(10)) },
        0x21 => Origin::Ipv6 { source: (ipv6(0), port(32)), destination: (ipv6(16), port(34)) },
        // Unspecified, datagrams, or a Unix socket of another machine.
        _ => Origin::Socket,
    };
    Ok(Step::Whole { consumed: length, origin })
}

/// Type 1, length 2, value: one behind the other, up to the end of the header.
fn check_tlvs(header: &[u8], tlvs: &[u8]) -> Result<(), Fault> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let [kind, high, low, behind @ ..] = rest else { return Err(Fault::TlvInvalid) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = behind.get(..length).ok_or(Fault::TlvInvalid)?;
        if *kind == TYPE_CRC32C {
            let told = value.try_into().map(u32::from_be_bytes).map_err(|_| Fault::TlvInvalid)?;
            let place = header.len() - behind.len();
            let zeroed = header.iter().enumerate().map(|(at, byte)| match at.wrapping_sub(place) < 4 {
                true => 0,
                false => *byte,
            });
            if crc32c(zeroed) != told {
                return Err(Fault::ChecksumWrong);
            }
        }
        rest = &behind[length..];
    }
    Ok(())
}

/// CRC-32C (RFC 3720 appendix B.4), bit by bit: once for a connection, for 4 KiB at most.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: Origin = Origin::Ipv4 {
        source: (Ipv4Addr::new(192, 0, 2, 7), 51_234),
        destination: (Ipv4Addr::new(198, 51, 100, 1), 443),
    };
    const IPV6: Origin = Origin::Ipv6 {
        source: (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7), 51_234),
        destination: (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 443),
    };

    fn v2(codes: [u8; 2], block: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &codes, &(block.len() as u16).to_be_bytes(), block].concat()
    }

    fn block(family: u8, tlvs: &[u8]) -> Vec<u8> {
        let mut block = match family {
            1 => [[192, 0, 2, 7], [198, 51, 100, 1]].concat(),
            2 => [0x7, 0x1].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets()).concat(),
            _ => vec![],
        };
        if family > 0 {
            block.extend([0xc8, 0x22, 0x01, 0xbb]);
        }
        block.extend(tlvs);
        block
    }

    /// Whole, at every cut, and with bytes behind it: never anything but more to come, and then the same.
    fn at_every_split(header: &[u8], origin: Origin) {
        for cut in (0..header.len()).step_by(if cfg!(miri) { 29 } else { 1 }) {
            assert_eq!(read(&header[..cut]), Ok(Step::NeedInput), "{cut} of {:?}", header.escape_ascii().to_string());
        }
        for behind in [&b""[..], b"G", b"\r\n\r\n", &[b'x'; 5000]] {
            let whole = Step::Whole { consumed: header.len(), origin };
            assert_eq!(read(&[header, behind].concat()), Ok(whole));
        }
    }

    /// However it comes, it ends with this fault and never with a header.
    fn refused(bytes: &[u8], fault: Fault) {
        assert_eq!(read(bytes), Err(fault), "{:?}", bytes.escape_ascii().to_string());
        for cut in (0..bytes.len()).step_by(if cfg!(miri) { 29 } else { 1 }) {
            assert!(!matches!(read(&bytes[..cut]), Ok(Step::Whole { .. })));
        }
    }

    #[test]
    fn y_2_lines_of_version_1() {
        at_every_split(b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", IPV4);
        at_every_split(b"PROXY TCP6 2001:db8::7 2001:DB8::1 51234 443\r\n", IPV6);
        at_every_split(b"PROXY UNKNOWN\r\n", Origin::Socket);
        at_every_split(b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Origin::Socket);
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(PROXY_V1_BYTES_MAX - 16));
        assert_eq!(longest.len(), PROXY_V1_BYTES_MAX);
        at_every_split(longest.as_bytes(), Origin::Socket);
    }

    #[test]
    fn y_2_what_is_no_line_of_version_1() {
        let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(PROXY_V1_BYTES_MAX - 15));
        for line in ["PROXY UNKNOWN\n", "PROXY UNKNOWN\rX", "PROXY UNKNOWN\0\r\n", "PROXY TCP4\t1.1.1.1 ", &longer] {
            refused(line.as_bytes(), Fault::LineInvalid);
        }
        for line in [
            "",
            "TCP5 1.1.1.1 1.1.1.1 1 1",
            "tcp4 1.1.1.1 1.1.1.1 1 1",
            "TCP4 1.1.1.1 1.1.1.1 1",
            "TCP4 1.1.1.1 1.1.1.1 1 1 ",
            "TCP4  1.1.1.1 1.1.1.1 1 1",
            "TCP4 1.1.1.01 1.1.1.1 1 1",
            "TCP4 1.1.1 1.1.1.1 1 1",
            "TCP4 1.1.1.256 1.1.1.1 1 1",
            "TCP4 ::1 ::1 1 1",
            "TCP6 1.1.1.1 1.1.1.1 1 1",
            "TCP6 ::1%1 ::1 1 1",
            "TCP4 1.1.1.1 1.1.1.1 65536 1",
            "TCP4 1.1.1.1 1.1.1.1 +1 1",
            "TCP4 1.1.1.1 1.1.1.1 01 1",
            "TCP4 1.1.1.1 1.1.1.1 1 -1",
            "UNKNOWNS",
        ] {
            refused(format!("PROXY {line}\r\n").as_bytes(), Fault::AddressInvalid);
        }
        for line in ["GET / HTTP/1.1\r\n", "proxy UNKNOWN\r\n", "PROXYX", "\r\n\r\nX", "\n", " PROXY UNKNOWN\r\n"] {
            refused(line.as_bytes(), Fault::SignatureUnknown);
        }
    }

    #[test]
    fn y_3_headers_of_version_2() {
        at_every_split(&v2([0x21, 0x11], &block(1, b"")), IPV4);
        at_every_split(&v2([0x21, 0x21], &block(2, b"")), IPV6);
        // With what else a proxy tells, an empty one among it.
        at_every_split(&v2([0x21, 0x11], &block(1, b"\x01\0\x02h2\x04\0\0\xea\0\x01x")), IPV4);
        // Whatever a health check says.
        at_every_split(&v2([0x20, 0x00], b""), Origin::Socket);
        at_every_split(&v2([0x20, 0x11], b"\x01"), Origin::Socket);
        // Families whose addresses say nothing here.
        at_every_split(&v2([0x21, 0x00], b"\x04\0\x01x"), Origin::Socket);
        at_every_split(&v2([0x21, 0x12], &block(1, b"")), Origin::Socket);
        at_every_split(&v2([0x21, 0x31], &[b'/'; 216]), Origin::Socket);
        let room = PROXY_V2_BYTES_MAX - FIXED_BYTES - 12 - 3;
        let tlv = [&[0x04, (room >> 8) as u8, room as u8][..], &vec![0; room]].concat();
        at_every_split(&v2([0x21, 0x11], &block(1, &tlv)), IPV4);
    }

    #[test]
    fn y_3_what_is_no_header_of_version_2() {
        for codes in [[0x11, 0x11], [0x31, 0x11], [0x22, 0x11], [0x2f, 0x11], [0x21, 0x41], [0x21, 0xf1], [0x21, 0x13]]
        {
            refused(&v2(codes, &block(1, b"")), Fault::CodeUnknown);
        }
        refused(&v2([0x21, 0x11], &[0; 11]), Fault::LengthInvalid);
        refused(&v2([0x21, 0x21], &[0; 35]), Fault::LengthInvalid);
        refused(&v2([0x21, 0x31], &[0; 215]), Fault::LengthInvalid);
        // By its length alone: nothing of it is waited for.
        refused(&v2([0x20, 0x00], &[0; PROXY_V2_BYTES_MAX - FIXED_BYTES + 1])[..FIXED_BYTES], Fault::LengthInvalid);
        for tlvs in [&b"\x04"[..], b"\x04\0", b"\x04\0\x01", b"\x04\0\x02x", b"\x04\0\0\x01", b"\x03\0\x03abc"] {
            refused(&v2([0x21, 0x11], &block(1, tlvs)), Fault::TlvInvalid);
        }
    }

    #[test]
    fn y_3_a_checksum_is_looked_at() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        let mut header = v2([0x21, 0x11], &block(1, b"\x04\0\x01x\x03\0\x04\0\0\0\0\x01\0\x02h2"));
        let place = header.len() - 5 - 4;
        let sum = crc32c(header.iter().copied());
        header[place..place + 4].copy_from_slice(&sum.to_be_bytes());
        at_every_split(&header, IPV4);
        // All but the byte that says that there is one.
        for at in (FIXED_BYTES..header.len()).filter(|at| *at != place - 3) {
            let mut changed = header.clone();
            changed[at] ^= 1;
            assert!(read(&changed).is_err(), "byte {at}");
        }
    }
}
