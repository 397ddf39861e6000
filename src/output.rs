//! Standard output: a pager in front of the terminal, and whether to colour.

use crate::args::Color;
use crate::messages::Log;
use signal_hook::consts::SIGINT;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a pager has been started.
static PAGING: AtomicBool = AtomicBool::new(false);

/// Whether the terminal is a pager's, and Ctrl-C with it.
pub(crate) fn paging() -> bool {
    PAGING.load(Ordering::Relaxed)
}

/// Where the output of a command goes.
#[derive(Debug)]
pub(crate) struct Output {
    /// None once it is closed.
    sink: Option<BufWriter<File>>,
    pager: Option<Child>,
}

impl Output {
    /// Standard output, behind a pager if `paged` and it is a terminal.
    pub(crate) fn open(paged: bool, log: &Log) -> io::Result<Output> {
        if paged
            && io::stdout().is_terminal()
            && let Some(command) = pager_command()
        {
            match start(&command) {
                Ok(output) => return Ok(output),
                Err(error) => log.warn(&format!("cannot start the pager '{command}': {error}")),
            }
        }
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Output { sink: Some(BufWriter::with_capacity(64 * 1024, stdout)), pager: None })
    }

    /// Writes what is left and waits until the user has seen enough.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.close()
    }

    /// Puts the pager, if there is one, in the place of standard output, for those who write there by themselves.
    pub(crate) fn in_place(self) -> io::Result<InPlace> {
        let mut before = None;
        if let (Some(_), Some(sink)) = (&self.pager, &self.sink) {
            before = Some(io::stdout().as_fd().try_clone_to_owned()?);
            rustix::stdio::dup2_stdout(sink.get_ref())?;
        }
        Ok(InPlace { output: self, before })
    }

    fn close(&mut self) -> io::Result<()> {
        let written = match self.sink.take() {
            Some(mut sink) => sink.flush(),
            None => Ok(()),
        };
        if let Some(mut pager) = self.pager.take() {
            pager.wait()?;
        }
        written
    }
}

/// An output that is standard output for the time being.
#[derive(Debug)]
pub(crate) struct InPlace {
    output: Output,
    before: Option<std::os::fd::OwnedFd>,
}

impl InPlace {
    /// Waits until the user has seen enough.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.restore()?;
        self.output.close()
    }

    /// The pager sees the end only when nobody can write any more.
    fn restore(&mut self) -> io::Result<()> {
        match self.before.take() {
            Some(before) => Ok(rustix::stdio::dup2_stdout(before)?),
            None => Ok(()),
        }
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        // Reached when a command failed; that error is the one to show.
        let _ = self.restore();
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Reached when a command failed; that error is the one to show.
        let _ = self.close();
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Some(sink) => sink.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// The pager's command line; none when the user wants none or there is none.
fn pager_command() -> Option<String> {
    if let Ok(pager) = std::env::var("PAGER") {
        return (!pager.trim().is_empty() && pager.trim() != "cat").then_some(pager);
    }
    ["/usr/bin/pager", "/usr/bin/less"].iter().find(|path| Path::new(path).exists()).map(|p| (*p).to_owned())
}

/// Whether the shell will find the pager; what it cannot find would swallow the output.
fn exists(command: &str) -> bool {
    let Some(program) = command.split_whitespace().next() else { return false };
    if program.contains(|c: char| "'\"\\$`=(){};&|<>*?[]~#".contains(c)) {
        // More than a name: the shell knows.
        return true;
    }
    let places = std::env::var_os("PATH").unwrap_or_default();
    program.contains('/') && Path::new(program).exists()
        || std::env::split_paths(&places).any(|dir| dir.join(program).is_file())
}

fn start(command: &str) -> io::Result<Output> {
    if !exists(command) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such program"));
    }
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        shell.env("LESS", "FRSX");
    }
    let mut pager = shell.spawn()?;
    PAGING.store(true, Ordering::Relaxed);
    // Ctrl-C is for the pager, as in less it ends a search; quitting it ends us by a broken pipe.
    signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false)))?;
    let Some(stdin) = pager.stdin.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let sink = File::from(std::os::fd::OwnedFd::from(stdin));
    Ok(Output { sink: Some(BufWriter::with_capacity(64 * 1024, sink)), pager: Some(pager) })
}

/// Whether to colour what goes to `terminal`.
pub(crate) fn colored(color: Color, terminal: bool) -> bool {
    match color {
        Color::Yes => true,
        Color::No => false,
        Color::Auto => {
            let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let term = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
            terminal && term && !set("NO_COLOR") && !pager_is_busybox()
        }
    }
}

/// Busybox's less shows escape sequences as text.
fn pager_is_busybox() -> bool {
    let Some(command) = pager_command() else { return false };
    let program = command.split_whitespace().next().unwrap_or_default();
    std::fs::canonicalize(program).is_ok_and(|path| path.file_name().is_some_and(|name| name == "busybox"))
}
