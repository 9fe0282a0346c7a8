//! `--timings`: what each part of an exchange took.

use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::session::{EarlyData, Facts};
use crate::size::{Size, short};

/// In which form they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A table for people
    Table,
    /// One JSON object a line
    Json,
}

/// Of one URL.
#[derive(Debug, Clone, Default)]
pub(super) struct Timings {
    pub(super) url: String,
    /// How the connection began; `None` if it was there already, or never was.
    pub(super) facts: Option<Facts>,
    pub(super) status: Option<u16>,
    /// From the request to the head of the answer.
    pub(super) first_byte: Option<Duration>,
    pub(super) total: Duration,
    /// Of the body, that came now.
    pub(super) bytes: u64,
    /// Where it went on, in bytes.
    pub(super) resumed_at: u64,
    pub(super) error: Option<String>,
}

/// The titles of the columns, and their widths.
const COLUMNS: [(&str, usize); 6] =
    [("resolve", 10), ("handshake", 10), ("verdict", 10), ("first byte", 10), ("total", 10), ("size", 10)];

/// All of them, as lines.
pub(super) fn told(all: &[Timings], form: Form) -> String {
    let lines: Vec<String> = match form {
        Form::Json => all.iter().map(|timings| timings.json().to_string()).collect(),
        Form::Table => {
            let titles: String = COLUMNS.iter().map(|(title, width)| format!("{title:>width$} ")).collect();
            std::iter::once(format!("{titles} URL")).chain(all.iter().map(Timings::row)).collect()
        }
    };
    lines.join("\n")
}

impl Timings {
    fn row(&self) -> String {
        let facts = self.facts.as_ref();
        let time = |time: Option<Duration>| time.map_or_else(|| "-".into(), short);
        let cells = [
            time(facts.map(|facts| facts.resolve)),
            time(facts.map(|facts| facts.handshake)),
            time(facts.and_then(|facts| facts.verdict)),
            time(self.first_byte),
            short(self.total),
            Size(self.bytes).to_string(),
        ];
        let cells: String = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("{cell:>width$} ")).collect();
        let mut remarks: Vec<String> = self.status.map(|status| status.to_string()).into_iter().collect();
        match facts {
            Some(facts) if facts.resumed => remarks.push("session resumed".into()),
            Some(_) => remarks.push("new session".into()),
            None if self.error.is_none() => remarks.push("same connection".into()),
            None => {}
        }
        match facts.map(|facts| facts.early_data) {
            Some(EarlyData::Accepted) => remarks.push("early data accepted".into()),
            Some(EarlyData::Rejected) => remarks.push("early data rejected".into()),
            _ => {}
        }
        if self.resumed_at > 0 {
            remarks.push(format!("went on at {}", Size(self.resumed_at)));
        }
        if self.error.is_some() {
            remarks.push("failed".into());
        }
        format!("{cells} {} ({})", self.url, remarks.join(", "))
    }

    fn json(&self) -> Value {
        let facts = self.facts.as_ref();
        let ms = |time: Option<Duration>| time.map(|time| time.as_nanos() as f64 / 1e6);
        json!({
            "url": self.url,
            "status": self.status,
            "address": facts.map(|facts| facts.address.to_string()),
            "resolve_ms": ms(facts.map(|facts| facts.resolve)),
            "handshake_ms": ms(facts.map(|facts| facts.handshake)),
            "verdict_ms": ms(facts.and_then(|facts| facts.verdict)),
            "first_byte_ms": ms(self.first_byte),
            "total_ms": ms(Some(self.total)),
            "bytes": self.bytes,
            "resumed_at": self.resumed_at,
            "session_resumed": facts.map(|facts| facts.resumed),
            "early_data": facts.map(|facts| match facts.early_data {
                EarlyData::None => "none",
                EarlyData::Accepted => "accepted",
                EarlyData::Rejected => "rejected",
            }),
            "error": self.error,
        })
    }
}
