//! Records of packets.
//!
//! Where much is sent, a packet differs from the one before it by two numbers: its own, and the offset of
//! the data of the stream. Of such packets the rest is kept as it was written, in three pieces, and
//! copied: a third of the work.

use tercel_proto::trace::{TraceFrame, Way};
use tercel_wire::{EncryptionLevel, StreamId};

use super::frame::{frame, stream_after_offset, stream_until_offset};
use crate::qlog::json::Json;

/// A packet that was sent or received.
pub(super) struct Packet<Frames> {
    pub(super) way: Way,
    pub(super) level: EncryptionLevel,
    pub(super) number: u64,
    pub(super) len: u16,
    pub(super) frames: Frames,
}

/// All of a packet with one STREAM frame but its number and the frame's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    way: Way,
    level: EncryptionLevel,
    len: u16,
    id: StreamId,
    data: u16,
    fin: bool,
}

/// A packet's record without the two numbers.
#[derive(Debug)]
struct Kept {
    shape: Shape,
    before_number: Piece<128>,
    before_offset: Piece<128>,
    after_offset: Piece<64>,
}

/// Writes packets, and keeps what may come again.
#[derive(Debug, Default)]
pub(super) struct Packets {
    sent: Option<Kept>,
    received: Option<Kept>,
}

impl Packets {
    /// Writes what follows the beginning of a record.
    #[inline]
    pub(super) fn write(
        &mut self,
        packet: &Packet<impl Iterator<Item = TraceFrame> + Clone>,
        exponent: u64,
        out: &mut Vec<u8>,
    ) {
        let Packet { way, level, number, len, .. } = *packet;
        let mut frames = packet.frames.clone();
        if let Some(TraceFrame::Stream { id, offset, len: data, fin }) = frames.next()
            && frames.next().is_none()
        {
            self.alike(Shape { way, level, len, id, data, fin }, number, offset, out);
            return;
        }
        until_number(out, way, level);
        out.number(number);
        after_number(out, way, len);
        for (at, item) in packet.frames.clone().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            frame(out, &item, exponent);
        }
        out.push_str(END);
    }

    #[inline]
    fn alike(&mut self, shape: Shape, number: u64, offset: u64, out: &mut Vec<u8>) {
        let known = match shape.way {
            Way::Sent { .. } => &mut self.sent,
            Way::Received => &mut self.received,
        };
        match known {
            Some(kept) if kept.shape == shape => {
                kept.before_number.push_to(out);
                out.number(number);
                kept.before_offset.push_to(out);
                out.number(offset);
                kept.after_offset.push_to(out);
            }
            _ => *known = write_and_keep(shape, number, offset, out),
        }
    }
}

/// Writes a packet with one STREAM frame; keeps what is not too long.
fn write_and_keep(shape: Shape, number: u64, offset: u64, out: &mut Vec<u8>) -> Option<Kept> {
    fn piece<const N: usize>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Option<Piece<N>> {
        let start = out.len();
        write(out);
        Piece::of(out.get(start..)?)
    }
    let before_number = piece(out, |out| until_number(out, shape.way, shape.level));
    out.number(number);
    let before_offset = piece(out, |out| {
        after_number(out, shape.way, shape.len);
        stream_until_offset(out, shape.id);
    });
    out.number(offset);
    let after_offset = piece(out, |out| {
        stream_after_offset(out, shape.data, shape.fin);
        out.push_str(END);
    });
    Some(Kept { shape, before_number: before_number?, before_offset: before_offset?, after_offset: after_offset? })
}

/// Ends the frames and the record.
const END: &str = "]}}\n";

fn until_number(out: &mut Vec<u8>, way: Way, level: EncryptionLevel) {
    out.push_str(match way {
        Way::Sent { .. } => "quic:packet_sent\",\"data\":{",
        Way::Received => "quic:packet_received\",\"data\":{",
    });
    packet_type(out, level);
    out.push_str(",\"packet_number\":");
}

fn after_number(out: &mut Vec<u8>, way: Way, len: u16) {
    out.push_str(match way {
        Way::Sent { .. } => "},\"raw\":{\"length\":",
        Way::Received => "},\"raw\":{\"payload_length\":",
    });
    out.number(u64::from(len));
    out.push_str(match way {
        Way::Sent { mtu_probe: true } => "},\"is_mtu_probe_packet\":true,\"frames\":[",
        _ => "},\"frames\":[",
    });
}

