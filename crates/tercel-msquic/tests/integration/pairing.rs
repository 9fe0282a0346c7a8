//! A client and a server in two processes, each with a library of its own: ours, and that which
//! `TERCEL_MSQUIC_LIBRARY` names, in every pairing; without it, ours with itself.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::support::processes::{Ending, libraries, role};
use crate::support::*;
use tercel_msquic::abi::*;

#[test]
fn every_pairing() {
    let libraries = libraries();
    for server in &libraries {
        let mut child = role("pairing::serve", server).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let _ending = Ending(child);
        let port = output.lines().find_map(|line| line.ok()?.strip_prefix("port ").map(str::to_owned)).unwrap();
        for client in &libraries {
            let visited = role("pairing::visit", client).env("TERCEL_PORT", &port).status().unwrap();
            assert!(visited.success(), "server {server:?}, client {client:?}");
        }
    }
}

/// The server, until its input ends.
#[test]
#[ignore = "a role of the test above"]
fn serve() {
    let registration = registration();
    let (program, _heard) = echo(server_configuration(registration));
    let (_listener, port) = listen(registration, program);
    println!("\nport {port}");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    std::process::exit(0);
}

/// The client: a megabyte there and back, a datagram, and a reset.
#[test]
#[ignore = "a role of the test above"]
fn visit() {
    let port = std::env::var("TERCEL_PORT").unwrap().parse().unwrap();
    let registration = registration();
    let client = client_configuration(registration);
    let (program, heard, collected) = collector();
    let connection = open_connection(registration, program);
    start(connection, client, port);
    heard.wait_for("CONNECTED 0");
    let stream = open_stream(connection, 0, program);
    let data: Vec<u8> = (0..1 << 20).map(|at: u32| (at * 7 + at / 256) as u8).collect();
    assert_eq!(send(stream, &data, send::START | send::FIN, 0), Status::PENDING);
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    assert!(*collected.lock().unwrap() == data, "what came back differs");
    let datagram = buffer(b"datagram");
    let sent = unsafe { (api().datagram_send)(connection, &datagram, 1, 0, std::ptr::null_mut()) };
    assert_eq!(sent, Status::PENDING);
    heard.wait_for("DATAGRAM_SEND_STATE_CHANGED 4");
    let reset = open_stream(connection, 0, program);
    assert_eq!(send(reset, b"x", send::START, 0), Status::PENDING);
    heard.wait_for("RECEIVE");
    let both = stream_shutdown::ABORT_SEND | stream_shutdown::ABORT_RECEIVE;
    assert_eq!(unsafe { (api().stream_shutdown)(reset, both, 9) }, Status::PENDING);
    heard.wait_for("SHUTDOWN_COMPLETE 0 0");
    unsafe {
        (api().stream_close)(stream);
        (api().stream_close)(reset);
        (api().connection_shutdown)(connection, 0, 5);
        heard.wait_for("SHUTDOWN_COMPLETE 1");
        (api().connection_close)(connection);
        (api().configuration_close)(client);
        (api().registration_close)(registration);
    }
}
