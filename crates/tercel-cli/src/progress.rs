//! What a person watches while bytes move: one bar, on standard error, and nothing where that is
//! not a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much there is to move.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Total {
    Known(u64),
    Unknown,
}

/// A progress bar in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(label: impl Into<String>, total: Total) -> Self {
        let (bar, style) = match total {
            Total::Known(total) => (
                ProgressBar::new(total),
                "{msg} [{bar:32.cyan/dim}] {bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta} left",
            ),
            Total::Unknown => (ProgressBar::no_length(), "{msg} {spinner} {bytes}  {binary_bytes_per_sec}"),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(label.into());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// A bar that is never drawn.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    pub(crate) fn done(&self) {
        self.0.finish_and_clear();
    }
}
