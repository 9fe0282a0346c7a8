//! quiche at one end of the bench: one thread, a socket that all connections share.
#![forbid(unsafe_code)]

mod client;
mod endpoint;
mod server;

use std::path::Path;

use bytes::Bytes;
use quiche::{Config, Connection, Error};
use tercel_bench_work::polled::Streams;
use tercel_bench_work::scenario::{Control, Work};
use tercel_bench_work::{Result, end, settings};

fn main() -> Result<()> {
    end::run(server::serve, client::work)
}

/// The settings of one end; a server's if it has a key.
fn config(identity: &Path, is_server: bool, work: &Work, streams: u32) -> Result<Config> {
    let mut config = Config::new(quiche::PROTOCOL_VERSION)?;
    let path = |path: std::path::PathBuf| path.display().to_string();
    if is_server {
        config.load_cert_chain_from_pem_file(&path(end::chain(identity)))?;
        config.load_priv_key_from_pem_file(&path(end::key(identity)))?;
    } else {
        config.load_verify_locations_from_file(&path(end::authority(identity)))?;
        config.verify_peer(true);
    }
    config.set_application_protos(&[settings::ALPN])?;
    // Of the ciphers BoringSSL takes AES-128-GCM, where processors have AES.
    config.set_curves_list("X25519")?;
    config.set_max_idle_timeout(settings::IDLE_TIMEOUT.as_millis() as u64);
    config.set_max_recv_udp_payload_size(settings::MTU.into());
    config.set_max_send_udp_payload_size(settings::MTU.into());
    config.set_initial_max_data(settings::WINDOW.into());
    config.set_max_connection_window(settings::WINDOW.into());
    config.set_initial_max_stream_data_bidi_local(settings::STREAM_WINDOW.into());
    config.set_initial_max_stream_data_bidi_remote(settings::STREAM_WINDOW.into());
    config.set_max_stream_window(settings::STREAM_WINDOW.into());
    config.set_initial_max_streams_bidi(streams.into());
    config.set_cc_algorithm(match work.control {
        Control::Cubic => quiche::CongestionControlAlgorithm::CUBIC,
        Control::Bbr => quiche::CongestionControlAlgorithm::Bbr2Gcongestion,
    });
    // Without a kernel that sends at given times there is none; as in quiche's own programs.
    config.enable_pacing(false);
    if work.early {
        config.enable_early_data();
    }
    if work.datagrams {
        config.enable_dgram(true, 1000, 1000);
    }
    Ok(config)
}

/// A connection's streams.
struct Of<'a>(&'a mut Connection);

impl Streams for Of<'_> {
    fn read(&mut self, stream: u64, into: &mut [u8]) -> Result<Option<(usize, bool)>> {
        match self.0.stream_recv(stream, into) {
            Ok(read) => Ok(Some(read)),
            Err(Error::Done) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self, stream: u64, piece: &Bytes, last: bool) -> Result<usize> {
        match self.0.stream_send(stream, piece, last) {
            Ok(written) => Ok(written),
            Err(Error::Done) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn is_read(&self, stream: u64) -> bool {
        self.0.stream_finished(stream)
    }
}
