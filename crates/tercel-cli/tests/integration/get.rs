//! `tercel get`: what is asked, what is told, and what is remembered between runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::relay::Relay;
use crate::common::web::{Pieces, Seen, Web};
use crate::common::{self, Server, names, run};
use http::Response;
use serde_json::Value;

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Response<Pieces> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Pieces::of(body)).unwrap()
}

/// Tells what it was asked.
fn echo() -> Web {
    Web::new(|request: &Seen, _| {
        let told = format!("{} {} {}", request.method, request.path, String::from_utf8_lossy(&request.body));
        answer(200, &[("x-answer", "42"), ("content-type", "text/plain")], told)
    })
}

#[test]
fn methods_headers_and_bodies_are_as_asked() {
    let (web, files) = (echo(), tempfile::tempdir().unwrap());
    let file = files.path().join("data");
    fs::write(&file, "from a file").unwrap();
    let file = file.to_str().unwrap();
    for (more, told) in [
        (&["-H", "accept: a/b", "-H", "X-Two:1", "-H", "x-two: 2"][..], "GET /x?y "),
        (&["-X", "DELETE"], "DELETE /x?y "),
        (&["--data", "some text"], "POST /x?y some text"),
        (&["--data-file", file, "-X", "PATCH"], "PATCH /x?y from a file"),
        (&["--data", ""], "POST /x?y "),
    ] {
        let (code, out, err) = run(web.get("x?y", more).args(["-o", "-"]));
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), told, ""), "{more:?}");
    }
    let seen = web.seen();
    assert_eq!((seen[0].header("accept"), seen[0].headers.get_all("x-two").iter().count()), (Some("a/b"), 2));
    assert!(seen[0].header("user-agent").unwrap().starts_with("tercel/"));
    assert_eq!((seen[2].header("content-length"), seen[4].header("content-length")), (Some("9"), Some("0")));
    let (code, ..) = run(web.get("", &["-H", "user-agent: me", "-q"]).arg("-o").arg(files.path()));
    let seen = web.seen();
    let last = seen.last().unwrap();
    assert_eq!(
        (code, last.header("user-agent"), last.headers.get_all("user-agent").iter().count()),
        (Some(0), Some("me"), 1)
    );
    for (more, part) in [
        (&["-H", "no colon"][..], "is not a header"),
        (&["-H", "a b: c"], "is not the name of a header"),
        (&["-H", "a: b\nc"], "cannot be the value"),
        (&["-H", "Connection: close"], "HTTP/1.1"),
        (&["-H", "Content-Length: 1"], "is set by itself"),
        (&["-X", "G T"], "invalid"),
        (&["--data", "a", "--data-file", "b"], "cannot be used with"),
        (&["-I", "--data", "a"], "cannot be used with"),
        (&["--stall", "0"], "is not from 1 ms"),
        (&["--timeout", "soon"], "is not a span of time"),
        (&["-w", "xml"], "possible values"),
    ] {
        let (code, _, err) = run(&mut web.get("", more));
        assert_eq!((code, err.contains(part)), (Some(2), true), "{more:?}: {err}");
    }
    let (code, _, err) = run(&mut web.get("", &["--data-file", "/no/such", "-o", "-"]));
    assert_eq!((code, err.contains("cannot read /no/such")), (Some(1), true), "{err}");
}

