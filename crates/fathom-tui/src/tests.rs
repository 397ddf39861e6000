//! The whole program but for its terminal: keys in, screens out.

use crate::app::{App, Effect, Read, View};
use crate::draw::draw;
use crate::timeline::reader::Reader;
use crate::view::list::Cursor;
use crate::work::Work;
use crate::{Start, Theme, Words};
use fathom_store::memory::MemoryTrace;
use fathom_store::{EventOptions, External, Trace, event_id};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::style::{Color, Modifier};
use std::sync::mpsc::channel;

const SIZES: [(u16, u16); 3] = [(40, 8), (80, 24), (132, 40)];

/// A process with two threads, and one that it forked and that executed another program.
fn trace() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    trace.task(10).thread(11, 10).fork(12, 10, 2_000).exec(12, 2_100, "/usr/bin/other");
    trace.source("parse", "src/parse.c").line("parse", 12).source("main", "src/main.c").line("main", 3);
    trace.specs("parse", "arg1/s,retval").specs("open", "arg1/s,retval/i32");
    let text = |text: &str| {
        let mut bytes = (text.len() as u16).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    trace.enter(10, 1_000, "main");
    trace.enter_with(10, 1_100, "parse", &text("config.toml"));
    trace.enter(10, 1_150, "open@plt").enter(10, 1_200, "do_sys_openat2@kernel");
    trace.call(10, 1_300, 1_500, "getname@kernel").leave(10, 1_800).leave(10, 1_900);
    for line in 0..6 {
        let at = 2_000 + line * 1_000;
        trace
            .enter(10, at, "next_line")
            .call(10, at + 50, at + 90 + line * 40, "malloc@plt")
            .leave(10, at + 600);
    }
    trace.leave_with(10, 9_000, &42_u64.to_le_bytes());
    trace.enter(10, 10_000, "run");
    trace.event(10, 10_500, event_id::SCHED_OUT, b"").event(10, 3_010_500, event_id::SCHED_IN, b"");
    trace.call(10, 3_011_000, 3_020_000, "step").call(10, 3_021_000, 3_050_000, "step");
    trace.event(10, 3_060_000, event_id::TASK_NAME, b"renamed").lost(10, 7);
    trace.leave(10, 3_070_000).call(10, 3_080_000, 3_081_000, "a_function_with_quite_a_long_name<int>");
    trace.enter(11, 20_000, "worker");
    for depth in 0..5 {
        trace.enter(11, 21_000 + depth, "recurse");
    }
    for depth in 0..5 {
        trace.leave(11, 2_500_000_000 + depth);
    }
    trace.leave(11, 2_600_000_000);
    trace.enter(12, 2_200, "main").call(12, 2_300, 2_400, "usage").leave(12, 2_500);
    trace.external.push(External { time: 9_500, text: "half way".to_owned() });
    trace
}

fn words() -> Words {
    Words {
        title: "test.data".to_owned(),
        info: "# system information\n# ==================\n# cpu info            : test\n".to_owned(),
        fields: None,
        keys: Vec::new(),
        theme: Theme { color: true, light: false },
    }
}

/// The program, with the work of other threads done at once.
struct Ui<'t> {
    app: App<'t>,
    work: &'t Work<'t>,
    reader: Reader<'t, 't>,
    /// What was to be done outside.
    done: Vec<String>,
}

fn read(trace: &dyn Trace) -> Work<'_> {
    let work = Work::new(trace, trace, EventOptions::default(), true, true);
    let (tell, _news) = channel();
    work.scan(&tell);
    work
}

