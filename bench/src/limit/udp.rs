//! Plain UDP in batches of the same datagrams: a client that sends within a window, and a server that
//! gives credit after every read.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::measure::{Measured, Stopwatch};
use crate::peer::{Serving, socket};
use crate::scenario::Work;
use crate::{Result, settings};

/// What may be under way: less than the socket holds, so that nothing is lost.
const WINDOW: u64 = 1 << 20;

/// A datagram of no more than this is sent back.
const PING: usize = 600;

pub fn serve() -> Result<Serving> {
    let socket = socket()?;
    let address = socket.local_addr()?;
    std::thread::spawn(move || receive(&socket));
    Ok(Serving { address, _keeps: Box::new(()) })
}

fn receive(socket: &UdpSocket) -> Result<()> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    socket.set_nonblocking(false)?;
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0u64;
    loop {
        let mut meta = [RecvMeta::default()];
        state.recv(UdpSockRef::from(socket), &mut [IoSliceMut::new(&mut buffer)], &mut meta)?;
        if meta[0].len <= PING {
            socket.send_to(&buffer[..meta[0].len], meta[0].addr)?;
            continue;
        }
        total += meta[0].len as u64;
        socket.send_to(&total.to_le_bytes(), meta[0].addr)?;
    }
}

pub fn work(work: Work, address: SocketAddr) -> Result<Measured> {
    let socket = socket()?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    socket.set_nonblocking(false)?;
    if work.exchanges > 1 {
        return ping(&socket, &work, address);
    }
    let size = usize::from(settings::MTU);
    let contents = vec![7; size * (65_507 / size).min(state.max_gso_segments())];
    let (mut sent, mut credited) = (0, 0);
    let stopwatch = Stopwatch::start();
    while credited < work.up {
        while sent < work.up && sent - credited + contents.len() as u64 <= WINDOW {
            let transmit = Transmit {
                destination: address,
                ecn: None,
                contents: &contents,
                segment_size: Some(size),
                src_ip: None,
            };
            state.send(UdpSockRef::from(&socket), &transmit)?;
            sent += contents.len() as u64;
        }
        let mut credit = [0; 8];
        socket.recv_from(&mut credit)?;
        credited = u64::from_le_bytes(credit);
    }
    Ok(stopwatch.stop(Vec::new()))
}

/// A datagram there and back, one at a time.
fn ping(socket: &UdpSocket, work: &Work, address: SocketAddr) -> Result<Measured> {
    let (mut latencies, mut buffer) = (Vec::with_capacity(work.exchanges), [7; PING]);
    let stopwatch = Stopwatch::start();
    for _ in 0..work.exchanges {
        let began = Instant::now();
        socket.send_to(&buffer[..work.up as usize], address)?;
        socket.recv_from(&mut buffer)?;
        latencies.push(began.elapsed());
    }
    Ok(stopwatch.stop(latencies))
}
