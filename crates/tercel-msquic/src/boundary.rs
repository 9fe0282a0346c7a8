//! The door between C and Rust. Nothing unwinds through it, and what comes in by pointers leaves here as
//! references and bytes.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::abi::{Buffer, Status};

/// Runs what a function of the table does. A panic ends here: the caller gets `fallback`.
#[inline(always)]
pub(crate) fn enter<R>(fallback: R, call: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        tracing::error!("a call of the C interface panicked");
        fallback
    })
}

/// The same for functions that tell a status; errors are statuses, too.
#[inline(always)]
pub(crate) fn answer(call: impl FnOnce() -> Result<Status, Status>) -> Status {
    enter(Status::INTERNAL_ERROR, || call().unwrap_or_else(|status| status))
}

/// What lies at `pointer`: `None` if it is null.
///
/// # Safety
/// Unless null, `pointer` leads to a `T` that nobody changes meanwhile.
pub(crate) unsafe fn reference<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: as demanded of the caller.
    unsafe { pointer.as_ref() }
}

/// The `count` things at `pointer`: `None` if it is null and there should be some.
///
/// # Safety
/// Unless null, `pointer` leads to `count` of `T` that nobody changes meanwhile.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, count: usize) -> Option<&'a [T]> {
    match (pointer.is_null(), count) {
        (_, 0) => Some(&[]),
        (true, _) => None,
        // SAFETY: not null, and otherwise as demanded of the caller.
        (false, _) => Some(unsafe { std::slice::from_raw_parts(pointer, count) }),
    }
}

/// The bytes of a buffer: `None` if it says that there are some and has none.
///
/// # Safety
/// Its pointer is null or leads to as many bytes as it says, which nobody changes meanwhile.
pub(crate) unsafe fn bytes<'a>(buffer: &Buffer) -> Option<&'a [u8]> {
    // SAFETY: as demanded of the caller.
    unsafe { slice(buffer.buffer.cast_const(), buffer.length as usize) }
}

/// A text that ends with a zero; `None` if the pointer is null or the text is not UTF-8.
///
/// # Safety
/// Unless null, `pointer` leads to such a text, which nobody changes meanwhile.
pub(crate) unsafe fn text<'a>(pointer: *const c_char) -> Option<&'a str> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not null, and otherwise as demanded of the caller.
    unsafe { CStr::from_ptr(pointer) }.to_str().ok()
}

/// Writes `value` to where the caller wants it.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`] if that is nowhere.
///
/// # Safety
/// Unless null, `to` leads to room for a `T`.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) -> Result<(), Status> {
    if to.is_null() {
        return Err(Status::INVALID_PARAMETER);
    }
    // SAFETY: not null, and otherwise as demanded of the caller.
    unsafe { to.write(value) };
    Ok(())
}

/// The lists of protocols that configurations and listeners are given.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`]: there is none, one is empty or longer than 255 bytes, or all of them are too
/// many for a ClientHello.
///
/// # Safety
/// As for [`slice`], and for the [`bytes`] of each.
pub(crate) unsafe fn protocols(buffers: *const Buffer, count: u32) -> Result<Vec<Vec<u8>>, Status> {
    // SAFETY: as demanded of the caller.
    let buffers = unsafe { slice(buffers, count as usize) }.filter(|buffers| !buffers.is_empty());
    let mut protocols = Vec::new();
    for buffer in buffers.ok_or(Status::INVALID_PARAMETER)? {
        // SAFETY: as demanded of the caller.
        let protocol = unsafe { bytes(buffer) }.filter(|name| (1..=crate::abi::MAX_ALPN_LENGTH).contains(&name.len()));
        protocols.push(protocol.ok_or(Status::INVALID_PARAMETER)?.to_vec());
    }
    match protocols.iter().map(|protocol| protocol.len() + 1).sum::<usize>() {
        0..=0xffff => Ok(protocols),
        _ => Err(Status::INVALID_PARAMETER),
    }
}

/// A pointer of the application's that is handed back to it and means nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context(pub(crate) *mut std::ffi::c_void);

// SAFETY: it is never followed here.
unsafe impl Send for Context {}
// SAFETY: it is never followed here.
unsafe impl Sync for Context {}

impl Context {
    pub(crate) const NULL: Self = Self(std::ptr::null_mut());
}
