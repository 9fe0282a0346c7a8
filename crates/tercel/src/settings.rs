//! The settings of connections, as one table: it makes the struct, the defaults, the ranges, the
//! documentation and the translation for the protocol.

use std::sync::Arc;
use std::time::Duration;

use tercel_proto::config::{CongestionAlgorithm, PreferredAddress, TransportConfig};
use tercel_proto::stream::StreamScheduling;
use tercel_wire::Version;

use crate::status::Error;

/// What the table says of a setting whose value is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingInfo {
    /// The name of the field.
    pub name: &'static str,
    /// What the value counts.
    pub unit: &'static str,
    /// The value if nothing is set.
    pub default: u64,
    /// The smallest value accepted.
    pub min: u64,
    /// The largest value accepted.
    pub max: u64,
}

/// A value that the table can check.
trait Value: Copy {
    fn number(self) -> u64;
    fn of(number: u64) -> Self;
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            fn number(self) -> u64 {
                self as u64
            }
            fn of(number: u64) -> Self {
                number as Self
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize);

impl Value for bool {
    fn number(self) -> u64 {
        self.into()
    }
    fn of(number: u64) -> Self {
        number != 0
    }
}

impl Value for Duration {
    fn number(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
    fn of(number: u64) -> Self {
        Self::from_millis(number)
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $default:expr, $min:expr => $max:expr, $unit:literal;)*) => {
        /// The settings of connections. `Default` suits most programs; change a field and leave the
        /// rest: `Settings { max_idle_timeout: ..., ..Settings::default() }`.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $($(#[$doc])* ///
            #[doc = concat!("In ", $unit, ", from `", stringify!($min), "` to `", stringify!($max),
                "`. Default `", stringify!($default), "`.")]
            pub $name: $ty,)*
            /// How often a PING keeps an otherwise silent connection alive. Default none.
            pub keep_alive: Option<Duration>,
            /// The congestion controller. Default CUBIC.
            ///
            /// ```
            /// use tercel::{CongestionAlgorithm, Settings};
            ///
            /// let settings = Settings { congestion: CongestionAlgorithm::Bbr, ..Settings::default() };
            /// assert!(settings.transport().is_ok());
            /// ```
            pub congestion: CongestionAlgorithm,
            /// In which order streams of equal priority send. Default round robin.
            pub stream_scheduling: StreamScheduling,
            /// Server: where clients should rather come (RFC 9000 section 9.6); the same registration must
            /// listen there, too. Default none.
            pub preferred_address: Option<PreferredAddress>,
            /// The versions of QUIC to speak, most wanted first, of [`Version::SUPPORTED`]. A client lets the
            /// server choose among them (RFC 9368 section 2.3). A server moves clients that can speak
            /// several to the first one; see also
            /// [`RegistrationConfig::versions`](crate::RegistrationConfig::versions). Default none: all that
            /// there are, version 1 first, and a server goes by the order of its clients.
            pub versions: Vec<Version>,
            /// Client: the version to begin with, one of `versions`. A server that speaks what the client
            /// wants more takes it there without a further round trip, so that what most servers know is a
            /// good choice (RFC 9368 section 2.5). Default the first one of `versions`.
            pub original_version: Option<Version>,
        }

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    $($name: <$ty as Value>::of($default),)*
                    keep_alive: None,
                    congestion: CongestionAlgorithm::Cubic,
                    stream_scheduling: StreamScheduling::RoundRobin,
                    preferred_address: None,
                    versions: Vec::new(),
                    original_version: None,
                }
            }
        }

        impl Settings {
            /// The table: every setting that is a number.
            pub const TABLE: &'static [SettingInfo] = &[
                $(SettingInfo {
                    name: stringify!($name),
                    unit: $unit,
                    default: $default,
                    min: $min,
                    max: $max,
                },)*
            ];

            /// # Errors
            /// [`Error::InvalidArgument`] with the name of the first setting out of its range.
            fn check(&self) -> Result<(), Error> {
                $(
                    if !($min..=$max).contains(&self.$name.number()) {
                        return Err(Error::InvalidArgument(concat!(
                            "setting ", stringify!($name), " must be from ", stringify!($min), " to ",
                            stringify!($max), " ", $unit
                        )));
                    }
                )*
                Ok(())
            }
        }
    };
}

