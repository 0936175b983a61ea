//! Reading `progress.jsonl` while a module appends to it.

use std::path::PathBuf;

/// What a module said about its progress.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: Option<f64>,
    /// Units in all.
    pub total: Option<f64>,
    /// What it is doing.
    pub message: Option<String>,
}

/// Follows a progress file.
#[derive(Debug)]
pub struct ProgressReader {
    path: PathBuf,
}

impl ProgressReader {
    /// A reader of a file that need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The latest progress that was appended since the last call.
    pub fn latest(&mut self) -> Option<Progress> {
        todo!()
    }
}
