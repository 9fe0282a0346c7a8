//! The probe timeout (RFC 9002 section 6.2).
//!
//! When nothing has been acknowledged for about as long as an acknowledgement takes, up to two
//! packets are sent that make the peer answer. Each timeout without an answer doubles the next. A
//! client probes even with nothing in flight until it knows that the server has validated its
//! address, because the server may be unable to send (section 6.2.2.1).

use std::time::Duration;

use tercel_wire::{Role, SpaceId};

use super::{GRANULARITY, Rtt};
use crate::time::Time;

/// The longest that backoff makes a probe timeout.
const MAX_PTO: Duration = Duration::from_secs(60);

/// So many packets may be sent when the timeout fires (section 6.2.4).
const PROBES: u8 = 2;

/// What the probe timeout must know of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Handshake keys exist.
    pub has_handshake_keys: bool,
    /// The handshake is confirmed.
    pub confirmed: bool,
    /// Client: the server is known to have validated our address.
    pub peer_validated: bool,
    /// Server: the anti-amplification limit is reached, so that nothing can be sent.
    pub blocked: bool,
}

#[derive(Debug)]
pub(super) struct Pto {
    role: Role,
    count: u32,
    progress: Progress,
    max_ack_delay: Duration,
    /// When the last ack-eliciting packet of each space was sent.
    last_sent: [Option<Time>; 3],
    /// When a client without anything in flight began to wait.
    idle_since: Time,
    probes: [u8; 3],
}

impl Pto {
    pub(super) const fn new(role: Role) -> Self {
        Self {
            role,
            count: 0,
            progress: Progress { has_handshake_keys: false, confirmed: false, peer_validated: false, blocked: false },
            max_ack_delay: Duration::from_millis(25),
            last_sent: [None; 3],
            idle_since: Time::ZERO,
            probes: [0; 3],
        }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) const fn confirmed(&self) -> bool {
        self.progress.confirmed
    }

    pub(super) const fn max_ack_delay(&self) -> Duration {
        self.max_ack_delay
    }

    pub(super) const fn set_max_ack_delay(&mut self, delay: Duration) {
        self.max_ack_delay = delay;
    }

    pub(super) const fn set_progress(&mut self, now: Time, progress: Progress) {
        if self.progress.blocked && !progress.blocked {
            self.idle_since = now;
        }
        self.progress = progress;
    }

    pub(super) const fn on_ack_eliciting_sent(&mut self, space: SpaceId, time: Time) {
        self.last_sent[space as usize] = Some(time);
        self.idle_since = time;
    }

    /// Section 6.2.1: a client does not reset the backoff on acknowledgements of Initial packets
    /// until the server is known to have validated its address.
    pub(super) const fn resets_on_ack(&self, _space: SpaceId) -> bool {
        matches!(self.role, Role::Server) || self.progress.peer_validated
    }

    pub(super) const fn reset(&mut self) {
        self.count = 0;
        self.probes = [0; 3];
    }

    pub(super) const fn discard_space(&mut self, space: SpaceId) {
        self.last_sent[space as usize] = None;
        self.count = 0;
        self.probes[space as usize] = 0;
    }

    pub(super) fn duration(&self, rtt: &Rtt, space: SpaceId) -> Duration {
        let base = rtt.smoothed + (4 * rtt.var).max(GRANULARITY);
        if space == SpaceId::Data { base + self.max_ack_delay } else { base }
    }

    fn backed_off(&self, rtt: &Rtt, space: SpaceId) -> Duration {
        self.duration(rtt, space).saturating_mul(1 << self.count.min(16)).min(MAX_PTO)
    }

    /// Whether a client must probe with nothing in flight.
    const fn must_break_deadlock(&self) -> bool {
        matches!(self.role, Role::Client) && !self.progress.peer_validated && !self.progress.confirmed
    }

    /// The earliest timeout and its space (section A.8, GetPtoTimeAndSpace).
    fn earliest(&self, rtt: &Rtt, eliciting: impl Fn(SpaceId) -> bool) -> Option<(Time, SpaceId)> {
        if self.progress.blocked {
            return None;
        }
        let armed = SpaceId::ALL.into_iter().filter_map(|space| {
            // Section 6.2.1: not for application data before the handshake is confirmed.
            let ready = space != SpaceId::Data || self.progress.confirmed;
            let sent = self.last_sent[space as usize].filter(|_| ready && eliciting(space))?;
            Some((sent + self.backed_off(rtt, space), space))
        });
        armed.min().or_else(|| {
            let space = if self.progress.has_handshake_keys { SpaceId::Handshake } else { SpaceId::Initial };
            self.must_break_deadlock().then(|| (self.idle_since + self.backed_off(rtt, space), space))
        })
    }

    pub(super) fn next_timeout(&self, rtt: &Rtt, eliciting: impl Fn(SpaceId) -> bool) -> Option<Time> {
        self.earliest(rtt, eliciting).map(|(at, _)| at)
    }

    pub(super) fn fire(&mut self, now: Time, rtt: &Rtt, eliciting: impl Fn(SpaceId) -> bool) {
        let Some((_, space)) = self.earliest(rtt, eliciting) else { return };
        self.count = self.count.saturating_add(1);
        self.probes[space as usize] = PROBES;
        // The next timeout counts from now, whether or not a probe can leave.
        self.idle_since = now;
        if let Some(sent) = &mut self.last_sent[space as usize] {
            *sent = now;
        }
    }

    /// The space that owes a probe.
    pub(super) fn probe(&self) -> Option<SpaceId> {
        SpaceId::ALL.into_iter().find(|space| self.probes[*space as usize] > 0)
    }

    pub(super) const fn on_probe_sent(&mut self, space: SpaceId) {
        let probes = &mut self.probes[space as usize];
        *probes = probes.saturating_sub(1);
    }
}
