//! `stop.json`: how a wrapper is told to stop its module.
//!
//! A file, so that the wish survives whoever had it, and reaches a wrapper on another machine. Locally a signal follows that makes the
//! wrapper look at once.

use std::io::{self, Write};
use std::path::Path;

use super::files::replace;
use super::flat::{Object, Writer};
use super::identity::sync_folder;
use super::spec::{FOLDER_FORMAT, check_format, named};
use crate::units::DurationMs;

const FILE_NAME: &str = "stop.json";
pub(super) const ASIDE: &str = "stop.json.tmp";

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopAs {
    /// Politely, and by force when the grace is over.
    Polite,
    /// At once.
    Kill,
}

/// `stop.json`: written aside and renamed by whoever wants the attempt to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopRequest {
    /// How.
    pub how: StopAs,
    /// Between the polite stop and the kill.
    pub grace: DurationMs,
}

impl StopRequest {
    /// Writes it into an attempt's folder, durable. A later request takes the place of an earlier one.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(self, folder: &Path) -> io::Result<()> {
        replace(&folder.join(FILE_NAME), &folder.join(ASIDE), |file| {
            file.write_all(self.encode().as_bytes())?;
            file.sync_data()
        })?;
        sync_folder(folder)
    }

    /// Reads it; `None` where nobody asks for a stop.
    ///
    /// # Errors
    /// What the system said, or what is wrong with it.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        match std::fs::read_to_string(folder.join(FILE_NAME)) {
            Ok(text) => Self::decode(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn encode(self) -> String {
        let mut json = Writer::new();
        json.number("format", FOLDER_FORMAT);
        json.text("how", name(self.how));
        json.number("grace_ms", self.grace.0);
        json.finish()
    }

    fn decode(text: &str) -> io::Result<Self> {
        let json = Object::parse(text)?;
        check_format(&json)?;
        let how = named(&json, "how", &[StopAs::Polite, StopAs::Kill], name)?;
        Ok(Self { how, grace: DurationMs(json.number("grace_ms")?) })
    }
}

fn name(how: StopAs) -> &'static str {
    match how {
        StopAs::Polite => "polite",
        StopAs::Kill => "kill",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_request_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(StopRequest::read(folder.path()).unwrap(), None);
        for request in
            [StopRequest { how: StopAs::Polite, grace: DurationMs(10_000) }, StopRequest { how: StopAs::Kill, grace: DurationMs(0) }]
        {
            request.write(folder.path()).unwrap();
            assert_eq!(StopRequest::read(folder.path()).unwrap(), Some(request));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn f40_the_first_format_is_read_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), r#"{"format":1,"how":"kill","grace_ms":7}"#).unwrap();
        assert_eq!(StopRequest::read(folder.path()).unwrap(), Some(StopRequest { how: StopAs::Kill, grace: DurationMs(7) }));
        for bad in ["", "{}", r#"{"format":1,"how":"gently","grace_ms":7}"#, r#"{"format":2,"how":"kill","grace_ms":7}"#] {
            std::fs::write(folder.path().join(FILE_NAME), bad).unwrap();
            assert!(StopRequest::read(folder.path()).is_err(), "{bad}");
        }
    }
}
