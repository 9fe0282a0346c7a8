//! What this end asks of the peer's acknowledgements (draft-ietf-quic-ack-frequency).
//!
//! Acknowledgements cost both ends work and the way back its capacity, and a sender whose window holds
//! hundreds of packets learns little more from every second one than from every tenth. So while the
//! window is large the peer is asked to hold them back a little: still some sixteen acknowledgements a
//! window, and none held back for more than a quarter of the round trip, so that neither the growth of
//! the window nor slow start's look at the delay suffers; and an overtaken packet is told when we can
//! take it for lost. What we asked and what the peer does may differ while the frame is on its way: the
//! longer delay of both counts.
//!
//! A window that losses have left with a few packets is the other way round: what is sent next waits for
//! what is acknowledged, and a packet that the peer holds an acknowledgement back for is a large part of
//! it. So while data waits for such a window the peer is asked to tell of every packet at once, whether
//! or not it is to be asked for anything else.

use std::time::Duration;

use tercel_wire::Frame;
use tercel_wire::frame::AckFrequency;

use crate::frames::{FrameSink, SentFrame};
use crate::recovery::{GRANULARITY, PACKET_THRESHOLD};

/// How many acknowledgements there are to be of the packets of one window.
const PER_WINDOW: u64 = 16;

/// How many packets one acknowledgement settles: at least what RFC 9000 section 13.2.2 recommends, and
/// at most about a batch of the sender's.
const LEAST: u64 = 2;
const MOST: u64 = 32;

/// A window of fewer packets than this waits for every acknowledgement; one of twice as many has grown out of that.
const SMALL: u64 = 8;

/// How the peer is to acknowledge: this many packets at once, or after this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    packets: u64,
    delay: Duration,
}

impl Wish {
    /// Whether nothing is to be held back.
    const fn is_at_once(&self) -> bool {
        self.packets == 1
    }

    /// Whether it is worth a frame to have this in place of `other`.
    fn differs(&self, other: &Self) -> bool {
        let far = |a: u128, b: u128| 2 * a < b || 2 * b < a;
        self.is_at_once() != other.is_at_once()
            || far(self.packets.into(), other.packets.into())
            || (self.packets > LEAST && far(self.delay.as_micros(), other.delay.as_micros()))
    }
}

/// Where the newest wish is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The peer has it, or there is none.
    Known,
    /// To be sent.
    Due,
    /// On its way.
    Sent,
}

/// How the peer is asked to acknowledge 1-RTT packets.
#[derive(Debug, Clone)]
pub struct AckRequest {
    enabled: bool,
    /// The shortest delay that the peer can be asked for; `None` if it takes no wishes.
    least: Option<Duration>,
    /// The peer's own max_ack_delay: it is never asked for a longer one.
    usual: Duration,
    /// The delay of the last wish that the peer is known to have.
    known: Duration,
    wish: Wish,
    sequence: u64,
    state: State,
}

impl Default for AckRequest {
    /// For a peer of which nothing is known.
    fn default() -> Self {
        Self::new(false, Duration::from_millis(25), None)
    }
}

impl AckRequest {
    /// For a peer with these values of max_ack_delay and min_ack_delay. Without `enabled` it is asked
    /// for nothing but immediate acknowledgements, and to go back to its usual ones.
    pub const fn new(enabled: bool, max_ack_delay: Duration, min_ack_delay: Option<Duration>) -> Self {
        Self {
            enabled,
            least: min_ack_delay,
            usual: max_ack_delay,
            known: max_ack_delay,
            wish: Wish { packets: LEAST, delay: max_ack_delay },
            sequence: 0,
            state: State::Known,
        }
    }

    /// The congestion window is so many packets now, and the round trip takes so long. `starved`: data waits for a
    /// window that was cut.
    pub fn consider(&mut self, window: u64, rtt: Duration, starved: bool) {
        let Some(least) = self.least.filter(|_| self.state == State::Known) else { return };
        let at_once = starved && window < SMALL || self.wish.is_at_once() && window < 2 * SMALL;
        // The draft's section 3: no shorter than the peer's timers allow.
        let short = (rtt / 4).max(GRANULARITY).min(self.usual).max(least);
        let wish = match (at_once, self.enabled) {
            (true, _) => Wish { packets: 1, delay: short },
            (false, true) => Wish { packets: (window / PER_WINDOW).clamp(LEAST, MOST), delay: short },
            (false, false) => Wish { packets: LEAST, delay: self.usual },
        };
        if wish.differs(&self.wish) {
            // The draft's section 4: each frame has a larger number.
            self.sequence += 1;
            self.wish = wish;
            self.state = State::Due;
        }
    }

