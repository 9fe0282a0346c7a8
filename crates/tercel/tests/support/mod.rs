//! What the tests over real sockets share: a certificate, configurations, and handlers that record.
#![allow(dead_code, clippy::unwrap_used, reason = "for tests, and not every one uses everything")]

pub(crate) mod balancer;
pub(crate) mod mutate;
pub(crate) mod relay;

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tercel::{
    Bytes, Configuration, Connection, ConnectionEvent, Direction, Listen, Listener, ListenerEvent, NewStream,
    Registration, RegistrationConfig, Stream, StreamEvent,
};
use tercel_proto::config::TransportConfig;

pub(crate) const ALPN: &[u8] = b"test";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A configuration for both ends.
pub(crate) fn configuration(transport: TransportConfig) -> Configuration {
    let [configuration] = configurations([transport]);
    configuration
}

/// Configurations for both ends that differ in nothing but their settings.
pub(crate) fn configurations<const N: usize>(transports: [TransportConfig; N]) -> [Configuration; N] {
    let (client, server) = tls();
    transports.map(|transport| Configuration::from_tls(Some(client.clone()), Some(server.clone()), Arc::new(transport)))
}

fn tls() -> (Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = [&rustls::version::TLS13];
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![ALPN.to_vec(), b"other".to_vec()];
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    (Arc::new(client), Arc::new(server))
}

pub(crate) fn registration(workers: usize) -> Registration {
    let mut config = RegistrationConfig::default();
    config.workers = workers;
    Registration::new(config).unwrap()
}

/// Events as words, in order.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    words: Arc<Mutex<Vec<String>>>,
    tell: Sender<String>,
}

impl Record {
    pub(crate) fn new() -> (Self, Receiver<String>) {
        let (tell, heard) = mpsc::channel();
        (Self { words: Arc::default(), tell }, heard)
    }

    pub(crate) fn note(&self, word: impl Into<String>) {
        let word = word.into();
        self.words.lock().unwrap().push(word.clone());
        let _ = self.tell.send(word);
    }

    pub(crate) fn words(&self) -> Vec<String> {
        self.words.lock().unwrap().clone()
    }
}

/// Waits for an event whose word begins with `start`.
pub(crate) fn wait_for(heard: &Receiver<String>, start: &str) -> String {
    let mut others = Vec::new();
    loop {
        let word = heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {start}, but {others:?}"));
        if word.starts_with(start) {
            return word;
        }
        others.push(word);
    }
}

/// Waits for events whose words begin with each of `starts`, in whatever order.
pub(crate) fn wait_for_all(heard: &Receiver<String>, starts: &[&str]) {
    let mut awaited = starts.to_vec();
    while !awaited.is_empty() {
        let word = heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {awaited:?}"));
        awaited.retain(|start| !word.starts_with(start));
    }
}

/// Waits for an event whose word begins with one of `starts`, and tells which.
pub(crate) fn wait_for_any<'a>(heard: &Receiver<String>, starts: &[&'a str]) -> &'a str {
    loop {
        let word = heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("none of {starts:?}"));
        if let Some(start) = starts.iter().find(|start| word.starts_with(*start)) {
            return start;
        }
    }
}

/// The word for a connection's event.
pub(crate) fn word(event: &ConnectionEvent<'_>) -> String {
    match event {
        ConnectionEvent::Connected { .. } => "Connected".into(),
        ConnectionEvent::HandshakeConfirmed => "HandshakeConfirmed".into(),
        ConnectionEvent::PeerStreamStarted(_) => "PeerStreamStarted".into(),
        ConnectionEvent::ShutdownInitiatedByPeer { code, .. } => format!("ShutdownInitiatedByPeer {code}"),
        ConnectionEvent::ShutdownInitiatedByTransport { reason } => format!("ShutdownInitiatedByTransport {reason:?}"),
        ConnectionEvent::ShutdownComplete { handshake_completed, reason } => {
            format!("ShutdownComplete {handshake_completed} {reason:?}")
        }
        ConnectionEvent::DatagramReceived(data) => format!("DatagramReceived {}", data.len()),
        ConnectionEvent::DatagramSendStateChanged { context, state } => format!("Datagram {context} {state:?}"),
        other => format!("{other:?}"),
    }
}

/// A connection handler that records, and gives new streams to `stream`.
pub(crate) fn recorder(
    record: Record,
    mut stream: impl FnMut(&Connection, NewStream) + Send + 'static,
) -> impl FnMut(&Connection, ConnectionEvent<'_>) + Send + 'static {
    move |connection, event| {
        record.note(word(&event));
        if let ConnectionEvent::PeerStreamStarted(new) = event {
            stream(connection, new);
        }
    }
}

/// Takes a stream and sends back what comes.
pub(crate) fn echo(_: &Connection, new: NewStream) {
    let accepted = new.accept(|stream: &Stream, event: StreamEvent<'_>| {
        if let StreamEvent::Receive(mut receive) = event {
            let fin = receive.fin();
            let chunks: Vec<Bytes> = receive.take().collect();
            for chunk in chunks {
                let _ = stream.send(chunk, false, 0);
            }
            if fin {
                let _ = stream.finish();
            }
        }
    });
    if let Ok(stream) = accepted {
        stream.detach();
    }
}

/// Listens and accepts everything; each connection records into `record` and echoes.
pub(crate) fn echo_server(
    registration: &Registration,
    configuration: &Configuration,
    address: SocketAddr,
    record: &Record,
) -> Listener {
    try_echo_server(registration, configuration, address, record).unwrap()
}

/// The same, where binding may fail.
pub(crate) fn try_echo_server(
    registration: &Registration,
    configuration: &Configuration,
    address: SocketAddr,
    record: &Record,
) -> Result<Listener, tercel::Error> {
    let (configuration, record) = (configuration.clone(), record.clone());
    registration.listen(Listen::new(address, [ALPN]), move |_: &Listener, event| {
        if let ListenerEvent::NewConnection(new) = event
            && let Ok(connection) = new.accept(&configuration, recorder(record.clone(), echo))
        {
            connection.detach();
        }
    })
}

/// Sends `data` on a new stream and gives what comes back.
pub(crate) fn exchange(connection: &Connection, data: Bytes) -> Receiver<Vec<u8>> {
    let (done, result) = mpsc::channel();
    let mut got = Vec::new();
    let stream = connection
        .open_stream(Direction::Bidirectional, move |_: &Stream, event: StreamEvent<'_>| match event {
            StreamEvent::Receive(receive) => {
                receive.chunks().iter().for_each(|chunk| got.extend_from_slice(chunk));
            }
            StreamEvent::ShutdownComplete => {
                let _ = done.send(std::mem::take(&mut got));
            }
            _ => {}
        })
        .unwrap();
    stream.send(data, true, 1).unwrap();
    stream.detach();
    result
}

/// Bytes that differ everywhere.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
