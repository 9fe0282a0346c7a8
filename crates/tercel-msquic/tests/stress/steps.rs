//! What the threads do: a call at a time, of any function, with a handle and with arguments that may or may not fit.

use std::ffi::c_void;

use tercel_msquic::abi::*;

use crate::callbacks::{closed, connection_event, listening, loaded, open, send_datagram, send_some};
use crate::support::*;
use crate::world::{Random, WORLD};

/// What does not change.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) registration: Handle,
    pub(crate) server: Handle,
    pub(crate) client: Handle,
    pub(crate) port: u16,
}

/// One call, or a few that belong together.
pub(crate) fn step(random: &mut Random, stage: Stage) {
    let connection = match random.below(4) {
        0 => WORLD.any(&WORLD.accepted, random),
        _ => WORLD.any(&WORLD.connections, random),
    };
    let stream = WORLD.any(&WORLD.streams, random);
    match random.below(20) {
        0..=3 => connections(random, stage, connection),
        4..=5 => connection_ends(random, connection),
        6..=12 => streams(random, connection, stream),
        13..=14 => receives(random, stream),
        15 => send_datagram(connection, random.below(1500) as usize, random.below(256) as u32),
        16 => parameters(random, connection, stream),
        17 => verdicts(random, connection),
        18 => configurations(random, stage),
        _ => listeners(random, stage),
    }
}

fn connections(random: &mut Random, stage: Stage, connection: Handle) {
    let api = api();
    let configuration = match random.below(3) {
        0 => WORLD.any(&WORLD.configurations, random),
        _ => stage.client,
    };
    let handler = Some(connection_event as ConnectionCallback);
    unsafe {
        match random.below(10) {
            0..=2 if WORLD.connections.lock().unwrap().len() < 20 => {
                let mut made = Handle::NULL;
                let opened = match random.below(2) {
                    0 => (api.connection_open)(stage.registration, handler, std::ptr::null_mut(), &mut made),
                    _ => {
                        let partition = random.below(4) as u16;
                        let null = std::ptr::null_mut();
                        (api.connection_open_in_partition)(stage.registration, partition, handler, null, &mut made)
                    }
                };
                if opened == Status::SUCCESS {
                    WORLD.connections.lock().unwrap().push(made);
                }
            }
            3 => {
                let ticket = random.one(&[0, 1, 2, 3]).and_then(|at| WORLD.tickets.lock().unwrap().get(at).cloned());
                if let Some(ticket) = ticket {
                    let (len, bytes) = (ticket.len() as u32, ticket.as_ptr().cast());
                    let _ = (api.set_param)(connection, param::CONN_RESUMPTION_TICKET, len, bytes);
                }
            }
            4..=7 => {
                let name = random.one(&[c"localhost".as_ptr(), c"".as_ptr(), std::ptr::null()]).unwrap();
                let name = if random.one_in(10) { name } else { c"localhost".as_ptr() };
                let family = if random.one_in(30) { 77 } else { libc::AF_INET as u16 };
                let _ = (api.connection_start)(connection, configuration, family, name, stage.port);
            }
            8 if WORLD.connections.lock().unwrap().len() < 20 => {
                let mut made = [Handle::NULL; 3];
                let mut config = ConnectionPoolConfig {
                    registration: stage.registration,
                    configuration,
                    handler,
                    context: std::ptr::null_mut(),
                    server_name: c"localhost".as_ptr(),
                    server_address: &loopback(0),
                    family: libc::AF_INET as u16,
                    server_port: stage.port,
                    number_of_connections: random.below(4) as u16,
                    cibir_ids: std::ptr::null_mut(),
                    cibir_id_length: 0,
                    flags: random.below(2) as u32,
                };
                // Those that were made before one failed are there, too, if they are not to be closed.
                let _ = (api.connection_pool_create)(&mut config, made.as_mut_ptr());
                let made = made.into_iter().filter(|handle| *handle != Handle::NULL);
                WORLD.connections.lock().unwrap().extend(made);
            }
            _ => {
                let _ = (api.connection_set_configuration)(connection, configuration);
            }
        }
    }
}

fn connection_ends(random: &mut Random, connection: Handle) {
    unsafe {
        match random.below(3) {
            0 => (api().connection_shutdown)(connection, random.below(4) as u32, random.next() >> random.below(64)),
            _ => {
                if let Some(taken) = WORLD.take(&WORLD.connections, random) {
                    (api().connection_close)(taken);
                }
            }
        }
    }
}