impl<'t> Ui<'t> {
    fn new(work: &'t Work<'t>, start: Start) -> Ui<'t> {
        let app = App::new(work.trace, words(), &start).unwrap();
        let mut ui = Ui { app, work, reader: Reader::new(&work.timeline), done: Vec::new() };
        let (tell, news) = channel();
        work.summarize(false, &tell);
        drop(tell);
        news.iter().for_each(|news| ui.app.news(news));
        let index = work.timeline.index();
        ui.app.replay.begin = index.slices[0].from;
        let read = Read { known: index.known(), complete: true, ..Read::default() };
        drop(index);
        ui.app.set_read(read);
        ui.settle();
        ui
    }

    fn settle(&mut self) {
        loop {
            let effects = self.app.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Ask(ask) => {
                        let news = self.work.reply(&mut self.reader, ask);
                        self.app.news(news);
                    }
                    Effect::OnlySearch(ticket) => self.work.only_search(ticket),
                    Effect::Edit { file, line } => self.done.push(format!("edit {file}:{line}")),
                    Effect::Suspend => self.done.push("suspend".to_owned()),
                    Effect::Quit => self.done.push("quit".to_owned()),
                }
            }
        }
    }

    fn press(&mut self, code: KeyCode) -> &mut Self {
        self.app.key(KeyEvent::new(code, KeyModifiers::NONE));
        self.settle();
        self
    }

    /// Types characters; `\n` is Enter.
    fn keys(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            self.press(if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) });
        }
        self
    }

    fn mouse(&mut self, kind: MouseEventKind, column: u16, row: u16) -> &mut Self {
        self.app.mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
        self.settle();
        self
    }

    fn resize(&mut self, (columns, lines): (u16, u16)) -> &mut Self {
        self.app.resize(columns, lines);
        self.settle();
        self
    }

    fn terminal(&self) -> Terminal<TestBackend> {
        let (columns, lines) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| draw(frame, &self.app)).unwrap();
        terminal
    }

    /// The screen as text, with `>` in front of lines that are reversed.
    fn screen(&self) -> String {
        let terminal = self.terminal();
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for y in 0..buffer.area.height {
            let cells: Vec<_> = (0..buffer.area.width).map(|x| &buffer[(x, y)]).collect();
            let reversed = cells.iter().all(|cell| cell.modifier.contains(Modifier::REVERSED));
            text.push_str(if reversed { ">" } else { " " });
            cells.iter().for_each(|cell| text.push_str(cell.symbol()));
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    /// The line of the cursor.
    fn line(&self) -> String {
        let screen = self.screen();
        screen.lines().find_map(|line| line.strip_prefix('>')).unwrap_or_default().trim().to_owned()
    }

    fn status(&self) -> String {
        self.screen().lines().last().unwrap_or_default().trim_start_matches('>').trim().to_owned()
    }
}

/// Snapshots of a screen at all sizes.
fn snapshots(ui: &mut Ui, name: &str) {
    for size in SIZES {
        ui.resize(size);
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), ui.screen());
    }
}

#[test]
fn sessions() {
    let (trace, work);
    trace = self::trace();
    work = read(&trace);
    let mut ui = Ui::new(&work, Start::Graph);
    assert_eq!(ui.app.view, View::Menu, "there are several sessions");
    snapshots(&mut ui, "sessions");
    ui.press(KeyCode::Down).keys("\n");
    assert_eq!(ui.line(), "0.300 us : (1) other");
    ui.keys("S").press(KeyCode::End).keys("\n");
    assert_eq!(ui.done, ["quit"]);
}

#[test]
fn graph_of_a_session() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Graph);
    ui.keys("G");
    snapshots(&mut ui, "graph");
    ui.resize((80, 24)).keys("2");
    snapshots(&mut ui, "graph_folded");
}

#[test]
fn graph_of_a_function() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Graph);
    ui.keys("G/malloc\ng");
    snapshots(&mut ui, "graph_of_function");
    ui.press(KeyCode::Home).keys("\n");
    assert!(ui.line().contains("(6) malloc"), "{}", ui.line());
}

#[test]
fn report() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Report);
    snapshots(&mut ui, "report");
    ui.keys("s");
    assert!(ui.screen().contains("*SELF TIME"));
    ui.mouse(MouseEventKind::Down(MouseButton::Left), 33, 0);
    assert!(ui.screen().contains("*CALL"));
    ui.keys("f").press(KeyCode::Down).keys(" \n");
    assert!(ui.screen().contains("TOTAL AVG"), "{}", ui.screen());
}

#[test]
fn replay() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Replay);
    snapshots(&mut ui, "replay");
    ui.resize((80, 24)).keys("/malloc\nb");
    snapshots(&mut ui, "replay_backtrace");
    ui.keys("b2");
    snapshots(&mut ui, "replay_folded");
}

