//! `tercel serve`: serves a directory, by HTTP/3 and over TCP as a [web site](crate::web), and by
//! `hq-interop`.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tercel::aio::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use tercel::{Configuration, Identity, RetryPolicy, Settings};
use tercel_h3::Server;
use tokio::fs::File;

use crate::exchange::read_chunk;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::fingerprint::Fingerprint;
use crate::hq::{self, MAX_REQUEST, Method, Refusal};
use crate::identity::{self, Validity};
use crate::inside::Inside;
use crate::partial::Partial;
use crate::signals::Signals;
use crate::web::{WebSite, echo};
use crate::{access_log, args};

/// What is served, and how.
#[derive(Debug)]
pub(crate) struct Site {
    inside: Inside,
    writable: bool,
    quiet: bool,
}

pub(crate) async fn run(arguments: args::Serve) -> Outcome {
    let mut signals = Signals::catch()?;
    // Before the files are read: what is changed after that is seen.
    let mut reload = Reload::new(&arguments);
    let identity = identity_of(&arguments)?;
    let fingerprint = Fingerprint(identity.fingerprint());
    let metrics = match arguments.metrics {
        Some(address) => Some(crate::metrics::serve(address).await?),
        None => None,
    };
    let site = Arc::new(Site::new(&arguments.directory, arguments.writable, false)?);
    let mut web = WebSite::new(&site.inside, arguments.writable);
    if arguments.webtransport_echo {
        // Only what is made here is known to be what browsers may pin.
        web = web.with_echo(arguments.cert.is_none().then_some(fingerprint));
    }
    let mut config = crate::observe::registration();
    config.workers = arguments.workers.unwrap_or(0);
    if arguments.retry {
        config.retry = RetryPolicy::Always;
    }
    let doing = || format!("cannot listen on {}", arguments.listen);
    let settings = Settings { max_bidi_streams: 1000, max_datagram_size: 65_535, ..Settings::default() };
    let alpn = [tercel_h3::ALPN, hq::ALPN.as_bytes()];
    let configuration = Configuration::server(&alpn, settings, identity).doing(|| "cannot use the certificate")?;
    let server = Server::with_configuration(arguments.listen, &configuration, config).doing(doing)?;
    let (address, handle) = (server.local_address(), server.handle());
    access_log::line(format_args!(
        "Serving {} on {address} (HTTP/3, and HTTP/1.1 and HTTP/2 over TCP).",
        site.inside.root().display()
    ));
    access_log::line(format_args!("Certificate SHA-256: {fingerprint}"));
    if arguments.cert.is_none() {
        let name = arguments.name.first().map_or("localhost", String::as_str);
        access_log::line(format_args!("\n  tercel get https://{name}:{}/FILE --pin {fingerprint}\n", address.port()));
    }
    if let Some(address) = metrics {
        access_log::line(format_args!("Metrics: http://{address}/metrics"));
    }
    let hq = site.clone();
    let mut server = server.other_protocols(move |connection| {
        tokio::spawn(hq.clone().converse(connection));
    });
    if arguments.webtransport_echo {
        server = server.webtransport(echo::serve);
        let name = arguments.name.first().map_or("localhost", String::as_str);
        access_log::line(format_args!("WebTransport echo: https://{name}:{}{}", address.port(), echo::PATH));
    }
    let serving = server.serve(tercel_h3::service_fn(move |request| {
        let web = web.clone();
        async move { Ok::<_, Infallible>(web.answer(request).await) }
    }));
    tokio::pin!(serving);
    loop {
        tokio::select! {
            served = &mut serving => return served.doing(doing),
            () = signals.next() => break,
            identity = reload.next() => match identity.and_then(|identity| {
                let fingerprint = Fingerprint(identity.fingerprint());
                handle.set_identity(&identity).map(|()| fingerprint).map_err(Failure::plain)
            }) {
                Ok(fingerprint) => access_log::line(format_args!("Certificate changed; SHA-256: {fingerprint}")),
                Err(failure) => eprintln!("tercel: the certificate stays as it was: {failure}"),
            },
        }
    }
    eprintln!("tercel: finishing what is under way, for {} seconds at most; again ends at once", PATIENCE.as_secs());
    handle.stop(PATIENCE);
    tokio::select! {
        served = &mut serving => served.doing(doing),
        () = signals.next() => Ok(()),
    }
}

/// How long what is under way may take when the server is told to end.
const PATIENCE: Duration = Duration::from_secs(10);

fn identity_of(arguments: &args::Serve) -> Outcome<Identity> {
    match (&arguments.cert, &arguments.key) {
        (Some(cert), Some(key)) => {
            Identity::from_files(cert, key).map_err(|error| Failure::plain(format!("cannot serve: {error}")))
        }
        _ if arguments.webtransport_echo => identity::made_for(&arguments.name, Validity::ForBrowsers),
        _ => identity::made_for(&arguments.name, Validity::Always),
    }
}

/// Looks now and then whether the certificate's files were changed.
struct Reload {
    files: Option<(PathBuf, PathBuf)>,
    seen: Option<[SystemTime; 2]>,
}

/// How often certificates are looked at.
const LOOK: Duration = Duration::from_secs(2);

impl Reload {
    fn new(arguments: &args::Serve) -> Self {
        let files = arguments.cert.clone().zip(arguments.key.clone());
        let mut reload = Self { files, seen: None };
        reload.seen = reload.changed();
        reload
    }

    /// When the files were changed.
    fn changed(&self) -> Option<[SystemTime; 2]> {
        let (cert, key) = self.files.as_ref()?;
        let of = |file: &Path| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
        Some([of(cert)?, of(key)?])
    }

