//! What the views are asked to show. Plain data: the program fills it from the command line.

use fathom_store::EventOptions;

/// How text is decorated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Colours on or off; whether a terminal is there is the caller's business. Ignored by CSV.
    pub color: bool,
    /// Plain text, a page or CSV.
    pub format: Format,
}

/// The frame around the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Plain text; colours are escape sequences.
    #[default]
    Normal,
    /// A page with the text preformatted; colours are spans.
    Html,
    /// Comma separated raw values. Only `report` knows it, other views print plain text.
    Csv,
}

/// The field of a range of time in [`ReplayOptions::range`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeField {
    /// The range is given by times since the beginning.
    Elapsed,
    /// The range is given by times of the trace clock.
    Time,
}

/// Options of [`crate::replay()`].
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// `-f`: the field list as typed, none for the default fields.
    pub fields: Option<String>,
    /// One line for a call that calls nothing shown, one for a sleep. Off with `--no-merge`.
    pub merge: bool,
    /// The name of the function after a closing brace. Off with `--no-comment`.
    pub comment: bool,
    /// `--libname`: the library's name after that of a library call.
    pub libname: bool,
    /// `--srcline`: where each function is declared, behind its call.
    pub srcline: bool,
    /// Where calls were made from, as far as that was recorded, behind them. Off with `--no-callsite`.
    pub callsite: bool,
    /// `--flat`: one line for each record, for debugging.
    pub flat: bool,
    /// `--column-view`: how many levels of indentation are put between tasks, none when it is off.
    pub column_offset: Option<u32>,
    /// `--task-newline`: a blank line where another task goes on.
    pub task_newline: bool,
    /// Which events are shown.
    pub events: EventOptions,
    /// The field that tells where in a range of time lines are, added to the usual ones.
    pub range: Option<RangeField>,
    /// ns of the trace clock that `elapsed` counts from; none for the first event.
    pub begin: Option<u64>,
    /// Colours and format.
    pub output: Output,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        ReplayOptions {
            fields: None,
            merge: true,
            comment: true,
            libname: false,
            srcline: false,
            callsite: true,
            flat: false,
            column_offset: None,
            task_newline: false,
            events: EventOptions::default(),
            range: None,
            begin: None,
            output: Output::default(),
        }
    }
}

/// Which averages `report` shows instead of its usual columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Averages {
    /// None: the usual columns.
    #[default]
    Off,
    /// `--avg-total`: average, minimum and maximum of total times.
    Total,
    /// `--avg-self`: average, minimum and maximum of self times.
    Own,
}

/// Options of [`crate::report()`] and [`crate::report_diff()`].
#[derive(Clone, Debug, Default)]
pub struct ReportOptions {
    /// `-f`: the field list as typed, none for the default fields. Wins over `averages`.
    pub fields: Option<String>,
    /// `--avg-total`, `--avg-self`.
    pub averages: Averages,
    /// `-s`: sort keys as typed (comma or semicolon separated), none for the default.
    pub sort: Option<String>,
    /// `--no-libcall`: no lines for library functions. Their time stays out of their callers' own.
    pub no_libcall: bool,
    /// `--srcline`: where each function is declared, behind its name.
    pub srcline: bool,
    /// `--task`: a line for each task instead of each function. Ignored by [`crate::report_diff()`].
    pub task: bool,
    /// Which events count.
    pub events: EventOptions,
    /// Threads to read tasks with, 0 for as many as there are processors.
    pub threads: usize,
    /// Colours and format.
    pub output: Output,
}

/// What [`crate::report_diff()`] needs besides [`ReportOptions`].
#[derive(Clone, Debug)]
pub struct DiffOptions {
    /// Name of the base trace's directory, as typed.
    pub base_name: String,
    /// Name of the other trace's directory, as typed.
    pub new_name: String,
    /// `--diff-policy` as typed, none for the default.
    pub policy: Option<String>,
    /// `--sort-column`: 0 sorts by the base's value, 1 by the other's, 2 by their difference.
    pub sort_column: u8,
}

/// Options of [`crate::graph()`].
#[derive(Clone, Debug, Default)]
pub struct GraphOptions {
    /// The function to show instead of the whole program, by its exact name.
    pub function: Option<String>,
    /// `-f`: the field list as typed, none for the default fields.
    pub fields: Option<String>,
    /// `--no-libcall`: no lines for library functions. Their time stays out of their callers' own.
    pub no_libcall: bool,
    /// `--srcline`: where each function is declared, behind its name.
    pub srcline: bool,
    /// `--task`: tasks and who made them instead of functions.
    pub task: bool,
    /// Which events count.
    pub events: EventOptions,
    /// Threads to read tasks with, 0 for as many as there are processors.
    pub threads: usize,
    /// Colours and format.
    pub output: Output,
}

/// Options of [`crate::info()`].
#[derive(Clone, Copy, Debug, Default)]
pub struct InfoOptions {
    /// `--task`: a line for each task instead of the header information.
    pub task: bool,
}
