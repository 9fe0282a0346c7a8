//! The server.

use std::sync::Arc;

use msquic::{
    Addr, Api, BufferRef, Configuration, Connection, ConnectionEvent, ConnectionRef, Listener, ListenerEvent,
    Registration, SendFlags, Status, Stream, StreamEvent, StreamOpenFlags, StreamRef, StreamShutdownFlags,
    StreamStartFlags, ffi,
};
use tercel_interop_end::{ALPN, Arguments, CUT_OFF, CUT_OFF_AT, ready, tell};

use crate::{configuration, send, send_part, set, spare_previews, whole};

/// Serves until the process is ended.
pub fn run(registration: &Registration, arguments: Arguments) -> Result<(), Status> {
    arguments.cannot(&["ackfrequency"], "its server does not ask, and a client that only receives has no reason to");
    arguments.cannot(&["connectionmigration"], "its server has no preferred address");
    let configuration: &'static Configuration = Box::leak(Box::new(configuration(registration, &arguments)?));
    let arguments = Arc::new(arguments);
    let address = Addr::from(arguments.address);
    let listener = Listener::open(registration, move |_, event| {
        if let ListenerEvent::NewConnection { connection, .. } = event {
            let ours = arguments.clone();
            connection.set_callback_handler(move |connection, event| serve(&connection, event, &ours));
            // SAFETY: the connection is alive during its event.
            spare_previews(unsafe { connection.as_raw() });
            connection.set_configuration(configuration)?;
            if arguments.is(&["halfrtt"]) {
                let stream = Stream::open(&connection, StreamOpenFlags::UNIDIRECTIONAL, |_, _| Ok(()))?;
                stream.start(StreamStartFlags::NONE)?;
                send(&stream, b"before you have finished".to_vec(), SendFlags::NONE)?;
                std::mem::forget(stream);
            }
            // SAFETY: a connection that was taken in belongs to the application, which keeps it forever.
            std::mem::forget(unsafe { Connection::from_raw(connection.as_raw()) });
        }
        Ok(())
    })?;
    listener.start(&[BufferRef::from(ALPN)], Some(&address))?;
    ready();
    loop {
        std::thread::park();
    }
}

/// Resets the stream, but makes sure of what MsQuic has taken over from us to send, which is the file.
fn cut_off(stream: &StreamRef) -> Result<(), Status> {
    // SAFETY: the handle is used during the stream's event.
    set(unsafe { stream.as_raw() }, ffi::QUIC_PARAM_STREAM_RELIABLE_OFFSET, &[CUT_OFF_AT])?;
    stream.shutdown(StreamShutdownFlags::ABORT_SEND, CUT_OFF.into())
}

fn serve(connection: &ConnectionRef, event: ConnectionEvent<'_>, arguments: &Arc<Arguments>) -> Result<(), Status> {
    match event {
        ConnectionEvent::Connected { .. } => {
            let send_ticket = Api::get_ffi().ConnectionSendResumptionTicket.expect("MsQuic's table is full");
            // SAFETY: the connection is alive during its event; there is no data.
            let status = unsafe { send_ticket(connection.as_raw(), 0, 0, std::ptr::null()) };
            Status::ok_from_raw(status)
        }
        ConnectionEvent::PeerStreamStarted { stream, .. } => {
            let arguments = arguments.clone();
            let cuts_off = arguments.is(&["reliablereset"]);
            let mut answer = whole(move |stream, request| match arguments.answer(&request) {
                Some(file) if cuts_off => send_part(stream, file, SendFlags::NONE),
                Some(file) => send(stream, file, SendFlags::NONE),
                None => Ok(()),
            });
            stream.set_callback_handler(move |stream, event| match event {
                StreamEvent::SendComplete { .. } if cuts_off => cut_off(&stream),
                event => answer(stream, event),
            });
            // SAFETY: a stream of the peer belongs to the application, which keeps it forever.
            std::mem::forget(unsafe { Stream::from_raw(stream.as_raw()) });
            Ok(())
        }
        ConnectionEvent::DatagramReceived { buffer, .. } => {
            let echo: &'static [u8] = buffer.as_bytes().to_vec().leak();
            let buffers: &'static [BufferRef; 1] = Box::leak(Box::new([BufferRef::from(echo)]));
            // SAFETY: what is sent is never freed.
            unsafe { connection.datagram_send(buffers, SendFlags::NONE, std::ptr::null()) }
        }
        ConnectionEvent::ShutdownInitiatedByTransport { status, .. } => {
            tell(&format!("connection ended: {status:?}"));
            Ok(())
        }
        _ => Ok(()),
    }
}
