//! What each end sees, as pcap files: `client.pcap` and `server.pcap`. Addresses are made up, so that a
//! connection's packets look alike whatever path they take: clients are at 10.0.1.1 with the port that
//! they have, the server at 10.0.2.1:443. The identification of the IPv4 header is the path: the number
//! of the front in its upper byte, that of the back in its lower byte.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Toward;
use crate::nat::Way;
use crate::socket::Datagram;

/// Whose view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

const CLIENT: [u8; 4] = [10, 0, 1, 1];
const SERVER: [u8; 4] = [10, 0, 2, 1];

/// LINKTYPE_RAW: packets begin with their IP header.
const RAW: u32 = 101;

/// Both files.
pub struct Trace {
    client: BufWriter<File>,
    server: BufWriter<File>,
    began: (Instant, SystemTime),
}

impl Trace {
    /// Begins both in this directory.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn create(directory: &Path) -> std::io::Result<Self> {
        let file = |name: &str| -> std::io::Result<BufWriter<File>> {
            let mut file = BufWriter::new(File::create(directory.join(name))?);
            // Magic number, version 2.4, no time zone, no accuracy, longest packet, kind of link.
            file.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
            file.write_all(&[2, 0, 4, 0])?;
            file.write_all(&[0; 8])?;
            file.write_all(&0x1_0000_u32.to_le_bytes())?;
            file.write_all(&RAW.to_le_bytes())?;
            Ok(file)
        };
        Ok(Self {
            client: file("client.pcap")?,
            server: file("server.pcap")?,
            began: (Instant::now(), SystemTime::now()),
        })
    }

    /// One side sends or receives a datagram. A disk that is full shows in the checks.
    pub fn record(&mut self, side: Side, toward: Toward, way: &Way, datagram: &Datagram, now: Instant) {
        let time = (self.began.1 + now.duration_since(self.began.0)).duration_since(UNIX_EPOCH).unwrap_or_default();
        let file = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let _ = write(file, time.as_secs() as u32, time.subsec_micros(), &packet(toward, way, datagram));
    }

    /// Ends both.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.client.flush()?;
        self.server.flush()
    }
}

fn write(file: &mut BufWriter<File>, seconds: u32, micros: u32, packet: &[u8]) -> std::io::Result<()> {
    let length = packet.len() as u32;
    for word in [seconds, micros, length, length] {
        file.write_all(&word.to_le_bytes())?;
    }
    file.write_all(packet)
}

/// The datagram with headers of IPv4 and UDP.
fn packet(toward: Toward, way: &Way, datagram: &Datagram) -> Vec<u8> {
    let (client, server) = ((CLIENT, way.client.port()), (SERVER, 443_u16));
    let (from, to) = match toward {
        Toward::Server => (client, server),
        Toward::Client => (server, client),
    };
    let udp = (8 + datagram.data.len()) as u16;
    let mut header = [0; 20];
    header[0] = 0x45;
    header[1] = datagram.ecn.map_or(0, |mark| mark as u8);
    header[2..4].copy_from_slice(&(20 + udp).to_be_bytes());
    header[4..6].copy_from_slice(&((way.front << 8 | way.back & 0xff) as u16).to_be_bytes());
    header[8] = 64;
    header[9] = 17;
    header[12..16].copy_from_slice(&from.0);
    header[16..20].copy_from_slice(&to.0);
    let mut packet = header.to_vec();
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend(udp.to_be_bytes());
    packet.extend([0; 2]);
    packet.extend(&datagram.data);
    packet
}
