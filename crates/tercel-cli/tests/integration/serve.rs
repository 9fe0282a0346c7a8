//! `tercel serve`, over HTTP/3 and over TCP.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::certificates::{Signed, signed};
use crate::common::{self, Kept, Server, SmallDisk, names, noise, run, tercel};
use rustls::pki_types::pem::PemObject as _;

/// A site, and a certificate for it.
struct Fixture {
    above: tempfile::TempDir,
    certificate: Signed,
    server: Server,
}

impl Fixture {
    fn new(more: &[&str], fill: impl FnOnce(&Path)) -> Self {
        let above = tempfile::tempdir().unwrap();
        let site = above.path().join("site");
        fs::create_dir(&site).unwrap();
        fill(&site);
        let certificate = signed(above.path(), "a server", "localhost", 2040);
        let server = Server::start(&site, &[&certificate.arguments()[..], more].concat());
        Self { above, certificate, server }
    }

    fn site(&self) -> std::path::PathBuf {
        self.above.path().join("site")
    }

    /// Asks over HTTP/3; gives the head and the body.
    fn ask(&self, path: &str, more: &[&str]) -> (String, String) {
        let mut get = tercel();
        get.arg("get").arg(self.server.url(path)).arg("--ca").arg(&self.certificate.authority);
        let (_, out, err) = run(get.args(["-i", "-o", "-"]).args(more));
        let (head, body) = out.split_once("\n\n").unwrap_or_else(|| panic!("{path} {more:?}: {out}{err}"));
        (head.to_owned(), body.to_owned())
    }

