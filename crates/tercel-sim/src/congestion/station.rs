//! A host for bulk transfers: a sender with more data than it can send, or a receiver with a meter at
//! its door.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use tercel_proto::connection::{Connection, Event, Read};
use tercel_proto::stream::StreamEvent;
use tercel_proto::time::Time;
use tercel_wire::{Direction, StreamId};

use super::Path;
use crate::host::{Application, Endpoint};
use crate::network::{Datagram, HEADERS};
use crate::world::Host;

/// What is sent, again and again.
static BLOCK: [u8; 1 << 16] = [0x55; 1 << 16];

/// Sends on one stream without end, or reads whatever comes.
#[derive(Debug)]
pub(super) struct Bulk {
    /// How many bytes may be written and not acknowledged; `None` for a receiver.
    window: Option<u64>,
    stream: Option<StreamId>,
    written: u64,
    pub(super) acked: u64,
    readable: bool,
    /// How many bytes were read, in order.
    pub(super) read: u64,
}

impl Bulk {
    pub(super) const fn sender(window: u64) -> Self {
        Self { window: Some(window), stream: None, written: 0, acked: 0, readable: false, read: 0 }
    }

    pub(super) const fn receiver() -> Self {
        Self { window: None, stream: None, written: 0, acked: 0, readable: false, read: 0 }
    }

    fn write(&mut self, connection: &mut Connection) -> bool {
        let (Some(window), Some(stream)) = (self.window, self.stream) else { return false };
        let mut busy = false;
        while self.written - self.acked < window {
            assert_eq!(connection.send(stream, Bytes::from_static(&BLOCK), false), Ok(()));
            self.written += BLOCK.len() as u64;
            busy = true;
        }
        busy
    }

    fn read_all(&mut self, now: Time, connection: &mut Connection) -> bool {
        let Some(stream) = self.stream.filter(|_| std::mem::take(&mut self.readable)) else { return false };
        while let Ok(Read::Data(data)) = connection.read(stream, usize::MAX) {
            self.read += data.len() as u64;
            connection.consumed(now, stream, data.len() as u64);
        }
        true
    }
}

impl Application for Bulk {
    fn event(&mut self, _: Time, connection: &mut Connection, event: &Event) {
        match event {
            Event::Connected(_) if self.window.is_some() => {
                self.stream = connection.open_stream(Direction::Unidirectional).ok();
                assert!(self.stream.is_some(), "no stream may be opened");
            }
            Event::Stream(StreamEvent::Opened(id) | StreamEvent::Readable(id)) => {
                (self.stream, self.readable) = (Some(*id), true);
            }
            Event::Stream(StreamEvent::Acked { offset, .. }) => self.acked = *offset,
            Event::Closing(reason) => panic!("a bulk transfer failed: {reason:?}"),
            _ => {}
        }
    }

    fn act(&mut self, now: Time, connection: &mut Connection) -> bool {
        if self.window.is_some() { self.write(connection) } else { self.read_all(now, connection) }
    }
}

/// Counts what arrives, by flow, and how long it has waited in the queue.
#[derive(Debug)]
pub(super) struct Meter {
    path: Path,
    senders: Vec<IpAddr>,
    /// Bytes that arrived of each flow, with the headers of IP and UDP.
    pub(super) arrived: Vec<u64>,
    /// The longest wait since it was last asked, the sum of all, and their number.
    pub(super) longest: Duration,
    pub(super) sum: Duration,
    pub(super) count: u32,
    /// How many arrived with a CE mark.
    pub(super) marked: u32,
}

impl Meter {
    pub(super) fn new(path: Path, senders: Vec<IpAddr>) -> Self {
        let arrived = vec![0; senders.len()];
        Self { path, senders, arrived, longest: Duration::ZERO, sum: Duration::ZERO, count: 0, marked: 0 }
    }

    fn note(&mut self, now: Time, datagram: &Datagram) {
        let len = (datagram.data.len() + HEADERS) as u64;
        let Some(flow) = self.senders.iter().position(|sender| *sender == datagram.from.ip()) else { return };
        self.arrived[flow] += len;
        let sending = Duration::from_nanos(len * 1_000_000_000 / self.path.rate);
        let wait = now.since(datagram.sent).saturating_sub(self.path.rtt / 2 + sending);
        self.longest = self.longest.max(wait);
        self.sum += wait;
        self.count += 1;
        self.marked += u32::from(datagram.ecn == tercel_proto::path::Ecn::Ce);
    }

    /// Begins anew, but for the bytes.
    pub(super) const fn reset(&mut self) {
        (self.longest, self.sum, self.count, self.marked) = (Duration::ZERO, Duration::ZERO, 0, 0);
    }
}

/// A host, and perhaps its meter.
pub(super) struct Station {
    pub(super) endpoint: Endpoint<Bulk>,
    pub(super) meter: Option<Meter>,
}

impl Host for Station {
    fn receive(&mut self, now: Time, datagram: Datagram) {
        if let Some(meter) = &mut self.meter {
            meter.note(now, &datagram);
        }
        self.endpoint.receive(now, datagram);
    }

    fn turn(&mut self, now: Time, out: &mut Vec<Datagram>) -> Option<Time> {
        self.endpoint.turn(now, out)
    }
}
