//! What a connection is told at its start. Plain values, no behaviour.

use std::net::{SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use tercel_wire::{ConnectionId, ResetToken, Version};

use crate::entropy::Entropy;
use crate::stream::StreamScheduling;

/// The congestion controller of a path (RFC 9002 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CongestionAlgorithm {
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
    /// NewReno (RFC 9002 section 7).
    NewReno,
    /// BBR version 3 (draft-ietf-ccwg-bbr): sends by a model of the path, for paths with losses that are
    /// no congestion, and where queues are to be short.
    Bbr,
    /// Prague, for networks with L4S (RFC 9330): packets are marked ECT(1), and many small cuts keep the
    /// queue short. Where no one marks, and after losses, it does as NewReno.
    Prague,
}

/// The settings of one connection. `Default` gives the values that suit most programs.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// How long the connection may hear nothing before it ends; zero for no limit. The smaller of
    /// the two ends' values holds (RFC 9000 section 10.1). Default 30 s.
    pub max_idle_timeout: Duration,
    /// How long the handshake may take. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long the application may take to judge the peer's certificate; zero for as long as the
    /// handshake may take. After that the peer is refused with certificate_unknown. Default 0.
    pub verdict_timeout: Duration,
    /// How long after the last packet a PING keeps the connection alive. Default none.
    pub keep_alive: Option<Duration>,
    /// How many bidirectional streams the peer may have open at once. Default 100.
    pub max_bidi_streams: u64,
    /// How many unidirectional streams the peer may have open at once. Default 100.
    pub max_uni_streams: u64,
    /// In which order streams of equal priority send. Default round robin.
    pub stream_scheduling: StreamScheduling,
    /// Whether it is measured for how long what keeps each stream from sending. Default no.
    pub stream_statistics: bool,
    /// The receive window of a stream at its start, in bytes. Default 256 KiB.
    pub stream_receive_window: u64,
    /// The size to which a stream's receive window may grow, in bytes. Default 8 MiB.
    pub max_stream_receive_window: u64,
    /// The receive window of the connection at its start, in bytes. Default 1 MiB.
    pub receive_window: u64,
    /// The size to which the connection's receive window may grow, in bytes. Default 16 MiB.
    pub max_receive_window: u64,
    /// The largest DATAGRAM frame to accept, in bytes; zero turns datagrams off (RFC 9221). Default
    /// 0.
    pub max_datagram_frame_size: u16,
    /// How many bytes of datagrams may wait to be sent. Default 1 MiB.
    pub datagram_send_buffer: usize,
    /// The round-trip time assumed before one is measured (RFC 9002 section 6.2.2). Default 333 ms.
    // RFC 9002 section 6.2.2#1.
    pub initial_rtt: Duration,
    /// The congestion controller. Default CUBIC.
    pub congestion: CongestionAlgorithm,
    /// The initial congestion window in packets (RFC 9002 section 7.2). Default 10.
    pub initial_window_packets: u32,
    /// Whether a sender begins with half of what the path took the last time, if it was here before
    /// (careful resume, RFC 9959). Default off.
    pub careful_resume: bool,
    /// Whether slow start ends early when delay rises (HyStart++, RFC 9406). Default on.
    pub hystart: bool,
    /// Whether a sender goes on as if nothing had happened after losses that look like chance: an eighth of the window at
    /// the most, while the round-trip time shows no queue. No RFC has such a rule. Default off.
    pub random_loss: bool,
    /// Whether packets are spread over the round trip (RFC 9002 section 7.7). Default on.
    pub pacing: bool,
    /// Whether packets are marked ECT(0), or ECT(1) by Prague, while the path passes validation (RFC 9000
    /// section 13.4). Default on.
    pub ecn: bool,
    /// The datagram size to start with, in bytes of UDP payload: 1200 or more. Default 1200.
    pub initial_mtu: u16,
    /// The largest datagram size to probe for (RFC 8899); `initial_mtu` or less turns probing off.
    /// Default 1472 (what fits Ethernet over IPv4; IPv6 paths settle at 1452).
    pub max_mtu: u16,
    /// The longest UDP payload to accept, as told to the peer. Default 65527.
    pub max_udp_payload_size: u16,
    /// The longest that an acknowledgement is held back (RFC 9000 section 13.2.1). Default 25 ms.
    pub max_ack_delay: Duration,
    /// How many ack-eliciting packets are answered at once by one ACK (section 13.2.2). Default 2.
    pub ack_threshold: u32,
    /// Whether a peer that can is asked for fewer acknowledgements while the congestion window is large
    /// (draft-ietf-quic-ack-frequency). Default off: over a clean line of 100 Mbit/s and 40 ms 10 MB came with
    /// a sixth of the acknowledgements, and 3 to 5 % later (`tercel-sim/tests/integration/extensions.rs`). In either case it is
    /// asked for more, one for every packet, while data waits for a window that losses have left with a few packets.
    pub ack_frequency: bool,
    /// Whether the peer may reset a stream and have the beginning of it delivered all the same
    /// (draft-ietf-quic-reliable-stream-reset). Default yes.
    pub reset_stream_at: bool,
    /// Whether a peer that wants to know is told at which address it is seen
    /// (draft-ietf-quic-address-discovery). Default no.
    pub report_addresses: bool,
    /// Whether the peer is asked at which address it sees this end. Default no.
    pub learn_address: bool,
    /// Whether the delay of each direction is measured, if the peer does so, too (draft-huitema-quic-ts,
    /// as MsQuic has it). Default no.
    pub one_way_delay: bool,
    /// How many of the peer's connection IDs are kept, 2 or more. Default 8.
    pub active_connection_id_limit: u64,
    /// Whether the peer may migrate (server) (RFC 9000 section 9). Default yes.
    pub migration: bool,
    /// Client: whether it goes to its server's preferred address of the other family (IPv4, IPv6) than it has
    /// connected by, if there is none of that family or nobody answers there (RFC 9000 section 9.6). Default yes.
    pub change_family: bool,
    /// A server's preferred address (RFC 9000 section 9.6). Default none.
    pub preferred_address: Option<PreferredAddress>,
    /// Update the keys after this many bytes sent under one key; the AEAD's own limits hold as
    /// well. Default 256 GiB.
    pub key_update_bytes: u64,
    /// How many bytes of CRYPTO data may wait out of order. Default 64 KiB.
    pub crypto_buffer: usize,
    /// How many bytes of packets may wait for keys. Default 64 KiB.
    pub parked_bytes: usize,
    /// The versions to speak, most wanted first; those that nobody here knows are left out. A client lets
    /// the server choose among them; a server chooses for a client that can speak several (RFC 9368
    /// section 2.3). Default none: all that there are, and a server goes by the order of the client.
    pub versions: Vec<Version>,
    /// Client: the version to begin with (RFC 9368 section 2.5). Default the first of `versions`.
    pub original_version: Option<Version>,
    /// Whether the peer is kept used to what is reserved, random or not there yet: transport parameters
    /// (RFC 9000 section 18.1), versions (RFC 9368 section 3) and the fixed bit (RFC 9287). Default on.
    pub grease: bool,
}