#[test]
fn info_and_help() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Graph);
    ui.keys("I");
    snapshots(&mut ui, "info");
    ui.keys("?");
    snapshots(&mut ui, "help");
    ui.keys("xTf");
    snapshots(&mut ui, "fields");
}

/// Windows of multiplexers can be made as small as a line or a column.
#[test]
fn no_screen_is_too_small() {
    let trace = trace();
    let work = read(&trace);
    for keys in ["", "G", "R", "T", "I", "S", "?"] {
        // Before anything has been read.
        let mut app = App::new(work.trace, words(), &Start::Graph).unwrap();
        keys.chars().for_each(|c| app.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)));
        for (columns, lines) in (1..4).flat_map(|columns| (1..4).map(move |lines| (columns, lines))) {
            app.resize(columns, lines);
            let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
            terminal.draw(|frame| draw(frame, &app)).unwrap();
        }
    }
    let mut ui = Ui::new(&work, Start::Graph);
    for keys in ["", "?", "xG", "f", "\nR", "f", "\nT", "f", "\nb", "/main", "\nI", "S"] {
        ui.resize((80, 24)).keys(keys);
        for (columns, lines) in (1..8).flat_map(|columns| (1..8).map(move |lines| (columns, lines))) {
            ui.resize((columns, lines)).screen();
            ui.press(KeyCode::Down).press(KeyCode::PageDown).screen();
            ui.press(KeyCode::PageUp).mouse(MouseEventKind::ScrollDown, 0, 0).screen();
        }
    }
}

#[test]
fn help_can_be_read_on_small_screens() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Graph);
    for size in [(20, 5), (40, 10), (80, 24)] {
        ui.resize(size).keys("?");
        let mut seen = String::new();
        let mut down = |ui: &mut Ui<'_>| {
            let screen = ui.screen();
            let inside = screen.lines().filter_map(|line| line.split('│').nth(1));
            inside.for_each(|line| seen.extend([line.trim(), " "]));
            ui.keys("j");
            ui.screen() != screen
        };
        while down(&mut ui) {}
        for word in crate::app::HELP.iter().flat_map(|(keys, text)| [keys, text]).flat_map(|t| t.split(' ')) {
            assert!(seen.contains(word), "{size:?}: {word} is not in {seen}");
        }
        // At the end nothing more is scrolled away.
        let last = ui.keys("jjj").screen();
        assert_ne!(last, ui.keys("k").screen());
        let before = ui.screen();
        ui.press(KeyCode::PageUp).press(KeyCode::PageDown);
        assert_ne!(before, ui.press(KeyCode::PageUp).screen(), "a page is more than a line");
        ui.keys("x");
    }
}

#[test]
fn what_is_searched_for_in_the_replay_is_found_and_unfolded() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Replay);
    ui.keys("1");
    assert!(ui.line().contains("▶ main()"), "{}", ui.line());
    ui.keys("aconfig\n");
    assert!(ui.line().contains("▶ parse(\"config.toml\") = 42"), "{}", ui.line());
    ui.keys("0d100us\n");
    assert!(ui.line().contains("run()"), "{}", ui.line());
    ui.keys(">");
    assert!(ui.line().contains("worker()"), "{}", ui.line());
    ui.keys("<");
    assert!(ui.line().contains("run()"), "{}", ui.line());
    ui.keys("/recurse\n>>");
    assert!(ui.line().contains("recurse()"), "{}", ui.line());
    ui.keys("u");
    assert!(ui.line().contains("recurse()"), "{}", ui.line());
    ui.keys("uu");
    assert!(ui.line().contains("worker()"), "{}", ui.line());
    ui.keys("/nobody\n");
    assert_eq!(ui.status().split("  ").next(), Some("fathom replay: nothing found"));
    ui.keys("dsoon\n");
    assert!(ui.status().starts_with("fathom replay: 'soon' is no duration"), "{}", ui.status());
    ui.keys("@3.079ms\n");
    assert!(ui.line().contains("a_function_with"), "{}", ui.line());
    ui.press(KeyCode::Home).keys("@9s\n");
    assert!(ui.line().contains("a_function_with"), "{}", ui.line());
}

