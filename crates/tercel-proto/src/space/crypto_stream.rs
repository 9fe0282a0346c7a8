//! The CRYPTO stream of a space (RFC 9000 sections 7.5 and 19.6): what TLS has to say, until it is
//! acknowledged, and what the peer's TLS says, in order.

use std::ops::Range;

use bytes::Bytes;
use tercel_wire::{Frame, TransportErrorCode, VarInt};

use crate::error::Violation;
use crate::frames::{FrameSink, SentFrame};
use crate::ranges::RangeSet;
use crate::reassembly::Reassembly;

/// TLS messages of one level, both ways.
#[derive(Debug)]
// RFC 9001 sections 4#1, 4.9#1: what is lost is said again in its own space.
pub struct CryptoStream {
    send: Send,
    receive: Receive,
}

#[derive(Debug, Default)]
struct Send {
    /// Bytes from `base` on; everything before it is acknowledged.
    data: Vec<u8>,
    base: u64,
    /// The first byte never sent.
    next: u64,
    acked: RangeSet,
    lost: RangeSet,
}

#[derive(Debug)]
struct Receive {
    data: Reassembly,
    limit: usize,
}

impl CryptoStream {
    /// An empty stream. At most `limit` bytes may be received ahead of the next one in order.
    pub fn new(limit: usize) -> Self {
        Self { send: Send::default(), receive: Receive { data: Reassembly::default(), limit } }
    }

    /// Adds bytes to send.
    pub fn send(&mut self, bytes: &[u8]) {
        self.send.data.extend_from_slice(bytes);
    }

    /// Whether there are bytes to send or to send again.
    pub fn wants_to_send(&self) -> bool {
        !self.send.lost.is_empty() || self.send.next < self.send.end()
    }

    /// Whether the peer has acknowledged all of it.
    pub const fn is_delivered(&self) -> bool {
        self.send.data.is_empty()
    }

    /// Writes CRYPTO frames while there are bytes and room.
    pub fn write(&mut self, sink: &mut FrameSink<'_, '_>) {
        while let Some(range) = self.send.take(sink.remaining()) {
            let Some(data) = self.send.slice(&range) else { return };
            let len = data.len() as u32;
            let frame = Frame::Crypto { offset: range.start, data };
            if !sink.push(&frame, SentFrame::Crypto { offset: range.start, len }) {
                self.send.lost.insert(range);
                return;
            }
        }
    }

    /// A CRYPTO frame was acknowledged.
    pub fn acked(&mut self, offset: u64, len: u32) {
        let send = &mut self.send;
        send.lost.remove(offset..offset + u64::from(len));
        send.acked.insert(offset..offset + u64::from(len));
        if let Some(first) = send.acked.first().filter(|first| first.start <= send.base) {
            let freed = (first.end - send.base).min(send.data.len() as u64);
            send.data.drain(..freed as usize);
            send.base += freed;
        }
    }

    /// A CRYPTO frame was lost: what of it is not acknowledged is sent again.
    pub fn lost(&mut self, offset: u64, len: u32) {
        let missing: Vec<_> = self.send.acked.missing_in(offset..offset + u64::from(len)).collect();
        missing.into_iter().for_each(|range| self.send.lost.insert(range));
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.send.data.shrink_to_fit();
    }

    /// How many bytes are kept, both ways.
    pub fn held(&self) -> usize {
        self.send.data.len() + self.receive.data.held()
    }

    /// Whether everything before `offset` has come, and was read.
    pub const fn has_received(&self, offset: u64) -> bool {
        offset <= self.receive.data.read_offset()
    }

    /// Everything that was sent and is not acknowledged is sent again.
    pub fn resend_all(&mut self) {
        let (base, len) = (self.send.base, self.send.next - self.send.base);
        self.lost(base, len as u32);
    }

