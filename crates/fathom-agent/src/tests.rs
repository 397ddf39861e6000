use super::*;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn everything() -> AgentChange {
    AgentChange {
        trace: Some(false),
        depth: Some(3),
        threshold: Some(1_000_000_000_000),
        pattern: Some(Pattern::Glob),
        filters: vec!["main".into(), "!ns::f*".into()],
        callers: vec!["größe".into()],
        triggers: vec!["f@depth=1;g@clear".into()],
    }
}

/// A client and a server over a socket pair; what the server was handed, and how both ended.
fn exchange(
    change: &AgentChange,
    mut answer: impl FnMut(AgentChange) -> Result<(), i32> + Send,
) -> (Vec<AgentChange>, Result<(), ClientError>, Result<(), MessageError>) {
    let (mut here, there) = UnixStream::pair().unwrap();
    let mut seen = Vec::new();
    let (asked, served) = std::thread::scope(|scope| {
        let seen = &mut seen;
        let server = scope.spawn(move || {
            // The connection ends with the server.
            let mut there = there;
            serve(&mut there, &mut |change: AgentChange| {
                seen.push(change.clone());
                answer(change)
            })
        });
        let asked = talk(&mut here, change);
        drop(here);
        (asked, server.join().unwrap())
    });
    (seen, asked, served)
}

#[test]
fn changes_arrive_as_they_were_sent() {
    let (seen, asked, served) = exchange(&everything(), |_| Ok(()));
    assert_eq!(seen, [everything()]);
    assert!(asked.is_ok() && served.is_ok());
    let one = AgentChange { threshold: Some(0), ..AgentChange::default() };
    assert_eq!(exchange(&one, |_| Ok(())).0, [one]);
}

#[test]
fn no_change_is_none() {
    let (seen, asked, served) = exchange(&AgentChange::default(), |_| Err(1));
    assert!(seen.is_empty() && asked.is_ok() && served.is_ok());
}

#[test]
fn the_user_is_told_why_not() {
    let (_, asked, _) = exchange(&everything(), |_| Err(22));
    assert_eq!(
        asked.unwrap_err().to_string(),
        "the agent refuses the change: Invalid argument (os error 22)"
    );
    let nul = AgentChange { filters: vec!["a\0b".into()], ..everything() };
    let (seen, asked, _) = exchange(&nul, |_| Ok(()));
    assert_eq!(asked.unwrap_err().to_string(), "the agent refuses -F or -N: Invalid argument (os error 22)");
    assert!(seen.is_empty(), "half a change is none");
    let long = AgentChange { triggers: vec!["x".repeat(100_000)], ..AgentChange::default() };
    let (seen, asked, _) = exchange(&long, |_| Ok(()));
    assert_eq!(asked.unwrap_err().to_string(), "the agent refuses -T: Message too long (os error 90)");
    assert!(seen.is_empty());
}

/// An agent that says these bytes, whatever it hears.
fn agent_that_says(bytes: &[u8], change: &AgentChange) -> ClientError {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    there.write_all(bytes).unwrap();
    there.shutdown(std::net::Shutdown::Write).unwrap();
    here.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let error = talk(&mut here, change).unwrap_err();
    drop(there);
    error
}

#[test]
fn agents_that_know_less_or_something_else() {
    let text = |bytes: &[u8]| agent_that_says(bytes, &everything()).to_string();
    let old = Message::Ok(Some(3)).encode();
    assert_eq!(text(&old), "option not supported by the agent: 0x7c (-t, --match, -F or -N, -C, -T)");
    assert_eq!(
        text(&Message::Error(1).encode()),
        "the agent refuses to be asked: Operation not permitted (os error 1)"
    );
    assert_eq!(
        text(b"HTTP/1.1 200 OK\r\n"),
        "no proper answer from the agent: not a message of this protocol"
    );
    assert_eq!(text(&[]), "no proper answer from the agent: the connection was closed");
    assert_eq!(text(&Message::Close.encode()), "no proper answer from the agent: Close");
    // Over after the answers to everything but the end: as uftrace's agent does it.
    let mut terse = Message::Ok(Some(127)).encode();
    terse.extend((0..everything().settings().len()).flat_map(|_| Message::Ok(None).encode()));
    let (mut here, mut there) = UnixStream::pair().unwrap();
    there.write_all(&terse).unwrap();
    there.shutdown(std::net::Shutdown::Write).unwrap();
    talk(&mut here, &everything()).unwrap();
}

