//! Downloads that are broken off and gone on with.
//!
//! `TERCEL_LARGE=5GiB cargo test --release -p tercel-cli --test integration resume -- --nocapture` has the large file as
//! large as it says; TERCEL_SEED repeats one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::common::web::{Piece, Pieces, Seen, Web};
use crate::common::{self, Kept, Server, SmallDisk, names, noise, run, tercel};
use bytes::Bytes;
use http::Response;

const TAG: &str = "\"one\"";

fn content() -> Bytes {
    noise(7, 3 << 20).into()
}

/// The whole, with a tag.
fn whole(tag: &str, data: &Bytes) -> http::response::Builder {
    Response::builder().header("etag", tag).header("content-length", data.len())
}

/// How much of the whole comes before it is broken off.
const SENT: usize = 5 << 19;

/// What is asked for in `request`'s range.
fn range(request: &Seen, tag: &str, data: &Bytes) -> Response<Pieces> {
    let from: usize = request.header("range").unwrap()["bytes=".len()..].trim_end_matches('-').parse().unwrap();
    let range = format!("bytes {from}-{}/{}", data.len() - 1, data.len());
    let response = Response::builder().status(206).header("etag", tag).header("content-range", range);
    response.body(Pieces::of(data.slice(from..))).unwrap()
}

/// How much of the file is there.
fn kept(output: &Path) -> u64 {
    fs::metadata(output.join("a.part")).map_or(0, |metadata| metadata.len())
}

/// Sends a part of the whole, and fails when something of it has been kept.
fn broken(data: &Bytes, output: &Path) -> Response<Pieces> {
    let output = output.to_owned();
    let is_kept = Piece::When(Arc::new(move || kept(&output) > 0));
    whole(TAG, data).body(Pieces::new([Piece::Data(data.slice(..SENT)), is_kept, Piece::Fail])).unwrap()
}

/// Sends a part of the whole, and nothing more.
fn stalled(data: &Bytes) -> Response<Pieces> {
    whole(TAG, data).body(Pieces::new([Piece::Data(data.slice(..SENT)), Piece::Stall])).unwrap()
}

fn get(web: &Web, output: &Path) -> (Option<i32>, String, String) {
    run(web.get("a", &["-w", "json", "-o"]).arg(output))
}

#[test]
fn the_rest_is_asked_for_if_it_is_still_the_same() {
    let data = content();
    let output = tempfile::tempdir().unwrap();
    let (sent, to) = (data.clone(), output.path().to_owned());
    let web = Web::new(move |request, before| match before {
        0 => broken(&sent, &to),
        _ => range(request, TAG, &sent),
    });
    let (code, _, err) = get(&web, output.path());
    assert_eq!((code, err.contains("the same command goes on from there")), (Some(1), true), "{err}");
    assert!(err.contains("H3_INTERNAL_ERROR"), "{err}");
    assert_eq!(names(output.path()), ["a.part", "a.part.json"]);
    let kept = fs::read(output.path().join("a.part")).unwrap();
    assert!(!kept.is_empty() && data.starts_with(&kept));
    let (code, _, err) = get(&web, output.path());
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains(&format!("\"resumed_at\":{}", kept.len())), "{err}");
    assert_eq!((names(output.path()), fs::read(output.path().join("a")).unwrap() == data), (vec!["a".into()], true));
    let seen = web.seen();
    assert_eq!((seen.len(), seen[0].header("range"), seen[0].header("if-range")), (2, None, None));
    assert_eq!(seen[1].header("range"), Some(format!("bytes={}-", kept.len()).as_str()));
    assert_eq!(seen[1].header("if-range"), Some(TAG));
}

