//! Certificates judged by a future: it may ask a database or another service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tercel_proto::tls::Verdict;

use crate::certificate::PeerCertificate;

/// Judges certificates that the credential leaves to the application ([`Trust::deferred`]), for the
/// async face ([`Configuration::judged_by`]). The future is driven by whoever awaits the
/// [`Connecting`](super::Connecting), and dropped when the connection no longer needs it. Closures
/// `Fn(PeerCertificate) -> impl Future<Output = Verdict>` are verifiers.
///
/// [`Trust::deferred`]: crate::Trust::deferred
/// [`Configuration::judged_by`]: crate::Configuration::judged_by
///
/// ```
/// use tercel::aio::CertificateVerifier;
/// use tercel::{Alert, Configuration, PeerCertificate, Settings, Trust, Verdict};
///
/// struct Guests(Database);
///
/// impl CertificateVerifier for Guests {
///     async fn verify(&self, certificate: PeerCertificate) -> Verdict {
///         match self.0.knows(certificate.fingerprint()).await {
///             true => Verdict::Accept,
///             false => Verdict::Reject(Alert::ACCESS_DENIED),
///         }
///     }
/// }
///
/// fn configuration(database: Database) -> Result<Configuration, tercel::Error> {
///     let client = Configuration::client(&["example"], Settings::default(), Trust::application())?;
///     Ok(client.judged_by(Guests(database)))
/// }
/// # struct Database;
/// # impl Database { async fn knows(&self, _: [u8; 32]) -> bool { true } }
/// ```
pub trait CertificateVerifier: Send + Sync + 'static {
    /// The verdict on `certificate`. Must not block: see [`OffThread`](super::OffThread).
    fn verify(&self, certificate: PeerCertificate) -> impl Future<Output = Verdict> + Send;
}

impl<F, V> CertificateVerifier for F
where
    F: Fn(PeerCertificate) -> V + Send + Sync + 'static,
    V: Future<Output = Verdict> + Send,
{
    fn verify(&self, certificate: PeerCertificate) -> impl Future<Output = Verdict> + Send {
        self(certificate)
    }
}

/// A verdict being worked on.
pub(crate) type Verifying = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// Any [`CertificateVerifier`].
pub(crate) trait AnyVerifier: Send + Sync {
    fn begin(self: Arc<Self>, certificate: PeerCertificate) -> Verifying;
}

impl<V: CertificateVerifier> AnyVerifier for V {
    fn begin(self: Arc<Self>, certificate: PeerCertificate) -> Verifying {
        Box::pin(async move { self.verify(certificate).await })
    }
}
