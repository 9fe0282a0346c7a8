//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::fingerprint::Fingerprint;
use crate::get::Form;
use crate::size::Size;
use crate::span::Span;
use crate::target::Target;

/// QUIC, shown, served and fetched.
#[derive(Debug, Parser)]
#[command(name = "tercel", version, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Write a qlog of every connection to this directory, for `tercel trace` and other tools
    // An empty QLOGDIR is none, which the usual parser of paths would not let through.
    #[arg(long, global = true, env = "QLOGDIR", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    #[arg(value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) qlog: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const LONG_ABOUT: &str = "\
QUIC, shown, served and fetched.

Start with `tercel demo`: it needs nothing, sends a file between a server and a client on this \
machine, and tells what happened.";

const AFTER_HELP: &str = "\
Exit codes: 0 all is well; 1 something failed, as the message says; 2 the command line is wrong; \
3 some of the files asked for could not be fetched; 130 interrupted by Ctrl-C.

Environment: SSLKEYLOGFILE=FILE writes TLS keys to FILE, for Wireshark; RUST_LOG=tercel=debug tells \
more on standard error.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a file from a server to a client on this machine and check it by its hash
    Demo(Demo),
    /// Serve a directory as a web site: HTTP/3, HTTP/2 and HTTP/1.1
    Serve(Serve),
    /// Fetch files by HTTP/3
    Get(Get),
    /// Tell all about a server and the way to it, on one screen
    Ping(Ping),
    /// Print the completions of this command line for a shell
    Completions(Completions),
    /// Write the manual as pages for man
    Man(Man),
    /// Draw a qlog as one HTML page
    Trace(Trace),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tercel demo                    1 GiB, made on the spot
  tercel demo --size 100MiB      less
  tercel demo film.mkv           a file of yours
  tercel demo --verdict slow     a certificate judged by the application
  tercel demo --verdict accept --close race")]
pub(crate) struct Demo {
    /// The file to send; without one, a file of --size is made and removed again
    pub(crate) file: Option<PathBuf>,
    /// How large a file to make: a number and B, KiB, MiB, GiB, KB, MB or GB
    #[arg(long, default_value = "1GiB", conflicts_with = "file", value_name = "SIZE")]
    pub(crate) size: Size,
    /// Send from the client to the server
    #[arg(long)]
    pub(crate) upload: bool,
    /// Write a page that shows the connection from inside, at both ends
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// In place of a file, show a certificate that the client's application judges, as a time line of
    /// both ends
    #[arg(long, value_enum, conflicts_with_all = ["file", "size", "upload"])]
    pub(crate) verdict: Option<Verdict>,
    /// When the client closes: before or after its verdict, or from another thread at the same time
    #[arg(long, value_enum, requires = "verdict")]
    pub(crate) close: Option<Close>,
}

/// What becomes of the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verdict {
    /// It is accepted
    Accept,
    /// It is rejected
    Reject,
    /// The pending verdict is dropped
    Drop,
    /// It is accepted after a while
    Slow,
    /// There is no answer
    Never,
}

/// When the client closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Close {
    /// Before its verdict
    Before,
    /// After its verdict
    After,
    /// At the same time
    Race,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tercel serve .                                     on port 4433, with a certificate made now
  tercel serve ~/films --listen 127.0.0.1:8443
  tercel serve /srv --cert chain.pem --key key.pem   with a certificate of yours
  tercel serve inbox --writable                      also takes files (tercel get --upload)
  tercel serve . --webtransport-echo                 and open https://localhost:4433/.well-known/tercel/echo

What a link leads to is served if that is in the directory, too. Names that begin with a dot are neither listed \
nor served nor taken, but for .well-known. Of FILE, FILE.br, FILE.zst or FILE.gz is sent to those who accept it.

The access log on standard output: address and port, method, path, version, status, bytes of the body sent, \
\"agent\", time of day (UTC), how long the answer took.

