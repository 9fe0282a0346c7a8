//! A client's side of a handshake: the server's certificate is judged here, so that a person can be told
//! whose it was and what is wrong with it, and how long the judgement took.

use std::time::Duration;

use tercel::aio::{CertificateVerifier as _, ConnectError, Connecting, Connection, OffThread};
use tercel::{CloseReason, PeerCertificate, Verdict};

use crate::{certificate, hq, now};

/// Who judges.
#[derive(Debug, Clone)]
pub(crate) enum Judge {
    /// The trust that the configuration names, whose advice is followed.
    Advised,
    /// The operating system.
    System(OffThread),
}

/// A connection whose handshake is complete.
pub(crate) struct Judged {
    pub(crate) connection: Connection,
    /// How long the judgement took; none was needed where a session goes on.
    pub(crate) verdict: Option<Duration>,
    /// The end of the leaf certificate's validity, in seconds since 1970, if there was one to judge.
    pub(crate) valid_until: Option<i64>,
}

impl Judge {
    /// Takes a handshake to its end; an error is in a person's words.
    pub(crate) async fn accompany(&self, mut connecting: Connecting) -> Result<Judged, String> {
        let (mut verdict, mut valid_until) = (None, None);
        if let Some((certificate, pending)) = connecting.certificate().await {
            let begun = now();
            let judgement = self.judge(&certificate).await;
            verdict = Some(begun.elapsed());
            valid_until = certificate::valid_until(certificate.leaf());
            // If it comes too late the connection's end tells why.
            let _ = pending.give(judgement);
            if let Verdict::Reject(alert) = judgement {
                // The server is told before the connection is given up.
                let _ = connecting.await;
                return Err(told(&certificate, alert.number()));
            }
        }
        match connecting.await {
            Ok(connection) => Ok(Judged { connection, verdict, valid_until }),
            Err(error) => Err(explain(&error)),
        }
    }

    async fn judge(&self, certificate: &PeerCertificate) -> Verdict {
        match self {
            Self::Advised => certificate.advised_verdict(),
            Self::System(system) => system.verify(certificate.clone()).await,
        }
    }
}

/// Why a certificate was refused, and whose it is.
fn told(certificate: &PeerCertificate, alert: u8) -> String {
    let why = match certificate.advice() {
        Some(Err(error)) => certificate::explain(error),
        _ => refusal(alert),
    };
    format!("its certificate was refused: {why}: {}", certificate::describe(certificate.leaf()).join("; "))
}

/// The same by the alert, which is all that the operating system gives.
fn refusal(alert: u8) -> String {
    match alert {
        48 => "no authority that you trust has signed it (see --ca and --pin)".into(),
        45 => "it has expired, or is not valid yet".into(),
        44 => "it was revoked".into(),
        42 => "it is not for this name, or broken".into(),
        alert => format!("TLS alert {alert}"),
    }
}

/// What went wrong, and what a person can do about it.
pub(crate) fn explain(error: &ConnectError) -> String {
    match error {
        ConnectError::Connection(CloseReason::HandshakeTimeout) => "nobody answers there".into(),
        ConnectError::Connection(CloseReason::Violation(violation)) => violation.to_string(),
        ConnectError::Connection(CloseReason::PeerTransport { code, .. }) if code.alert() == Some(120) => {
            format!("the server speaks neither HTTP/3 nor {}", hq::ALPN)
        }
        error => error.to_string(),
    }
}
