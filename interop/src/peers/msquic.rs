//! MsQuic. Its objects are leaked: they live as long as the process, so that nothing has to be closed by
//! hand.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use msquic::{
    Addr, BufferRef, CertificateFile, Configuration, ConnectionEvent, Credential, CredentialConfig, CredentialFlags,
    Listener, ListenerEvent, Registration, RegistrationConfig, Settings,
};

use crate::{Seen, Server};

/// Starts a server.
pub fn server() -> Server {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let file = |text: String, name: &str| {
        let path = std::env::temp_dir().join(format!("tercel-interop-{}-{name}", std::process::id()));
        std::fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
        path.display().to_string()
    };
    let (key, chain) = (file(made.signing_key.serialize_pem(), "key.pem"), file(made.cert.pem(), "cert.pem"));
    let registration = Box::leak(Box::new(Registration::new(&RegistrationConfig::default()).expect("MsQuic")));
    let alpn = [BufferRef::from("interop")];
    let settings = Settings::new().set_IdleTimeoutMs(20_000).set_HandshakeIdleTimeoutMs(10_000);
    let configuration = Configuration::open(registration, &alpn, Some(&settings)).expect("a configuration");
    let credential = CredentialConfig::new()
        .set_credential_flags(CredentialFlags::NO_CERTIFICATE_VALIDATION)
        .set_credential(Credential::CertificateFile(CertificateFile::new(key, chain)));
    configuration.load_credential(&credential).expect("a certificate");
    let (tell, ends) = tokio::sync::mpsc::unbounded_channel();
    let listener = Listener::open(registration, move |_, event| {
        if let ListenerEvent::NewConnection { connection, .. } = event {
            let tell = tell.clone();
            connection.set_callback_handler(move |_, event| {
                let seen = match event {
                    ConnectionEvent::ShutdownInitiatedByPeer { error_code } => Seen::Application(error_code),
                    ConnectionEvent::ShutdownInitiatedByTransport { error_code, .. } => Seen::Transport(error_code),
                    _ => return Ok(()),
                };
                let _ = tell.send((seen, Instant::now()));
                Ok(())
            });
            connection.set_configuration(&configuration)?;
        }
        Ok(())
    })
    .expect("a listener");
    let listener = Box::leak(Box::new(listener));
    listener.start(&alpn, Some(&Addr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))).expect("a listener");
    let address = listener.get_local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    Server { name: "MsQuic", address, ends, keep: Box::new(()) }
}