#[test]
fn heads_are_shown_where_wanted() {
    let (web, files) = (echo(), tempfile::tempdir().unwrap());
    let (code, out, err) = run(&mut web.get("x", &["-I"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("HTTP/3 200 OK\n") && out.contains("\nx-answer: 42\n") && out.ends_with("\n\n"), "{out}");
    assert_eq!(web.seen()[0].method, http::Method::HEAD);
    let (code, out, _) = run(web.get("x", &["-i", "-o", "-"]).current_dir(files.path()));
    assert!(code == Some(0) && out.contains("x-answer: 42\n") && out.ends_with("\n\nGET /x "), "{out}");
    assert_eq!(names(files.path()), [""; 0]);
    let (code, out, _) = run(web.get("x", &["-i", "-q", "-o"]).arg(files.path()));
    assert!(code == Some(0) && out.contains("x-answer: 42\n") && out.ends_with("\n\n"), "{out}");
    assert_eq!(fs::read_to_string(files.path().join("x")).unwrap(), "GET /x ");
    // Several heads need no names.
    let (code, out, err) = run(web.get("x", &["-I"]).arg(web.url("x")));
    assert_eq!((code, out.matches("x-answer").count()), (Some(0), 2), "{err}");
    let (code, _, err) = run(web.get("x", &["-o", "-"]).arg(web.url("y")));
    assert_eq!((code, err.contains("exactly one URL")), (Some(1), true), "{err}");
}

/// What a server says of a failure is for whoever reads its answer.
#[test]
fn standard_output_has_the_answer_whatever_it_is() {
    let web = Web::new(|_, _| answer(418, &[], "a teapot"));
    let (code, out, err) = run(&mut web.get("x", &["-o", "-"]));
    assert_eq!((code, out.as_str(), err.contains("418")), (Some(1), "a teapot", true), "{err}");
}

#[test]
fn redirections_are_followed_as_far_as_is_good() {
    let other = echo();
    let to = other.url("there");
    let web = Web::new(move |request: &Seen, _| {
        let to = match request.path.as_str() {
            "/relative" => "../b/c?d".into(),
            "/other" => to.clone(),
            "/plain" => "http://localhost/".into(),
            "/see" => "/b/c".into(),
            path if path.starts_with("/loop") => format!("{path}x"),
            path => return answer(200, &[], format!("{} {path} {}", request.method, request.body.len())),
        };
        let status = if request.path == "/see" { 303 } else { 307 };
        answer(status, &[("location", &to)], "")
    });
    let follow = |path: &str, more: &[&str]| run(web.get(path, more).args(["-L", "-o", "-"]));
    assert_eq!(follow("relative", &[]).1, "GET /b/c?d 0");
    assert_eq!(follow("relative", &["--data", "abc"]).1, "POST /b/c?d 3");
    assert_eq!(follow("see", &["--data", "abc"]).1, "GET /b/c 0");
    let (code, _, err) = follow("other", &["-H", "Authorization: secret", "-H", "cookie: secret", "-H", "a: b"]);
    // The other server has another certificate than the one pinned.
    assert_eq!((code, err.contains("another fingerprint")), (Some(1), true), "{err}");
    for (path, part) in [("plain", "is not https"), ("loop", "more than 10 redirections")] {
        let (code, _, err) = follow(path, &[]);
        assert_eq!((code, err.contains(part)), (Some(1), true), "{err}");
    }
    let (code, _, err) = run(&mut web.get("relative", &["-o", "-"]));
    assert_eq!((code, err.contains("it is at ../b/c?d (see --location)")), (Some(1), true), "{err}");
}

/// What is stored has the name that was asked for, and what is logged where it was found.
#[test]
fn a_redirection_changes_no_name() {
    let (site, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(site.path().join("deep")).unwrap();
    fs::write(site.path().join("deep/index.html"), "deep").unwrap();
    let server = Server::start(site.path(), &[]);
    let (code, _, err) = server.get(output.path(), &["deep?a=b"], &["-L"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(names(output.path()), ["deep"]);
    assert_eq!(fs::read_to_string(output.path().join("deep")).unwrap(), "deep");
    assert!(server.logged("/deep/?a=b").contains(" 200 4 "));
}

/// One JSON object for each URL.
fn timings(err: &str) -> Vec<Value> {
    err.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn timings_tell_what_took_how_long() {
    let web = echo();
    let (code, _, err) = run(web.get("x", &["-I", "--no-cache"]).arg(web.url("y")).arg("-w"));
    assert_eq!(code, Some(0), "{err}");
    for part in ["resolve", "handshake", "verdict", "first byte", "total", "new session", "same connection", "/x (200"]
    {
        assert!(err.contains(part), "{part} is missing in:\n{err}");
    }
    let (code, out, err) = run(&mut web.get("x", &["-o", "-", "--no-cache", "-w", "json"]));
    assert_eq!((code, out.as_str()), (Some(0), "GET /x "), "{err}");
    let all = timings(&err);
    let one = &all[0];
    assert_eq!((all.len(), &one["url"]), (1, &Value::from(web.url("x"))), "{err}");
    let ms = |name: &str| one[name].as_f64().unwrap_or_else(|| panic!("{name} is missing in {one}"));
    assert!(ms("resolve_ms") > 0.0 && ms("verdict_ms") > 0.0 && ms("first_byte_ms") > 0.0, "{one}");
    assert!(ms("handshake_ms") > ms("verdict_ms") && ms("total_ms") > ms("handshake_ms"), "{one}");
    assert_eq!((one["status"].as_u64(), one["bytes"].as_u64(), &one["error"]), (Some(200), Some(7), &Value::Null));
    assert_eq!((&one["session_resumed"], &one["early_data"]), (&Value::from(false), &Value::from("none")));
}

/// The cache of one test.
struct Cached<'a> {
    web: &'a Web,
    cache: tempfile::TempDir,
}

impl Cached<'_> {
    /// Whether the session was resumed, and what became of early data.
    fn ask(&self, more: &[&str]) -> (bool, String) {
        let mut get = self.web.get("x", more);
        get.args(["-o", "-", "-w", "json"]).env("XDG_CACHE_HOME", self.cache.path());
        let (code, out, err) = run(&mut get);
        assert_eq!((code, out.is_empty()), (Some(0), false), "{err}");
        let told = &timings(&err)[0];
        (told["session_resumed"].as_bool().unwrap(), told["early_data"].as_str().unwrap().to_owned())
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let directory = self.cache.path().join("tercel").join("sessions");
        fs::read_dir(directory).map_or_else(|_| Vec::new(), |all| all.map(|entry| entry.unwrap().path()).collect())
    }
}

#[test]
fn a_second_run_goes_on_with_the_session_and_asks_early() {
    let web = echo();
    let cached = Cached { web: &web, cache: tempfile::tempdir().unwrap() };
    assert_eq!(cached.ask(&["--no-cache"]), (false, "none".into()));
    assert_eq!(cached.files().len(), 0);
    assert_eq!(cached.ask(&[]), (false, "none".into()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((cached.files().len(), mode(&cached.files()[0])), (1, 0o600));
    }
    assert_eq!(cached.ask(&[]), (true, "accepted".into()));
    assert_eq!(cached.ask(&[]), (true, "accepted".into()));
    // What may not be done twice waits for the handshake.
    assert_eq!(cached.ask(&["--data", "a"]), (true, "none".into()));
    assert_eq!(cached.ask(&["-X", "PUT"]), (true, "none".into()));
    assert_eq!(cached.ask(&["--no-cache"]), (false, "none".into()));
    assert_eq!(cached.ask(&[]), (true, "accepted".into()));
    // What is broken is as if it were not there.
    for broken in ["", "{}", "{\"form\":1}", "\0\0\0"] {
        fs::write(&cached.files()[0], broken).unwrap();
        assert_eq!(cached.ask(&[]), (false, "none".into()), "{broken:?}");
        assert_eq!(cached.ask(&[]), (true, "accepted".into()), "{broken:?}");
    }
    let text = fs::read_to_string(&cached.files()[0]).unwrap();
    let ticket = text.find("\"ticket\":\"").unwrap() + 400;
    fs::write(&cached.files()[0], text[..ticket].to_owned() + "00" + &text[ticket + 2..]).unwrap();
    assert_eq!(cached.ask(&[]), (false, "none".into()));
    // Where nothing can be kept nothing is, and all else is as it was.
    let mut get = web.get("x", &["-o", "-"]);
    assert_eq!(run(get.env("XDG_CACHE_HOME", "/dev/null")).0, Some(0));
}

/// A request that may be asked early is there before the client has heard a word of the server: nothing that the
/// server sends comes through until it has read the request.
#[test]
fn an_early_request_waits_for_nothing_of_the_server() {
    let web = Web::early();
    let (seen, wanted) = (web.seen.clone(), Arc::new(AtomicUsize::new(0)));
    let relay = {
        let wanted = wanted.clone();
        Relay::to(web.port, move || seen.lock().unwrap().len() < wanted.load(Ordering::Relaxed))
    };
    let cache = tempfile::tempdir().unwrap();
    let ask = |more: &[&str]| {
        let mut get = web.get_at(relay.port, "x", more);
        get.args(["-o", "-", "-w", "json"]).env("XDG_CACHE_HOME", cache.path());
        let (code, out, err) = run(&mut get);
        assert_eq!(code, Some(0), "{err}");
        (out, timings(&err)[0]["early_data"].as_str().unwrap().to_owned())
    };
    assert_eq!(ask(&[]), ("/x".into(), "none".into()));
    wanted.store(2, Ordering::Relaxed);
    assert_eq!(ask(&[]), ("/x".into(), "accepted".into()));
    assert_eq!(web.seen().len(), 2);
    // What may not be done twice waits for the server, which is never heard: that the relay does hold is seen here.
    wanted.store(3, Ordering::Relaxed);
    let mut get = web.get_at(relay.port, "x", &["--data", "a", "--timeout", "2s"]);
    let (code, _, err) = run(get.args(["-o", "-"]).env("XDG_CACHE_HOME", cache.path()));
    assert_ne!(code, Some(0), "{err}");
    assert_eq!(web.seen().len(), 2);
}

/// A server that does not take early requests (RFC 8470) is asked again.
#[test]
fn too_early_is_asked_again() {
    let web = Web::new(|_: &Seen, before| match before {
        1 => answer(425, &[], "too early"),
        _ => answer(200, &[], "in time"),
    });
    let cached = Cached { web: &web, cache: tempfile::tempdir().unwrap() };
    assert_eq!(cached.ask(&[]), (false, "none".into()));
    assert_eq!(cached.ask(&[]), (true, "accepted".into()));
    assert_eq!(web.seen().len(), 3);
}

/// A server that was started anew knows nothing of its tickets: early data is refused and comes again by itself.
#[test]
fn a_server_that_has_forgotten_is_asked_again() {
    let (site, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(site.path().join("x"), vec![b'x'; 100_000]).unwrap();
    let made = common::certificates::signed(files.path(), "a server", "localhost", 2040);
    let cache = tempfile::tempdir().unwrap();
    let ask = |server: &Server| {
        let mut get = common::tercel();
        get.arg("get").arg(server.url("x")).arg("--ca").arg(&made.authority).args(["-o", "-", "-w", "json"]);
        let (code, out, err) = run(get.env("XDG_CACHE_HOME", cache.path()));
        assert_eq!((code, out.len()), (Some(0), 100_000), "{err}");
        let told = &timings(&err)[0];
        (told["session_resumed"].as_bool().unwrap(), told["early_data"].as_str().unwrap().to_owned())
    };
    let server = Server::start(site.path(), &made.arguments());
    assert_eq!(ask(&server), (false, "none".into()));
    assert_eq!(ask(&server), (true, "accepted".into()));
    let at = format!("127.0.0.1:{}", server.port);
    drop(server);
    let server = Server::start_at(&at, site.path(), &made.arguments());
    assert_eq!(ask(&server), (false, "rejected".into()));
    assert_eq!(ask(&server), (true, "accepted".into()));
}

/// `localhost` has two addresses where there is IPv6; a server at one of them is found whichever it is.
#[test]
fn the_address_that_answers_is_spoken_with() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("a"), "a").unwrap();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        if std::net::UdpSocket::bind(address).is_err() {
            println!("SKIPPED: this machine has no {address}");
            continue;
        }
        let server = Server::start_at(address, site.path(), &[]);
        let host = if address.starts_with('[') { "[::1]" } else { "localhost" };
        let mut get = common::tercel();
        get.arg("get").arg(format!("https://{host}:{}/a", server.port)).args(["--pin", &server.pin, "-o", "-"]);
        let (code, out, err) = run(&mut get);
        assert_eq!((code, out.as_str()), (Some(0), "a"), "{err}");
    }
}
