//! Senders and the receiver over the loopback device: many at once, hostile ones, connections that break.

use fathom_net::{Limits, NetError, Outcome, Server, ServerOptions, Target, Token, send};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TOKEN: &[u8] = b"a token for tests of the network";

/// Runs a receiver into `dir` while `with` runs; gives what it said.
fn receiving<T>(
    dir: &Path,
    limits: Limits,
    token: bool,
    with: impl FnOnce(SocketAddr) -> T,
) -> (T, Vec<String>) {
    let token = token.then(|| Token::new(TOKEN).unwrap());
    let options = ServerOptions { address: "127.0.0.1:0".into(), dir: dir.to_path_buf(), limits, token };
    let server = Server::bind(options).unwrap();
    let address = server.address().unwrap();
    let (stop, said) = (AtomicBool::new(false), std::sync::Mutex::new(Vec::new()));
    let result = thread::scope(|scope| {
        scope.spawn(|| server.run(&stop, &|event| said.lock().unwrap().push(format!("{event:?}"))).unwrap());
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| with(address)));
        stop.store(true, Ordering::Relaxed);
        result
    });
    match result {
        Ok(result) => (result, said.into_inner().unwrap()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn target(address: SocketAddr, token: bool, name: &str) -> Target {
    Target {
        address: address.to_string(),
        token: token.then(|| Token::new(TOKEN).unwrap()),
        name: name.to_owned(),
        patience: Duration::from_secs(20),
        stop: Arc::default(),
    }
}

/// Something like a recording.
fn recording(dir: &Path, seed: u64) {
    fs::create_dir_all(dir).unwrap();
    let mut state = seed + 1;
    let mut noise = |len: usize| -> Vec<u8> {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) as u8
        };
        (0..len).map(|_| next()).collect()
    };
    let info = fathom_store::Info::default().to_bytes();
    let files: [(&str, Vec<u8>); 8] = [
        ("task.txt", format!("SESS of {seed}\n").into_bytes()),
        ("info", info),
        ("1.dat", noise(300_000)),
        ("2.dat", noise(5)),
        ("perf-cpu0.dat", noise(70_000)),
        ("sid-1.map", b"map\n".to_vec()),
        ("libc.so.6.sym", noise(90_000)),
        ("default.opts", b"-t 5us\n".to_vec()),
    ];
    for (name, content) in files {
        fs::write(dir.join(name), content).unwrap();
    }
}

/// The files of a directory that are not hidden.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn fifty_senders_at_once() {
    for token in [false, true] {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((), said) = receiving(there.path(), Limits::default(), token, |address| {
            thread::scope(|scope| {
                for number in 0..50 {
                    let dir = here.path().join(number.to_string());
                    scope.spawn(move || {
                        recording(&dir, number);
                        let sent: Outcome = send(&dir, &target(address, token, "same.data")).unwrap();
                        assert!(sent.bytes > 460_000);
                    });
                }
            });
        });
        assert_eq!(said.iter().filter(|event| event.starts_with("Complete")).count(), 50, "{said:?}");
        let received: Vec<_> =
            names(there.path()).iter().map(|name| files(&there.path().join(name))).collect();
        assert_eq!(received.len(), 50);
        for number in 0..50 {
            let sent = files(&here.path().join(number.to_string()));
            assert!(received.contains(&sent), "sender {number}, token {token}");
        }
    }
}

#[test]
fn names_stay_inside() {
    let there = tempfile::tempdir().unwrap();
    let root = there.path().join("a/b/c");
    let long = "n".repeat(10_000);
    let names_given = ["../../x", "/etc/x", "a\0b", &long, "..", "", ".hidden", "x/../../../../y"];
    for token in [false, true] {
        let here = tempfile::tempdir().unwrap();
        recording(here.path(), 1);
        receiving(&root, Limits::default(), token, |address| {
            for name in names_given {
                send(here.path(), &target(address, token, name)).unwrap();
            }
        });
    }
    assert_eq!(names(there.path()), ["a"]);
    assert_eq!(names(&there.path().join("a/b")), ["c"]);
    let made = names(&root);
    assert_eq!(made.len(), names_given.len() * 2, "{made:?}");
    assert!(made.contains(&"x".to_owned()) && made.contains(&"etc_x".to_owned()), "{made:?}");
}