fn packet_type(out: &mut Vec<u8>, level: EncryptionLevel) {
    out.push_str(match level {
        EncryptionLevel::Initial => r#""header":{"packet_type":"initial""#,
        EncryptionLevel::Handshake => r#""header":{"packet_type":"handshake""#,
        EncryptionLevel::ZeroRtt => r#""header":{"packet_type":"0RTT""#,
        EncryptionLevel::OneRtt => r#""header":{"packet_type":"1RTT""#,
    });
}

/// `"header":{...}` of a packet, by its number if that is known.
pub(super) fn header(out: &mut Vec<u8>, level: EncryptionLevel, number: Option<u64>) {
    packet_type(out, level);
    if let Some(number) = number {
        out.field("packet_number", number);
    }
    out.push(b'}');
}

/// A short text that is copied whole, as a few words of the processor, and then cut: cheaper than a call
/// of `memcpy`.
#[derive(Debug)]
pub(super) struct Piece<const N: usize> {
    text: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Piece<N> {
    fn default() -> Self {
        Self { text: [b' '; N], len: 0 }
    }
}

impl<const N: usize> Piece<N> {
    /// `None` if the text is too long.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut piece = Self { len: text.len(), ..Self::default() };
        piece.text.get_mut(..text.len())?.copy_from_slice(text);
        Some(piece)
    }

    #[inline(always)]
    pub(super) fn push_to(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.text);
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stream(offset: u64, len: u16, fin: bool) -> TraceFrame {
        TraceFrame::Stream { id: StreamId::from_wire(8), offset, len, fin }
    }

    fn packet(way: Way, number: u64, frames: Vec<TraceFrame>) -> Packet<std::vec::IntoIter<TraceFrame>> {
        Packet { way, level: EncryptionLevel::OneRtt, number, len: 1200, frames: frames.into_iter() }
    }

    #[test]
    fn a_record_that_is_made_of_pieces_is_as_one_that_is_not() {
        let mut packets = Packets::default();
        let sent = |mtu_probe| Way::Sent { mtu_probe };
        // The last two of each kind differ by their numbers only.
        let all = [sent(false), sent(true), Way::Received].into_iter().flat_map(|way| {
            let frames = [stream(0, 1100, false), stream(99, 1100, true), stream(1 << 61, 1100, true)];
            frames.into_iter().enumerate().map(move |(at, frame)| packet(way, 9 * at as u64 * at as u64, vec![frame]))
        });
        for packet in all {
            let (mut kept, mut new) = (Vec::new(), Vec::new());
            packets.write(&packet, 3, &mut kept);
            Packets::default().write(&packet, 3, &mut new);
            assert_eq!(String::from_utf8(kept).unwrap(), String::from_utf8(new).unwrap());
        }
    }

    #[test]
    fn a_record_says_all_of_its_packet() {
        let mut text = Vec::new();
        let frames = vec![TraceFrame::Ping, stream(5, 6, true)];
        Packets::default().write(&packet(Way::Sent { mtu_probe: true }, 70, frames), 3, &mut text);
        let expected = concat!(
            r#"quic:packet_sent","data":{"header":{"packet_type":"1RTT","packet_number":70},"#,
            r#""raw":{"length":1200},"is_mtu_probe_packet":true,"frames":[{"frame_type":"ping"},"#,
            r#"{"frame_type":"stream","stream_id":8,"offset":5,"fin":true,"raw":{"payload_length":6}}]}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let (mut alone, mut kept) = (Vec::new(), Packets::default());
        for _ in 0..2 {
            alone.clear();
            kept.write(&packet(Way::Received, 7, vec![stream(5, 6, false)]), 3, &mut alone);
        }
        let expected = concat!(
            r#"quic:packet_received","data":{"header":{"packet_type":"1RTT","packet_number":7},"#,
            r#""raw":{"payload_length":1200},"#,
            r#""frames":[{"frame_type":"stream","stream_id":8,"offset":5,"raw":{"payload_length":6}}]}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(alone).unwrap(), expected);
    }
}