    /// Asks over HTTP/1.1; gives the head and the body.
    fn ask_over_tcp(&self, request: &str, headers: &[&str]) -> (String, String) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(&self.certificate.authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_root_certificates(roots).with_no_client_auth();
        let connection = rustls::ClientConnection::new(Arc::new(tls), "localhost".try_into().unwrap()).unwrap();
        let tcp = TcpStream::connect(format!("127.0.0.1:{}", self.server.port)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, tcp);
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // The server may leave without a word of TLS.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn ranges_and_conditions_are_those_of_the_rfc() {
    let fixture = Fixture::new(&[], |site| fs::write(site.join("a.txt"), "0123456789").unwrap());
    let (head, body) = fixture.ask("a.txt", &[]);
    assert_eq!((status(&head), body.as_str(), header(&head, "content-length")), ("200", "0123456789", Some("10")));
    assert_eq!((header(&head, "content-type"), header(&head, "accept-ranges")), (Some("text/plain"), Some("bytes")));
    let (tag, date) = (header(&head, "etag").unwrap(), header(&head, "last-modified").unwrap());
    assert!(tag.starts_with('"') && header(&head, "date").is_some(), "{head}");
    let (old, other) = ("Sun, 06 Nov 1994 08:49:37 GMT", "\"other\"");
    let cases: Vec<(Vec<String>, &str, &str)> = vec![
        (vec!["range: bytes=2-4".into()], "206", "234"),
        (vec!["range: bytes=7-".into()], "206", "789"),
        (vec!["range: bytes=-2".into()], "206", "89"),
        (vec!["range: bytes=8-99".into()], "206", "89"),
        (vec!["range: bytes=10-".into()], "416", ""),
        (vec!["range: lines=1-2".into()], "200", "0123456789"),
        (vec!["range: bytes=0-1,4-5".into()], "200", "0123456789"),
        (vec!["range: bytes=2-4".into(), format!("if-range: {tag}")], "206", "234"),
        (vec!["range: bytes=2-4".into(), format!("if-range: {other}")], "200", "0123456789"),
        (vec!["range: bytes=2-4".into(), format!("if-range: W/{tag}")], "200", "0123456789"),
        (vec!["range: bytes=2-4".into(), format!("if-range: {old}")], "200", "0123456789"),
        (vec![format!("if-none-match: {tag}")], "304", ""),
        (vec![format!("if-none-match: {other}, W/{tag}")], "304", ""),
        (vec![format!("if-none-match: {other}")], "200", "0123456789"),
        (vec![format!("if-match: {other}")], "412", ""),
        (vec![format!("if-match: {tag}")], "200", "0123456789"),
        (vec![format!("if-modified-since: {date}")], "304", ""),
        (vec![format!("if-modified-since: {old}")], "200", "0123456789"),
        (vec![format!("if-unmodified-since: {old}")], "412", ""),
    ];
    for (headers, wanted, content) in cases {
        let more: Vec<&str> = headers.iter().flat_map(|header| ["-H", header.as_str()]).collect();
        let (head, body) = fixture.ask("a.txt", &more);
        assert_eq!((status(&head), body.as_str()), (wanted, content), "{headers:?}: {head}");
        let over_tcp: Vec<&str> = headers.iter().map(String::as_str).collect();
        let (head, body) = fixture.ask_over_tcp("GET /a.txt", &over_tcp);
        assert_eq!((status(&head), body.as_str()), (wanted, content), "{headers:?} over TCP: {head}");
    }
    // A date that is long past is as good as a tag.
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(784_111_777);
    fs::File::options().write(true).open(fixture.site().join("a.txt")).unwrap().set_modified(long_ago).unwrap();
    let (head, body) = fixture.ask("a.txt", &["-H", "range: bytes=2-4", "-H", &format!("if-range: {old}")]);
    assert_eq!((status(&head), body.as_str()), ("206", "234"), "{head}");
}

#[test]
fn heads_have_no_bodies() {
    let fixture = Fixture::new(&[], |site| {
        fs::write(site.join("a"), "0123456789").unwrap();
        fs::create_dir(site.join("deep")).unwrap();
    });
    for (path, wanted) in [("a", "200"), ("deep/", "200"), ("deep", "308"), ("none", "404")] {
        let (head, body) = fixture.ask(path, &["-I"]);
        let len = fixture.ask(path, &[]).1.len().to_string();
        assert_eq!((status(&head), body.as_str()), (wanted, ""), "{path}");
        assert_eq!(header(&head, "content-length"), Some(len.as_str()), "{path}");
        let (head, body) = fixture.ask_over_tcp(&format!("HEAD /{path}"), &[]);
        assert_eq!((status(&head), body.as_str()), (wanted, ""), "{path}");
    }
}

#[test]
fn compressed_files_are_given_to_those_who_want_them() {
    let fixture = Fixture::new(&[], |site| {
        for name in ["a.css", "a.css.gz", "a.css.br", "a.css.zst"] {
            fs::write(site.join(name), name).unwrap();
        }
        fs::write(site.join("plain.js"), "plain.js").unwrap();
    });
    for (wanted, encoding, body) in [
        ("gzip", Some("gzip"), "a.css.gz"),
        ("br", Some("br"), "a.css.br"),
        ("zstd", Some("zstd"), "a.css.zst"),
        ("gzip;q=0.5, br;q=0.1", Some("gzip"), "a.css.gz"),
        ("identity", None, "a.css"),
        ("gzip;q=0", None, "a.css"),
    ] {
        let (head, given) = fixture.ask("a.css", &["-H", &format!("accept-encoding: {wanted}")]);
        assert_eq!((header(&head, "content-encoding"), given.as_str()), (encoding, body), "{wanted}: {head}");
        assert_eq!(header(&head, "content-type"), Some("text/css"), "{head}");
        assert_eq!(header(&head, "vary"), Some("accept-encoding"), "{head}");
    }
    assert_eq!(fixture.ask("plain.js", &["-H", "accept-encoding: gzip"]).1, "plain.js");
}

/// Links out of the directory, those of compressed files and indexes, too; and names that begin with a dot.
#[cfg(unix)]
#[test]
fn nothing_outside_and_nothing_hidden_is_served() {
    use std::os::unix::fs::symlink;
    let fixture = Fixture::new(&["--writable"], |site| {
        let secret = site.parent().unwrap().join("secret");
        fs::write(&secret, "SECRET").unwrap();
        for name in ["a", "b.txt", ".env", ".well-known"] {
            match name {
                ".well-known" => {
                    fs::create_dir(site.join(name)).unwrap();
                    fs::write(site.join(".well-known/x"), "known").unwrap();
                }
                name => fs::write(site.join(name), "own").unwrap(),
            }
        }
        symlink(&secret, site.join("link")).unwrap();
        symlink(&secret, site.join("a.gz")).unwrap();
        symlink(site.parent().unwrap(), site.join("up")).unwrap();
        symlink("b.txt", site.join("alias.txt")).unwrap();
        fs::create_dir(site.join("deep")).unwrap();
        symlink(&secret, site.join("deep/index.html")).unwrap();
    });
    for (path, wanted, content) in [
        ("link", "403", None),
        ("up/secret", "403", None),
        ("up/", "403", None),
        (".env", "404", None),
        ("a.gz", "403", None),
        ("a", "200", Some("own")),
        ("alias.txt", "200", Some("own")),
        (".well-known/x", "200", Some("known")),
        ("deep/", "200", None),
        ("", "200", None),
    ] {
        let encoding = "accept-encoding: gzip, br, zstd";
        let (head, body) = fixture.ask(path, &["-H", encoding]);
        let (head_over_tcp, body_over_tcp) = fixture.ask_over_tcp(&format!("GET /{path}"), &[encoding]);
        for (head, body) in [(&head, &body), (&head_over_tcp, &body_over_tcp)] {
            assert_eq!(status(head), wanted, "{path}: {head}");
            assert!(!body.contains("SECRET") && content.is_none_or(|content| content == body), "{path}: {body}");
            // A listing names what can be had.
            let listed = |name: &str| body.contains(&format!("href=\"./{name}\""));
            if path.is_empty() {
                assert!(listed("a") && listed("alias.txt") && listed("deep/"), "{body}");
                assert!(!listed("link") && !listed("up/") && !listed(".env") && !listed("a.gz"), "{body}");
            }
        }
    }
    for (path, wanted) in
        [("new", "201"), (".new", "403"), ("up/new", "403"), ("link", "409"), ("deep/", "400"), ("none/new", "404")]
    {
        let (head, _) = fixture.ask(path, &["-X", "PUT", "--data", "x"]);
        assert_eq!(status(&head), wanted, "PUT {path}: {head}");
    }
    assert_eq!(fs::read_to_string(fixture.above.path().join("secret")).unwrap(), "SECRET");
    assert!(!names(fixture.above.path()).contains(&"new".into()));
}

#[test]
fn the_log_has_the_form_that_is_documented() {
    let fixture = Fixture::new(&[], |site| fs::write(site.join("a b\".txt"), vec![7; 50_000]).unwrap());
    fixture.ask("a%20b%22.txt?x", &["-H", "user-agent: a \"b\""]);
    let line = fixture.server.logged(" HTTP/3.0 ");
    let (front, back) = line.split_once(" \"a \\\"b\\\"\" ").unwrap_or_else(|| panic!("{line}"));
    let front: Vec<&str> = front.split(' ').collect();
    assert!(front[0].starts_with("127.0.0.1:"), "{line}");
    assert_eq!(front[1..], ["GET", "/a%20b%22.txt?x", "HTTP/3.0", "200", "50000"]);
    let (time, took) = back.split_once(' ').unwrap();
    assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z') && took.ends_with("ms"), "{line}");
    fixture.ask_over_tcp("HEAD /none", &[]);
    let line = fixture.server.logged(" HTTP/1.1 ");
    assert!(line.contains("HEAD /none HTTP/1.1 404 0 \"-\" 20"), "{line}");
}

/// What nobody reads any more is no reason to end.
#[cfg(unix)]
#[test]
fn a_log_that_nobody_reads_harms_nobody() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("a"), "a").unwrap();
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let made = signed(site.path(), "a server", "localhost", 2040);
    let mut serve = tercel();
    serve.args(["serve", "--listen", &format!("127.0.0.1:{port}")]).args(made.arguments()).arg(site.path());
    let mut server = Kept(serve.stdout(Stdio::piped()).spawn().unwrap());
    drop(server.0.stdout.take());
    for _ in 0..3 {
        let mut get = tercel();
        get.args(["get", &format!("https://localhost:{port}/a"), "-o", "-", "--ca"]).arg(&made.authority);
        let (code, out, err) = run(&mut get);
        assert_eq!((code, out.as_str()), (Some(0), "a"), "{err}");
    }
    assert!(server.0.try_wait().unwrap().is_none());
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let Some(disk) = SmallDisk::new("2m") else { return };
    let files = tempfile::tempdir().unwrap();
    let (large, small) = (files.path().join("large"), files.path().join("small"));
    fs::write(&large, noise(1, 8 << 20)).unwrap();
    fs::write(&small, noise(2, 1 << 20)).unwrap();
    let server = Server::start(disk.0.path(), &["--writable"]);
    let put = |file: &Path| server.get(files.path(), &[""], &["--upload", file.to_str().unwrap()]);
    let (code, _, err) = put(&large);
    assert_eq!((code, err.contains("the server's disk is full")), (Some(1), true), "{err}");
    assert_eq!(names(disk.0.path()), [""; 0]);
    assert!(server.logged("PUT /large").contains(" 507 "));
    let (code, _, err) = put(&small);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(fs::read(disk.0.path().join("small")).unwrap(), noise(2, 1 << 20));
}

