//! The loop between the terminal, the state and the threads that read.

use crate::app::{App, Effect, Read};
use crate::draw::draw;
use crate::work::{Ask, News, Work};
use crate::{Error, Setup, Start, Stop};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, DisableMouseCapture, EnableMouseCapture, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use std::io::{self, IsTerminal, Stdout, Write, stdin, stdout};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// How long to wait for the user before looking what has come from the background.
const TICK: Duration = Duration::from_millis(40);
/// The same while an answer is expected any moment.
const SHORT_TICK: Duration = Duration::from_millis(4);

/// Set once a thread has panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);

type Screen = Terminal<CrosstermBackend<Stdout>>;

pub(crate) fn run(setup: &Setup) -> Result<(), Error> {
    let mut app = App::new(setup.trace, setup.words.clone(), &setup.start)
        .map_err(|name| Error::Field { name, possible: possible_fields(setup.start) })?;
    if !stdin().is_terminal() || !stdout().is_terminal() {
        let what = "standard input and output must be a terminal";
        return Err(Error::Terminal(io::Error::new(io::ErrorKind::NotConnected, what)));
    }
    let work = Work::new(setup.trace, setup.replayed, setup.events, setup.seekable, setup.libcalls);
    let (tell, news) = channel();
    let (ask_short, short) = channel();
    let (ask_long, long) = channel();
    thread::scope(|scope| {
        let _stop = StopAtEnd(&work, setup.stop);
        for asks in [short, long] {
            let tell = tell.clone();
            let work = &work;
            scope.spawn(move || work.answer(&asks, &tell));
        }
        let mut session = Session { work: &work, news, ask_short, ask_long, quit: quit_flag()? };
        let guard = Guard::enter()?;
        let mut screen = Terminal::new(CrosstermBackend::new(stdout()))?;
        let size = screen.size()?;
        app.resize(size.width, size.height);
        // The first screen before anything else takes the processors.
        screen.draw(|frame| draw(frame, &app))?;
        let tell_scan = tell.clone();
        scope.spawn(|| work.scan(&{ tell_scan }));
        scope.spawn(|| work.summarize(setup.start == Start::Report, &{ tell }));
        let result = session.run(&mut app, &mut screen);
        drop(guard);
        result
    })
}

/// The names of the columns of a view.
fn possible_fields(start: Start) -> String {
    match start {
        Start::Graph => "total, self, addr",
        Start::Report => {
            "total, total-avg, total-min, total-max, self, self-avg, self-min, self-max, call, size"
        }
        Start::Replay => "time, elapsed, duration, tid, task, addr, module, args",
    }
    .to_owned()
}

/// Set by signals that end the program.
fn quit_flag() -> io::Result<Arc<AtomicUsize>> {
    let flag = Arc::new(AtomicUsize::new(0));
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        signal_hook::flag::register_usize(signal, flag.clone(), signal as usize)?;
    }
    Ok(flag)
}

/// The threads end when the loop does, however it ends.
struct StopAtEnd<'w, 't>(&'w Work<'t>, &'t Stop);

impl Drop for StopAtEnd<'_, '_> {
    fn drop(&mut self) {
        self.0.stop();
        self.1.now();
    }
}

struct Session<'w, 't> {
    work: &'w Work<'t>,
    news: Receiver<News>,
    ask_short: Sender<Ask>,
    ask_long: Sender<Ask>,
    /// The signal that wants us to end, or 0.
    quit: Arc<AtomicUsize>,
}

impl Session<'_, '_> {
    fn run(&mut self, app: &mut App, screen: &mut Screen) -> Result<(), Error> {
        let mut changed = true;
        loop {
            if self.quit.load(Ordering::Relaxed) != 0 || PANICKED.load(Ordering::Relaxed) {
                return Ok(());
            }
            for effect in app.effects() {
                if !self.carry_out(effect, app, screen)? {
                    return Ok(());
                }
            }
            if changed {
                screen.draw(|frame| draw(frame, app))?;
            }
            let wait = if app.replay.waiting || app.replay.searching { SHORT_TICK } else { TICK };
            changed = self.input(app, screen, wait)? | self.background(app);
        }
    }

    /// Takes what the user does. Several events that wait are taken together, so that a key that is held down never
    /// leaves a queue behind.
    fn input(&self, app: &mut App, screen: &mut Screen, wait: Duration) -> io::Result<bool> {
        let mut any = false;
        let mut wait = wait;
        loop {
            if !is_there(wait)? {
                self.quit.store(SIGHUP as usize, Ordering::Relaxed);
                return Ok(any);
            }
            if !event::poll(Duration::ZERO)? {
                break;
            }
            wait = Duration::ZERO;
            any = true;
            match event::read()? {
                Event::Key(key) => app.key(key),
                Event::Mouse(mouse) => app.mouse(mouse),
                Event::Resize(columns, lines) => {
                    screen.autoresize()?;
                    app.resize(columns, lines);
                }
                _ => {}
            }
            // What has to be done outside comes before the next event.
            if app.has_outside_effects() {
                break;
            }
        }
        Ok(any)
    }

    fn background(&self, app: &mut App) -> bool {
        let mut any = false;
        while let Ok(news) = self.news.try_recv() {
            app.news(news);
            any = true;
        }
        let (known, complete, begin) = {
            let index = self.work.timeline.index();
            (index.known(), index.complete, index.slices.first().map_or(0, |slice| slice.from))
        };
        let read =
            Read { summary: self.work.reading.get(), timeline: self.work.scanning.get(), known, complete };
        app.replay.begin = begin;
        if read != app.read {
            app.set_read(read);
            any = true;
        }
        any
    }

    /// Whether to go on.
    fn carry_out(&self, effect: Effect, app: &mut App, screen: &mut Screen) -> Result<bool, Error> {
        match effect {
            Effect::Ask(ask) => {
                let to = if ask.is_long() { &self.ask_long } else { &self.ask_short };
                // They end only with the loop.
                let _ = to.send(ask);
            }
            Effect::OnlySearch(ticket) => self.work.only_search(ticket),
            Effect::Edit { file, line } => {
                app.message = match found_source(&file, app) {
                    Some(path) => {
                        let result = without_screen(screen, || edit(&path, line))?;
                        // Ctrl-C was for the editor.
                        let interrupt = SIGINT as usize;
                        let _ =
                            self.quit.compare_exchange(interrupt, 0, Ordering::Relaxed, Ordering::Relaxed);
                        result.err()
                    }
                    None => Some(format!("cannot find the source file '{file}'")),
                };
            }
            Effect::Suspend => {
                without_screen(screen, || {
                    // Comes back when the shell continues us.
                    let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
                })?;
            }
            Effect::Quit => return Ok(false),
        }
        Ok(true)
    }
}

/// Waits for the user, and says whether there still is a terminal. crossterm is not asked to wait, as it does not come back
/// from a terminal that is gone.
fn is_there(wait: Duration) -> io::Result<bool> {
    let stdin = stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut terminal, Some(&wait)) {
        // Another size, for example.
        Err(Errno::INTR) => return Ok(true),
        result => result?,
    };
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    Ok(!terminal[0].revents().intersects(gone))
}

