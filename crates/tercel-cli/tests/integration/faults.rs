//! What goes wrong is told in words, with the right exit code, and leaves nothing behind.

use std::fs;

use crate::common::web::{Piece, Pieces, Web};
use crate::common::{Server, certificates, names, run, tercel};
use tercel::Bytes;
use tercel::aio::Connection;

/// Which judgement it was, and on whose certificate.
#[test]
fn a_certificate_that_is_refused_is_named() {
    let (site, files, output) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(site.path().join("a"), b"a").unwrap();
    let other = files.path().join("other.pem");
    fs::write(&other, rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem()).unwrap();
    for (subject, name, year, ca, part) in [
        ("old Bob", "localhost", 2001, None, "it has expired"),
        ("Alice", "example.org", 2040, None, "it is not for this name"),
        ("Mallory", "localhost", 2040, Some(&other), "no authority that you trust"),
    ] {
        let made = certificates::signed(files.path(), subject, name, year);
        let server = Server::start(site.path(), &made.arguments());
        let mut get = tercel();
        get.arg("get").arg(server.url("a")).arg("--ca").arg(ca.unwrap_or(&made.authority)).arg("-o").arg(output.path());
        let (code, _, err) = run(&mut get);
        assert_eq!(code, Some(1), "{err}");
        for part in ["its certificate was refused", part, &format!("CN={subject}"), "an authority", "127.0.0.1", name] {
            assert!(err.contains(part), "{part} is missing in: {err}");
        }
        assert_eq!(names(output.path()), [""; 0]);
    }
}

#[test]
fn who_cannot_be_reached_is_told_of() {
    // Bound by somebody who does not speak QUIC; and by nobody, so that the system says so (ICMP).
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for port in [silent.local_addr().unwrap().port(), free] {
        let url = format!("https://127.0.0.1:{port}/");
        let pin = "00".repeat(32);
        let (code, _, err) = run(tercel().args(["get", &url, "--pin", &pin, "-o", "-", "--timeout", "700ms"]));
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("nobody answers there") || err.contains("not done after 700 ms"), "{err}");
    }
    let (code, _, err) = run(tercel().args(["get", "https://no.such.host.invalid/", "-o", "-"]));
    assert_eq!((code, err.contains("cannot find no.such.host.invalid")), (Some(1), true), "{err}");
}

#[test]
fn no_path_leads_out_and_nothing_is_left_behind() {
    let (above, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let site = above.path().join("site");
    fs::create_dir(&site).unwrap();
    fs::write(above.path().join("secret"), b"secret").unwrap();
    let server = Server::start(&site, &["--writable"]);
    for path in
        ["../secret", "%2e%2e/secret", "..%2fsecret", "%2e%2e%2fsecret", "x/../../secret", "%00", "..", "%2e%2e/"]
    {
        let (code, out, err) = server.get(output.path(), &[path], &[]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{path}: {err}");
        let (code, _, err) = server.ask(path, &["-X", "PUT", "--data", "x"]);
        assert_eq!(code, Some(1), "{path}: {err}");
    }
    assert_eq!((names(above.path()), names(&site)), (vec!["secret".into(), "site".into()], vec![]));
    assert_eq!(fs::read(above.path().join("secret")).unwrap(), b"secret");
    assert_eq!(names(output.path()), [""; 0]);
}

/// Frames of HTTP/3, as bytes: type, length and content.
fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, u8::try_from(content.len()).unwrap()][..], content].concat()
}

/// SETTINGS on a control stream, and `answer` to the first request.
async fn malformed(connection: Connection, control: Vec<u8>, answer: Vec<u8>) {
    let Ok(mut own) = connection.open_uni().await else { return };
    let _ = own.write_all(&control).await;
    if let Ok((mut send, _recv)) = connection.accept_bi().await {
        let _ = send.write_all(&answer).await;
        let _ = send.finish();
        connection.closed().await;
    }
}

/// A server that does not speak HTTP/3 well is told of in words: no panic, and nothing left behind.
#[test]
fn bad_frames_of_a_server_are_told_of() {
    let settings = [&[0][..], &frame(4, &[])].concat();
    // `:status 200` of the static table (RFC 9204 appendix A, entry 25).
    let head = frame(1, &[0, 0, 0xc0 | 25]);
    let cases: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("DATA before HEADERS", settings.clone(), frame(0, b"abc")),
        ("SETTINGS on a request", settings.clone(), frame(4, &[])),
        ("nothing at all", settings.clone(), vec![]),
        ("a frame that is cut off", settings.clone(), [&head[..], &[0, 9, 1]].concat()),
        ("a field section that is none", settings.clone(), frame(1, &[0xff; 9])),
        ("no status", settings.clone(), frame(1, &[0, 0])),
        ("GOAWAY on a request", settings.clone(), [&head[..], &frame(7, &[0])].concat()),
        ("no SETTINGS", [&[0][..], &frame(7, &[0])].concat(), head.clone()),
        ("two SETTINGS", [&settings[..], &frame(4, &[])].concat(), head.clone()),
        ("a reserved frame", [&settings[..], &frame(2, &[])].concat(), head.clone()),
    ];
    for (what, control, answer) in cases {
        let web = Web::raw(&["h3"], move |connection| malformed(connection, control.clone(), answer.clone()));
        let output = tempfile::tempdir().unwrap();
        let (code, out, err) = run(web.get("a", &["--stall", "5s", "-o"]).arg(output.path()));
        println!("{what}: {}", err.trim());
        let is_late = ["no SETTINGS", "two SETTINGS", "a reserved frame"].contains(&what);
        if is_late && code == Some(0) {
            // The answer was whole before its stream was looked at.
            continue;
        }
        assert_eq!((code, out.as_str()), (Some(1), ""), "{what}: {err}");
        assert!(err.starts_with("tercel: ") && !err.contains("panick") && !err.contains("stalled"), "{what}: {err}");
        assert_eq!(names(output.path()), [""; 0], "{what}");
    }
}

#[test]
fn a_server_that_leaves_is_told_of() {
    let web = Web::raw(&["h3"], |connection| async move {
        let _ = connection.accept_bi().await;
        connection.close(0x102u32.into(), b"");
    });
    let (code, _, err) = run(&mut web.get("a", &["-o", "-"]));
    assert_eq!((code, err.contains("H3_INTERNAL_ERROR")), (Some(1), true), "{err}");
    let web = Web::raw(&["other"], |_| async {});
    let (code, _, err) = run(&mut web.get("a", &["-o", "-"]));
    assert_eq!((code, err.contains("neither HTTP/3 nor")), (Some(1), true), "{err}");
}

/// What is shorter or longer than promised is not taken for whole.
#[test]
fn a_body_must_be_as_long_as_it_says() {
    for pieces in [&[Piece::Data(Bytes::from_static(b"abc"))][..], &[Piece::Data(Bytes::from_static(b"abcdefg"))]] {
        let pieces = pieces.to_vec();
        let web = Web::new(move |_, _| {
            let body = Pieces::new(pieces.clone());
            http::Response::builder().header("content-length", 5).body(body).unwrap()
        });
        let output = tempfile::tempdir().unwrap();
        let (code, _, err) = run(web.get("a", &["-o"]).arg(output.path()));
        assert_eq!(code, Some(1), "{err}");
        assert!(!output.path().join("a").exists());
    }
}