#[test]
fn keys_that_are_faster_than_the_answers_are_not_lost() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 0, "main");
    for time in 1..500 {
        trace.call(1, time * 10, time * 10 + 5, "f");
    }
    let work = read(&trace);
    for (presses, line) in [(3, 9), (10, 30), (40, 120), (400, 499)] {
        let mut ui = Ui::new(&work, Start::Replay);
        ui.resize((80, 5));
        (0..presses).for_each(|_| ui.app.key(KeyEvent::new(KeyCode::PageDown, KeyModifiers::NONE)));
        ui.settle();
        let at = ui.app.replay.line().unwrap().time / 10;
        assert_eq!(at, line, "after {presses} screens");
        (0..presses).for_each(|_| ui.app.key(KeyEvent::new(KeyCode::PageUp, KeyModifiers::NONE)));
        ui.settle();
        assert_eq!(ui.app.replay.line().unwrap().time / 10, line.saturating_sub(3 * presses), "and back");
    }
}

#[test]
fn steps_along_the_calls() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Replay);
    ui.keys("l");
    assert!(ui.line().contains("run()"), "the longest call of main: {}", ui.line());
    ui.keys("p");
    assert!(ui.line().contains("parse("), "{}", ui.line());
    ui.keys("nl");
    assert!(ui.line().contains("linux:schedule"), "{}", ui.line());
    ui.keys("n");
    assert!(ui.line().contains("step()"), "{}", ui.line());
    ui.keys("g");
    assert!(ui.screen().contains("Call Graph for 'step'"), "{}", ui.screen());
    ui.keys("r");
    assert!(ui.line().ends_with("step"), "{}", ui.line());
    ui.keys("t");
    assert!(ui.line().contains("29.000 us") && ui.line().contains("step()"), "the longest: {}", ui.line());
}

#[test]
fn graph_keys() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Graph);
    ui.keys("Gl");
    assert!(ui.line().contains("worker"), "the longest: {}", ui.line());
    ui.keys("p");
    assert!(ui.line().contains("main"), "{}", ui.line());
    ui.keys("c");
    assert!(ui.screen().contains("├▶(1) parse"), "{}", ui.screen());
    ui.keys("e");
    assert!(ui.screen().contains("├─(1) parse"), "{}", ui.screen());
    ui.keys("uC");
    assert!(ui.screen().contains("├▶(1) main"), "{}", ui.screen());
    ui.keys("/step\n");
    assert!(ui.line().ends_with("(2) step"), "{}", ui.line());
    assert!(ui.status().contains("(1 match,"), "{}", ui.status());
    ui.keys("<");
    assert!(ui.line().ends_with("(2) step"), "there is no other: {}", ui.line());
    ui.keys("E0t");
    assert_eq!(ui.app.view, View::Replay);
    assert!(ui.line().contains("step()"), "{}", ui.line());
}

#[test]
fn an_editor_is_opened_where_the_function_is() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Report);
    ui.keys("/^parse$\nO");
    assert_eq!(ui.done, ["edit src/parse.c:12"]);
    assert!(ui.keys("v").status().contains("curr:"));
    ui.keys("v/malloc\nO");
    assert!(ui.status().contains("source location is not available"), "{}", ui.status());
}

#[test]
fn the_mouse_moves_folds_and_scrolls() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Replay);
    ui.resize((80, 10));
    let click = MouseEventKind::Down(MouseButton::Left);
    ui.mouse(click, 50, 2);
    assert!(ui.line().contains("▼ parse("), "{}", ui.line());
    ui.mouse(click, 50, 2);
    assert!(ui.line().contains("▶ parse("), "{}", ui.line());
    ui.mouse(MouseEventKind::ScrollDown, 1, 1);
    assert_eq!(ui.app.replay.top, 3);
    ui.keys("?").mouse(click, 1, 1);
    assert_eq!(ui.app.popup, None);
}

