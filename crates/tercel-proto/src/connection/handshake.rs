//! The handshake: CRYPTO bytes to TLS, and what comes out of TLS to its places.

use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tercel_wire::packet::retry::RetryPacket;
use tercel_wire::packet::version_negotiation::VersionNegotiationPacket;
use tercel_wire::transport_parameters::AddressDiscovery;
use tercel_wire::{
    ConnectionId, EncryptionLevel, Role, SpaceId, TransportErrorCode, TransportParameters, Version, client_hello,
};

use super::event::{ClientHello, Connected};
use super::receive::{Dropped, Outcome};
use super::{Connection, Event, ServerAccept};
use crate::close::HandshakeState;
use crate::config::TransportConfig;
use crate::entropy::Entropy;
use crate::error::{ApiMisuse, CloseReason, Violation};
use crate::frames::SentFrame;
use crate::keys::{self, OneRttKeys};
use crate::recovery::{GRANULARITY, OneWayDelay, Progress, Recovery, one_way};
use crate::space::{AckPolicy, AckRequest, HandshakeSpace, PacketNumberSpace, Parked, Spaces};
use crate::stateless::retry;
use crate::time::Time;
use crate::tls::{self, Output, alert};
use crate::version::Negotiation;

/// Where TLS stands.
pub(super) enum Tls {
    /// Server: the ClientHello is not whole.
    AwaitHello(Vec<u8>),
    /// Server: it is, and the application is to decide on it.
    AwaitDecision(Vec<u8>),
    /// The handshake is under way, or complete.
    Running(Box<tls::Handshake>),
    /// Server: it is complete, and TLS is needed no more.
    Over(Box<tls::Agreed>),
}

/// What the handshake must remember.
pub(super) struct Handshake {
    pub(super) tls: Tls,
    pub(super) state: HandshakeState,
    pub(super) started: Time,
    /// The destination connection ID that the Initial keys follow from.
    pub(super) initial_dcid: ConnectionId,
    /// The destination connection ID of the client's very first packet.
    pub(super) original_dcid: ConnectionId,
    /// Our first source connection ID.
    pub(super) local_scid: ConnectionId,
    /// The peer's, once it has sent a packet.
    pub(super) peer_scid: Option<ConnectionId>,
    /// The source connection ID of the Retry that was sent (server) or received (client).
    pub(super) retry_scid: Option<ConnectionId>,
    /// Client: the token for Initial packets.
    pub(super) token: Bytes,
    /// Client: whether early data was offered.
    pub(super) early_offered: bool,
    /// Client: whether the server is known to have validated our address.
    pub(super) peer_validated: bool,
    /// Server: whether HANDSHAKE_DONE, and NEW_TOKEN with this token, are to be sent.
    pub(super) done_due: bool,
    pub(super) new_token: Bytes,
    pub(super) new_token_due: bool,
    /// Server: the window of the path that was told last ([`Event::PathObserved`]).
    pub(super) told_window: u64,
    /// Whether the peer's parameters are known, and not only remembered.
    pub(super) parameters_known: bool,
    /// Whether 0-RTT packets, and Handshake packets, were sent.
    pub(super) early_sent: bool,
    pub(super) handshake_sent: bool,
    /// Whether the handshake was sped up, which is done once.
    pub(super) sped_up: bool,
    /// The name of the server as the client calls it.
    pub(super) server_name: Option<String>,
    /// When an awaited verdict comes too late, if there is a limit of its own.
    pub(super) verdict_deadline: Option<Time>,
    /// Client, until the server is heard: what it needs to begin anew.
    pub(super) again: Option<Box<Again>>,
}

/// What a client needs to begin anew.
pub(super) struct Again {
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

impl Handshake {
    /// Lets go of room that is not in use, and if all that was sent is `settled` of what will not be sent again.
    pub(super) fn rest(&mut self, settled: bool) {
        if settled && !self.new_token_due {
            self.new_token = Bytes::new();
        }
        if let Tls::Running(tls) = &mut self.tls {
            tls.rest();
        }
    }

