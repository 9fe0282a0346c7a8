//! Several application protocols on one port, each with a listener and a handler of its own.
//! `cargo run -p tercel --example several_protocols`

use std::error::Error;
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

    // The first listener chooses the port, the second one shares it.
    let upper = listen(&registration, "127.0.0.1:0".parse()?, "upper", identity.clone(), |text| text.to_uppercase())?;
    let address = upper.local_address();
    let _lower = listen(&registration, address, "lower", identity, |text| text.to_lowercase())?;

    for protocol in ["upper", "lower"] {
        let (tell, answers) = mpsc::channel();
        let client = Configuration::client(&[protocol], Settings::default(), trust.clone())?;
        let events = move |connection: &Connection, event: ConnectionEvent<'_>| {
            if let ConnectionEvent::Connected { .. } = event {
                let tell = tell.clone();
                let hear = move |_: &Stream, event: StreamEvent<'_>| {
                    if let StreamEvent::Receive(data) = event {
                        let text: Vec<u8> = data.chunks().concat();
                        let _ = tell.send(String::from_utf8_lossy(&text).into_owned());
                    }
                };
                if let Ok(stream) = connection.open_stream(Direction::Bidirectional, hear) {
                    let _ = stream.send(Bytes::from_static(b"Hello"), true, 0);
                    stream.detach();
                }
            }
        };
        let connection = registration.connect(&client, Connect::new(address, "localhost"), events)?;
        println!("{protocol}: {}", answers.recv()?);
        connection.close(0u32.into(), Bytes::new());
    }
    Ok(())
}

/// Serves one protocol, answering each stream with what `answer` makes of it.
fn listen(
    registration: &Registration,
    address: std::net::SocketAddr,
    protocol: &'static str,
    identity: Identity,
    answer: fn(&str) -> String,
) -> Result<Listener, tercel::Error> {
    let configuration = Configuration::server(&[protocol], Settings::default(), identity)?;
    registration.listen(Listen::new(address, [protocol]), move |_: &Listener, event: ListenerEvent| {
        let ListenerEvent::NewConnection(new) = event else { return };
        let events = move |_: &Connection, event: ConnectionEvent<'_>| {
            if let ConnectionEvent::PeerStreamStarted(stream) = event {
                let hear = move |stream: &Stream, event: StreamEvent<'_>| {
                    if let StreamEvent::Receive(data) = event {
                        let text: Vec<u8> = data.chunks().concat();
                        let text = answer(&String::from_utf8_lossy(&text));
                        let _ = stream.send(text.into(), true, 0);
                    }
                };
                if let Ok(stream) = stream.accept(hear) {
                    stream.detach();
                }
            }
        };
        if let Ok(connection) = new.accept(&configuration, events) {
            connection.detach();
        }
    })
}