    /// The longest that the peer may hold back an acknowledgement, as far as is known. The draft's
    /// section 7: until a wish is acknowledged, the longer of both delays counts.
    pub fn max_ack_delay(&self) -> Duration {
        match self.state {
            State::Known => self.known,
            State::Due | State::Sent => self.known.max(self.wish.delay),
        }
    }

    /// Whether a wish is to be sent.
    pub fn wants_to_send(&self) -> bool {
        self.state == State::Due
    }

    /// Writes ACK_FREQUENCY if due.
    pub fn write(&mut self, sink: &mut FrameSink<'_, '_>) {
        let frame = Frame::AckFrequency(AckFrequency {
            sequence: self.sequence,
            threshold: self.wish.packets - 1,
            max_ack_delay: self.wish.delay.as_micros() as u64,
            // The draft's section 9: what makes us take a packet for lost; or what RFC 9000 section 13.2.1 has.
            reordering_threshold: if self.enabled { PACKET_THRESHOLD } else { 1 },
        });
        if self.state == State::Due && sink.push(&frame, SentFrame::AckFrequency { sequence: self.sequence }) {
            self.state = State::Sent;
        }
    }

    /// Writes IMMEDIATE_ACK, if the peer understands it and it fits.
    pub fn write_immediate(&self, sink: &mut FrameSink<'_, '_>) -> bool {
        self.least.is_some() && sink.push(&Frame::ImmediateAck, None)
    }

    /// ACK_FREQUENCY was acknowledged.
    pub fn acked(&mut self, sequence: u64) {
        if sequence == self.sequence {
            self.known = self.wish.delay;
            self.state = State::Known;
        }
    }

    /// ACK_FREQUENCY was lost.
    pub fn lost(&mut self, sequence: u64) {
        if sequence == self.sequence && self.state == State::Sent {
            self.state = State::Due;
        }
    }
}

#[cfg(test)]
mod tests {
    use tercel_wire::{Reader, Writer};

    use super::*;
    use crate::frames::SentFrames;

    const MS: Duration = Duration::from_millis(1);

    fn peer() -> AckRequest {
        AckRequest::new(true, 25 * MS, Some(MS))
    }

    /// What is written, if anything.
    fn written(ask: &mut AckRequest) -> Option<AckFrequency> {
        let (mut bytes, mut sent) = ([0; 64], SentFrames::new());
        let mut writer = Writer::new(&mut bytes);
        ask.write(&mut FrameSink::new(&mut writer, &mut sent));
        match Frame::decode(&mut Reader::new(writer.written())) {
            Ok(Frame::AckFrequency(frame)) => {
                assert_eq!(sent[..], [SentFrame::AckFrequency { sequence: frame.sequence }]);
                Some(frame)
            }
            _ => None,
        }
    }

    #[test]
    fn a_small_window_is_no_reason_to_ask_for_fewer() {
        let mut ask = peer();
        for window in [1, 10, 32, 79] {
            ask.consider(window, 100 * MS, false);
            assert_eq!((written(&mut ask), ask.max_ack_delay()), (None, 25 * MS), "{window}");
        }
    }

    #[test]
    fn nobody_is_asked_who_cannot_or_need_not() {
        for mut ask in [AckRequest::new(true, 25 * MS, None), AckRequest::new(false, 25 * MS, Some(MS))] {
            ask.consider(1000, 100 * MS, false);
            assert!(!ask.wants_to_send());
            assert_eq!(written(&mut ask), None);
        }
        let immediate = |ask: AckRequest| {
            ask.write_immediate(&mut FrameSink::new(&mut Writer::new(&mut [0; 8]), &mut SentFrames::new()))
        };
        assert!(immediate(peer()) && immediate(AckRequest::new(false, 25 * MS, Some(MS))));
        assert!(!immediate(AckRequest::default()));
    }

