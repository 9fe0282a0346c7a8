//! The delay of one direction, by timestamps of the peer's (draft-huitema-quic-ts, as MsQuic has it).
//!
//! Beside an acknowledgement the peer says when it sent it, by its own clock. Less the time for which it
//! was held back that is when our packet arrived there, and we know by our clock when it left here: the
//! difference is the delay from here to there and the difference of the clocks. The latter is taken from
//! the shortest round trip seen, of which each way is assumed to be one half; so what is told is by how
//! much the way there is longer than it can be, rather than how long it is.

use std::time::Duration;

/// Bits of the transport parameter enable_timestamp: frames are wanted, can be sent, or both.
const WANTED: u64 = 1;
const SENT: u64 = 2;
/// The value of an endpoint that wants and sends them.
pub const BOTH: u64 = WANTED | SENT;

/// One acknowledgement, as far as it tells of the delay.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When the newest packet that it acknowledges was sent, since the connection began.
    pub sent: Duration,
    /// For how long the peer held it back.
    pub held: Duration,
    /// The round-trip time, the time for which the peer held it back taken off.
    pub rtt: Duration,
    /// Whether no round trip was shorter.
    pub shortest: bool,
}

/// What is known of the delay from here to the peer; nothing, and no memory, where it is not measured.
#[derive(Debug, Default)]
pub struct OneWayDelay(Option<Box<Measurement>>);

#[derive(Debug, Default)]
struct Measurement {
    sends: bool,
    receives: bool,
    /// The time in the packet that is being read, in microseconds.
    heard: Option<u64>,
    /// By how many microseconds the peer's clock is ahead of ours.
    ahead: Option<i64>,
    latest: Duration,
    smoothed: Duration,
}

impl OneWayDelay {
    /// This end measures, or not, and the peer's value of enable_timestamp is known.
    pub fn negotiate(&mut self, enabled: bool, peer: u64) {
        let (sends, receives) = (enabled && peer & WANTED != 0, enabled && peer & SENT != 0);
        self.0 = (sends || receives).then(|| Box::new(Measurement { sends, receives, ..Measurement::default() }));
    }

    /// Whether TIMESTAMP frames go with our acknowledgements.
    pub fn sends(&self) -> bool {
        self.0.as_ref().is_some_and(|measurement| measurement.sends)
    }

    /// Whether TIMESTAMP frames may come.
    pub fn receives(&self) -> bool {
        self.0.as_ref().is_some_and(|measurement| measurement.receives)
    }

    /// A packet is going to be read.
    pub fn begin_packet(&mut self) {
        if let Some(measurement) = &mut self.0 {
            measurement.heard = None;
        }
    }

    /// A TIMESTAMP frame came in.
    pub fn on_timestamp(&mut self, time: u64) {
        if let Some(measurement) = &mut self.0 {
            measurement.heard = Some(time);
        }
    }

    /// An ACK frame came in that gave a round-trip time, in the same packet.
    pub fn on_ack(&mut self, sample: Sample) {
        if let Some(measurement) = &mut self.0 {
            measurement.on_ack(sample);
        }
    }

    /// Another path is in use.
    pub fn restart(&mut self) {
        if let Some(measurement) = &mut self.0 {
            measurement.ahead = None;
        }
    }

    /// The mean delay, if it is known.
    pub fn smoothed(&self) -> Option<Duration> {
        self.0.as_ref().and_then(|measurement| measurement.ahead.map(|_| measurement.smoothed))
    }

    /// The last one.
    pub fn latest(&self) -> Option<Duration> {
        self.0.as_ref().and_then(|measurement| measurement.ahead.map(|_| measurement.latest))
    }
}

impl Measurement {
    fn on_ack(&mut self, sample: Sample) {
        let Some(heard) = self.heard else { return };
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        // A varint fits; what the peer makes up can be far off, but goes no further than these figures.
        let arrived = (heard as i64).saturating_sub(micros(sample.held));
        let difference = arrived.saturating_sub(micros(sample.sent));
        match self.ahead.filter(|_| !sample.shortest) {
            Some(ahead) => {
                self.latest = Duration::from_micros(difference.saturating_sub(ahead).try_into().unwrap_or(0));
                self.smoothed = (7 * self.smoothed.min(MOST) + self.latest.min(MOST)) / 8;
            }
            None => {
                let half = sample.rtt / 2;
                self.ahead = Some(difference.saturating_sub(micros(half)));
                (self.latest, self.smoothed) = (half, half);
            }
        }
    }
}

/// No delay is longer than this, whatever a peer says.
const MOST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn measuring() -> OneWayDelay {
        let mut delay = OneWayDelay::default();
        delay.negotiate(true, BOTH);
        delay
    }

    /// A peer whose clock is `ahead` of ours; the packet took `there` to it and its answer `back`.
    fn exchange(delay: &mut OneWayDelay, ahead: i64, sent: u32, there: u32, back: u32, held: u32, shortest: bool) {
        delay.begin_packet();
        let time = i64::from(sent + there + held) * 1000 + ahead;
        delay.on_timestamp(time.try_into().unwrap());
        let sample = Sample { sent: sent * MS, held: held * MS, rtt: (there + back) * MS, shortest };
        delay.on_ack(sample);
    }

    #[test]
    fn a_longer_way_there_is_seen_and_a_longer_way_back_is_not() {
        for ahead in [0, 123_456_789, -150_000] {
            let mut delay = measuring();
            assert_eq!((delay.latest(), delay.smoothed()), (None, None));
            exchange(&mut delay, ahead, 200, 20, 20, 0, true);
            assert_eq!((delay.latest(), delay.smoothed()), (Some(20 * MS), Some(20 * MS)));
            exchange(&mut delay, ahead, 300, 60, 20, 25, false);
            assert_eq!((delay.latest(), delay.smoothed()), (Some(60 * MS), Some(25 * MS)));
            exchange(&mut delay, ahead, 400, 20, 90, 0, false);
            assert_eq!(delay.latest(), Some(20 * MS));
            // A shorter round trip tells more of the clocks.
            exchange(&mut delay, ahead, 500, 10, 10, 0, true);
            assert_eq!((delay.latest(), delay.smoothed()), (Some(10 * MS), Some(10 * MS)));
        }
    }

    #[test]
    fn without_a_time_there_is_nothing_to_learn_and_a_wrong_one_does_no_harm() {
        let mut delay = measuring();
        exchange(&mut delay, 0, 0, 20, 20, 0, true);
        delay.begin_packet();
        delay.on_ack(Sample { sent: 90 * MS, held: Duration::ZERO, rtt: 900 * MS, shortest: false });
        assert_eq!(delay.latest(), Some(20 * MS));
        for time in [0, (1 << 62) - 1, 0, 7] {
            delay.on_timestamp(time);
            delay.on_ack(Sample { sent: 1000 * MS, held: Duration::MAX, rtt: 40 * MS, shortest: time == 7 });
        }
        assert!(delay.smoothed().is_some());
        delay.restart();
        assert_eq!(delay.latest(), None);
    }

    #[test]
    fn both_ends_must_want_it() {
        for (enabled, peer, sends, receives) in [
            (true, 3, true, true),
            (true, 1, true, false),
            (true, 2, false, true),
            (true, 0, false, false),
            (false, 3, false, false),
        ] {
            let mut delay = measuring();
            delay.negotiate(enabled, peer);
            assert_eq!((delay.sends(), delay.receives()), (sends, receives), "{enabled} {peer}");
        }
    }
}
