//! Where versions of uftrace disagree about the layout.

/// A version of the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Digits that a thread id is padded to.
    pub tid_width: usize,
    /// Whether `--avg-total` and `--avg-self` show the standard deviation, too (since 0.16).
    pub average_has_deviation: bool,
    /// Whether `-f all` includes the fields made after 0.13. They can be named in any case.
    pub all_has_newer_fields: bool,
}

impl Layout {
    /// The layout of uftrace 0.13.
    pub const V0_13: Layout =
        Layout { tid_width: 6, average_has_deviation: false, all_has_newer_fields: false };
    /// The layout after uftrace 0.19.
    pub const CURRENT: Layout =
        Layout { tid_width: 7, average_has_deviation: true, all_has_newer_fields: true };
}

/// The layout of all views: that of the version which distributions ship and which we are compared with.
pub const LAYOUT: Layout = Layout::V0_13;
