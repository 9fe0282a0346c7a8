//! tquic as a client and as a server of interop cases.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program that waits for a socket")]

mod client;
mod server;
mod streams;

use std::rc::Rc;
use std::time::{Duration, Instant};

use tercel_interop_end::{ALPN, Arguments, PATIENCE, RESET_KEY, Role, Wire, failed, key_log};
use tquic::{Config, Connection, Endpoint, PacketInfo, PacketSendHandler, TlsConfig};

/// Why a case goes wrong.
type Failure = Box<dyn std::error::Error>;

fn main() {
    let arguments = Arguments::read(env!("PEER"));
    arguments.cannot(&["v2", "v2first"], "it speaks version 1 only");
    arguments.cannot(&["datagrams"], "it has no datagrams");
    arguments.cannot(&["reliablereset"], "it has no RESET_STREAM_AT");
    arguments.cannot(&["timestamps"], "it does not measure the delay of one way");
    arguments.cannot(&["addressdiscovery"], "it does not tell of observed addresses");
    arguments.cannot(&["grease"], "it leaves the QUIC bit alone");
    arguments.cannot(&["ackfrequency"], "it does not know this extension");
    arguments.cannot(&["ecn"], "it has no ECN");
    let outcome = match arguments.role {
        Role::Client => client::run(&arguments),
        Role::Server => server::run(arguments),
    };
    if let Err(error) = outcome {
        failed(error);
    }
}

fn config(arguments: &Arguments) -> Result<Config, tquic::Error> {
    let mut config = Config::new()?;
    config.set_max_idle_timeout(30_000);
    config.set_max_handshake_timeout(PATIENCE);
    // tquic does not begin its backoff anew when it drops keys (`on_pkt_num_space_discarded`): after a handshake with
    // many losses the next probe would come later than the other end's idle timeout.
    config.set_max_pto(3_000);
    config.set_initial_max_streams_bidi(if arguments.is(&["multiplexing", "streams"]) { 1000 } else { 100 });
    config.set_active_connection_id_limit(4);
    config.set_reset_token_key(RESET_KEY);
    config.enable_retry(arguments.is(&["retry"]));
    config.set_tls_config(tls(arguments)?);
    Ok(config)
}

fn tls(arguments: &Arguments) -> Result<TlsConfig, tquic::Error> {
    let path = |path: &std::path::Path| path.display().to_string();
    let (certificate, key) = (path(&arguments.certificate), path(&arguments.key));
    let alpn = vec![if arguments.is(&["http3"]) { b"h3".to_vec() } else { ALPN.to_vec() }];
    let client = arguments.role == Role::Client;
    let mut tls = match client && !arguments.is(&["clientcert", "verdict"]) {
        true => TlsConfig::new_client_config(alpn, true)?,
        false => TlsConfig::new_server_config(&certificate, &key, alpn, true)?,
    };
    tls.set_ca_certs(&path(&arguments.authority))?;
    tls.set_verify(client || arguments.is(&["clientcert"]));
    Ok(tls)
}

/// Keys go where others put theirs.
fn log_keys(connection: &mut Connection) {
    if let Some(file) = key_log() {
        connection.set_keylog(Box::new(file));
    }
}

/// What the endpoint sends leaves by a socket.
struct Out(Rc<Wire>);

impl PacketSendHandler for Out {
    fn on_packets_send(&self, packets: &[(Vec<u8>, PacketInfo)]) -> tquic::Result<usize> {
        for (packet, info) in packets {
            self.0.datagram(packet, info.dst);
        }
        Ok(packets.len())
    }
}

/// Takes what comes to the socket, waiting no longer than `most` or than the endpoint can wait.
fn receive(endpoint: &mut Endpoint, wire: &Wire, most: Duration) -> Result<(), Failure> {
    let timeout = endpoint.timeout().map_or(most, |timeout| timeout.min(most));
    wire.receive(timeout, |data, from| {
        let info = PacketInfo { src: from, dst: wire.local, time: Instant::now() };
        // What is not understood is dropped.
        let _ = endpoint.recv(data, &info);
    })?;
    endpoint.on_timeout(Instant::now());
    Ok(())
}
