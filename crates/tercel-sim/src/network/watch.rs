//! What an observer of the whole network sees, and the rule that he can check: nobody is made to
//! send more than three times what it received to an address that was not validated (RFC 9000
//! sections 8.1 and 9.3).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aws_lc_rs::digest::{Context, SHA256};
use tercel_proto::time::Time;
use tercel_wire::packet::LongPacketType;
use tercel_wire::packet::invariant::LongHeader;

use super::{Datagram, HostId};

/// Counts, a hash of everything, and the accounts of addresses that are not validated.
pub struct Watch {
    trace: Context,
    /// Whether datagrams are hashed at all.
    traces: bool,
    print: bool,
    accounts: BTreeMap<(HostId, SocketAddr), Account>,
    servers: Vec<HostId>,
    /// How many datagrams hosts sent.
    pub sent: u64,
    /// How many datagrams arrived at hosts.
    pub arrived: u64,
    /// How many bytes hosts sent.
    pub bytes_sent: u64,
    /// The most that was sent to an address before it was validated, for each byte received from it.
    pub worst_amplification: f64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            trace: Context::new(&SHA256),
            traces: true,
            print: std::env::var_os("TERCEL_TRACE").is_some(),
            accounts: BTreeMap::new(),
            servers: Vec::new(),
            sent: 0,
            arrived: 0,
            bytes_sent: 0,
            worst_amplification: 0.0,
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("sent", &self.sent).field("arrived", &self.arrived).finish_non_exhaustive()
    }
}

/// What a server received from an address, and sent to it.
#[derive(Debug, Default)]
struct Account {
    received: u64,
    sent: u64,
    /// When the address was first reached: what was sent there later may answer a challenge.
    reached: Option<Time>,
    /// Whether the peer's first flight came from here, so that it is validated by a Handshake packet
    /// and not by the answer to a challenge.
    first_flight: bool,
    validated: bool,
}

impl Watch {
    /// From now on checks that `host` amplifies nothing.
    pub fn guard(&mut self, host: HostId) {
        self.servers.push(host);
    }

    /// A hash of all datagrams: their times, addresses, marks and bytes.
    pub fn trace(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.trace.clone().finish().as_ref());
        hash
    }

    /// Hashes nothing: for long runs whose outcome is compared otherwise.
    pub const fn do_not_trace(&mut self) {
        self.traces = false;
    }

    fn note(&mut self, now: Time, what: u8, host: HostId, datagram: &Datagram) {
        if !self.traces {
            return;
        }
        let Datagram { from, to, ecn, data, .. } = datagram;
        let mut head = [0; 16];
        head[..8].copy_from_slice(&now.as_nanos().to_be_bytes());
        head[8..12].copy_from_slice(&(data.len() as u32).to_be_bytes());
        head[12..14].copy_from_slice(&(from.port() ^ to.port().rotate_left(8)).to_be_bytes());
        head[14] = what | (host as u8) << 1;
        head[15] = *ecn as u8;
        self.trace.update(&head);
        self.trace.update(data);
        if self.print {
            let (sign, bad) = (["->", "<-"][usize::from(what)], if datagram.genuine { "" } else { " (not genuine)" });
            eprintln!("{now:?} host {host} {sign} {from} to {to} {ecn:?} {}{bad}", describe(data));
        }
    }

    pub(super) fn sent(&mut self, now: Time, from: HostId, datagram: &Datagram) {
        self.note(now, 0, from, datagram);
        self.sent += 1;
        self.bytes_sent += datagram.data.len() as u64;
        if !self.servers.contains(&from) {
            return;
        }
        let account = self.accounts.entry((from, datagram.to)).or_default();
        if account.validated {
            return;
        }
        account.sent += datagram.data.len() as u64;
        let factor = account.sent as f64 / account.received.max(1) as f64;
        self.worst_amplification = self.worst_amplification.max(factor);
        assert!(
            account.sent <= 3 * account.received,
            "amplification: {} bytes sent to {}, which is not validated, for {} received",
            account.sent,
            datagram.to,
            account.received,
        );
    }

    pub(super) fn arrived(&mut self, now: Time, at: HostId, datagram: &Datagram) {
        self.note(now, 1, at, datagram);
        self.arrived += 1;
        if !self.servers.contains(&at) {
            for server in &self.servers {
                if let Some(account) = self.accounts.get_mut(&(*server, datagram.aim)) {
                    account.reached.get_or_insert(now);
                }
            }
            return;
        }
        let account = self.accounts.entry((at, datagram.from)).or_default();
        if account.received == 0 {
            account.first_flight = is_initial(&datagram.data);
        }
        account.received += datagram.data.len() as u64;
        account.validated |= match account.first_flight {
            true => datagram.proof,
            false => datagram.genuine && account.reached.is_some_and(|reached| reached <= datagram.sent),
        };
    }
}

fn is_initial(datagram: &[u8]) -> bool {
    LongHeader::decode(datagram).is_ok_and(|(header, _)| header.is_initial())
}

/// Whether a Handshake packet, or an Initial packet with a token, is among the packets of a datagram.
pub(super) fn proves_address(mut datagram: &[u8]) -> bool {
    while let Ok((header, mut reader)) = LongHeader::decode(datagram) {
        match header.packet_type() {
            Some(LongPacketType::Handshake) => return true,
            Some(LongPacketType::Initial) => match reader.varint().and_then(|token| reader.bytes(token as usize)) {
                Ok([]) => {}
                with_token => return with_token.is_ok(),
            },
            _ => {}
        }
        match reader.varint().and_then(|len| reader.bytes(len as usize)) {
            Ok(_) => datagram = reader.rest(),
            Err(_) => return false,
        }
    }
    false
}

fn describe(datagram: &[u8]) -> String {
    let kind = match LongHeader::decode(datagram) {
        Ok((header, _)) => match header.packet_type() {
            Some(kind) => format!("{kind:?} of version {:?}", header.version),
            None => "Version Negotiation".into(),
        },
        Err(_) => "1-RTT".into(),
    };
    format!("{kind}, {} bytes", datagram.len())
}
