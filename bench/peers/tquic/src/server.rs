//! The server.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use tercel_bench_work::Result;
use tercel_bench_work::end::Terms;
use tercel_bench_work::polled::Messages;
use tercel_bench_work::wire::Wire;
use tquic::{Connection, Endpoint, TransportHandler};

use crate::{Of, Out, config, receive};

/// Serves in a thread.
pub fn serve(terms: &Terms) -> Result<SocketAddr> {
    let (terms, (tell, told)) = (terms.clone(), mpsc::channel());
    std::thread::spawn(move || -> Result<()> {
        let work = terms.scenario.work(100);
        let config = config(&terms.identity, true, &work, terms.scenario.streams())?;
        let wire = Rc::new(RefCell::new(Wire::open()?));
        tell.send(wire.borrow().local)?;
        let handler = Box::new(Handler(HashMap::new()));
        let mut endpoint = Endpoint::new(Box::new(config), true, handler, Rc::new(Out(wire.clone())));
        loop {
            receive(&mut endpoint, &wire, Duration::from_secs(1))?;
            endpoint.process_connections()?;
        }
    });
    Ok(told.recv()?)
}

/// Whom the endpoint tells; the messages of each connection, by its number.
struct Handler(HashMap<u64, Messages>);

impl Handler {
    fn with(&mut self, connection: &mut Connection, act: impl FnOnce(&mut Messages, &mut Connection) -> Result<()>) {
        let messages = self.0.entry(connection.index().unwrap_or_default()).or_default();
        if let Err(error) = act(messages, connection) {
            eprintln!("{error}");
            let _ = connection.close(true, 1, b"");
        }
    }
}

impl TransportHandler for Handler {
    fn on_conn_created(&mut self, _: &mut Connection) {}

    fn on_conn_established(&mut self, _: &mut Connection) {}

    fn on_conn_closed(&mut self, connection: &mut Connection) {
        self.0.remove(&connection.index().unwrap_or_default());
    }

    fn on_stream_created(&mut self, _: &mut Connection, _: u64) {}

    fn on_stream_readable(&mut self, connection: &mut Connection, stream: u64) {
        self.with(connection, |messages, connection| messages.serve(&mut Of(connection), stream));
    }

    fn on_stream_writable(&mut self, connection: &mut Connection, stream: u64) {
        self.with(connection, |messages, connection| {
            connection.stream_want_write(stream, false)?;
            messages.writable(&mut Of(connection), stream)?;
            messages.forget_sent(stream);
            Ok(())
        });
    }

    fn on_stream_closed(&mut self, _: &mut Connection, _: u64) {}

    fn on_new_token(&mut self, _: &mut Connection, _: Vec<u8>) {}
}
