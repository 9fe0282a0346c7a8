//! Looking inside: the logs that `--qlog` and `demo --report` ask for.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tercel::aio::Endpoint;
use tercel::{Qlog, Registration, RegistrationConfig};

use crate::args;
use crate::failure::{Doing as _, Failure, Outcome};

/// What this run writes.
struct Observing {
    qlog: Qlog,
    /// The page to draw at the end, and the directory that holds the logs until then.
    report: Option<(PathBuf, PathBuf, Option<tempfile::TempDir>)>,
}

static OBSERVING: OnceLock<Observing> = OnceLock::new();

/// Prepares what the arguments ask for.
pub(crate) fn start(arguments: &args::Arguments) -> Outcome {
    let report = match &arguments.command {
        args::Command::Demo(demo) => demo.report.clone(),
        args::Command::Trace(_) => return Ok(()),
        _ => None,
    };
    let asked = arguments.qlog.clone().filter(|directory| !directory.as_os_str().is_empty());
    let scratch = match (&asked, &report) {
        (None, None) => return Ok(()),
        (None, Some(_)) => Some(tempfile::tempdir().doing(|| "cannot make a directory")?),
        (Some(_), _) => None,
    };
    let directory = scratch.as_ref().map(|scratch| scratch.path().to_owned()).or(asked);
    let directory = directory.unwrap_or_default();
    let qlog = Qlog::directory(&directory).doing(|| format!("cannot write logs to {}", directory.display()))?;
    let report = report.map(|page| (page, directory, scratch));
    // Nobody has set it before.
    let _ = OBSERVING.set(Observing { qlog, report });
    Ok(())
}

/// How registrations of this program run, unless a command wants something else.
pub(crate) fn registration() -> RegistrationConfig {
    let mut config = RegistrationConfig::default();
    config.qlog = OBSERVING.get().map(|observing| observing.qlog.clone());
    config
}

/// An endpoint for clients.
pub(crate) fn endpoint() -> Outcome<Endpoint> {
    Registration::new(registration()).map(Endpoint::of).doing(|| "cannot start")
}

/// Writes what is still to be written.
pub(crate) fn finish() -> Outcome {
    const PATIENCE: Duration = Duration::from_secs(5);
    let Some(observing) = OBSERVING.get() else { return Ok(()) };
    observing.qlog.flush(PATIENCE);
    let Some((page, directory, _)) = &observing.report else { return Ok(()) };
    let mut files = newest(directory)?;
    files.sort();
    crate::trace::draw(&files, page)?;
    if let Some((_, directory, Some(_))) = &observing.report {
        // A static is never dropped, so that the directory would stay.
        let _ = std::fs::remove_dir_all(directory);
    }
    Ok(())
}

/// The logs of both ends of the last connection.
fn newest(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let doing = || format!("cannot read {}", directory.display());
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(directory).doing(doing)? {
        let path = entry.doing(doing)?.path();
        let modified = path.metadata().and_then(|metadata| metadata.modified()).doing(doing)?;
        let first_part = path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_client"));
        if first_part {
            logs.push((modified, path));
        }
    }
    let Some((_, client)) = logs.into_iter().max() else {
        return Err(Failure::plain("no connection was logged"));
    };
    let server = client.to_string_lossy().replace("_client.sqlog", "_server.sqlog");
    Ok([client, server.into()].into_iter().filter(|path: &PathBuf| path.exists()).collect())
}
