//! Tasks: signals, sleeping, waiting, system calls, programs that start.

use super::disk::Direct;
use super::{Run, WorkloadError, cpus, failed};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Disk reads, packets, timers.
pub(super) fn interrupts(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    let mut disk = Direct::open();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("opening a UDP socket"))?;
    let address = socket.local_addr().map_err(failed("opening a UDP socket"))?;
    while run.goes_on(begun) {
        if let Some(disk) = &mut disk {
            disk.read(4).map_err(failed("reading a disk"))?;
        }
        socket.send_to(&[0; 256], address).map_err(failed("sending UDP"))?;
        socket.recv(&mut [0; 256]).map_err(failed("receiving UDP"))?;
        thread::sleep(Duration::from_millis(3));
    }
    Ok(())
}

/// Sleeps that are ended by a timer, a thousand a second on every CPU.
pub(super) fn timers(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..cpus() {
            scope.spawn(|| {
                while run.goes_on(begun) {
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    Ok(())
}

/// Signals to a child: to a handler, to one that ignores it, twice while it is stopped, and one that ends it.
pub(super) fn signals(run: &Run<'_>) -> Result<(), WorkloadError> {
    let mut child =
        (run.child)("signals").stdout(Stdio::piped()).spawn().map_err(failed("starting a child"))?;
    let pid = Pid::from_child(&child);
    let mut ready = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut ready).map_err(failed("waiting for the child"))?;
    }
    let send = |signal| {
        kill_process(pid, signal).map_err(|errno| failed("sending a signal")(errno.into()))?;
        thread::sleep(Duration::from_millis(10));
        Ok::<(), WorkloadError>(())
    };
    let begun = Instant::now();
    loop {
        send(Signal::USR1)?;
        // Nobody handles it, and by default it is ignored.
        send(Signal::WINCH)?;
        send(Signal::STOP)?;
        send(Signal::USR1)?;
        send(Signal::USR1)?;
        send(Signal::CONT)?;
        if !run.goes_on(begun) {
            break;
        }
    }
    send(Signal::TERM)?;
    child.wait().map_err(failed("waiting for the child"))?;
    Ok(())
}

/// The child: handles USR1 and says when it is ready.
pub(super) fn signal_target() -> Result<(), WorkloadError> {
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, flag.clone())
        .map_err(failed("setting a handler"))?;
    println!("ready");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(5));
        flag.store(false, Ordering::Relaxed);
    }
    Ok(())
}

/// Twice as many threads as CPUs that compute, and one that sleeps often.
pub(super) fn threads(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..cpus() * 2 {
            scope.spawn(move || {
                let mut value = number as u64;
                while run.goes_on(begun) {
                    let until = Instant::now() + Duration::from_millis(5);
                    while Instant::now() < until {
                        value = std::hint::black_box(value.wrapping_mul(31).wrapping_add(7));
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        scope.spawn(|| {
            while run.goes_on(begun) {
                thread::sleep(Duration::from_millis(2));
            }
        });
    });
    Ok(())
}

/// Sleeping on a pipe, a timer, a lock, and a child.
pub(super) fn sleeps(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    let (mut reader, mut writer) = std::io::pipe().map_err(failed("making a pipe"))?;
    let pair = Arc::new((Mutex::new(0u64), Condvar::new()));
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            while reader.read(&mut byte).is_ok_and(|count| count > 0) {}
        });
        let waiter = pair.clone();
        scope.spawn(move || {
            let (lock, condition) = &*waiter;
            let Ok(mut count) = lock.lock() else { return };
            while *count != u64::MAX {
                count = match condition.wait(count) {
                    Ok(count) => count,
                    Err(_) => return,
                };
            }
        });
        let worked = loop {
            thread::sleep(Duration::from_millis(5));
            if let Err(error) = writer.write_all(b"x") {
                break Err(failed("writing to a pipe")(error));
            }
            add(&pair, 1);
            match (run.child)("sleep").status() {
                Ok(_) if run.goes_on(begun) => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(failed("starting a child")(error)),
            }
        };
        // Whatever happened, the threads must end.
        add(&pair, u64::MAX);
        drop(writer);
        worked
    })
}

fn add(pair: &(Mutex<u64>, Condvar), amount: u64) {
    if let Ok(mut count) = pair.0.lock() {
        *count = count.saturating_add(amount);
    }
    pair.1.notify_all();
}

/// Calls of several kinds, some of which fail.
pub(super) fn syscalls(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    loop {
        for name in
            ["/etc/hostname", "/proc/self/stat", "/proc/version", "/no/such/file", "/no/such/library.so"]
        {
            let _ = fs::read(name);
            let _ = fs::metadata(name);
        }
        if let Ok(mut null) = File::options().write(true).open("/dev/null") {
            for _ in 0..20 {
                let _ = null.write_all(b"nothing");
            }
        }
        thread::sleep(Duration::from_millis(1));
        if !run.goes_on(begun) {
            return Ok(());
        }
    }
}

/// Four threads that want one lock, each of which holds it for a while.
pub(super) fn futex(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    let lock = Mutex::new(0u64);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while run.goes_on(begun) {
                    if let Ok(mut held) = lock.lock() {
                        *held += 1;
                        // Asleep with the lock: the others have to wait for it.
                        thread::sleep(Duration::from_micros(300));
                    }
                    thread::yield_now();
                }
            });
        }
    });
    Ok(())
}

/// Files, pipes and sockets that are opened and closed; every tenth is kept to the end.
pub(super) fn allocations(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    let mut kept = Vec::new();
    for round in 0u64.. {
        let pipe = std::io::pipe().map_err(failed("making a pipe"))?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("opening a UDP socket"))?;
        let file = File::open("/proc/self/status").map_err(failed("opening a file"))?;
        if round % 10 == 0 && kept.len() < 100 {
            kept.push((pipe, socket, file));
        }
        if !run.goes_on(begun) {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    // Held until the trace is over, or it would be freed before.
    thread::sleep(Duration::from_millis(100));
    drop(kept);
    Ok(())
}

/// Starts itself, and programs that are not there.
pub(super) fn exec(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    loop {
        (run.child)("nothing").status().map_err(failed("starting a child"))?;
        let _ = Command::new("/no/such/program").status();
        if !run.goes_on(begun) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
