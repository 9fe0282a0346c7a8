//! What the program does about events: what a server must do, and else what comes to its mind. Within a callback it
//! calls what can be called there: on the object that the event is of.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use tercel_msquic::abi::*;

use crate::support::*;
use crate::world::{Random, WORLD, random};

/// Memory that is being sent, freed by its completion.
pub(crate) struct Sent {
    _data: Vec<u8>,
    buffers: Vec<Buffer>,
}

pub(crate) fn send_some(stream: Handle, data: Vec<u8>, flags: u32) {
    let third = data.len() / 3;
    let buffers = match data.len() {
        // Of more than one, one of which is empty.
        3..=5000 => vec![buffer(&data[..third]), buffer(&[]), buffer(&data[third..])],
        _ => vec![buffer(&data)],
    };
    let sent = Box::into_raw(Box::new(Sent { buffers, _data: data }));
    WORLD.sends.fetch_add(1, Ordering::Relaxed);
    let status = unsafe {
        let buffers = &(*sent).buffers;
        (api().stream_send)(stream, buffers.as_ptr(), buffers.len() as u32, flags, sent.cast())
    };
    if status.is_failure() {
        WORLD.sends.fetch_sub(1, Ordering::Relaxed);
        drop(unsafe { Box::from_raw(sent) });
    }
}