/// An upload that is broken off leaves nothing.
#[cfg(unix)]
#[test]
fn half_an_upload_is_none() {
    let (site, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let large = files.path().join("large");
    fs::File::create(&large).unwrap().set_len(4 << 30).unwrap();
    let server = Server::start(site.path(), &["--writable"]);
    let mut get = tercel();
    get.arg("get").arg(server.url("")).args(["--pin", &server.pin, "--upload"]).arg(&large);
    let mut child = Kept(get.spawn().unwrap());
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::yield_now();
        }
    };
    wait("nothing has begun", &|| !names(site.path()).is_empty());
    assert!(names(site.path())[0].starts_with(".tercel-"));
    common::signal(&child.0, "-INT");
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    wait("something is left", &|| names(site.path()).is_empty());
}

/// The first signal finishes what is under way, the second ends at once.
#[cfg(unix)]
#[test]
fn signals_end_a_server_gracefully_and_then_at_once() {
    let site = tempfile::tempdir().unwrap();
    // More than any window.
    let len = 24 << 20;
    fs::File::create(site.path().join("a")).unwrap().set_len(len).unwrap();
    // Nothing is under way: it ends at once, even by a signal that comes with its first word.
    for name in ["-TERM", "-INT"] {
        let mut server = Server::start(site.path(), &[]);
        common::signal(&server.child.0, name);
        assert_eq!(server.child.0.wait().unwrap().code(), Some(0), "{name}");
    }
    for signals in [1, 2] {
        let mut server = Server::start(site.path(), &[]);
        let mut get = tercel();
        get.arg("get").arg(server.url("a")).args(["--pin", &server.pin, "-o", "-"]);
        let mut client = Kept(get.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut out = client.0.stdout.take().unwrap();
        let mut got = vec![0; 1000];
        out.read_exact(&mut got).unwrap();
        // The rest waits until somebody reads.
        common::signal(&server.child.0, "-TERM");
        if signals == 2 {
            common::signal(&server.child.0, "-TERM");
            // Signals of a kind that come together are one.
            let begun = Instant::now();
            while server.child.0.try_wait().unwrap().is_none() {
                assert!(begun.elapsed() < Duration::from_secs(8), "the second signal ends at once");
                common::signal(&server.child.0, "-INT");
            }
            continue;
        }
        out.read_to_end(&mut got).unwrap();
        assert_eq!((client.0.wait().unwrap().code(), got.len() as u64), (Some(0), len));
        assert_eq!(server.child.0.wait().unwrap().code(), Some(0));
    }
}