#[test]
fn without_colors_there_are_none() {
    let trace = trace();
    let work = read(&trace);
    for color in [true, false] {
        let mut ui = Ui::new(&work, Start::Replay);
        ui.app.words.theme.color = color;
        ui.keys("/malloc\n");
        let mut colored = false;
        for keys in ["", "G", "R"] {
            let terminal = ui.keys(keys).terminal();
            colored |= terminal.backend().buffer().content.iter().any(|cell| cell.fg != Color::Reset);
        }
        assert_eq!(colored, color);
    }
}

#[test]
fn functions_of_program_library_and_kernel_are_in_one_tree() {
    let trace = trace();
    let work = read(&trace);
    let mut ui = Ui::new(&work, Start::Graph);
    ui.keys("G/getname\n");
    // What the graph is called from, up to the program.
    for name in ["getname", "do_sys_openat2", "open", "parse", "main", "toy"] {
        assert!(ui.line().ends_with(&format!("(1) {name}")), "{}", ui.line());
        ui.keys("u");
    }
    ui.keys("T/getname\nb");
    let screen = ui.screen();
    assert!(ui.line().contains("[kernel]"), "{}", ui.line());
    let places = ["[0] main", "[1] parse", "[2] open", "[3] do_sys_openat2", "[4] getname"];
    assert!(places.iter().all(|place| screen.contains(place)), "{screen}");
}

#[test]
fn a_field_that_is_not_there_is_refused() {
    let trace = trace();
    let fields = |list: &str| Words { fields: Some(list.to_owned()), ..words() };
    assert_eq!(App::new(&trace, fields("total,nothing"), &Start::Report).err(), Some("nothing".to_owned()));
    let app = App::new(&trace, fields("+self-avg"), &Start::Report).unwrap();
    assert_eq!(app.report.shown().count(), 4);
}

/// Something that the user may do.
#[derive(Clone, Debug)]
enum Act {
    Key(KeyCode),
    Resize(u16, u16),
    Click(u16, u16),
    Wheel(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let keys = "GgRrTtISsOcCeEnpulz/ad<>NP@bfv0123h?jk aim8u";
    let special = [
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Backspace,
    ];
    let act = prop_oneof![
        8 => proptest::sample::select(keys.chars().collect::<Vec<_>>()).prop_map(|c| Act::Key(KeyCode::Char(c))),
        8 => proptest::sample::select(special.to_vec()).prop_map(Act::Key),
        1 => (0u16..140, 0u16..50).prop_map(|(columns, lines)| Act::Resize(columns, lines)),
        2 => (0u16..80, 0u16..24).prop_map(|(column, row)| Act::Click(column, row)),
        1 => any::<bool>().prop_map(Act::Wheel),
    ];
    proptest::collection::vec(act, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever is typed, clicked and resized, the cursor is on the screen and nothing breaks.
    #[test]
    fn nothing_that_is_typed_breaks_it(acts in acts()) {
        let trace = trace();
        let work = read(&trace);
        let mut ui = Ui::new(&work, Start::Graph);
        for act in acts {
            match act {
                Act::Key(code) => ui.press(code),
                Act::Resize(columns, lines) => ui.resize((columns, lines)),
                Act::Click(column, row) => ui.mouse(MouseEventKind::Down(MouseButton::Left), column, row),
                Act::Wheel(true) => ui.mouse(MouseEventKind::ScrollDown, 1, 1),
                Act::Wheel(false) => ui.mouse(MouseEventKind::ScrollUp, 1, 1),
            };
            ui.screen();
            let (app, height) = (&ui.app, ui.app.height());
            let cursors = [
                (app.graph.cursor, app.graph.lines.len()),
                (app.report.cursor, app.report.rows.len()),
                (Cursor { at: app.replay.cursor, top: app.replay.top }, app.replay.window.lines.len()),
            ];
            let shown = match app.view { View::Graph => 0, View::Report => 1, View::Replay => 2, _ => continue };
            let (cursor, rows) = cursors[shown];
            prop_assert!(cursor.at < rows.max(1));
            prop_assert!((cursor.top..cursor.top + height).contains(&cursor.at), "{:?} of {}", cursor, height);
        }
    }
}