    /// A CRYPTO frame came in.
    ///
    /// # Errors
    /// CRYPTO_BUFFER_EXCEEDED: it lies too far ahead.
    // RFC 9000 sections 4#1, 7.5#2, 19.6#1.
    pub fn receive(&mut self, offset: u64, data: Bytes) -> Result<(), Violation> {
        let receive = &mut self.receive;
        let exceeded = |reason| Violation::new(TransportErrorCode::CRYPTO_BUFFER_EXCEEDED, reason);
        if offset + data.len() as u64 > receive.data.read_offset() + receive.limit as u64 {
            return Err(exceeded("too much CRYPTO data out of order"));
        }
        // What waits is copied, whatever its size: none of it may hold on to a receive buffer.
        let early = offset > receive.data.contiguous();
        let data = if early { Bytes::copy_from_slice(&data) } else { data };
        receive.data.insert(offset, data).map_err(|_| exceeded("too many gaps in CRYPTO data"))
    }

    /// The next bytes in order, if they are there.
    pub fn read(&mut self) -> Option<Bytes> {
        self.receive.data.take(usize::MAX)
    }
}

impl Send {
    fn end(&self) -> u64 {
        self.base + self.data.len() as u64
    }

    /// The next range to send, as much as a frame of `room` bytes can hold.
    fn take(&mut self, room: usize) -> Option<Range<u64>> {
        let start = self.lost.first().map_or(self.next, |lost| lost.start);
        let overhead = 1 + VarInt::encoded_len(start) + VarInt::encoded_len(room as u64);
        let max = room.checked_sub(overhead).filter(|max| *max > 0)? as u64;
        if let Some(lost) = self.lost.pop_first(max) {
            return Some(lost);
        }
        let range = self.next..self.end().min(self.next + max);
        self.next = range.end;
        (!range.is_empty()).then_some(range)
    }

    fn slice(&self, range: &Range<u64>) -> Option<&[u8]> {
        let start = usize::try_from(range.start.checked_sub(self.base)?).ok()?;
        self.data.get(start..start + (range.end - range.start) as usize)
    }
}

#[cfg(test)]
mod tests {
    use tercel_wire::{Reader, Writer};

    use super::*;
    use crate::frames::SentFrames;

    /// One packet's worth of frames.
    fn packet(stream: &mut CryptoStream, room: usize) -> (Vec<(u64, Bytes)>, SentFrames) {
        let mut bytes = vec![0; room];
        let mut writer = Writer::new(&mut bytes);
        let mut sent = SentFrames::new();
        stream.write(&mut FrameSink::new(&mut writer, &mut sent));
        let mut reader = Reader::new(writer.written());
        let mut frames = Vec::new();
        while !reader.is_empty() {
            let Ok(Frame::Crypto { offset, data }) = Frame::decode(&mut reader) else { panic!() };
            frames.push((offset, Bytes::copy_from_slice(data)));
        }
        (frames, sent)
    }

    #[test]
    // RFC 9001 section 4#1.
    fn bytes_arrive_in_order_over_losses_and_reordering() {
        let message: Vec<u8> = (0..5000u32).map(|value| value as u8).collect();
        let (mut sender, mut receiver) = (CryptoStream::new(65536), CryptoStream::new(65536));
        sender.send(&message);
        let mut packets = Vec::new();
        while sender.wants_to_send() {
            packets.push(packet(&mut sender, 300));
        }
        // Every third packet is lost, the others arrive backwards.
        for (at, (frames, sent)) in packets.iter().enumerate().rev() {
            for frame in sent {
                let SentFrame::Crypto { offset, len } = *frame else { panic!() };
                if at % 3 == 0 { sender.lost(offset, len) } else { sender.acked(offset, len) }
            }
            if at % 3 != 0 {
                frames.iter().for_each(|(offset, data)| receiver.receive(*offset, data.clone()).unwrap());
            }
        }
        assert!(receiver.read().is_none());
        while sender.wants_to_send() {
            let (frames, _) = packet(&mut sender, 200);
            frames.into_iter().for_each(|(offset, data)| receiver.receive(offset, data).unwrap());
        }
        let mut read = Vec::new();
        while let Some(data) = receiver.read() {
            read.extend_from_slice(&data);
        }
        assert_eq!(read, message);
    }

