//! The program as a person uses it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Server, certificates, names, run, tercel};

#[test]
fn the_demo_needs_nothing_and_says_what_happened() {
    for direction in [&[][..], &["--upload"]] {
        let (code, out, err) = run(tercel().args(["demo", "--size", "5MiB"]).args(direction));
        assert_eq!(code, Some(0), "{err}");
        for part in ["5 MiB in", "throughput", "the same at both ends", "handshake", "losses"] {
            assert!(out.contains(part), "{part} is missing in:\n{out}");
        }
    }
    let (code, _, err) = run(tercel().args(["demo", "/no/such/file"]));
    assert_eq!((code, err.contains("cannot read /no/such/file")), (Some(1), true), "{err}");
}

#[test]
fn files_are_fetched_whole_or_not_at_all() {
    let (site, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data: Vec<u8> = (0..3_000_000u32).map(|at| (at / 3) as u8).collect();
    fs::write(site.path().join("a"), &data).unwrap();
    fs::write(site.path().join("empty"), b"").unwrap();
    fs::write(site.path().join("index.html"), b"index").unwrap();
    let server = Server::start(site.path(), &["--retry"]);
    let (code, out, err) = server.get(output.path(), &["a", "empty", ""], &[]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("3 files, 2.9 MiB in"), "{out}");
    assert!(fs::read(output.path().join("a")).unwrap() == data);
    assert_eq!(names(output.path()), ["a", "empty", "index.html"]);

    let (code, _, err) = server.get(output.path(), &["a"], &[]);
    assert_eq!((code, err.contains("exists already")), (Some(1), true), "{err}");
    let (code, _, err) = server.get(output.path(), &["a"], &["--force"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = server.get(output.path(), &["none"], &[]);
    assert_eq!((code, err.contains("the server has no such file")), (Some(1), true), "{err}");
    let (code, _, err) = server.get(output.path(), &["../../etc/passwd", "none"], &[]);
    assert_eq!((code, err.contains("2 of 2 failed")), (Some(3), true), "{err}");
    assert_eq!(names(output.path()), ["a", "empty", "index.html"], "nothing half-written");
}

#[test]
fn uploads_are_taken_only_where_they_are_wanted() {
    let (site, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = files.path().join("photo");
    fs::write(&file, vec![7; 1_000_000]).unwrap();
    let upload = |server: &Server| server.get(files.path(), &[""], &["--upload", file.to_str().unwrap()]);
    let server = Server::start(site.path(), &["--writable"]);
    assert_eq!(upload(&server).0, Some(0));
    assert_eq!(fs::read(site.path().join("photo")).unwrap(), [7; 1_000_000]);
    let (code, _, err) = upload(&server);
    assert_eq!((code, err.contains("a file of that name already")), (Some(1), true), "{err}");
    let server = Server::start(site.path(), &[]);
    let (code, _, err) = upload(&server);
    assert_eq!((code, err.contains("takes no uploads")), (Some(1), true), "{err}");
    assert_eq!(names(site.path()), ["photo"]);
}

#[test]
fn faults_are_told_in_words_with_an_exit_code() {
    let (site, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(site.path().join("a"), b"a").unwrap();
    let server = Server::start(site.path(), &[]);
    let directory = output.path().to_str().unwrap();
    let url = server.url("a");
    let wrong = "00".repeat(32);
    let busy = format!("127.0.0.1:{}", server.port);
    let empty = output.path().join("empty");
    fs::write(&empty, b"").unwrap();
    let empty = empty.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["get", &url, "-o", directory, "--pin", &wrong], 1, "another fingerprint"),
        (&["get", &url, "-o", "/no/such", "--pin", &wrong], 1, "no such directory"),
        (&["get", "https://no.such.host.invalid/", "-o", directory, "--pin", &wrong], 1, "cannot find no.such.host"),
        (&["get", &url, "-o", directory, "--ca", empty], 1, "is empty"),
        (&["get", "ftp://x/"], 2, "is not a URL"),
        (&["serve", directory, "--listen", &busy], 1, "in use"),
        (&["serve", "/no/such/directory"], 1, "cannot serve /no/such/directory"),
        (&["serve", directory, "--cert", empty, "--key", empty], 1, "is empty"),
        (&["demo", "--size", "many"], 2, "is not a size"),
    ];
    for (arguments, code, part) in cases {
        let (actual, _, err) = run(tercel().args(arguments));
        assert_eq!(actual, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?} should say {part:?}, but says: {err}");
    }
    assert_eq!(names(output.path()), ["empty"]);
}

/// Many small files, a large one and a listing, by HTTP/3 over one connection each.
#[test]
fn a_web_site_is_fetched_by_http3() {
    let (site, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(site.path().join("deep")).unwrap();
    let large: Vec<u8> = (0..20_000_000u32).flat_map(|at| at.to_le_bytes()[..1].to_vec()).collect();
    fs::write(site.path().join("large"), &large).unwrap();
    let many: Vec<String> = (0..500).map(|at| format!("f{at}")).collect();
    for name in &many {
        fs::write(site.path().join(name), name).unwrap();
    }
    // The name that the option had before.
    let server = Server::start(site.path(), &["--uploads"]);
    let names: Vec<&str> = many.iter().map(String::as_str).chain(["large", "deep/"]).collect();
    let (code, out, err) = server.get(output.path(), &names, &["--parallel", "100"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("502 files"), "{out}");
    assert!(fs::read(output.path().join("large")).unwrap() == large);
    for name in &many {
        assert_eq!(fs::read_to_string(output.path().join(name)).unwrap(), *name);
    }
    assert!(fs::read_to_string(output.path().join("index.html")).unwrap().contains("<title>/deep/</title>"));
    // A directory without its slash is said to be elsewhere; a link out of the directory is not followed.
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/passwd", site.path().join("link")).unwrap();
    for (path, why) in [("deep", "it is at /deep/"), ("link", "may not read"), ("none", "no such file")] {
        let (code, _, err) = server.get(output.path(), &[path], &[]);
        assert_eq!((code, err.contains(why)), (Some(1), true), "{path}: {err}");
    }
    let (code, out, err) = run(tercel().args(["ping", &format!("localhost:{}", server.port), "--pin", &server.pin]));
    assert_eq!((code, out.contains("h3 (of h3")), (Some(0), true), "{err}{out}");
}

/// The page that tries the WebTransport echo pins the certificate that was made for it, if one was.
#[test]
fn the_page_of_the_webtransport_echo_is_there_if_wanted() {
    const PATH: &str = ".well-known/tercel/echo";
    let (site, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let page = |server: &Server, more: &[&str]| {
        let output = tempfile::tempdir().unwrap();
        let mut get = tercel();
        let (code, _, err) = run(get.arg("get").arg(server.url(PATH)).args(more).arg("-o").arg(output.path()));
        if code == Some(0) { Ok(fs::read_to_string(output.path().join("echo")).unwrap()) } else { Err(err) }
    };
    let server = Server::start(site.path(), &["--webtransport-echo"]);
    let hash = server.pin.replace(':', "");
    let text = page(&server, &["--pin", &server.pin]).unwrap();
    assert!(text.contains(&format!("const certificate = \"{hash}\"")), "{text}");
    // Browsers take a pinned certificate only if it is valid for 14 days at most.
    let (_, out, err) = run(tercel().args(["ping", &format!("localhost:{}", server.port), "--pin", &server.pin]));
    assert!(out.contains("from ") && !out.contains("4096"), "{err}{out}");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let more = ["--webtransport-echo", "--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let server = Server::start(site.path(), &more);
    let text = page(&server, &["--ca", cert.to_str().unwrap()]).unwrap();
    assert!(text.contains("const certificate = \"\""), "{text}");
    let server = Server::start(site.path(), &[]);
    let refused = page(&server, &["--pin", &server.pin]).unwrap_err();
    assert!(refused.contains("no such file"), "{refused}");
}

/// A certificate that is renewed is shown without a restart.
#[test]
fn certificates_are_renewed_while_the_server_runs() {
    let (site, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(site.path().join("a"), b"a").unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let renew = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::write(&cert, made.cert.pem()).unwrap();
        made.cert.pem()
    };
    renew();
    let server = Server::start(site.path(), &["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()]);
    let trusted = files.path().join("trusted.pem");
    fs::write(&trusted, renew()).unwrap();
    let begun = std::time::SystemTime::now();
    loop {
        let output = tempfile::tempdir().unwrap();
        let mut get = tercel();
        get.arg("get").arg(server.url("a")).arg("--ca").arg(&trusted).arg("-o").arg(output.path());
        if run(&mut get).0 == Some(0) {
            break;
        }
        assert!(begun.elapsed().unwrap().as_secs() < 20, "the new certificate is not shown");
    }
}

/// What the operating system trusts is judged by it, off the worker thread.
#[test]
fn the_system_judges_where_nothing_else_is_said() {
    let (site, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(site.path().join("a"), b"a").unwrap();
    let made = certificates::signed(output.path(), "a server", "localhost", 2040);
    let other = output.path().join("other.pem");
    fs::write(&other, rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem()).unwrap();
    let server = Server::start(site.path(), &made.arguments());
    let get = |roots: &Path| {
        let mut command = tercel();
        command.arg("get").arg(server.url("a")).arg("-o").arg(output.path()).env("SSL_CERT_FILE", roots);
        run(command.env_remove("SSL_CERT_DIR"))
    };
    let (code, _, err) = get(&other);
    assert_eq!((code, err.contains("no authority that you trust")), (Some(1), true), "{err}");
    let (code, _, err) = get(&made.authority);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(fs::read(output.path().join("a")).unwrap(), b"a");
}

#[test]
fn ping_tells_all_on_one_screen() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--retry"]);
    let host = format!("localhost:{}", server.port);
    let (code, out, err) = run(tercel().args(["ping", &host, "--pin", &server.pin]));
    assert_eq!(code, Some(0), "{err}{out}");
    for part in [
        "127.0.0.1",
        "certificate shown and proved",
        "confirmed by the server",
        "median of 5",
        "1 (it speaks 1",
        "h3 (of h3, hq-interop offered)",
        "TLS13_AES_256_GCM_SHA384, X25519MLKEM768",
        "for localhost",
        &server.pin,
        "alone in its chain, no OCSP response",
        "judgement     trusted",
        "idle timeout 30 s",
        "asked for proof of the address",
        "yes, with early data (0-RTT)",
        "works: from another port",
    ] {
        assert!(out.contains(part), "{part} is missing in:\n{out}");
    }
    assert!(out.lines().count() < 40, "more than one screen:\n{out}");
    // The certificate is judged, and the rest is told nevertheless.
    let wrong = "00:".repeat(31) + "00";
    let (code, out, err) = run(tercel().args(["ping", &host, "--pin", &wrong]));
    assert_eq!((code, err.contains("would not trust")), (Some(1), true), "{err}");
    assert!(out.contains("NOT TRUSTED: it has another fingerprint than the one pinned"), "{out}");
    assert!(out.contains("migration"), "{out}");
    let (code, _, err) = run(tercel().args(["ping", "nobody.invalid"]));
    assert_eq!((code, err.contains("cannot find nobody.invalid")), (Some(1), true), "{err}");
}

#[test]
fn keys_are_logged_where_asked() {
    let output = tempfile::tempdir().unwrap();
    let log = output.path().join("keys");
    let (code, _, err) = run(tercel().args(["demo", "--size", "1KiB"]).env("SSLKEYLOGFILE", &log));
    assert_eq!(code, Some(0), "{err}");
    let keys = fs::read_to_string(log).unwrap();
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"] {
        assert!(keys.contains(label), "{label} is missing");
    }
}

/// As when a script passes on what it was not given itself.
#[test]
fn an_empty_variable_is_none() {
    let here = tempfile::tempdir().unwrap();
    let mut demo = tercel();
    demo.args(["demo", "--size", "1KiB"]).env("QLOGDIR", "").env("SSLKEYLOGFILE", "").current_dir(here.path());
    let (code, _, err) = run(&mut demo);
    assert_eq!((code, err.contains("key")), (Some(0), false), "{err}");
    assert_eq!(names(here.path()), [""; 0]);
}

#[test]
fn help_teaches() {
    for arguments in [&["--help"][..], &["help", "demo"], &["help", "serve"], &["help", "get"]] {
        let (code, out, _) = run(tercel().args(arguments));
        assert_eq!(code, Some(0));
        assert!(out.contains("tercel") && out.len() > 400, "{out}");
    }
}

#[test]
fn every_shell_gets_completions() {
    for (shell, part) in [
        ("bash", "complete -F _tercel"),
        ("zsh", "#compdef tercel"),
        ("fish", "complete -c tercel"),
        ("elvish", "set edit:completion:arg-completer[tercel]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let (code, out, err) = run(tercel().args(["completions", shell]));
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(part) && out.contains("retry"), "{shell}: {out}");
    }
    let (code, _, err) = run(tercel().args(["completions", "csh"]));
    assert_eq!((code, err.contains("powershell")), (Some(2), true), "{err}");
}

/// What bash would offer for a line, by its own means.
#[test]
fn bash_completes_commands_options_and_values() {
    let offers = |words: &[&str]| {
        let script = format!(
            "source /dev/stdin; COMP_WORDS=({}); COMP_CWORD={}; _tercel tercel \"${{COMP_WORDS[COMP_CWORD]}}\" \
             \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &script]);
        let mut completions = tercel().args(["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
        bash.stdin(completions.stdout.take().unwrap());
        let (_, out, err) = run(&mut bash);
        assert!(completions.wait().unwrap().success(), "{err}");
        out.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offers(&["tercel", "pi"]), ["ping"]);
    assert_eq!(offers(&["tercel", "get", "--par"]), ["--parallel"]);
    assert_eq!(offers(&["tercel", "demo", "--verdict", "ac"]), ["accept"]);
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let (code, _, err) = run(tercel().arg("man").arg("--out").arg(&pages));
    assert_eq!(code, Some(0), "{err}");
    let names = names(&pages);
    for name in ["tercel.1", "tercel-demo.1", "tercel-get.1", "tercel-ping.1", "tercel-serve.1"] {
        assert!(names.iter().any(|page| page == name), "{name} is not in {names:?}");
    }
    assert!(!names.iter().any(|page| page.contains("help")), "{names:?}");
    let page = fs::read_to_string(pages.join("tercel-get.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("parallel"), "{page}");
    // The columns of an example stay as they are.
    assert!(page.contains(".nf\n  tercel get https://localhost:4433/a.txt"), "{page}");

    let (code, out, _) = run(tercel().arg("man"));
    assert_eq!((code, out), (Some(0), fs::read_to_string(pages.join("tercel.1")).unwrap()));
    let (code, _, err) = run(tercel().args(["man", "--out", "/dev/null/pages"]));
    assert_eq!((code, err.contains("cannot write to /dev/null/pages")), (Some(1), true), "{err}");
}

/// Every verdict meets every close, and both ends learn of the end at once.
#[test]
fn the_time_line_of_verdicts_and_closes() {
    for verdict in ["accept", "reject", "drop", "slow", "never"] {
        for close in [None, Some("before"), Some("after"), Some("race")] {
            // A verdict that never comes leaves nothing to close after.
            let mut command = tercel();
            command.args(["demo", "--verdict", verdict]);
            command.args(close.into_iter().flat_map(|close| ["--close", close]));
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{verdict} {close:?}: {text}");
            assert!(text.contains("a certificate to judge"), "{text}");
            let connected = text.matches("event: connected").count();
            match (verdict, close) {
                (_, Some("before")) | ("reject" | "drop" | "never", None | Some("after")) => {
                    assert_eq!(connected, 0, "{verdict} {close:?}: {text}");
                }
                ("accept" | "slow", None) => assert_eq!(connected, 2, "{text}"),
                // After a close the closing end does not hear of it.
                ("accept" | "slow", Some("after")) => assert!(connected >= 1, "{text}"),
                _ => assert!(connected <= 2),
            }
            let told = match (verdict, close) {
                (_, Some("before")) => "APPLICATION_ERROR",
                ("accept" | "slow", None | Some("after")) => "closed by the peer, code 42",
                ("reject", None | Some("after")) => "TLS alert 48",
                ("drop" | "never", None | Some("after")) => "TLS alert 46",
                _ => "closed by the peer",
            };
            assert!(text.contains(told), "{verdict} {close:?} should tell {told}: {text}");
        }
    }
}
