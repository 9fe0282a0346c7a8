//! 1-RTT keys and their update (RFC 9001 section 6).
//!
//! Either end may go on to the next keys; the other follows as soon as it can open a packet with
//! them. The key phase bit of a packet tells old from new. Three receive keys are at hand: the
//! current one; the one before, for packets that were under way when the phase changed; and the
//! next, made ahead so that an update takes no longer than another packet (section 9.5). (What the next packets
//! would be sealed with is made when they are: many connections never update their keys.) The first packet of all is of the
//! first phase (section 6), so the one after it makes the next key, whatever its phase: many connections end before. While
//! the connection rests the next one is not kept, and if it can be made anew neither is the current one: the first packet
//! after that makes both, whatever its phase.

use std::cell::OnceCell;
use std::time::Duration;

use tercel_wire::TransportErrorCode;
use tercel_wire::packet::protection::PacketKey as _;
use tercel_wire::packet::{Opened, Sealed};

use super::traffic::Traffic;
use super::{DirectionalKeys, HeaderKey, LevelKeys, PacketKey, Secrets};
use crate::error::Violation;
use crate::time::Time;
use crate::tls::Derived;

/// The keys of the phase before, until what was under way has arrived.
struct Previous {
    remote: PacketKey,
    /// When they are dropped, once the peer has answered with the new ones.
    discard_at: Option<Time>,
}

/// What became of a packet that was to be opened: `None` if it is not authentic.
type Opening<'a> = Result<Option<Opened<'a>>, Violation>;

/// Whose phase a received packet is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Previous,
    Current,
    Next,
    /// No phase that there is a key for.
    Unknown,
}

/// The keys of the phase in use.
enum Current {
    /// They stay.
    Given(Box<LevelKeys>),
    /// Made when they are asked for.
    Made(OnceCell<Box<LevelKeys>>, Box<Traffic>),
}

impl Current {
    fn keys(&self) -> &LevelKeys {
        match self {
            Self::Given(keys) => keys,
            Self::Made(keys, first) => keys.get_or_init(|| Box::new(first.keys())),
        }
    }

    /// From now on they stay: those of later phases are not made anew.
    fn stay(&mut self) {
        if let Self::Made(keys, first) = self {
            *self = Self::Given(keys.take().unwrap_or_else(|| Box::new(first.keys())));
        }
    }
}

/// 1-RTT keys.
pub struct OneRttKeys {
    current: Current,
    // RFC 9001 sections 6.3#1#2#3, 9.5#3: at hand before a packet asks for them.
    next: Option<PacketKey>,
    /// From which they are made.
    secrets: Secrets,
    /// What the next one was derived as, once the connection has rested in this phase.
    derived: Option<Derived>,
    previous: Option<Box<Previous>>,
    pub(super) phase: bool,
    /// The lowest packet number received in this phase.
    first_received: Option<u64>,
    /// The first packet number sent in this phase.
    first_sent: Option<u64>,
    /// Whether a packet sent in this phase was acknowledged.
    acknowledged: bool,
    pub(super) sealed: u64,
    sealed_bytes: u64,
    pub(super) forged: u64,
    updates: u64,
    /// What the AEAD is like, which is the same in all phases: how many packets may be sealed, how many forged, and how long a
    /// tag is.
    pub(super) sealed_limit: u64,
    pub(super) forged_limit: u64,
    tag_len: usize,
}

impl OneRttKeys {
    /// Keys of phase 0, and the secrets of the phases to come.
    pub fn new(keys: LevelKeys, mut secrets: Secrets) -> Self {
        let key = &keys.local.packet;
        let (sealed_limit, forged_limit) = (key.confidentiality_limit(), key.integrity_limit());
        let tag_len = key.tag_len();
        let current = match secrets.first.take() {
            None => Current::Given(Box::new(keys)),
            Some(first) => Current::Made(Box::new(keys).into(), first),
        };
        Self {
            current,
            next: None,
            secrets,
            derived: None,
            previous: None,
            phase: false,
            first_received: None,
            first_sent: None,
            acknowledged: false,
            sealed: 0,
            sealed_bytes: 0,
            forged: 0,
            updates: 0,
            sealed_limit,
            forged_limit,
            tag_len,
        }
    }

    /// The header key for received packets; it never changes.
    pub fn remote_header(&self) -> &HeaderKey {
        &self.current.keys().remote.header
    }

    /// The keys to seal with.
    pub fn local(&self) -> (&HeaderKey, &PacketKey) {
        let DirectionalKeys { header, packet } = &self.current.keys().local;
        (header, packet)
    }

    /// How long the tag of a packet is.
    pub const fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// The key phase bit of packets to send.
    pub const fn phase(&self) -> bool {
        self.phase
    }

    /// How many updates there were.
    pub const fn updates(&self) -> u64 {
        self.updates
    }

    /// Packet `number` of `len` bytes was sealed.
    // RFC 9001 section 6.6#1.
    pub fn on_sealed(&mut self, number: u64, len: usize) {
        self.first_sent.get_or_insert(number);
        self.sealed += 1;
        self.sealed_bytes += len as u64;
    }

    /// The peer acknowledged packets up to `largest`.
    pub fn on_acked(&mut self, largest: u64) {
        self.acknowledged |= self.first_sent.is_some_and(|first| first <= largest);
    }

