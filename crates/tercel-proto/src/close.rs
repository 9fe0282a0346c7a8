//! Which close goes out where (RFC 9000 section 10.2.3, RFC 9001 section 4.1.2), and for how long.
//!
//! [`close_packets`] is a pure function of what is known when the connection closes. It is the only
//! place that decides; its table in the tests is written from the text of the RFCs.

use std::time::Duration;

use smallvec::SmallVec;
use tercel_wire::{EncryptionLevel, Role};

use crate::time::Time;

/// How far the handshake has come (RFC 9001 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandshakeState {
    /// Under way.
    Incomplete,
    /// Complete at this end: the peer's Finished was verified and ours was sent.
    Complete,
    /// Known to be complete at both ends.
    Confirmed,
}

/// Who closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseKind {
    /// The application, with a code and a reason that only its peer may read.
    Application,
    /// The transport.
    Transport,
}

/// Which keys to send with are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeysHeld {
    /// Initial keys.
    pub initial: bool,
    /// 0-RTT keys with which something was sent.
    pub zero_rtt: bool,
    /// Handshake keys.
    pub handshake: bool,
    /// 1-RTT keys.
    pub one_rtt: bool,
}

/// The CONNECTION_CLOSE frame for one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseFrame {
    /// Type 0x1c with the transport's own code.
    Transport,
    /// Type 0x1c, APPLICATION_ERROR and no reason, in place of the application's own.
    ApplicationError,
    /// Type 0x1d with the application's code and reason.
    Application,
}

/// The packets of one close.
pub type ClosePackets = SmallVec<[(EncryptionLevel, CloseFrame); 3]>;

/// The packets that tell the peer of a close, so that it can read at least one of them, and nobody
/// else can read what is the application's.
// RFC 9000 sections 10.2.3#1#2#3#4#5, 12.5#1.
pub fn close_packets(role: Role, keys: KeysHeld, state: HandshakeState, kind: CloseKind) -> ClosePackets {
    use EncryptionLevel::{Handshake, Initial, OneRtt, ZeroRtt};
    let early = match kind {
        CloseKind::Application => CloseFrame::ApplicationError,
        CloseKind::Transport => CloseFrame::Transport,
    };
    let full = match kind {
        CloseKind::Application => CloseFrame::Application,
        CloseKind::Transport => CloseFrame::Transport,
    };
    // A client with Handshake keys knows that the server has them too. A server cannot know that of
    // its client.
    let initial = keys.initial && (role == Role::Server || !keys.handshake);
    let mut packets = ClosePackets::new();
    if state < HandshakeState::Confirmed {
        if initial {
            packets.push((Initial, early));
        }
        if keys.handshake {
            packets.push((Handshake, early));
        }
    }
    match state {
        // The server may have accepted early data; the Initial packet is for if it has not.
        HandshakeState::Incomplete if initial && keys.zero_rtt && kind == CloseKind::Application => {
            packets.push((ZeroRtt, full));
        }
        HandshakeState::Incomplete => {}
        HandshakeState::Complete | HandshakeState::Confirmed if keys.one_rtt => packets.push((OneRtt, full)),
        HandshakeState::Complete | HandshakeState::Confirmed => {}
    }
    packets
}

/// The closing state (RFC 9000 section 10.2.1): what was said is said again when the peer still
/// sends, less and less often, until three probe timeouts have passed.
#[derive(Debug)]
pub struct Closing {
    packets: ClosePackets,
    until: Time,
    /// What of `packets` is to be sent now.
    due: ClosePackets,
    /// Datagrams received since the close, and at how many the close is said again.
    received: u64,
    answer_at: u64,
}

impl Closing {
    /// Begins to close.
    pub fn new(now: Time, pto: Duration, packets: ClosePackets) -> Self {
        // RFC 9000 section 10.2#1#2.
        Self { due: packets.clone(), packets, until: now + 3 * pto, received: 0, answer_at: 1 }
    }

    /// A datagram came in from the peer: the first, second, fourth, eighth and so on are answered.
    // RFC 9000 sections 10.2.1#1, 11.1#2.
    pub fn on_datagram(&mut self) {
        self.received += 1;
        if self.received >= self.answer_at {
            self.answer_at *= 2;
            self.due = self.packets.clone();
        }
    }

    /// The packets of the next datagram to send now, none if there is none. The close that tells all
    /// comes in a datagram of its own, ahead of those that stand in for it: a peer that can read it
    /// then acts on nothing else.
    pub fn take_datagram(&mut self) -> ClosePackets {
        let full = |packet: &(EncryptionLevel, CloseFrame)| packet.0 == EncryptionLevel::OneRtt;
        match self.due.iter().position(full) {
            Some(at) => ClosePackets::from_iter([self.due.remove(at)]),
            None => std::mem::take(&mut self.due),
        }
    }

