//! Packets over `lo`.

use super::{Run, WorkloadError, cpus, failed};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Sends and receives UDP as fast as it goes, from more threads than there are CPUs.
pub(super) fn flood(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listening on lo"))?;
    let address = listener.local_addr().map_err(failed("listening on lo"))?;
    thread::scope(|scope| {
        scope.spawn(|| {
            if let Ok((mut stream, _)) = listener.accept() {
                let mut buffer = vec![0; 64 << 10];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
            }
        });
        for _ in 0..cpus() {
            scope.spawn(|| blast(run, begun));
        }
        let mut stream = TcpStream::connect(address).map_err(failed("connecting over lo"))?;
        let block = vec![0; 64 << 10];
        while run.goes_on(begun) {
            stream.write_all(&block).map_err(failed("sending over lo"))?;
        }
        Ok(())
    })
}

fn blast(run: &Run<'_>, begun: Instant) {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else { return };
    let Ok(address) = socket.local_addr() else { return };
    let block = [0; 1024];
    while run.goes_on(begun) {
        for _ in 0..64 {
            // A full buffer drops what comes: packets are wanted, not data.
            let _ = socket.send_to(&block, address);
        }
    }
}

/// Three pings, a tenth of a second apart, and more if there is time.
pub(super) fn ping(run: &Run<'_>) -> Result<(), WorkloadError> {
    let kind = |kind| rustix::net::socket(AddressFamily::INET, kind, Some(ipproto::ICMP));
    // The kind for all users is often not allowed, the raw one needs a privilege.
    let socket = kind(SocketType::RAW).or_else(|_| kind(SocketType::DGRAM)).map_err(|errno| {
        WorkloadError::Io { doing: "opening a socket for ICMP".to_owned(), source: errno.into() }
    })?;
    let timeout = rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(Duration::from_secs(1)),
    );
    timeout.map_err(|errno| failed("setting a time-out")(errno.into()))?;
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let begun = Instant::now();
    let mut sequence: u16 = 0;
    while sequence < 3 || (run.goes_on(begun) && sequence < 1000) {
        sequence += 1;
        let packet = echo_request(sequence);
        rustix::net::sendto(&socket, &packet, SendFlags::empty(), &to)
            .map_err(|errno| failed("sending a ping")(errno.into()))?;
        let mut answer = [0u8; 256];
        // A raw socket sees the request too; either is an answer here.
        let _ = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty());
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// An ICMP echo request with 56 bytes of data and its checksum (RFC 792).
fn echo_request(sequence: u16) -> [u8; 64] {
    let mut packet = [0x61; 64];
    packet[..2].copy_from_slice(&[8, 0]);
    packet[2..4].fill(0);
    packet[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    packet[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet
}

/// A TCP connection with data both ways, UDP, and ports that nobody listens on.
pub(super) fn traffic(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    loop {
        connection()?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("opening a UDP socket"))?;
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("opening a UDP socket"))?;
        let address = receiver.local_addr().map_err(failed("opening a UDP socket"))?;
        let mut buffer = [0; 512];
        for _ in 0..16 {
            socket.send_to(&[1; 512], address).map_err(failed("sending UDP"))?;
            receiver.recv(&mut buffer).map_err(failed("receiving UDP"))?;
        }
        // The port of a socket that is gone.
        drop(receiver);
        for _ in 0..4 {
            let _ = socket.send_to(&[1; 64], address);
        }
        let _ = TcpStream::connect(address);
        if !run.goes_on(begun) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn connection() -> Result<(), WorkloadError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listening on lo"))?;
    let address = listener.local_addr().map_err(failed("listening on lo"))?;
    thread::scope(|scope| {
        let server = scope.spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut buffer = vec![0; 16 << 10];
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..count.min(64)])?;
            }
        });
        let mut stream = TcpStream::connect(address).map_err(failed("connecting over lo"))?;
        for _ in 0..8 {
            stream.write_all(&[2; 8 << 10]).map_err(failed("sending over lo"))?;
            let mut answer = [0; 64];
            let _ = stream.read(&mut answer).map_err(failed("receiving over lo"))?;
        }
        drop(stream);
        // What the other end could not send any more is no matter.
        let _ = server.join();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_ping_is_right() {
        let packet = echo_request(7);
        let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff);
    }
}
