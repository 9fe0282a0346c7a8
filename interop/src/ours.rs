//! Tercel as a server: answers questions, and passes on what it hears.

use std::net::SocketAddr;
use std::sync::mpsc;

use rustls::pki_types::PrivateKeyDer;
use tercel::{
    Bytes, Configuration, Connection, ConnectionEvent, Identity, Listen, Listener, ListenerEvent, OfferedTicket,
    PeerCertificate, PendingVerdict, Registration, RegistrationConfig, Resume, Stream, StreamEvent,
};

use crate::{ALPN, Certificate, PATIENCE};

/// What happens to the server's connections, one at a time in these tests.
#[derive(Debug)]
pub enum Heard {
    /// A client has come and was taken in. It may have shown a ticket.
    Client(Connection, Option<Box<OfferedTicket>>),
    /// It shows this certificate.
    Certificate(PeerCertificate, PendingVerdict),
    /// The handshake is complete.
    Connected {
        /// An earlier session goes on.
        resumed: bool,
        /// Its early data was taken.
        early_data: bool,
    },
    /// The client has opened a stream.
    Stream,
    /// The connection has ended.
    Complete {
        /// Whether its handshake was complete.
        connected: bool,
    },
}

/// How the server resumes sessions, besides what its configuration says.
#[derive(Clone, Copy, Default)]
pub struct Resuming {
    /// With this in it each client gets a ticket, as soon as the handshake is complete.
    pub ticket: Option<&'static [u8]>,
    /// What becomes of clients that show one.
    pub resume: Resume,
}

/// A server that is running.
pub struct OurServer {
    /// Where.
    pub address: SocketAddr,
    /// What it hears.
    pub heard: mpsc::Receiver<Heard>,
    _listener: Listener,
    _registration: Registration,
}

/// A certificate as Tercel wants it.
pub fn identity(certificate: &Certificate) -> Identity {
    let key: PrivateKeyDer<'static> = certificate.key.clone_key();
    Identity::new(vec![certificate.der.clone()], key).expect("a certificate with its key")
}

impl OurServer {
    /// Starts one.
    pub fn start(configuration: Configuration, resuming: Resuming) -> Self {
        let registration = Registration::new(RegistrationConfig::default()).expect("workers");
        let (tell, heard) = mpsc::channel();
        let listen = Listen::new(SocketAddr::from(([127, 0, 0, 1], 0)), [ALPN]);
        let listener = registration.listen(listen, move |_: &Listener, event: ListenerEvent| {
            if let ListenerEvent::NewConnection(new) = event {
                let offered = new.ticket(&configuration).map(Box::new);
                let handler = handler(tell.clone(), resuming.ticket);
                if let Ok(connection) = new.resume(resuming.resume).accept(&configuration, handler) {
                    let _ = tell.send(Heard::Client(connection, offered));
                }
            }
        });
        let listener = listener.expect("a listener");
        Self { address: listener.local_address(), heard, _listener: listener, _registration: registration }
    }

    /// The next thing heard.
    pub fn hear(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("something happens")
    }

    /// The next client.
    pub fn client(&self) -> (Connection, Option<Box<OfferedTicket>>) {
        match self.hear() {
            Heard::Client(connection, offered) => (connection, offered),
            other => panic!("no client but {other:?}"),
        }
    }
}

fn handler(tell: mpsc::Sender<Heard>, ticket: Option<&'static [u8]>) -> impl FnMut(&Connection, ConnectionEvent<'_>) {
    move |connection, event| {
        let heard = match event {
            ConnectionEvent::PeerCertificate { certificate, verdict } => Heard::Certificate(certificate, verdict),
            ConnectionEvent::Connected { resumed, early_data_accepted, .. } => {
                if let Some(data) = ticket {
                    connection.send_resumption_ticket(Bytes::from_static(data)).expect("the client can resume");
                }
                Heard::Connected { resumed, early_data: early_data_accepted }
            }
            ConnectionEvent::PeerStreamStarted(new) => {
                if let Ok(stream) = new.accept(answer) {
                    stream.detach();
                }
                Heard::Stream
            }
            ConnectionEvent::ShutdownComplete { handshake_completed, .. } => {
                Heard::Complete { connected: handshake_completed }
            }
            _ => return,
        };
        let _ = tell.send(heard);
    }
}

/// Sends back what comes. On a stream that has ended there is nobody left to answer.
fn answer(stream: &Stream, event: StreamEvent<'_>) {
    match event {
        StreamEvent::Receive(mut data) => {
            for chunk in data.take() {
                let _ = stream.send(chunk, false, 0);
            }
        }
        StreamEvent::PeerSendShutdown => {
            let _ = stream.finish();
        }
        _ => {}
    }
}
