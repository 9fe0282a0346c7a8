//! One end: a connection, the line of datagrams that lead to it, and all that its driver and its
//! application know.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tercel_proto::config::{ConnectionIdIssuer, TransportConfig};
use tercel_proto::connection::{Connection, Datagram, Event, Read, RouteChange, Shared};
use tercel_proto::entropy::Entropy;
use tercel_proto::path::{Ecn, PathAddress};
use tercel_proto::stream::StreamEvent;
use tercel_proto::time::Time;
use tercel_sim::host::Grammar;
use tercel_wire::{ConnectionId, ResetToken, Role, StreamId};

/// The length of all connection IDs made here.
pub const CID_LEN: usize = 8;
/// So many datagrams wait in a line at most; what comes then is lost.
const MAX_LINE: usize = 64;
/// So many sends may follow one call.
const MAX_TRANSMITS: usize = 2_000;
/// So many events may follow one call.
const MAX_EVENTS: usize = 5_000;

struct Issuer;

impl ConnectionIdIssuer for Issuer {
    fn issue(&mut self, entropy: &mut Entropy) -> (ConnectionId, ResetToken) {
        let id: [u8; CID_LEN] = entropy.array();
        (ConnectionId::new(&id).expect("8 bytes"), ResetToken(entropy.array()))
    }

    fn len(&self) -> usize {
        CID_LEN
    }
}

/// A datagram under way.
#[derive(Debug, Clone)]
pub struct Wire {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ecn: Ecn,
    pub data: Vec<u8>,
}

/// The addresses of an end: few, so that they come again.
pub fn address(role: Role, number: u8) -> SocketAddr {
    let host = if role == Role::Client { 1 } else { 2 };
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, host, number % 4)), 4000 + u16::from(number % 3))
}

/// One end.
pub struct End {
    pub role: Role,
    pub connection: Option<Connection>,
    pub grammar: Grammar,
    /// What is under way to it.
    pub line: VecDeque<Wire>,
    /// The connection IDs and tokens by which its driver finds it.
    pub ids: Vec<ConnectionId>,
    pub tokens: Vec<ResetToken>,
    /// The streams that its application knows.
    pub streams: Vec<StreamId>,
    pub deadline: Option<Time>,
    /// Whether the application is to answer a ClientHello.
    pub asked: bool,
    reads: bool,
    buf: Vec<u8>,
}

impl End {
    pub fn new(role: Role, reads: bool) -> Self {
        Self {
            role,
            connection: None,
            grammar: Grammar::default(),
            line: VecDeque::new(),
            ids: Vec::new(),
            tokens: Vec::new(),
            streams: Vec::new(),
            deadline: None,
            asked: false,
            reads,
            buf: vec![0; 1 << 13],
        }
    }

    /// Whether it had a connection that is over.
    pub fn is_over(&self) -> bool {
        self.grammar.is_over()
    }

    pub fn shared(&self, run: u8) -> Shared {
        let transport = TransportConfig {
            max_idle_timeout: std::time::Duration::from_secs(5),
            stream_receive_window: 8 << 10,
            max_stream_receive_window: 32 << 10,
            receive_window: 32 << 10,
            max_receive_window: 64 << 10,
            max_bidi_streams: 8,
            max_uni_streams: 8,
            max_datagram_frame_size: 1200,
            datagram_send_buffer: 16 << 10,
            crypto_buffer: 16 << 10,
            parked_bytes: 16 << 10,
            active_connection_id_limit: 4,
            ack_frequency: true,
            report_addresses: true,
            learn_address: true,
            one_way_delay: true,
            ..TransportConfig::default()
        };
        let seed = [run ^ self.role as u8 ^ 0x55; 32];
        Shared { transport: Arc::new(transport), issuer: Box::new(Issuer), entropy: Entropy::from_seed(seed) }
    }

    pub fn receive(&mut self, now: Time, wire: &Wire) {
        let Some(connection) = &mut self.connection else { return };
        let path = PathAddress { remote: wire.from, local: Some(wire.to) };
        connection.receive(now, Datagram { path, ecn: wire.ecn, data: BytesMut::from(&wire.data[..]) });
    }

    /// The stream that a byte of the program means.
    pub fn stream(&self, number: u8) -> StreamId {
        let known = self.streams.get(usize::from(number)).copied();
        known.unwrap_or(StreamId::from_wire(u64::from(number.wrapping_sub(self.streams.len() as u8))))
    }

