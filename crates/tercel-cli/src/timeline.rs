//! What happened at two ends and between them, in the order of time, as a page of text.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::now;

/// Where something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the client's application.
    Client,
    /// On the way to the server.
    Up,
    /// On the way to the client.
    Down,
    /// At the server's application.
    Server,
}

/// A record that several threads write.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    start: Instant,
    rows: Arc<Mutex<Vec<(f64, Place, String)>>>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { start: now(), rows: Arc::default() }
    }

    /// Something happens now.
    pub(crate) fn note(&self, place: Place, what: impl Into<String>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken under the lock, so that the rows are in the order of time.
        let time = now().duration_since(self.start).as_secs_f64() * 1e3;
        rows.push((time, place, what.into()));
    }

    /// The page: a column for each end, and the way between them.
    pub(crate) fn page(&self) -> String {
        const SIDE: usize = 34;
        const WAY: usize = 30;
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = format!("{:>10}  {:<SIDE$}{:^WAY$}  {}\n", "ms", "client", "on the way", "server");
        for (time, place, what) in rows.iter() {
            let (mut left, mut middle, mut right) = (String::new(), String::new(), String::new());
            match place {
                Place::Client => left = what.clone(),
                Place::Up => middle = format!("{what} {}>", "-".repeat(WAY.saturating_sub(what.len() + 2))),
                Place::Down => middle = format!("<{} {what}", "-".repeat(WAY.saturating_sub(what.len() + 2))),
                Place::Server => right = what.clone(),
            }
            let row = format!("{time:>10.2}  {left:<SIDE$}{middle:<WAY$}  {right}");
            page.push_str(row.trim_end());
            page.push('\n');
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_column() {
        let timeline = Timeline::new();
        timeline.note(Place::Client, "begins");
        timeline.note(Place::Up, "Initial");
        timeline.note(Place::Down, "Handshake");
        timeline.note(Place::Server, "ends");
        let page = timeline.page();
        let rows: Vec<&str> = page.lines().collect();
        assert_eq!(rows.len(), 5);
        assert_eq!(rows[1].find("begins"), rows[0].find("client"));
        assert_eq!(rows[4].find("ends"), rows[0].find("server"));
        assert!(rows[2].ends_with('>') && rows[3].contains("<-"));
    }
}