    #[test]
    // RFC 9000 sections 4#1, 7.5#2.
    fn what_lies_too_far_ahead_is_refused() {
        let mut stream = CryptoStream::new(100);
        assert!(stream.receive(50, Bytes::from_static(&[0; 50])).is_ok());
        let violation = stream.receive(51, Bytes::from_static(&[0; 50])).unwrap_err();
        assert_eq!(violation.code, TransportErrorCode::CRYPTO_BUFFER_EXCEEDED);
        assert!(stream.receive(0, Bytes::from_static(&[0; 50])).is_ok());
        assert_eq!((stream.read().unwrap().len(), stream.read().unwrap().len()), (50, 50));
        assert!(stream.receive(101, Bytes::from_static(&[0; 99])).is_ok());
    }

    // RFC 9000 section 7.5#1.
    #[test]
    fn overlaps_and_tiny_pieces_are_taken() {
        let message: Vec<u8> = (0..4096u32).map(|value| (value / 3) as u8).collect();
        let piece = |from: usize, to: usize| Bytes::copy_from_slice(&message[from..to]);
        let mut stream = CryptoStream::new(4096);
        for at in (1..4096).step_by(2) {
            stream.receive(at as u64, piece(at, at + 1)).unwrap();
        }
        for at in (0..4000).rev().step_by(97) {
            stream.receive(at as u64, piece(at, at + 90)).unwrap();
        }
        stream.receive(0, piece(0, 4096)).unwrap();
        stream.receive(0, piece(0, 4096)).unwrap();
        assert_eq!(std::iter::from_fn(|| stream.read()).collect::<Vec<_>>().concat(), message);
        stream.receive(0, piece(0, 4096)).unwrap();
        assert!(stream.read().is_none(), "what was read is not read again");
        assert!(stream.receive(4096 + 4096, Bytes::new()).is_ok());
        assert!(stream.receive(4096 + 4096, Bytes::from_static(&[0])).is_err());
    }

    #[test]
    fn what_was_acknowledged_is_freed_and_never_sent_again() {
        let mut stream = CryptoStream::new(0);
        let message: Vec<u8> = (0..600u32).map(|value| value as u8).collect();
        stream.send(&message);
        let mut sent = Vec::new();
        while stream.wants_to_send() {
            sent.extend(packet(&mut stream, 104).1);
        }
        let ranges: Vec<(u64, u32)> = sent
            .iter()
            .map(|frame| if let SentFrame::Crypto { offset, len } = *frame { (offset, len) } else { panic!() })
            .collect();
        assert!(ranges.len() > 5);
        // The second, then the first: both are freed; the first counts as lost too late.
        stream.acked(ranges[1].0, ranges[1].1);
        assert_eq!(stream.send.data.len(), 600);
        stream.acked(ranges[0].0, ranges[0].1);
        assert_eq!((stream.send.base, stream.send.data.len()), (ranges[2].0, 600 - ranges[2].0 as usize));
        stream.lost(ranges[0].0, ranges[0].1);
        assert!(!stream.wants_to_send());
        // Everything again, as after a Retry or for a probe: without what was acknowledged.
        stream.acked(ranges[4].0, ranges[4].1);
        stream.resend_all();
        let mut again = Vec::new();
        while stream.wants_to_send() {
            for (offset, data) in packet(&mut stream, 70).0 {
                assert_eq!(data, message[offset as usize..offset as usize + data.len()]);
                again.extend(offset..offset + data.len() as u64);
            }
        }
        let missing = (ranges[2].0..ranges[4].0).chain(ranges[5].0..600);
        assert!(again.into_iter().eq(missing));
        for (offset, len) in ranges {
            stream.acked(offset, len);
            stream.acked(offset, len);
        }
        assert!(stream.send.data.is_empty() && !stream.wants_to_send());
        stream.send(b"more");
        assert_eq!(packet(&mut stream, 100).0, [(600, Bytes::from_static(b"more"))]);
    }

    #[test]
    fn a_packet_without_room_loses_nothing() {
        for room in 0..40 {
            let mut stream = CryptoStream::new(0);
            stream.send(b"a message of TLS");
            let (first, _) = packet(&mut stream, room);
            let (rest, _) = packet(&mut stream, 100);
            let all: Vec<u8> = first.into_iter().chain(rest).flat_map(|(_, data)| data).collect();
            assert_eq!(all, b"a message of TLS", "{room}");
        }
    }
}
