//! Parameters of connections.

use std::ffi::c_void;
use std::sync::Arc;

use tercel::{ResumptionTicket, StreamScheduling};

use super::statistics::{self, Known};
use super::{Got, read, settings, value, versions, whole};
use crate::abi::{Addr, Settings, Status, TlsSecrets, param, settings as names};
use crate::address;
use crate::connection::Connection;
use crate::outcome::status_of;

/// What MsQuic's tests set besides.
mod private {
    pub(super) const FORCE_KEY_UPDATE: u32 = 0x8500_0000;
    pub(super) const FORCE_CID_UPDATE: u32 = 0x8500_0001;
}

/// The longest reason phrase, its zero included.
const MAX_REASON: usize = 512;

/// # Safety
/// The pointers in `bytes` lead to what they should; `buffer` is where they lie.
pub(super) unsafe fn set(
    of: &Arc<Connection>,
    parameter: u32,
    buffer: *const c_void,
    bytes: &[u8],
) -> Result<(), Status> {
    of.wait_for_beginning();
    match parameter {
        param::CONN_LOCAL_ADDRESS => of.set_local_address(address::read(&read::<Addr>(bytes)?)?),
        param::CONN_REMOTE_ADDRESS => {
            of.require_unstarted_client()?;
            let remote = address::read(&read::<Addr>(bytes)?)?;
            if remote.ip.is_none_or(|ip| ip.is_unspecified()) {
                return Err(Status::INVALID_PARAMETER);
            }
            of.wish(|wishes| wishes.remote = Some(remote));
            Ok(())
        }
        param::CONN_SETTINGS => of.change_settings(&crate::settings::read(bytes)?),
        param::CONN_VERSION_SETTINGS => {
            // SAFETY: as demanded of the caller.
            let versions = unsafe { versions::parse(bytes) }?;
            of.require_unstarted()?;
            of.wish(|wishes| wishes.versions = versions);
            Ok(())
        }
        param::CONN_SHARE_UDP_BINDING => {
            let share: u8 = read(bytes)?;
            of.require_unstarted_client()?;
            of.wish(|wishes| wishes.share_binding = share != 0);
            Ok(())
        }
        param::CONN_CLOSE_REASON_PHRASE => match bytes {
            [] => {
                of.set_reason_phrase(Vec::new());
                Ok(())
            }
            [phrase @ .., 0] if bytes.len() <= MAX_REASON => {
                of.set_reason_phrase(phrase.to_vec());
                Ok(())
            }
            _ => Err(Status::INVALID_PARAMETER),
        },
        param::CONN_STREAM_SCHEDULING_SCHEME => {
            let scheduling = match read::<u32>(bytes)? {
                0 => StreamScheduling::Fifo,
                1 => StreamScheduling::RoundRobin,
                _ => return Err(Status::INVALID_PARAMETER),
            };
            of.set_scheduling(scheduling)
        }
        param::CONN_DATAGRAM_RECEIVE_ENABLED => {
            let enabled: u8 = read(bytes)?;
            of.require_unstarted()?;
            of.change_settings(&Settings {
                is_set: names::is_set::DATAGRAM_RECEIVE_ENABLED,
                bits: u8::from(enabled != 0) << names::bits::DATAGRAM_RECEIVE_ENABLED.0,
                ..Settings::default()
            })
        }
        param::CONN_RESUMPTION_TICKET => {
            if bytes.is_empty() {
                return Err(Status::INVALID_PARAMETER);
            }
            of.require_unstarted_client()?;
            let ticket = ResumptionTicket::from_bytes(bytes).map_err(|_| Status::INVALID_PARAMETER)?;
            of.wish(|wishes| wishes.ticket = Some(ticket));
            Ok(())
        }
        param::CONN_PEER_CERTIFICATE_VALID => {
            let valid: u8 = read(bytes)?;
            of.judge_as(valid != 0);
            Ok(())
        }
        param::CONN_TLS_SECRETS => {
            if bytes.len() != size_of::<TlsSecrets>() {
                return Err(Status::INVALID_PARAMETER);
            }
            of.require_unstarted()?;
            of.keep_secrets_at(buffer.cast::<TlsSecrets>().cast_mut());
            Ok(())
        }
        param::CONN_CIBIR_ID => of.set_cibir_id(bytes),
        private::FORCE_KEY_UPDATE => {
            let live = of.live().filter(|_| of.is_connected()).ok_or(Status::INVALID_STATE)?;
            live.update_keys().map_err(|error| status_of(&error))
        }
        private::FORCE_CID_UPDATE
        | param::CONN_LOCAL_INTERFACE
        | param::CONN_SEND_DSCP
        | param::CONN_DISABLE_1RTT_ENCRYPTION => Err(Status::NOT_SUPPORTED),
        _ => Err(Status::INVALID_PARAMETER),
    }
}

