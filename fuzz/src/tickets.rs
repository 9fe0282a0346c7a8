//! Tickets: as a server sends them, and as a client keeps them.

use tercel_proto::tls::ResumptionTicket;
use tercel_wire::new_session_ticket::NewSessionTicket;

/// What can be read can be written, and says the same when it is read again.
pub fn tickets(data: &[u8]) {
    if let Ok(ticket) = NewSessionTicket::decode(data) {
        let again = ticket.encode().unwrap_or_else(|error| panic!("it was read: {error}"));
        assert_eq!(NewSessionTicket::decode(&again), Ok(ticket));
    }
    if let Ok(ticket) = ResumptionTicket::from_bytes(data) {
        assert_eq!(ticket.to_bytes(), data);
        assert_eq!(ResumptionTicket::from_bytes(data), Ok(ticket));
    }
}
