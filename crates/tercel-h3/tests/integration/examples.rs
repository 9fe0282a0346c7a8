//! The examples, run as a newcomer would.

use std::process::Command;

/// What an example prints. `cargo test` builds the examples, too, unless it is told of single tests.
fn output_of(example: &str) -> String {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let output = Command::new(path.join("examples").join(example)).output();
    let output = output.unwrap_or_else(|error| panic!("{example} is not built (cargo build --examples): {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{example}: {out}{err}");
    out.into_owned()
}

#[test]
fn an_axum_router_is_served_over_http3_and_tcp() {
    let out = output_of("axum");
    for part in [
        "/: 200 welcome over HTTP/3.0",
        "/greet/Ada: 200 hello, Ada",
        "/length: 200 1000000 bytes",
        "/whoami: 200 you are at 127.0.0.1:",
        "/missing: 404 ",
        "/ over TCP: welcome over HTTP/1.1, and alt-svc: h3=",
        "the server has finished what was under way",
    ] {
        assert!(out.contains(part), "should say {part:?}, but says:\n{out}");
    }
}
