//! What an application is to a simulated host.

use tercel_proto::connection::{Connection, Event};
use tercel_proto::time::Time;

/// The application of one connection.
pub trait Application {
    /// Something happened. The connection may be called.
    fn event(&mut self, now: Time, connection: &mut Connection, event: &Event);

    /// Once in every round of polls, after the events: does what is due, and says whether it called
    /// the connection, so that it must be polled again.
    fn act(&mut self, now: Time, connection: &mut Connection) -> bool;

    /// When [`act`](Self::act) is to be called although nothing happened.
    fn next_time(&self) -> Option<Time> {
        None
    }
}
