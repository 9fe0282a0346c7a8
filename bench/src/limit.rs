//! The limit on this machine: a sender that only encrypts packets and hands them to the system in
//! batches, and a receiver that only takes and decrypts them.

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::peer::MTU;

/// What was measured: nanoseconds for each packet.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub protect: f64,
    pub send: f64,
    pub receive: f64,
}

impl Limit {
    /// Gbit/s of a sender, or receiver, that does nothing else, whichever is slower.
    pub fn gigabits(&self) -> f64 {
        let slower = self.protect + self.send.max(self.receive);
        f64::from(MTU - 40) * 8.0 / slower
    }
}

const BATCH: usize = 44;
const TIME: Duration = Duration::from_millis(150);

fn per_packet(mut batch: impl FnMut() -> usize) -> f64 {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < TIME {
        count += batch();
    }
    begun.elapsed().as_nanos() as f64 / count.max(1) as f64
}

pub fn measure() -> Limit {
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key"));
    let mut packet = vec![0; usize::from(MTU)];
    let protect = per_packet(|| {
        for _ in 0..BATCH {
            let nonce = Nonce::assume_unique_for_key([1; 12]);
            let body = &mut packet[11..usize::from(MTU) - 16];
            let _ = key.seal_in_place_separate_tag(nonce, Aad::from([0; 11]), body);
        }
        BATCH
    });
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = receiver.local_addr().expect("an address");
    let _ = socket2::SockRef::from(&receiver).set_recv_buffer_size(4 << 20);
    let states = [&sender, &receiver].map(|socket| quinn_udp::UdpSocketState::new(socket.into()).expect("a socket"));
    receiver.set_nonblocking(true).expect("a socket");
    let contents = vec![0x5a; usize::from(MTU) * BATCH];
    let mut buffer = vec![0; 65_536 * 4];
    let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
    let (mut sent, mut received) = (0usize, 0usize);
    let begun = Instant::now();
    while begun.elapsed() < 2 * TIME {
        let at = Instant::now();
        for _ in 0..4 {
            let transmit = quinn_udp::Transmit {
                destination: to,
                ecn: None,
                contents: &contents,
                segment_size: Some(MTU.into()),
                src_ip: None,
            };
            if states[0].send((&sender).into(), &transmit).is_ok() {
                sent += BATCH;
            }
        }
        sending += at.elapsed();
        let at = Instant::now();
        loop {
            let mut parts: Vec<IoSliceMut<'_>> = buffer.chunks_mut(65_536).map(IoSliceMut::new).collect();
            let mut meta = [quinn_udp::RecvMeta::default(); 4];
            match states[1].recv((&receiver).into(), &mut parts, &mut meta) {
                Ok(count) if count > 0 => {
                    received += meta[..count].iter().map(|meta| meta.len / usize::from(MTU)).sum::<usize>();
                }
                _ => break,
            }
        }
        receiving += at.elapsed();
    }
    Limit {
        protect,
        send: sending.as_nanos() as f64 / sent.max(1) as f64,
        receive: receiving.as_nanos() as f64 / received.max(1) as f64,
    }
}
