//! What surfaces may see of the parts below the host: graphs, modules, nodes and logs, to be read and printed.
//!
//! Everything here is a view: nothing changes a run, starts a process or writes a record. Surfaces name these things by this module
//! and not by the parts that define them, so that an engine, the journal, the scheduler or a run's state cannot slip in beside them.

pub use super::learned::{Bucket, Learned, Numbers, Usage};
pub use super::reuse::{ReuseForecast, reuse_forecast};
pub use crate::attempt::AttemptFolder;
pub use crate::logs::{Cursor, Line, LogReader, Needle, Query, Stream, printable};
pub use crate::manifest::{Module, Program, is_secret_name};
pub use crate::pipeline::definition::{Definition, Expansion, NodeDef, Work};
pub use crate::pipeline::{analysis, export};
pub use crate::request::Priority;
pub use crate::resources::{Capacity, Disk, DiskLevel, Held, worst_level};
pub use crate::run::NodeStatus;
pub use crate::run::view::NodeRow;
pub use crate::secrets::{HiddenInput, Value as SecretValue};
pub use crate::simulate::Span;