/// Whatever is answered to the second request, the file is whole in the end, or nothing is spoilt.
#[test]
fn what_has_changed_is_begun_anew() {
    let (data, other) = (content(), Bytes::from(noise(8, 3 << 20)));
    type Second = fn(&Seen, &Bytes) -> Response<Pieces>;
    let wrong_range: Second = |_, other| {
        let range = format!("bytes 1-{}/{}", other.len() - 1, other.len());
        let response = Response::builder().status(206).header("content-range", range);
        response.body(Pieces::of(other.slice(1..))).unwrap()
    };
    let wrong_tag: Second = |request, other| range(request, "\"two\"", other);
    let unsatisfiable: Second = |_, other| {
        let range = format!("bytes */{}", other.len());
        Response::builder().status(416).header("content-range", range).body(Pieces::default()).unwrap()
    };
    let all: Second = |_, other| whole("\"two\"", other).body(Pieces::of(other.clone())).unwrap();
    for (second, requests) in [(all, 2), (unsatisfiable, 3), (wrong_range, 3), (wrong_tag, 3)] {
        let output = tempfile::tempdir().unwrap();
        let (first, then, to) = (data.clone(), other.clone(), output.path().to_owned());
        let web = Web::new(move |request, before| match before {
            0 => broken(&first, &to),
            1 => second(request, &then),
            _ => whole("\"two\"", &then).body(Pieces::of(then.clone())).unwrap(),
        });
        assert_eq!(get(&web, output.path()).0, Some(1));
        let (code, _, err) = get(&web, output.path());
        assert_eq!(code, Some(0), "{err}");
        assert!(err.contains("\"resumed_at\":0"), "{err}");
        assert!(fs::read(output.path().join("a")).unwrap() == other);
        assert_eq!((names(output.path()).len(), web.seen().len()), (1, requests));
    }
}

#[test]
fn what_no_validator_vouches_for_is_not_kept() {
    let data = content();
    for headers in [
        &[][..],
        &[("etag", "W/\"weak\"")],
        &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")],
    ] {
        let sent = data.clone();
        let web = Web::new(move |_, _| {
            let mut response = Response::builder().header("content-length", sent.len());
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(Pieces::new([Piece::Data(sent.slice(..SENT)), Piece::Fail])).unwrap()
        });
        let output = tempfile::tempdir().unwrap();
        let (code, _, err) = get(&web, output.path());
        assert_eq!((code, err.contains("goes on")), (Some(1), false), "{err}");
        assert_eq!(names(output.path()), [""; 0], "{headers:?}");
    }
    let web = Web::new(|_, _| {
        Response::builder().status(206).header("content-range", "bytes 0-0/2").body(Pieces::of("a")).unwrap()
    });
    let output = tempfile::tempdir().unwrap();
    let (code, _, err) = get(&web, output.path());
    assert_eq!((code, err.contains("a part that nobody asked for")), (Some(1), true), "{err}");
    assert_eq!(names(output.path()), [""; 0]);
}

/// A dated file of `tercel serve` itself, by its date and by its tag.
#[test]
fn both_ends_of_the_program_agree() {
    let (site, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = noise(9, 100_000);
    fs::write(site.path().join("a"), &data).unwrap();
    let server = Server::start(site.path(), &[]);
    let url = server.url("a");
    let tag =
        server.ask("a", &["-I"]).1.lines().find_map(|line| line.strip_prefix("etag: ").map(str::to_owned)).unwrap();
    for (validator, len, resumed_at) in [
        (tag.as_str(), 60_000, 60_000),
        (tag.as_str(), 100_000, 99_999),
        (tag.as_str(), 100_001, 0),
        ("\"another\"", 60_000, 0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 60_000, 0),
    ] {
        let mut part = data.clone();
        part.resize(len, 0);
        fs::write(output.path().join("a.part"), &part).unwrap();
        let notes = serde_json::json!({ "url": url, "validator": validator, "total": 100_000 });
        fs::write(output.path().join("a.part.json"), notes.to_string()).unwrap();
        let (code, _, err) = server.get(output.path(), &["a"], &["-w", "json", "--force"]);
        assert_eq!(code, Some(0), "{err}");
        assert!(err.contains(&format!("\"resumed_at\":{resumed_at},")), "{validator} {len}: {err}");
        assert_eq!(names(output.path()), ["a"]);
        assert!(fs::read(output.path().join("a")).unwrap() == data, "{validator} {len}");
    }
}

#[test]
fn a_server_that_stalls_is_given_up_and_the_part_is_kept() {
    let data = content();
    let sent = data.clone();
    let web = Web::new(move |request, before| match before {
        0 | 1 => stalled(&sent),
        _ => range(request, TAG, &sent),
    });
    for (more, code, part) in [
        (["--stall", "2s"], 1, "nothing moved for 2 s (see --stall)"),
        (["--timeout", "3s"], 1, "not done after 3 s (see --timeout)"),
    ] {
        let output = tempfile::tempdir().unwrap();
        let (given, _, err) = run(web.get("a", &more).arg("-o").arg(output.path()));
        assert_eq!((given, err.contains(part)), (Some(code), true), "{err}");
        assert!(err.contains("the same command goes on from there"), "{err}");
        assert_eq!(names(output.path()), ["a.part", "a.part.json"]);
        assert!(data.starts_with(&fs::read(output.path().join("a.part")).unwrap()));
    }
    let web = Web::raw(&["h3"], |connection| async move {
        // It says nothing at all.
        connection.closed().await;
    });
    let (code, _, err) = run(&mut web.get("a", &["--stall", "300ms", "-o", "-"]));
    assert_eq!((code, err.contains("the server has stalled")), (Some(1), true), "{err}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_can_be_gone_on_with() {
    let data = content();
    let sent = data.clone();
    let web = Web::new(move |request, before| match before {
        0 => stalled(&sent),
        _ => range(request, TAG, &sent),
    });
    let output = tempfile::tempdir().unwrap();
    let mut command = web.get("a", &["-o"]);
    command.arg(output.path()).stderr(std::process::Stdio::piped());
    let mut child = Kept(command.spawn().unwrap());
    let begun = Instant::now();
    while kept(output.path()) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing has come");
        std::thread::yield_now();
    }
    // A second run must not write the same file.
    let (code, _, err) = get(&web, output.path());
    assert_eq!((code, err.contains("another program is writing it")), (Some(1), true), "{err}");
    common::signal(&child.0, "-INT");
    let mut said = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.0.wait().unwrap().code(), said.contains("interrupted")), (Some(130), true), "{said}");
    assert!(said.contains("the same command goes on from there"), "{said}");
    let there = fs::read(output.path().join("a.part")).unwrap();
    assert!(!there.is_empty() && data.starts_with(&there));
    let (code, _, err) = get(&web, output.path());
    assert_eq!((code, err.contains(&format!("\"resumed_at\":{},", there.len()))), (Some(0), true), "{err}");
    assert!(fs::read(output.path().join("a")).unwrap() == data);
    assert_eq!(names(output.path()), ["a"]);
}