/// What a server answers to these bytes, and whether it was handed a change.
fn server_that_hears(bytes: &[u8]) -> (Vec<Message>, bool) {
    let (mut here, there) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let (mut there, mut changed) = (there, false);
            let _ = serve(&mut there, &mut |_| {
                changed = true;
                Ok(())
            });
            changed
        });
        let mut writer = here.try_clone().unwrap();
        scope.spawn(move || {
            let _ = writer.write_all(bytes).and_then(|()| writer.shutdown(std::net::Shutdown::Write));
        });
        let mut answers = Vec::new();
        while let Ok(answer) = Message::read(&mut here) {
            answers.push(answer);
        }
        (answers, server.join().unwrap())
    })
}

fn raw(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = 0xface_u16.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((body.len() as u32).to_ne_bytes());
    bytes.extend(body);
    bytes
}

fn option(bit: u32, value: &[u8]) -> Vec<u8> {
    raw(203, &[&bit.to_ne_bytes(), value].concat())
}

#[test]
fn bytes_of_the_protocol() {
    let set = Message::Set(Setting::Filter("!f".into())).encode();
    assert_eq!(set, option(16, b"!f\0"));
    assert_eq!(Message::Set(Setting::Trace(true)).encode(), option(1, &1u32.to_ne_bytes()));
    assert_eq!(Message::Set(Setting::Threshold(7)).encode(), option(4, &7u64.to_ne_bytes()));
    assert_eq!(Message::Ok(Some(127)).encode(), raw(204, &127u32.to_ne_bytes()));
    assert_eq!(Message::Close.encode(), raw(200, &[]));
}

#[test]
fn bad_settings_are_refused_and_the_rest_is_read() {
    let bad: [&[u8]; 14] = [
        &option(1, &2u32.to_ne_bytes()),
        &option(1, &[1]),
        &option(2, &0u32.to_ne_bytes()),
        &option(2, &u32::MAX.to_ne_bytes()),
        &option(4, &[0; 7]),
        &option(8, &4u32.to_ne_bytes()),
        &option(16, b"no end"),
        &option(16, b"two\0ends\0"),
        &option(16, b""),
        &option(32, b"\xff\0"),
        &option(3, &1u32.to_ne_bytes()),
        &option(128, b"x\0"),
        &raw(203, &[1, 0]),
        &raw(200, &[1]),
    ];
    for bytes in bad {
        let all = [bytes, &option(2, &5u32.to_ne_bytes()), &raw(200, &[])].concat();
        let (answers, changed) = server_that_hears(&all);
        assert_eq!(answers, [Message::Error(22), Message::Ok(None), Message::Error(22)], "{bytes:?}");
        assert!(!changed, "{bytes:?}");
    }
    for (kind, errno) in [(202, 95), (0, 95), (204, 22), (205, 22)] {
        let body: &[u8] = if kind == 205 { &[1, 0, 0, 0] } else { &[] };
        assert_eq!(server_that_hears(&raw(kind, body)).0, [Message::Error(errno)], "{kind}");
    }
}

#[test]
fn other_protocols_and_endless_messages_end_the_connection() {
    let mut huge = raw(203, &[]);
    huge[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(server_that_hears(&huge), (vec![Message::Error(90)], false));
    assert_eq!(server_that_hears(b"GET / HTTP/1.1\r\n"), (vec![Message::Error(71)], false));
    let swapped = raw(201, &[]).iter().rev().copied().collect::<Vec<_>>();
    assert_eq!(server_that_hears(&swapped), (vec![Message::Error(71)], false));
    let many: Vec<u8> = (0..1025).flat_map(|_| option(16, b"f\0")).chain(raw(200, &[])).collect();
    let (answers, changed) = server_that_hears(&many);
    assert_eq!(answers.iter().filter(|answer| **answer == Message::Error(90)).count(), 2);
    assert!(!changed);
}

#[test]
fn what_is_not_complete_changes_nothing() {
    let whole = [option(2, &5u32.to_ne_bytes()), raw(200, &[])].concat();
    for len in 0..whole.len() {
        assert!(!server_that_hears(&whole[..len]).1, "{len} bytes");
    }
    assert!(server_that_hears(&whole).1);
}

/// Runs a listener while `body` does something to it; returns the changes.
fn with_listener(dir: &Path, pid: i32, body: impl FnOnce(&Listener)) -> Vec<AgentChange> {
    let listener = Listener::bind(dir, pid).unwrap();
    let stop = AtomicBool::new(false);
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            listener.run(&stop, |change| {
                seen.lock().unwrap().push(change);
                Ok(())
            })
        });
        body(&listener);
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap().unwrap();
    });
    drop(listener);
    seen.into_inner().unwrap()
}

