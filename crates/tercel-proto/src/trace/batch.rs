//! Events, packed: where much is sent a million of them are told each second, and each crosses from
//! the thread of its connection to another's. What is frequent is a record of some twenty bytes:
//!
//! ```text
//! record = kind (1 byte), nanoseconds since the record before (varint), body
//! body of a packet = number, length (varints), length of its frames (varint), its frames
//! body of figures or of stream data = varints
//! ```
//!
//! Frames are as they stand in the packet, without the data that they carry. What is rare is kept as it
//! is, beside: its record has no body.

use tercel_wire::{EncryptionLevel, Reader, StreamId};

use super::frame::{self, Frames};
use super::{Metrics, TraceEvent};
use crate::time::Time;

/// What a record tells. For packets the level and more are added to it.
mod kind {
    pub(super) const RARE: u8 = 0;
    pub(super) const METRICS: u8 = 1;
    pub(super) const QUEUED: u8 = 2;
    pub(super) const QUEUED_WITH_FIN: u8 = 3;
    pub(super) const CONSUMED: u8 = 4;
    pub(super) const SENT: u8 = 0x10;
    pub(super) const SENT_MTU_PROBE: u8 = 0x20;
    pub(super) const RECEIVED: u8 = 0x30;
}

const LEVELS: [EncryptionLevel; 4] =
    [EncryptionLevel::Initial, EncryptionLevel::ZeroRtt, EncryptionLevel::Handshake, EncryptionLevel::OneRtt];

/// A packet but for its frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) level: EncryptionLevel,
    pub(crate) number: u64,
    pub(crate) len: usize,
}

/// Events of a connection, in the order in which they happened.
#[derive(Debug, Default)]
pub struct Batch {
    packed: Vec<u8>,
    rare: Vec<TraceEvent>,
    count: usize,
    /// The time of the last record.
    last: Time,
    /// The time from which the first record counts.
    start: Time,
}

impl Batch {
    /// How many events there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Empties it. It keeps its place.
    pub fn clear(&mut self) {
        self.packed.clear();
        self.rare.clear();
        self.count = 0;
    }

    /// Copies all events into `other` in place of what is there, and empties this batch.
    ///
    /// What another thread has read is slow to write to, line by line: a batch that is filled event by
    /// event had better stay with one thread, and be copied whole.
    pub(crate) fn move_to(&mut self, other: &mut Self) {
        other.clear();
        other.packed.extend_from_slice(&self.packed);
        other.rare.append(&mut self.rare);
        (other.count, other.start, other.last) = (self.count, self.start, self.last);
        self.clear();
    }

    /// Adds an event, at the time of the last one at the earliest.
    pub fn push(&mut self, now: Time, event: TraceEvent) {
        match event {
            TraceEvent::Metrics(metrics) => {
                self.record(now, kind::METRICS);
                for rtt in [metrics.min_rtt, metrics.smoothed_rtt, metrics.latest_rtt, metrics.rtt_variation] {
                    frame::pack_varint(&mut self.packed, u64::from(rtt));
                }
                for figure in [metrics.congestion_window, metrics.bytes_in_flight, u64::from(metrics.pto_count)] {
                    frame::pack_varint(&mut self.packed, figure);
                }
            }
            TraceEvent::DataQueued { id, len, fin } => {
                self.record(now, if fin { kind::QUEUED_WITH_FIN } else { kind::QUEUED });
                frame::pack_varint(&mut self.packed, id.into_wire());
                frame::pack_varint(&mut self.packed, len);
            }
            TraceEvent::DataConsumed { id, len } => {
                self.record(now, kind::CONSUMED);
                frame::pack_varint(&mut self.packed, id.into_wire());
                frame::pack_varint(&mut self.packed, len);
            }
            other => {
                self.record(now, kind::RARE);
                self.rare.push(other);
            }
        }
    }

    /// Adds a packet that was sent; its frames are packed already.
    pub(crate) fn sent(&mut self, now: Time, packet: Packet, mtu_probe: bool, frames: &[u8]) {
        let kind = if mtu_probe { kind::SENT_MTU_PROBE } else { kind::SENT };
        self.packet(now, kind, packet, frames);
    }

    /// Adds a packet that was received.
    pub(crate) fn received(&mut self, now: Time, packet: Packet, frames: &[u8]) {
        self.packet(now, kind::RECEIVED, packet, frames);
    }

    fn packet(&mut self, now: Time, kind: u8, packet: Packet, frames: &[u8]) {
        let level = LEVELS.iter().position(|level| *level == packet.level).unwrap_or_default();
        self.record(now, kind | level as u8);
        frame::pack_varint(&mut self.packed, packet.number);
        frame::pack_varint(&mut self.packed, packet.len as u64);
        frame::pack_varint(&mut self.packed, frames.len() as u64);
        self.packed.extend_from_slice(frames);
    }

