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
fn every_example_does_what_it_says() {
    for (example, parts) in [
        ("echo_async", &["hello -> hello"][..]),
        ("echo_callback", &["hello"]),
        ("datagrams", &["a datagram can have 11", " bytes", "of 10 came back"]),
        (
            "early_data",
            &[
                "first visit: you asked: what time is it? (resumed: false, with early data: false)",
                "second visit: you asked: what time is it? (resumed: true, with early data: true)",
            ],
        ),
        (
            "file_transfer",
            &[
                "sent 8388608 bytes with SHA-256 b3773b94..., and the server has the same",
                "fetched 8388608 bytes with SHA-256 b3773b94...",
                "a file that is not there: the peer reset the stream with code 1",
            ],
        ),
        (
            "verdict_by_http",
            &[
                "a known server: connected",
                "an unknown server: refused with CRYPTO_ERROR (TLS alert 49)",
                "the server learnt: closed by the peer with CRYPTO_ERROR (TLS alert 49)",
                "the client: closed by this application with code 7",
                "the server learnt: closed by the peer with APPLICATION_ERROR (0xc)",
                "the service learnt: whoever asked has gone",
            ],
        ),
        ("several_protocols", &["upper: HELLO", "lower: hello"]),
    ] {
        let out = output_of(example);
        for part in parts {
            assert!(out.contains(part), "{example} should say {part:?}, but says:\n{out}");
        }
    }
}