    /// The four polls, in their order. What is to be sent comes back.
    pub fn poll(&mut self, now: Time) -> Vec<Wire> {
        let Some(mut connection) = self.connection.take() else { return Vec::new() };
        self.poll_routes(&mut connection);
        self.poll_events(now, &mut connection);
        let sent = self.poll_transmits(now, &mut connection);
        self.deadline = connection.poll_timeout();
        if self.is_over() {
            assert!(sent.is_empty() || connection.close_reason().is_some());
            assert_eq!(self.deadline, None, "a closed connection wants to be called again");
            self.poll_after_the_end(now, connection);
        } else {
            self.connection = Some(connection);
        }
        sent
    }

    fn poll_routes(&mut self, connection: &mut Connection) {
        while let Some(change) = connection.poll_route() {
            match change {
                RouteChange::Add(id) => self.ids.push(id),
                RouteChange::Remove(id) => self.ids.retain(|known| *known != id),
                RouteChange::AddResetToken(token) => self.tokens.push(token),
                RouteChange::RemoveResetToken(token) => self.tokens.retain(|known| *known != token),
            }
        }
        // RFC 9000 section 5.1.1: no more than the peer keeps, and those whose end is under way.
        assert!(self.ids.len() <= 32, "{} connection IDs", self.ids.len());
        assert!(self.tokens.len() <= 32, "{} reset tokens", self.tokens.len());
    }

    fn poll_events(&mut self, now: Time, connection: &mut Connection) {
        for count in 0.. {
            assert!(count < MAX_EVENTS, "events without end");
            let Some(event) = connection.poll_event() else { break };
            self.grammar.check(&event);
            match event {
                Event::ClientHello(_) => self.asked = true,
                Event::Stream(StreamEvent::Opened(id)) => {
                    assert_ne!(id.initiator(), self.role, "the peer opened {id:?}, which is ours");
                    self.streams.push(id);
                }
                Event::Stream(StreamEvent::Closed(id)) => self.streams.retain(|known| *known != id),
                Event::Stream(StreamEvent::Readable(id)) if self.reads => read_all(now, connection, id),
                _ => {}
            }
        }
    }

    fn poll_transmits(&mut self, now: Time, connection: &mut Connection) -> Vec<Wire> {
        let mut sent = Vec::new();
        for count in 0.. {
            assert!(count < MAX_TRANSMITS, "sends without end");
            let Some(transmit) = connection.poll_transmit(now, 4, &mut self.buf) else { break };
            let size = transmit.segment_size.unwrap_or(transmit.len);
            assert!(transmit.len > 0 && transmit.len <= self.buf.len(), "{transmit:?}");
            assert!(size > 0 && size <= 1472 && transmit.len.div_ceil(size) <= 4, "{transmit:?}");
            let from = transmit.path.local.unwrap_or(address(self.role, 0));
            for data in self.buf[..transmit.len].chunks(size) {
                sent.push(Wire { from, to: transmit.path.remote, ecn: transmit.ecn, data: data.to_vec() });
            }
        }
        sent
    }

    /// After [`Event::Closed`] nothing comes, whatever is asked.
    fn poll_after_the_end(&mut self, now: Time, mut connection: Connection) {
        connection.timeout(now + std::time::Duration::from_secs(100));
        connection.ping();
        connection.close(now, 1u32.into(), Bytes::new());
        assert!(connection.poll_route().is_none(), "a route after the end");
        assert!(connection.poll_event().is_none(), "an event after the end");
        assert!(connection.poll_transmit(now, 4, &mut self.buf).is_none(), "a datagram after the end");
        assert!(connection.poll_timeout().is_none(), "a timeout after the end");
    }

    /// A datagram joins the line, if there is room.
    pub fn enqueue(&mut self, wire: Wire) {
        if self.line.len() < MAX_LINE {
            self.line.push_back(wire);
        }
    }

    /// The place in the line that a byte of the program means.
    pub fn place(&self, nth: u8) -> Option<usize> {
        usize::from(nth).checked_rem(self.line.len())
    }
}

fn read_all(now: Time, connection: &mut Connection, id: StreamId) {
    while let Ok(Read::Data(data)) = connection.read(id, 4096) {
        assert!(!data.is_empty(), "no bytes of {id:?}");
        connection.consumed(now, id, data.len() as u64);
    }
}