#[test]
fn a_lost_connection_leaves_what_has_come() {
    use fathom_net::wire::{Kind, message};
    use fathom_store::Trace;
    let there = tempfile::tempdir().unwrap();
    let word = fathom_store::record::encode(fathom_store::Kind::Entry, 0, 0x1234);
    let record = fathom_store::record::encode_bytes(77, word);
    let (_, said) = receiving(there.path(), Limits::default(), false, |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&message(Kind::DirName, &[b"x"])).unwrap();
        stream.write_all(&message(Kind::Data, &[&5i32.to_be_bytes(), &record])).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // The receiver breaks the connection, so that the sender knows.
        let mut rest = [0; 1];
        assert!(stream.read(&mut rest).is_err());
    });
    assert!(said.iter().any(|event| event.starts_with("Ended")), "{said:?}");
    let trace =
        fathom_store::directory::Directory::open(&there.path().join("x"), Default::default()).unwrap();
    assert_eq!(trace.tasks()[0].tid, 5);
}

#[test]
fn limits_hold() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    recording(here.path(), 1);
    for token in [false, true] {
        let limits = Limits { size: 1000, senders: 1, idle: Duration::from_millis(600) };
        receiving(there.path(), limits, token, |address| {
            let error = send(here.path(), &target(address, token, "x")).unwrap_err();
            if token {
                assert!(
                    matches!(&error, NetError::Refused(why) if why.contains("more than 1000")),
                    "{error}"
                );
            }
            // A slot that is taken.
            let silent = TcpStream::connect(address).unwrap();
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(5) {
                let mut other = TcpStream::connect(address).unwrap();
                other.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                if !matches!(other.read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
                {
                    break;
                }
            }
            assert!(started.elapsed() < Duration::from_secs(5), "the second sender was not turned away");
            drop(silent);
        });
    }
    // One that says nothing after its name.
    let limits = Limits { idle: Duration::from_millis(600), ..Limits::default() };
    receiving(there.path(), limits, false, |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&fathom_net::wire::message(fathom_net::wire::Kind::DirName, &[b"x"])).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let started = Instant::now();
        assert!(stream.read(&mut [0; 1]).is_err());
        assert!(started.elapsed() < Duration::from_secs(8));
    });
}

#[test]
fn tokens_have_to_be_the_same() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    recording(here.path(), 1);
    receiving(there.path(), Limits::default(), true, |address| {
        let other = Token::new(b"some other token of somebody").unwrap();
        let wrong = Target { token: Some(other), ..target(address, true, "x") };
        assert!(matches!(send(here.path(), &wrong), Err(NetError::Token | NetError::Broken(_))));
        assert!(send(here.path(), &target(address, false, "x")).is_err());
    });
    receiving(there.path(), Limits::default(), false, |address| {
        let short = Target { patience: Duration::ZERO, ..target(address, true, "x") };
        assert!(send(here.path(), &short).is_err());
    });
    assert_eq!(names(there.path()), Vec::<String>::new());
}

