//! Encrypted ClientHellos that a server reads: Caddy's, since rustls has no server side of it. `interop/ech/run`
//! installs it and runs this.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tercel::aio::{ConnectError, Connection, Endpoint};
use tercel::{CloseReason, Configuration, Connect, Ech, EchStatus, Settings, Trust};

/// A Caddy that serves `localhost` behind the public name `public.example`.
struct Caddy {
    process: Child,
    address: SocketAddr,
    trust: Trust,
    work: tempfile::TempDir,
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Caddy {
    fn start() -> Self {
        let program = std::env::var_os("TERCEL_CADDY").expect("TERCEL_CADDY names the program");
        let work = tempfile::tempdir().unwrap();
        let file = |name: &str, contents: String| {
            let path = work.path().join(name);
            std::fs::write(&path, contents).unwrap();
            path.display().to_string()
        };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "public.example".into()]).unwrap();
        let (certificate, key) = (file("cert", made.cert.pem()), file("key", made.signing_key.serialize_pem()));
        // A port that is free now.
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = address.port();
        let config = file(
            "Caddyfile",
            format!(
                "{{\n admin off\n skip_install_trust\n auto_https disable_redirects\n ech public.example\n \
                 servers {{\n protocols h1 h3\n }}\n}}\n\
                 https://localhost:{port}, https://public.example:{port} {{\n bind 127.0.0.1\n \
                 tls {certificate} {key}\n respond hello\n}}\n"
            ),
        );
        let process = run(&program, &config, work.path());
        let trust = Trust::roots([made.cert.der().clone()]).unwrap();
        Self { process, address, trust, work }
    }

    /// Its ECH configuration, as a list.
    fn ech(&self) -> Vec<u8> {
        let configs = self.work.path().join("caddy/ech/configs");
        let first = std::fs::read_dir(configs).unwrap().next().unwrap().unwrap().path();
        let config = std::fs::read(Path::new(&first).join("config.bin")).unwrap();
        [&(config.len() as u16).to_be_bytes()[..], &config].concat()
    }

    async fn connect(&self, endpoint: &Endpoint, ech: Ech) -> Result<Connection, ConnectError> {
        let client = Configuration::client(&["h3"], Settings::default(), self.trust.clone()).unwrap();
        let mut connect = Connect::new(self.address, "localhost");
        connect.ech = Some(ech);
        endpoint.connect_with(&client, connect).unwrap().await
    }
}

/// Starts it, and waits until it serves.
fn run(program: &OsStr, config: &str, work: &Path) -> Child {
    let mut process = Command::new(program)
        .args(["run", "--adapter", "caddyfile", "--config", config])
        .env("HOME", work)
        .env("XDG_DATA_HOME", work)
        .env("XDG_CONFIG_HOME", work)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("serving initial configuration")), "Caddy does not start");
    // What else it says must go somewhere.
    std::thread::spawn(move || log.for_each(drop));
    process
}

#[tokio::test]
#[ignore = "needs Caddy 2.10 or later: interop/ech/run"]
async fn a_server_reads_an_encrypted_hello_if_it_can() {
    let (caddy, endpoint) = (Caddy::start(), Endpoint::client().unwrap());
    let list = caddy.ech();
    let status = |connection: Connection| connection.handshake_info().unwrap().ech;
    let accepted = caddy.connect(&endpoint, Ech::Configs(list.clone().into())).await.unwrap();
    assert_eq!(status(accepted), EchStatus::Accepted);
    assert_eq!(status(caddy.connect(&endpoint, Ech::Grease).await.unwrap()), EchStatus::Grease);
    assert_eq!(status(caddy.connect(&endpoint, Ech::Off).await.unwrap()), EchStatus::NotOffered);
    // Out of date: another key, which the server does not have. Caddy does not say what would do better.
    let mut stale = list;
    let key = aws_lc_rs::agreement::PrivateKey::generate(&aws_lc_rs::agreement::X25519).unwrap();
    stale[11..43].copy_from_slice(key.compute_public_key().unwrap().as_ref());
    let rejected = caddy.connect(&endpoint, Ech::Configs(stale.into())).await.unwrap_err();
    let ConnectError::Connection(CloseReason::EchRejected { retry_configs }) = rejected else { panic!("{rejected}") };
    assert!(retry_configs.is_empty());
}
