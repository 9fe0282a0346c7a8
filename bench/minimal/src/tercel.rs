//! Tercel by callbacks: a client says something to a server, and hears it back.

include!("tls.rs");

use std::sync::mpsc;

use tercel::{
    Configuration, Connect, Connection, ConnectionEvent, Direction, Listen, Listener, ListenerEvent, Registration,
    RegistrationConfig, Settings, Stream, StreamEvent,
};

fn main() -> Result<()> {
    let (client, server) = tls()?;
    let transport = Settings::default().transport()?;
    let configuration = Configuration::from_tls(Some(Arc::new(client)), Some(Arc::new(server)), transport);
    let registration = Registration::new(RegistrationConfig::default())?;
    let accepting = configuration.clone();
    let listener = registration.listen(
        Listen::new("127.0.0.1:0".parse()?, ["minimal"]),
        move |_: &Listener, event: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let accepted = new.accept(&accepting, |_: &Connection, event: ConnectionEvent<'_>| {
                let ConnectionEvent::PeerStreamStarted(new) = event else { return };
                let echo = |stream: &Stream, event: StreamEvent<'_>| {
                    if let StreamEvent::Receive(receive) = &event {
                        for piece in receive.chunks() {
                            let _ = stream.send(piece.clone(), false, 0);
                        }
                        if receive.fin() {
                            let _ = stream.send(tercel::Bytes::new(), true, 0);
                        }
                    }
                };
                if let Ok(stream) = new.accept(echo) {
                    stream.detach();
                }
            });
            if let Ok(connection) = accepted {
                connection.detach();
            }
        },
    )?;
    let (tell, told) = mpsc::channel();
    let say = move |connection: &Connection, event: ConnectionEvent<'_>| {
        let ConnectionEvent::Connected { .. } = event else { return };
        let tell = tell.clone();
        let opened = connection.open_stream(
            Direction::Bidirectional,
            move |stream: &Stream, event: StreamEvent<'_>| match &event {
                StreamEvent::Started(Ok(_)) => drop(stream.send(tercel::Bytes::from_static(b"hello"), true, 0)),
                StreamEvent::Receive(receive) => {
                    let heard: Vec<u8> = receive.chunks().iter().flat_map(|piece| piece.to_vec()).collect();
                    let _ = tell.send(heard);
                }
                _ => {}
            },
        );
        if let Ok(stream) = opened {
            stream.detach();
        }
    };
    let connection = registration.connect(&configuration, Connect::new(listener.local_address(), "localhost"), say)?;
    println!("{}", String::from_utf8(told.recv()?)?);
    connection.close(0u32.into(), tercel::Bytes::new());
    Ok(())
}