The first Ctrl-C or SIGTERM finishes what is under way, for 10 seconds at most; the second ends at once. The files \
of --cert and --key are read again when they change.")]
pub(crate) struct Serve {
    /// The directory to serve
    pub(crate) directory: PathBuf,
    /// The address and port to listen on
    #[arg(long, default_value = "[::]:4433", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// The certificate chain, PEM or DER, leaf first; without one, a certificate is made for this
    /// run and its fingerprint printed
    #[arg(long, requires = "key", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of the certificate, PEM or DER
    #[arg(long, requires = "cert", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A name that the made certificate is for; may be given several times
    #[arg(long, default_value = "localhost", conflicts_with = "cert", value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// Take files into the directory (PUT, or tercel get --upload); what exists is never overwritten
    #[arg(long, alias = "uploads")]
    pub(crate) writable: bool,
    /// Serve figures for Prometheus at http://ADDRESS:PORT/metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Answer WebTransport sessions at /.well-known/tercel/echo with an echo, and show a page there that
    /// tries it; a certificate that is made is then valid for 13 days, as browsers want it
    #[arg(long)]
    pub(crate) webtransport_echo: bool,
    /// Prove every client's address with a Retry packet first
    #[arg(long)]
    pub(crate) retry: bool,
    /// How many worker threads; by default one for each processor
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = GET_HELP)]
pub(crate) struct Get {
    /// What to fetch: https://HOST[:PORT]/PATH
    #[arg(required = true, value_name = "URL")]
    pub(crate) urls: Vec<Target>,
    /// The directory to put the files into, or - for standard output
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Trust only the server whose certificate has this SHA-256 fingerprint, whatever its name
    #[arg(long, conflicts_with = "ca", value_name = "FINGERPRINT")]
    pub(crate) pin: Option<Fingerprint>,
    /// Trust servers whose certificate these authorities signed (PEM or DER) in place of the
    /// system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Send this file to the URL in place of fetching it; to a URL that ends with a slash under its own name
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "data", "data_file", "head"])]
    pub(crate) upload: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// How many files at once
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) parallel: u16,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Send this header, too; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<Header>,
    /// Ask by this method; by default GET, or POST if there are data to send
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(crate) method: Option<http::Method>,
    /// Send this text with the request
    #[arg(long, value_name = "TEXT", conflicts_with = "data_file")]
    pub(crate) data: Option<String>,
    /// Send this file with the request
    #[arg(long, value_name = "FILE")]
    pub(crate) data_file: Option<PathBuf>,
    /// Ask for the head of the answer alone, and show it
    #[arg(short = 'I', long, conflicts_with_all = ["method", "data", "data_file"])]
    pub(crate) head: bool,
    /// Show the head of the answer on standard output, too
    #[arg(short, long)]
    pub(crate) include: bool,
    /// Follow redirections, at most 10, to https alone
    #[arg(short = 'L', long)]
    pub(crate) location: bool,
    /// Tell on standard error what each URL took, as a table or as a line of JSON
    #[arg(short = 'w', long, value_enum, num_args = 0..=1, default_missing_value = "table", value_name = "FORM")]
    pub(crate) timings: Option<Form>,
    /// Give up if not everything is done by then
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Span>,
    /// Give up on a server that moves nothing for so long: a number and ms, s, m or h
    #[arg(long, default_value = "30s", value_name = "TIME")]
    pub(crate) stall: Span,
    /// Neither use nor keep tickets and tokens of earlier runs
    #[arg(long)]
    pub(crate) no_cache: bool,
}

impl Get {
    /// Whether the answer goes to standard output.
    pub(crate) fn writes_to_stdout(&self) -> bool {
        self.output.as_os_str() == "-"
    }
}

const GET_HELP: &str = "\
Examples:
  tercel get https://localhost:4433/a.txt --pin 6f:c1:...    as `tercel serve` printed it
  tercel get https://example.org/{a,b,c}.txt -o /tmp         three files, one connection
  tercel get https://example.org/ -o - | less                to standard output
  tercel get https://example.org/film.mkv                    again, to go on where it was broken off
  tercel get https://example.org/ -I                         the head of the answer
  tercel get https://example.org/ -L -w                      follows redirections, tells what took how long
  tercel get https://example.org/ -w json 2> timings         the same for programs
  tercel get https://localhost:4433/in/ --ca ca.pem --upload photo.jpg
  tercel get https://example.org/api -o - -H 'accept: application/json' --data '{}'

