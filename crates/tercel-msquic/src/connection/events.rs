//! What is told of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tercel::{CloseReason, ConnectionEvent, ConnectionHandler, ConnectionStats, DatagramSendState, NewStream, Role};

use super::{Connection, elsewhere};
use crate::abi::{
    self, Buffer, ConnectionEventBody, DatagramReceived, DatagramSendStateChanged, DatagramStateChanged,
    IdealProcessorChanged, NetworkStatistics, OneWayDelayNegotiated, PeerStreamStarted, ShutdownByTransport, Status,
    StreamsAvailable, TicketReceived, connection_event as kind, datagram_send_state as datagram, settings::flags,
};
use crate::address;
use crate::boundary::Context;
use crate::outcome::of_end;
use crate::stream::Stream;

/// Hears a connection of Tercel's.
pub(super) struct Events {
    connection: Arc<Connection>,
    /// The object knows its connection.
    begun: bool,
    /// It came in at the gate for a turn.
    came_in: bool,
}

impl Events {
    pub(super) const fn new(connection: Arc<Connection>) -> Self {
        Self { connection, begun: false, came_in: false }
    }
}

impl Drop for Events {
    /// The last event has been told; or the workers have ended without it, or it was never taken on.
    fn drop(&mut self) {
        self.turn_ends();
        if !self.connection.is_over() && self.begun {
            let connection = self.connection.clone();
            elsewhere(move || connection.settle(CloseReason::Silent));
        }
    }
}

impl ConnectionHandler for Events {
    fn event(&mut self, live: &tercel::Connection, event: ConnectionEvent<'_>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.connection.begin(live);
            if self.connection.role == Role::Server {
                // Which it is was settled with the first packet, before anybody could be told.
                self.connection.tell_processor(live.worker());
            }
        }
        match event {
            // As most are.
            ConnectionEvent::PeerStreamStarted(new) => self.connection.peer_stream(live, new),
            event => self.connection.heard(live, event),
        }
    }

    fn turn_begins(&mut self) {
        self.came_in |= self.connection.gate.begin_turn();
    }

    fn turn_ends(&mut self) {
        if std::mem::take(&mut self.came_in) {
            self.connection.gate.end_turn();
        }
    }
}

impl Connection {
    fn heard(self: &Arc<Self>, live: &tercel::Connection, event: ConnectionEvent<'_>) {
        match event {
            ConnectionEvent::PeerCertificate { certificate, verdict } => self.certificate(&certificate, verdict),
            ConnectionEvent::Connected { alpn, resumed, .. } => self.connected(live, alpn, resumed),
            ConnectionEvent::StreamsAvailable { bidirectional, unidirectional } => {
                let clamp = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
                let streams_available = StreamsAvailable {
                    bidirectional_count: clamp(bidirectional),
                    unidirectional_count: clamp(unidirectional),
                };
                self.tell(kind::STREAMS_AVAILABLE, ConnectionEventBody { streams_available });
            }
            ConnectionEvent::PeerNeedsStreams(direction) => {
                let peer_needs_streams = (direction == tercel::Direction::Bidirectional).into();
                self.tell(kind::PEER_NEEDS_STREAMS, ConnectionEventBody { peer_needs_streams });
            }
            ConnectionEvent::Network { stats, posted, ideal } => self.tell_network(stats, posted, ideal),
            ConnectionEvent::DatagramReceived(data) => self.datagram_received(live, &data),
            ConnectionEvent::DatagramStateChanged { max_size } => {
                let datagram_state_changed = DatagramStateChanged {
                    send_enabled: max_size.is_some().into(),
                    max_send_length: max_size.map_or(0, |size| u16::try_from(size).unwrap_or(u16::MAX)),
                };
                self.tell(kind::DATAGRAM_STATE_CHANGED, ConnectionEventBody { datagram_state_changed });
            }
            ConnectionEvent::DatagramSendStateChanged { context, state } => self.datagram_sent(context, state),
            ConnectionEvent::PeerAddressChanged(address) => self.moved(kind::PEER_ADDRESS_CHANGED, address),
            ConnectionEvent::LocalAddressChanged(address) => self.moved(kind::LOCAL_ADDRESS_CHANGED, address),
            ConnectionEvent::ResumptionTicket(ticket) => {
                let bytes = ticket.to_bytes();
                let resumption_ticket_received = TicketReceived {
                    resumption_ticket_length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                    resumption_ticket: bytes.as_ptr(),
                };
                self.tell(kind::RESUMPTION_TICKET_RECEIVED, ConnectionEventBody { resumption_ticket_received });
            }
            ConnectionEvent::ShutdownInitiatedByPeer { code, .. } => {
                let body = ConnectionEventBody { shutdown_initiated_by_peer: code.into_inner() };
                self.tell(kind::SHUTDOWN_INITIATED_BY_PEER, body);
            }
            ConnectionEvent::ShutdownInitiatedByTransport { reason } => {
                let (status, code) = of_end(reason);
                self.tell_transport_shutdown(status, code);
            }
            ConnectionEvent::ShutdownComplete { reason, .. } => self.settle(reason.clone()),
            _ => {}
        }
    }

