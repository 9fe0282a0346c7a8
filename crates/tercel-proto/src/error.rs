//! Errors, by culprit: a [`Violation`] is the peer's, an [`ApiMisuse`] the application's, and a
//! [`CloseReason`] tells why a connection ended.

use bytes::Bytes;
use tercel_wire::{ApplicationErrorCode, DecodeError, TransportErrorCode};

/// The peer broke a rule; the connection closes with `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The error code that the peer is told (RFC 9000 section 20.1).
    pub code: TransportErrorCode,
    /// The type of the frame that broke the rule, or 0.
    pub frame: u64,
    /// What was wrong, for people.
    pub reason: &'static str,
}

impl Violation {
    /// A breach of `code` that no particular frame caused.
    pub const fn new(code: TransportErrorCode, reason: &'static str) -> Self {
        Self { code, frame: 0, reason }
    }

    /// The same, caused by a frame of this type.
    pub const fn in_frame(self, frame: u64) -> Self {
        Self { frame, ..self }
    }
}

impl From<DecodeError> for Violation {
    fn from(error: DecodeError) -> Self {
        let reason = match error {
            DecodeError::Malformed(reason) => reason,
            // RFC 9000 section 12.4#4.
            DecodeError::UnknownFrame(_) => "unknown frame type",
            _ => "truncated frame",
        };
        Self::new(TransportErrorCode::FRAME_ENCODING_ERROR, reason)
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Violation {}

/// The application asked for something that the state of the connection does not permit. The call
/// had no effect. Network data can never cause one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// No such stream: never opened, or closed already.
    UnknownStream,
    /// The stream has no sending part at this end.
    NotSendable,
    /// The stream has no receiving part at this end.
    NotReceivable,
    /// The sending part was finished or reset already.
    SendClosed,
    /// The receiving part was stopped already.
    ReceiveClosed,
    /// The stream does not receive into buffers that the application provides.
    NoReceiveBuffers,
    /// The peer's limit permits no more streams for now.
    StreamLimit,
    /// The connection is closing or closed.
    ConnectionClosed,
    /// The handshake has not come far enough.
    TooEarly,
    /// The call was made already and can be made once only.
    AlreadyDone,
    /// Datagrams are off at one of the two ends.
    DatagramsUnsupported,
    /// The peer does not understand resets that deliver a part of the stream.
    ResetAtUnsupported,
    /// More than the peer or the path can carry in one packet.
    DatagramTooLarge,
    /// The session cannot be resumed: that is turned off, or the client cannot do it.
    ResumptionUnavailable,
    /// The call is not for this end of a connection.
    WrongRole,
    /// An argument outside its documented range.
    InvalidArgument(&'static str),
}

impl std::fmt::Display for ApiMisuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownStream => "no such stream",
            Self::NotSendable => "this end cannot send on the stream",
            Self::NotReceivable => "this end cannot receive on the stream",
            Self::SendClosed => "sending on the stream has ended",
            Self::ReceiveClosed => "receiving on the stream has ended",
            Self::NoReceiveBuffers => "the stream does not receive into buffers of the application",
            Self::StreamLimit => "the peer permits no more streams for now",
            Self::ConnectionClosed => "the connection is closed",
            Self::TooEarly => "the handshake has not come far enough",
            Self::AlreadyDone => "this was done already",
            Self::DatagramsUnsupported => "datagrams are not in use on this connection",
            Self::ResetAtUnsupported => "the peer does not understand resets that deliver a part of the stream",
            Self::DatagramTooLarge => "the datagram is larger than the peer or the path can take",
            Self::ResumptionUnavailable => {
                "the session cannot be resumed: it is turned off, or the client cannot do it"
            }
            Self::WrongRole => "the call is not for this end of the connection",
            Self::InvalidArgument(what) => what,
        })
    }
}

impl std::error::Error for ApiMisuse {}

/// Why a connection ended. Its `Display` is a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This application closed it.
    LocalApplication {
        /// With this code.
        code: ApplicationErrorCode,
    },
    /// The peer's application closed it.
    PeerApplication {
        /// Its code, whose meaning is the application protocol's.
        code: ApplicationErrorCode,
        /// Its words, in UTF-8 as a rule. Empty in most cases.
        reason: Bytes,
    },
    /// The peer's transport closed it, or TLS at the peer.
    PeerTransport {
        /// Its code (RFC 9000 section 20.1).
        code: TransportErrorCode,
        /// The type of the frame that it complains of; 0 if it names none.
        frame: u64,
        /// Its words. Empty in most cases.
        reason: Bytes,
    },
    /// The peer broke a rule, or TLS failed here.
    Violation(Violation),
    /// The application judged the peer's certificate and refused it, or refused the connection.
    Refused {
        /// What the peer was told.
        code: TransportErrorCode,
    },
    /// The server refused the encrypted ClientHello that it was sent (RFC 9849 section 6.1.6). It has proved
    /// to be the one that the public name of the client's ECH configuration names; so the client may try
    /// again with what it says.
    EchRejected {
        /// The server's ECH configurations, an ECHConfigList for another attempt; if empty, the server
        /// says that it cannot do ECH.
        retry_configs: Bytes,
    },
    /// The peer has no state for this connection (RFC 9000 section 10.3).
    StatelessReset,
    /// Nothing was heard for the idle timeout.
    IdleTimeout,
    /// The handshake did not finish in time.
    HandshakeTimeout,
    /// The peer speaks none of our versions.
    VersionMismatch,
    /// The application dropped the connection without a word.
    Silent,
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &Bytes| match bytes.is_empty() {
            true => String::new(),
            false => format!(": {}", String::from_utf8_lossy(bytes)),
        };
        match self {
            Self::LocalApplication { code } => write!(f, "closed by this application with code {code}"),
            Self::PeerApplication { code, reason } => {
                write!(f, "closed by the peer's application with code {code}{}", text(reason))
            }
            Self::PeerTransport { code, reason, .. } => write!(f, "closed by the peer with {code}{}", text(reason)),
            Self::Violation(violation) => write!(f, "closed because of {violation}"),
            Self::Refused { code } => write!(f, "refused with {code}"),
            Self::EchRejected { retry_configs } => f.write_str(match retry_configs.is_empty() {
                true => "the server cannot read encrypted ClientHellos",
                false => "the server could not read the encrypted ClientHello, and has told with what to try again",
            }),
            Self::StatelessReset => f.write_str("the peer has lost its state of the connection"),
            Self::IdleTimeout => f.write_str("nothing was heard from the peer for the idle timeout"),
            Self::HandshakeTimeout => f.write_str("the handshake did not finish in time"),
            Self::VersionMismatch => f.write_str("the peer speaks no QUIC version that this end speaks"),
            Self::Silent => f.write_str("dropped by this application"),
        }
    }
}

impl std::error::Error for CloseReason {}