    fn record(&mut self, now: Time, kind: u8) {
        if self.count == 0 {
            (self.start, self.last) = (now, now);
        }
        self.count += 1;
        self.packed.push(kind);
        frame::pack_varint(&mut self.packed, now.as_nanos().saturating_sub(self.last.as_nanos()));
        self.last = self.last.max(now);
    }

    /// All events as they stand here, in order: cheaper than [`events`](Self::events).
    pub fn records(&self) -> Records<'_> {
        Records { reader: Reader::new(&self.packed), rare: self.rare.iter(), now: self.start }
    }

    /// All events, in order.
    pub fn events(&self) -> impl Iterator<Item = (Time, TraceEvent)> {
        self.records().map(|(time, record)| (time, record.into()))
    }
}

/// An event as it stands in a [`Batch`].
#[derive(Debug, Clone)]
pub enum Record<'a> {
    /// A packet was sent or received.
    Packet(PacketRecord<'a>),
    /// Anything else.
    Other(TraceEvent),
}

/// A packet that was sent or received, and its frames, which are read when they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct PacketRecord<'a> {
    /// Where it went.
    pub way: Way,
    /// The protection it has.
    pub level: EncryptionLevel,
    /// Its number.
    pub number: u64,
    /// Of a sent packet its size, of a received one that of its payload, in bytes.
    pub len: u16,
    /// Its frames, without what they carry.
    pub frames: Frames<'a>,
}

/// Where a packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the peer.
    Sent {
        /// It is there to find out whether one of this size arrives.
        mtu_probe: bool,
    },
    /// From the peer.
    Received,
}

impl From<Record<'_>> for TraceEvent {
    fn from(record: Record<'_>) -> Self {
        match record {
            Record::Packet(PacketRecord { way: Way::Sent { mtu_probe }, level, number, len, frames }) => {
                Self::PacketSent { level, number, len, mtu_probe, frames: frames.collect() }
            }
            Record::Packet(PacketRecord { way: Way::Received, level, number, len, frames }) => {
                Self::PacketReceived { level, number, len, frames: frames.collect() }
            }
            Record::Other(event) => event,
        }
    }
}

/// Yields the events of a [`Batch`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    reader: Reader<'a>,
    rare: std::slice::Iter<'a, TraceEvent>,
    now: Time,
}

impl<'a> Records<'a> {
    /// The next event. Nothing is wrong with what was packed here: an error is an end.
    #[inline]
    fn read(&mut self) -> Option<Record<'a>> {
        let reader = &mut self.reader;
        let kind = reader.u8().ok()?;
        let passed = reader.varint().ok()?;
        self.now = Time::from_nanos(self.now.as_nanos().saturating_add(passed));
        if kind < kind::SENT {
            return self.read_other(kind).map(Record::Other);
        }
        Some(Record::Packet(PacketRecord {
            way: match kind & 0xf0 {
                kind::RECEIVED => Way::Received,
                sent => Way::Sent { mtu_probe: sent == kind::SENT_MTU_PROBE },
            },
            level: *LEVELS.get(usize::from(kind & 0x0f))?,
            number: reader.varint().ok()?,
            len: reader.varint().ok()? as u16,
            frames: Frames::new(reader.length_prefixed().ok()?),
        }))
    }

    fn read_other(&mut self, kind: u8) -> Option<TraceEvent> {
        let reader = &mut self.reader;
        Some(match kind {
            kind::METRICS => {
                let mut rtt = || reader.varint().ok().and_then(|rtt| u32::try_from(rtt).ok());
                let (min_rtt, smoothed_rtt, latest_rtt, rtt_variation) = (rtt()?, rtt()?, rtt()?, rtt()?);
                TraceEvent::Metrics(Metrics {
                    min_rtt,
                    smoothed_rtt,
                    latest_rtt,
                    rtt_variation,
                    congestion_window: reader.varint().ok()?,
                    bytes_in_flight: reader.varint().ok()?,
                    pto_count: u32::try_from(reader.varint().ok()?).ok()?,
                })
            }
            kind::QUEUED | kind::QUEUED_WITH_FIN => {
                let (id, len) = (StreamId::from_wire(reader.varint().ok()?), reader.varint().ok()?);
                TraceEvent::DataQueued { id, len, fin: kind == kind::QUEUED_WITH_FIN }
            }
            kind::CONSUMED => {
                let (id, len) = (StreamId::from_wire(reader.varint().ok()?), reader.varint().ok()?);
                TraceEvent::DataConsumed { id, len }
            }
            _ => self.rare.next()?.clone(),
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Time, Record<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let record = self.read()?;
        Some((self.now, record))
    }
}

#[cfg(test)]
mod tests;