/// Passes bytes on and cuts connections at random.
fn cutting_proxy(to: SocketAddr, stop: Arc<AtomicBool>, cuts: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut seed = 0x1234_5678_9abc_def1u64;
        for client in listener.incoming() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let (client, server) = (client.unwrap(), TcpStream::connect(to).unwrap());
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // The last ones get through.
            let budget = if cuts.load(Ordering::Relaxed) < 40 { seed % 300_000 } else { u64::MAX };
            let budget = Arc::new(AtomicU64::new(budget));
            for (mut from, mut into) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                let (budget, cuts) = (Arc::clone(&budget), Arc::clone(&cuts));
                thread::spawn(move || {
                    let mut buffer = [0; 1500];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        let left = budget.load(Ordering::Relaxed);
                        let now = (count as u64).min(left);
                        budget.store(left - now, Ordering::Relaxed);
                        let written = into.write_all(&buffer[..now as usize]);
                        if written.is_err() || now < count as u64 {
                            cuts.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                    }
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = into.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

#[test]
fn nothing_is_lost_when_connections_break() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = here.path().join("spool");
    recording(&dir, 9);
    let mut more = fs::read(dir.join("1.dat")).unwrap().repeat(10);
    more.extend(fs::read(dir.join("libc.so.6.sym")).unwrap());
    fs::write(dir.join("2.dat"), more).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let cuts = Arc::new(AtomicU64::new(0));
    let (outcome, _) = receiving(there.path(), Limits::default(), true, |address| {
        let proxy = cutting_proxy(address, Arc::clone(&stop), Arc::clone(&cuts));
        let mut last = None;
        // The very first connection has to succeed before a sender goes on by itself.
        for _ in 0..60 {
            match send(&dir, &target(proxy, true, "x")) {
                Ok(outcome) => {
                    last = Some(outcome);
                    break;
                }
                Err(error) => assert!(!matches!(error, NetError::Refused(_)), "{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        last.expect("it was never sent")
    });
    assert!(cuts.load(Ordering::Relaxed) >= 10, "{outcome:?}");
    assert_eq!(names(there.path()), ["x"]);
    assert_eq!(files(&there.path().join("x")), files(&dir));
}

#[test]
fn a_receiver_that_was_stopped_goes_on() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = here.path().join("spool");
    recording(&dir, 3);
    let stop = Arc::new(AtomicBool::new(false));
    let cuts = Arc::new(AtomicU64::new(0));
    receiving(there.path(), Limits::default(), true, |address| {
        let proxy = cutting_proxy(address, Arc::clone(&stop), Arc::clone(&cuts));
        let hasty = Target { patience: Duration::ZERO, ..target(proxy, true, "x") };
        // Until a part has come and the connection broke.
        while send(&dir, &hasty).is_ok() || cuts.load(Ordering::Relaxed) < 3 {}
        stop.store(true, Ordering::Relaxed);
    });
    receiving(there.path(), Limits::default(), true, |address| {
        send(&dir, &target(address, true, "another name")).unwrap();
    });
    assert!(!names(there.path()).iter().any(|name| name.contains("another")), "{:?}", names(there.path()));
    for name in names(there.path()) {
        assert_eq!(files(&there.path().join(&name)), files(&dir), "{name}");
    }
}

#[test]
fn recordings_are_sent_while_they_are_made() {
    for token in [false, true] {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = here.path().join("growing");
        receiving(there.path(), Limits::default(), token, |address| {
            let sender = fathom_net::Sender::start(&dir, target(address, token, "x")).unwrap();
            recording(&dir, 4);
            for _ in 0..20 {
                let mut file = fs::File::options().append(true).open(dir.join("1.dat")).unwrap();
                file.write_all(&[7; 10_000]).unwrap();
                thread::sleep(Duration::from_millis(15));
            }
            // It is there before the end.
            let started = Instant::now();
            let come = || fs::metadata(there.path().join("x/1.dat")).map_or(0, |data| data.len());
            while come() < 500_000 && started.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(come(), 500_000);
            sender.finish().unwrap();
        });
        assert_eq!(files(&there.path().join("x")), files(&dir), "token {token}");
    }
}

#[test]
fn a_sender_can_be_stopped_whatever_the_receiver_does() {
    let here = tempfile::tempdir().unwrap();
    let dir = here.path().join("spool");
    recording(&dir, 6);
    // More than the system takes for a receiver that does not.
    fs::write(dir.join("2.dat"), vec![7; 64 << 20]).unwrap();
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target(deaf.local_addr().unwrap(), false, "x");
    let stop = Arc::clone(&target.stop);
    let sender = fathom_net::Sender::start(&dir, target).unwrap();
    let (_connection, _) = deaf.accept().unwrap();
    let stopper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        Instant::now()
    });
    assert!(matches!(sender.finish(), Err(NetError::Stopped)));
    let stopped = stopper.join().unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());
}

#[test]
fn noise_does_no_harm() {
    let there = tempfile::tempdir().unwrap();
    for token in [false, true] {
        receiving(there.path(), Limits { size: 1 << 20, ..Limits::default() }, token, |address| {
            let mut seed = 99u64;
            let mut next = || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed
            };
            for round in 0..300 {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut bytes = Vec::new();
                if token {
                    bytes.extend(fathom_net::token::HELLO);
                } else {
                    bytes.extend(fathom_net::wire::message(fathom_net::wire::Kind::DirName, &[b"noise"]));
                }
                for _ in 0..next() % 40 {
                    if round % 2 == 0 {
                        bytes.extend([0xfa, 0xce, 0, 100 + (next() % 9) as u8, 0, 0, 0, (next() % 64) as u8]);
                    }
                    bytes.extend(next().to_le_bytes());
                }
                let _ = stream.write_all(&bytes);
            }
        });
    }
    for name in names(there.path()) {
        assert!(name.starts_with("noise"), "{name}");
    }
}
