//! The observer can see: each forbidden packet is a fault, and its permitted neighbour is none.

use EncryptionLevel::{Handshake, Initial, OneRtt, ZeroRtt};
use Role::{Client, Server};
use tercel_wire::frame::StreamFrame;
use tercel_wire::{Direction, StreamId};

use super::*;

const FREE: Sender = Sender { withholds: false, refused_early: false, is_silent: false, is_over: false };
const WITHHOLDS: Sender = Sender { withholds: true, ..FREE };

fn packet(level: EncryptionLevel, frames: &[Frame<'_>]) -> Packet {
    let mut buffer = vec![0; 1200];
    let mut writer = Writer::new(&mut buffer);
    frames.iter().for_each(|frame| frame.encode(&mut writer));
    let len = writer.position();
    buffer.truncate(len);
    Packet { level, payload: buffer.into() }
}

fn faults_of(observer: &mut Observer, from: Role, packet: &Packet, sender: Sender) -> String {
    observer.judge(from, packet, sender);
    std::mem::take(&mut observer.faults).join("; ")
}

/// Faults of one packet after the peer's Finished was seen.
fn faults(from: Role, level: EncryptionLevel, frame: Frame<'_>, sender: Sender) -> String {
    let mut observer = Observer::default();
    observer.flows[from.peer() as usize].finished_sent = true;
    faults_of(&mut observer, from, &packet(level, &[frame]), sender)
}

fn stream() -> Frame<'static> {
    let id = StreamId::new(Client, Direction::Unidirectional, 0);
    Frame::Stream(StreamFrame { id, offset: 0, fin: false, data: b"data" })
}

fn transport(error: TransportErrorCode, reason: &'static [u8]) -> Frame<'static> {
    Frame::ConnectionClose(ConnectionClose::Transport { error, frame_type: 0, reason })
}

const APPLICATION: Frame<'_> =
    Frame::ConnectionClose(ConnectionClose::Application { error: tercel_wire::VarInt::from_u32(5), reason: REASON });

#[test]
fn what_is_withheld_is_seen() {
    for from in [Client, Server] {
        assert!(faults(from, OneRtt, Frame::Ping, WITHHOLDS).contains("1-RTT packet before the verdict"));
        assert!(faults(from, OneRtt, stream(), WITHHOLDS).contains("application data before the verdict"));
        assert_eq!(faults(from, OneRtt, stream(), FREE), "");
        assert_eq!(faults(from, Handshake, Frame::Ping, WITHHOLDS), "");
    }
    assert!(faults(Server, OneRtt, Frame::HandshakeDone, WITHHOLDS).contains("HANDSHAKE_DONE"));
    assert!(faults(Client, OneRtt, Frame::HandshakeDone, FREE).contains("HANDSHAKE_DONE"));
    assert_eq!(faults(Server, OneRtt, Frame::HandshakeDone, FREE), "");
}

#[test]
fn a_finished_is_seen_even_in_pieces() {
    const CERTIFICATE_VERIFY: &[u8] = &[15, 0, 0, 2, 7, 7];
    const FINISHED: &[u8] = &[20, 0, 0, 1, 9];
    let flight = [CERTIFICATE_VERIFY, FINISHED].concat();
    let piece =
        |from: usize, to: usize| packet(Handshake, &[Frame::Crypto { offset: from as u64, data: &flight[from..to] }]);
    let mut observer = Observer::default();
    assert_eq!(faults_of(&mut observer, Client, &piece(0, 3), WITHHOLDS), "");
    assert_eq!(faults_of(&mut observer, Client, &piece(3, 6), WITHHOLDS), "");
    assert!(faults_of(&mut observer, Client, &piece(6, 7), WITHHOLDS).contains("Finished before the verdict"));
    // A server's is part of its first flight.
    assert_eq!(faults_of(&mut Observer::default(), Server, &piece(0, 11), WITHHOLDS), "");
    assert_eq!(faults_of(&mut Observer::default(), Client, &piece(0, 11), FREE), "");
}

#[test]
fn a_close_that_tells_too_much_is_seen() {
    let application_error = |reason| transport(TransportErrorCode::APPLICATION_ERROR, reason);
    for level in [Initial, Handshake] {
        assert!(faults(Server, level, APPLICATION, FREE).contains("0x1d"));
        assert!(faults(Server, level, application_error(b"bye"), FREE).contains("reason phrase"));
        let leak = transport(TransportErrorCode::NO_ERROR, REASON);
        assert!(faults(Server, level, leak, FREE).contains("the application's reason"));
        assert!(faults(Client, level, stream(), FREE).contains("application data"));
        assert_eq!(faults(Server, level, application_error(b""), FREE), "");
    }
    assert!(faults(Server, Handshake, transport(TransportErrorCode::INVALID_TOKEN, b""), FREE).contains("0x0b"));
    assert_eq!(faults(Server, OneRtt, APPLICATION, FREE), "");
    // The peer's Finished was not even sent.
    let early = faults_of(&mut Observer::default(), Server, &packet(OneRtt, &[APPLICATION]), FREE);
    assert!(early.contains("before the handshake can be complete"));
}

#[test]
fn zero_rtt_after_its_refusal_is_seen() {
    let refused = Sender { refused_early: true, ..FREE };
    assert!(faults(Client, ZeroRtt, stream(), refused).contains("after its refusal"));
    assert_eq!(faults(Client, ZeroRtt, stream(), FREE), "");
}

#[test]
fn datagrams_are_opened_and_silence_is_heard() {
    let client = ConnectionId::new(&[1; 9]).unwrap();
    let mut observer = Observer::default();
    observer.begin(&ConnectionId::new(&[2; 9]).unwrap());
    observer.flows[Client as usize].scid = Some(client);
    let mut close = [0; 64];
    let mut writer = Writer::new(&mut close);
    APPLICATION.encode(&mut writer);
    let len = writer.position();
    let datagram = observer.forge(Client, Initial, &close[..len]).unwrap();
    assert!(observer.sent(Client, &datagram, FREE), "a close");
    assert!(observer.faults.iter().any(|fault| fault.contains("0x1d")), "{:?}", observer.faults);

    let ping = observer.forge(Client, Initial, &[1]).unwrap();
    observer.faults.clear();
    assert!(!observer.sent(Client, &ping, FREE));
    assert!(observer.faults.is_empty(), "{:?}", observer.faults);
    observer.sent(Client, &ping, Sender { is_silent: true, ..FREE });
    assert!(observer.faults[0].contains("after it closed silently"));

    let mut damaged = ping;
    damaged[600] ^= 1;
    observer.faults.clear();
    observer.sent(Client, &damaged, FREE);
    assert!(observer.faults[0].contains("cannot be opened"));
}
