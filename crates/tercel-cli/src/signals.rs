//! What the system or a person at the terminal says to end the program.

use crate::failure::{Doing as _, Outcome};

/// The signals that end the program: SIGINT (Ctrl-C) and SIGTERM. They are caught from the moment that this
/// exists, whether or not anybody waits, so it is to be made before anything is promised to anybody.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Signals {
    pub(crate) fn catch() -> Outcome<Self> {
        let doing = || "cannot catch signals";
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let interrupt = signal(SignalKind::interrupt()).doing(doing)?;
            Ok(Self { interrupt, terminate: signal(SignalKind::terminate()).doing(doing)? })
        }
        #[cfg(windows)]
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c().doing(doing)? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(windows)]
        self.interrupt.recv().await;
    }
}