pub(crate) fn send_datagram(connection: Handle, len: usize, flags: u32) {
    let data = vec![3; len];
    let buffers = [buffer(&data[..len / 2]), buffer(&data[len / 2..])];
    WORLD.datagrams.fetch_add(1, Ordering::Relaxed);
    let sent = unsafe { (api().datagram_send)(connection, buffers.as_ptr(), 2, flags, std::ptr::null_mut()) };
    if sent.is_failure() {
        WORLD.datagrams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens a stream that the threads close.
pub(crate) fn open(connection: Handle, flags: u32) {
    if WORLD.streams.lock().unwrap().len() > 100 {
        return;
    }
    let mut made = Handle::NULL;
    let handler = Some(stream_event as StreamCallback);
    unsafe {
        if (api().stream_open)(connection, flags, handler, std::ptr::null_mut(), &mut made) == Status::SUCCESS {
            WORLD.streams.lock().unwrap().push(made);
        }
    }
}

/// A call within a callback of a connection.
fn on_connection(handle: Handle, random: &mut Random) {
    let api = api();
    let mut room = [0u8; 400];
    let mut len = room.len() as u32;
    unsafe {
        match random.below(7) {
            0 => open(handle, random.below(16) as u32),
            1 => send_datagram(handle, random.below(2000) as usize, 0),
            2 => (api.connection_shutdown)(handle, random.below(2) as u32, random.below(100)),
            3 if WORLD.take_this(&WORLD.connections, handle) => (api.connection_close)(handle),
            4 => {
                let parameter = param::CONN_QUIC_VERSION + random.below(0x1a) as u32;
                let _ = (api.get_param)(handle, parameter, &mut len, room.as_mut_ptr().cast());
            }
            5 => {
                let _ = (api.connection_certificate_validation_complete)(handle, 1, 0);
            }
            _ => {
                let _ = (api.connection_send_resumption_ticket)(handle, 0, 3, b"abc".as_ptr());
            }
        }
    }
}

/// A call within a callback of a stream.
fn on_stream(handle: Handle, random: &mut Random) {
    let api = api();
    unsafe {
        match random.below(6) {
            0 => send_some(handle, vec![9; random.below(3000) as usize], random.below(8) as u32),
            1 => {
                let flags = random.below(32) as u32;
                let _ = (api.stream_shutdown)(handle, flags, random.below(100));
            }
            2 => {
                WORLD.looked(handle);
                (api.stream_receive_complete)(handle, random.below(5000));
            }
            3 => {
                let _ = (api.stream_receive_set_enabled)(handle, random.below(2) as u8);
            }
            4 if WORLD.take_this(&WORLD.streams, handle) => WORLD.close_stream(handle),
            _ => WORLD.lend(handle, 1 + random.below(5000) as usize),
        }
    }
}

pub(crate) unsafe extern "C" fn connection_event(
    handle: Handle,
    server: *mut c_void,
    event: *mut ConnectionEvent,
) -> Status {
    let event = unsafe { &mut *event };
    WORLD.heard(handle, event.event_type == connection_event::SHUTDOWN_COMPLETE);
    let mut random = random();
    match event.event_type {
        connection_event::PEER_STREAM_STARTED => unsafe {
            let stream = event.body.peer_stream_started.stream;
            match random.below(20) {
                // Not taken.
                0 => return Status::INVALID_STATE,
                1 => return Status::SUCCESS,
                2 => event.body.peer_stream_started.flags |= stream_open::DELAY_ID_FC_UPDATES,
                _ => {}
            }
            (api().set_callback_handler)(stream, stream_event as *mut c_void, std::ptr::without_provenance_mut(1));
        },
        connection_event::DATAGRAM_SEND_STATE_CHANGED => {
            let state = unsafe { event.body.datagram_send_state_changed.state };
            if state >= datagram_send_state::LOST_DISCARDED {
                WORLD.datagrams.fetch_sub(1, Ordering::Relaxed);
            }
        }
        connection_event::PEER_CERTIFICATE_RECEIVED => match random.below(5) {
            0 => return Status::BAD_CERTIFICATE,
            // Somebody judges it later, perhaps.
            1 | 2 => return Status::PENDING,
            _ => {}
        },
        connection_event::RESUMED => match random.below(5) {
            0 => return Status::INVALID_STATE,
            1 => return Status::PENDING,
            _ => {}
        },
        connection_event::RESUMPTION_TICKET_RECEIVED => {
            let told = unsafe { event.body.resumption_ticket_received };
            let bytes =
                unsafe { std::slice::from_raw_parts(told.resumption_ticket, told.resumption_ticket_length as usize) };
            let mut tickets = WORLD.tickets.lock().unwrap();
            tickets.truncate(10);
            tickets.insert(0, bytes.to_vec());
        }
        connection_event::SHUTDOWN_COMPLETE => {
            let closing = unsafe { event.body.shutdown_complete } & 4 != 0;
            if !server.is_null() && !closing {
                WORLD.take_this(&WORLD.accepted, handle);
                unsafe { (api().connection_close)(handle) };
            }
            return Status::SUCCESS;
        }
        _ => {}
    }
    if random.one_in(8) {
        on_connection(handle, &mut random);
    }
    Status::SUCCESS
}

/// The context of a stream tells whether it is the server's, which is closed when it ends.
pub(crate) unsafe extern "C" fn stream_event(handle: Handle, server: *mut c_void, event: *mut StreamEvent) -> Status {
    let event = unsafe { &mut *event };
    WORLD.heard(handle, event.event_type == stream_event::SHUTDOWN_COMPLETE);
    let mut random = random();
    match event.event_type {
        stream_event::SEND_COMPLETE => {
            WORLD.sends.fetch_sub(1, Ordering::Relaxed);
            drop(unsafe { Box::from_raw(event.body.send_complete.client_context.cast::<Sent>()) });
        }
        stream_event::RECEIVE => {
            let told = unsafe { event.body.receive };
            if !server.is_null() {
                let (data, last) = (received(event), told.flags & receive::FIN != 0);
                send_some(handle, data, if last { send::FIN } else { 0 });
            } else {
                match random.below(5) {
                    0 | 1 => {
                        if told.buffer_count > 0 {
                            let buffers =
                                unsafe { std::slice::from_raw_parts(told.buffers, told.buffer_count as usize) };
                            WORLD.shows(handle, buffers);
                        }
                        return Status::PENDING;
                    }
                    2 => {
                        event.body.receive.total_buffer_length = told.total_buffer_length / 2;
                        return Status::CONTINUE;
                    }
                    3 => event.body.receive.total_buffer_length = told.total_buffer_length / 2,
                    _ => {}
                }
            }
        }
        stream_event::CANCEL_ON_LOSS => event.body.cancel_on_loss = random.below(100),
        stream_event::SHUTDOWN_COMPLETE => {
            WORLD.take_back(handle);
            let closing = unsafe { event.body.shutdown_complete }.flags & 1 != 0;
            if !server.is_null() && !closing {
                unsafe { (api().stream_close)(handle) };
            }
            return Status::SUCCESS;
        }
        _ => {}
    }
    if random.one_in(8) {
        on_stream(handle, &mut random);
    }
    Status::SUCCESS
}

/// The context is the server's configuration; without one nobody is taken.
pub(crate) unsafe extern "C" fn listening(_: Handle, server: *mut c_void, event: *mut ListenerEvent) -> Status {
    let event = unsafe { &mut *event };
    let refused = server.is_null() || random().one_in(30);
    if event.event_type != listener_event::NEW_CONNECTION {
        return Status::SUCCESS;
    }
    if refused {
        return Status::CONNECTION_REFUSED;
    }
    unsafe {
        let connection = event.body.new_connection.connection;
        let context = std::ptr::without_provenance_mut(1);
        (api().set_callback_handler)(connection, connection_event as *mut c_void, context);
        WORLD.accepted.lock().unwrap().push(connection);
        let status = (api().connection_set_configuration)(connection, Handle(server));
        if status.is_failure() {
            WORLD.take_this(&WORLD.accepted, connection);
        }
        status
    }
}

/// A credential is loaded, or is not.
pub(crate) unsafe extern "C" fn loaded(_: Handle, _: *mut c_void, _: Status) {
    WORLD.finish();
}

/// A registration is closed.
pub(crate) unsafe extern "C" fn closed(_: *mut c_void) {
    WORLD.finish();
}