#[test]
fn many_bad_clients_do_not_keep_the_good_one_out() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("sockets");
    let started = Instant::now();
    let seen = with_listener(&place, 42, |listener| {
        for bytes in
            [&b"x"[..], b"", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 4096], &raw(203, &[0; 100]), &option(2, &[])]
        {
            for _ in 0..5 {
                let mut client = UnixStream::connect(listener.path()).unwrap();
                let _ = client.write_all(bytes);
            }
        }
        // One that connects and says nothing is waited for, but not for long.
        let silent = UnixStream::connect(listener.path()).unwrap();
        send(&place, 42, &everything()).unwrap();
        drop(silent);
    });
    assert_eq!(seen, [everything()]);
    assert!(started.elapsed() < Duration::from_secs(9));
    assert!(!place.join("42.socket").exists(), "removed");
}

#[test]
fn the_socket_is_the_users_only() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("sockets");
    with_listener(&place, 1, |listener| {
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&place), mode(listener.path())), (0o1777, 0o600));
        let error = Listener::bind(&place, 1).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "another one listens");
    });
    // What a killed recorder has left behind.
    let stale = socket_path(&place, 2);
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    with_listener(&place, 2, |_| ());
    let file = socket_path(&place, 3);
    std::fs::write(&file, "mine").unwrap();
    assert!(Listener::bind(&place, 3).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine", "only sockets are removed");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&place, &link).unwrap();
    assert!(Listener::bind(&link, 4).is_err());
}

#[test]
fn nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let error = send(dir.path(), 7, &everything()).unwrap_err().to_string();
    let path = dir.path().join("7.socket");
    assert_eq!(
        error,
        format!("cannot connect to socket '{}': No such file or directory (os error 2)", path.display())
    );
}

fn settings() -> impl Strategy<Value = Setting> {
    prop_oneof![
        any::<bool>().prop_map(Setting::Trace),
        (1..=i32::MAX as u32).prop_map(Setting::Depth),
        any::<u64>().prop_map(Setting::Threshold),
        prop_oneof![Just(Pattern::Simple), Just(Pattern::Regex), Just(Pattern::Glob)]
            .prop_map(Setting::Pattern),
        "[^\0]{0,40}".prop_map(Setting::Filter),
        "[^\0]{0,40}".prop_map(Setting::Caller),
        "[^\0]{0,40}".prop_map(Setting::Trigger),
    ]
}

proptest! {
    #[test]
    fn settings_survive_the_way(setting in settings()) {
        let message = Message::Set(setting);
        let bytes = message.encode();
        let mut input = bytes.as_slice();
        prop_assert_eq!(Message::read(&mut input).unwrap(), message);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut input = bytes.as_slice();
        let _ = Message::read(&mut input);
        let _ = Message::read(&mut raw(203, &bytes).as_slice());
    }

    #[test]
    fn whatever_a_client_says_it_gets_answers(messages in proptest::collection::vec(
        (195u16..210, proptest::collection::vec(any::<u8>(), 0..12)), 0..8)) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(kind, body)| raw(*kind, body)).collect();
        let (answers, _) = server_that_hears(&bytes);
        prop_assert!(answers.len() <= messages.len());
    }
}

#[test]
fn reading_takes_no_more_than_the_message() {
    let bytes = [Message::Query.encode(), Message::Close.encode()].concat();
    let mut input = bytes.as_slice();
    assert_eq!(Message::read(&mut input).unwrap(), Message::Query);
    assert_eq!(Message::read(&mut input).unwrap(), Message::Close);
    assert_eq!(input.read(&mut [0]).unwrap(), 0);
}
