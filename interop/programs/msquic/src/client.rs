//! The client.

use std::sync::mpsc;
use std::time::Duration;

use msquic::{
    Addr, BufferRef, Configuration, Connection, ConnectionEvent, ConnectionShutdownFlags, Registration, SendFlags,
    Status, Stream, StreamOpenFlags, StreamStartFlags, ffi,
};
use tercel_interop_end::{Arguments, DATAGRAMS, PATIENCE, SERVER_NAME, request, tell};

use crate::{configuration, failed, send, set, spare_previews, whole};

/// Forces a key update; of MsQuic's private parameters.
const QUIC_PARAM_CONN_FORCE_KEY_UPDATE: u32 = 0x8500_0000;

/// What a connection tells.
enum Told {
    Connected,
    Ticket(Vec<u8>),
    Answer(String, Vec<u8>),
    Datagram(Vec<u8>),
    Ended(String),
}

type Heard = mpsc::Receiver<Told>;

/// Does what the case says, once.
pub fn run(registration: &Registration, arguments: &Arguments) -> Result<(), Status> {
    arguments.cannot(&["connectionmigration"], "its client does not move to preferred addresses");
    let configuration = Box::leak(Box::new(configuration(registration, arguments)?));
    let connections = arguments.connections();
    let mut ticket = None;
    for (number, paths) in connections.iter().enumerate() {
        let last = number + 1 == connections.len();
        ticket = one(registration, configuration, arguments, paths, last, ticket)?;
    }
    Ok(())
}

/// One connection, which may bring a ticket for the next one.
fn one(
    registration: &Registration,
    configuration: &Configuration,
    arguments: &Arguments,
    paths: &[String],
    last: bool,
    ticket: Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, Status> {
    let (tell_main, heard) = mpsc::channel();
    let events = tell_main.clone();
    let connection = Connection::open(registration, move |_, event| {
        let told = match event {
            ConnectionEvent::Connected { .. } => Told::Connected,
            ConnectionEvent::ResumptionTicketReceived { resumption_ticket } => Told::Ticket(resumption_ticket.to_vec()),
            ConnectionEvent::DatagramReceived { buffer, .. } => Told::Datagram(buffer.as_bytes().to_vec()),
            ConnectionEvent::ShutdownInitiatedByTransport { status, .. } => Told::Ended(format!("{status:?}")),
            ConnectionEvent::ShutdownInitiatedByPeer { error_code } => {
                Told::Ended(format!("by the peer: {error_code}"))
            }
            ConnectionEvent::PeerStreamStarted { stream, .. } => {
                stream.set_callback_handler(|_, _| Ok(()));
                // SAFETY: a stream of the peer belongs to the application, which keeps it forever.
                std::mem::forget(unsafe { Stream::from_raw(stream.as_raw()) });
                return Ok(());
            }
            ConnectionEvent::ShutdownComplete { .. } => Told::Ended("complete".into()),
            _ => return Ok(()),
        };
        let _ = events.send(told);
        Ok(())
    })?;
    // SAFETY: the handle is used while the connection lives.
    let handle = || unsafe { connection.as_raw() };
    spare_previews(handle());
    set(handle(), ffi::QUIC_PARAM_CONN_REMOTE_ADDRESS, &[Addr::from(arguments.address)])?;
    let early = ticket.is_some() && arguments.is(&["zerortt"]);
    if let Some(ticket) = ticket {
        set(handle(), ffi::QUIC_PARAM_CONN_RESUMPTION_TICKET, &ticket)?;
    }
    if early {
        ask(&connection, paths, &tell_main)?;
    }
    connection.start(configuration, SERVER_NAME, arguments.address.port())?;
    let mut newest = None;
    if !early {
        connected(&heard, &mut newest);
        match arguments.case.as_str() {
            "keyupdate" => {
                // Not before the handshake is confirmed, which is not told.
                std::thread::sleep(Duration::from_millis(100));
                set::<u8>(handle(), QUIC_PARAM_CONN_FORCE_KEY_UPDATE, &[])?;
            }
            "datagrams" => datagrams(&connection, &heard)?,
            _ => {}
        }
        ask(&connection, paths, &tell_main)?;
    }
    if arguments.is(&["migration"]) {
        std::thread::sleep(Duration::from_millis(500));
        let mut local = arguments.address;
        local.set_port(
            std::net::UdpSocket::bind(local_any(arguments)).and_then(|s| s.local_addr()).map_or(0, |a| a.port()),
        );
        set(handle(), ffi::QUIC_PARAM_CONN_LOCAL_ADDRESS, &[Addr::from(local)])?;
    }
    let mut missing = paths.len();
    while missing > 0 {
        match next(&heard) {
            Told::Answer(path, answer) => {
                arguments.store(&path, &answer);
                missing -= 1;
            }
            Told::Ticket(ticket) => newest = Some(ticket),
            Told::Ended(why) => failed(why),
            Told::Connected | Told::Datagram(_) => {}
        }
    }
    while !last && newest.is_none() && arguments.is(&["resumption", "zerortt"]) {
        match next(&heard) {
            Told::Ticket(ticket) => newest = Some(ticket),
            Told::Ended(why) => failed(why),
            _ => {}
        }
    }
    connection.shutdown(ConnectionShutdownFlags::NONE, 0);
    while !matches!(next(&heard), Told::Ended(_)) {}
    std::mem::forget(connection);
    Ok(newest)
}

fn local_any(arguments: &Arguments) -> std::net::SocketAddr {
    (arguments.address.ip(), 0).into()
}

fn next(heard: &Heard) -> Told {
    heard.recv_timeout(Duration::from_millis(PATIENCE)).unwrap_or_else(|_| failed("nothing more happens"))
}

fn connected(heard: &Heard, ticket: &mut Option<Vec<u8>>) {
    loop {
        match next(heard) {
            Told::Connected => return,
            Told::Ticket(new) => *ticket = Some(new),
            Told::Ended(why) => failed(why),
            Told::Answer(..) | Told::Datagram(_) => {}
        }
    }
}

/// All at once.
fn ask(connection: &Connection, paths: &[String], tell_main: &mpsc::Sender<Told>) -> Result<(), Status> {
    for path in paths {
        let (answers, name) = (tell_main.clone(), path.clone());
        let answer = whole(move |_: &Stream, answer| {
            let _ = answers.send(Told::Answer(name.clone(), answer));
            Ok(())
        });
        let stream = Stream::open(connection, StreamOpenFlags::ZERO_RTT, answer)?;
        stream.start(StreamStartFlags::NONE)?;
        send(&stream, request(path), SendFlags::ALLOW_0_RTT)?;
        std::mem::forget(stream);
    }
    Ok(())
}

/// Sends them one after the other, and wants each back.
fn datagrams(connection: &Connection, heard: &Heard) -> Result<(), Status> {
    let mut back = 0;
    for number in 0..DATAGRAMS {
        let data: &'static [u8] = vec![number as u8; 100 + number * 20].leak();
        let buffers: &'static [BufferRef; 1] = Box::leak(Box::new([BufferRef::from(data)]));
        // SAFETY: what is sent is never freed.
        unsafe { connection.datagram_send(buffers, SendFlags::NONE, std::ptr::null())? };
        while let Ok(told) = heard.recv_timeout(Duration::from_millis(500)) {
            if let Told::Datagram(echo) = told {
                back += usize::from(echo == data);
                break;
            }
        }
    }
    tell(&format!("datagrams back: {back}"));
    if back != DATAGRAMS {
        failed("not all datagrams came back");
    }
    Ok(())
}
