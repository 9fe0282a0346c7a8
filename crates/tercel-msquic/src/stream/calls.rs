//! The functions of streams.

use std::ffi::c_void;
use std::sync::Arc;

use tercel::Direction;

use super::{Stream, spare};
use crate::abi::{self, Boolean, Buffer, Handle, Status, StreamCallback, stream_open, stream_shutdown, stream_start};
use crate::boundary::{self, Context};
use crate::called;
use crate::connection::Connection;
use crate::handle;
use crate::target::Target;

/// `StreamOpen`.
///
/// # Safety
/// `stream` is null or leads to room for a handle; `handler` may be called with `context` until the handle is
/// closed.
pub(crate) unsafe extern "C" fn open(
    connection: Handle,
    flags: u32,
    handler: Option<StreamCallback>,
    context: *mut c_void,
    stream: *mut Handle,
) -> Status {
    boundary::answer(|| {
        if handler.is_none() || stream.is_null() {
            return Err(Status::INVALID_PARAMETER);
        }
        let direction = match flags & stream_open::UNIDIRECTIONAL != 0 {
            true => Direction::Unidirectional,
            false => Direction::Bidirectional,
        };
        let target = Target::new(handler, Context(context));
        let make = |of: &Arc<Connection>| of.open_stream(|manners| Stream::make(of, direction, true, manners, target));
        let made = handle::with_connection(connection, make)?;
        if flags & stream_open::APP_OWNED_BUFFERS != 0 {
            made.receive_into_memory(&mut made.state());
        }
        // SAFETY: as demanded of the caller.
        unsafe { boundary::put(stream, made.handle) }?;
        called::look(|called| called.map(|called| called.opens(made)));
        Ok(Status::SUCCESS)
    })
}

/// `StreamClose`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn close(stream: Handle) {
    boundary::enter((), || {
        // What is no stream is none to be closed.
        if let Ok(stream) = handle::close_stream(stream) {
            stream.close();
            spare::close(stream);
        }
    });
}

/// `StreamStart`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn start(stream: Handle, flags: u32) -> Status {
    boundary::answer(|| {
        handle::with(stream, |stream: &Arc<Stream>| {
            if flags & !stream_start::ALL != 0 {
                return Err(Status::INVALID_PARAMETER);
            }
            stream.start(flags).map_err(|status| stream.or_aborted(status))?;
            Ok(Status::PENDING)
        })
    })
}

/// `StreamShutdown`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn shutdown(stream: Handle, flags: u32, error_code: u64) -> Status {
    boundary::answer(|| {
        let stream = handle::get::<Stream>(stream)?;
        let has = |flag| flags & flag != 0;
        let graceful_and_not =
            has(stream_shutdown::GRACEFUL) && has(stream_shutdown::ABORT | stream_shutdown::IMMEDIATE);
        let immediate_and_not_both = has(stream_shutdown::IMMEDIATE)
            && flags & !stream_shutdown::INLINE != stream_shutdown::IMMEDIATE | stream_shutdown::ABORT;
        let nothing = flags & !stream_shutdown::INLINE == 0 || flags & !stream_shutdown::ALL != 0;
        if nothing || error_code > abi::UINT62_MAX || graceful_and_not || immediate_and_not_both {
            return Err(Status::INVALID_PARAMETER);
        }
        stream.shut_down(flags, error_code)?;
        match has(stream_shutdown::INLINE) && stream.connection().is_in_callback() {
            true => Ok(Status::SUCCESS),
            false => Ok(Status::PENDING),
        }
    })
}

/// `StreamSend`.
///
/// # Safety
/// `buffers` is null or leads to as many buffers as said; their bytes stay there until SEND_COMPLETE.
pub(crate) unsafe extern "C" fn send(
    stream: Handle,
    buffers: *const Buffer,
    buffer_count: u32,
    flags: u32,
    client_send_context: *mut c_void,
) -> Status {
    boundary::answer(|| {
        handle::with(stream, |stream: &Arc<Stream>| {
            // SAFETY: as demanded of the caller.
            let buffers = unsafe { boundary::slice(buffers, buffer_count as usize) };
            let buffers = buffers.ok_or(Status::INVALID_PARAMETER)?;
            // SAFETY: as demanded of the caller.
            let sent = unsafe { stream.send(buffers, flags, Context(client_send_context)) };
            sent.map_err(|status| stream.or_aborted(status))?;
            Ok(Status::PENDING)
        })
    })
}

/// `StreamReceiveComplete`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn receive_complete(stream: Handle, buffer_length: u64) {
    boundary::enter((), || {
        // What names no stream receives nothing.
        let _ = handle::with(stream, |stream: &Arc<Stream>| {
            stream.complete_receive(buffer_length);
            Ok(())
        });
    });
}

/// `StreamReceiveSetEnabled`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn receive_set_enabled(stream: Handle, is_enabled: Boolean) -> Status {
    boundary::answer(|| {
        handle::with(stream, |stream: &Arc<Stream>| stream.set_receive_enabled(is_enabled != 0))?;
        Ok(Status::PENDING)
    })
}

/// `StreamProvideReceiveBuffers`.
///
/// # Safety
/// `buffers` is null or leads to as many buffers as said, and each to its memory, which stays there until all of it was
/// received and accepted, or nothing more is received.
pub(crate) unsafe extern "C" fn provide_receive_buffers(
    stream: Handle,
    buffer_count: u32,
    buffers: *const Buffer,
) -> Status {
    boundary::answer(|| {
        let stream = handle::get::<Stream>(stream)?;
        // SAFETY: as demanded of the caller.
        let buffers = unsafe { boundary::slice(buffers, buffer_count as usize) }.unwrap_or_default();
        if buffers.is_empty() || buffers.iter().any(|buffer| buffer.length == 0 || buffer.buffer.is_null()) {
            return Err(Status::INVALID_PARAMETER);
        }
        // SAFETY: as demanded of the caller.
        unsafe { stream.provide(buffers) }?;
        Ok(Status::SUCCESS)
    })
}