/// What does not fit is kept as far as it does.
#[test]
fn a_full_disk_spoils_nothing() {
    let Some(disk) = SmallDisk::new("2m") else { return };
    let site = tempfile::tempdir().unwrap();
    let data = noise(10, 4 << 20);
    fs::write(site.path().join("a"), &data).unwrap();
    let server = Server::start(site.path(), &[]);
    let to = disk.0.path();
    let (code, _, err) = server.get(to, &["a"], &[]);
    assert_eq!((code, err.contains("No space left")), (Some(1), true), "{err}");
    assert_eq!(names(to), ["a.part", "a.part.json"]);
    let kept = fs::read(to.join("a.part")).unwrap();
    assert!(kept.len() > 1 << 20 && data.starts_with(&kept));
    // Elsewhere there is room for all of it.
    let room = tempfile::tempdir().unwrap();
    for name in names(to) {
        fs::copy(to.join(&name), room.path().join(&name)).unwrap();
    }
    let (code, _, err) = server.get(room.path(), &["a"], &["-w", "json"]);
    assert_eq!((code, err.contains(&format!("\"resumed_at\":{}", kept.len()))), (Some(0), true), "{err}");
    assert!(fs::read(room.path().join("a")).unwrap() == data);
}

/// How large the large file is.
fn large() -> u64 {
    let text = std::env::var("TERCEL_LARGE").unwrap_or_else(|_| "64MiB".into());
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        unit => panic!("TERCEL_LARGE: {unit} is no unit"),
    };
    number.parse::<u64>().unwrap() << unit
}

/// Writes a file that does not repeat.
fn make(file: &Path, len: u64, seed: u64) {
    let mut out = fs::File::create(file).unwrap();
    // No two blocks are the same, so that none can be taken for another.
    let mut block = noise(seed, 1 << 20);
    for start in (0..len).step_by(block.len()) {
        block[..8].copy_from_slice(&start.to_be_bytes());
        let part = block.len().min(usize::try_from(len - start).unwrap());
        out.write_all(&block[..part]).unwrap();
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (fs::File::open(one).unwrap(), fs::File::open(other).unwrap());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let len = one.read(&mut left).unwrap();
        if len == 0 {
            return other.read(&mut right).unwrap() == 0;
        }
        if other.read_exact(&mut right[..len]).is_err() || left[..len] != right[..len] {
            return false;
        }
    }
}

