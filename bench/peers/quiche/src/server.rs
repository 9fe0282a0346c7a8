//! The server.

use std::net::SocketAddr;
use std::sync::mpsc;

use tercel_bench_work::Result;
use tercel_bench_work::end::Terms;

use crate::endpoint::{Endpoint, One};
use crate::{Of, config};

/// Serves in a thread.
pub fn serve(terms: &Terms) -> Result<SocketAddr> {
    let work = terms.scenario.work(100);
    let config = config(&terms.identity, true, &work, terms.scenario.streams())?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || -> Result<()> {
        let mut endpoint = Endpoint::new(config, true)?;
        tell.send(endpoint.local())?;
        loop {
            for number in endpoint.receive(None)? {
                if let Some(one) = endpoint.table.connections.get_mut(&number)
                    && let Err(error) = turn(one)
                {
                    eprintln!("{error}");
                    let _ = one.connection.close(true, 1, b"");
                }
            }
            endpoint.send();
        }
    });
    Ok(told.recv()?)
}

fn turn(one: &mut One) -> Result<()> {
    let One { connection, messages, .. } = one;
    for stream in connection.readable() {
        messages.serve(&mut Of(connection), stream)?;
    }
    for stream in connection.writable() {
        messages.writable(&mut Of(connection), stream)?;
        messages.forget_sent(stream);
    }
    let mut datagram = [0; 1500];
    while let Ok(len) = connection.dgram_recv(&mut datagram) {
        // One that finds no room is lost.
        let _ = connection.dgram_send(&datagram[..len]);
    }
    Ok(())
}
