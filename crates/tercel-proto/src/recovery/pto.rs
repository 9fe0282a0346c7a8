//! The probe timeout (RFC 9002 section 6.2).
//!
//! When nothing was acknowledged for about as long as an acknowledgement takes, up to two datagrams
//! are sent that make the peer answer; each timeout without an answer doubles the next. No packet is
//! declared lost by it. A client probes even with nothing under way until it knows that the server
//! has validated its address, because the server may be forbidden to send (section 6.2.2.1).

use std::time::Duration;

use tercel_wire::{Role, SpaceId};

use super::Rtt;
use crate::time::Time;

/// The longest that backoff makes a probe timeout.
const MAX_PTO: Duration = Duration::from_secs(60);

/// How many datagrams may be sent when the timeout fires (section 6.2.4).
pub(super) const PROBES: u8 = 2;

/// What the probe timeout must know of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Handshake keys exist.
    pub has_handshake_keys: bool,
    /// The handshake is confirmed (RFC 9001 section 4.1.2).
    pub confirmed: bool,
    /// Client: the server is known to have validated our address. An acknowledgement in the
    /// Handshake space is noticed here, without this.
    pub peer_validated: bool,
    /// Handshake data is to be sent, and was not yet.
    pub crypto_waits: bool,
    /// Server: the anti-amplification limit is reached, so that nothing can be sent.
    pub blocked: bool,
}

/// The probe timer of all spaces.
#[derive(Debug)]
pub(super) struct Pto {
    role: Role,
    progress: Progress,
    max_ack_delay: Duration,
    /// How many timeouts there were since the last answer.
    count: u32,
    /// When the last ack-eliciting packet of each space was sent, or the last timeout fired.
    since: [Time; 3],
    /// The same over all spaces, for a client with nothing under way; `None` before its first packet.
    idle_since: Option<Time>,
    /// How many probes each space owes.
    owed: [u8; 3],
}

impl Pto {
    pub(super) const fn new(role: Role) -> Self {
        Self {
            role,
            progress: Progress {
                has_handshake_keys: false,
                confirmed: false,
                peer_validated: false,
                crypto_waits: false,
                blocked: false,
            },
            max_ack_delay: Duration::from_millis(25),
            count: 0,
            since: [Time::ZERO; 3],
            idle_since: None,
            owed: [0; 3],
        }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) const fn is_confirmed(&self) -> bool {
        self.progress.confirmed
    }

    pub(super) const fn max_ack_delay(&self) -> Duration {
        self.max_ack_delay
    }

    pub(super) const fn set_max_ack_delay(&mut self, delay: Duration) {
        self.max_ack_delay = delay;
    }

    pub(super) const fn set_progress(&mut self, now: Time, progress: Progress) {
        // What was noticed here is not unlearnt.
        let peer_validated = progress.peer_validated || self.progress.peer_validated;
        // A client's wait in the Handshake space begins with its keys.
        if progress.has_handshake_keys && !self.progress.has_handshake_keys {
            self.idle_since = Some(now);
        }
        self.progress = Progress { peer_validated, ..progress };
    }

    // RFC 9002 section 6.2.1#4.
    pub(super) fn on_ack_eliciting_sent(&mut self, space: SpaceId, now: Time) {
        let space = space as usize;
        self.since[space] = now;
        self.idle_since = Some(now);
        self.owed[space] = self.owed[space].saturating_sub(1);
    }

    /// Something was acknowledged.
    // RFC 9002 section 6.2.1#4.
    pub(super) fn on_ack(&mut self, now: Time, space: SpaceId) {
        self.progress.peer_validated |= space == SpaceId::Handshake;
        self.idle_since = Some(now);
        // A server that cannot send answers a client's Initial packets with acknowledgements only,
        // so these do not end the client's backoff (section 6.2.1).
        if !self.may_be_deadlocked() {
            self.count = 0;
            self.owed = [0; 3];
        }
    }

    /// Begins anew, without backoff.
    pub(super) const fn restart(&mut self) {
        self.count = 0;
        self.owed = [0; 3];
    }

    /// A space is gone (section 6.4).
    // RFC 9002 section 6.2.2#3.
    // RFC 9002 section 6.2.1#4.
    pub(super) const fn discard_space(&mut self, space: SpaceId) {
        self.count = 0;
        self.owed[space as usize] = 0;
    }

    /// The timeout without backoff (section 6.2.1).
    pub(super) fn duration(&self, rtt: &Rtt, space: SpaceId) -> Duration {
        match space {
            // The peer acknowledges handshake packets at once.
            SpaceId::Initial | SpaceId::Handshake => rtt.pto_base(),
            SpaceId::Data => rtt.pto_base() + self.max_ack_delay,
        }
    }

    // RFC 9002 section 6.2.1#5.
    fn backed_off(&self, rtt: &Rtt, space: SpaceId) -> Duration {
        let duration = self.duration(rtt, space);
        duration.saturating_mul(1 << self.count.min(20)).min(MAX_PTO.max(duration))
    }

    /// When the timer fires, and for which space (section A.8). `under_way` tells whether a space
    /// has ack-eliciting packets in flight.
    pub(super) fn next(&self, rtt: &Rtt, under_way: [bool; 3]) -> Option<(Time, SpaceId)> {
        // RFC 9002 section 6.2.2.1#1.
        if self.progress.blocked {
            return None;
        }
        // Before the handshake is confirmed the peer may be unable to read, or we to read its
        // answer: application data is not probed for (section 6.2.1).
        let armed = SpaceId::ALL
            .into_iter()
            // RFC 9002 section 6.2.1#3.
            .filter(|space| under_way[*space as usize] && (*space != SpaceId::Data || self.progress.confirmed))
            .map(|space| (self.since[space as usize] + self.backed_off(rtt, space), space));
        // RFC 9002 section 6.2.1#2.
        armed.min().or_else(|| {
            // RFC 9002 section 6.2.2.1#3.
            let space = if self.progress.has_handshake_keys { SpaceId::Handshake } else { SpaceId::Initial };
            let stuck = self.may_be_deadlocked() || self.may_be_choked(under_way);
            let since = self.idle_since.filter(|_| stuck)?;
            Some((since + self.backed_off(rtt, space), space))
        })
    }

    /// Whether application data may fill the window that lost handshake data waits for: the peer
    /// acknowledges none of it before it has that.
    // RFC 9000 section 13.2.7#1.
    const fn may_be_choked(&self, under_way: [bool; 3]) -> bool {
        self.progress.crypto_waits && under_way[SpaceId::Data as usize]
    }

    /// Whether only a client's next datagram may allow the server to go on.
    // RFC 9000 section 8.1#4#5.
    // RFC 9002 section 6.2.2.1#2.
    fn may_be_deadlocked(&self) -> bool {
        self.role == Role::Client && !self.progress.peer_validated && !self.progress.confirmed
    }

    /// The timer fired.
    // RFC 9002 section 6.2#1: nothing is declared lost.
    pub(super) const fn fire(&mut self, now: Time, space: SpaceId) {
        self.count = self.count.saturating_add(1);
        self.owed[space as usize] = PROBES;
        // The next timeout counts from here, whether or not a probe can leave.
        self.since[space as usize] = now;
        self.idle_since = Some(now);
    }

    pub(super) const fn owes(&self, space: SpaceId) -> bool {
        self.owed[space as usize] > 0
    }

    /// The first space that owes a probe.
    pub(super) fn owed(&self) -> Option<SpaceId> {
        SpaceId::ALL.into_iter().find(|space| self.owed[*space as usize] > 0)
    }
}
