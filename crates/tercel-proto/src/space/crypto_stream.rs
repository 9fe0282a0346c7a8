//! The CRYPTO stream of a space (RFC 9000 sections 7.5 and 19.6): what TLS has to say, until it is
//! acknowledged, and what the peer's TLS says, in order.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Buf as _, Bytes};
use tercel_wire::{Frame, TransportErrorCode, VarInt};

use crate::error::Violation;
use crate::frames::{FrameSink, SentFrame};
use crate::ranges::RangeSet;

/// TLS messages of one level, both ways.
#[derive(Debug)]
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
    /// The first byte not yet given to TLS.
    next: u64,
    waiting: BTreeMap<u64, Bytes>,
    limit: usize,
}

impl CryptoStream {
    /// An empty stream. At most `limit` bytes may be received ahead of the next one in order.
    pub const fn new(limit: usize) -> Self {
        Self {
            send: Send { data: Vec::new(), base: 0, next: 0, acked: RangeSet::new(), lost: RangeSet::new() },
            receive: Receive { next: 0, waiting: BTreeMap::new(), limit },
        }
    }

    /// Adds bytes to send.
    pub fn send(&mut self, bytes: &[u8]) {
        self.send.data.extend_from_slice(bytes);
    }

    /// Whether there are bytes to send or to send again.
    pub fn wants_to_send(&self) -> bool {
        !self.send.lost.is_empty() || self.send.next < self.send.end()
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

    /// Everything that was sent and is not acknowledged is sent again.
    pub fn resend_all(&mut self) {
        let (base, len) = (self.send.base, self.send.next - self.send.base);
        self.lost(base, len as u32);
    }

    /// A CRYPTO frame came in.
    ///
    /// # Errors
    /// CRYPTO_BUFFER_EXCEEDED: it lies too far ahead.
    pub fn receive(&mut self, offset: u64, mut data: Bytes) -> Result<(), Violation> {
        let receive = &mut self.receive;
        let end = offset + data.len() as u64;
        if end > receive.next + receive.limit as u64 {
            return Err(Violation::new(
                TransportErrorCode::CRYPTO_BUFFER_EXCEEDED,
                "too much CRYPTO data out of order",
            ));
        }
        if end <= receive.next {
            return Ok(());
        }
        data.advance(receive.next.saturating_sub(offset) as usize);
        let offset = offset.max(receive.next);
        // Many tiny pieces would cost more than their bytes: keep the longest at each offset, and
        // merge nothing, for the limit on offsets bounds their number too.
        let known = receive.waiting.entry(offset).or_default();
        if known.len() < data.len() {
            // A copy: a small piece must not hold on to a whole receive buffer.
            *known = Bytes::copy_from_slice(&data);
        }
        Ok(())
    }

    /// The next bytes in order, if they are there.
    pub fn read(&mut self) -> Option<Bytes> {
        let receive = &mut self.receive;
        loop {
            let entry = receive.waiting.first_entry().filter(|entry| *entry.key() <= receive.next)?;
            let (offset, mut data) = entry.remove_entry();
            let old = (receive.next - offset) as usize;
            if old < data.len() {
                data.advance(old);
                receive.next += data.len() as u64;
                return Some(data);
            }
        }
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
    fn what_lies_too_far_ahead_is_refused() {
        let mut stream = CryptoStream::new(100);
        assert!(stream.receive(50, Bytes::from_static(&[0; 50])).is_ok());
        let violation = stream.receive(51, Bytes::from_static(&[0; 50])).unwrap_err();
        assert_eq!(violation.code, TransportErrorCode::CRYPTO_BUFFER_EXCEEDED);
        assert!(stream.receive(0, Bytes::from_static(&[0; 50])).is_ok());
        assert_eq!((stream.read().unwrap().len(), stream.read().unwrap().len()), (50, 50));
        assert!(stream.receive(101, Bytes::from_static(&[0; 99])).is_ok());
    }
}