fn streams(random: &mut Random, connection: Handle, stream: Handle) {
    let flags = random.below(256) as u32;
    unsafe {
        match random.below(10) {
            0..=2 => open(connection, flags & 0xb),
            3 => {
                let _ = (api().stream_start)(stream, flags & 63);
            }
            4..=6 => {
                let len = [0, 1, 1000, 100_000][random.below(4) as usize];
                send_some(stream, vec![7; len], flags & 0xf7 | send::START);
            }
            7 => {
                let _ = (api().stream_shutdown)(stream, flags & 63, random.next() >> random.below(64));
            }
            8 => {
                if let Some(taken) = WORLD.take(&WORLD.streams, random) {
                    WORLD.close_stream(taken);
                }
            }
            _ => WORLD.lend(stream, 1 + random.below(50_000) as usize),
        }
    }
}

fn receives(random: &mut Random, stream: Handle) {
    match random.below(3) {
        0 => WORLD.look(random),
        1 => {
            WORLD.looked(stream);
            unsafe { (api().stream_receive_complete)(stream, random.next() >> random.below(64)) };
        }
        _ => {
            let _ = unsafe { (api().stream_receive_set_enabled)(stream, random.below(2) as u8) };
        }
    }
}

fn parameters(random: &mut Random, connection: Handle, stream: Handle) {
    let api = api();
    let listener = WORLD.any(&WORLD.listeners, random);
    let configuration = WORLD.any(&WORLD.configurations, random);
    let low = random.below(32) as u32;
    let (of, parameter) = match random.below(6) {
        0 => (connection, 0x0600_0000 + low),
        1 => (stream, 0x0800_0000 + low),
        2 => (listener, 0x0400_0000 + low % 6),
        3 => (configuration, 0x0300_0000 + low % 4),
        4 => (Handle::NULL, 0x0100_0000 + low),
        _ => (connection, 0x0500_0000 + low),
    };
    let mut room = [0u8; 400];
    room.iter_mut().for_each(|byte| *byte = random.next() as u8);
    let mut len = [400, random.below(400) as u32, 0, 1, 4, 8, 28, 144][random.below(8) as usize];
    // Those that hold pointers are not made up; nor is what holds for the process.
    let holds_pointers = matches!(parameter, 0x0500_0014 | 0x0300_0002);
    unsafe {
        match random.below(8) {
            0 => {
                let _ = (api.get_param)(of, parameter, &mut len, std::ptr::null_mut());
            }
            1 if !holds_pointers && parameter >> 24 != 1 => {
                let _ = (api.set_param)(of, parameter, len, room.as_ptr().cast());
            }
            2 => {
                // The contexts tell whose an object is, so they stay as they are.
                let context = (api.get_context)(connection);
                (api.set_context)(stream, (api.get_context)(stream));
                std::hint::black_box(context);
            }
            3 => {
                let (label, mut output) = (c"label", [0u8; 64]);
                let config = KeyingMaterialConfig {
                    label: label.as_ptr(),
                    context_length: 4,
                    context: room.as_ptr(),
                    output_length: random.below(65) as u32,
                };
                let _ = (api.connection_export_keying_material)(connection, &config, output.as_mut_ptr());
            }
            _ => {
                let _ = (api.get_param)(of, parameter, &mut len, room.as_mut_ptr().cast());
            }
        }
    }
}

fn verdicts(random: &mut Random, connection: Handle) {
    let api = api();
    let yes = random.below(3).min(1) as u8;
    unsafe {
        let _ = match random.below(3) {
            0 => (api.connection_certificate_validation_complete)(connection, yes, random.below(300) as u32),
            1 => (api.connection_resumption_ticket_validation_complete)(connection, yes),
            _ => {
                let data = [5; 1200];
                let len = random.below(1200) as u16;
                (api.connection_send_resumption_ticket)(connection, random.below(2) as u32, len, data.as_ptr())
            }
        };
    }
}