    #[test]
    fn a_large_window_has_some_acknowledgements_and_a_short_wait() {
        for (window, rtt, packets, delay) in [
            (160, 40 * MS, 10, 10_000),
            (160, 1000 * MS, 10, 25_000),
            (160, MS / 10, 10, 1000),
            (1 << 20, 40 * MS, 32, 10_000),
        ] {
            let mut ask = peer();
            ask.consider(window, rtt, false);
            let frame = written(&mut ask).unwrap();
            assert_eq!((frame.threshold + 1, frame.max_ack_delay, frame.reordering_threshold), (packets, delay, 3));
        }
        // The peer's timers are coarse.
        let mut ask = AckRequest::new(true, 25 * MS, Some(20 * MS));
        ask.consider(160, 8 * MS, false);
        assert_eq!(written(&mut ask).unwrap().max_ack_delay, 20_000);
    }

    /// The draft's section 7: the longer delay holds until the wish is known to have arrived.
    #[test]
    fn the_probe_timeout_reckons_with_the_longer_delay() {
        let mut ask = peer();
        ask.consider(160, 40 * MS, false);
        assert_eq!(ask.max_ack_delay(), 25 * MS);
        let first = written(&mut ask).unwrap();
        assert_eq!(ask.max_ack_delay(), 25 * MS);
        ask.acked(first.sequence);
        assert_eq!(ask.max_ack_delay(), 10 * MS);
        ask.consider(160, 90 * MS, false);
        assert_eq!(ask.max_ack_delay(), 22_500 * MS / 1000, "longer from when it may be known");
        let second = written(&mut ask).unwrap();
        assert!(second.sequence > first.sequence);
        ask.acked(first.sequence);
        assert_eq!(ask.max_ack_delay(), 22_500 * MS / 1000);
        ask.acked(second.sequence);
        ask.consider(160, 4 * MS, false);
        assert_eq!(ask.max_ack_delay(), 22_500 * MS / 1000);
    }

    #[test]
    fn what_is_lost_is_said_again_and_one_wish_is_under_way_at_a_time() {
        let mut ask = peer();
        ask.consider(160, 40 * MS, false);
        let frame = written(&mut ask).unwrap();
        assert_eq!(written(&mut ask), None);
        ask.consider(1600, 40 * MS, false);
        assert!(!ask.wants_to_send());
        ask.lost(frame.sequence);
        assert_eq!(written(&mut ask), Some(frame));
        ask.acked(frame.sequence);
        ask.lost(frame.sequence);
        assert!(!ask.wants_to_send(), "the peer has it");
        ask.consider(1600, 40 * MS, false);
        assert_eq!(written(&mut ask).unwrap().threshold, 31);
    }

    #[test]
    fn a_starved_window_is_told_of_every_packet_until_it_has_grown() {
        for enabled in [true, false] {
            let mut ask = AckRequest::new(enabled, 25 * MS, Some(MS));
            ask.consider(8, 40 * MS, true);
            assert!(!ask.wants_to_send());
            ask.consider(7, 40 * MS, true);
            let frame = written(&mut ask).unwrap();
            assert_eq!((frame.threshold, frame.max_ack_delay), (0, 10_000));
            ask.acked(frame.sequence);
            // Not for every packet more, nor where data ends.
            for (window, starved) in [(10, true), (4, false), (15, true)] {
                ask.consider(window, 40 * MS, starved);
                assert!(!ask.wants_to_send(), "{window}");
            }
            ask.consider(16, 40 * MS, true);
            let usual = written(&mut ask).unwrap();
            let (delay, reordering) = if enabled { (10_000, 3) } else { (25_000, 1) };
            assert_eq!((usual.threshold, usual.max_ack_delay, usual.reordering_threshold), (1, delay, reordering));
            ask.acked(usual.sequence);
            ask.consider(12, 40 * MS, true);
            assert!(!ask.wants_to_send());
        }
        // Who takes no wishes has none.
        let mut ask = AckRequest::new(true, 25 * MS, None);
        ask.consider(2, 40 * MS, true);
        assert!(!ask.wants_to_send());
    }

    /// A window that shrinks wants more acknowledgements again.
    #[test]
    fn a_wish_is_taken_back() {
        let mut ask = peer();
        ask.consider(500, 40 * MS, false);
        let frame = written(&mut ask).unwrap();
        ask.acked(frame.sequence);
        ask.consider(400, 45 * MS, false);
        assert!(!ask.wants_to_send(), "not for every little change");
        ask.consider(10, 40 * MS, false);
        assert_eq!(written(&mut ask).unwrap().threshold, 1);
    }
}
