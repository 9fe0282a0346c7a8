//! The functions of connections.

use std::ffi::{c_char, c_void};

use bytes::{Bytes, BytesMut};
use tercel::{Alert, DatagramPriority, Resume, Role, Verdict};

use super::{Connection, Stage};
use crate::abi::{self, Buffer, ConnectionCallback, Handle, Status};
use crate::boundary::{self, Context};
use crate::configuration::Configuration;
use crate::handle;
use crate::outcome::status_of;
use crate::registration::Registration;
use crate::target::Target;

/// `ConnectionOpen`.
///
/// # Safety
/// `connection` is null or leads to room for a handle; `handler` may be called with `context` until the handle is
/// closed.
pub(crate) unsafe extern "C" fn open(
    registration: Handle,
    handler: Option<ConnectionCallback>,
    context: *mut c_void,
    connection: *mut Handle,
) -> Status {
    // SAFETY: as demanded of the caller.
    boundary::answer(|| unsafe { open_on(registration, None, handler, context, connection) })
}

/// Opens a connection that `worker` is to have.
///
/// # Safety
/// As for [`open`].
unsafe fn open_on(
    registration: Handle,
    worker: Option<usize>,
    handler: Option<ConnectionCallback>,
    context: *mut c_void,
    connection: *mut Handle,
) -> Result<Status, Status> {
    let registration = handle::get::<Registration>(registration)?;
    if handler.is_none() || connection.is_null() {
        return Err(Status::INVALID_PARAMETER);
    }
    let target = Target::new(handler, Context(context));
    let made = Connection::make(&registration, Role::Client, Stage::Idle, target)?;
    made.wish(|wishes| wishes.worker = worker);
    // SAFETY: as demanded of the caller.
    unsafe { boundary::put(connection, made.handle) }?;
    Ok(Status::SUCCESS)
}

/// `ConnectionOpenInPartition`: a partition is a worker.
///
/// # Safety
/// As for [`open`].
pub(crate) unsafe extern "C" fn open_in_partition(
    registration: Handle,
    partition_index: u16,
    handler: Option<ConnectionCallback>,
    context: *mut c_void,
    connection: *mut Handle,
) -> Status {
    boundary::answer(|| {
        let worker = usize::from(partition_index);
        if worker >= crate::library::partitions() {
            return Err(Status::INVALID_PARAMETER);
        }
        // SAFETY: as demanded of the caller.
        unsafe { open_on(registration, Some(worker), handler, context, connection) }
    })
}

/// `ConnectionClose`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn close(connection: Handle) {
    boundary::enter((), || {
        if let Ok(connection) = handle::remove::<Connection>(connection) {
            connection.close();
        }
    });
}

/// `ConnectionShutdown`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn shutdown(connection: Handle, flags: u32, error_code: u64) {
    boundary::enter((), || {
        if let Ok(connection) = handle::connection(connection)
            && error_code <= abi::UINT62_MAX
        {
            connection.shut_down(flags, error_code);
        }
    });
}

/// `ConnectionStart`.
///
/// # Safety
/// `server_name` is null or leads to a text that ends with a zero.
pub(crate) unsafe extern "C" fn start(
    connection: Handle,
    configuration: Handle,
    family: u16,
    server_name: *const c_char,
    server_port: u16,
) -> Status {
    boundary::answer(|| {
        let configuration = handle::get::<Configuration>(configuration)?;
        if ![libc::AF_UNSPEC, libc::AF_INET, libc::AF_INET6].contains(&family.into()) {
            return Err(Status::INVALID_PARAMETER);
        }
        let connection = handle::connection(connection)?;
        // SAFETY: as demanded of the caller.
        let name = unsafe { boundary::text(server_name) };
        if !server_name.is_null() && name.is_none_or(|name| name.len() > abi::MAX_SNI_LENGTH) {
            return Err(Status::INVALID_PARAMETER);
        }
        connection.start(configuration, family, name, server_port)?;
        Ok(Status::PENDING)
    })
}

/// `ConnectionSetConfiguration`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn set_configuration(connection: Handle, configuration: Handle) -> Status {
    boundary::answer(|| {
        let configuration = handle::get::<Configuration>(configuration)?;
        handle::connection(connection)?.configure(configuration)?;
        Ok(Status::PENDING)
    })
}

/// No more tickets after this one.
const FINAL: u32 = 1;

