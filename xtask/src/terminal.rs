//! A real terminal to run a program in: one of tmux, with a server of its own.

use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A terminal with a program in it. It ends with this value.
pub(crate) struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs a shell command in a terminal of that size. The terminal stays when the command has ended.
    pub(crate) fn start(script: &str, dir: &Path, size: (u16, u16)) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { socket: format!("fathom-{}-{number}", std::process::id()) };
        let (columns, lines) = (size.0.to_string(), size.1.to_string());
        let script = format!("{script}\nexec sleep 1000");
        let mut command = terminal.command(&["-f", "/dev/null", "new-session", "-d"]);
        command.args(["-x", &columns, "-y", &lines, "sh", "-c", &script]).current_dir(dir);
        // What the user has set must not decide how the test ends.
        command.env("TERM", "xterm-256color").env_remove("TMUX").env_remove("NO_COLOR");
        command.env_remove("VISUAL").env_remove("COLORFGBG");
        finished(&mut command)?;
        Ok(terminal)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.socket]).args(words);
        command
    }

    fn tmux(&self, words: &[&str]) -> Result<String> {
        let output = finished(&mut self.command(words))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Presses keys by their names: `a`, `Enter`, `PageDown`, `C-c`.
    pub(crate) fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Sends text as it is, for example what a mouse would.
    pub(crate) fn send(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Clicks with the left button, or turns the wheel down; the column and line count from 1.
    pub(crate) fn mouse(&self, wheel: bool, column: u16, line: u16) -> Result<()> {
        let button = if wheel { 65 } else { 0 };
        self.send(&format!("\x1b[<{button};{column};{line}M"))?;
        if wheel { Ok(()) } else { self.send(&format!("\x1b[<{button};{column};{line}m")) }
    }

    /// Makes the terminal another size.
    pub(crate) fn resize(&self, (columns, lines): (u16, u16)) -> Result<()> {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]).map(drop)
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen is as it should be. Returns it, and how long that took.
    pub(crate) fn wait(
        &self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&str) -> bool,
    ) -> Result<(String, Duration)> {
        let started = Instant::now();
        loop {
            let screen = self.screen()?;
            if fits(&screen) {
                return Ok((screen, started.elapsed()));
            }
            if started.elapsed() > limit {
                bail!("{what}: not on the screen after {limit:?}:\n{screen}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A value that tmux knows of the terminal, for example `alternate_on`.
    pub(crate) fn flag(&self, name: &str) -> Result<String> {
        Ok(self.tmux(&["display-message", "-p", &format!("#{{{name}}}")])?.trim().to_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
    }
}

fn finished(command: &mut Command) -> Result<Output> {
    let output = command.output().context("cannot run tmux")?;
    if !output.status.success() {
        bail!("tmux failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}
