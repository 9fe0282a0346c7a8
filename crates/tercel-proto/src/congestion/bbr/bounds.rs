//! What losses say of the path (section 5.5.10): bounds of rate and volume, below what the model says.
//!
//! Long-term: so much in flight led to losses when bandwidth was probed. Short-term: when losses come
//! without probing, the path delivers less than it did; rate and volume go down to what it delivered in
//! the last round, though by no more than three tenths, until bandwidth is probed again.

use super::delivery::Sample;

/// No bound.
pub(super) const NONE: u64 = u64::MAX;

/// A bound goes down to so many tenths at once (Beta).
pub(super) const BETA_TENTHS: u64 = 7;

/// The bounds themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Of the volume in flight, as long as the path does not prove to take more.
    pub(super) inflight_longterm: u64,
    /// Of the rate, and of the volume in flight, until bandwidth is probed.
    pub(super) bw_shortterm: u64,
    pub(super) inflight_shortterm: u64,
}

impl Bounds {
    pub(super) const fn none() -> Self {
        Self { inflight_longterm: NONE, bw_shortterm: NONE, inflight_shortterm: NONE }
    }

    pub(super) const fn reset_shortterm(&mut self) {
        (self.bw_shortterm, self.inflight_shortterm) = (NONE, NONE);
    }

    /// The wider of both, everywhere.
    pub(super) fn widen(&mut self, other: &Self) {
        self.inflight_longterm = self.inflight_longterm.max(other.inflight_longterm);
        self.bw_shortterm = self.bw_shortterm.max(other.bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(other.inflight_shortterm);
    }

    /// A round with losses, without probing, ended: it delivered so much at this rate.
    pub(super) fn lower_shortterm(&mut self, latest: &Latest, max_bw: u64, window: u64) {
        let rate = if self.bw_shortterm == NONE { max_bw } else { self.bw_shortterm };
        let volume = if self.inflight_shortterm == NONE { window } else { self.inflight_shortterm };
        self.bw_shortterm = latest.bw.max(rate / 10 * BETA_TENTHS);
        self.inflight_shortterm = latest.inflight.max(volume / 10 * BETA_TENTHS);
    }
}

/// What the path delivered in the last round, and whether it lost something.
#[derive(Debug, Default)]
pub(super) struct Latest {
    /// The largest rate, and the largest volume over a sample.
    bw: u64,
    pub(super) inflight: u64,
    /// The round ends when something is acknowledged that was sent with this much delivered.
    round_ends_at: u64,
    /// Whether the round ended by this ACK frame.
    pub(super) round_ended: bool,
    pub(super) loss_in_round: bool,
    /// In how many places packets were lost.
    pub(super) gaps_in_round: u32,
}

impl Latest {
    pub(super) const fn reset(&mut self) {
        self.loss_in_round = false;
        (self.bw, self.inflight) = (0, 0);
    }

    /// Near the begin of every ACK frame.
    pub(super) fn update(&mut self, sample: &Sample, delivered: u64) {
        self.bw = self.bw.max(sample.rate);
        self.inflight = self.inflight.max(sample.delivered);
        self.round_ended = sample.prior_delivered >= self.round_ends_at;
        if self.round_ended {
            self.round_ends_at = delivered;
        }
    }

    /// Near its end.
    pub(super) const fn advance(&mut self, sample: &Sample) {
        if self.round_ended {
            (self.bw, self.inflight) = (sample.rate, sample.delivered);
            self.gaps_in_round = 0;
        }
    }

    /// Something was lost.
    pub(super) const fn note_loss(&mut self, delivered: u64) {
        if !self.loss_in_round {
            self.round_ends_at = delivered;
        }
        self.loss_in_round = true;
    }
}