    pub(super) fn tell_transport_shutdown(self: &Arc<Self>, status: Status, error_code: u64) {
        let shutdown_initiated_by_transport = ShutdownByTransport { status, error_code };
        self.tell(kind::SHUTDOWN_INITIATED_BY_TRANSPORT, ConnectionEventBody { shutdown_initiated_by_transport });
    }

    fn connected(self: &Arc<Self>, live: &tercel::Connection, alpn: &[u8], resumed: bool) {
        {
            let mut state = self.state();
            (state.connected, state.resumed) = (true, resumed);
        }
        self.write_secrets(live);
        let settings = self.settings();
        if settings.flags & (flags::RELIABLE_RESET_ENABLED | flags::ONE_WAY_DELAY_ENABLED) != 0 {
            self.tell_negotiated(live, settings.flags);
        }
        let connected = abi::Connected {
            session_resumed: resumed.into(),
            negotiated_alpn_length: alpn.len() as u8,
            negotiated_alpn: alpn.as_ptr(),
        };
        self.tell(kind::CONNECTED, ConnectionEventBody { connected });
    }

    /// Tells which extensions the two ends have in common.
    fn tell_negotiated(self: &Arc<Self>, live: &tercel::Connection, wanted: u64) {
        let found = Arc::new(std::sync::Mutex::new((false, 0)));
        let result = found.clone();
        // In a handler it is run at once.
        let _ = live.inspect(move |look| {
            if let (Some(peer), Ok(mut result)) = (look.peer_parameters(), result.lock()) {
                *result = (peer.reset_stream_at || peer.reliable_reset, peer.enable_timestamp);
            }
        });
        let (reliable, delay) = found.lock().map_or((false, 0), |found| *found);
        if wanted & flags::RELIABLE_RESET_ENABLED != 0 {
            let body = ConnectionEventBody { reliable_reset_negotiated: reliable.into() };
            self.tell(kind::RELIABLE_RESET_NEGOTIATED, body);
        }
        if wanted & flags::ONE_WAY_DELAY_ENABLED != 0 {
            // Bit 0: the peer wants timestamps; bit 1: it sends them.
            let one_way_delay_negotiated = OneWayDelayNegotiated {
                send_negotiated: (delay & 1) as u8,
                receive_negotiated: (delay >> 1 & 1) as u8,
            };
            self.tell(kind::ONE_WAY_DELAY_NEGOTIATED, ConnectionEventBody { one_way_delay_negotiated });
        }
    }

    /// Tells how the network does.
    fn tell_network(self: &Arc<Self>, stats: &ConnectionStats, posted_bytes: u64, ideal_bytes: u64) {
        let small = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let micros = u64::try_from(stats.rtt.as_micros()).unwrap_or(u64::MAX);
        let network_statistics = NetworkStatistics {
            bytes_in_flight: small(stats.bytes_in_flight),
            posted_bytes,
            ideal_bytes,
            smoothed_rtt: micros,
            congestion_window: small(stats.congestion_window),
            bandwidth: stats.congestion_window.saturating_mul(1_000_000) / micros.max(1),
        };
        self.tell(kind::NETWORK_STATISTICS, ConnectionEventBody { network_statistics });
    }

    /// Tells which processor has the connection.
    fn tell_processor(self: &Arc<Self>, worker: usize) {
        let number = u16::try_from(worker).unwrap_or(u16::MAX);
        let ideal_processor_changed = IdealProcessorChanged { ideal_processor: number, partition_index: number };
        self.tell(kind::IDEAL_PROCESSOR_CHANGED, ConnectionEventBody { ideal_processor_changed });
    }

    fn moved(self: &Arc<Self>, event: u32, to: SocketAddr) {
        let address = address::write(to);
        self.tell(event, ConnectionEventBody { address_changed: &raw const address });
    }