/// `ConnectionSendResumptionTicket`.
///
/// # Safety
/// `resumption_data` is null or leads to as many bytes as said.
pub(crate) unsafe extern "C" fn send_resumption_ticket(
    connection: Handle,
    flags: u32,
    data_length: u16,
    resumption_data: *const u8,
) -> Status {
    boundary::answer(|| {
        if data_length > abi::MAX_RESUMPTION_APP_DATA_LENGTH || flags > FINAL {
            return Err(Status::INVALID_PARAMETER);
        }
        // SAFETY: as demanded of the caller.
        let data = unsafe { boundary::slice(resumption_data, data_length.into()) }.ok_or(Status::INVALID_PARAMETER)?;
        let connection = handle::connection(connection)?;
        if connection.role == Role::Client {
            return Err(Status::INVALID_PARAMETER);
        }
        let level = crate::settings::resumption_level(&connection.settings());
        let mut state = connection.state();
        if level == 0 || !state.connected || !state.may_send_tickets {
            return Err(Status::INVALID_STATE);
        }
        let live = connection.live_in(&state).ok_or(Status::INVALID_STATE)?;
        live.send_resumption_ticket(Bytes::copy_from_slice(data)).map_err(|error| status_of(&error))?;
        state.may_send_tickets = flags & FINAL == 0;
        Ok(Status::SUCCESS)
    })
}

/// `ConnectionResumptionTicketValidationComplete`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn ticket_validation_complete(connection: Handle, result: abi::Boolean) -> Status {
    boundary::answer(|| {
        let connection = handle::connection(connection)?;
        if connection.role == Role::Client {
            return Err(Status::INVALID_PARAMETER);
        }
        if !connection.is_asking() {
            return Err(Status::INVALID_STATE);
        }
        connection.answer_ticket(if result != 0 { Resume::Session } else { Resume::Refuse });
        Ok(Status::PENDING)
    })
}

/// `ConnectionCertificateValidationComplete`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn certificate_validation_complete(
    connection: Handle,
    result: abi::Boolean,
    tls_alert: u32,
) -> Status {
    boundary::answer(|| {
        let connection = handle::connection(connection)?;
        let verdict = match result {
            0 => {
                let alert = u16::try_from(tls_alert).ok().and_then(|alert| Alert::new(alert).ok());
                Verdict::Reject(alert.ok_or(Status::INVALID_PARAMETER)?)
            }
            _ => Verdict::Accept,
        };
        match connection.judge(verdict) {
            true => Ok(Status::PENDING),
            false => Err(Status::INVALID_STATE),
        }
    })
}

/// `DatagramSend`. The data is copied: it may go when this has returned.
///
/// # Safety
/// `buffers` is null or leads to as many buffers as said, and they to their bytes.
pub(crate) unsafe extern "C" fn datagram_send(
    connection: Handle,
    buffers: *const Buffer,
    buffer_count: u32,
    flags: u32,
    client_send_context: *mut c_void,
) -> Status {
    boundary::answer(|| {
        let connection = handle::get::<Connection>(connection)?;
        // SAFETY: as demanded of the caller.
        let buffers = unsafe { boundary::slice(buffers, buffer_count as usize) };
        let buffers = buffers.filter(|buffers| !buffers.is_empty()).ok_or(Status::INVALID_PARAMETER)?;
        let len = buffers.iter().map(|buffer| u64::from(buffer.length)).sum::<u64>();
        if len > u16::MAX.into() {
            return Err(Status::INVALID_PARAMETER);
        }
        let mut data = BytesMut::with_capacity(len as usize);
        for buffer in buffers {
            // SAFETY: as demanded of the caller.
            data.extend_from_slice(unsafe { boundary::bytes(buffer) }.ok_or(Status::INVALID_PARAMETER)?);
        }
        let mut state = connection.state();
        let Some(live) = connection.live_in(&state) else {
            return Err(if connection.is_over() { Status::ABORTED } else { Status::INVALID_STATE });
        };
        match live.max_datagram_size() {
            None if state.connected => return Err(Status::INVALID_STATE),
            Some(largest) if data.len() > largest => return Err(Status::INVALID_PARAMETER),
            _ => {}
        }
        let number = state.next_datagram;
        let priority = match flags & abi::send::DGRAM_PRIORITY != 0 {
            true => DatagramPriority::Urgent,
            false => DatagramPriority::Normal,
        };
        let sent = live.send_datagram_with(data.freeze(), number, priority);
        sent.map_err(|error| status_of(&error))?;
        state.next_datagram += 1;
        state.datagrams.insert(number, Context(client_send_context));
        Ok(Status::PENDING)
    })
}
