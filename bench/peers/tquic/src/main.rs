//! tquic at one end of the bench: one thread, a socket that all connections share.
#![forbid(unsafe_code)]

mod client;
mod server;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tercel_bench_work::polled::Streams;
use tercel_bench_work::scenario::{Control, Work};
use tercel_bench_work::wire::Wire;
use tercel_bench_work::{Result, end, settings};
use tquic::{Config, Connection, Endpoint, Error, PacketInfo, PacketSendHandler, TlsConfig};

fn main() -> Result<()> {
    end::run(server::serve, client::work)
}

/// The settings of one end.
fn config(identity: &Path, is_server: bool, work: &Work, streams: u32) -> Result<Config> {
    let path = |path: std::path::PathBuf| path.display().to_string();
    let alpn = vec![settings::ALPN.to_vec()];
    let tls = match is_server {
        true => TlsConfig::new_server_config(&path(end::chain(identity)), &path(end::key(identity)), alpn, work.early)?,
        false => {
            let mut tls = TlsConfig::new_client_config(alpn, work.early)?;
            tls.set_ca_certs(&path(end::authority(identity)))?;
            tls.set_verify(true);
            tls
        }
    };
    let mut config = Config::new()?;
    config.set_tls_config(tls);
    config.set_max_idle_timeout(settings::IDLE_TIMEOUT.as_millis() as u64);
    config.set_recv_udp_payload_size(settings::MTU);
    config.set_send_udp_payload_size(settings::MTU.into());
    // There is no other way to more than 1,200: it tries what it may send, and that is soon found.
    config.enable_dplpmtud(true);
    config.set_initial_max_data(settings::WINDOW.into());
    config.set_max_connection_window(settings::WINDOW.into());
    config.set_initial_max_stream_data_bidi_local(settings::STREAM_WINDOW.into());
    config.set_initial_max_stream_data_bidi_remote(settings::STREAM_WINDOW.into());
    config.set_max_stream_window(settings::STREAM_WINDOW.into());
    config.set_initial_max_streams_bidi(streams.into());
    config.set_congestion_control_algorithm(match work.control {
        Control::Cubic => tquic::CongestionControlAlgorithm::Cubic,
        Control::Bbr => tquic::CongestionControlAlgorithm::Bbr,
    });
    Ok(config)
}

/// What the endpoint sends leaves by the socket.
struct Out(Rc<RefCell<Wire>>);

impl PacketSendHandler for Out {
    fn on_packets_send(&self, packets: &[(Vec<u8>, PacketInfo)]) -> tquic::Result<usize> {
        let mut wire = self.0.borrow_mut();
        // What leaves in one system call is one connection's: that all have the same peer is so in a bench only. Behind
        // the first byte of most packets there is the connection's ID.
        let mut of: &[u8] = &[];
        for (packet, info) in packets {
            let connection = packet.get(1..9).unwrap_or_default();
            if connection != of {
                wire.flush();
                of = connection;
            }
            wire.send(packet, info.dst);
        }
        wire.flush();
        Ok(packets.len())
    }
}

/// Waits for datagrams or timers, but no longer than `most`, and takes what came.
fn receive(endpoint: &mut Endpoint, wire: &RefCell<Wire>, most: Duration) -> Result<()> {
    let timeout = endpoint.timeout().map_or(most, |timeout| timeout.min(most));
    let mut arrived = wire.borrow_mut();
    let local = arrived.local;
    arrived.receive(Some(Instant::now() + timeout), |data, from| {
        // What is not understood is dropped. Nothing is sent before the connections are processed.
        let _ = endpoint.recv(data, &PacketInfo { src: from, dst: local, time: Instant::now() });
    })?;
    drop(arrived);
    endpoint.on_timeout(Instant::now());
    Ok(())
}

/// A connection's streams.
struct Of<'a>(&'a mut Connection);

impl Streams for Of<'_> {
    fn read(&mut self, stream: u64, into: &mut [u8]) -> Result<Option<(usize, bool)>> {
        match self.0.stream_read(stream, into) {
            Ok(read) => Ok(Some(read)),
            Err(Error::Done) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self, stream: u64, piece: &Bytes, last: bool) -> Result<usize> {
        let written = match self.0.stream_write(stream, piece.clone(), last) {
            Ok(written) => written,
            Err(Error::Done) => 0,
            Err(error) => return Err(error.into()),
        };
        if written < piece.len() {
            self.0.stream_want_write(stream, true)?;
        }
        Ok(written)
    }

    fn is_read(&self, stream: u64) -> bool {
        self.0.stream_finished(stream)
    }
}