/// A server of the large file, and who fetches it.
struct Large {
    site: tempfile::TempDir,
    output: tempfile::TempDir,
    certificate: common::certificates::Signed,
    server: Server,
    begun: Instant,
    _files: tempfile::TempDir,
}

impl Large {
    fn new(len: u64, seed: u64) -> Self {
        let (site, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(&site.path().join("large"), len, seed);
        let certificate = common::certificates::signed(files.path(), "a server", "localhost", 2040);
        let server = Server::start(site.path(), &certificate.arguments());
        let (output, begun) = (tempfile::tempdir().unwrap(), Instant::now());
        Self { site, output, certificate, server, begun, _files: files }
    }

    /// A download under way.
    fn begin(&self) -> Kept {
        let mut get = tercel();
        get.arg("get").arg(self.server.url("large")).arg("--ca").arg(&self.certificate.authority);
        get.args(["-w", "json", "--stall", "10s", "-o"]).arg(self.output.path());
        Kept(get.stderr(std::process::Stdio::piped()).spawn().unwrap())
    }

    /// Waits until so much has come, or all; gives how much that is by then.
    fn wait_for(&self, len: u64, child: &mut Kept) -> u64 {
        loop {
            let there = fs::metadata(self.output.path().join("large.part")).map_or(0, |metadata| metadata.len());
            if there >= len || child.0.try_wait().unwrap().is_some() {
                return there;
            }
            std::thread::yield_now();
        }
    }

    /// A download that was whole before anybody was killed is begun again; tells whether it was.
    fn was_whole(&self) -> bool {
        let whole = self.output.path().join("large");
        let was = whole.exists();
        if was {
            println!("{:?}: whole too early, begun anew", self.begun.elapsed());
            fs::remove_file(whole).unwrap();
        }
        was
    }

    fn kill_client_at(&self, place: u64) {
        loop {
            let mut client = self.begin();
            let there = self.wait_for(place, &mut client);
            client.0.kill().unwrap();
            client.0.wait().unwrap();
            if !self.was_whole() {
                println!("{:?}: the client is killed, {there} bytes are there (wanted {place})", self.begun.elapsed());
                return assert_eq!(names(self.output.path()), ["large.part", "large.part.json"]);
            }
        }
    }

    fn kill_server_at(&mut self, place: u64) {
        loop {
            let mut client = self.begin();
            let there = self.wait_for(place, &mut client);
            let at = format!("127.0.0.1:{}", self.server.port);
            self.server.child.0.kill().unwrap();
            self.server.child.0.wait().unwrap();
            println!("{:?}: the server is killed, {there} bytes are there (wanted {place})", self.begun.elapsed());
            self.server = Server::start_at(&at, self.site.path(), &self.certificate.arguments());
            let mut said = String::new();
            client.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            let code = client.0.wait().unwrap().code();
            if !self.was_whole() {
                assert_eq!((code, said.contains("goes on from there")), (Some(1), true), "{said}");
                let told = said.lines().last().unwrap_or_default();
                return println!("{:?}: the client has noticed: {told}", self.begun.elapsed());
            }
        }
    }
}

/// The client is killed twice, and then the server, at random places; in the end the file is whole.
#[test]
fn a_large_file_survives_the_death_of_both_ends() {
    let seed = std::env::var("TERCEL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    let len = large();
    println!("{len} bytes; repeat with TERCEL_SEED={seed}");
    // One place in each of the first three quarters.
    let bytes = noise(seed, 24);
    let places = [0, 1, 2].map(|at: usize| {
        let random = u64::from_le_bytes(bytes[at * 8..][..8].try_into().unwrap());
        (at as u64 * len / 4 + random % (len / 4)).max(1)
    });
    let mut large = Large::new(len, seed);
    large.kill_client_at(places[0]);
    large.kill_client_at(places[1]);
    large.kill_server_at(places[2]);
    let mut client = large.begin();
    let mut said = String::new();
    client.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(client.0.wait().unwrap().code(), Some(0), "{said}");
    println!("{:?}: whole; {said}", large.begun.elapsed());
    assert!(!said.contains("\"resumed_at\":0,"), "{said}");
    assert_eq!(names(large.output.path()), ["large"]);
    let (source, copy) = (large.site.path().join("large"), large.output.path().join("large"));
    assert!(is_same(&source, &copy), "the file is not the same; TERCEL_SEED={seed}");
}