settings! {
    /// How long a connection may hear nothing before it ends; 0 for no limit. The smaller value of
    /// the two ends holds.
    max_idle_timeout: Duration = 30_000, 0 => 86_400_000, "milliseconds";
    /// How long the handshake may take.
    handshake_timeout: Duration = 10_000, 100 => 600_000, "milliseconds";
    /// How long the application may take to judge the peer's certificate, if that is left to it; 0
    /// for as long as the handshake may take.
    verdict_timeout: Duration = 0, 0 => 600_000, "milliseconds";
    /// How many bidirectional streams the peer may have open at once.
    max_bidi_streams: u64 = 100, 0 => 1_000_000, "streams";
    /// How many unidirectional streams the peer may have open at once.
    max_uni_streams: u64 = 100, 0 => 1_000_000, "streams";
    /// Whether it is measured for how long what keeps each stream from sending
    /// ([`Stream::inspect`](crate::Stream::inspect)).
    stream_statistics: bool = 0, 0 => 1, "yes or no";
    /// The receive window of a stream at its start; it grows as the application keeps up.
    stream_receive_window: u64 = 262_144, 1 => 1_073_741_824, "bytes";
    /// The size to which a stream's receive window may grow.
    max_stream_receive_window: u64 = 8_388_608, 1 => 1_073_741_824, "bytes";
    /// The receive window of the connection at its start.
    receive_window: u64 = 1_048_576, 1 => 4_294_967_296, "bytes";
    /// The size to which the connection's receive window may grow.
    max_receive_window: u64 = 16_777_216, 1 => 4_294_967_296, "bytes";
    /// Async face: how many bytes a stream takes from writers before they must wait for
    /// acknowledgements; 0 for as many as keep the path busy, which grows with it
    /// ([`IdealSendBufferSize`](crate::StreamEvent::IdealSendBufferSize)). That is not the default, since
    /// then it is the path alone, and so the peer, that bounds what is held for a peer that does not read.
    send_buffer: usize = 2_097_152, 0 => 1_073_741_824, "bytes";
    /// The largest datagram (RFC 9221) to take; 0 turns them off.
    max_datagram_size: u16 = 0, 0 => 65_535, "bytes";
    /// How many bytes of datagrams may wait to be sent; beyond, the oldest are dropped.
    datagram_send_buffer: usize = 1_048_576, 1200 => 1_073_741_824, "bytes";
    /// The round-trip time assumed before one is measured.
    initial_rtt: Duration = 333, 1 => 10_000, "milliseconds";
    /// The initial congestion window.
    initial_window_packets: u32 = 10, 2 => 1000, "packets";
    /// Whether a sender that was here before begins with half of what the path took then (careful resume,
    /// RFC 9959). A server tells itself by the token that it gives the client for the next connection.
    careful_resume: bool = 0, 0 => 1, "yes or no";
    /// Whether slow start ends early when the delay rises (HyStart++).
    hystart: bool = 1, 0 => 1, "yes or no";
    /// Whether a sender goes on as if nothing had happened after losses that look like chance: an eighth of the
    /// window at the most, while the round-trip time shows no queue. That is for paths by radio. Queues of some
    /// ten packets, or of less than half a millisecond, may be taken for such paths, which costs others; no RFC has
    /// such a rule.
    random_loss: bool = 0, 0 => 1, "yes or no";
    /// Whether packets are spread over the round trip.
    pacing: bool = 1, 0 => 1, "yes or no";
    /// Whether ECN is used where the path permits.
    ecn: bool = 1, 0 => 1, "yes or no";
    /// The datagram size to begin with.
    initial_mtu: u16 = 1200, 1200 => 65_527, "bytes";
    /// The largest datagram size to look for.
    max_mtu: u16 = 1472, 1200 => 65_527, "bytes";
    /// The longest that an acknowledgement waits.
    max_ack_delay: Duration = 25, 0 => 16_383, "milliseconds";
    /// Whether a peer that can is asked for fewer acknowledgements while the window is large
    /// (draft-ietf-quic-ack-frequency).
    ack_frequency: bool = 0, 0 => 1, "yes or no";
    /// Whether the peer may reset a stream and have the beginning of it delivered all the same
    /// (draft-ietf-quic-reliable-stream-reset).
    reset_stream_at: bool = 1, 0 => 1, "yes or no";
    /// Whether a peer that wants to know is told at which address it is seen
    /// (draft-ietf-quic-address-discovery). Where that would tell of the inside of a network, leave it off.
    report_addresses: bool = 0, 0 => 1, "yes or no";
    /// Whether the peer is asked at which address it sees this end. What it answers is its word only.
    learn_address: bool = 0, 0 => 1, "yes or no";
    /// Whether the delay of each direction is measured, if the peer does so, too (draft-huitema-quic-ts, as
    /// MsQuic has it).
    one_way_delay: bool = 0, 0 => 1, "yes or no";
    /// Whether the peer may migrate.
    migration: bool = 1, 0 => 1, "yes or no";
    /// Client: whether it goes to its server's preferred address of the other family (IPv4, IPv6) than it has
    /// connected by, if there is none of that family or nobody answers there (RFC 9000 section 9.6).
    change_family: bool = 1, 0 => 1, "yes or no";
    /// The keys are updated after this many bytes.
    key_update_bytes: u64 = 274_877_906_944, 65_536 => 1_125_899_906_842_624, "bytes";
    /// Whether the peer, and whoever is on the way, are kept used to what is reserved or random: transport
    /// parameters, versions and the fixed bit of packets (RFC 9287).
    grease: bool = 1, 0 => 1, "yes or no";
}

