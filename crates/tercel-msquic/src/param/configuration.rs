//! Parameters of configurations.

use super::{Got, settings, versions};
use crate::abi::{MAX_TICKET_KEY_COUNT, Status, TicketKeyConfig, param};
use crate::configuration::Configuration;

/// # Safety
/// The pointers in `bytes` lead to what they should.
pub(super) unsafe fn set(of: &Configuration, parameter: u32, bytes: &[u8]) -> Result<(), Status> {
    match parameter {
        param::CONFIGURATION_SETTINGS => of.change_settings(&crate::settings::read(bytes)?),
        param::CONFIGURATION_VERSION_SETTINGS => {
            // SAFETY: as demanded of the caller.
            of.set_versions(unsafe { versions::parse(bytes) }?);
            Ok(())
        }
        param::CONFIGURATION_TICKET_KEYS => {
            if bytes.len() < size_of::<TicketKeyConfig>() {
                return Err(Status::INVALID_PARAMETER);
            }
            if of.credential().is_none() {
                return Err(Status::INVALID_STATE);
            }
            let keys = bytes.chunks_exact(size_of::<TicketKeyConfig>()).take(MAX_TICKET_KEY_COUNT).map(ticket_key);
            of.set_ticket_keys(keys.collect::<Result<_, _>>()?)
        }
        _ => Err(Status::INVALID_PARAMETER),
    }
}

/// A key of the material that is given: Tercel's are all of one length, and each ticket has one of its own made of it.
fn ticket_key(bytes: &[u8]) -> Result<[u8; 32], Status> {
    const MATERIAL: usize = std::mem::offset_of!(TicketKeyConfig, material);
    const LENGTH: usize = std::mem::offset_of!(TicketKeyConfig, material_length);
    let material = bytes.get(MATERIAL..MATERIAL + usize::from(bytes[LENGTH])).filter(|key| key.len() <= 64);
    let material = material.filter(|material| material.len() >= 16).ok_or(Status::INVALID_PARAMETER)?;
    // What goes beyond a key is folded into it, so that all of the secret counts.
    let mut key = [0; 32];
    for (at, byte) in material.iter().enumerate() {
        key[at % 32] ^= byte;
    }
    Ok(key)
}

pub(super) fn get(of: &Configuration, parameter: u32, room: usize) -> Got {
    match parameter {
        param::CONFIGURATION_SETTINGS => settings(&of.settings(), room),
        param::CONFIGURATION_VERSION_SETTINGS => versions::value(&of.versions()),
        _ => Err(Status::INVALID_PARAMETER.into()),
    }
}
