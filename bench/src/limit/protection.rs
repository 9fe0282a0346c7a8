//! Packet protection of the same bytes in packets of the same size: each is sealed and opened, and its
//! header protected and unprotected.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use rustls::Side;
use rustls::quic::Version;

use crate::measure::{Measured, Stopwatch};
use crate::peer::Serving;
use crate::scenario::Work;
use crate::tls;
use crate::{Result, settings};

/// There is nothing to serve.
pub fn serve() -> Result<Serving> {
    Ok(Serving { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), _keeps: Box::new(()) })
}

pub fn work(work: Work) -> Result<Measured> {
    const HEADER: usize = 1 + 8 + 2;
    let provider = tls::provider();
    let suite = provider.cipher_suites.first().and_then(|suite| suite.tls13()?.quic_suite()).ok_or("no QUIC suite")?;
    let (client, server) =
        (suite.keys(&[1; 8], Side::Client, Version::V1), suite.keys(&[1; 8], Side::Server, Version::V1));
    let payload_len = usize::from(settings::MTU) - HEADER - 16;
    let mut packet = vec![0; usize::from(settings::MTU)];
    let stopwatch = Stopwatch::start();
    for number in 0..work.up.div_ceil(payload_len as u64) {
        let (header, rest) = packet.split_at_mut(HEADER);
        header[0] = 0x41;
        let (payload, tag) = rest.split_at_mut(payload_len);
        tag.copy_from_slice(client.local.packet.encrypt_in_place(number, header, payload)?.as_ref());
        mask(header, rest, |sample, first, number| client.local.header.encrypt_in_place(sample, first, number))?;
        mask(header, rest, |sample, first, number| server.remote.header.decrypt_in_place(sample, first, number))?;
        black_box(server.remote.packet.decrypt_in_place(number, header, rest)?);
    }
    Ok(stopwatch.stop(Vec::new()))
}

/// The sample begins 4 bytes behind the beginning of the packet number, which has 2.
fn mask<R>(header: &mut [u8], rest: &[u8], apply: impl FnOnce(&[u8], &mut u8, &mut [u8]) -> R) -> R {
    let (first, number) = header.split_at_mut(9);
    apply(&rest[2..18], &mut first[0], number)
}