/// Does something with the terminal as it was before.
fn without_screen<T>(screen: &mut Screen, work: impl FnOnce() -> T) -> io::Result<T> {
    leave()?;
    let result = work();
    enter()?;
    screen.clear()?;
    Ok(result)
}

/// Where a source file is: names in debug information are relative to where it was compiled.
fn found_source(file: &str, app: &App) -> Option<String> {
    let exists = |path: &String| Path::new(path).is_file();
    let named = [file.to_owned()].into_iter();
    let beside = app.trace.sessions().iter().filter_map(|session| {
        let dir = Path::new(&session.exe).parent()?;
        Some(dir.join(file).to_string_lossy().into_owned())
    });
    named.chain(beside).find(exists)
}

/// Opens the user's editor and waits for it.
fn edit(file: &str, line: u32) -> Result<(), String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    match editor_command(&editor, file, line).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the editor '{editor}' failed: {status}")),
        Err(error) => Err(format!("cannot start the editor '{editor}': {error}")),
    }
}

/// What is in `VISUAL` and `EDITOR` may be meant for a shell.
fn editor_command(editor: &str, file: &str, line: u32) -> Command {
    let mut command;
    if editor.contains(['"', '\'', '\\', '$', '~']) {
        command = Command::new("sh");
        command.arg("-c").arg(format!("{editor} \"$@\"")).arg("sh");
    } else {
        let mut words = editor.split_whitespace();
        command = Command::new(words.next().unwrap_or("vi"));
        command.args(words);
    }
    // The name is of the trace, and must not be an option or a command of the editor.
    let safe = if file.starts_with(['-', '+']) { format!("./{file}") } else { file.to_owned() };
    command.arg(format!("+{line}")).arg(safe);
    command
}

/// The terminal is ours until this is dropped.
struct Guard;

impl Guard {
    fn enter() -> io::Result<Guard> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // The message must not be drawn over.
            let first = !PANICKED.swap(true, Ordering::Relaxed);
            if first {
                let _ = leave();
            }
            before(info);
        }));
        enter()?;
        Ok(Guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !PANICKED.load(Ordering::Relaxed) {
            let _ = leave();
        }
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    let entered = execute!(stdout(), EnterAlternateScreen, EnableMouseCapture, Hide);
    if entered.is_err() {
        let _ = leave();
    }
    entered
}

fn leave() -> io::Result<()> {
    let mut out = stdout();
    let left = execute!(out, DisableMouseCapture, LeaveAlternateScreen, Show);
    let raw = disable_raw_mode();
    out.flush()?;
    left.and(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_with_words() {
        let words = |editor: &str, file: &str| {
            let command = editor_command(editor, file, 7);
            let words = [command.get_program()].into_iter().chain(command.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words("vi -R", "a b.c"), ["vi", "-R", "+7", "a b.c"]);
        assert_eq!(words("vi", "+!x"), ["vi", "+7", "./+!x"]);
        assert_eq!(words("'my editor' -x", "-c"), ["sh", "-c", "'my editor' -x \"$@\"", "sh", "+7", "./-c"]);
    }
}
