//! The attempt's folder and everything in it: names, parameters file, environment, outputs, progress.
//!
//! What the host, the engines and a module agree on. Nothing here starts a process or knows the run's state. Used by `engine` (which
//! executes attempts) and `host` (which shows what they left).

mod environment;
mod files;
mod flat;
mod folder;
#[cfg(unix)]
mod homes;
mod identity;
mod outputs;
mod progress;
mod record;
mod report;
mod spec;
mod standing;
mod stop;

pub use environment::{Environment, HostEnvironment, Marks, TOKEN_VARIABLE};
pub(crate) use files::{lock_for_life, patiently, rename};
pub use folder::{AttemptFolder, ParamsFile, RESERVED_IN_RUN, folder_name};
pub(crate) use folder::{create_private_all, open_private};
#[cfg(unix)]
pub(crate) use homes::take_homes;
#[cfg(unix)]
pub use homes::{HOME_ORDER_BYTES_MAX, HOMES_MAX, hand_over_homes};
#[cfg(target_os = "linux")]
pub(crate) use identity::ProcessStat;
pub use identity::{Machine, ProcessIdentity};
pub use outputs::{OUTPUT_BYTES_MAX, read_outputs};
pub use progress::{Progress, ProgressReader};
pub use record::{ExitHow, ExitRecord, MemoryGuard, StartRecord, StreamTotals};
#[cfg(unix)]
pub(crate) use report::read_frame;
pub use report::{Hatch, REPORT_BYTES, Report, ReportKind};
pub use spec::{AttemptSpec, FOLDER_FORMAT, SPEC};
pub use standing::{CLAIM, EXIT, EXIT_ASIDE, START, START_ASIDE, Standing, standing};
pub use stop::{StopAs, StopRequest};

/// Files of an attempt's folder that a host writes aside, before they get their names.
pub(crate) const ASIDES_OF_HOSTS: [&str; 2] = [spec::ASIDE, stop::ASIDE];
