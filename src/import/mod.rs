//! Pipelines of other tools into ours: from the tree of a file to the text of a pipeline.
//!
//! Knows no files: whoever reads one brings its tree and writes what comes out (`host::import`).

mod decimal;
mod name;
pub mod wfformat;

pub use decimal::Decimal;
