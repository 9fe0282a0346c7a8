//! quiche as a client and as a server of interop cases.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program that waits for a socket")]

mod client;
mod server;
mod wire;

use std::collections::BTreeMap;

use quiche::{Config, Connection};
use tercel_interop_end::{ALPN, Arguments, RESERVED_VERSION, Role, failed, key_log};

/// Why a case goes wrong.
type Failure = Box<dyn std::error::Error>;

fn main() {
    let arguments = Arguments::read(env!("PEER"));
    arguments.cannot(&["v2", "v2first"], "it speaks version 1 only");
    arguments.cannot(&["reliablereset"], "it has no RESET_STREAM_AT");
    arguments.cannot(&["timestamps"], "it does not measure the delay of one way");
    arguments.cannot(&["addressdiscovery"], "it does not tell of observed addresses");
    arguments.cannot(&["grease"], "it leaves the QUIC bit alone");
    arguments.cannot(&["ackfrequency"], "it does not know this extension");
    arguments.cannot(&["ecn"], "it has no ECN");
    arguments.cannot(&["connectionmigration"], "it has no preferred address");
    let outcome = match arguments.role {
        Role::Client => client::run(&arguments),
        Role::Server => server::run(&arguments),
    };
    if let Err(error) = outcome {
        failed(error);
    }
}

fn config(arguments: &Arguments) -> Result<Config, quiche::Error> {
    let client = arguments.role == Role::Client;
    let reserved = client && arguments.is(&["versionnegotiation"]);
    let mut config = Config::new(if reserved { RESERVED_VERSION } else { quiche::PROTOCOL_VERSION })?;
    let path = |path: &std::path::Path| path.display().to_string();
    if !client || arguments.is(&["clientcert", "verdict"]) {
        config.load_cert_chain_from_pem_file(&path(&arguments.certificate))?;
        config.load_priv_key_from_pem_file(&path(&arguments.key))?;
    }
    config.load_verify_locations_from_file(&path(&arguments.authority))?;
    config.verify_peer(client || arguments.is(&["clientcert"]));
    config.set_application_protos(&[if arguments.is(&["http3"]) { b"h3" } else { ALPN }])?;
    config.set_max_idle_timeout(30_000);
    config.set_max_recv_udp_payload_size(1500);
    config.set_initial_max_data(10_000_000);
    config.set_initial_max_stream_data_bidi_local(1_000_000);
    config.set_initial_max_stream_data_bidi_remote(1_000_000);
    config.set_initial_max_stream_data_uni(1_000_000);
    config.set_initial_max_streams_bidi(if arguments.is(&["multiplexing", "streams"]) { 1000 } else { 100 });
    config.set_initial_max_streams_uni(10);
    config.set_active_connection_id_limit(4);
    config.enable_early_data();
    config.log_keys();
    if arguments.is(&["datagrams"]) {
        config.enable_dgram(true, 100, 100);
    }
    Ok(config)
}

/// Keys go where others put theirs.
fn log_keys(connection: &mut Connection) {
    if let Some(file) = key_log() {
        connection.set_keylog(Box::new(file));
    }
}

/// What is still to be sent on streams.
#[derive(Default)]
struct Outgoing(BTreeMap<u64, (Vec<u8>, usize)>);

impl Outgoing {
    fn push(&mut self, stream: u64, data: Vec<u8>) {
        self.0.insert(stream, (data, 0));
    }

    /// As much as is possible now.
    fn send(&mut self, connection: &mut Connection) -> Result<(), quiche::Error> {
        let streams: Vec<u64> = self.0.keys().copied().collect();
        for stream in streams {
            let Some((data, sent)) = self.0.get_mut(&stream) else { continue };
            match connection.stream_send(stream, &data[*sent..], true) {
                Ok(more) => *sent += more,
                Err(quiche::Error::Done | quiche::Error::StreamLimit) => break,
                Err(quiche::Error::StreamStopped(_)) => *sent = data.len(),
                Err(error) => return Err(error),
            }
            if *sent == data.len() {
                self.0.remove(&stream);
            }
        }
        Ok(())
    }
}

/// Reads what came on streams; gives each that is whole to `whole`.
fn receive(
    connection: &mut Connection,
    incoming: &mut BTreeMap<u64, Vec<u8>>,
    mut whole: impl FnMut(u64, Vec<u8>),
) -> Result<(), quiche::Error> {
    let mut piece = [0; 16 << 10];
    for stream in connection.readable() {
        loop {
            match connection.stream_recv(stream, &mut piece) {
                Ok((len, fin)) => {
                    let data = incoming.entry(stream).or_default();
                    data.extend_from_slice(&piece[..len]);
                    if fin {
                        whole(stream, incoming.remove(&stream).unwrap_or_default());
                        break;
                    }
                }
                Err(quiche::Error::Done) => break,
                Err(error) => return Err(error),
            }
        }
    }
    // Of a frame whose data was read before, quiche drops the end, too (`RecvBuf::write`), and does not say that the
    // stream is readable. That happens where the network loses much.
    for (stream, data) in incoming.extract_if(.., |stream, _| connection.stream_finished(*stream)) {
        whole(stream, data);
    }
    Ok(())
}
