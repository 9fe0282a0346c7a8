//! What a registration has done, as its counters and the `metrics` facade tell it. In a program of its own:
//! a recorder is installed once.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test waits for a process")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tercel::aio::{Connection, Endpoint};
use tercel::{Configuration, Counters, Identity, Registration, Settings, Trust};

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
}

/// What the facade was told: sums by name, and how many samples by the name of a histogram.
#[derive(Debug, Default)]
struct Told {
    figures: BTreeMap<String, f64>,
    samples: BTreeMap<String, usize>,
}

impl Told {
    fn of(snapshotter: &metrics_util::debugging::Snapshotter) -> Self {
        let mut told = Self::default();
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            let name = key.key().name().to_owned();
            match value {
                DebugValue::Counter(value) => *told.figures.entry(name).or_default() += value as f64,
                DebugValue::Gauge(value) => *told.figures.entry(name).or_default() += value.into_inner(),
                DebugValue::Histogram(values) => *told.samples.entry(name).or_default() += values.len(),
            }
        }
        told
    }

    fn figure(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or_default()
    }
}

const SIZE: usize = 1 << 20;

async fn exchange(connection: &Connection) {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&vec![7; SIZE]).await.unwrap();
    send.finish().unwrap();
    assert_eq!(recv.read_to_end(64).await.unwrap(), b"thank you");
}

fn serve(endpoint: Endpoint) {
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let Ok(accepting) = incoming.accept() else { return };
                let Ok(connection) = accepting.await else { return };
                while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                    assert_eq!(recv.read_to_end(2 * SIZE).await.unwrap().len(), SIZE);
                    send.write_all(b"thank you").await.unwrap();
                    send.finish().unwrap();
                }
            });
        }
    });
}

#[tokio::test]
async fn what_happened_is_counted_and_told() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();

    let identity = identity();
    let trust = Trust::Pinned(identity.fingerprint());
    let server = Configuration::server(&["test"], Settings::default(), identity).unwrap();
    let servers = Endpoint::server(&server, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = servers.local_address().unwrap();
    serve(servers);

    let registration = Registration::new(tercel::RegistrationConfig::default()).unwrap();
    let clients = Endpoint::of(registration.clone());
    let good = Configuration::client(&["test"], Settings::default(), trust).unwrap();
    let wary = Configuration::client(&["test"], Settings::default(), Trust::Pinned([1; 32])).unwrap();
    assert_eq!(registration.counters(), Counters::default());
    for resumed in [false, true] {
        let connection = clients.connect(&good, address, "localhost").unwrap().await.unwrap();
        exchange(&connection).await;
        assert_eq!(connection.is_resumed(), resumed);
        connection.shutdown(0u32.into(), b"").await;
    }
    clients.connect(&wary, address, "localhost").unwrap().await.unwrap_err();

    // Connections linger after their end.
    let began = Instant::now();
    while registration.stats().connections > 0 {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counters = registration.counters();
    assert_eq!((counters.client_connections, counters.server_connections), (3, 0));
    assert_eq!((counters.handshakes_completed, counters.handshakes_failed, counters.handshakes_resumed), (2, 1, 1));
    assert!(
        counters.bytes_sent > 2 * SIZE as u64 && counters.packets_sent > 2 * (SIZE / 65_536) as u64,
        "{counters:?}"
    );
    assert!(counters.datagrams_received > 0 && counters.bytes_received > 0 && counters.packets_received > 0);

    let (mut told, mut samples) = (Told::default(), 0);
    // Both ends are in this process, and the server's connections end when they like.
    while told.figure("tercel_connections_ended_total") < 6.0 {
        assert!(began.elapsed() < Duration::from_secs(20), "{told:?}");
        let more = Told::of(&snapshotter);
        samples += more.samples.get("tercel_handshake_seconds").copied().unwrap_or_default();
        // A snapshot takes counters away, gauges stay.
        for (name, value) in more.figures {
            match name.ends_with("_total") {
                true => *told.figures.entry(name).or_default() += value,
                false => _ = told.figures.insert(name, value),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(samples, 4);
    assert_eq!(told.figure("tercel_client_connections_total"), 3.0);
    assert_eq!(told.figure("tercel_server_connections_total"), 3.0);
    assert_eq!(told.figure("tercel_handshakes_completed_total"), 4.0);
    assert_eq!(told.figure("tercel_handshakes_failed_total"), 2.0);
    assert!(told.figure("tercel_bytes_received_total") > 2.0 * SIZE as f64);
    assert!(told.figure("tercel_bytes_sent_total") >= counters.bytes_sent as f64);
}
