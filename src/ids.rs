//! Names of things: runs, nodes, attempts, modules, resources.
//!
//! Each is parsed once, at the edge, and has no other constructor, so that a value of one of these types is known to be well
//! formed. Nothing here touches the disk, the clock or a source of randomness: a new run id is built from a time and random
//! bits that the caller brings. Everybody uses this module; it uses nothing of ours.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not a name of the wanted kind. The text is a fragment that reads after "the name is refused: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidName {
    /// What is wrong, with the offending part.
    pub reason: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl InvalidName {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), help: None }
    }

    fn with_help(reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self { reason: reason.into(), help: Some(help.into()) }
    }
}

/// Longest module id and node id, in bytes.
pub const NAME_LENGTH_MAX: usize = 64;

/// Device names that Windows keeps for itself; a folder of that name could not be made there.
const WINDOWS_DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2", "lpt3", "lpt4",
    "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(with = "String")] Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// Id of a module: `[a-z0-9][a-z0-9_-]{0,63}`, and not a device name of Windows.
    ModuleId
}

text_id! {
    /// Id of a node in a pipeline file: `[A-Za-z_][A-Za-z0-9_]{0,63}`, so that `nodes.<id>` is an expression.
    NodeId
}

text_id! {
    /// Name of a custom resource: `[a-z][a-z0-9_-]{0,63}`.
    ResourceName
}

text_id! {
    /// Id of a run: `YYYYMMDD-HHMMSS-xxxxx` (UTC, five base32 letters). Sorts by the time of submission.
    RunId
}

impl ModuleId {
    /// Parses a module id.
    ///
    /// # Errors
    /// Names the first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_length("module id", text)?;
        let help = "use a-z, 0-9, `_` and `-`, starting with a letter or a digit";
        for (at, c) in text.char_indices() {
            let fits = c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && (c == '_' || c == '-'));
            if !fits {
                return Err(if c.is_ascii_uppercase() {
                    InvalidName::with_help(
                        format!("module id `{text}` holds the capital letter `{c}`"),
                        format!("write `{}`", text.to_ascii_lowercase()),
                    )
                } else {
                    InvalidName::with_help(format!("module id {text:?} cannot hold {c:?} at this place"), help)
                });
            }
        }
        if WINDOWS_DEVICES.contains(&text) {
            return Err(InvalidName::with_help(
                format!("module id `{text}` is the name of a device on Windows"),
                format!("call it `{text}-module`, say"),
            ));
        }
        Ok(Self(text.into()))
    }
}

impl NodeId {
    /// Parses a node id.
    ///
    /// # Errors
    /// Names the first rule that the text breaks; a dash gets an explanation of its own.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_length("node id", text)?;
        for (at, c) in text.char_indices() {
            let fits = c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit());
            if !fits {
                return Err(if c == '-' && at > 0 {
                    InvalidName::with_help(
                        format!("node id `{text}` holds a dash, and `nodes.{text}` would be a subtraction"),
                        format!("write `{}`", text.replace('-', "_")),
                    )
                } else {
                    InvalidName::with_help(
                        format!("node id {text:?} cannot hold {c:?} at this place"),
                        "use letters, digits and `_`, starting with a letter or `_`",
                    )
                });
            }
        }
        Ok(Self(text.into()))
    }
}

impl ResourceName {
    /// Parses the name of a custom resource.
    ///
    /// # Errors
    /// Names the first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_length("resource name", text)?;
        for (at, c) in text.char_indices() {
            let fits = c.is_ascii_lowercase() || (at > 0 && (c.is_ascii_digit() || c == '_' || c == '-'));
            if !fits {
                return Err(InvalidName::with_help(
                    format!("resource name {text:?} cannot hold {c:?} at this place"),
                    "use a-z, 0-9, `_` and `-`, starting with a letter",
                ));
            }
        }
        Ok(Self(text.into()))
    }
}

/// Letters of the random part of a run id: Crockford's base32 in lower case, without letters that look like digits.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl RunId {
    /// Builds the id of a run submitted at `at`, with 25 random bits taken from `random`.
    #[must_use]
    pub fn new(at: crate::units::Timestamp, random: u32) -> Self {
        let stamp = at.compact_utc();
        let mut text = String::with_capacity(21);
        text.push_str(&stamp);
        text.push('-');
        for shift in [20, 15, 10, 5, 0] {
            text.push(char::from(BASE32[(random >> shift) as usize & 31]));
        }
        Self(text.into())
    }

    /// Parses a whole run id (a prefix is a *selector*, resolved against the known runs).
    ///
    /// # Errors
    /// When the text has not the shape `YYYYMMDD-HHMMSS-xxxxx`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let fits = bytes.len() == 21
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                8 | 15 => *byte == b'-',
                16.. => BASE32.contains(byte),
                _ => byte.is_ascii_digit(),
            });
        if fits { Ok(Self(text.into())) } else { Err(InvalidName::new(format!("{text:?} is not a run id (YYYYMMDD-HHMMSS-xxxxx)"))) }
    }
}

fn check_length(what: &str, text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::new(format!("a {what} cannot be empty")));
    }
    if text.len() > NAME_LENGTH_MAX {
        return Err(InvalidName::new(format!("a {what} has at most {NAME_LENGTH_MAX} characters, this one has {}", text.len())));
    }
    Ok(())
}

/// Index of a node in the arrays of one run's state. Stable for the life of the run: nodes are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// The index as a position in an array.
    #[must_use]
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// Number of an attempt of a node, counted from 1. It grows with every retry, so that a late message of an old attempt is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AttemptNumber(pub u32);

impl AttemptNumber {
    /// The first attempt of a node.
    pub const FIRST: Self = Self(1);

    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for AttemptNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One attempt of one node of one run: the key under which an engine reports facts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The run.
    pub run: RunId,
    /// The node within the run.
    pub node: NodeIndex,
    /// Which attempt of the node.
    pub attempt: AttemptNumber,
}

/// Position of a record in the journal, without gaps, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_ids_that_attack_a_path_are_refused() {
        // each of these has opened a hole in some other tool.
        let long = "a".repeat(300);
        for bad in ["-rf", "..", ".git", "CON", "con", "nul", "a/b", "A", "", "а", "a b", "a\0", long.as_str()] {
            assert!(ModuleId::parse(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "0", "fetch-feed", "x_1", &"a".repeat(64)] {
            assert_eq!(ModuleId::parse(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn a_dash_in_a_node_id_is_explained() {
        let refused = NodeId::parse("fetch-feed").expect_err("a dash");
        assert!(refused.reason.contains("subtraction"), "{refused}");
        assert_eq!(refused.help.as_deref(), Some("write `fetch_feed`"));
    }

    #[test]
    fn run_ids_round_trip() {
        let id = RunId::new(crate::units::Timestamp::from_micros(1_763_626_312_123_456), 0x1ff_ffff);
        assert_eq!(id.as_str(), "20251120-081152-zzzzz");
        assert_eq!(RunId::parse(id.as_str()), Ok(id));
        assert!(RunId::parse("../../etc/passwd-12345").is_err());
    }
}