impl Settings {
    /// The settings in the words of the protocol.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: a setting is out of its range.
    pub fn transport(&self) -> Result<Arc<TransportConfig>, Error> {
        self.check()?;
        let distinct = |(at, version): (usize, &Version)| !self.versions[..at].contains(version);
        if !self.versions.iter().enumerate().all(|(at, version)| version.is_supported() && distinct((at, version))) {
            return Err(Error::InvalidArgument("setting versions must name versions of Version::SUPPORTED, each once"));
        }
        if self.original_version.is_some_and(|version| {
            !version.is_supported() || !(self.versions.is_empty() || self.versions.contains(&version))
        }) {
            return Err(Error::InvalidArgument("setting original_version must be one of versions"));
        }
        Ok(Arc::new(TransportConfig {
            max_idle_timeout: self.max_idle_timeout,
            handshake_timeout: self.handshake_timeout,
            verdict_timeout: self.verdict_timeout,
            keep_alive: self.keep_alive,
            max_bidi_streams: self.max_bidi_streams,
            max_uni_streams: self.max_uni_streams,
            stream_scheduling: self.stream_scheduling,
            stream_statistics: self.stream_statistics,
            stream_receive_window: self.stream_receive_window,
            max_stream_receive_window: self.max_stream_receive_window,
            receive_window: self.receive_window,
            max_receive_window: self.max_receive_window,
            max_datagram_frame_size: self.max_datagram_size,
            datagram_send_buffer: self.datagram_send_buffer,
            initial_rtt: self.initial_rtt,
            congestion: self.congestion,
            initial_window_packets: self.initial_window_packets,
            careful_resume: self.careful_resume,
            hystart: self.hystart,
            random_loss: self.random_loss,
            pacing: self.pacing,
            ecn: self.ecn,
            initial_mtu: self.initial_mtu,
            max_mtu: self.max_mtu,
            max_ack_delay: self.max_ack_delay,
            ack_frequency: self.ack_frequency,
            reset_stream_at: self.reset_stream_at,
            report_addresses: self.report_addresses,
            learn_address: self.learn_address,
            one_way_delay: self.one_way_delay,
            migration: self.migration,
            change_family: self.change_family,
            preferred_address: self.preferred_address,
            key_update_bytes: self.key_update_bytes,
            versions: self.versions.clone(),
            original_version: self.original_version,
            grease: self.grease,
            ..TransportConfig::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_in_its_range_and_is_the_protocols() {
        assert!(Settings::TABLE.iter().all(|info| (info.min..=info.max).contains(&info.default)));
        let ours = Settings::default().transport().unwrap();
        assert_eq!(format!("{ours:?}"), format!("{:?}", TransportConfig::default()));
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let settings = Settings { initial_mtu: 1199, ..Settings::default() };
        let error = settings.transport().unwrap_err().to_string();
        assert_eq!(error, "setting initial_mtu must be from 1200 to 65_527 bytes");
    }

    #[test]
    fn versions_are_ours_and_distinct() {
        let with = |versions: &[Version]| Settings { versions: versions.to_vec(), ..Settings::default() }.transport();
        let (v1, v2) = (Version::V1, Version::V2);
        for good in [&[][..], &[v1], &[v2], &[v1, v2], &[v2, v1]] {
            let expected = if good.is_empty() { &Version::SUPPORTED } else { good };
            assert_eq!(with(good).unwrap().spoken_versions(), expected);
        }
        let begins = |versions: &[Version], original| {
            let settings = Settings { versions: versions.to_vec(), original_version: original, ..Settings::default() };
            settings.transport().ok().map(|transport| transport.first_version())
        };
        assert_eq!(begins(&[], None), Some(v1));
        assert_eq!(begins(&[], Some(v2)), Some(v2));
        assert_eq!(begins(&[v2, v1], None), Some(v2));
        assert_eq!(begins(&[v2, v1], Some(v1)), Some(v1));
        assert_eq!(begins(&[v2], Some(v1)), None);
        assert_eq!(begins(&[], Some(Version(2))), None);
        for bad in [&[v1, v1][..], &[Version(2)], &[v2, Version::NEGOTIATION], &[v1, v2, v1]] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }
}
