//! Parameters of listeners.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Got, read, value, whole};
use crate::abi::{ListenerStatistics, Status, param};
use crate::listener::{Listener, cibir_id};

pub(super) fn set(of: &Listener, parameter: u32, bytes: &[u8]) -> Result<(), Status> {
    match parameter {
        param::LISTENER_CIBIR_ID => {
            *of.cibir_id.lock().unwrap_or_else(PoisonError::into_inner) = cibir_id(bytes)?;
            Ok(())
        }
        param::DOS_MODE_EVENTS => {
            let wanted: u8 = read(bytes)?;
            of.watch_load(wanted != 0);
            Ok(())
        }
        _ => Err(Status::INVALID_PARAMETER),
    }
}

pub(super) fn get(of: &Listener, parameter: u32) -> Got {
    Ok(match parameter {
        param::LISTENER_LOCAL_ADDRESS => value(of.address()),
        param::LISTENER_STATS => value(ListenerStatistics {
            total_accepted_connections: of.accepted.load(Ordering::Relaxed),
            total_rejected_connections: of.rejected.load(Ordering::Relaxed),
            binding_recv_dropped_packets: 0,
        }),
        param::LISTENER_CIBIR_ID => whole(&of.cibir_id.lock().unwrap_or_else(PoisonError::into_inner)),
        param::DOS_MODE_EVENTS => value(u8::from(of.tells_load.load(Ordering::Relaxed))),
        _ => return Err(Status::INVALID_PARAMETER.into()),
    })
}
