//! MsQuic. Connections and streams are closed with their client or server, which MsQuic wants before the
//! process ends; what it is given to send is leaked.

use std::ffi::c_void;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use msquic::{
    Addr, Api, BufferRef, CertificateFile, Configuration, Connection, ConnectionEvent, ConnectionRef, Credential,
    CredentialConfig, CredentialFlags, Listener, ListenerEvent, Registration, RegistrationConfig, SendFlags,
    ServerResumptionLevel, Settings, Status, Stream, StreamEvent, StreamOpenFlags, StreamRef, StreamStartFlags, ffi,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{Certificate, Client, QUESTION, Seen, Server, Told};

fn registration() -> &'static Registration {
    static REGISTRATION: OnceLock<Registration> = OnceLock::new();
    REGISTRATION.get_or_init(|| Registration::new(&RegistrationConfig::default()).expect("MsQuic"))
}

fn alpn() -> [BufferRef; 1] {
    [BufferRef::from(crate::ALPN)]
}

/// A configuration with this certificate.
fn configuration(certificate: &Certificate, settings: &Settings, flags: CredentialFlags) -> Configuration {
    static FILES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let file = |text: &str| {
        let number = FILES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tercel-interop-{}-{number}.pem", std::process::id()));
        std::fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
        path
    };
    let (key, chain) = (file(&certificate.pem.key), file(&certificate.pem.certificate));
    let files = CertificateFile::new(key.display().to_string(), chain.display().to_string());
    let configuration = Configuration::open(registration(), &alpn(), Some(settings)).expect("a configuration");
    let credential = CredentialConfig::new()
        .set_credential_flags(flags | CredentialFlags::NO_CERTIFICATE_VALIDATION)
        .set_credential(Credential::CertificateFile(files));
    configuration.load_credential(&credential).expect("a certificate");
    for path in [key, chain] {
        std::fs::remove_file(path).expect("the file");
    }
    configuration
}

fn settings() -> Settings {
    Settings::new().set_IdleTimeoutMs(20_000).set_HandshakeIdleTimeoutMs(10_000)
}

fn end(event: &ConnectionEvent<'_>) -> Option<Seen> {
    match event {
        ConnectionEvent::ShutdownInitiatedByPeer { error_code } => Some(Seen::Application(*error_code)),
        ConnectionEvent::ShutdownInitiatedByTransport { error_code, .. } => Some(Seen::Transport(*error_code)),
        _ => None,
    }
}

/// What is closed at the end, in this order.
#[derive(Default)]
struct Handles {
    streams: Vec<Stream>,
    connections: Vec<Connection>,
}

type Kept = Arc<Mutex<Handles>>;