    /// The next certificate, once its files were changed and lie still.
    async fn next(&mut self) -> Outcome<Identity> {
        loop {
            tokio::time::sleep(LOOK).await;
            let (changed, Some((cert, key))) = (self.changed(), &self.files) else {
                std::future::pending::<()>().await;
                continue;
            };
            if changed.is_some() && changed != self.seen {
                self.seen = changed;
                return Identity::from_files(cert, key).map_err(Failure::plain);
            }
        }
    }
}

/// The configuration of a server.
pub(crate) fn configuration(identity: Identity) -> Outcome<Configuration> {
    let settings = Settings { max_bidi_streams: 1000, ..Settings::default() };
    Configuration::server(&[hq::ALPN], settings, identity).doing(|| "cannot use the certificate")
}

/// Serves every connection that comes, until the endpoint listens no more.
pub(crate) async fn serve(endpoint: &Endpoint, site: &Arc<Site>) {
    while let Some(incoming) = endpoint.accept().await {
        let site = site.clone();
        tokio::spawn(async move { site.welcome(incoming).await });
    }
}

impl Site {
    /// A directory to serve.
    pub(crate) fn new(directory: &Path, writable: bool, quiet: bool) -> Outcome<Self> {
        let doing = || format!("cannot serve {}", directory.display());
        Ok(Self { inside: Inside::new(directory).doing(doing)?, writable, quiet })
    }

    fn log(&self, line: impl FnOnce() -> String) {
        if !self.quiet {
            access_log::line(line());
        }
    }

    async fn welcome(self: Arc<Self>, incoming: Incoming) {
        let remote = incoming.remote_address();
        let connection = match incoming.accept() {
            Ok(connecting) => connecting.await,
            Err(_) => return,
        };
        match connection {
            Ok(connection) => self.converse(connection).await,
            Err(error) => self.log(|| format!("{remote} handshake failed: {error}")),
        }
    }

    async fn converse(self: Arc<Self>, connection: Connection) {
        while let Ok((send, recv)) = connection.accept_bi().await {
            let (site, connection) = (self.clone(), connection.clone());
            tokio::spawn(async move { site.answer(&connection, send, recv).await });
        }
    }

    async fn answer(&self, connection: &Connection, mut send: SendStream, mut recv: RecvStream) {
        let remote = connection.remote_address();
        let mut line = Vec::new();
        let result = match read_line(&mut recv, &mut line).await {
            Ok(rest) => self.obey(&line, rest, &mut send, &mut recv).await,
            Err(refusal) => Err(refusal),
        };
        let request = String::from_utf8_lossy(&line).trim_end().escape_debug().to_string();
        match result {
            Ok(bytes) => self.log(|| format!("{remote} {request} {bytes}")),
            Err(refusal) => {
                self.log(|| format!("{remote} {request} refused: {}", refusal.code()));
                // If the stream has ended there is nobody to tell.
                let _ = send.reset(refusal.code().into());
                let _ = recv.stop(refusal.code().into());
            }
        }
    }

    /// Does what a request asks for; gives how many bytes were moved.
    async fn obey(
        &self,
        line: &[u8],
        rest: Vec<u8>,
        send: &mut SendStream,
        recv: &mut RecvStream,
    ) -> Result<u64, Refusal> {
        let (method, path) = hq::parse(line)?;
        match method {
            Method::Get => self.give(path, send).await,
            Method::Put if self.writable => take(&self.inside.place(path).await?, &rest, send, recv).await,
            Method::Put => Err(Refusal::MethodNotAllowed),
        }
    }

    async fn give(&self, path: &str, send: &mut SendStream) -> Result<u64, Refusal> {
        let mut file = self.inside.find(path).await?;
        let of = |error: std::io::Error| Refusal::of(&error);
        if file.is_dir() {
            file = self.inside.real(&file.join("index.html")).await.map_err(of)?;
        }
        let mut source = File::open(&file).await.map_err(of)?;
        let mut bytes = 0;
        loop {
            let chunk = read_chunk(&mut source).await.map_err(|_| Refusal::InternalError)?;
            if chunk.is_empty() {
                break;
            }
            bytes += chunk.len() as u64;
            send.write_chunk(chunk).await.map_err(|_| Refusal::InternalError)?;
        }
        send.finish().map_err(|_| Refusal::InternalError)?;
        Ok(bytes)
    }
}

/// Takes an uploaded file.
async fn take(file: &Path, first: &[u8], send: &mut SendStream, recv: &mut RecvStream) -> Result<u64, Refusal> {
    let of = |error: std::io::Error| Refusal::of(&error);
    let mut partial = Partial::create(file).map_err(of)?;
    partial.write(first).await.map_err(of)?;
    let mut bytes = first.len() as u64;
    while let Some(chunk) = recv.read_chunk(1 << 20).await.map_err(|_| Refusal::BadRequest)? {
        partial.write(&chunk).await.map_err(of)?;
        bytes += chunk.len() as u64;
    }
    partial.finish().await.map_err(of)?;
    send.finish().map_err(|_| Refusal::InternalError)?;
    Ok(bytes)
}

/// Reads up to the end of the first line, or of the stream; gives what came behind it.
async fn read_line(recv: &mut RecvStream, line: &mut Vec<u8>) -> Result<Vec<u8>, Refusal> {
    loop {
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            return Ok(line.split_off(end + 1));
        }
        if line.len() > MAX_REQUEST {
            return Err(Refusal::BadRequest);
        }
        match recv.read_chunk(MAX_REQUEST).await {
            Ok(Some(chunk)) => line.extend_from_slice(&chunk),
            Ok(None) => return Ok(Vec::new()),
            Err(_) => return Err(Refusal::BadRequest),
        }
    }
}
