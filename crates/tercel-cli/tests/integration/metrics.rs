//! `tercel serve --metrics`, as Prometheus sees it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::common::{Kept, tercel};

fn after<'a>(text: &'a str, what: &str) -> &'a str {
    text.split_once(what)
        .unwrap_or_else(|| panic!("{what} is missing in:\n{text}"))
        .1
        .split_whitespace()
        .next()
        .unwrap()
}

/// What is answered to a request that begins so.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn figures_of_a_server_are_there_for_prometheus() {
    let (site, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(site.path().join("a"), vec![1; 100_000]).unwrap();
    let mut serve = tercel();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]).arg(site.path());
    let mut server = Kept(serve.stdout(Stdio::piped()).spawn().unwrap());
    let (mut said, mut lines) = (String::new(), BufReader::new(server.0.stdout.take().unwrap()));
    while !said.contains("/metrics") {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "{said}");
    }
    // Somebody must read what the server logs.
    std::thread::spawn(move || lines.lines().for_each(drop));
    let port = after(&said, "https://localhost:").split('/').next().unwrap();
    let (pin, metrics) = (after(&said, "--pin "), after(&said, "Metrics: http://").strip_suffix("/metrics").unwrap());
    for (path, code) in [("a", 0), ("b", 1)] {
        let mut get = tercel();
        get.args(["get", &format!("https://localhost:{port}/{path}"), "--pin", pin, "-o"]).arg(output.path());
        assert_eq!(get.output().unwrap().status.code(), Some(code));
    }
    let answer = ask(metrics, "GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("content-type: text/plain; version=0.0.4"));
    let figure = |name: &str| after(&answer, &format!("\n{name} ")).parse::<f64>().unwrap();
    assert_eq!(figure("tercel_server_connections_total"), 2.0);
    assert_eq!(figure("tercel_handshakes_completed_total"), 2.0);
    assert_eq!(figure("tercel_handshake_seconds_count"), 2.0);
    assert_eq!(figure("tercel_http_requests_total{protocol=\"HTTP/3\",status=\"2xx\"}"), 1.0);
    assert_eq!(figure("tercel_http_requests_total{protocol=\"HTTP/3\",status=\"4xx\"}"), 1.0);
    assert_eq!(figure("tercel_http_requests_pending"), 0.0);
    assert!(figure("tercel_bytes_sent_total") > 100_000.0);
    assert!(answer.contains("# TYPE tercel_bytes_sent_total counter"));
    assert!(ask(metrics, "GET /").starts_with("HTTP/1.1 404"));
    assert!(ask(metrics, "DELETE /metrics").starts_with("HTTP/1.1 405"));
    // A port that is taken is told before anything is served.
    let taken = tercel().args(["serve", "--listen", "127.0.0.1:0", "--metrics", metrics]).arg(site.path()).output();
    let taken = taken.unwrap();
    let told = String::from_utf8(taken.stderr).unwrap();
    assert_eq!((taken.status.code(), told.contains(&format!("cannot serve metrics on {metrics}"))), (Some(1), true));
}
