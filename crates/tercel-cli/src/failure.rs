//! Errors in a person's words: what could not be done, and why.

use std::fmt::{self, Display};
use std::process::ExitCode;

/// Why the program could not do what it was asked to.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    what: String,
    why: Option<String>,
    kind: Kind,
}

/// The exit code that goes with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 1
    Failed,
    /// 3
    Incomplete,
    /// 130, as shells have it for SIGINT
    Interrupted,
}

/// What a command gives.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(what: impl Display, why: impl Display) -> Self {
        Self { what: what.to_string(), why: Some(why.to_string()), kind: Kind::Failed }
    }

    pub(crate) fn plain(what: impl Display) -> Self {
        Self { what: what.to_string(), why: None, kind: Kind::Failed }
    }

    /// Some of several things went wrong, and each was reported already.
    pub(crate) fn incomplete(what: impl Display) -> Self {
        Self { what: what.to_string(), why: None, kind: Kind::Incomplete }
    }

    /// Somebody wanted the program to end.
    pub(crate) fn interrupted(what: impl Display) -> Self {
        Self { what: what.to_string(), why: None, kind: Kind::Interrupted }
    }

    /// Adds what else is to be known.
    pub(crate) fn and(self, more: impl Display) -> Self {
        let why = match self.why {
            Some(why) => format!("{why}; {more}"),
            None => more.to_string(),
        };
        Self { why: Some(why), ..self }
    }

    /// Prints the failure and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("tercel: {self}");
        ExitCode::from(match self.kind {
            Kind::Failed => 1,
            Kind::Incomplete => 3,
            Kind::Interrupted => 130,
        })
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

/// Adds what was being done to an error.
pub(crate) trait Doing<T> {
    fn doing<D: Display>(self, what: impl FnOnce() -> D) -> Outcome<T>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing<D: Display>(self, what: impl FnOnce() -> D) -> Outcome<T> {
        self.map_err(|error| Failure::new(what(), error))
    }
}
