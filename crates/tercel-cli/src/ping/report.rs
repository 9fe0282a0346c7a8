//! The screen: a name on the left, what there is to say of it on the right.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use tercel::{ConnectionStats, Negotiated, PeerCertificate, TransportParameters, Version};

use super::{Migrated, Resumed, versions};
use crate::certificate;
use crate::size::Size;

/// Prints line by line, as things become known.
pub(super) struct Report {
    last: &'static str,
}

/// Milliseconds, with as many digits as mean anything.
fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        ..10.0 => format!("{millis:.2} ms"),
        ..100.0 => format!("{millis:.1} ms"),
        _ => format!("{millis:.0} ms"),
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

impl Report {
    pub(super) fn new(authority: &str) -> Self {
        println!("{authority}\n");
        Self { last: "" }
    }

    fn line(&mut self, name: &'static str, text: impl Display) {
        let shown = if name == self.last { "" } else { name };
        self.last = name;
        println!("  {shown:<13} {text}");
    }

    pub(super) fn addresses(&mut self, addresses: &[SocketAddr], resolved: Duration) {
        let addresses = list(addresses.iter().map(SocketAddr::ip));
        self.line("addresses", format!("{addresses} (found in {})", millis(resolved)));
    }

    pub(super) fn silent(&mut self, address: SocketAddr, why: &str) {
        self.line("unreachable", format!("{}: {why}", address.ip()));
    }

    pub(super) fn answers(&mut self, address: SocketAddr) {
        self.line("answers", address);
    }

    pub(super) fn handshake(&mut self, stats: &ConnectionStats) {
        let phases = stats.phases;
        let steps = [
            ("first packet of the server", phases.first_packet),
            ("keys of the handshake", phases.handshake_keys),
            ("certificate shown and proved", phases.verdict_asked),
            ("judged", phases.verdict_given),
            ("complete", stats.handshake),
            ("confirmed by the server", phases.confirmed),
        ];
        for (what, when) in steps {
            if let Some(when) = when {
                self.line("handshake", format!("{:>9}  {what}", millis(when)));
            }
        }
    }

    pub(super) fn round_trips(&mut self, samples: &[Duration], stats: &ConnectionStats) {
        match samples {
            [] => self.line("round trip", "the server stopped answering"),
            samples => {
                let mut sorted = samples.to_vec();
                sorted.sort();
                let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
                let median = sorted[sorted.len() / 2];
                self.line(
                    "round trip",
                    format!(
                        "{} median of {}, from {} to {}; {} packets lost",
                        millis(median),
                        samples.len(),
                        millis(least),
                        millis(most),
                        stats.packets_lost
                    ),
                );
            }
        }
    }

    pub(super) fn versions(&mut self, begun: Version, used: Version, spoken: &[Version]) {
        let changed = match begun == used {
            true => String::new(),
            false => format!(", begun in {}", versions::name(begun).unwrap_or_default()),
        };
        let used = versions::name(used).unwrap_or_default();
        let spoken: Vec<_> = spoken.iter().filter_map(|version| versions::name(*version)).collect();
        let spoken = match spoken.is_empty() {
            true => "it does not tell which it speaks".into(),
            false => format!("it speaks {}", spoken.join(", ")),
        };
        self.line("QUIC version", format!("{used}{changed} ({spoken})"));
    }

    pub(super) fn protocol(&mut self, chosen: Option<&[u8]>, offered: &[String], negotiated: Option<Negotiated>) {
        let chosen = String::from_utf8_lossy(chosen.unwrap_or_default()).into_owned();
        self.line("protocol", format!("{chosen} (of {} offered)", offered.join(", ")));
        if let Some(negotiated) = negotiated {
            let (_, suite) = negotiated.cipher_suite;
            let exchange = negotiated.key_exchange.map_or("no key exchange", |(_, name)| name);
            let again = if negotiated.hello_retry { ", after a second ClientHello" } else { "" };
            self.line("TLS", format!("{suite}, {exchange}{again}"));
        }
    }

    /// Gives whether the certificate would be trusted.
    pub(super) fn certificate(&mut self, shown: &PeerCertificate) -> bool {
        let chain = shown.chain();
        for line in chain.first().map(|leaf| certificate::describe(leaf)).unwrap_or_default() {
            self.line("certificate", line);
        }
        let above = chain.len().saturating_sub(1);
        let chain = match above {
            0 => "alone in its chain".into(),
            above => format!("{above} more in the chain"),
        };
        let stapled = if shown.ocsp_response().is_empty() { "no OCSP response" } else { "with an OCSP response" };
        self.line("certificate", format!("{chain}, {stapled}"));
        match shown.advice() {
            Some(Ok(())) => {
                self.line("judgement", "trusted");
                true
            }
            Some(Err(error)) => {
                self.line("judgement", format!("NOT TRUSTED: {}", certificate::explain(error)));
                false
            }
            None => true,
        }
    }

    pub(super) fn parameters(&mut self, parameters: Option<&TransportParameters>) {
        let Some(parameters) = parameters else { return };
        let idle = match parameters.max_idle_timeout {
            0 => "no idle timeout".into(),
            millis => format!("idle timeout {} s", millis as f64 / 1e3),
        };
        self.line(
            "parameters",
            format!(
                "{idle}; {} + {} streams (both ways + one way)",
                parameters.initial_max_streams_bidi, parameters.initial_max_streams_uni
            ),
        );
        self.line(
            "parameters",
            format!(
                "receive window {}; of a stream {} (both ways), {} (one way)",
                Size(parameters.initial_max_data),
                Size(parameters.initial_max_stream_data_bidi_remote),
                Size(parameters.initial_max_stream_data_uni)
            ),
        );
        let datagrams = match parameters.max_datagram_frame_size {
            0 => "no datagrams".into(),
            size => format!("datagrams up to {size} bytes"),
        };
        self.line(
            "parameters",
            format!(
                "{datagrams}; packets up to {} bytes; acknowledges within {} ms; {} connection IDs",
                parameters.max_udp_payload_size, parameters.max_ack_delay, parameters.active_connection_id_limit
            ),
        );
    }

    pub(super) fn path(&mut self, stats: &ConnectionStats, retried: bool) {
        let ecn = if stats.ecn_capable {
            "carries ECN marks"
        } else {
            "does not carry ECN marks, or the server is silent on them"
        };
        self.line("path", format!("datagrams of {} bytes so far; {ecn}", stats.mtu));
        let retry = if retried { "the server asked for proof of the address first" } else { "not asked for" };
        self.line("retry", retry);
    }

    pub(super) fn resumption(&mut self, resumed: Resumed) {
        let text = match resumed {
            Resumed::NoTicket => "no: the server sends no ticket".into(),
            Resumed::No => "no: the server does not take the ticket that it sent".into(),
            Resumed::Yes { early_data_offered: false, .. } => "yes, without early data (0-RTT)".into(),
            Resumed::Yes { early_data_accepted: true, .. } => "yes, with early data (0-RTT)".into(),
            Resumed::Yes { .. } => "yes; it offers early data (0-RTT) and then refuses it".into(),
            Resumed::Failed(why) => format!("a second connection failed: {why}"),
        };
        self.line("resumption", text);
    }

    pub(super) fn migration(&mut self, migrated: Migrated) {
        let text = match migrated {
            Migrated::Forbidden => "the server forbids it".into(),
            Migrated::Yes(time) => format!("works: from another port, a round trip of {}", millis(time)),
            Migrated::No => "the server was lost when our port changed".into(),
        };
        self.line("migration", text);
    }
}
