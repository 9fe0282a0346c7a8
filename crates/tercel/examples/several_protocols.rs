//! Several application protocols on one port, each with a listener and a handler of its own.
//!
//! `cargo run -p tercel --example several_protocols`

use std::error::Error;
use std::net::SocketAddr;
use std::sync::mpsc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tercel::{
    Bytes, Configuration, Connect, Connection, ConnectionEvent, Direction, Identity, Listen, Listener, ListenerEvent,
    Registration, RegistrationConfig, Settings, Stream, StreamEvent, Trust,
};

fn main() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into())?;
    let trust = Trust::Pinned(identity.fingerprint());
    let registration = Registration::new(RegistrationConfig::default())?;

    // The first listener chooses the port, the second one shares it. What a client offers decides between them.
    let upper = listen(&registration, "127.0.0.1:0".parse()?, "upper", identity.clone(), |text| text.to_uppercase())?;
    let address = upper.local_address();
    let _lower = listen(&registration, address, "lower", identity, |text| text.to_lowercase())?;

    for protocol in ["upper", "lower"] {
        let client = Configuration::client(&[protocol], Settings::default(), trust.clone())?;
        let (tell, answers) = mpsc::channel();
        let events = move |connection: &Connection, event: ConnectionEvent<'_>| {
            if let ConnectionEvent::Connected { .. } = event
                && let Err(error) = ask(connection, "Hello", tell.clone())
            {
                eprintln!("{protocol}: {error}");
            }
        };
        let connection = registration.connect(&client, Connect::new(address, "localhost"), events)?;
        println!("{protocol}: {}", answers.recv()?);
        connection.close(0u32.into(), Bytes::new());
    }
    Ok(())
}

/// Server: listens for one protocol, and answers each stream with what `answer` makes of it.
fn listen(
    registration: &Registration,
    address: SocketAddr,
    protocol: &'static str,
    identity: Identity,
    answer: fn(&str) -> String,
) -> Result<Listener, tercel::Error> {
    let configuration = Configuration::server(&[protocol], Settings::default(), identity)?;
    let events = move |_: &Connection, event: ConnectionEvent<'_>| {
        if let ConnectionEvent::PeerStreamStarted(new) = event {
            let reply = whole(move |stream, question| {
                // Fails only if the connection has ended meanwhile.
                let _ = stream.send(answer(&question).into(), true, 0);
            });
            if let Ok(stream) = new.accept(reply) {
                stream.detach();
            }
        }
    };
    registration.listen(Listen::new(address, [protocol]), move |_: &Listener, event: ListenerEvent| {
        if let ListenerEvent::NewConnection(new) = event
            && let Ok(connection) = new.accept(&configuration, events)
        {
            connection.detach();
        }
    })
}

/// Client: asks on one stream, and passes on what comes back.
fn ask(connection: &Connection, question: &'static str, answer: mpsc::Sender<String>) -> Result<(), tercel::Error> {
    let hear = whole(move |_, text| drop(answer.send(text)));
    let stream = connection.open_stream(Direction::Bidirectional, hear)?;
    stream.send(Bytes::from_static(question.as_bytes()), true, 0)?;
    stream.detach();
    Ok(())
}

/// A handler that gathers what the peer sends, and passes it on when it is whole.
fn whole(then: impl Fn(&Stream, String) + Send + 'static) -> impl FnMut(&Stream, StreamEvent<'_>) + Send + 'static {
    let mut heard = Vec::new();
    move |stream, event| {
        if let StreamEvent::Receive(data) = event {
            data.chunks().iter().for_each(|piece| heard.extend_from_slice(piece));
            if data.fin() {
                then(stream, String::from_utf8_lossy(&heard).into_owned());
            }
        }
    }
}
