//! `QUIC_VERSION_SETTINGS`: lists of versions by pointers.

use std::mem::offset_of;

use tercel::Version;

use super::{Got, Value, read, whole};
use crate::abi::{Status, VersionSettings, param};
use crate::boundary;
use crate::versions::VersionLists;

/// Which versions to speak.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`]: one is not known here, nor reserved.
///
/// # Safety
/// The pointers of the struct lead to as many versions as said.
pub(super) unsafe fn parse(bytes: &[u8]) -> Result<VersionLists, Status> {
    let settings: VersionSettings = read(bytes)?;
    let list = |pointer: *const u32, count: u32| {
        // SAFETY: as demanded of the caller.
        let versions = unsafe { boundary::slice(pointer, count as usize) }.ok_or(Status::INVALID_PARAMETER)?;
        let known = |version: &u32| Version(*version).is_supported() || Version(*version).is_reserved();
        match versions.iter().all(known) {
            true => Ok(versions.to_vec()),
            false => Err(Status::INVALID_PARAMETER),
        }
    };
    Ok(VersionLists {
        acceptable: list(settings.acceptable_versions, settings.acceptable_versions_length)?,
        offered: list(settings.offered_versions, settings.offered_versions_length)?,
        fully_deployed: list(settings.fully_deployed_versions, settings.fully_deployed_versions_length)?,
    })
}

/// The struct, with its lists behind it, each version in the order of the network. Where it comes to lie its pointers
/// are to be [set](place).
pub(super) fn value(lists: &VersionLists) -> Got {
    let all = [&lists.acceptable, &lists.offered, &lists.fully_deployed];
    let [acceptable, offered, fully_deployed] = all.map(|list| list.len() as u32);
    let mut value = super::value(VersionSettings {
        acceptable_versions: std::ptr::null(),
        offered_versions: std::ptr::null(),
        fully_deployed_versions: std::ptr::null(),
        acceptable_versions_length: acceptable,
        offered_versions_length: offered,
        fully_deployed_versions_length: fully_deployed,
    });
    let versions = all.into_iter().flatten().flat_map(|version| version.to_be_bytes());
    value.extend(whole(&versions.collect::<Vec<_>>()));
    Ok(value)
}

/// Whether a parameter is such a struct.
pub(super) const fn are(parameter: u32) -> bool {
    use param::{CONFIGURATION_VERSION_SETTINGS, CONN_VERSION_SETTINGS, GLOBAL_VERSION_SETTINGS};
    matches!(parameter, GLOBAL_VERSION_SETTINGS | CONFIGURATION_VERSION_SETTINGS | CONN_VERSION_SETTINGS)
}

/// Sets the pointers of a struct that has its lists behind it, unless they are empty.
///
/// # Safety
/// `at` leads to what [`value`] made, all of it.
pub(super) unsafe fn place(at: *mut u8) {
    // SAFETY: as demanded of the caller; it may lie anywhere, and a program that can read it has aligned it.
    unsafe {
        let count = |of: usize| at.add(of).cast::<u32>().read_unaligned() as usize;
        let lists = [
            (offset_of!(VersionSettings, acceptable_versions), offset_of!(VersionSettings, acceptable_versions_length)),
            (offset_of!(VersionSettings, offered_versions), offset_of!(VersionSettings, offered_versions_length)),
            (
                offset_of!(VersionSettings, fully_deployed_versions),
                offset_of!(VersionSettings, fully_deployed_versions_length),
            ),
        ];
        if lists.iter().all(|(_, length)| count(*length) == 0) {
            return;
        }
        let mut list = at.add(size_of::<VersionSettings>());
        for (pointer, length) in lists {
            at.add(pointer).cast::<*const u32>().write_unaligned(list.cast_const().cast());
            list = list.add(4 * count(length));
        }
    }
}

/// A list of versions.
pub(super) fn list(versions: &[Version]) -> Value {
    whole(&versions.iter().flat_map(|version| version.0.to_ne_bytes()).collect::<Vec<_>>())
}
