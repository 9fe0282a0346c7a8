//! ClientHellos made by hand, and those that RFCs show.

use proptest::prelude::*;

use super::*;

fn extension(ty: u16, body: &[u8]) -> Vec<u8> {
    [&ty.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fn with_len(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(with_len(&extensions.concat()));
    [&[1, 0][..], &with_len(&body)].concat()
}

fn usual() -> Vec<u8> {
    let name = [&[0][..], &with_len(b"Example.ORG")].concat();
    hello(&[
        extension(0x0a0a, &[]),
        extension(SERVER_NAME, &with_len(&name)),
        extension(ALPN, &with_len(&[2, b'h', b'3', 4, b'e', b'c', b'h', b'o'])),
    ])
}

#[test]
fn name_and_protocols_are_found() {
    let found = parse(&usual()).unwrap().unwrap();
    assert_eq!(found.server_name.as_deref(), Some("example.org"));
    assert_eq!(found.alpn, [b"h3".to_vec(), b"echo".to_vec()]);
    assert_eq!(parse(&hello(&[])).unwrap(), Some(ClientHello::default()));
    // Whatever follows it belongs to the next message.
    assert!(parse(&[&usual()[..], &[1, 2, 3]].concat()).unwrap().is_some());
}

#[test]
fn tickets_are_told_up_to_a_number() {
    let identity = |name: &[u8]| [&with_len(name)[..], &[1, 2, 3, 4]].concat();
    let offer = |identities: &[Vec<u8>]| {
        let body = [with_len(&identities.concat()), with_len(&[33, 7])].concat();
        hello(&[extension(EARLY_DATA, &[]), extension(PRE_SHARED_KEY, &body)])
    };
    let found = parse(&offer(&[identity(b"first"), identity(b"second")])).unwrap().unwrap();
    assert_eq!(found.tickets, [b"first".to_vec(), b"second".to_vec()]);
    assert!(found.early_data);
    let many: Vec<_> = (0..9).map(|at| identity(&[at])).collect();
    assert_eq!(parse(&offer(&many)).unwrap().unwrap().tickets.len(), MAX_TICKETS);
    assert!(parse(&offer(&[with_len(b"no age")])).is_err());
}

#[test]
fn transport_parameters_are_told_as_they_are() {
    let found = parse(&hello(&[extension(57, &[1, 2, 3])])).unwrap().unwrap();
    assert_eq!(found.transport_parameters.as_deref(), Some(&[1, 2, 3][..]));
    // That of the drafts (RFC 9001 section 8.2).
    let found = parse(&hello(&[extension(0xffa5, &[1, 2, 3])])).unwrap().unwrap();
    assert_eq!(found.transport_parameters, None);
}

#[test]
fn until_it_is_whole_there_is_nothing_to_tell() {
    let bytes = usual();
    for len in 0..bytes.len() {
        assert_eq!(parse(&bytes[..len]), Ok(None), "{len} bytes");
    }
}

#[test]
fn what_is_none_is_refused() {
    assert!(parse(&[2, 0, 0, 0]).is_err(), "a ServerHello");
    assert!(parse(&[1, 1, 0, 0]).is_err(), "too long");
    assert!(parse(&[1, 0, 0, 1, 3]).is_err(), "too short");
    assert!(parse(&hello(&[extension(ALPN, &with_len(&[0]))])).is_err(), "an empty protocol");
    assert!(parse(&hello(&[extension(ALPN, &[0, 9, 1])])).is_err(), "a list beyond its extension");
    let name = [&[0][..], &with_len(&[0xff, 0xfe])].concat();
    assert!(parse(&hello(&[extension(SERVER_NAME, &with_len(&name))])).is_err(), "a name that is no text");
    let mut cut = usual();
    let last = cut.len() - 1;
    cut.truncate(last);
    cut[3] -= 1;
    assert!(parse(&cut).is_err(), "an inner length beyond the outer");
}

/// The ClientHello of RFC 9001 appendix A.2.
const RFC_9001: &str = "010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c\
    00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d00170018\
    00100007000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171\
    fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d00020101\
    001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f08\
    8394c8f03e51570806048000ffff";

/// The ClientHello of RFC 8448 section 3, which has no application protocols.
const RFC_8448: &str = "010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7\
    000006130113031302010000910000000b0009000006736572766572ff01000100000a00140012001d001700180019\
    0100010101020103010400230000003300260024001d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae\
    4d5413691e529aaf2c002b0003020304000d0020001e040305030603020308040805080604010501060102010402050206\
    020202002d00020101001c00024001";

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn hellos_of_the_rfcs() {
    let found = parse(&hex(RFC_9001)).unwrap().unwrap();
    assert_eq!((found.server_name.as_deref(), found.alpn), (Some("example.com"), vec![b"alpn".to_vec()]));
    let found = parse(&hex(RFC_8448)).unwrap().unwrap();
    assert_eq!((found.server_name.as_deref(), found.alpn), (Some("server"), vec![]));
    for bytes in [hex(RFC_9001), hex(RFC_8448)] {
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), Ok(None), "{len} bytes");
            // The same, claiming to be whole: every inner length is beyond its outer one.
            if len >= 4 {
                let mut cut = bytes[..len].to_vec();
                cut[2..4].copy_from_slice(&(len as u16 - 4).to_be_bytes());
                assert!(parse(&cut).is_err(), "cut to {len} bytes");
            }
        }
    }
}

#[test]
fn the_longest_is_taken_and_none_longer() {
    let body = [&[3, 3][..], &[9; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    let extensions = MAX_LEN - body.len() - 2;
    let filler = extension(0x15, &vec![0; extensions - 4]);
    let body = [&body[..], &with_len(&filler)].concat();
    assert_eq!(body.len(), MAX_LEN);
    assert_eq!(parse(&[&[1, 0, 0xff, 0xff][..], &body].concat()), Ok(Some(ClientHello::default())));
    assert!(parse(&[1, 1, 0, 0]).is_err());
}

proptest! {
    #[test]
    fn no_change_is_too_strange(changes in prop::collection::vec((0usize..241, any::<u8>()), 0..4)) {
        let mut bytes = hex(RFC_9001);
        for (at, value) in changes {
            bytes[at] = value;
        }
        let _ = parse(&bytes);
    }
}
