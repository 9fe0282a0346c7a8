//! Verifiers that block, on threads where that does no harm.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tercel_proto::tls::{Alert, Verdict};

use super::state::{Wakers, lock, wake};
use super::verifier::CertificateVerifier;
use crate::certificate::PeerCertificate;

/// So many verifications run at a time; more wait their turn.
const THREADS: usize = 8;

/// Runs a verifier of rustls that blocks, such as that of `rustls-platform-verifier`, on threads of
/// its own, which last as long as there is work for them.
///
/// ```no_run
/// use std::sync::Arc;
/// use rustls::client::danger::ServerCertVerifier;
/// use tercel::aio::OffThread;
/// use tercel::{Configuration, Settings, Trust};
///
/// fn configuration(verifier: Arc<dyn ServerCertVerifier>) -> Result<Configuration, tercel::Error> {
///     let client = Configuration::client(&["example"], Settings::default(), Trust::application())?;
///     Ok(client.judged_by(OffThread::servers(verifier)))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct OffThread {
    verifier: Blocking,
    pool: Arc<Mutex<Pool>>,
}

#[derive(Debug, Clone)]
enum Blocking {
    OfServers(Arc<dyn ServerCertVerifier>),
    OfClients(Arc<dyn ClientCertVerifier>),
}

#[derive(Debug, Default)]
struct Pool {
    waiting: VecDeque<(PeerCertificate, Duty)>,
    threads: usize,
}

impl OffThread {
    /// For clients: `verifier` judges servers.
    pub fn servers(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self { verifier: Blocking::OfServers(verifier), pool: Arc::default() }
    }

    /// For clients: the operating system judges servers, by `rustls-platform-verifier`: by what it trusts,
    /// and on Windows, macOS, iOS and Android by its own verifier, which may ask the network.
    ///
    /// # Errors
    /// [`Error::Tls`](crate::Error::Tls): the system has no verifier, or none of its authorities can be read.
    #[cfg(feature = "platform-verifier")]
    pub fn platform() -> Result<Self, crate::Error> {
        let verifier = rustls_platform_verifier::Verifier::new(crate::configuration::provider())
            .map_err(|error| crate::Error::tls(format!("this system cannot judge certificates: {error}")))?;
        Ok(Self::servers(Arc::new(verifier)))
    }

    /// For servers: `verifier` judges clients.
    pub fn clients(verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self { verifier: Blocking::OfClients(verifier), pool: Arc::default() }
    }

    /// The verdict, worked out on this thread.
    pub fn verify_blocking(&self, certificate: &PeerCertificate) -> Verdict {
        match self.verifier.ask(certificate) {
            Ok(()) => Verdict::Accept,
            Err(error) => Verdict::Reject(Alert::of(&error)),
        }
    }

    fn enqueue(&self, certificate: PeerCertificate, duty: Duty) {
        let mut pool = lock(&self.pool);
        pool.waiting.push_back((certificate, duty));
        if pool.threads == THREADS {
            return;
        }
        pool.threads += 1;
        drop(pool);
        let worker = self.clone();
        let started = std::thread::Builder::new().name("tercel-verifier".into()).spawn(move || worker.work());
        if let Err(error) = started {
            tracing::error!(%error, "no thread to verify certificates on");
            let mut pool = lock(&self.pool);
            pool.threads -= 1;
            // What nobody will do is answered by being dropped.
            let abandoned = if pool.threads == 0 { std::mem::take(&mut pool.waiting) } else { VecDeque::new() };
            drop(pool);
            drop(abandoned);
        }
    }

    /// A thread's work: whatever waits, until nothing does.
    fn work(&self) {
        let _here = Here(&self.pool);
        loop {
            let mut pool = lock(&self.pool);
            let Some((certificate, duty)) = pool.waiting.pop_front() else { return };
            drop(pool);
            if !duty.is_forgotten() {
                duty.answer(self.verify_blocking(&certificate));
            }
        }
    }
}

/// A thread that works, and is no longer counted when it ends, be it by a panic.
struct Here<'a>(&'a Mutex<Pool>);

impl Drop for Here<'_> {
    fn drop(&mut self) {
        lock(self.0).threads -= 1;
    }
}

impl Blocking {
    fn ask(&self, certificate: &PeerCertificate) -> Result<(), rustls::Error> {
        let chain: Vec<CertificateDer<'_>> =
            certificate.chain().iter().map(|der| CertificateDer::from(der.as_ref())).collect();
        let (leaf, intermediates) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let now = UnixTime::now();
        match self {
            Self::OfServers(verifier) => {
                let name = certificate.server_name().unwrap_or_default();
                let name = ServerName::try_from(name).map_err(|_| rustls::CertificateError::NotValidForName)?;
                let ocsp = certificate.ocsp_response();
                verifier.verify_server_cert(leaf, intermediates, &name, ocsp, now).map(drop)
            }
            Self::OfClients(verifier) => verifier.verify_client_cert(leaf, intermediates, now).map(drop),
        }
    }
}

impl CertificateVerifier for OffThread {
    fn verify(&self, certificate: PeerCertificate) -> impl Future<Output = Verdict> + Send {
        let answer = Arc::new(Mutex::new(Answer::default()));
        self.enqueue(certificate, Duty(answer.clone()));
        poll_fn(move |context: &mut Context<'_>| {
            let mut answer = lock(&answer);
            match answer.verdict {
                Some(verdict) => Poll::Ready(verdict),
                None => {
                    answer.wakers.wait(context);
                    Poll::Pending
                }
            }
        })
    }
}

#[derive(Debug, Default)]
struct Answer {
    verdict: Option<Verdict>,
    wakers: Wakers,
}

/// The duty to answer, met even if the verifier panics.
#[derive(Debug)]
struct Duty(Arc<Mutex<Answer>>);

impl Duty {
    /// Whether nobody waits any more.
    fn is_forgotten(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn answer(&self, verdict: Verdict) {
        let mut answer = lock(&self.0);
        answer.verdict.get_or_insert(verdict);
        let wakers = answer.wakers.take();
        drop(answer);
        wake(wakers);
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.answer(Verdict::Reject(Alert::INTERNAL_ERROR));
    }
}
