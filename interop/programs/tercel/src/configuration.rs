//! What a case asks of the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tercel::{
    ClientAuthentication, ClientCredential, Configuration, Identity, PeerCertificate, ServerCredential, Settings,
    Trust, Version,
};
use tercel_interop_end::{ALPN, Arguments, KEEP_ALIVE, PATIENCE, Role};

use crate::Failure;

/// How long an application thinks about a certificate in the case `verdict`.
const DELIBERATION: Duration = Duration::from_millis(300);

fn settings(arguments: &Arguments) -> Settings {
    let mut settings = Settings { handshake_timeout: Duration::from_millis(PATIENCE), ..Settings::default() };
    if arguments.is(&["multiplexing", "streams"]) {
        settings.max_bidi_streams = 1000;
    }
    settings.ack_frequency = arguments.is(&["ackfrequency"]);
    settings.one_way_delay = arguments.is(&["timestamps"]);
    settings.learn_address = arguments.is(&["addressdiscovery"]);
    settings.report_addresses = arguments.is(&["addressdiscovery"]);
    if arguments.is(&["datagrams"]) {
        settings.max_datagram_size = 1200;
    }
    if arguments.is(&["reset"]) && arguments.role == Role::Client {
        settings.keep_alive = Some(Duration::from_millis(KEEP_ALIVE));
    }
    (settings.versions, settings.original_version) = versions(arguments);
    if let Some(preferred) = arguments.preferred {
        settings.preferred_address = Some(match preferred {
            SocketAddr::V4(ipv4) => tercel_proto::config::PreferredAddress { ipv4: Some(ipv4), ipv6: None },
            SocketAddr::V6(ipv6) => tercel_proto::config::PreferredAddress { ipv4: None, ipv6: Some(ipv6) },
        });
    }
    settings
}

/// The versions of a case, and the one that a client begins with. A server without any goes by its clients.
pub fn versions(arguments: &Arguments) -> (Vec<Version>, Option<Version>) {
    match (arguments.case.as_str(), arguments.role) {
        ("v2", Role::Client) => (vec![Version::V2, Version::V1], Some(Version::V1)),
        ("v2", Role::Server) => (vec![Version::V2, Version::V1], None),
        ("v2first", _) => (vec![Version::V2], None),
        // RFC 9368 section 2.2: the server does not speak what the client begins with.
        ("versionnegotiation", Role::Client) => (vec![Version::V2, Version::V1], Some(Version::V2)),
        ("versionnegotiation", Role::Server) => (vec![Version::V1], None),
        _ => (Vec::new(), None),
    }
}

async fn think(certificate: PeerCertificate) -> tercel::Verdict {
    tokio::time::sleep(DELIBERATION).await;
    certificate.advised_verdict()
}

fn identity(arguments: &Arguments) -> Result<Identity, tercel::Error> {
    Identity::from_files(&arguments.certificate, &arguments.key)
}

/// A client's.
pub fn client(arguments: &Arguments) -> Result<Configuration, Failure> {
    if arguments.is(&["chacha20"]) {
        return chacha20(arguments);
    }
    let mut trust = Trust::from_file(&arguments.authority)?;
    let judged = arguments.is(&["verdict", "earlyclose"]);
    if judged {
        trust = trust.deferred();
    }
    let identity = arguments.is(&["clientcert"]).then(|| identity(arguments)).transpose()?;
    let made = Configuration::client(&[ALPN], settings(arguments), ClientCredential { trust, identity })?;
    Ok(if judged { made.judged_by(think) } else { made })
}

/// A server's.
pub fn server(arguments: &Arguments) -> Result<Configuration, Failure> {
    let Trust::Roots(authorities) = Trust::from_file(&arguments.authority)? else {
        return Err("no authorities".into());
    };
    let clients = match arguments.case.as_str() {
        "clientcert" => ClientAuthentication::Required(authorities),
        "verdict" => ClientAuthentication::Deferred { required: true, advice: Some(authorities) },
        _ => ClientAuthentication::None,
    };
    let credential = ServerCredential { identity: identity(arguments)?, clients };
    Ok(Configuration::server(&[ALPN], settings(arguments), credential)?.judged_by(think))
}

/// A client's that offers a single cipher suite.
fn chacha20(arguments: &Arguments) -> Result<Configuration, Failure> {
    use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&arguments.authority)?)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.key_log = Arc::new(rustls::KeyLogFile::new());
    Ok(Configuration::from_tls(Some(Arc::new(tls)), None, settings(arguments).transport()?))
}