fn keep(kept: &Kept, take: impl FnOnce(&mut Handles)) {
    take(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Sends `data` and the end of the stream.
fn send(stream: &Stream, data: &'static [u8], flags: SendFlags) -> Result<(), Status> {
    let buffers: &'static [BufferRef; 1] = Box::leak(Box::new([BufferRef::from(data)]));
    // SAFETY: what is sent is never freed.
    unsafe { stream.send(buffers, flags | SendFlags::FIN, std::ptr::null()) }
}

/// Gives all that comes on a stream to `whole`, when it is there.
fn whole(
    mut whole: impl FnMut(&Stream, Vec<u8>) -> Result<(), Status> + 'static,
) -> impl FnMut(StreamRef, StreamEvent<'_>) -> Result<(), Status> + 'static {
    let mut data = Vec::new();
    move |stream, event| match event {
        StreamEvent::Receive { buffers, .. } => {
            buffers.iter().for_each(|buffer| data.extend_from_slice(buffer.as_bytes()));
            Ok(())
        }
        StreamEvent::PeerSendShutdown => whole(&stream, std::mem::take(&mut data)),
        _ => Ok(()),
    }
}

/// Starts a server.
pub fn server() -> Server {
    let settings =
        settings().set_PeerBidiStreamCount(10).set_ServerResumptionLevel(ServerResumptionLevel::ResumeAndZerortt);
    let identity = Certificate::new();
    let configuration = configuration(&identity, &settings, CredentialFlags::NONE);
    let (tell, ends) = unbounded_channel();
    let kept = Kept::default();
    let handles = kept.clone();
    let listener = Listener::open(registration(), move |_, event| {
        if let ListenerEvent::NewConnection { connection, .. } = event {
            let (tell, streams) = (tell.clone(), Arc::downgrade(&handles));
            connection.set_callback_handler(move |connection, event| serve(&connection, &event, &tell, &streams));
            connection.set_configuration(&configuration)?;
            // SAFETY: a connection that was taken in belongs to the application.
            let connection = unsafe { Connection::from_raw(connection.as_raw()) };
            keep(&handles, |handles| handles.connections.push(connection));
        }
        Ok(())
    })
    .expect("a listener");
    listener.start(&alpn(), Some(&Addr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))).expect("a listener");
    let address = listener.get_local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    Server { name: "MsQuic", address, certificate: identity.der, ends, keep: Box::new((listener, kept)) }
}

fn serve(
    connection: &ConnectionRef,
    event: &ConnectionEvent<'_>,
    tell: &UnboundedSender<(Seen, Instant)>,
    kept: &Weak<Mutex<Handles>>,
) -> Result<(), Status> {
    match event {
        ConnectionEvent::Connected { .. } => {
            let send_ticket = Api::get_ffi().ConnectionSendResumptionTicket.expect("MsQuic's table is full");
            // SAFETY: the connection is alive during its event; there is no data.
            let status = unsafe { send_ticket(connection.as_raw(), 0, 0, std::ptr::null()) };
            Status::ok_from_raw(status)?;
        }
        ConnectionEvent::PeerStreamStarted { stream, .. } => {
            stream.set_callback_handler(whole(|stream, question| send(stream, question.leak(), SendFlags::NONE)));
            // SAFETY: a stream of the peer belongs to the application.
            let stream = unsafe { Stream::from_raw(stream.as_raw()) };
            if let Some(kept) = kept.upgrade() {
                keep(&kept, |handles| handles.streams.push(stream));
            }
        }
        event => {
            if let Some(seen) = end(event) {
                let _ = tell.send((seen, Instant::now()));
            }
        }
    }
    Ok(())
}

/// The newest ticket that came.
type Ticket = Arc<Mutex<Vec<u8>>>;

/// A client that shows `identity`, and trusts every server.
pub fn client(identity: &Certificate, _trusted: &Certificate) -> Client {
    let configuration = configuration(identity, &settings(), CredentialFlags::CLIENT);
    let (tell, told) = unbounded_channel();
    let (ticket, kept) = (Ticket::default(), Kept::default());
    let connect = move |address: SocketAddr| {
        connect(&configuration, address, &ticket, &tell, &kept).expect("a connection");
    };
    Client { name: "MsQuic", told, connect: Box::new(connect) }
}

fn connect(
    configuration: &Configuration,
    address: SocketAddr,
    ticket: &Ticket,
    tell: &UnboundedSender<(Told, Instant)>,
    kept: &Kept,
) -> Result<(), Status> {
    let (ends, newest) = (tell.clone(), ticket.clone());
    let connection = Connection::open(registration(), move |_, event| {
        if let ConnectionEvent::ResumptionTicketReceived { resumption_ticket } = &event {
            *newest.lock().unwrap_or_else(PoisonError::into_inner) = resumption_ticket.to_vec();
        }
        if let Some(seen) = end(&event) {
            let _ = ends.send((Told::End(seen), Instant::now()));
        }
        Ok(())
    })?;
    let set = |param, data: *const c_void, len: usize| {
        // SAFETY: `data` points to `len` bytes, which MsQuic copies.
        unsafe { Api::set_param(connection.as_raw(), param, u32::try_from(len).expect("a length"), data) }
    };
    // The name must be that of the certificate, whatever it resolves to.
    let remote = Addr::from(address);
    set(ffi::QUIC_PARAM_CONN_REMOTE_ADDRESS, (&raw const remote).cast(), size_of::<Addr>())?;
    let ticket = std::mem::take(&mut *ticket.lock().unwrap_or_else(PoisonError::into_inner));
    if !ticket.is_empty() {
        set(ffi::QUIC_PARAM_CONN_RESUMPTION_TICKET, ticket.as_ptr().cast(), ticket.len())?;
    }
    let answers = tell.clone();
    let answer = move |_: &Stream, answer: Vec<u8>| {
        let _ = answers.send((Told::Answer(answer.into()), Instant::now()));
        Ok(())
    };
    let stream = Stream::open(&connection, StreamOpenFlags::ZERO_RTT, whole(answer))?;
    stream.start(StreamStartFlags::NONE)?;
    send(&stream, QUESTION, SendFlags::ALLOW_0_RTT)?;
    connection.start(configuration, "localhost", address.port())?;
    keep(kept, |handles| {
        handles.streams.push(stream);
        handles.connections.push(connection);
    });
    Ok(())
}