    /// The connection rests: the next keys are made when a packet comes, and those of the first phase, too, if that can
    /// be.
    pub fn rest(&mut self) {
        self.next = None;
        if let Current::Made(keys, first) = &mut self.current {
            keys.take();
            first.derive();
        }
        let secrets = &self.secrets;
        self.derived.get_or_insert_with(|| Derived::note(|| drop(next_remote(secrets))).1);
    }

    /// How many packet protection keys are at hand.
    #[cfg(test)]
    pub(crate) fn at_hand(&self) -> usize {
        let current = match &self.current {
            Current::Given(_) => 2,
            Current::Made(keys, _) => 2 * usize::from(keys.get().is_some()),
        };
        current + usize::from(self.next.is_some()) + usize::from(self.previous.is_some())
    }

    /// Whether an update may begin: the last one was answered and is over (sections 6.1 and 6.5).
    // RFC 9001 sections 6.1#2, 6.5#1.
    pub const fn may_update(&self) -> bool {
        self.acknowledged && self.previous.is_none()
    }

    /// Whether the keys have protected so much that they should be updated: `bytes`, or half of
    /// what the AEAD permits.
    // RFC 9001 sections 5.3#3, 6.6#3.
    pub const fn should_update(&self, bytes: u64) -> bool {
        self.sealed_bytes >= bytes || self.sealed >= self.sealed_limit / 2
    }

    /// Checks the limits of the AEAD (section 6.6).
    ///
    /// # Errors
    /// AEAD_LIMIT_REACHED: nothing more may be sealed, or too many packets were forged.
    // RFC 9001 section 6.6#2#4#5#7.
    pub const fn check_limits(&self) -> Result<(), Violation> {
        if self.sealed >= self.sealed_limit || self.forged > self.forged_limit {
            return Err(Violation::new(TransportErrorCode::AEAD_LIMIT_REACHED, "the keys are used up"));
        }
        Ok(())
    }

    /// Goes on to the next keys.
    // RFC 9001 section 6.4#1.
    pub fn update(&mut self) {
        self.current.stay();
        let Current::Given(keys) = &mut self.current else { return };
        let LevelKeys { local, remote } = &mut **keys;
        let next = self.secrets.next_packet_keys();
        local.packet = PacketKey(next.local);
        let remote = std::mem::replace(&mut remote.packet, PacketKey(next.remote));
        self.derived = None;
        self.next = Some(next_remote(&self.secrets));
        // RFC 9001 section 6.1#3#4.
        self.previous = Some(Box::new(Previous { remote, discard_at: None }));
        self.phase = !self.phase;
        (self.first_received, self.first_sent, self.acknowledged) = (None, None, false);
        (self.sealed, self.sealed_bytes) = (0, 0);
        self.updates += 1;
    }

    /// Opens a packet with the key of its phase; follows the peer's update if it begins one.
    ///
    /// # Errors
    /// KEY_UPDATE_ERROR: the peer went back to old keys, or began an update before it could know
    /// that the last one was over (section 6.4 and 6.2).
    #[inline]
    pub fn open<'a>(&mut self, now: Time, pto: impl Fn() -> Duration, sealed: Sealed<'a>) -> Opening<'a> {
        if self.next.is_none() && (self.first_received.is_some() || self.updates > 0 || self.forged > 0) {
            let make = || next_remote(&self.secrets);
            self.next = Some(self.derived.as_ref().map_or_else(make, |derived| derived.again(make)));
        }
        let number = sealed.number();
        let current = &self.current.keys().remote.packet;
        let (of, key) = match (&self.previous, &self.next) {
            _ if sealed.key_phase() == self.phase => (Of::Current, current),
            // RFC 9001 section 6.4#2: old keys are not tried on newer packets.
            (Some(previous), _) if self.first_received.is_none_or(|first| number < first) => {
                (Of::Previous, &previous.remote)
            }
            // RFC 9001 section 5.5#1#2.
            (_, Some(next)) => (Of::Next, next),
            // RFC 9001 section 6.3#1: it takes as long as any other.
            (_, None) => (Of::Unknown, current),
        };
        let opened = sealed.open(key);
        if opened.is_none() || of == Of::Unknown {
            // RFC 9001 section 6.6#6.
            self.forged += 1;
            return Ok(None);
        }
        if of == Of::Next {
            if self.updates > 0 && self.first_sent.is_none() {
                return Err(Violation::new(
                    TransportErrorCode::KEY_UPDATE_ERROR,
                    "key update before the last was over",
                ));
            }
            // RFC 9001 section 6.2#1#2.
            self.update();
        }
        if of != Of::Previous {
            self.on_current(now, &pto, number);
        }
        Ok(opened)
    }

    // RFC 9001 section 6.5#2.
    fn on_current(&mut self, now: Time, pto: impl Fn() -> Duration, number: u64) {
        if self.first_received.is_none_or(|first| number < first) {
            self.first_received = Some(number);
        }
        if let Some(previous) = &mut self.previous {
            previous.discard_at.get_or_insert_with(|| now + 3 * pto());
        }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn next_timeout(&self) -> Option<Time> {
        self.previous.as_ref()?.discard_at
    }

    /// Drops the old keys once their time has come (section 6.5).
    // RFC 9001 section 6.5#2#3.
    pub fn timeout(&mut self, now: Time) {
        self.previous.take_if(|previous| previous.discard_at.is_some_and(|at| at <= now));
    }
}

/// The key to open packets of the phase to come with.
fn next_remote(secrets: &Secrets) -> PacketKey {
    PacketKey(secrets.clone().next_packet_keys().remote)
}
