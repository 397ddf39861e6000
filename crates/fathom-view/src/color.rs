//! Colours, as escape sequences or as HTML spans.

use crate::options::{Format, Output};

/// The colours of the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Hours and minutes, losses, large growth.
    Red,
    /// Milliseconds, events, threads.
    Green,
    /// Seconds.
    Yellow,
    /// Large gains, enumerators.
    Blue,
    /// Strings, growth.
    Magenta,
    /// Names in values, gains.
    Cyan,
    /// Comments.
    Gray,
    /// None of our own; what the user wants to stand out.
    Bold,
}

impl Color {
    const fn escape(self) -> &'static str {
        match self {
            Color::Red => "\x1b[91m",
            Color::Green => "\x1b[32m",
            Color::Yellow => "\x1b[33m",
            Color::Blue => "\x1b[94m",
            Color::Magenta => "\x1b[35m",
            Color::Cyan => "\x1b[36m",
            Color::Gray => "\x1b[90m",
            Color::Bold => "\x1b[1m",
        }
    }

    const fn span(self) -> &'static str {
        match self {
            Color::Red => "<span style='color:red'>",
            Color::Green => "<span style='color:green'>",
            Color::Yellow => "<span style='color:yellow'>",
            Color::Blue => "<span style='color:blue'>",
            Color::Magenta => "<span style='color:magenta'>",
            Color::Cyan => "<span style='color:cyan'>",
            Color::Gray => "<span style='color:gray'>",
            Color::Bold => "<span style='font-weight:bold'>",
        }
    }
}

/// How a view's colours are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Not at all.
    Plain,
    /// As escape sequences.
    Terminal,
    /// As spans.
    Html,
}

impl Paint {
    /// What `output` asks for.
    pub fn of(output: Output) -> Paint {
        match (output.color, output.format) {
            (_, Format::Html) if output.color => Paint::Html,
            (true, Format::Normal) => Paint::Terminal,
            _ => Paint::Plain,
        }
    }

    /// What begins text in `color`.
    pub fn on(self, color: Color) -> &'static str {
        match self {
            Paint::Plain => "",
            Paint::Terminal => color.escape(),
            Paint::Html => color.span(),
        }
    }

    /// What ends it.
    pub fn off(self) -> &'static str {
        match self {
            Paint::Plain => "",
            Paint::Terminal => "\x1b[0m",
            Paint::Html => "</span>",
        }
    }

    /// Appends `text` in `color`.
    pub fn put(self, out: &mut Vec<u8>, color: Color, text: &str) {
        out.extend_from_slice(self.on(color).as_bytes());
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(self.off().as_bytes());
    }
}

/// What a page begins with.
pub(crate) const HTML_HEAD: &str =
    "<html>\n<head></head>\n<body style='background-color:black;color:white;'>\n<pre>\n";
/// What a page ends with.
pub(crate) const HTML_TAIL: &str = "</pre>\n</body>\n</html>\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(color: bool, format: Format) -> String {
        let mut out = Vec::new();
        Paint::of(Output { color, format }).put(&mut out, Color::Green, "ms");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_way() {
        assert_eq!(ms(false, Format::Normal), "ms");
        assert_eq!(ms(false, Format::Html), "ms");
        assert_eq!(ms(true, Format::Normal), "\x1b[32mms\x1b[0m");
        assert_eq!(ms(true, Format::Html), "<span style='color:green'>ms</span>");
        assert_eq!(ms(true, Format::Csv), "ms");
    }
}
