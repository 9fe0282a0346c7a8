//! Transport parameters (RFC 9000 section 18, RFC 9221 section 3, RFC 9287 section 3, RFC 9368 section
//! 3, and those of the extensions, each with its draft).
//!
//! One table says for each parameter its ID, type, default and bounds; decoding, encoding and the
//! struct are made from it. Parameters whose type is not an integer follow by hand.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::{ConnectionId, DecodeError, Reader, ResetToken, Role, VarInt, VersionInformation};

/// A server's preferred address (RFC 9000 section 18.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreferredAddress {
    /// Over IPv4, if any.
    pub ipv4: Option<SocketAddrV4>,
    /// Over IPv6, if any.
    pub ipv6: Option<SocketAddrV6>,
    /// The connection ID to use there, with sequence number 1.
    pub connection_id: ConnectionId,
    /// Its stateless reset token.
    pub reset_token: ResetToken,
}

impl PreferredAddress {
    /// Those that there are, that of IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [self.ipv4.map(SocketAddr::V4), self.ipv6.map(SocketAddr::V6)].into_iter().flatten()
    }
}

/// What an endpoint does about the addresses at which the two see each other
/// (draft-ietf-quic-address-discovery).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressDiscovery {
    /// It can tell its peer where it sees it.
    Provides = 0,
    /// It wants to be told where its peer sees it.
    Receives = 1,
    /// Both.
    Both = 2,
}

impl AddressDiscovery {
    /// The value for an endpoint that can tell, and that wants to be told.
    pub const fn of(provides: bool, receives: bool) -> Option<Self> {
        match (provides, receives) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Provides),
            (false, true) => Some(Self::Receives),
            (false, false) => None,
        }
    }

    /// Whether it wants to be told.
    pub const fn receives(self) -> bool {
        matches!(self, Self::Receives | Self::Both)
    }

    fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        match integer(value, "address_discovery")? {
            0 => Ok(Self::Provides),
            1 => Ok(Self::Receives),
            2 => Ok(Self::Both),
            _ => Err(DecodeError::Malformed("address_discovery")),
        }
    }
}

