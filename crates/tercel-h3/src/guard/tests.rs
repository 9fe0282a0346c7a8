use bytes::Bytes;
use h3::error::Code;

use super::{Fault, Frames, Role};

/// What goes on of bytes that come in pieces of so many, and how it ends.
fn pass(mut frames: Frames, bytes: &[u8], piece: usize) -> (Vec<u8>, Result<(), Fault>) {
    let mut passed = Vec::new();
    for chunk in bytes.chunks(piece) {
        frames.feed(Bytes::copy_from_slice(chunk));
        loop {
            match frames.next() {
                Ok(Some(piece)) => passed.extend_from_slice(&piece),
                Ok(None) => break,
                Err(fault) => return (passed, Err(fault)),
            }
        }
    }
    let end = frames.end();
    (passed, end)
}

fn request() -> Frames {
    Frames::of_message(Role::Server, 1000, Bytes::new())
}

/// GET https://x/ by the static table: indices 17, 23, 1, and a literal for 0.
const REQUEST: &[u8] = &[1, 8, 0, 0, 0xd1, 0xd7, 0xc1, 0x50, 1, b'x'];

#[test]
fn it_matters_not_how_bytes_are_cut() {
    // An unknown frame, DATA, empty DATA, a frame with a long type and length, DATA, trailers of nothing.
    let bytes = [&[0x21, 3, 9, 9, 9], REQUEST, &[0, 2, 7, 7, 0, 0, 0x40, 0x21, 0x40, 1, 9, 0, 0x40, 1, 8, 1, 2, 0, 0]];
    let bytes = bytes.concat();
    let wanted = [REQUEST, &[0, 2, 7, 7, 0, 0x40, 1, 8, 1, 2, 0, 0]].concat();
    for piece in 1..=bytes.len() {
        assert_eq!(pass(request(), &bytes, piece), (wanted.clone(), Ok(())), "{piece}");
    }
    // Every end but those between frames is a fault.
    let cut = |len: usize| pass(request(), &bytes[..len], 4).1.is_ok();
    let whole: Vec<usize> = (0..=bytes.len()).filter(|len| cut(*len)).collect();
    assert_eq!(whole, [0, 5, 15, 19, 21, 26, 30, 34]);
}

#[test]
fn nothing_is_kept_that_is_too_large() {
    let large = [&[1, 0x43, 0xe9][..], &[0; 2]].concat();
    for piece in 1..=large.len() {
        let (_, end) = pass(request(), &large, piece);
        assert!(matches!(end, Err(Fault::Connection(code, _)) if code == Code::H3_EXCESSIVE_LOAD), "{end:?}");
    }
}

#[test]
fn interim_responses_are_taken_out() {
    // Status 103 and 200 of the static table, and 100 as a literal.
    let bytes =
        [&[1, 3, 0, 0, 0xd8][..], &[1, 8, 0, 0, 0x5f, 9, 3, b'1', b'0'], b"0", &[1, 3, 0, 0, 0xd9, 0, 1, 9]].concat();
    let (passed, end) = pass(Frames::of_message(Role::Client, 1000, Bytes::new()), &bytes, 2);
    assert_eq!((&passed[..], end), (&[1, 3, 0, 0, 0xd9, 0, 1, 9][..], Ok(())));
}

#[test]
fn other_streams_are_left_alone() {
    let bytes = [0x40, 0x41, 0, 1, 2, 3, 4];
    for piece in 1..=bytes.len() {
        assert_eq!(pass(request(), &bytes, piece), (bytes.to_vec(), Ok(())));
    }
    assert_eq!(pass(Frames::foreign(Bytes::new()), &bytes, 3), (bytes.to_vec(), Ok(())));
}