    /// Whether the datagram that [`take_datagram`](Self::take_datagram) would give is in 1-RTT.
    pub fn is_full_close_due(&self) -> bool {
        self.due.iter().any(|packet| packet.0 == EncryptionLevel::OneRtt)
    }

    /// When the connection can be forgotten.
    pub const fn until(&self) -> Time {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use EncryptionLevel::{Handshake, Initial, OneRtt, ZeroRtt};

    use super::*;

    /// One line of the table: what must be sent, in words of the RFC.
    fn expected(
        role: Role,
        keys: KeysHeld,
        state: HandshakeState,
        kind: CloseKind,
    ) -> Vec<(EncryptionLevel, CloseFrame)> {
        let application = kind == CloseKind::Application;
        // "A CONNECTION_CLOSE of type 0x1d MUST be replaced by a CONNECTION_CLOSE of type 0x1c when
        // sending the frame in Initial or Handshake packets."
        let low = if application { CloseFrame::ApplicationError } else { CloseFrame::Transport };
        let high = if application { CloseFrame::Application } else { CloseFrame::Transport };
        let mut packets = vec![];
        match (state, role) {
            // "After the handshake is confirmed, an endpoint MUST send any CONNECTION_CLOSE frames in
            // a 1-RTT packet."
            (HandshakeState::Confirmed, _) => {}
            // "A client will always know whether the server has Handshake keys": it has them if the
            // client has.
            (_, Role::Client) => {
                if keys.handshake {
                    packets.push((Handshake, low));
                } else if keys.initial {
                    packets.push((Initial, low));
                }
            }
            // "A server SHOULD also send a CONNECTION_CLOSE frame in an Initial packet."
            (_, Role::Server) => {
                if keys.initial {
                    packets.push((Initial, low));
                }
                if keys.handshake {
                    packets.push((Handshake, low));
                }
            }
        }
        // "A client that sends a CONNECTION_CLOSE frame in a 0-RTT packet cannot be assured that the
        // server has accepted 0-RTT": so only beside an Initial packet.
        let beside_initial = packets.first().is_some_and(|(level, _)| *level == Initial);
        if state == HandshakeState::Incomplete && keys.zero_rtt && beside_initial && application {
            packets.push((ZeroRtt, CloseFrame::Application));
        }
        // "Prior to confirming the handshake ... an endpoint SHOULD send a CONNECTION_CLOSE frame in
        // both Handshake and 1-RTT packets" - but not before it is complete (RFC 9001 section 5.7).
        if state != HandshakeState::Incomplete && keys.one_rtt {
            packets.push((OneRtt, high));
        }
        packets
    }

    #[test]
    // RFC 9000 section 10.2.3#1#2#3#4#5.
    fn every_close_is_as_the_rfc_says() {
        let mut cases = 0;
        for role in [Role::Client, Role::Server] {
            for state in [HandshakeState::Incomplete, HandshakeState::Complete, HandshakeState::Confirmed] {
                for kind in [CloseKind::Application, CloseKind::Transport] {
                    for bits in 0..16u8 {
                        let keys = KeysHeld {
                            initial: bits & 1 != 0,
                            zero_rtt: bits & 2 != 0,
                            handshake: bits & 4 != 0,
                            one_rtt: bits & 8 != 0,
                        };
                        let packets = close_packets(role, keys, state, kind);
                        assert_eq!(
                            packets.to_vec(),
                            expected(role, keys, state, kind),
                            "{role:?} {keys:?} {state:?} {kind:?}"
                        );
                        for (level, frame) in packets {
                            let readable_by_all = matches!(level, Initial | Handshake);
                            assert!(!(readable_by_all && frame == CloseFrame::Application));
                        }
                        cases += 1;
                    }
                }
            }
        }
        assert_eq!(cases, 2 * 3 * 2 * 16);
    }

    #[test]
    // RFC 9000 sections 10.2#1, 10.2.1#1, 11.1#2.
    fn a_close_is_repeated_less_and_less_often() {
        let packets: ClosePackets =
            [(Handshake, CloseFrame::ApplicationError), (OneRtt, CloseFrame::Application)].into_iter().collect();
        let mut closing = Closing::new(Time::ZERO, Duration::from_millis(10), packets.clone());
        let said = |closing: &mut Closing| {
            let datagrams = [closing.take_datagram(), closing.take_datagram(), closing.take_datagram()];
            assert!(datagrams[2].is_empty());
            if datagrams[0].is_empty() {
                return false;
            }
            assert_eq!(datagrams[0].as_slice(), &packets[1..]);
            assert_eq!(datagrams[1].as_slice(), &packets[..1]);
            true
        };
        assert!(said(&mut closing));
        let answered: Vec<u32> = (1..=40)
            .filter(|_| {
                closing.on_datagram();
                said(&mut closing)
            })
            .collect();
        assert_eq!(answered, [1, 2, 4, 8, 16, 32]);
        assert_eq!(closing.until(), Time::ZERO + Duration::from_millis(30));
    }
}
