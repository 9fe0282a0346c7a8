//! Packet number spaces (RFC 9000 section 12.3).
//!
//! A space is a value that owns all that belongs to it: its keys, its numbers, what it received and
//! must acknowledge, and its CRYPTO stream. To discard its keys is to drop it.

mod ack_policy;
mod ack_request;
mod crypto_stream;
mod parked;
mod received;

pub use ack_policy::{AckPolicy, AckedPacket, Urgency};
pub use ack_request::AckRequest;
pub use crypto_stream::CryptoStream;
pub use parked::Parked;
pub use received::Received;

use tercel_wire::{SpaceId, VarInt};

use crate::config::TransportConfig;
use crate::keys::{DirectionalKeys, LevelKeys, OneRttKeys};
use crate::time::Time;

/// What every packet number space has.
#[derive(Debug)]
pub struct PacketNumberSpace {
    /// The number of the next packet to send.
    pub next_number: u64,
    /// The largest number that the peer has acknowledged.
    pub largest_acked: Option<u64>,
    /// What was received.
    pub received: Received,
    /// When to acknowledge it.
    pub acks: AckPolicy,
    /// TLS messages, both ways.
    pub crypto: CryptoStream,
}

impl PacketNumberSpace {
    /// A fresh space. `crypto_buffer` is how many bytes of CRYPTO data may wait out of order.
    pub fn new(id: SpaceId, ack_policy: AckPolicy, crypto_buffer: usize) -> Self {
        let acks = match id {
            SpaceId::Data => ack_policy,
            SpaceId::Initial | SpaceId::Handshake => AckPolicy::immediate(),
        };
        Self {
            next_number: 0,
            largest_acked: None,
            received: Received::default(),
            acks,
            crypto: CryptoStream::new(crypto_buffer),
        }
    }

    /// Whether there is no packet number left. Whoever has none must fall silent: the last, 2^62 - 1, is never used.
    // RFC 9000 section 12.3#3.
    pub const fn is_used_up(&self) -> bool {
        self.next_number >= VarInt::MAX.into_inner()
    }

    /// Takes the next packet number.
    // RFC 9000 section 12.3#1#2.
    pub const fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }
}

/// The Initial or the Handshake space: one level, one set of keys.
pub struct HandshakeSpace {
    /// Its keys.
    pub keys: LevelKeys,
    /// All else.
    pub numbers: PacketNumberSpace,
}

/// The application data space: early data and 1-RTT.
pub struct DataSpace {
    /// 0-RTT keys: to send (client) or to receive (server).
    pub early: Option<DirectionalKeys>,
    /// Server: when these are dropped, once the client has sent a 1-RTT packet.
    forget_early_at: Option<Time>,
    /// 1-RTT keys.
    pub one_rtt: Option<OneRttKeys>,
    /// How the peer is asked to acknowledge.
    pub ask: AckRequest,
    /// All else.
    pub numbers: PacketNumberSpace,
}

impl DataSpace {
    /// Without keys.
    pub fn new(numbers: PacketNumberSpace) -> Self {
        Self { early: None, forget_early_at: None, one_rtt: None, ask: AckRequest::default(), numbers }
    }

    /// Server: the client has 1-RTT keys, so that early data that is still under way is old. The first call counts.
    // RFC 9001 section 4.9.3#2.
    pub const fn forget_early_at(&mut self, at: Time) {
        if self.early.is_some() && self.forget_early_at.is_none() {
            self.forget_early_at = Some(at);
        }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn next_timeout(&self) -> Option<Time> {
        let keys = self.one_rtt.as_ref().and_then(OneRttKeys::next_timeout);
        [keys, self.forget_early_at].into_iter().flatten().min()
    }

    /// Drops the keys whose time has come.
    pub fn timeout(&mut self, now: Time) {
        if let Some(keys) = &mut self.one_rtt {
            keys.timeout(now);
        }
        if self.forget_early_at.take_if(|at| *at <= now).is_some() {
            self.early = None;
        }
    }
}

/// The packet number spaces of a connection; a discarded one is gone.
pub struct Spaces {
    /// The Initial space, until its keys are discarded.
    pub initial: Option<Box<HandshakeSpace>>,
    /// The Handshake space, from when its keys are known until they are discarded.
    pub handshake: Option<Box<HandshakeSpace>>,
    /// The application data space.
    pub data: DataSpace,
}

impl Spaces {
    /// Only the Initial space has keys, and nothing was sent or received.
    pub fn at_the_start(initial: LevelKeys, config: &TransportConfig) -> Self {
        let acks = || AckPolicy::new(config.ack_threshold, config.max_ack_delay);
        let space = |id| PacketNumberSpace::new(id, acks(), config.crypto_buffer);
        Self {
            initial: Some(Box::new(HandshakeSpace { keys: initial, numbers: space(SpaceId::Initial) })),
            handshake: None,
            data: DataSpace::new(space(SpaceId::Data)),
        }
    }

    /// The numbers of a space, if it exists.
    pub const fn get_mut(&mut self, id: SpaceId) -> Option<&mut PacketNumberSpace> {
        match id {
            SpaceId::Initial => match &mut self.initial {
                Some(space) => Some(&mut space.numbers),
                None => None,
            },
            SpaceId::Handshake => match &mut self.handshake {
                Some(space) => Some(&mut space.numbers),
                None => None,
            },
            SpaceId::Data => Some(&mut self.data.numbers),
        }
    }

    /// The numbers of a space, if it exists.
    pub const fn get(&self, id: SpaceId) -> Option<&PacketNumberSpace> {
        match id {
            SpaceId::Initial => match &self.initial {
                Some(space) => Some(&space.numbers),
                None => None,
            },
            SpaceId::Handshake => match &self.handshake {
                Some(space) => Some(&space.numbers),
                None => None,
            },
            SpaceId::Data => Some(&self.data.numbers),
        }
    }
}
