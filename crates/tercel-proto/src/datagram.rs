//! Datagrams (RFC 9221): sent once, in order (but those that are urgent before the others), without a
//! promise. What became of each is told as far as it can be known.

use bytes::Bytes;
use tercel_wire::TransportErrorCode;

use crate::error::{ApiMisuse, Violation};
use crate::frames::FrameSink;
use crate::rare_queue::RareQueue;

/// What happened to datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DatagramEvent {
    /// One came in; as early data or not.
    Received { data: Bytes, early: bool },
    /// One that was to be sent has a new state.
    SendState { number: u64, state: DatagramSendState },
    /// The largest that can be sent has changed; `None` if datagrams are off.
    MaxSizeChanged(Option<usize>),
}

/// What became of a datagram to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramSendState {
    /// It left.
    Sent,
    /// It is probably lost; its acknowledgement may still come.
    LostSuspect,
    /// It is taken for lost for good.
    LostDiscarded,
    /// The peer has it.
    Acknowledged,
    /// The peer has it, though it was taken for lost before.
    AcknowledgedSpurious,
    /// It was dropped before it left.
    Canceled,
}

impl DatagramSendState {
    /// Whether no other state follows.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Sent | Self::LostSuspect)
    }
}

/// Which datagrams leave first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
// RFC 9221 section 5.1#1.
pub enum DatagramPriority {
    /// In the order in which they were given.
    #[default]
    Normal,
    /// Before those that are not urgent, in the order in which they were given.
    Urgent,
}

/// Datagrams that wait, with the numbers of those of which somebody wants to know what becomes of them.
type Queue = RareQueue<(Option<u64>, Bytes)>;

/// The type byte and the longest length of a DATAGRAM frame.
const FRAME_OVERHEAD: usize = 1 + 2;

/// The datagrams of a connection.
#[derive(Debug)]
pub struct Datagrams {
    /// The largest frame that we take; 0 for none.
    local_max: u64,
    /// The largest frame that the peer takes.
    peer_max: u64,
    /// The largest payload of a packet on the path.
    packet_max: usize,
    told: Option<usize>,
    urgent: Queue,
    queue: Queue,
    queued: usize,
    limit: usize,
    next_number: u64,
    events: RareQueue<DatagramEvent>,
    /// Whether the last that was told of came as early data.
    last_early: bool,
}

impl Datagrams {
    /// Takes frames of `local_max` bytes, and holds `limit` bytes that wait to be sent.
    pub const fn new(local_max: u64, limit: usize) -> Self {
        Self {
            local_max,
            peer_max: 0,
            packet_max: 0,
            told: None,
            urgent: RareQueue::new(),
            queue: RareQueue::new(),
            queued: 0,
            limit,
            next_number: 0,
            events: RareQueue::new(),
            last_early: false,
        }
    }

    /// The peer's max_datagram_frame_size, and how many bytes of frames a packet carries now.
    pub fn set_limits(&mut self, peer_max: Option<u64>, packet_max: usize) {
        self.peer_max = peer_max.unwrap_or(self.peer_max);
        self.packet_max = packet_max;
        let max = self.max_size();
        if max != self.told {
            self.told = max;
            self.events.push_back(DatagramEvent::MaxSizeChanged(max));
        }
        // What no longer fits will never leave, and must not stand in the way of others.
        let Self { urgent, queue, queued, events, .. } = self;
        for queue in [urgent, queue] {
            queue.retain(|(number, data)| {
                let fits = max.is_some_and(|max| data.len() <= max);
                if !fits {
                    *queued -= data.len();
                    let state = DatagramSendState::Canceled;
                    events.extend(number.map(|number| DatagramEvent::SendState { number, state }));
                }
                fits
            });
        }
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.urgent.rest();
        self.queue.rest();
        self.events.rest();
    }

    fn tell(&mut self, number: u64, state: DatagramSendState) {
        self.events.push_back(DatagramEvent::SendState { number, state });
    }

    /// Drops the oldest that is not urgent, or else the oldest.
    fn cancel_first(&mut self) {
        if let Some((number, data)) = self.queue.pop_front().or_else(|| self.urgent.pop_front()) {
            self.queued -= data.len();
            number.into_iter().for_each(|number| self.tell(number, DatagramSendState::Canceled));
        }
    }

    /// The largest datagram that can be sent now, in bytes; `None` if datagrams are off.
    // RFC 9221 section 3#1#2.
    pub fn max_size(&self) -> Option<usize> {
        if self.peer_max == 0 {
            return None;
        }
        let peer = usize::try_from(self.peer_max).unwrap_or(usize::MAX);
        peer.min(self.packet_max).checked_sub(FRAME_OVERHEAD)
    }