A file is written to NAME.part, and has its name when it is whole. What was broken off, by Ctrl-C or \
however else, is gone on with by the same command, if the server has named the version that it sent (ETag, or \
Last-Modified) and still has it; NAME.part.json says which that was.

The first address that answers is spoken with: IPv6 first, the next one tried 250 ms after the one before.

Timings: resolve (the look-up of the name), handshake (from there until the connection is ready), verdict (the \
judgement of the certificate, a part of it), first byte (from the request to the head of the answer), total \
(of this URL). Where several URLs share a connection, the first tells how it began.

Tickets and tokens of servers are kept in $XDG_CACHE_HOME/tercel/sessions (~/.cache if that is not set), to \
go on with the session next time: GET and HEAD then go out with the first datagram (0-RTT). Whoever records \
that can have the server see the request twice, so nothing else does. See --no-cache.";

/// A header of a request: `Name: value`.
#[derive(Debug, Clone)]
pub(crate) struct Header(pub(crate) http::HeaderName, pub(crate) http::HeaderValue);

impl std::str::FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once(':').ok_or_else(|| format!("\"{text}\" is not a header such as 'accept: text/html'"))?;
        let name: http::HeaderName =
            name.trim().parse().map_err(|_| format!("\"{name}\" is not the name of a header"))?;
        let value = value.trim().parse().map_err(|_| format!("\"{value}\" cannot be the value of a header"))?;
        // RFC 9114 section 4.2: what is about the connection has no place in HTTP/3. The URL says the host, and
        // what is sent its length.
        match name.as_str() {
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
                Err(format!("{name} is for connections of HTTP/1.1; HTTP/3 has no such header"))
            }
            "host" | "content-length" => Err(format!("{name} is set by itself")),
            _ => Ok(Self(name, value)),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tercel demo --size 10MiB --qlog logs           the logs of both ends
  tercel trace logs/*_client.sqlog               writes trace.html
  tercel trace client.sqlog server.sqlog -o both.html")]
pub(crate) struct Trace {
    /// The qlog: .sqlog or .qlog, of Tercel or another stack; a second one is drawn beside it
    #[arg(required = true, num_args = 1..=2, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The page to write
    #[arg(short, long, default_value = "trace.html", value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tercel ping example.org
  tercel ping localhost:4433 --pin 6f:c1:...     as `tercel serve` printed it
  tercel ping 192.0.2.1 --alpn doq               a server that is no web server

Exit code 1 if the server cannot be reached, or if you would not trust its certificate.")]
pub(crate) struct Ping {
    /// The server: HOST, HOST:PORT or a URL
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// Trust only the server whose certificate has this SHA-256 fingerprint, whatever its name
    #[arg(long, conflicts_with = "ca", value_name = "FINGERPRINT")]
    pub(crate) pin: Option<Fingerprint>,
    /// Trust servers whose certificate these authorities signed (PEM or DER) in place of the
    /// system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The application protocol to offer; may be given several times
    #[arg(long, default_values = ["h3", "hq-interop"], value_name = "PROTOCOL")]
    pub(crate) alpn: Vec<String>,
    /// How many round trips to measure
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) count: u16,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Where they belong (see your shell's manual for other places):
  tercel completions bash > ~/.local/share/bash-completion/completions/tercel
  tercel completions zsh > ~/.zfunc/_tercel            with ~/.zfunc in $fpath
  tercel completions fish > ~/.config/fish/completions/tercel.fish
  tercel completions elvish >> ~/.config/elvish/rc.elv
  tercel completions powershell >> $PROFILE")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tercel man | man -l -                             the first page, shown
  tercel man --out ~/.local/share/man/man1          all of them, for `man tercel` and `man tercel-get`")]
pub(crate) struct Man {
    /// Write all pages into this directory (tercel.1, tercel-get.1 and so on) in place of printing the
    /// first
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
