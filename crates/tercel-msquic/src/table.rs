//! The functions, in the order of the header; and those that are for any object.

use std::ffi::c_void;
use std::sync::{Arc, PoisonError};

use crate::abi::{
    ApiTable, ConnectionCallback, Handle, KeyingMaterialConfig, ListenerCallback, Status, StreamCallback,
};
use crate::boundary::{self, Context};
use crate::handle::{self, Object};
use crate::stream::Stream;
use crate::{configuration, connection, execution, listener, registration, stream};

/// The table that programs are given.
pub(crate) fn functions() -> ApiTable {
    ApiTable {
        set_context,
        get_context,
        set_callback_handler,
        set_param: crate::param::set,
        get_param: crate::param::get,
        registration_open: registration::open,
        registration_close: registration::close,
        registration_shutdown: registration::shutdown,
        configuration_open: configuration::open,
        configuration_close: configuration::close,
        configuration_load_credential: configuration::load_credential,
        listener_open: listener::open,
        listener_close: listener::close,
        listener_start: listener::start,
        listener_stop: listener::stop,
        connection_open: connection::calls::open,
        connection_close: connection::calls::close,
        connection_shutdown: connection::calls::shutdown,
        connection_start: connection::calls::start,
        connection_set_configuration: connection::calls::set_configuration,
        connection_send_resumption_ticket: connection::calls::send_resumption_ticket,
        stream_open: stream::calls::open,
        stream_close: stream::calls::close,
        stream_start: stream::calls::start,
        stream_shutdown: stream::calls::shutdown,
        stream_send: stream::calls::send,
        stream_receive_complete: stream::calls::receive_complete,
        stream_receive_set_enabled: stream::calls::receive_set_enabled,
        datagram_send: connection::calls::datagram_send,
        connection_resumption_ticket_validation_complete: connection::calls::ticket_validation_complete,
        connection_certificate_validation_complete: connection::calls::certificate_validation_complete,
        connection_open_in_partition: connection::calls::open_in_partition,
        stream_provide_receive_buffers: stream::calls::provide_receive_buffers,
        connection_pool_create: connection::pool::create,
        execution_create: execution::create,
        execution_delete: execution::delete,
        execution_poll: execution::poll,
        registration_close2: registration::close2,
        connection_export_keying_material,
    }
}

/// `SetContext`.
///
/// # Safety
/// None: handles are checked, and the context is not followed.
unsafe extern "C" fn set_context(handle: Handle, context: *mut c_void) {
    boundary::enter((), || {
        let context = Context(context);
        match handle::object(handle) {
            Ok(Object::Registration(of)) => *of.context().lock().unwrap_or_else(PoisonError::into_inner) = context,
            Ok(Object::Configuration(of)) => *of.context().lock().unwrap_or_else(PoisonError::into_inner) = context,
            Ok(Object::Listener(of)) => of.target().set_context(context),
            Ok(Object::Connection(of)) => of.target().set_context(context),
            Ok(Object::Stream(of)) => of.target().set_context(context),
            Ok(Object::Execution(_)) | Err(_) => {}
        }
    });
}

/// `GetContext`.
///
/// # Safety
/// None: handles are checked.
unsafe extern "C" fn get_context(handle: Handle) -> *mut c_void {
    boundary::enter(std::ptr::null_mut(), || {
        let context = match handle::object(handle) {
            Ok(Object::Registration(of)) => *of.context().lock().unwrap_or_else(PoisonError::into_inner),
            Ok(Object::Configuration(of)) => *of.context().lock().unwrap_or_else(PoisonError::into_inner),
            Ok(Object::Listener(of)) => of.target().context(),
            Ok(Object::Connection(of)) => of.target().context(),
            Ok(Object::Stream(of)) => of.target().context(),
            Ok(Object::Execution(_)) | Err(_) => Context::NULL,
        };
        context.0
    })
}

/// `SetCallbackHandler`.
///
/// # Safety
/// `handler` is null or a function that hears the events of this kind of object.
unsafe extern "C" fn set_callback_handler(handle: Handle, handler: *mut c_void, context: *mut c_void) {
    boundary::enter((), || {
        let context = Context(context);
        let set = |of: &Arc<Stream>| {
            // SAFETY: as demanded of the caller; null is `None`.
            let handler = unsafe { std::mem::transmute::<*mut c_void, Option<StreamCallback>>(handler) };
            of.target().set(handler, context);
            Ok(())
        };
        if handle::with(handle, set).is_ok() {
            return;
        }
        match handle::object(handle) {
            Ok(Object::Listener(of)) => {
                // SAFETY: as demanded of the caller; null is `None`.
                let handler = unsafe { std::mem::transmute::<*mut c_void, Option<ListenerCallback>>(handler) };
                of.target().set(handler, context);
            }
            Ok(Object::Connection(of)) => {
                // SAFETY: as demanded of the caller; null is `None`.
                let handler = unsafe { std::mem::transmute::<*mut c_void, Option<ConnectionCallback>>(handler) };
                of.target().set(handler, context);
            }
            _ => {}
        }
    });
}

/// `ConnectionExportKeyingMaterial`.
///
/// # Safety
/// Pointers are null or lead to what their types and the lengths beside them say.
unsafe extern "C" fn connection_export_keying_material(
    connection: Handle,
    config: *const KeyingMaterialConfig,
    output: *mut u8,
) -> Status {
    boundary::answer(|| {
        let connection = handle::connection(connection)?;
        // SAFETY: as demanded of the caller.
        let config = unsafe { boundary::reference(config) }.ok_or(Status::INVALID_PARAMETER)?;
        // SAFETY: as demanded of the caller.
        let label = unsafe { boundary::text(config.label) }.ok_or(Status::INVALID_PARAMETER)?;
        // SAFETY: as demanded of the caller.
        let context = unsafe { boundary::slice(config.context, config.context_length as usize) };
        let context = context.ok_or(Status::INVALID_PARAMETER)?.to_vec();
        if output.is_null() || config.output_length == 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        let (label, len) = (label.as_bytes().to_vec(), config.output_length as usize);
        let material = connection.look(move |look| {
            let mut out = vec![0; len];
            look.export_keying_material(&mut out, &label, &context).map(|()| out)
        })?;
        let material = material.map_err(|error| crate::outcome::status_of(&error))?;
        // SAFETY: as demanded of the caller; both are `len` bytes long.
        unsafe { std::ptr::copy_nonoverlapping(material.as_ptr(), output, len) };
        Ok(Status::SUCCESS)
    })
}
