//! Echo by callback: events come to handlers on the workers, and calls from within them act at once.
//!
//! `cargo run -p tercel --example echo_callback`

use std::error::Error;
use std::sync::mpsc;

use tercel::{
    Bytes, Configuration, Connect, Connection, ConnectionEvent, Direction, Identity, Listen, Listener, ListenerEvent,
    Registration, RegistrationConfig, Settings, Stream, StreamEvent, Trust,
};

/// A certificate made on the spot, as no real service would have it.
fn identity() -> Result<Identity, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok(Identity::new(vec![made.cert.der().clone()], key.into())?)
}

/// Server: sends back what comes, piece by piece, without copying it.
fn echo(stream: &Stream, event: StreamEvent<'_>) {
    if let StreamEvent::Receive(mut data) = event {
        let fin = data.fin();
        for piece in data.take() {
            // Fails only if the connection has ended meanwhile.
            let _ = stream.send(piece, false, 0);
        }
        if fin {
            let _ = stream.send(Bytes::new(), true, 0);
        }
    }
}

/// Server: takes every connection, and every stream on it.
fn serve(configuration: Configuration) -> impl Fn(&Listener, ListenerEvent) + Send + Sync {
    move |_, event| {
        if let ListenerEvent::NewConnection(new) = event {
            let accepted = new.accept(&configuration, |_: &Connection, event: ConnectionEvent<'_>| {
                if let ConnectionEvent::PeerStreamStarted(stream) = event
                    && let Ok(stream) = stream.accept(echo)
                {
                    stream.detach();
                }
            });
            if let Ok(connection) = accepted {
                connection.detach();
            }
        }
    }
}

/// Client: asks on one stream, and passes on what comes back.
fn ask(connection: &Connection, question: &'static str, answer: mpsc::Sender<String>) -> Result<(), tercel::Error> {
    let mut heard = Vec::new();
    let stream = connection.open_stream(Direction::Bidirectional, move |_: &Stream, event: StreamEvent<'_>| {
        if let StreamEvent::Receive(data) = event {
            data.chunks().iter().for_each(|piece| heard.extend_from_slice(piece));
            if data.fin() {
                let _ = answer.send(String::from_utf8_lossy(&heard).into_owned());
            }
        }
    })?;
    stream.send(Bytes::from_static(question.as_bytes()), true, 0)?;
    stream.detach();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let identity = identity()?;
    // A client that knows the very certificate; most would use Trust::system().
    let trust = Trust::Pinned(identity.fingerprint());
    let registration = Registration::new(RegistrationConfig::default())?;

    let server = Configuration::server(&["echo"], Settings::default(), identity)?;
    let listen = Listen::new("127.0.0.1:0".parse()?, ["echo"]);
    let listener = registration.listen(listen, serve(server))?;

    let client = Configuration::client(&["echo"], Settings::default(), trust)?;
    let (answer, answers) = mpsc::channel();
    let connect = Connect::new(listener.local_address(), "localhost");
    let connection =
        registration.connect(&client, connect, move |connection: &Connection, event: ConnectionEvent<'_>| {
            if let ConnectionEvent::Connected { .. } = event {
                for question in ["hello", "are you still there?"] {
                    if let Err(error) = ask(connection, question, answer.clone()) {
                        eprintln!("{question}: {error}");
                    }
                }
            }
        })?;
    for answer in answers.iter().take(2) {
        println!("{answer}");
    }
    connection.close(0u32.into(), Bytes::from_static(b"thank you"));
    Ok(())
}
