//! Draws call graphs.

use super::{list, name_spans, note, time_spans, title};
use crate::app::App;
use crate::view::graph::{Field, GraphView, Line as Shown, Shape, Title, indent};
use fathom_analysis::graph::{Node, NodeId};
use fathom_store::FunctionKind;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, body: Rect, app: &App) {
    let mut head = String::new();
    for column in app.graph.shown() {
        head.push_str(&format!("  {:>1$}", column.title, column.width));
    }
    head.push_str(if head.is_empty() { " FUNCTION" } else { " : FUNCTION" });
    title(buffer, area, &head, app.words.theme);
    if app.graph.lines.is_empty() {
        let text = if app.graph.whole { "there are no calls" } else { "reading…" };
        note(buffer, body, text, app.words.theme);
        return;
    }
    let line = |at: usize| app.graph.lines.get(at).map(|shown| line(*shown, app));
    list(buffer, body, app.graph.cursor, line, app.words.theme);
}

fn line(shown: Shown, app: &App) -> Line<'static> {
    let view = &app.graph;
    let name = view.function().map_or("", |name| name);
    let mut spans = Vec::new();
    match shown {
        Shown::Title(which) => {
            empty(&mut spans, view);
            spans.push(Span::raw(match which {
                Title::Function => format!("=== Function Call Graph for '{name}' ==="),
                Title::Backtrace => "========== Back-trace ==========".to_owned(),
                Title::Blank => String::new(),
                Title::Graph => "========== Call Graph ==========".to_owned(),
            }));
        }
        Shown::Gap(id) => gap(&mut spans, view.shape(), id, view),
        Shown::CallerGap(id) => gap(&mut spans, view.callers(), id, view),
        Shown::Node(id) => node(&mut spans, view.shape(), id, app),
        Shown::Caller(id) => node(&mut spans, view.callers(), id, app),
    }
    Line::from(spans)
}

fn gap(spans: &mut Vec<Span<'static>>, shape: Option<&Shape>, id: NodeId, view: &GraphView) {
    empty(spans, view);
    spans.extend(shape.map(|shape| Span::raw(indent(shape, id, true, 0))));
}

/// Empty columns.
fn empty(spans: &mut Vec<Span<'static>>, view: &GraphView) {
    let width: usize = view.shown().map(|column| column.width + 2).sum();
    spans.push(Span::raw(if width == 0 { String::new() } else { format!("{:width$} :", "") }));
}

fn node(spans: &mut Vec<Span<'static>>, shape: Option<&Shape>, id: NodeId, app: &App) {
    let Some((shape, node)) = shape.and_then(|shape| Some((shape, shape.node(id)?))) else { return };
    let theme = app.words.theme;
    let whole_session = app.graph.callers().is_none() && id == 0;
    for column in app.graph.shown() {
        spans.push(Span::raw("  "));
        match column.kind {
            Field::Total => spans.extend(time_spans(node.total, theme)),
            Field::Own => spans.extend(time_spans(if whole_session { 0 } else { node.own }, theme)),
            Field::Addr if node.addr == 0 => spans.push(Span::raw(" ".repeat(column.width))),
            Field::Addr => spans.push(Span::raw(format!("{:>1$x}", node.addr, column.width))),
        }
    }
    if app.graph.shown().next().is_some() {
        spans.push(Span::raw(" :"));
    }
    spans.push(Span::raw(indent(shape, id, false, 0)));
    spans.push(Span::raw(format!("({}) ", node.calls)));
    spans.extend(name_spans(&node.name, theme.function(kind(node, app)), app));
}

fn kind(node: &Node, app: &App) -> FunctionKind {
    // What is no function is shown like one: the program, time off the processor.
    node.function.map_or(FunctionKind::User, |id| app.trace.function(id).kind)
}