    /// Queues a datagram; gives its number, by which is told what becomes of it.
    ///
    /// # Errors
    /// Datagrams are off, or it is too large. If too many bytes wait, the oldest are dropped.
    pub fn send(&mut self, data: Bytes, priority: DatagramPriority) -> Result<u64, ApiMisuse> {
        let number = self.next_number;
        self.enqueue(Some(number), data, priority)?;
        self.next_number += 1;
        Ok(number)
    }

    /// Queues a datagram of which is told nothing more.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_untold(&mut self, data: Bytes, priority: DatagramPriority) -> Result<(), ApiMisuse> {
        self.enqueue(None, data, priority)
    }

    fn enqueue(&mut self, number: Option<u64>, data: Bytes, priority: DatagramPriority) -> Result<(), ApiMisuse> {
        let max = self.max_size().ok_or(ApiMisuse::DatagramsUnsupported)?;
        if data.len() > max {
            return Err(ApiMisuse::DatagramTooLarge);
        }
        while self.queued + data.len() > self.limit && self.wants_to_send() {
            self.cancel_first();
        }
        self.queued += data.len();
        match priority {
            DatagramPriority::Normal => self.queue.push_back((number, data)),
            DatagramPriority::Urgent => self.urgent.push_back((number, data)),
        }
        Ok(())
    }

    /// A DATAGRAM frame came in, in a packet of early data or not.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION: we take none, or none so large (RFC 9221 section 3).
    // RFC 9221 sections 3#3#4, 5#2.
    pub fn on_datagram(&mut self, data: Bytes, early: bool) -> Result<(), Violation> {
        // The length may have been left out, which saves its bytes: the frame in its shortest form.
        let shortest = 1 + data.len() as u64;
        if self.local_max == 0 || shortest > self.local_max {
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "datagram not allowed, or too large"));
        }
        self.events.push_back(DatagramEvent::Received { data, early });
        Ok(())
    }

    /// Whether the received datagram that was last told of came as early data.
    pub const fn is_early(&self) -> bool {
        self.last_early
    }

    /// Whether one waits.
    pub fn wants_to_send(&self) -> bool {
        !self.queue.is_empty() || !self.urgent.is_empty()
    }

    /// Writes DATAGRAM frames while they fit.
    pub fn write(&mut self, sink: &mut FrameSink<'_, '_>) {
        loop {
            let queue = if self.urgent.is_empty() { &mut self.queue } else { &mut self.urgent };
            let Some((number, data)) = queue.front() else { return };
            let (number, len) = (*number, data.len());
            if !sink.push_datagram(data, number) {
                return;
            }
            queue.pop_front();
            self.queued -= len;
            number.into_iter().for_each(|number| self.tell(number, DatagramSendState::Sent));
        }
    }

    /// A DATAGRAM frame was acknowledged.
    pub fn acked(&mut self, number: u64) {
        self.tell(number, DatagramSendState::Acknowledged);
    }

    /// A DATAGRAM frame was lost; it is not sent again.
    pub fn lost(&mut self, number: u64) {
        self.tell(number, DatagramSendState::LostSuspect);
    }

    /// A DATAGRAM frame that was lost was acknowledged after all.
    pub fn acked_late(&mut self, number: u64) {
        self.tell(number, DatagramSendState::AcknowledgedSpurious);
    }

    /// Nobody waits any more for the acknowledgement of a DATAGRAM frame that was lost.
    pub fn discarded(&mut self, number: u64) {
        self.tell(number, DatagramSendState::LostDiscarded);
    }

    /// The connection is over: what waits is canceled.
    pub fn cancel_all(&mut self) {
        while self.wants_to_send() {
            self.cancel_first();
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DatagramEvent> {
        let event = self.events.pop_front();
        if let Some(DatagramEvent::Received { early, .. }) = event {
            self.last_early = early;
        }
        event
    }

    /// Takes received datagrams that are next to be told of, while `into` has fewer than `most`, and up to the first that
    /// came as early data if the last did not, or the other way round.
    pub fn take_received(&mut self, into: &mut Vec<Bytes>, most: usize) {
        while into.len() < most
            && matches!(self.events.front(), Some(DatagramEvent::Received { early, .. }) if *early == self.last_early)
            && let Some(DatagramEvent::Received { data, .. }) = self.events.pop_front()
        {
            into.push(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use tercel_wire::{Frame, Reader, Writer};

    use super::DatagramPriority::{Normal, Urgent};
    use super::DatagramSendState::{Acknowledged, AcknowledgedSpurious, Canceled, LostDiscarded, LostSuspect, Sent};
    use super::*;
    use crate::frames::{SentFrame, SentFrames};

    /// Datagrams to a peer that takes frames of `peer_max` bytes, on a path with packets of 1000.
    fn datagrams(peer_max: u64, limit: usize) -> Datagrams {
        let mut datagrams = Datagrams::new(1000, limit);
        datagrams.set_limits(Some(peer_max), 1000);
        datagrams.events.clear();
        datagrams
    }

    /// The datagrams of one packet, as a peer reads them.
    fn packet(datagrams: &mut Datagrams, size: usize) -> (Vec<Bytes>, SentFrames) {
        let (mut bytes, mut sent) = (vec![0; size], SentFrames::new());
        let mut writer = Writer::new(&mut bytes);
        datagrams.write(&mut FrameSink::new(&mut writer, &mut sent));
        let mut reader = Reader::new(writer.written());
        let mut received = Vec::new();
        while !reader.is_empty() {
            let Ok(Frame::Datagram { data }) = Frame::decode(&mut reader) else { panic!() };
            received.push(Bytes::copy_from_slice(data));
        }
        (received, sent)
    }

    /// What became of datagrams, in the order in which it was told.
    fn states(datagrams: &mut Datagrams) -> Vec<(u64, DatagramSendState)> {
        std::iter::from_fn(|| datagrams.poll_event())
            .filter_map(|event| match event {
                DatagramEvent::SendState { number, state } => Some((number, state)),
                _ => None,
            })
            .collect()
    }

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![len as u8; len])
    }

    #[test]
    // RFC 9221 section 5#2.
    fn each_is_sent_once_in_order_and_has_one_end() {
        let mut datagrams = datagrams(1000, 10_000);
        for len in [100, 0, 300, 400] {
            datagrams.send(bytes(len), Normal).unwrap();
        }
        let (first, sent) = packet(&mut datagrams, 500);
        assert_eq!(first, [bytes(100), bytes(0), bytes(300)]);
        assert_eq!(sent.len(), 3);
        assert_eq!(packet(&mut datagrams, 402).0, Vec::<Bytes>::new(), "a frame is never cut");
        assert_eq!(packet(&mut datagrams, 403).0, [bytes(400)]);
        assert!(!datagrams.wants_to_send());
        datagrams.acked(0);
        datagrams.lost(1);
        datagrams.lost(2);
        assert!(!datagrams.wants_to_send(), "RFC 9221 section 5.2: not sent again");
        datagrams.acked_late(1);
        datagrams.discarded(2);
        let told = [
            (0, Sent),
            (1, Sent),
            (2, Sent),
            (3, Sent),
            (0, Acknowledged),
            (1, LostSuspect),
            (2, LostSuspect),
            (1, AcknowledgedSpurious),
            (2, LostDiscarded),
        ];
        assert_eq!(states(&mut datagrams), told);
    }

    #[test]
    fn received_ones_are_told_together_if_they_came_in_the_same_way() {
        let mut datagrams = datagrams(1000, 1000);
        let came = [(1, true), (2, true), (3, false), (4, false), (5, false), (6, false)];
        came.into_iter().for_each(|(len, early)| datagrams.on_datagram(bytes(len), early).unwrap());
        datagrams.send(bytes(7), Normal).unwrap();
        datagrams.cancel_all();
        datagrams.on_datagram(bytes(8), false).unwrap();
        let mut told = Vec::new();
        while let Some(event) = datagrams.poll_event() {
            let DatagramEvent::Received { data, .. } = event else { continue };
            let mut all = vec![data];
            datagrams.take_received(&mut all, 3);
            told.push((all, datagrams.is_early()));
        }
        let together = |lens: &[usize]| lens.iter().copied().map(bytes).collect::<Vec<_>>();
        let runs: [(&[usize], _); 4] = [(&[1, 2], true), (&[3, 4, 5], false), (&[6], false), (&[8], false)];
        assert_eq!(told, runs.map(|(lens, early)| (together(lens), early)));
    }

    #[test]
    fn of_some_nothing_is_told() {
        let mut datagrams = datagrams(1000, 1000);
        datagrams.send_untold(bytes(300), Normal).unwrap();
        assert_eq!(datagrams.send(bytes(301), Normal), Ok(0));
        datagrams.send_untold(bytes(302), Urgent).unwrap();
        let (first, sent) = packet(&mut datagrams, 1000);
        assert_eq!(
            (first, &sent[..]),
            (vec![bytes(302), bytes(300), bytes(301)], &[SentFrame::Datagram { number: 0 }][..])
        );
        datagrams.send_untold(bytes(900), Normal).unwrap();
        datagrams.set_limits(None, 500);
        datagrams.send_untold(bytes(400), Normal).unwrap();
        datagrams.cancel_all();
        assert_eq!((states(&mut datagrams), datagrams.queued), (vec![(0, Sent)], 0));
    }

    #[test]
    fn what_is_urgent_goes_first_and_is_dropped_last() {
        let mut datagrams = datagrams(1000, 1000);
        for (len, priority) in [(300, Normal), (301, Urgent), (302, Normal)] {
            datagrams.send(bytes(len), priority).unwrap();
        }
        datagrams.send(bytes(303), Urgent).unwrap();
        assert_eq!(states(&mut datagrams), [(0, Canceled)]);
        assert_eq!(packet(&mut datagrams, 910).0, [bytes(301), bytes(303)], "in their order, and nothing passes them");
        assert_eq!(packet(&mut datagrams, 910).0, [bytes(302)]);
        for len in [400, 401, 402] {
            datagrams.send(bytes(len), Urgent).unwrap();
        }
        datagrams.set_limits(None, 404);
        assert_eq!(packet(&mut datagrams, 404).0, [bytes(401)]);
        datagrams.cancel_all();
        let told = [(1, Sent), (3, Sent), (2, Sent), (4, Canceled), (6, Canceled), (5, Sent)];
        assert_eq!(states(&mut datagrams), told);
        assert_eq!(datagrams.queued, 0);
    }

    #[test]
    // RFC 9221 section 3#1#2.
    fn the_largest_that_leaves_is_the_largest_that_fits() {
        for (peer_max, packet_max, max) in [(65535, 1000, 997), (500, 1000, 497), (3, 1000, 0)] {
            let mut datagrams = Datagrams::new(0, 10_000);
            assert_eq!(datagrams.send(Bytes::new(), Normal), Err(ApiMisuse::DatagramsUnsupported));
            datagrams.set_limits(Some(peer_max), packet_max);
            assert_eq!(datagrams.poll_event(), Some(DatagramEvent::MaxSizeChanged(Some(max))));
            assert_eq!(datagrams.send(bytes(max + 1), Normal), Err(ApiMisuse::DatagramTooLarge));
            assert_eq!(datagrams.send(bytes(max), Normal), Ok(0));
            assert_eq!(packet(&mut datagrams, packet_max).0, [bytes(max)]);
            datagrams.set_limits(None, packet_max);
            assert_eq!(datagrams.poll_event(), Some(DatagramEvent::SendState { number: 0, state: Sent }));
            assert_eq!(datagrams.poll_event(), None, "what has not changed is not told");
        }
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut datagrams = datagrams(1000, 1000);
        for _ in 0..5 {
            datagrams.send(bytes(300), Normal).unwrap();
        }
        assert_eq!(states(&mut datagrams), [(0, Canceled), (1, Canceled)]);
        datagrams.send(bytes(997), Normal).unwrap();
        assert_eq!(states(&mut datagrams), [(2, Canceled), (3, Canceled), (4, Canceled)]);
        datagrams.cancel_all();
        assert_eq!((states(&mut datagrams), datagrams.queued), (vec![(5, Canceled)], 0));
    }

    /// A path that carries less: what no longer fits goes, wherever it waits, and the rest leaves.
    #[test]
    fn what_no_longer_fits_is_in_nobodys_way() {
        let mut datagrams = datagrams(1000, 10_000);
        for len in [100, 900, 200, 501, 498] {
            datagrams.send(bytes(len), Normal).unwrap();
        }
        datagrams.set_limits(None, 501);
        assert_eq!(datagrams.poll_event(), Some(DatagramEvent::MaxSizeChanged(Some(498))));
        assert_eq!(states(&mut datagrams), [(1, Canceled), (3, Canceled)]);
        assert_eq!(packet(&mut datagrams, 501).0, [bytes(100), bytes(200)]);
        assert_eq!(packet(&mut datagrams, 501).0, [bytes(498)]);
        assert_eq!(datagrams.queued, 0);
        // Early data was accepted of a peer that takes none any more.
        datagrams.send(bytes(1), Normal).unwrap();
        datagrams.set_limits(Some(0), 501);
        assert_eq!(states(&mut datagrams).last(), Some(&(5, Canceled)));
        assert_eq!(datagrams.send(bytes(1), Normal), Err(ApiMisuse::DatagramsUnsupported));
    }

    /// RFC 9221 section 3: a frame, with its type and length, of at most what we said.
    #[test]
    // RFC 9221 section 3#3#4.
    fn what_comes_in_keeps_to_our_limit() {
        let take = |local_max, len| {
            let mut datagrams = Datagrams::new(local_max, 0);
            datagrams
                .on_datagram(bytes(len), false)
                .map(|()| datagrams.poll_event())
                .map_err(|violation| violation.code)
        };
        let violation = Err(TransportErrorCode::PROTOCOL_VIOLATION);
        assert_eq!(take(0, 0), violation);
        assert_eq!(take(100, 99), Ok(Some(DatagramEvent::Received { data: bytes(99), early: false })));
        assert_eq!(take(100, 100), violation);
        assert_eq!(take(1, 0), Ok(Some(DatagramEvent::Received { data: bytes(0), early: false })));
    }
}
