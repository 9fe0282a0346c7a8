//! What holds for the whole library: each test has a process of its own.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::*;
use tercel_msquic::abi::*;

fn alone(role: &str) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    let output = process.args(["--exact", &format!("library::{role}"), "--ignored"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    // Of a name that is no test's, none would have run.
    assert!(output.status.success() && told.contains("1 passed"), "{role}: {told}");
}

#[test]
fn connection_ids_name_the_address_that_clients_came_to() {
    alone("by_address");
}

#[test]
fn connection_ids_name_the_server_that_they_are_told_to() {
    alone("by_fixed_id");
}

#[test]
fn clients_prove_their_address_from_whatever_moment_that_is_wanted() {
    alone("under_load");
}

/// The IDs that a server gives in the first packets of its answers.
type Given = Arc<Mutex<Vec<Vec<u8>>>>;

/// Stands between a client and a server, and reads the server's connection IDs. Gives its port.
fn eavesdrop(server: u16, given: &Given) -> u16 {
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    let inside = UdpSocket::bind("127.0.0.1:0").unwrap();
    inside.connect(("127.0.0.1", server)).unwrap();
    let port = outside.local_addr().unwrap().port();
    let client = Arc::new(Mutex::new(None));
    let (to_server, to_client) = (inside.try_clone().unwrap(), outside.try_clone().unwrap());
    let (seen, back, given) = (client.clone(), client, given.clone());
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((len, from)) = outside.recv_from(&mut bytes) {
            *seen.lock().unwrap() = Some(from);
            let _ = to_server.send(&bytes[..len]);
        }
    });
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok(len) = inside.recv(&mut bytes) {
            given.lock().unwrap().extend(source_id(&bytes[..len]));
            if let Some(client) = *back.lock().unwrap() {
                let _ = to_client.send_to(&bytes[..len], client);
            }
        }
    });
    port
}

/// The source connection ID of a long header (RFC 8999 section 5.1).
fn source_id(packet: &[u8]) -> Option<Vec<u8>> {
    if packet.first()? & 0x80 == 0 {
        return None;
    }
    let len = usize::from(*packet.get(5)?);
    let rest = packet.get(6 + len..)?;
    rest.get(1..1 + usize::from(*rest.first()?)).map(<[u8]>::to_vec)
}

/// Connects, and gives the server's connection IDs.
fn ids_of(stage: &Stage) -> Vec<Vec<u8>> {
    let given = Given::default();
    let port = eavesdrop(stage.port, &given);
    let (program, heard) = quiet();
    let connection = open_connection(stage.registration, program);
    start(connection, stage.client, port);
    heard.wait_for("CONNECTED");
    unsafe { (api().connection_close)(connection) };
    let ids = given.lock().unwrap().clone();
    assert!(!ids.is_empty());
    ids
}

#[test]
#[ignore = "a role of a test above"]
fn by_address() {
    assert_eq!(set(Handle::NULL, param::GLOBAL_LOAD_BALANCING_MODE, 2u16), Status::INVALID_PARAMETER);
    assert_eq!(set(Handle::NULL, param::GLOBAL_LOAD_BALANCING_MODE, 1u16), Status::SUCCESS);
    let stage = stage();
    for id in ids_of(&stage) {
        assert_eq!(id[1..5], [127, 0, 0, 1], "{id:?}");
    }
    // Those who have IDs keep their form.
    assert_eq!(set(Handle::NULL, param::GLOBAL_LOAD_BALANCING_MODE, 0u16), Status::INVALID_STATE);
    assert_eq!(set(Handle::NULL, param::GLOBAL_LOAD_BALANCING_MODE, 1u16), Status::SUCCESS);
}

#[test]
#[ignore = "a role of a test above"]
fn by_fixed_id() {
    let id =
        |id| GlobalSettings { is_set: 6, load_balancing_mode: 2, fixed_server_id: id, ..GlobalSettings::default() };
    let bad = GlobalSettings { load_balancing_mode: 3, ..id(1) };
    assert_eq!(set(Handle::NULL, param::GLOBAL_GLOBAL_SETTINGS, bad), Status::INVALID_PARAMETER);
    assert_eq!(set(Handle::NULL, param::GLOBAL_GLOBAL_SETTINGS, id(0x0403_0201)), Status::SUCCESS);
    let stage = stage();
    for given in ids_of(&stage) {
        assert_eq!(given[1..5], 0x0403_0201u32.to_ne_bytes(), "{given:?}");
    }
    // Another one for those who come later.
    assert_eq!(set(Handle::NULL, param::GLOBAL_GLOBAL_SETTINGS, id(7)), Status::SUCCESS);
    for given in ids_of(&stage) {
        assert_eq!(given[1..5], 7u32.to_ne_bytes(), "{given:?}");
    }
}

/// Whether a new client of the stage had to prove its address.
fn is_asked(stage: &Stage) -> bool {
    let (program, heard) = quiet();
    let connection = stage.connect(program, &heard);
    let statistics: Statistics = get(connection, param::CONN_STATISTICS).unwrap();
    unsafe { (api().connection_close)(connection) };
    statistics.bits & statistics_bits::STATELESS_RETRY != 0
}

#[test]
#[ignore = "a role of a test above"]
fn under_load() {
    let stage = stage();
    assert_eq!(set(stage.listener, param::DOS_MODE_EVENTS, 1u8), Status::SUCCESS);
    assert!(!is_asked(&stage));
    // Memory for handshakes is used up, whatever it is.
    assert_eq!(set(Handle::NULL, param::GLOBAL_RETRY_MEMORY_PERCENT, 0u16), Status::SUCCESS);
    let changed = format!("LISTENER {}", listener_event::DOS_MODE_CHANGED);
    stage.heard.wait_for(&changed);
    assert!(is_asked(&stage));
    // Who asks in the midst of it hears of it at once.
    assert_eq!(set(stage.listener, param::DOS_MODE_EVENTS, 1u8), Status::SUCCESS);
    stage.heard.wait_for(&changed);
    assert_eq!(get::<u16>(Handle::NULL, param::GLOBAL_RETRY_MEMORY_PERCENT), Ok(0));
    // All of it may be used.
    assert_eq!(set(Handle::NULL, param::GLOBAL_RETRY_MEMORY_PERCENT, u16::MAX), Status::SUCCESS);
    if !is_other() {
        // There it is found out with the next handshake.
        stage.heard.wait_for(&changed);
    }
    assert!(!is_asked(&stage));
}
