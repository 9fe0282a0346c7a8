//! Parameters. Which object a parameter is of is told by its first byte; each kind of object has its own file, and a
//! parameter there one line: how it is read, and how it is changed.
//!
//! Reading follows one rule: room that is too small gets the length that is needed and BUFFER_TOO_SMALL, no room at
//! all INVALID_PARAMETER.

mod configuration;
mod connection;
mod global;
mod listener;
mod statistics;
mod stream;
mod tls;
mod versions;

use std::ffi::c_void;
use std::mem::MaybeUninit;

use crate::abi::{Handle, Status, param};
use crate::boundary;
use crate::handle::{self, Object};

/// The bytes of a value; between the fields of a struct there may be some that mean nothing.
type Value = Vec<MaybeUninit<u8>>;

/// Why there is no value.
enum Missing {
    Status(Status),
    /// There must be room for so many bytes.
    TooSmall(usize),
}

impl From<Status> for Missing {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

type Got = Result<Value, Missing>;

/// The bytes of a plain value.
fn value<T: Copy>(of: T) -> Value {
    let mut bytes = vec![MaybeUninit::uninit(); size_of::<T>()];
    // SAFETY: both are as long as `T`, and bytes that may mean nothing may be copied as such.
    unsafe { std::ptr::copy_nonoverlapping((&raw const of).cast(), bytes.as_mut_ptr(), bytes.len()) };
    bytes
}

/// Bytes that all mean something.
fn whole(bytes: &[u8]) -> Value {
    bytes.iter().copied().map(MaybeUninit::new).collect()
}

/// A value as a program gives it.
trait Plain: Copy {}

impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for crate::abi::Addr {}
impl Plain for crate::abi::GlobalSettings {}
impl Plain for crate::abi::VersionSettings {}

/// Reads a value of exactly this length.
fn read<T: Plain>(bytes: &[u8]) -> Result<T, Status> {
    if bytes.len() != size_of::<T>() {
        return Err(Status::INVALID_PARAMETER);
    }
    // SAFETY: there are as many bytes as a `T` has, and types that are `Plain` are numbers and pointers, for which any
    // bytes do.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Whether a parameter is of no object.
const fn is_global(parameter: u32) -> bool {
    parameter & param::PREFIX == param::PREFIX_GLOBAL
}

/// `SetParam`.
///
/// # Safety
/// `buffer` is null or leads to as many bytes as said, and what pointers in it lead to is there.
pub(crate) unsafe extern "C" fn set(
    handle: Handle,
    parameter: u32,
    buffer_length: u32,
    buffer: *const c_void,
) -> Status {
    boundary::answer(|| {
        let parameter = parameter & !param::HIGH_PRIORITY;
        if (handle == Handle::NULL) != is_global(parameter) {
            return Err(Status::INVALID_PARAMETER);
        }
        // SAFETY: as demanded of the caller.
        let bytes = unsafe { boundary::slice(buffer.cast::<u8>(), buffer_length as usize) };
        let bytes = bytes.ok_or(Status::INVALID_PARAMETER)?;
        if is_global(parameter) {
            // SAFETY: as demanded of the caller.
            unsafe { global::set(parameter, bytes) }?;
            return Ok(Status::SUCCESS);
        }
        let object = handle::object(handle)?;
        match parameter & param::PREFIX {
            param::PREFIX_CONFIGURATION => match object {
                // SAFETY: as demanded of the caller.
                Object::Configuration(of) => unsafe { configuration::set(&of, parameter, bytes) }?,
                _ => return Err(Status::INVALID_PARAMETER),
            },
            param::PREFIX_LISTENER => match object {
                Object::Listener(of) => listener::set(&of, parameter, bytes)?,
                _ => return Err(Status::INVALID_PARAMETER),
            },
            param::PREFIX_CONNECTION => match object {
                // SAFETY: as demanded of the caller.
                Object::Connection(of) => unsafe { connection::set(&of, parameter, buffer, bytes) }?,
                // SAFETY: as demanded of the caller.
                Object::Stream(of) => unsafe { connection::set(of.connection(), parameter, buffer, bytes) }?,
                _ => return Err(Status::INVALID_PARAMETER),
            },
            param::PREFIX_STREAM => match object {
                Object::Stream(of) => stream::set(&of, parameter, bytes)?,
                _ => return Err(Status::INVALID_PARAMETER),
            },
            _ => return Err(Status::INVALID_PARAMETER),
        }
        Ok(Status::SUCCESS)
    })
}

/// `GetParam`.
///
/// # Safety
/// `buffer_length` is null or leads to a length, and `buffer` is null or leads to room for as many bytes.
pub(crate) unsafe extern "C" fn get(
    handle: Handle,
    parameter: u32,
    buffer_length: *mut u32,
    buffer: *mut c_void,
) -> Status {
    boundary::answer(|| {
        let parameter = parameter & !param::HIGH_PRIORITY;
        // SAFETY: as demanded of the caller.
        let room = *unsafe { boundary::reference(buffer_length) }.ok_or(Status::INVALID_PARAMETER)? as usize;
        if (handle == Handle::NULL) != is_global(parameter) {
            return Err(Status::INVALID_PARAMETER);
        }
        let got = match is_global(parameter) {
            true => global::get(parameter, room),
            false => of_object(&handle::object(handle)?, parameter, room),
        };
        let needed = |len: usize| {
            // SAFETY: as demanded of the caller.
            let _ = unsafe { boundary::put(buffer_length, u32::try_from(len).unwrap_or(u32::MAX)) };
        };
        match got {
            Err(Missing::Status(status)) => Err(status),
            Err(Missing::TooSmall(len)) => {
                needed(len);
                Err(Status::BUFFER_TOO_SMALL)
            }
            Ok(value) if room < value.len() => {
                needed(value.len());
                Err(Status::BUFFER_TOO_SMALL)
            }
            Ok(value) if buffer.is_null() && !value.is_empty() => Err(Status::INVALID_PARAMETER),
            Ok(value) => {
                if !value.is_empty() {
                    // SAFETY: there is room for as many bytes, as demanded of the caller and seen above.
                    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), buffer.cast(), value.len()) };
                    if versions::are(parameter) {
                        // SAFETY: it was put there just now.
                        unsafe { versions::place(buffer.cast()) };
                    }
                }
                needed(value.len());
                Ok(Status::SUCCESS)
            }
        }
    })
}

fn of_object(object: &Object, parameter: u32, room: usize) -> Got {
    match (parameter & param::PREFIX, object) {
        (param::PREFIX_CONFIGURATION, Object::Configuration(of)) => configuration::get(of, parameter, room),
        (param::PREFIX_LISTENER, Object::Listener(of)) => listener::get(of, parameter),
        (param::PREFIX_CONNECTION, Object::Connection(of)) => connection::get(of, parameter, room),
        (param::PREFIX_CONNECTION, Object::Stream(of)) => connection::get(of.connection(), parameter, room),
        (param::PREFIX_TLS, Object::Connection(of)) => tls::get(of, parameter, room),
        (param::PREFIX_TLS, Object::Stream(of)) => tls::get(of.connection(), parameter, room),
        (param::PREFIX_STREAM, Object::Stream(of)) => stream::get(of, parameter),
        _ => Err(Status::INVALID_PARAMETER.into()),
    }
}

/// Settings, as much of them as the program knows.
fn settings(of: &crate::abi::Settings, room: usize) -> Got {
    crate::settings::write(of, room).map(|bytes| whole(&bytes)).map_err(Missing::TooSmall)
}
