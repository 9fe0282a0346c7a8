//! `QUIC_VERSION_SETTINGS`: lists of versions by pointers.

use tercel::Version;

use super::{Got, Missing, Value, read, whole};
use crate::abi::{Status, VersionSettings};
use crate::boundary;

/// Which versions to speak, most wanted first: those that are offered, of which at least one must be known here.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`].
///
/// # Safety
/// The pointers of the struct lead to as many versions as said.
pub(super) unsafe fn parse(bytes: &[u8]) -> Result<Vec<Version>, Status> {
    let settings: VersionSettings = read(bytes)?;
    let list = |pointer: *const u32, count: u32| {
        // SAFETY: as demanded of the caller.
        let versions = unsafe { boundary::slice(pointer, count as usize) }.ok_or(Status::INVALID_PARAMETER)?;
        let versions: Vec<_> = versions.iter().map(|version| Version(*version)).collect();
        match versions.iter().all(|version| version.is_supported() || version.is_reserved()) {
            true => Ok(versions),
            false => Err(Status::INVALID_PARAMETER),
        }
    };
    list(settings.acceptable_versions, settings.acceptable_versions_length)?;
    list(settings.fully_deployed_versions, settings.fully_deployed_versions_length)?;
    let mut spoken = Vec::new();
    for version in list(settings.offered_versions, settings.offered_versions_length)? {
        if version.is_supported() && !spoken.contains(&version) {
            spoken.push(version);
        }
    }
    Ok(spoken)
}

/// The struct, with its lists behind it. Its pointers lead into what is written, wherever that comes to lie: so they
/// are given as null, with the counts alone.
pub(super) fn value(versions: &[Version], room: usize) -> Got {
    let spoken: Vec<u32> = match versions {
        [] => Version::SUPPORTED.iter().map(|version| version.0).collect(),
        versions => versions.iter().map(|version| version.0).collect(),
    };
    if room < size_of::<VersionSettings>() {
        return Err(Missing::TooSmall(size_of::<VersionSettings>()));
    }
    let count = spoken.len() as u32;
    let settings = VersionSettings {
        acceptable_versions: std::ptr::null(),
        offered_versions: std::ptr::null(),
        fully_deployed_versions: std::ptr::null(),
        acceptable_versions_length: count,
        offered_versions_length: count,
        fully_deployed_versions_length: count,
    };
    Ok(super::value(settings))
}

/// A list of versions.
pub(super) fn list(versions: &[Version]) -> Value {
    whole(&versions.iter().flat_map(|version| version.0.to_ne_bytes()).collect::<Vec<_>>())
}