macro_rules! integer_parameters {
    ($($(#[$doc:meta])* $name:ident: $id:literal, default $default:expr, $min:expr => $max:expr;)*) => {
        /// What an endpoint tells its peer during the handshake. `Default` gives the values that
        /// hold for parameters that are not sent.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct TransportParameters {
            $($(#[$doc])* pub $name: u64,)*
            /// Server only: the destination connection ID of the client's first Initial packet.
            pub original_destination_connection_id: Option<ConnectionId>,
            /// The source connection ID of this endpoint's first Initial packet.
            pub initial_source_connection_id: Option<ConnectionId>,
            /// Server only: the source connection ID of its Retry packet.
            pub retry_source_connection_id: Option<ConnectionId>,
            /// Server only: the token of the connection ID of the handshake.
            pub stateless_reset_token: Option<ResetToken>,
            /// Server only: where it would rather be reached.
            pub preferred_address: Option<Box<PreferredAddress>>,
            /// The endpoint does not want its peer to migrate.
            pub disable_active_migration: bool,
            /// The endpoint does not look at the fixed bit (RFC 9287).
            pub grease_quic_bit: bool,
            /// The endpoint lets its peer say when it acknowledges (draft-ietf-quic-ack-frequency), and
            /// can hold acknowledgements back for so many microseconds, or more.
            pub min_ack_delay: Option<u64>,
            /// The endpoint takes RESET_STREAM_AT (draft-ietf-quic-reliable-stream-reset).
            pub reset_stream_at: bool,
            /// The endpoint takes RESET_STREAM_AT by the type that MsQuic gives it.
            pub reliable_reset: bool,
            /// What the endpoint does about observed addresses, if anything.
            pub address_discovery: Option<AddressDiscovery>,
            /// Which versions the endpoint speaks (RFC 9368).
            pub version_information: Option<VersionInformation>,
        }

        impl Default for TransportParameters {
            fn default() -> Self {
                Self {
                    $($name: $default,)*
                    original_destination_connection_id: None,
                    initial_source_connection_id: None,
                    retry_source_connection_id: None,
                    stateless_reset_token: None,
                    preferred_address: None,
                    disable_active_migration: false,
                    grease_quic_bit: false,
                    min_ack_delay: None,
                    reset_stream_at: false,
                    reliable_reset: false,
                    address_discovery: None,
                    version_information: None,
                }
            }
        }

        impl TransportParameters {
            fn decode_integer(&mut self, id: u64, value: &[u8]) -> Result<bool, DecodeError> {
                match id {
                    $($id => {
                        let mut reader = Reader::new(value);
                        self.$name = reader.varint()?;
                        // A bound of 0 below is no bound: the comparison is then always false.
                        #[allow(unused_comparisons, clippy::absurd_extreme_comparisons)]
                        if !reader.is_empty() || self.$name < $min || self.$name > $max {
                            return Err(DecodeError::Malformed(stringify!($name)));
                        }
                        Ok(true)
                    })*
                    _ => Ok(false),
                }
            }

            // RFC 9000 section 7.4#2.
            fn encode_integers(&self, out: &mut Vec<u8>) {
                $(if self.$name != $default {
                    put_integer(out, $id, self.$name);
                })*
            }
        }
    };
}

const MAX: u64 = VarInt::MAX.into_inner();
/// More streams could not be numbered (RFC 9000 section 4.6).
// RFC 9000 section 4.6#1.
const MAX_STREAMS: u64 = 1 << 60;

integer_parameters! {
    /// Milliseconds of silence after which the endpoint gives up; 0 for never.
    max_idle_timeout: 0x01, default 0, 0 => MAX;
    /// The largest UDP payload that the endpoint takes, in bytes.
    max_udp_payload_size: 0x03, default 65527, 1200 => MAX;
    /// The first limit on the bytes of all streams.
    initial_max_data: 0x04, default 0, 0 => MAX;
    /// The first limit on each bidirectional stream that the sender of the parameter opens.
    initial_max_stream_data_bidi_local: 0x05, default 0, 0 => MAX;
    /// The first limit on each bidirectional stream that the receiver of the parameter opens.
    initial_max_stream_data_bidi_remote: 0x06, default 0, 0 => MAX;
    /// The first limit on each unidirectional stream that the receiver of the parameter opens.
    initial_max_stream_data_uni: 0x07, default 0, 0 => MAX;
    /// How many bidirectional streams the receiver of the parameter may open at first.
    initial_max_streams_bidi: 0x08, default 0, 0 => MAX_STREAMS;
    /// How many unidirectional streams the receiver of the parameter may open at first.
    initial_max_streams_uni: 0x09, default 0, 0 => MAX_STREAMS;
    /// The exponent of the ACK Delay field.
    ack_delay_exponent: 0x0a, default 3, 0 => 20;
    /// The longest that the endpoint holds back acknowledgements, in milliseconds.
    max_ack_delay: 0x0b, default 25, 0 => (1 << 14) - 1;
    /// How many connection IDs the endpoint keeps for its peer.
    // RFC 9000 section 18.2#7#8.
    active_connection_id_limit: 0x0e, default 2, 2 => MAX;
    /// The largest DATAGRAM frame that the endpoint takes, in bytes; 0 for none (RFC 9221).
    max_datagram_frame_size: 0x20, default 0, 0 => MAX;
    /// What the endpoint does with TIMESTAMP frames (draft-huitema-quic-ts): 1, it wants them; 2, it can
    /// send them; 3, both; 0, neither.
    enable_timestamp: 0x7158, default 0, 0 => 3;
}

const ORIGINAL_DESTINATION_CONNECTION_ID: u64 = 0x00;
const STATELESS_RESET_TOKEN: u64 = 0x02;
const DISABLE_ACTIVE_MIGRATION: u64 = 0x0c;
const PREFERRED_ADDRESS: u64 = 0x0d;
const INITIAL_SOURCE_CONNECTION_ID: u64 = 0x0f;
const RETRY_SOURCE_CONNECTION_ID: u64 = 0x10;
const GREASE_QUIC_BIT: u64 = 0x2ab2;
const MIN_ACK_DELAY: u64 = 0xff04_de1b;
const RESET_STREAM_AT: u64 = 0x1d;
/// What it was before it was registered; many know it by this only.
const RESET_STREAM_AT_DRAFT_07: u64 = 0x17_f758_6d2c_b571;
const ADDRESS_DISCOVERY: u64 = 0x9f81_a176;
const RELIABLE_RESET: u64 = 0x17_f758_6d2c_b570;
const VERSION_INFORMATION: u64 = 0x11;

fn put_varint(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; 8];
    let mut writer = crate::Writer::new(&mut bytes);
    writer.varint(value);
    out.extend_from_slice(writer.written());
}

fn put(out: &mut Vec<u8>, id: u64, value: &[u8]) {
    put_varint(out, id);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn put_integer(out: &mut Vec<u8>, id: u64, value: u64) {
    let mut bytes = [0; 8];
    let mut writer = crate::Writer::new(&mut bytes);
    writer.varint(value);
    put(out, id, writer.written());
}

/// A value that is one integer and nothing else.
fn integer(value: &[u8], name: &'static str) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(value);
    let integer = reader.varint()?;
    if reader.is_empty() { Ok(integer) } else { Err(DecodeError::Malformed(name)) }
}

impl TransportParameters {
    /// The extension's bytes. `grease` gives the number and the value of a reserved parameter
    /// (section 18.1) that keeps peers used to unknown ones.
    pub fn encode(&self, grease: Option<(u32, &[u8])>) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.encode_integers(&mut out);
        for (id, value) in [
            (ORIGINAL_DESTINATION_CONNECTION_ID, &self.original_destination_connection_id),
            (INITIAL_SOURCE_CONNECTION_ID, &self.initial_source_connection_id),
            (RETRY_SOURCE_CONNECTION_ID, &self.retry_source_connection_id),
        ] {
            if let Some(value) = value {
                put(&mut out, id, value);
            }
        }
        if let Some(token) = &self.stateless_reset_token {
            put(&mut out, STATELESS_RESET_TOKEN, &token.0);
        }
        if let Some(address) = &self.preferred_address {
            put(&mut out, PREFERRED_ADDRESS, &address.encode());
        }
        if self.disable_active_migration {
            put(&mut out, DISABLE_ACTIVE_MIGRATION, &[]);
        }
        if self.grease_quic_bit {
            put(&mut out, GREASE_QUIC_BIT, &[]);
        }
        if let Some(delay) = self.min_ack_delay {
            put_integer(&mut out, MIN_ACK_DELAY, delay);
        }
        if self.reset_stream_at {
            put(&mut out, RESET_STREAM_AT, &[]);
            put(&mut out, RESET_STREAM_AT_DRAFT_07, &[]);
        }
        if self.reliable_reset {
            put(&mut out, RELIABLE_RESET, &[]);
        }
        if let Some(discovery) = self.address_discovery {
            put_integer(&mut out, ADDRESS_DISCOVERY, discovery as u64);
        }
        if let Some(information) = &self.version_information {
            put(&mut out, VERSION_INFORMATION, &information.encode());
        }
        if let Some((number, value)) = grease {
            put(&mut out, 31 * u64::from(number) + 27, value);
        }
        out
    }

    /// Reads the extension that `sender` sent.
    ///
    /// # Errors
    /// What is wrong with it (TRANSPORT_PARAMETER_ERROR): truncated, twice the same parameter, a
    /// value out of bounds, or a client that sends a server's parameter.
    pub fn decode(bytes: &[u8], sender: Role) -> Result<Self, DecodeError> {
        let mut parameters = Self::default();
        let mut seen = Vec::with_capacity(32);
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let (id, value) = (reader.varint()?, reader.length_prefixed()?);
            seen.push(id);
            if !parameters.decode_integer(id, value)? {
                parameters.decode_other(id, value, sender)?;
            }
        }
        // RFC 9000 section 7.4#3.
        seen.sort_unstable();
        if seen.windows(2).any(|pair| matches!(pair, [one, next] if one == next)) {
            return Err(DecodeError::Malformed("transport parameter sent twice"));
        }
        // draft-ietf-quic-ack-frequency section 3: no greater than max_ack_delay, which is in milliseconds.
        if parameters.min_ack_delay.is_some_and(|min| min > 1000 * parameters.max_ack_delay) {
            return Err(DecodeError::Malformed("min_ack_delay above max_ack_delay"));
        }
        Ok(parameters)
    }

    // RFC 9000 sections 7.4.2#1, 18.2#1#9.
    fn decode_other(&mut self, id: u64, value: &[u8], sender: Role) -> Result<(), DecodeError> {
        let servers_only = matches!(
            id,
            ORIGINAL_DESTINATION_CONNECTION_ID | STATELESS_RESET_TOKEN | PREFERRED_ADDRESS | RETRY_SOURCE_CONNECTION_ID
        );
        if servers_only && sender == Role::Client {
            return Err(DecodeError::Malformed("a client sent a server's transport parameter"));
        }
        let empty = |what| if value.is_empty() { Ok(true) } else { Err(DecodeError::Malformed(what)) };
        match id {
            ORIGINAL_DESTINATION_CONNECTION_ID => {
                self.original_destination_connection_id = Some(ConnectionId::new(value)?);
            }
            INITIAL_SOURCE_CONNECTION_ID => self.initial_source_connection_id = Some(ConnectionId::new(value)?),
            RETRY_SOURCE_CONNECTION_ID => self.retry_source_connection_id = Some(ConnectionId::new(value)?),
            STATELESS_RESET_TOKEN => {
                let token = value.try_into().map_err(|_| DecodeError::Malformed("stateless_reset_token"))?;
                self.stateless_reset_token = Some(ResetToken(token));
            }
            PREFERRED_ADDRESS => self.preferred_address = Some(Box::new(PreferredAddress::decode(value)?)),
            DISABLE_ACTIVE_MIGRATION => self.disable_active_migration = empty("disable_active_migration")?,
            // RFC 9287 section 3#1.
            GREASE_QUIC_BIT => self.grease_quic_bit = empty("grease_quic_bit")?,
            RESET_STREAM_AT | RESET_STREAM_AT_DRAFT_07 => self.reset_stream_at = empty("reset_stream_at")?,
            RELIABLE_RESET => self.reliable_reset = empty("reliable_reset")?,
            ADDRESS_DISCOVERY => self.address_discovery = Some(AddressDiscovery::decode(value)?),
            MIN_ACK_DELAY => self.min_ack_delay = Some(integer(value, "min_ack_delay")?),
            VERSION_INFORMATION => self.version_information = Some(VersionInformation::decode(value, sender)?),
            _ => {}
        }
        Ok(())
    }
}

impl PreferredAddress {
    fn encode(&self) -> Vec<u8> {
        let ipv4 = self.ipv4.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let ipv6 = self.ipv6.unwrap_or(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
        [
            &ipv4.ip().octets()[..],
            &ipv4.port().to_be_bytes(),
            &ipv6.ip().octets(),
            &ipv6.port().to_be_bytes(),
            &[self.connection_id.len() as u8],
            &self.connection_id,
            &self.reset_token.0,
        ]
        .concat()
    }

    fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let ipv4 = SocketAddrV4::new(Ipv4Addr::from(reader.array::<4>()?), reader.u16()?);
        let ipv6 = SocketAddrV6::new(Ipv6Addr::from(reader.array::<16>()?), reader.u16()?, 0, 0);
        let len = usize::from(reader.u8()?);
        let connection_id = ConnectionId::new(reader.bytes(len)?)?;
        let reset_token = ResetToken(reader.array()?);
        // RFC 9000 section 18.2#5#6.
        if connection_id.is_empty() || !reader.is_empty() {
            return Err(DecodeError::Malformed("preferred_address"));
        }
        // An address that is not there is sent as zeros (section 18.2).
        let ipv4 = (ipv4.port() != 0 && !ipv4.ip().is_unspecified()).then_some(ipv4);
        let ipv6 = (ipv6.port() != 0 && !ipv6.ip().is_unspecified()).then_some(ipv6);
        Ok(Self { ipv4, ipv6, connection_id, reset_token })
    }
}

#[cfg(test)]
mod tests;
