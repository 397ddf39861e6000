//! Numbers from event streams: calls, statistics of functions, call graphs, differences between traces.
//!
//! Not for reading traces (`fathom-store`) nor for text (`fathom-view`).
#![forbid(unsafe_code)]
