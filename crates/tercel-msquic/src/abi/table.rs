//! `QUIC_API_TABLE`, version 2.

use std::ffi::{c_char, c_void};

use super::{
    Addr, Boolean, Buffer, ConnectionCallback, ConnectionPoolConfig, CredentialConfig, ExecutionConfig, Handle,
    KeyingMaterialConfig, ListenerCallback, RegistrationCloseCallback, RegistrationConfig, Settings, Status,
    StreamCallback,
};

macro_rules! api_table {
    ($($(#[$doc:meta])* $name:ident: fn($($argument:ident: $ty:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, in the order of the header. The last seven are previews there.
        #[repr(C)]
        #[derive(Clone, Copy)]
        #[allow(missing_docs)] // They are MsQuic's, and documented there.
        pub struct ApiTable {
            $($(#[$doc])* pub $name: unsafe extern "C" fn($($argument: $ty),*) $(-> $result)?,)*
        }
    };
}

api_table! {
    set_context: fn(handle: Handle, context: *mut c_void);
    get_context: fn(handle: Handle) -> *mut c_void;
    set_callback_handler: fn(handle: Handle, handler: *mut c_void, context: *mut c_void);

    set_param: fn(handle: Handle, param: u32, buffer_length: u32, buffer: *const c_void) -> Status;
    get_param: fn(handle: Handle, param: u32, buffer_length: *mut u32, buffer: *mut c_void) -> Status;

    registration_open: fn(config: *const RegistrationConfig, registration: *mut Handle) -> Status;
    registration_close: fn(registration: Handle);
    registration_shutdown: fn(registration: Handle, flags: u32, error_code: u64);

    configuration_open: fn(registration: Handle, alpn_buffers: *const Buffer, alpn_buffer_count: u32,
        settings: *const Settings, settings_size: u32, context: *mut c_void, configuration: *mut Handle) -> Status;
    configuration_close: fn(configuration: Handle);
    configuration_load_credential: fn(configuration: Handle, config: *const CredentialConfig) -> Status;

    listener_open: fn(registration: Handle, handler: Option<ListenerCallback>, context: *mut c_void,
        listener: *mut Handle) -> Status;
    listener_close: fn(listener: Handle);
    listener_start: fn(listener: Handle, alpn_buffers: *const Buffer, alpn_buffer_count: u32,
        local_address: *const Addr) -> Status;
    listener_stop: fn(listener: Handle);

    connection_open: fn(registration: Handle, handler: Option<ConnectionCallback>, context: *mut c_void,
        connection: *mut Handle) -> Status;
    connection_close: fn(connection: Handle);
    connection_shutdown: fn(connection: Handle, flags: u32, error_code: u64);
    connection_start: fn(connection: Handle, configuration: Handle, family: u16, server_name: *const c_char,
        server_port: u16) -> Status;
    connection_set_configuration: fn(connection: Handle, configuration: Handle) -> Status;
    connection_send_resumption_ticket: fn(connection: Handle, flags: u32, data_length: u16,
        resumption_data: *const u8) -> Status;

    stream_open: fn(connection: Handle, flags: u32, handler: Option<StreamCallback>, context: *mut c_void,
        stream: *mut Handle) -> Status;
    stream_close: fn(stream: Handle);
    stream_start: fn(stream: Handle, flags: u32) -> Status;
    stream_shutdown: fn(stream: Handle, flags: u32, error_code: u64) -> Status;
    stream_send: fn(stream: Handle, buffers: *const Buffer, buffer_count: u32, flags: u32,
        client_send_context: *mut c_void) -> Status;
    stream_receive_complete: fn(stream: Handle, buffer_length: u64);
    stream_receive_set_enabled: fn(stream: Handle, is_enabled: Boolean) -> Status;

    datagram_send: fn(connection: Handle, buffers: *const Buffer, buffer_count: u32, flags: u32,
        client_send_context: *mut c_void) -> Status;

    connection_resumption_ticket_validation_complete: fn(connection: Handle, result: Boolean) -> Status;
    connection_certificate_validation_complete: fn(connection: Handle, result: Boolean, tls_alert: u32) -> Status;

    connection_open_in_partition: fn(registration: Handle, partition_index: u16,
        handler: Option<ConnectionCallback>, context: *mut c_void, connection: *mut Handle) -> Status;

    stream_provide_receive_buffers: fn(stream: Handle, buffer_count: u32, buffers: *const Buffer) -> Status;
    connection_pool_create: fn(config: *mut ConnectionPoolConfig, pool: *mut Handle) -> Status;
    execution_create: fn(flags: u32, polling_idle_timeout_us: u32, count: u32, configs: *mut ExecutionConfig,
        executions: *mut *mut c_void) -> Status;
    execution_delete: fn(count: u32, executions: *mut *mut c_void);
    execution_poll: fn(execution: *mut c_void) -> u32;
    registration_close2: fn(registration: Handle, handler: Option<RegistrationCloseCallback>, context: *mut c_void);
    connection_export_keying_material: fn(connection: Handle, config: *const KeyingMaterialConfig,
        output: *mut u8) -> Status;
}