/// Opens a client's configuration of one kind or another.
fn configurations(random: &mut Random, stage: Stage) {
    let api = api();
    if random.one_in(3) || WORLD.configurations.lock().unwrap().len() > 10 {
        if let Some(taken) = WORLD.take(&WORLD.configurations, random) {
            unsafe { (api.configuration_close)(taken) };
        }
        return;
    }
    let mut made = Handle::NULL;
    let mut chosen = settings();
    if random.one_in(2) {
        chosen.is_set |= is_set::STREAM_MULTI_RECEIVE_ENABLED;
        chosen.flags |= flags::STREAM_MULTI_RECEIVE_ENABLED;
    }
    if random.one_in(4) {
        chosen.is_set |= is_set::IDLE_TIMEOUT_MS | is_set::HANDSHAKE_IDLE_TIMEOUT_MS;
        (chosen.idle_timeout_ms, chosen.handshake_idle_timeout_ms) = (1 + random.below(100), 1 + random.below(100));
    }
    if random.one_in(4) {
        // Sends are copied.
        chosen.bits |= 1;
    }
    let (alpn, size) =
        (buffer(ALPN), [size_of::<Settings>() as u32, random.below(200) as u32][random.below(2) as usize]);
    unsafe {
        let null = std::ptr::null_mut();
        if (api.configuration_open)(stage.registration, &alpn, 1, &chosen, size, null, &mut made).is_failure() {
            return;
        }
        let mut flags = credential_flags::CLIENT | credential_flags::NO_CERTIFICATE_VALIDATION;
        if random.one_in(2) {
            flags |= credential_flags::INDICATE_CERTIFICATE_RECEIVED | credential_flags::USE_PORTABLE_CERTIFICATES;
        }
        let later = random.one_in(4);
        if later {
            flags |= credential_flags::LOAD_ASYNCHRONOUS;
        }
        let mut config = credential(credential_type::NONE, flags);
        config.async_handler = Some(loaded);
        if later {
            WORLD.begin();
        }
        let status = (api.configuration_load_credential)(made, &config);
        if later && status != Status::PENDING {
            WORLD.finish();
        }
        WORLD.configurations.lock().unwrap().push(made);
    }
}

fn listeners(random: &mut Random, stage: Stage) {
    let api = api();
    let listener = WORLD.any(&WORLD.listeners, random);
    let name = [ALPN, b"other", b"third"][random.below(3) as usize];
    let alpn = buffer(name);
    unsafe {
        match random.below(6) {
            0 if WORLD.listeners.lock().unwrap().len() < 6 => {
                let mut made = Handle::NULL;
                let context = [stage.server.0, std::ptr::null_mut()][random.below(2) as usize];
                if (api.listener_open)(stage.registration, Some(listening), context, &mut made) == Status::SUCCESS {
                    WORLD.listeners.lock().unwrap().push(made);
                }
            }
            1 | 2 => {
                // Who asks for the usual protocol at the server's port does not get it.
                let port = [0, stage.port][random.below(2) as usize];
                let _ = (api.listener_start)(listener, &alpn, random.below(2) as u32, &loopback(port));
            }
            3 => (api.listener_stop)(listener),
            4 => {
                if let Some(taken) = WORLD.take(&WORLD.listeners, random) {
                    (api.listener_close)(taken);
                }
            }
            _ => registration(random, stage),
        }
    }
}

/// A registration of its own, that lives for a moment.
fn registration(random: &mut Random, stage: Stage) {
    let api = api();
    let config = RegistrationConfig { app_name: std::ptr::null(), execution_profile: random.below(4) as u32 };
    let (mut made, mut connection) = (Handle::NULL, Handle::NULL);
    unsafe {
        if (api.registration_open)(&config, &mut made).is_failure() {
            return;
        }
        let handler = Some(connection_event as ConnectionCallback);
        let opened = (api.connection_open)(made, handler, std::ptr::null_mut(), &mut connection);
        let name = c"localhost".as_ptr();
        let _ = (api.connection_start)(connection, stage.client, libc::AF_INET as u16, name, stage.port);
        if random.one_in(2) {
            (api.registration_shutdown)(made, random.below(2) as u32, random.below(100));
        }
        let close = || {
            if opened == Status::SUCCESS {
                (api.connection_close)(connection);
            }
        };
        match random.below(2) {
            0 => {
                close();
                (api.registration_close)(made);
            }
            _ => {
                WORLD.begin();
                (api.registration_close2)(made, Some(closed), std::ptr::null_mut::<c_void>());
                close();
            }
        }
    }
}