impl TransportConfig {
    /// The versions that connections with these settings speak, most wanted first.
    pub fn spoken_versions(&self) -> Vec<Version> {
        crate::version::known(&self.versions)
    }

    /// The version that a client with these settings begins with, as long as it has no session or token of
    /// another.
    pub fn first_version(&self) -> Version {
        self.original_version.or(self.spoken_versions().first().copied()).unwrap_or(Version::V1)
    }
}

/// The addresses of a server's preferred address (RFC 9000 section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreferredAddress {
    /// Over IPv4, if any.
    pub ipv4: Option<SocketAddrV4>,
    /// Over IPv6, if any.
    pub ipv6: Option<SocketAddrV6>,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            max_idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            verdict_timeout: Duration::ZERO,
            keep_alive: None,
            max_bidi_streams: 100,
            max_uni_streams: 100,
            stream_scheduling: StreamScheduling::default(),
            stream_statistics: false,
            stream_receive_window: 256 << 10,
            max_stream_receive_window: 8 << 20,
            receive_window: 1 << 20,
            max_receive_window: 16 << 20,
            max_datagram_frame_size: 0,
            datagram_send_buffer: 1 << 20,
            initial_rtt: Duration::from_millis(333),
            congestion: CongestionAlgorithm::default(),
            initial_window_packets: 10,
            careful_resume: false,
            hystart: true,
            random_loss: false,
            pacing: true,
            ecn: true,
            initial_mtu: 1200,
            max_mtu: 1472,
            max_udp_payload_size: 65527,
            max_ack_delay: Duration::from_millis(25),
            ack_threshold: 2,
            ack_frequency: false,
            reset_stream_at: true,
            report_addresses: false,
            learn_address: false,
            one_way_delay: false,
            active_connection_id_limit: 8,
            migration: true,
            change_family: true,
            preferred_address: None,
            key_update_bytes: 256 << 30,
            crypto_buffer: 64 << 10,
            parked_bytes: 64 << 10,
            versions: Vec::new(),
            original_version: None,
            grease: true,
        }
    }
}

/// Makes the connection IDs by which a driver finds a connection, and their reset tokens.
pub trait ConnectionIdIssuer: Send {
    /// A new connection ID and its stateless reset token. Must not repeat.
    fn issue(&mut self, entropy: &mut Entropy) -> (ConnectionId, ResetToken);

    /// The length of every connection ID made here, in bytes. With zero no further IDs are issued.
    fn len(&self) -> usize;

    /// Whether the connection IDs made here have no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