pub(super) fn get(of: &Arc<Connection>, parameter: u32, room: usize) -> Got {
    of.wait_for_beginning();
    Ok(match parameter {
        param::CONN_QUIC_VERSION => match of.look(|look| look.version()) {
            Ok(version) => value(version.0),
            Err(_) => value(of.live().and_then(|live| live.version()).map_or(0, |version| version.0)),
        },
        param::CONN_LOCAL_ADDRESS => value(of.addresses().0.ok_or(Status::INVALID_STATE)?),
        param::CONN_REMOTE_ADDRESS => value(of.addresses().1.ok_or(Status::INVALID_STATE)?),
        param::CONN_IDEAL_PROCESSOR => value(of.processor()),
        param::CONN_SETTINGS => return settings(&of.settings(), room),
        param::CONN_VERSION_SETTINGS => return versions::value(&of.versions()),
        param::CONN_STATISTICS | param::CONN_STATISTICS_PLAT => {
            let (stats, known) = stats(of);
            value(statistics::first(&stats, known))
        }
        param::CONN_STATISTICS_V2 | param::CONN_STATISTICS_V2_PLAT => {
            let (stats, known) = stats(of);
            return statistics::second_value(&stats, known, room);
        }
        param::CONN_SHARE_UDP_BINDING => value(u8::from(of.wish(|wishes| wishes.share_binding))),
        param::CONN_LOCAL_BIDI_STREAM_COUNT => value(of.streams_available(tercel::Direction::Bidirectional)),
        param::CONN_LOCAL_UNIDI_STREAM_COUNT => value(of.streams_available(tercel::Direction::Unidirectional)),
        param::CONN_CLOSE_REASON_PHRASE => {
            let phrase = of.reason_phrase().ok_or(Status::NOT_FOUND)?;
            whole(&[phrase.as_slice(), &[0]].concat())
        }
        param::CONN_STREAM_SCHEDULING_SCHEME => value(match of.scheduling() {
            StreamScheduling::Fifo => 0u32,
            _ => 1,
        }),
        param::CONN_DATAGRAM_RECEIVE_ENABLED => {
            value(of.settings().bits >> names::bits::DATAGRAM_RECEIVE_ENABLED.0 & 1)
        }
        param::CONN_DATAGRAM_SEND_ENABLED => {
            // As long as nothing is known it may be.
            let enabled = !of.is_connected() || of.live().is_some_and(|live| live.max_datagram_size().is_some());
            value(u8::from(enabled))
        }
        param::CONN_DISABLE_1RTT_ENCRYPTION | param::CONN_SEND_DSCP => value(0u8),
        param::CONN_ORIG_DEST_CID => {
            whole(&of.look(|look| look.original_destination_id()).map_err(|_| Status::INVALID_STATE)?)
        }
        _ => return Err(Status::INVALID_PARAMETER.into()),
    })
}

/// What it has done so far: exact while it runs.
fn stats(of: &Connection) -> (tercel::ConnectionStats, Known) {
    let resumed = of.is_resumed();
    let correlation = of.handle().0 as u64;
    match of.look(|look| (look.stats(), look.was_retried())) {
        Ok((stats, retried)) => (stats, Known { correlation, retried, resumed }),
        Err(_) => (of.last_stats(), Known { correlation, retried: false, resumed }),
    }
}
