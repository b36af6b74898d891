//! HTTP/2 as bytes, right and wrong, without a client that would refuse to
//! send the wrong.

use t4_testkit::Rng;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// How a connection begins: preface and empty settings.
pub(crate) fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()
}

/// A header as HPACK has it without compression.
pub(crate) fn header(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name.as_bytes(), value] {
        length(&mut bytes, text.len());
        bytes.extend(text);
    }
    bytes
}

// An integer with a prefix of seven bits.
fn length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return bytes.push(length as u8);
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// The headers of a call.
pub(crate) fn call_headers(path: &str) -> Vec<u8> {
    [
        header(":method", b"POST"),
        header(":scheme", b"http"),
        header(":path", path.as_bytes()),
        header(":authority", b"t4"),
        header("content-type", b"application/grpc"),
        header("te", b"trailers"),
    ]
    .concat()
}

/// A whole call with the empty message.
pub(crate) fn call(stream: u32, path: &str) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &call_headers(path));
    [head, frame(DATA, END_STREAM, stream, &[0; 5])].concat()
}

/// A frame that keeps to nothing but its own length.
pub(crate) fn random_frame(rng: &mut Rng) -> Vec<u8> {
    let kind = rng.below(12) as u8;
    let flags = if rng.chance(1, 2) { END_HEADERS } else { rng.below(256) as u8 };
    let stream = [0, 1, 1, 3, 2, 0x7fff_ffff, 0xffff_ffff][rng.below(7) as usize];
    let length = [0, 4, 5, 6, 8, rng.below(300), rng.below(16_384)][rng.below(7) as usize];
    let payload = if kind == HEADERS && rng.chance(1, 2) {
        call_headers("/etcdserverpb.KV/Range")
    } else {
        rng.bytes(length as usize)
    };
    frame(kind, flags, stream, &payload)
}

/// A frame that a server sent.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
}

/// The frames in what a server sent; what is not whole is left out.
pub(crate) fn frames_in(mut bytes: &[u8]) -> Vec<Frame> {
    let mut found = Vec::new();
    while let Some(&[a, b, c, kind, _, s, t, u, v]) = bytes.first_chunk::<9>() {
        let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        let Some(rest) = bytes.get(end..) else { break };
        found.push(Frame { kind, stream: u32::from_be_bytes([s, t, u, v]) });
        bytes = rest;
    }
    found
}

/// The kinds of the frames in what a server sent.
pub(crate) fn kinds(bytes: &[u8]) -> Vec<u8> {
    frames_in(bytes).iter().map(|frame| frame.kind).collect()
}