    /// At its start.
    pub(super) const fn new(now: Time, tls: Tls, initial_dcid: ConnectionId, local_scid: ConnectionId) -> Self {
        Self {
            tls,
            state: HandshakeState::Incomplete,
            started: now,
            initial_dcid,
            original_dcid: initial_dcid,
            local_scid,
            peer_scid: None,
            retry_scid: None,
            token: Bytes::new(),
            early_offered: false,
            peer_validated: false,
            done_due: false,
            new_token: Bytes::new(),
            new_token_due: false,
            told_window: 0,
            parameters_known: false,
            early_sent: false,
            handshake_sent: false,
            sped_up: false,
            server_name: None,
            verdict_deadline: None,
            again: None,
        }
    }

    /// Whether 1-RTT packets must wait although there may be keys for them.
    pub(super) const fn withholds_one_rtt(&self) -> bool {
        matches!(&self.tls, Tls::Running(tls) if tls.withholds_one_rtt())
    }
}

/// Our transport parameters, as far as they follow from the settings.
pub(super) fn parameters(config: &TransportConfig, scid: ConnectionId) -> TransportParameters {
    TransportParameters {
        max_idle_timeout: config.max_idle_timeout.as_millis() as u64,
        max_udp_payload_size: config.max_udp_payload_size.max(1200).into(),
        initial_max_data: config.receive_window,
        initial_max_stream_data_bidi_local: config.stream_receive_window,
        initial_max_stream_data_bidi_remote: config.stream_receive_window,
        initial_max_stream_data_uni: config.stream_receive_window,
        initial_max_streams_bidi: config.max_bidi_streams.min(1 << 60),
        initial_max_streams_uni: config.max_uni_streams.min(1 << 60),
        // RFC 9000 section 18.2#2: no timer is finer than that.
        max_ack_delay: ((config.max_ack_delay + GRANULARITY).as_millis() as u64).min((1 << 14) - 1),
        active_connection_id_limit: config.active_connection_id_limit.max(2),
        max_datagram_frame_size: config.max_datagram_frame_size.into(),
        // RFC 9000 section 5.2.3#1.
        disable_active_migration: !config.migration,
        address_discovery: AddressDiscovery::of(config.report_addresses, config.learn_address),
        enable_timestamp: if config.one_way_delay { one_way::BOTH } else { 0 },
        reset_stream_at: config.reset_stream_at,
        reliable_reset: config.reset_stream_at,
        min_ack_delay: Some(AckPolicy::min_delay(config.max_ack_delay).as_micros() as u64),
        grease_quic_bit: config.grease,
        initial_source_connection_id: Some(scid),
        ..TransportParameters::default()
    }
}

/// The bytes of parameters, with what is said of versions; and with a reserved one, to keep peers used to
/// unknown ones, if the settings say so.
pub(super) fn encode(
    parameters: TransportParameters,
    versions: &Negotiation,
    config: &TransportConfig,
    entropy: &mut Entropy,
) -> Vec<u8> {
    let [a, b, c, value @ ..] = entropy.array::<7>();
    let reserved = (u32::from_be_bytes([0, a, b, c]), &value[..]);
    let information = versions.information(config.grease.then_some(entropy));
    let parameters = TransportParameters { version_information: Some(information), ..parameters };
    parameters.encode(config.grease.then_some(reserved))
}

/// A connection ID for a server that has not told its own. RFC 9000 section 7.2: at least 8 unpredictable
/// bytes.
// RFC 9000 section 7.2#1.
pub(super) fn made_up_id(entropy: &mut Entropy) -> ConnectionId {
    let made_up: [u8; 8] = entropy.array();
    ConnectionId::new(&made_up).unwrap_or(ConnectionId::EMPTY)
}

impl Connection {
    pub(super) fn on_crypto(
        &mut self,
        now: Time,
        level: EncryptionLevel,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Violation> {
        let Some(numbers) = self.spaces.get_mut(level.space()) else { return Ok(()) };
        self.versions.settle();
        if self.role == Role::Server
            && level == EncryptionLevel::Initial
            && numbers.crypto.has_received(offset + data.len() as u64)
        {
            self.speed_up_handshake();
            return Ok(());
        }
        numbers.crypto.receive(offset, data)?;
        while let Some(bytes) = self.spaces.get_mut(level.space()).and_then(|numbers| numbers.crypto.read()) {
            match &mut self.handshake.tls {
                Tls::AwaitHello(hello) | Tls::AwaitDecision(hello) => hello.extend_from_slice(&bytes),
                Tls::Running(tls) => tls.feed(level, &bytes)?,
                Tls::Over(_) => return Err(tls::UNEXPECTED),
            }
        }
        self.check_hello()?;
        self.drive_tls(now)
    }

    /// RFC 9002 section 6.2.3: the peer says something again, or what it says cannot be read yet: so it, or
    /// we, lack what was said before. It is said again without waiting for the probe timeout, once, and
    /// only if there is nothing new to say first.
    pub(super) fn speed_up_handshake(&mut self) {
        if self.handshake.sped_up || self.handshake.state != HandshakeState::Incomplete {
            return;
        }
        let Spaces { initial, handshake, .. } = &mut self.spaces;
        let spaces = [initial.as_mut(), handshake.as_mut()].into_iter().flatten();
        let mut streams: Vec<_> = spaces.map(|space| &mut space.numbers.crypto).collect();
        if streams.iter().all(|crypto| !crypto.wants_to_send()) && streams.iter().any(|crypto| !crypto.is_delivered()) {
            self.handshake.sped_up = true;
            streams.iter_mut().for_each(|crypto| crypto.resend_all());
        }
    }

    /// Server: tells the application of the ClientHello when it is whole.
    fn check_hello(&mut self) -> Result<(), Violation> {
        let Tls::AwaitHello(bytes) = &mut self.handshake.tls else { return Ok(()) };
        let hello = client_hello::parse(bytes).map_err(|_| tls::tls_error(alert::DECODE_ERROR, "not a ClientHello"))?;
        if let Some(hello) = hello {
            let message = Bytes::copy_from_slice(bytes);
            self.handshake.tls = Tls::AwaitDecision(std::mem::take(bytes));
            self.handshake.server_name.clone_from(&hello.server_name);
            let client_hello::ClientHello { server_name, alpn, tickets, early_data, transport_parameters } = hello;
            // What is wrong with them TLS will have told when it comes to them.
            let parameters =
                transport_parameters.and_then(|bytes| TransportParameters::decode(&bytes, Role::Client).ok());
            self.versions.set_peer(parameters.and_then(|parameters| parameters.version_information));
            let hello = ClientHello { server_name, alpn, tickets, early_data, message };
            self.events.push_back(Event::ClientHello(hello));
        }
        Ok(())
    }

    pub(super) fn accept_hello(&mut self, now: Time, accept: ServerAccept) -> Result<(), ApiMisuse> {
        let Tls::AwaitDecision(hello) = &mut self.handshake.tls else {
            return Err(if self.role == Role::Client { ApiMisuse::WrongRole } else { ApiMisuse::AlreadyDone });
        };
        let hello = std::mem::take(hello);
        if let Some(transport) = accept.transport {
            self.adopt_config(transport);
        }
        if let Err(violation) = self.choose_version() {
            self.close_for(now, violation);
            self.after_input(now);
            return Ok(());
        }
        self.handshake.new_token = accept.new_token;
        let (original, version) = (self.versions.original(), self.versions.current());
        let parameters = self.server_parameters();
        // RFC 9369 section 5#2: a ticket is for connections that begin with its version.
        let ticket = accept.ticket.filter(|ticket| ticket.is_for(original));
        let early_data = accept.early_data
            && ticket.as_ref().is_none_or(|ticket| ticket.limits_hold(&parameters))
            && (version == original || tls::can_go_on(accept.tls.crypto_provider()));
        let bytes = encode(parameters, &self.versions, &self.config, &mut self.entropy);
        let result = tls::Handshake::server(accept.tls, version, bytes, ticket)
            .map_err(|_| tls::tls_error(alert::INTERNAL_ERROR, "the TLS configuration does not suit QUIC"))
            .and_then(|mut tls| {
                if !early_data {
                    // RFC 9001 section 4.6.2#1: there are no keys then.
                    tls.refuse_early_data();
                }
                tls.begun_in(original);
                self.handshake.tls = Tls::Running(Box::new(tls));
                match &mut self.handshake.tls {
                    Tls::Running(tls) => tls.feed(EncryptionLevel::Initial, &hello),
                    _ => Ok(()),
                }
            })
            .and_then(|()| self.drive_tls(now));
        if let Err(violation) = result {
            self.close_for(now, violation);
        }
        self.replay_parked(now);
        self.after_input(now);
        Ok(())
    }

    /// Server: whether the version to answer in is still to be chosen. Acknowledgements wait for it: MsQuic 2.5 makes
    /// the keys of another version not of its first connection ID, as it should, but of the one that whatever
    /// comes before has brought.
    pub(super) fn awaits_version(&self) -> bool {
        matches!(self.handshake.tls, Tls::AwaitDecision(_)) && self.versions.may_switch()
    }

    /// Server: goes on in the version that is wanted most of those that the client's first flight can be
    /// read as (RFC 9368 section 2.3).
    // RFC 9368 section 2.3#2.
    fn choose_version(&mut self) -> Result<(), Violation> {
        let code = TransportErrorCode::VERSION_NEGOTIATION_ERROR;
        let version = self.versions.choose(&self.config.versions);
        let version = version.ok_or(Violation::new(code, "the two ends have no version in common"))?;
        if version != self.versions.current()
            && let Some(space) = &mut self.spaces.initial
        {
            let keys = keys::initial(version, &self.handshake.initial_dcid, self.role);
            let keys = keys.map_err(|_| tls::tls_error(alert::INTERNAL_ERROR, "no keys for Initial packets"))?;
            // RFC 9369 section 4.1#4.
            self.versions.switch(version, std::mem::replace(&mut space.keys, keys));
        }
        self.versions.set_peer(None);
        Ok(())
    }

    pub(super) fn issue_ticket(
        &mut self,
        now: Time,
        keys: &tls::TicketKeys,
        terms: &tls::TicketTerms,
    ) -> Result<(), ApiMisuse> {
        if self.role == Role::Client {
            return Err(ApiMisuse::WrongRole);
        }
        if !self.is_complete() {
            return Err(ApiMisuse::TooEarly);
        }
        // What the client remembers of us are the settings; IDs and addresses are of this connection.
        let parameters = parameters(&self.config, self.handshake.local_scid);
        let parameters = TransportParameters { initial_source_connection_id: None, ..parameters };
        let completed = self.stats.completed.unwrap_or(self.handshake.started);
        let issuer = match &mut self.handshake.tls {
            Tls::Running(tls) => tls.issuer(),
            Tls::Over(agreed) => agreed.issuer(),
            Tls::AwaitHello(_) | Tls::AwaitDecision(_) => None,
        };
        let issuer = issuer.ok_or(ApiMisuse::ResumptionUnavailable)?;
        let (age, unix_time) = (now.since(completed), now.since(Time::ZERO));
        let about = (self.versions.current(), &parameters);
        let message = issuer.issue(age, unix_time, about, keys, terms, &mut self.entropy)?;
        self.spaces.data.numbers.crypto.send(&message);
        Ok(())
    }

    fn server_parameters(&mut self) -> TransportParameters {
        let handshake = &self.handshake;
        let mut parameters = TransportParameters {
            original_destination_connection_id: Some(handshake.original_dcid),
            // RFC 9369 section 4.1#3.
            retry_source_connection_id: handshake.retry_scid,
            stateless_reset_token: Some(self.local_reset_token),
            ..parameters(&self.config, handshake.local_scid)
        };
        if let Some(preferred) = self.config.preferred_address
            // RFC 9000 section 18.2#4#5.
            && !self.issuer.is_empty()
        {
            let (connection_id, reset_token) =
                self.local_ids.issue_for_preferred_address(self.issuer.as_mut(), &mut self.entropy);
            parameters.preferred_address = Some(Box::new(tercel_wire::transport_parameters::PreferredAddress {
                ipv4: preferred.ipv4,
                ipv6: preferred.ipv6,
                connection_id,
                reset_token,
            }));
        }
        parameters
    }

    /// Takes what TLS has to say to its places.
    pub(super) fn drive_tls(&mut self, now: Time) -> Result<(), Violation> {
        loop {
            let Tls::Running(tls) = &mut self.handshake.tls else { return Ok(()) };
            let Some(output) = tls.poll() else {
                if let Some(agreed) = tls.conclude() {
                    self.handshake.tls = Tls::Over(Box::new(agreed));
                }
                return Ok(());
            };
            match output {
                Output::Crypto(level, bytes) => {
                    if let Some(numbers) = self.spaces.get_mut(level.space()) {
                        numbers.crypto.send(&bytes);
                    }
                }
                Output::EarlyKeys(keys) => self.spaces.data.early = Some(keys),
                Output::HandshakeKeys(keys) => {
                    self.stats.phases.handshake_keys = Some(now);
                    let id = SpaceId::Handshake;
                    let numbers = PacketNumberSpace::new(id, AckPolicy::immediate(), self.config.crypto_buffer);
                    self.spaces.handshake = Some(Box::new(HandshakeSpace { keys, numbers }));
                }
                Output::OneRttKeys(keys, secrets) => {
                    self.spaces.data.one_rtt = Some(OneRttKeys::new(keys, *secrets));
                    if self.role == Role::Client {
                        // RFC 9001 section 4.9.3#1.
                        self.spaces.data.early = None;
                    }
                }
                Output::PeerParameters(parameters) => self.on_peer_parameters(&parameters)?,
                Output::Certificate(presented) => self.on_certificate(now, presented),
                Output::Complete => self.on_complete(now),
                Output::Ticket(ticket) => self.events.push_back(Event::Ticket(ticket)),
            }
        }
    }

    /// RFC 9000 section 7.3 and 7.4: the peer must repeat the connection IDs that were used, so that
    /// nobody can have changed them.
    // RFC 9000 section 7.3#1#2#3#4.
    fn on_peer_parameters(&mut self, parameters: &TransportParameters) -> Result<(), Violation> {
        let handshake = &self.handshake;
        let source = parameters.initial_source_connection_id == handshake.peer_scid;
        let original =
            self.role == Role::Server || parameters.original_destination_connection_id == Some(handshake.original_dcid);
        let retry = self.role == Role::Server || parameters.retry_source_connection_id == handshake.retry_scid;
        if !(source && original && retry) {
            return Err(Violation::new(
                TransportErrorCode::TRANSPORT_PARAMETER_ERROR,
                "the connection IDs are not those that were used",
            ));
        }
        // RFC 9368 section 4#3. RFC 9369 section 4#2.
        self.versions.check(parameters.version_information.as_ref())?;
        // RFC 9287 section 3.1#3.
        self.fixed_bit.set_peer(self.config.grease && parameters.grease_quic_bit);
        if self.remembers_more(parameters) {
            return Err(Violation::new(
                TransportErrorCode::PROTOCOL_VIOLATION,
                "early data was taken, and less is permitted than was remembered",
            ));
        }
        self.handshake.parameters_known = true;
        self.apply_peer_parameters(parameters);
        if let Some(token) = parameters.stateless_reset_token {
            self.peer_ids.set_initial_token(token);
        }
        if let Some(preferred) = &parameters.preferred_address {
            // RFC 9000 section 18.2#6.
            if self.handshake.peer_scid.is_some_and(|id| id.is_empty()) {
                return Err(Violation::new(
                    TransportErrorCode::TRANSPORT_PARAMETER_ERROR,
                    "a preferred address without connection IDs",
                ));
            }
            self.peer_ids.add_preferred(preferred.connection_id, preferred.reset_token);
            self.local_ids.want_all();
        }
        Ok(())
    }

    /// Client: whether the server took early data, and does not take such large datagrams any more as were
    /// remembered.
    // RFC 9221 section 3#7.
    fn remembers_more(&self, parameters: &TransportParameters) -> bool {
        let Tls::Running(tls) = &self.handshake.tls else { return false };
        let accepted = self.handshake.early_offered && tls.session().early_data_accepted();
        accepted && parameters.max_datagram_frame_size < self.peer_parameters.max_datagram_frame_size
    }

    /// What holds for data as soon as it is known, or remembered for early data.
    pub(super) fn apply_peer_parameters(&mut self, parameters: &TransportParameters) {
        if self.role == Role::Client && self.handshake.early_offered {
            self.settle_early_data();
        }
        self.one_way.negotiate(self.config.one_way_delay, parameters.enable_timestamp);
        self.streams.set_peer_parameters(parameters);
        let wanted = parameters.address_discovery.is_some_and(AddressDiscovery::receives);
        self.paths.reports.set_wanted(wanted && self.config.report_addresses);
        self.idle.set_peer_timeout(std::time::Duration::from_millis(parameters.max_idle_timeout));
        let max_ack_delay = std::time::Duration::from_millis(parameters.max_ack_delay);
        self.recovery.set_peer_max_ack_delay(max_ack_delay);
        let least = parameters.min_ack_delay.map(std::time::Duration::from_micros);
        self.spaces.data.ask = AckRequest::new(self.config.ack_frequency, max_ack_delay, least);
        let max = u16::try_from(parameters.max_udp_payload_size).unwrap_or(u16::MAX);
        self.paths.active.mtu.set_peer_max(max);
        self.recovery.mtu_changed(self.paths.active.mtu.current());
        self.datagrams.set_limits(Some(parameters.max_datagram_frame_size), self.packet_payload());
        self.peer_parameters = parameters.clone();
    }

    /// Client: EncryptedExtensions say whether the server took our early data.
    // RFC 9001 section 5.6#3.
    fn settle_early_data(&mut self) {
        let Tls::Running(tls) = &self.handshake.tls else { return };
        if self.spaces.handshake.is_some() && !tls.session().early_data_accepted() {
            self.early_data_rejected();
        }
    }

    /// Client: early data that was sent was in vain.
    fn early_data_rejected(&mut self) {
        self.handshake.early_offered = false;
        self.spaces.data.early = None;
        let mut outcome = self.workspace.take_outcome();
        self.recovery.lose_early_data(&mut outcome);
        // The streams begin anew, whatever these packets carried; datagrams do not.
        for frame in outcome.lost.iter().flat_map(|packet| outcome.frames(packet)) {
            if let SentFrame::Datagram { number } = frame {
                self.datagrams.discarded(*number);
            }
        }
        self.workspace.give_back(outcome);
        self.streams.early_data_rejected();
        self.events.push_back(Event::EarlyDataRejected);
    }

    /// The handshake is complete at this end; a server knows by that that it is confirmed (RFC 9001
    /// section 4.1.2).
    fn on_complete(&mut self, now: Time) {
        let Tls::Running(tls) = &self.handshake.tls else { return };
        let session = tls.session();
        let connected = Connected {
            alpn: session.alpn().unwrap_or_default().to_vec(),
            resumed: session.is_resumed(),
            early_data_accepted: session.early_data_accepted(),
            version: self.versions.current(),
        };
        self.handshake.state = HandshakeState::Complete;
        self.stats.completed = Some(now);
        self.local_ids.set_limit(self.peer_parameters.active_connection_id_limit);
        self.idle.on_handshake_complete(now, self.recovery.pto(SpaceId::Data));
        self.events.push_back(Event::Connected(connected));
        if self.role == Role::Server {
            // RFC 9001 section 4.1.2#1.
            self.handshake.done_due = true;
            // RFC 9000 sections 19.7#1#3, 19.20#1.
            self.handshake.new_token_due = !self.handshake.new_token.is_empty();
            self.confirm(now);
        }
    }

    /// # Errors
    /// PROTOCOL_VIOLATION: only servers send HANDSHAKE_DONE (RFC 9000 section 19.20).
    pub(super) fn on_handshake_done(&mut self, now: Time) -> Result<(), Violation> {
        // RFC 9000 section 19.20#2.
        if self.role == Role::Server {
            return Err(Violation::new(TransportErrorCode::PROTOCOL_VIOLATION, "HANDSHAKE_DONE from a client"));
        }
        if self.handshake.state == HandshakeState::Complete {
            self.confirm(now);
            self.set_out_for_preferred_address(now);
        }
        Ok(())
    }

    // RFC 9001 section 4.9.2#1.
    fn confirm(&mut self, now: Time) {
        self.handshake.state = HandshakeState::Confirmed;
        self.stats.phases.confirmed = Some(now);
        self.handshake.peer_validated = true;
        self.discard(SpaceId::Initial);
        self.discard(SpaceId::Handshake);
        self.events.push_back(Event::Confirmed);
        self.update_progress(now);
    }

    /// Server: a Handshake packet proves the client's address (RFC 9000 section 8.1), and that it
    /// needs no Initial packets any more (RFC 9001 section 4.9.1).
    // RFC 9001 section 4.9.1#1#2.
    pub(super) fn on_client_validated(&mut self, now: Time) {
        self.paths.active.amplification = crate::path::AntiAmplification::Validated;
        self.discard(SpaceId::Initial);
        self.update_progress(now);
    }

    /// Discards the keys of a space, and all that belongs to it.
    pub(super) fn discard(&mut self, space: SpaceId) {
        let gone = match space {
            SpaceId::Initial => self.spaces.initial.take(),
            SpaceId::Handshake => self.spaces.handshake.take(),
            SpaceId::Data => None,
        };
        if gone.is_some() {
            self.recovery.discard_space(space);
            self.versions.forget_keys();
            self.parked.discard(match space {
                SpaceId::Initial => EncryptionLevel::Initial,
                _ => EncryptionLevel::Handshake,
            });
            if space == SpaceId::Initial && self.role == Role::Server {
                self.routes.push_back(super::RouteChange::Remove(self.handshake.initial_dcid));
            }
        }
    }

    /// Tells recovery how far the handshake has come.
    pub(super) fn update_progress(&mut self, now: Time) {
        let path = &self.paths.active;
        let waits = |space: &Option<Box<HandshakeSpace>>| {
            space.as_ref().is_some_and(|space| space.numbers.crypto.wants_to_send())
        };
        self.recovery.set_progress(
            now,
            Progress {
                has_handshake_keys: self.spaces.handshake.is_some(),
                confirmed: self.handshake.state == HandshakeState::Confirmed,
                peer_validated: self.role == Role::Server || self.handshake.peer_validated,
                crypto_waits: waits(&self.spaces.initial) || waits(&self.spaces.handshake),
                blocked: path.amplification.allowance() < u64::from(crate::path::mtu::BASE),
            },
        );
    }

    /// Client: a Retry asks to begin again with a token (RFC 9000 section 17.2.5).
    // RFC 9000 sections 8.1.3#2#8, 17.2.5.1#2, 17.2.5.2#1#2#3#4.
    pub(super) fn on_retry(&mut self, now: Time, packet: &RetryPacket) -> Outcome {
        let handshake = &mut self.handshake;
        let unexpected = self.role == Role::Server
            || handshake.peer_scid.is_some()
            || handshake.retry_scid.is_some()
            // RFC 9369 section 4.1#1#2: a Retry is of the original version.
            || packet.version != self.versions.original()
            // RFC 9287 section 3: only who says so does not look at the fixed bit.
            || !(packet.has_fixed_bit() || self.config.grease)
            || packet.token.is_empty()
            || packet.dcid != handshake.local_scid
            || packet.scid == handshake.initial_dcid;
        if unexpected {
            return Outcome::Dropped(Dropped::Unexpected);
        }
        if !retry::is_authentic(packet, &handshake.original_dcid) {
            return Outcome::Dropped(Dropped::Forged);
        }
        let Ok(keys) = keys::initial(packet.version, &packet.scid, self.role) else {
            return Outcome::Dropped(Dropped::Unexpected);
        };
        // RFC 9287 section 3.1#2: without the token of an earlier connection nothing is known of the server.
        self.fixed_bit.set_peer(false);
        handshake.retry_scid = Some(packet.scid);
        // RFC 9000 sections 17.2.5.1#3, 17.2.5.2#5.
        handshake.initial_dcid = packet.scid;
        handshake.token = packet.token.clone();
        self.peer_ids.set_initial(packet.scid);
        self.versions.forget_keys();
        if let Some(space) = &mut self.spaces.initial {
            space.keys = keys;
        }
        let mut outcome = self.workspace.take_outcome();
        self.recovery.retry_received(now, &mut outcome);
        self.settle(now, &outcome);
        self.workspace.give_back(outcome);
        Outcome::Opened
    }

    /// Client: the server does not take our version (RFC 9000 section 6.2); perhaps it takes another one
    /// (RFC 9368 section 2.1).
    // RFC 9000 section 6.2#1#2#3.
    pub(super) fn on_version_negotiation(&mut self, now: Time, packet: &VersionNegotiationPacket) -> Outcome {
        let handshake = &self.handshake;
        let unexpected = !self.phase.is_alive()
            || !self.versions.heeds(&packet.versions)
            || handshake.peer_scid.is_some()
            || handshake.retry_scid.is_some()
            || packet.dcid != handshake.local_scid.as_slice()
            || packet.scid != handshake.initial_dcid.as_slice();
        if unexpected {
            return Outcome::Dropped(Dropped::Unexpected);
        }
        // RFC 9368 section 2.1#2#3#4.
        let version = self.versions.select(&packet.versions);
        if version.is_none_or(|version| self.begin_anew(now, version).is_none()) {
            self.end(CloseReason::VersionMismatch);
        }
        Outcome::Opened
    }

    /// Client: another first flight, in another version. All that the application has asked for meanwhile
    /// stays; of what the server has been told nothing does.
    fn begin_anew(&mut self, now: Time, version: Version) -> Option<()> {
        let Again { tls, server_name } = *self.handshake.again.take()?;
        if self.handshake.early_offered {
            self.early_data_rejected();
        }
        self.versions.begin_anew(version);
        self.fixed_bit.set_peer(false);
        let Handshake { started, local_scid, .. } = self.handshake;
        let initial_dcid = made_up_id(&mut self.entropy);
        let parameters = parameters(&self.config, local_scid);
        let bytes = encode(parameters, &self.versions, &self.config, &mut self.entropy);
        let keys = keys::initial(version, &initial_dcid, self.role).ok()?;
        // RFC 9368 section 6#2.
        let tls = tls::Handshake::client(tls, version, server_name, bytes, None).ok()?;
        // RFC 9369 section 5#1: the token was for the version that the server does not take.
        self.handshake = Handshake {
            server_name: self.handshake.server_name.take(),
            ..Handshake::new(started, Tls::Running(Box::new(tls)), initial_dcid, local_scid)
        };
        self.spaces = Spaces::at_the_start(keys, &self.config);
        self.parked = Parked::new(self.config.parked_bytes);
        self.recovery = Recovery::new(self.role, &self.config);
        self.one_way = OneWayDelay::default();
        self.recovery.mtu_changed(self.paths.active.mtu.current());
        self.peer_ids.set_initial(initial_dcid);
        self.peer_parameters = TransportParameters::default();
        self.offer_early_data();
        self.drive_tls(now).ok()
    }

    fn adopt_config(&mut self, config: Arc<TransportConfig>) {
        self.streams = crate::stream::Streams::new(self.role, &config);
        self.datagrams =
            crate::datagram::Datagrams::new(config.max_datagram_frame_size.into(), config.datagram_send_buffer);
        self.spaces.data.numbers.acks = AckPolicy::new(config.ack_threshold, config.max_ack_delay);
        self.idle = crate::idle::Idle::new(
            self.handshake.started,
            config.max_idle_timeout,
            config.handshake_timeout,
            config.keep_alive,
        );
        let path = &mut self.paths.active;
        *path = crate::path::Path::new(path.id, path.address, &config, path.amplification);
        self.recovery.configure(&config);
        self.recovery.mtu_changed(self.paths.active.mtu.current());
        self.config = config;
    }
}
