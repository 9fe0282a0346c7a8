//! What holds for the whole library.

use std::sync::atomic::Ordering;

use tercel::Version;

use super::{Got, Missing, read, settings, value, versions, whole};
use crate::abi::{GlobalSettings, PERF_COUNTERS, STATELESS_RESET_KEY_LENGTH, STATISTICS_V2_SIZES, Status, param};
use crate::handle;
use crate::library::{self, Library};
use crate::outcome::status_of;

/// The version of MsQuic whose interface this is.
const VERSION: [u32; 4] = [2, 5, 1, 0];

/// # Safety
/// The pointers in `bytes` lead to what they should.
pub(super) unsafe fn set(parameter: u32, bytes: &[u8]) -> Result<(), Status> {
    match parameter {
        param::GLOBAL_RETRY_MEMORY_PERCENT => {
            let limit = read(bytes)?;
            library::with(|library| {
                library.global.retry_memory_limit = limit;
                library.limits_changed();
            });
            Ok(())
        }
        param::GLOBAL_LOAD_BALANCING_MODE => {
            let mode: u16 = read(bytes)?;
            if mode > 1 {
                return Err(Status::INVALID_PARAMETER);
            }
            library::with(|library| set_load_balancing(library, mode))
        }
        param::GLOBAL_SETTINGS => {
            let new = crate::settings::read(bytes)?;
            library::with(|library| {
                crate::settings::apply(&mut library.settings, &new)?;
                library.limits_changed();
                Ok(())
            })
        }
        param::GLOBAL_GLOBAL_SETTINGS => {
            let new: GlobalSettings = read(bytes)?;
            library::with(|library| set_global(library, &new))
        }
        param::GLOBAL_VERSION_SETTINGS => {
            // SAFETY: as demanded of the caller.
            let versions = unsafe { versions::parse(bytes) }?;
            library::with(|library| library.versions = versions);
            Ok(())
        }
        param::GLOBAL_EXECUTION_CONFIG => set_execution(bytes),
        param::GLOBAL_STATELESS_RESET_KEY => {
            let key: [u8; STATELESS_RESET_KEY_LENGTH] = bytes.try_into().map_err(|_| Status::INVALID_PARAMETER)?;
            library::with(|library| {
                if let Some(workers) = library.running() {
                    workers.set_reset_keys(&[key]).map_err(|error| status_of(&error))?;
                }
                library.reset_key = Some(key);
                Ok(())
            })
        }
        _ => Err(Status::INVALID_PARAMETER),
    }
}

/// Connection IDs are of one form as long as there are any.
fn set_load_balancing(library: &mut Library, mode: u16) -> Result<(), Status> {
    if library.is_running() && library.global.load_balancing_mode != mode {
        return Err(Status::INVALID_STATE);
    }
    library.global.load_balancing_mode = mode;
    Ok(())
}

fn set_global(library: &mut Library, new: &GlobalSettings) -> Result<(), Status> {
    if new.is_set & 2 != 0 && new.load_balancing_mode > 2 {
        return Err(Status::INVALID_PARAMETER);
    }
    if new.is_set & 1 != 0 {
        library.global.retry_memory_limit = new.retry_memory_limit;
        library.limits_changed();
    }
    if new.is_set & 2 != 0 {
        set_load_balancing(library, new.load_balancing_mode)?;
    }
    if new.is_set & 4 != 0 {
        library.set_fixed_server_id(new.fixed_server_id).map_err(|error| status_of(&error))?;
    }
    library.global.is_set |= new.is_set & 7;
    Ok(())
}

/// How many processors to use, before any is used. Which, and how workers wait, is looked at and left to Tercel.
fn set_execution(bytes: &[u8]) -> Result<(), Status> {
    const HEAD: usize = 12;
    if bytes.is_empty() {
        return library::with(|library| library.set_execution(bytes, 0));
    }
    let count: u32 = read(bytes.get(8..HEAD).ok_or(Status::INVALID_PARAMETER)?)?;
    let list = bytes.get(HEAD..HEAD + 2 * count as usize).ok_or(Status::INVALID_PARAMETER)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match list.chunks_exact(2).all(|number| usize::from(u16::from_ne_bytes([number[0], number[1]])) < processors) {
        true => library::with(|library| library.set_execution(bytes, count as usize)),
        false => Err(Status::INVALID_PARAMETER),
    }
}

pub(super) fn get(parameter: u32, room: usize) -> Got {
    Ok(match parameter {
        param::GLOBAL_RETRY_MEMORY_PERCENT => value(library::with(|library| library.global.retry_memory_limit)),
        param::GLOBAL_SUPPORTED_VERSIONS => versions::list(&Version::SUPPORTED),
        param::GLOBAL_LOAD_BALANCING_MODE => value(library::with(|library| library.global.load_balancing_mode)),
        param::GLOBAL_PERF_COUNTERS => return counters(room),
        param::GLOBAL_LIBRARY_VERSION => value(VERSION),
        param::GLOBAL_SETTINGS => return settings(&library::with(|library| library.settings), room),
        param::GLOBAL_GLOBAL_SETTINGS => value(library::with(|library| library.global)),
        param::GLOBAL_VERSION_SETTINGS => return versions::value(&library::with(|it| it.versions.clone())),
        param::GLOBAL_LIBRARY_GIT_HASH => whole(concat!("tercel-", env!("CARGO_PKG_VERSION"), "\0").as_bytes()),
        param::GLOBAL_EXECUTION_CONFIG => whole(&library::with(|library| library.execution.clone())),
        // Not Schannel; to programs it is as OpenSSL: certificates come from files.
        param::GLOBAL_TLS_PROVIDER => value(1u32),
        param::GLOBAL_STATISTICS_V2_SIZES => return sizes(room),
        _ => return Err(Status::INVALID_PARAMETER.into()),
    })
}

/// As many of the sizes as there is room for.
fn sizes(room: usize) -> Got {
    let sizes: Vec<u8> = STATISTICS_V2_SIZES.iter().flat_map(|size| (*size as u32).to_ne_bytes()).collect();
    match room {
        0..4 => Err(Missing::TooSmall(sizes.len())),
        room => Ok(whole(&sizes[..sizes.len().min(room / 4 * 4)])),
    }
}

/// As many of the counters as there is room for.
fn counters(room: usize) -> Got {
    let mut all = [0u64; PERF_COUNTERS];
    all[0] = library::CONNECTIONS_CREATED.load(Ordering::Relaxed);
    all[8] = handle::streams();
    library::with(|library| {
        let Some(workers) = library.running() else { return };
        let (counters, now) = (workers.counters(), workers.stats());
        for (at, count) in [
            (1, counters.handshakes_failed),
            (3, counters.handshakes_resumed),
            (4, now.connections as u64),
            (5, (now.connections - now.half_open.min(now.connections)) as u64),
            (9, counters.packets_lost),
            (10, counters.packets_dropped),
            (12, counters.datagrams_received),
            (13, counters.datagrams_sent),
            (14, counters.bytes_received),
            (15, counters.bytes_sent),
            (29, counters.resets_sent),
            (30, counters.retries_sent),
            (31, counters.refused),
        ] {
            all[at] = count;
        }
    });
    let bytes: Vec<u8> = all.iter().flat_map(|count| count.to_ne_bytes()).collect();
    match room {
        0..8 => Err(Missing::TooSmall(bytes.len())),
        room => Ok(whole(&bytes[..bytes.len().min(room / 8 * 8)])),
    }
}
