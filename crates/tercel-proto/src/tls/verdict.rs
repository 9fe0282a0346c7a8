//! The gate before the peer's Finished, and what passes through it: a certificate to be judged, and
//! the verdict.

use bytes::Bytes;
use rustls::AlertDescription;

use crate::error::ApiMisuse;

/// Whether the peer's Finished may reach TLS. Before it does, TLS can neither complete the
/// handshake nor derive what follows from its completion, so a closed gate withholds our Finished,
/// 1-RTT data and everything else by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// It may: certificates are judged within TLS, there is none, or it was accepted.
    Open,
    /// It may not: a certificate came that is not judged within TLS.
    Closed,
    /// It may not: the peer has proved that it owns the certificate, and the verdict is awaited.
    Awaiting,
}

/// A certificate to be judged. The peer has proved that it owns it (CertificateVerify); whether it
/// is to be trusted is the question.
#[derive(Debug, Clone, PartialEq)]
pub struct Presented {
    /// The certificates in DER, leaf first.
    pub chain: Vec<Bytes>,
    /// Server's certificate: the OCSP response that came with it, or nothing.
    pub ocsp_response: Bytes,
    /// Client: the name that the server must prove to have. It is not the one asked for if the server refused
    /// an encrypted ClientHello (RFC 9849 section 6.1.7): then it is the public name of the ECH configuration.
    pub server_name: Option<String>,
    /// Whether it is no certificate but a raw public key (RFC 7250): a SubjectPublicKeyInfo in DER.
    pub raw: bool,
    /// What built-in validation says, if it was asked.
    pub builtin: Option<Result<(), rustls::Error>>,
}

/// An answer to [`Presented`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The peer is who it should be; the handshake goes on.
    Accept,
    /// It is not: the connection closes with CRYPTO_ERROR and this alert.
    Reject(Alert),
}

/// A TLS alert (RFC 8446 section 6.2) that says why a certificate was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert(u8);

impl Alert {
    /// The certificate is broken, or has a signature that does not verify.
    pub const BAD_CERTIFICATE: Self = Self(42);
    /// The certificate is of a kind that is not supported.
    pub const UNSUPPORTED_CERTIFICATE: Self = Self(43);
    /// Its issuer has revoked it.
    pub const CERTIFICATE_REVOKED: Self = Self(44);
    /// It is not valid now.
    pub const CERTIFICATE_EXPIRED: Self = Self(45);
    /// Something else is wrong with it.
    pub const CERTIFICATE_UNKNOWN: Self = Self(46);
    /// Its issuer is not trusted.
    pub const UNKNOWN_CA: Self = Self(48);
    /// It is valid, and its owner is not welcome.
    pub const ACCESS_DENIED: Self = Self(49);
    /// It could not be judged because something failed here.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// There should have been one.
    pub const CERTIFICATE_REQUIRED: Self = Self(116);

    /// An alert by its number, from 1 to 255: 0 is close_notify, which is no error.
    ///
    /// # Errors
    /// [`ApiMisuse::InvalidArgument`] for any other number.
    pub const fn new(number: u16) -> Result<Self, ApiMisuse> {
        match number {
            1..=255 => Ok(Self(number as u8)),
            _ => Err(ApiMisuse::InvalidArgument("a TLS alert that refuses is a number from 1 to 255")),
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The alert with which built-in validation would refuse.
    pub fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self(u8::from(AlertDescription::from(error.clone()))),
            _ => Self::CERTIFICATE_UNKNOWN,
        }
    }
}

impl std::fmt::Debug for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({})", AlertDescription::from(self.0), self.0)
    }
}