    fn peer_stream(self: &Arc<Self>, live: &tercel::Connection, new: NewStream) {
        let unidirectional = new.direction() == tercel::Direction::Unidirectional;
        let early = new.is_early();
        // If there is no room for it, it is refused.
        // SAFETY: it is used until this returns, which tells of it.
        let Some(stream) = (unsafe { Stream::of_peer(self, new) }) else { return };
        let mut flags = if unidirectional { abi::stream_open::UNIDIRECTIONAL } else { 0 };
        if early {
            flags |= abi::stream_open::ZERO_RTT;
        }
        let peer_stream_started = PeerStreamStarted { stream: stream.handle(), flags };
        let body = ConnectionEventBody { peer_stream_started };
        let mut event = abi::ConnectionEvent { event_type: kind::PEER_STREAM_STARTED, body };
        let status = stream.while_offered(|| self.tell_of(Some(&stream), &mut event));
        // SAFETY: this part of the union was written above; the application may have changed it.
        let flags = unsafe { event.body.peer_stream_started.flags };
        if status.is_failure() || !stream.has_handler() {
            Stream::refuse(stream.handle());
        } else if flags & abi::stream_open::DELAY_ID_FC_UPDATES != 0 {
            stream.hold(live);
        }
    }

    fn datagram_received(self: &Arc<Self>, live: &tercel::Connection, data: &Bytes) {
        let early = Arc::new(AtomicBool::new(false));
        let found = early.clone();
        let may_be = self.role == Role::Server && {
            let state = self.state();
            state.resumed || !state.connected
        };
        if may_be {
            // In a handler it is run at once.
            let _ = live.inspect(move |look| found.store(look.is_datagram_early(), Ordering::Relaxed));
        }
        let buffer = Buffer { length: data.len() as u32, buffer: data.as_ptr().cast_mut() };
        let flags = if early.load(Ordering::Relaxed) { abi::receive::ZERO_RTT } else { 0 };
        let datagram_received = DatagramReceived { buffer: &raw const buffer, flags };
        self.tell(kind::DATAGRAM_RECEIVED, ConnectionEventBody { datagram_received });
    }

    fn datagram_sent(self: &Arc<Self>, number: u64, state: DatagramSendState) {
        let told = match state {
            DatagramSendState::Sent => datagram::SENT,
            DatagramSendState::LostSuspect => datagram::LOST_SUSPECT,
            DatagramSendState::LostDiscarded => datagram::LOST_DISCARDED,
            DatagramSendState::Acknowledged => datagram::ACKNOWLEDGED,
            DatagramSendState::AcknowledgedSpurious => datagram::ACKNOWLEDGED_SPURIOUS,
            _ => datagram::CANCELED,
        };
        // Told and forgotten in one: who settles the connection from another thread would tell it again.
        let _pass = self.gate.enter();
        let context = match told >= datagram::LOST_DISCARDED {
            // Forgotten first: who closes the connection within the callback would be told again.
            true => self.state().datagrams.remove(&number),
            false => self.state().datagrams.get(&number).copied(),
        };
        let Some(context) = context else { return };
        let context = self.tell_datagram(context, told);
        if let Some(kept) = self.state().datagrams.get_mut(&number) {
            *kept = context;
        }
    }

    /// Tells what became of a datagram; gives the context that the application wants from now on.
    pub(super) fn tell_datagram(self: &Arc<Self>, context: Context, state: u32) -> Context {
        let datagram_send_state_changed = DatagramSendStateChanged { client_context: context.0, state };
        let body = ConnectionEventBody { datagram_send_state_changed };
        let (_, body) = self.tell(kind::DATAGRAM_SEND_STATE_CHANGED, body);
        // SAFETY: this part of the union was written above; the application may have changed it.
        Context(unsafe { body.datagram_send_state_changed.client_context })
    }

    /// Tells SHUTDOWN_COMPLETE, as the last event.
    pub(super) fn tell_complete(self: &Arc<Self>, handshake_completed: bool, acknowledged: bool) {
        let _pass = self.gate.enter();
        // From now on, that is also in this callback, nothing more is told.
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        let closing = self.closing.load(Ordering::Acquire);
        let bits = u8::from(handshake_completed) | u8::from(acknowledged) << 1 | u8::from(closing) << 2;
        if self.owned.load(Ordering::Acquire) {
            let body = ConnectionEventBody { shutdown_complete: bits };
            self.call(None, &mut abi::ConnectionEvent { event_type: kind::SHUTDOWN_COMPLETE, body });
        }
        self.drop_spares();
    }
}
