//! Spans of connections, as a subscriber of `tracing` sees them. In a program of its own: there is one
//! subscriber for all threads.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test waits for a process")]

use std::io;
use std::sync::{Arc, Mutex};

use tercel::aio::Endpoint;
use tercel::{Configuration, Identity, Settings, Trust};

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl io::Write for Text {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_happens_to_a_connection_is_told_within_its_span() {
    let text = Text::default();
    let writer = text.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let identity = Identity::new(vec![made.cert.der().clone()], key.into()).unwrap();
    let trust = Trust::Pinned(identity.fingerprint());
    let server = Configuration::server(&["test"], Settings::default(), identity).unwrap();
    let servers = Endpoint::server(&server, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = servers.local_address().unwrap();
    let serving = tokio::spawn(async move {
        let connection = servers.accept().await.unwrap().accept().unwrap().await.unwrap();
        connection.closed().await;
        // With it go its workers, once their connections are over.
        drop((connection, servers));
    });
    let clients = Endpoint::client().unwrap();
    let client = Configuration::client(&["test"], Settings::default(), trust).unwrap();
    let connection = clients.connect(&client, address, "localhost").unwrap().await.unwrap();
    connection.shutdown(7u32.into(), b"enough").await;
    serving.await.unwrap();
    drop((connection, clients));

    let began = std::time::Instant::now();
    let told = loop {
        let told = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        if told.matches("connection ended").count() == 2 {
            break told;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{told}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    let span =
        |line: &str| line.split_once("connection{").and_then(|(_, rest)| Some(rest.split_once('}')?.0.to_owned()));
    let mut ids = Vec::new();
    for role in ["Client", "Server"] {
        let of_role: Vec<_> =
            told.lines().filter(|line| span(line).is_some_and(|span| span.contains(&format!("role={role}")))).collect();
        let has = |what: &str| of_role.iter().any(|line| line.contains(what));
        assert!(has("handshake complete resumed=false"), "{role}:\n{told}");
        assert!(has("connection ended"), "{role}:\n{told}");
        let id = span(of_role[0]).unwrap().split_once("id=").unwrap().1.split(' ').next().unwrap().to_owned();
        ids.push(id);
    }
    assert_eq!(ids[0], ids[1], "both ends call the connection the same");
}
