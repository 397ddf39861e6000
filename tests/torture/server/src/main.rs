//! A server of tokio's and many clients of it: tasks that panic, that are cancelled and that block, timers, channels, panics that
//! are caught. What it prints does not depend on time.
//!
//! usage: server CLIENTS REQUESTS

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, broadcast, mpsc, oneshot};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How often something was dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Held<'a>(&'a str);

impl Drop for Held<'_> {
    #[inline(never)]
    fn drop(&mut self) {
        DROPPED.fetch_add(self.0.len() as u64, Ordering::Relaxed);
    }
}

#[inline(never)]
fn parse_number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[inline(never)]
fn sum_of(values: &[u64], start: Option<u64>) -> u64 {
    values.iter().fold(start.unwrap_or(1), |sum, value| sum.wrapping_mul(31).wrapping_add(*value))
}

#[inline(never)]
fn twice<T: Clone>(value: T) -> (T, T) {
    (value.clone(), value)
}

#[inline(never)]
fn divide(what: String, by: Option<u64>) -> u64 {
    let _held = Held("four");
    let by = by.expect("a number to divide by");
    what.len() as u64 * 1000 / by
}

/// Panics for some words: they unwind to here.
#[inline(never)]
fn careful(word: &str, by: Option<u64>) -> std::result::Result<u64, String> {
    let _held = Held("seven..");
    catch_unwind(AssertUnwindSafe(|| divide(word.to_owned(), by))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

type Store = Arc<Mutex<BTreeMap<String, u64>>>;

async fn answer(line: &str, store: &Store) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Ok(match words[..] {
        ["add", key, value] => {
            let value = parse_number(value).ok_or("no number")?;
            let mut store = store.lock().await;
            let sum = store.entry(key.to_owned()).or_default();
            *sum += value;
            "added".to_owned()
        }
        ["sum", ref rest @ ..] => {
            let values: Vec<u64> = rest.iter().filter_map(|word| parse_number(word)).collect();
            sum_of(&values, values.last().copied()).to_string()
        }
        ["divide", word, by] => match careful(word, parse_number(by)) {
            Ok(value) => twice(value).0.to_string(),
            Err(panic) => twice(panic).1,
        },
        ["sleep", ms] => {
            tokio::time::sleep(Duration::from_millis(parse_number(ms).unwrap_or(1))).await;
            "slept".to_owned()
        }
        ["block", count] => {
            let count = parse_number(count).unwrap_or(1);
            tokio::task::spawn_blocking(move || sum_of(&(0..count).collect::<Vec<_>>(), None)).await?.to_string()
        }
        _ => return Err(format!("what is {line}?").into()),
    })
}

async fn serve(stream: TcpStream, store: Store) -> Result<u64> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut served = 0;
    while let Some(line) = lines.next_line().await? {
        let reply = answer(&line, &store).await.unwrap_or_else(|error| format!("error: {error}"));
        write.write_all(format!("{reply}\n").as_bytes()).await?;
        served += 1;
    }
    Ok(served)
}

async fn listen(listener: TcpListener, store: Store, mut stop: oneshot::Receiver<()>) -> Result<u64> {
    let mut tasks = Vec::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            accepted = listener.accept() => tasks.push(tokio::spawn(serve(accepted?.0, store.clone()))),
        }
    }
    let mut served = 0;
    for task in tasks {
        served += task.await??;
    }
    Ok(served)
}

async fn client(at: std::net::SocketAddr, number: u64, requests: u64) -> Result<u64> {
    let (read, mut write) = TcpStream::connect(at).await?.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut sum = number;
    for i in 0..requests {
        let request = match (number + i) % 7 {
            0 => format!("sum {i} {number} x {}", i * number),
            1 => format!("divide word{i} {}", i % 3),
            2 => format!("divide word{i} nothing"),
            3 => format!("sleep {}", i % 2),
            4 => format!("block {}", i % 50),
            5 => format!("nonsense {i}"),
            _ => format!("add key{} {i}", i % 5),
        };
        write.write_all(format!("{request}\n").as_bytes()).await?;
        let reply = lines.next_line().await?.ok_or("the server is gone")?;
        sum = sum_of(&reply.bytes().map(u64::from).collect::<Vec<_>>(), Some(sum));
    }
    Ok(sum)
}

/// Tasks that panic, are cancelled, and hand things to each other.
async fn tasks() -> Result<String> {
    let panicked = tokio::spawn(async {
        let _held = Held("spawned");
        tokio::task::yield_now().await;
        divide("x".to_owned(), Some(0))
    });
    let panicked = panicked.await.err().is_some_and(|error| error.is_panic());
    let cancelled = tokio::spawn(std::future::pending::<()>());
    cancelled.abort();
    let cancelled = cancelled.await.err().is_some_and(|error| error.is_cancelled());
    let late = tokio::time::timeout(Duration::from_millis(3), std::future::pending::<()>()).await.is_err();
    let (send, mut receive) = mpsc::channel(4);
    let (tell, _) = broadcast::channel(64);
    let room = Arc::new(Semaphore::new(3));
    for i in 0..20u64 {
        let (send, mut told, room) = (send.clone(), tell.subscribe(), room.clone());
        tokio::spawn(async move {
            let first: u64 = told.recv().await.unwrap_or(0);
            let _permit = room.acquire().await;
            tokio::task::yield_now().await;
            let _ = send.send(first * i).await;
        });
    }
    drop(send);
    tell.send(3)?;
    let mut sum = 0;
    while let Some(value) = receive.recv().await {
        sum += value;
    }
    Ok(format!("panicked {panicked}, cancelled {cancelled}, late {late}, sum {sum}"))
}

async fn run(clients: u64, requests: u64) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let store = Store::default();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(listen(listener, store.clone(), stopped));
    let clients: Vec<_> = (0..clients).map(|number| tokio::spawn(client(at, number, requests))).collect();
    for client in clients {
        println!("{}", client.await??);
    }
    let _ = stop.send(());
    println!("served {}", server.await??);
    println!("{:?}", store.lock().await);
    println!("{}", tasks().await?);
    Ok(())
}

fn main() -> Result<()> {
    std::panic::set_hook(Box::new(|_| {}));
    let mut numbers = std::env::args().skip(1).filter_map(|word| parse_number(&word));
    let (clients, requests) = (numbers.next().unwrap_or(20), numbers.next().unwrap_or(50));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    runtime.block_on(run(clients, requests))?;
    drop(runtime);
    // A thread that panics, and one that does well.
    let panicked = std::thread::spawn(|| divide("y".to_owned(), None)).join().is_err();
    let well = std::thread::spawn(|| divide("yy".to_owned(), Some(2))).join().unwrap_or(0);
    println!("{panicked} {well}, dropped {}", DROPPED.load(Ordering::Relaxed));
    std::process::exit(6);
}
