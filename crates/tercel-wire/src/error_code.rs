//! Error codes (RFC 9000 section 20).

use crate::VarInt;

/// A transport error code (RFC 9000 section 20.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransportErrorCode(pub u64);

macro_rules! transport_errors {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl TransportErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name that RFC 9000 gives the code, where it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    0x100..=0x1ff => Some("CRYPTO_ERROR"),
                    _ => None,
                }
            }
        }
    };
}

transport_errors! {
    /// The connection ends without an error.
    NO_ERROR = 0x0, "NO_ERROR";
    /// The endpoint cannot continue because of a fault of its own.
    INTERNAL_ERROR = 0x1, "INTERNAL_ERROR";
    /// The server refuses the connection.
    CONNECTION_REFUSED = 0x2, "CONNECTION_REFUSED";
    /// More data than flow control allowed.
    FLOW_CONTROL_ERROR = 0x3, "FLOW_CONTROL_ERROR";
    /// More streams than allowed.
    STREAM_LIMIT_ERROR = 0x4, "STREAM_LIMIT_ERROR";
    /// A frame for a stream in a state that does not permit it.
    STREAM_STATE_ERROR = 0x5, "STREAM_STATE_ERROR";
    /// The final size of a stream changed or was exceeded.
    FINAL_SIZE_ERROR = 0x6, "FINAL_SIZE_ERROR";
    /// A frame that could not be read.
    FRAME_ENCODING_ERROR = 0x7, "FRAME_ENCODING_ERROR";
    /// Transport parameters that could not be read or were not valid.
    TRANSPORT_PARAMETER_ERROR = 0x8, "TRANSPORT_PARAMETER_ERROR";
    /// More connection IDs than the limit.
    CONNECTION_ID_LIMIT_ERROR = 0x9, "CONNECTION_ID_LIMIT_ERROR";
    /// Another breach of the protocol.
    PROTOCOL_VIOLATION = 0xa, "PROTOCOL_VIOLATION";
    /// A token that is not valid.
    INVALID_TOKEN = 0xb, "INVALID_TOKEN";
    /// The application closed the connection before it could say so in its own terms.
    APPLICATION_ERROR = 0xc, "APPLICATION_ERROR";
    /// More CRYPTO data than can be buffered.
    CRYPTO_BUFFER_EXCEEDED = 0xd, "CRYPTO_BUFFER_EXCEEDED";
    /// A fault in key updates.
    KEY_UPDATE_ERROR = 0xe, "KEY_UPDATE_ERROR";
    /// The limit of the AEAD was reached.
    AEAD_LIMIT_REACHED = 0xf, "AEAD_LIMIT_REACHED";
    /// No path can carry QUIC.
    NO_VIABLE_PATH = 0x10, "NO_VIABLE_PATH";
    /// The two ends did not come to the same version, or somebody saw to it that they came to another
    /// (RFC 9368 section 10.2).
    VERSION_NEGOTIATION_ERROR = 0x11, "VERSION_NEGOTIATION_ERROR";
}

impl TransportErrorCode {
    /// The code for a TLS alert: CRYPTO_ERROR, 0x0100 plus the alert (RFC 9001 section 4.8).
    pub const fn crypto(alert: u8) -> Self {
        Self(0x100 | alert as u64)
    }

    /// The TLS alert, if this is a CRYPTO_ERROR.
    pub const fn alert(self) -> Option<u8> {
        if self.0 >> 8 == 1 { Some(self.0 as u8) } else { None }
    }
}

impl std::fmt::Debug for TransportErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for TransportErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.name(), self.alert()) {
            (Some(name), Some(alert)) => write!(f, "{name} (TLS alert {alert})"),
            (Some(name), None) => write!(f, "{name} ({:#x})", self.0),
            (None, _) => write!(f, "error {:#x}", self.0),
        }
    }
}

/// An error code whose meaning belongs to the application (RFC 9000 section 20.2).
pub type ApplicationErrorCode = VarInt;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9000 Table 7, and RFC 9368 section 10.2.
    const TABLE: [&str; 18] = [
        "NO_ERROR",
        "INTERNAL_ERROR",
        "CONNECTION_REFUSED",
        "FLOW_CONTROL_ERROR",
        "STREAM_LIMIT_ERROR",
        "STREAM_STATE_ERROR",
        "FINAL_SIZE_ERROR",
        "FRAME_ENCODING_ERROR",
        "TRANSPORT_PARAMETER_ERROR",
        "CONNECTION_ID_LIMIT_ERROR",
        "PROTOCOL_VIOLATION",
        "INVALID_TOKEN",
        "APPLICATION_ERROR",
        "CRYPTO_BUFFER_EXCEEDED",
        "KEY_UPDATE_ERROR",
        "AEAD_LIMIT_REACHED",
        "NO_VIABLE_PATH",
        "VERSION_NEGOTIATION_ERROR",
    ];

    #[test]
    fn names_and_alerts_by_the_table() {
        for code in (0..0x300).chain([1 << 32, u64::MAX]) {
            let (name, alert) = match code {
                0x100..=0x1ff => (Some("CRYPTO_ERROR"), Some((code - 0x100) as u8)),
                _ => (usize::try_from(code).ok().and_then(|code| TABLE.get(code)).copied(), None),
            };
            let code = TransportErrorCode(code);
            assert_eq!((code.name(), code.alert()), (name, alert), "{code}");
            assert!(alert.is_none_or(|alert| TransportErrorCode::crypto(alert) == code));
        }
        assert_eq!(TransportErrorCode::crypto(40).to_string(), "CRYPTO_ERROR (TLS alert 40)");
        assert_eq!(TransportErrorCode::PROTOCOL_VIOLATION.to_string(), "PROTOCOL_VIOLATION (0xa)");
        assert_eq!(TransportErrorCode(0x77).to_string(), "error 0x77");
    }
}
