//! Where the socket is.

use std::path::{Path, PathBuf};

/// Directory of the sockets: that of uftrace.
///
/// It is nobody's own, so it proves nothing about who is behind a socket in it: both ends ask the system who the other
/// one is.
pub const DIR: &str = "/tmp/uftrace";

/// The socket for a traced process.
pub fn socket_path(dir: &Path, pid: i32) -> PathBuf {
    dir.join(format!("{pid}.socket"))
}
