//! Changes of a local disk that survive a power cut once they are acknowledged.
//!
//! Whatever must last, of the lake and of the embedded broker, is changed through here and nowhere else. So a test
//! that watches a directory sees every step of every commit: it can stop the program at any of them, let one fail, or
//! work out what a power cut would have left (`power_cut`). Reading is `std::fs`'s.

mod directory;
mod file;
pub mod power_cut;
mod watch;

pub use directory::{
    create_directory, hard_link, make_directory, remove_directory, remove_file, rename,
    sync_directory,
};
pub use file::{File, create_file, replace_file};
pub use watch::{Operation, Step, Watcher, Watching, watch};
