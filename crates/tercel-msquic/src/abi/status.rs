//! Status codes (`QUIC_STATUS`): on POSIX systems an errno where one fits, else a number above all of them.

/// What a function returns. Positive as a signed number: it failed.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($value as u32);)*
        }

        impl std::fmt::Debug for Status {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(other) => write!(f, "Status({other:#x})"),
                }
            }
        }
    };
}

statuses! {
    /// All is well.
    SUCCESS = 0;
    /// It goes on, and the end is told later.
    PENDING = -2_i32;
    /// From a receive: all data was taken, and more may follow at once.
    CONTINUE = -1_i32;
    /// No memory.
    OUT_OF_MEMORY = libc::ENOMEM;
    /// An argument makes no sense.
    INVALID_PARAMETER = libc::EINVAL;
    /// Not now.
    INVALID_STATE = libc::EPERM;
    /// Not here.
    NOT_SUPPORTED = libc::EOPNOTSUPP;
    /// There is none.
    NOT_FOUND = libc::ENOENT;
    /// The length that is needed was written in place of the length given.
    BUFFER_TOO_SMALL = libc::EOVERFLOW;
    /// The handshake failed.
    HANDSHAKE_FAILURE = libc::ECONNABORTED;
    /// It was given up.
    ABORTED = libc::ECANCELED;
    /// Another socket has the address.
    ADDRESS_IN_USE = libc::EADDRINUSE;
    /// An address of no known kind.
    INVALID_ADDRESS = libc::EAFNOSUPPORT;
    /// The peer was not heard during the handshake, or does not acknowledge any more.
    CONNECTION_TIMEOUT = libc::ETIMEDOUT;
    /// Nothing happened for the idle timeout.
    CONNECTION_IDLE = libc::ETIME;
    /// A fault of the library or of the system.
    INTERNAL_ERROR = libc::EIO;
    /// The server wants no connection.
    CONNECTION_REFUSED = libc::ECONNREFUSED;
    /// A breach of the protocol.
    PROTOCOL_ERROR = libc::EPROTO;
    /// No version in common.
    VER_NEG_ERROR = libc::EPROTONOSUPPORT;
    /// No way there.
    UNREACHABLE = libc::EHOSTUNREACH;
    /// TLS failed, without a more exact word.
    TLS_ERROR = libc::ENOKEY;
    /// The user gave up.
    USER_CANCELED = libc::EOWNERDEAD;
    /// No application protocol in common.
    ALPN_NEG_FAILURE = libc::ENOPROTOOPT;
    /// The peer permits no further stream now.
    STREAM_LIMIT_REACHED = libc::ESTRPIPE;
    /// Another listener of the address has the application protocol.
    ALPN_IN_USE = libc::EPROTOTYPE;
    /// The address is not one of this machine.
    ADDRESS_NOT_AVAILABLE = libc::EADDRNOTAVAIL;
    /// TLS alert close_notify.
    CLOSE_NOTIFY = TLS_ERRORS;
    /// TLS alert bad_certificate.
    BAD_CERTIFICATE = TLS_ERRORS + 42;
    /// TLS alert unsupported_certificate.
    UNSUPPORTED_CERTIFICATE = TLS_ERRORS + 43;
    /// TLS alert certificate_revoked.
    REVOKED_CERTIFICATE = TLS_ERRORS + 44;
    /// TLS alert certificate_expired.
    EXPIRED_CERTIFICATE = TLS_ERRORS + 45;
    /// TLS alert certificate_unknown.
    UNKNOWN_CERTIFICATE = TLS_ERRORS + 46;
    /// TLS alert certificate_required.
    REQUIRED_CERTIFICATE = TLS_ERRORS + 116;
    /// The certificate has expired, as this end found.
    CERT_EXPIRED = CERTIFICATE_ERRORS + 1;
    /// The chain leads to no trusted authority, as this end found.
    CERT_UNTRUSTED_ROOT = CERTIFICATE_ERRORS + 2;
    /// There is no certificate.
    CERT_NO_CERT = CERTIFICATE_ERRORS + 3;
}

const ERRORS: u32 = 200_000_000;
const TLS_ERRORS: u32 = ERRORS + 256;
const CERTIFICATE_ERRORS: u32 = ERRORS + 512;

impl Status {
    /// The status of a TLS alert.
    pub const fn of_alert(alert: u8) -> Self {
        Self(TLS_ERRORS + alert as u32)
    }

    /// Whether it says that something failed.
    pub const fn is_failure(self) -> bool {
        (self.0 as i32) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    /// The numbers that the header's comments give for Linux.
    #[test]
    #[cfg(target_os = "linux")]
    fn numbers_are_those_of_the_header() {
        for (status, number) in [
            (Status::SUCCESS, 0),
            (Status::OUT_OF_MEMORY, 12),
            (Status::INVALID_PARAMETER, 22),
            (Status::INVALID_STATE, 1),
            (Status::NOT_SUPPORTED, 95),
            (Status::NOT_FOUND, 2),
            (Status::BUFFER_TOO_SMALL, 75),
            (Status::HANDSHAKE_FAILURE, 103),
            (Status::ABORTED, 125),
            (Status::ADDRESS_IN_USE, 98),
            (Status::INVALID_ADDRESS, 97),
            (Status::CONNECTION_TIMEOUT, 110),
            (Status::CONNECTION_IDLE, 62),
            (Status::INTERNAL_ERROR, 5),
            (Status::CONNECTION_REFUSED, 111),
            (Status::PROTOCOL_ERROR, 71),
            (Status::VER_NEG_ERROR, 93),
            (Status::UNREACHABLE, 113),
            (Status::TLS_ERROR, 126),
            (Status::USER_CANCELED, 130),
            (Status::ALPN_NEG_FAILURE, 92),
            (Status::STREAM_LIMIT_REACHED, 86),
            (Status::ALPN_IN_USE, 91),
            (Status::ADDRESS_NOT_AVAILABLE, 99),
            (Status::CLOSE_NOTIFY, 0x0beb_c300),
            (Status::BAD_CERTIFICATE, 0x0beb_c32a),
            (Status::REQUIRED_CERTIFICATE, 0x0beb_c374),
            (Status::CERT_EXPIRED, 0x0beb_c401),
            (Status::CERT_NO_CERT, 0x0beb_c403),
        ] {
            assert_eq!(status.0, number, "{status:?}");
            assert_eq!(status.is_failure(), number != 0, "{status:?}");
        }
        assert!(!Status::PENDING.is_failure() && !Status::CONTINUE.is_failure());
        assert_eq!((Status::PENDING.0, Status::CONTINUE.0), (0xffff_fffe, 0xffff_ffff));
    }
}
