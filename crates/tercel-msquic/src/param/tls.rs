//! Parameters of TLS: what the handshake has come to.

use super::{Got, value, whole};
use crate::abi::{HandshakeInfo, Status, param};
use crate::connection::Connection;

pub(super) fn get(of: &Connection, parameter: u32, room: usize) -> Got {
    match parameter {
        param::TLS_HANDSHAKE_INFO => {
            // A program that does not know of the group has less room.
            const BEFORE: usize = std::mem::offset_of!(HandshakeInfo, tls_group);
            let mut bytes = value(info(of)?);
            if (BEFORE..bytes.len()).contains(&room) {
                bytes.truncate(BEFORE);
            }
            Ok(bytes)
        }
        param::TLS_NEGOTIATED_ALPN => {
            let alpn = of.live().and_then(|live| live.alpn()).ok_or(Status::INVALID_STATE)?;
            Ok(whole(&alpn))
        }
        _ => Err(Status::INVALID_PARAMETER.into()),
    }
}

fn info(of: &Connection) -> Result<HandshakeInfo, Status> {
    const TLS_1_3: u32 = 0x3000;
    const SHA_256: u32 = 0x800c;
    const SHA_384: u32 = 0x800d;
    let negotiated = of.live().and_then(|live| live.handshake_info()).ok_or(Status::INVALID_STATE)?.tls;
    let (cipher_algorithm, cipher_strength, hash) = match negotiated.cipher_suite.0 {
        0x1301 => (0x660e, 128, SHA_256),
        0x1302 => (0x6610, 256, SHA_384),
        _ => (0x6612, 256, SHA_256),
    };
    Ok(HandshakeInfo {
        tls_protocol_version: TLS_1_3,
        cipher_algorithm,
        cipher_strength,
        hash,
        cipher_suite: negotiated.cipher_suite.0.into(),
        tls_group: negotiated.key_exchange.map_or(0, |(group, _)| group.into()),
        ..HandshakeInfo::default()
    })
}
