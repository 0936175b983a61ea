//! Amounts with their unit in the type: bytes, thousandths of a CPU, counted resources, milliseconds, points in time.
//!
//! All are integers in a base unit, because a fit check on floating point numbers is wrong sooner or later. Parsing follows what
//! people write (`2GiB`, `500m`, `30s`, `1h30m`). Nothing here reads a clock. Everybody uses this module.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not an amount. Reads after "the value is refused: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAmount(pub String);

/// A size in bytes. Written as an integer of bytes or with a unit: `kB MB GB TB` (powers of 1000), `KiB MiB GiB TiB` (of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A share of processors in thousandths: `1500` is one and a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuMillis(pub u64);

/// An amount of a counted (custom) resource, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub u64);

/// A length of time in milliseconds. Written `250ms`, `30s`, `5m`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationMs(pub u64);

/// A point in time by the wall clock, in microseconds since 1970 (UTC). For people and records; never compared to measure a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A point in time by a clock that never jumps, in milliseconds since some start. Meaningless outside the process that read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

/// Both clocks, read together by the host and handed down to every decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For records and people.
    pub wall: Timestamp,
    /// For timeouts, grace periods and back-off.
    pub mono: Mono,
}

const BYTE_UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
];

impl Bytes {
    /// Parses `2GiB`, `1.5 GB`, `4096`.
    ///
    /// # Errors
    /// When the number or the unit is not understood, or the size does not fit 64 bits.
    pub fn parse(text: &str) -> Result<Self, InvalidAmount> {
        let (number, unit) = split_number(text);
        let Some((_, factor)) = BYTE_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(InvalidAmount(format!("`{text}` is not a size: write bytes, or a number with kB, MB, GB, KiB, MiB or GiB")));
        };
        scaled(number, *factor).map(Self).ok_or_else(|| InvalidAmount(format!("`{text}` is not a size that fits 64 bits of bytes")))
    }
}

impl CpuMillis {
    /// Parses `2`, `0.5`, `500m`.
    ///
    /// # Errors
    /// When the text is not a number with at most three decimals, optionally followed by `m`.
    pub fn parse(text: &str) -> Result<Self, InvalidAmount> {
        let (number, unit) = split_number(text);
        let value = match unit {
            "" => scaled(number, 1000),
            "m" => scaled(number, 1),
            _ => None,
        };
        value.map(Self).ok_or_else(|| InvalidAmount(format!("`{text}` is not a number of CPUs: write `2`, `0.5` or `500m`")))
    }
}

impl Amount {
    /// Parses `4` or `0.25`.
    ///
    /// # Errors
    /// When the text is not a number with at most three decimals.
    pub fn parse(text: &str) -> Result<Self, InvalidAmount> {
        let (number, unit) = split_number(text);
        let value = if unit.is_empty() { scaled(number, 1000) } else { None };
        value.map(Self).ok_or_else(|| InvalidAmount(format!("`{text}` is not an amount: write a number such as `1` or `0.25`")))
    }
}

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl DurationMs {
    /// Parses `30s`, `1.5h`, `1h30m`, `250ms`. A bare number is refused: nobody can know its unit.
    ///
    /// # Errors
    /// When a number or a unit is not understood.
    pub fn parse(text: &str) -> Result<Self, InvalidAmount> {
        let refused =
            || InvalidAmount(format!("`{text}` is not a duration: write a number with ms, s, m, h or d, such as `30s` or `1h30m`"));
        let mut rest = text.trim();
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(refused());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
            let (number, tail) = rest.split_at(digits);
            let end = tail.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(refused)?;
            let part = scaled(number, factor).ok_or_else(refused)?;
            total = total.checked_add(part).ok_or_else(refused)?;
            rest = tail.trim_start();
        }
        Ok(Self(total))
    }

    /// The same length as the standard library's type.
    #[must_use]
    pub fn to_std(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl Timestamp {
    /// From microseconds since 1970 (UTC).
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970 (UTC).
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Time passed since `earlier`, 0 where the wall clock went backwards meanwhile.
    #[must_use]
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(u64::try_from(self.0.saturating_sub(earlier.0) / 1000).unwrap_or(0))
    }

    /// The point `wait` later.
    #[must_use]
    pub fn plus(self, wait: DurationMs) -> Self {
        Self(self.0.saturating_add_unsigned(wait.0.saturating_mul(1000)))
    }

    /// `20251120-081152`: the head of a run id.
    #[must_use]
    pub fn compact_utc(self) -> String {
        self.zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string()
    }

    /// RFC 3339 in UTC with microseconds, as records and JSON hold it.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.jiff().to_string()
    }

    /// Parses RFC 3339.
    ///
    /// # Errors
    /// When the text is not a time with an offset.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidAmount> {
        let time: jiff::Timestamp = text.parse().map_err(|error| InvalidAmount(format!("`{text}` is not a time: {error}")))?;
        Ok(Self(time.as_microsecond()))
    }

    /// Parses a point in the past as people write it: RFC 3339, a local date with or without a time (`2026-11-20 14:02`), a local time
    /// (`14:02`: the latest one that has come), or how long ago it is (`10m`).
    ///
    /// # Errors
    /// When the text is none of these.
    pub fn parse_past(text: &str, now: Self) -> Result<Self, InvalidAmount> {
        Self::parse_past_in(text, now, &TimeZone::system())
    }

    fn parse_past_in(text: &str, now: Self, zone: &TimeZone) -> Result<Self, InvalidAmount> {
        let text = text.trim();
        let local = |time: jiff::civil::DateTime| time.to_zoned(zone.clone()).map(|zoned| Self(zoned.timestamp().as_microsecond()));
        if let Ok(ago) = DurationMs::parse(text) {
            let ago = i64::try_from(ago.0).unwrap_or(i64::MAX).saturating_mul(1000);
            return Ok(Self(now.0.saturating_sub(ago)));
        }
        if let Ok(time) = text.parse::<jiff::civil::Time>()
            && text.contains(':')
            && !text.contains(['-', 'T', 't'])
        {
            let today = now.zoned(zone.clone()).date();
            let days = [Some(today), today.yesterday().ok(), today.yesterday().and_then(jiff::civil::Date::yesterday).ok()];
            let times = days.into_iter().flatten().filter_map(|day| local(day.to_datetime(time)).ok());
            return times.filter(|time| *time <= now).max().ok_or_else(|| not_past(text));
        }
        match Self::parse_rfc3339(text) {
            Ok(time) => Ok(time),
            Err(_) => text.parse().ok().and_then(|time| local(time).ok()).ok_or_else(|| not_past(text)),
        }
    }

    /// `2025-11-20 09:11:52` in the zone of the system, for people.
    #[must_use]
    pub fn local(self) -> String {
        self.zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// `09:11:52` in the zone of the system, for progress lines.
    #[must_use]
    pub fn local_time(self) -> String {
        self.zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
    }

    fn zoned(self, zone: TimeZone) -> jiff::Zoned {
        self.jiff().to_zoned(zone)
    }

    fn jiff(self) -> jiff::Timestamp {
        // Out of jiff's range (years -9999 to 9999) only for a damaged record; the nearest end is as good as any.
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX })
    }
}

fn not_past(text: &str) -> InvalidAmount {
    InvalidAmount(format!(
        "`{text}` is no time: write `14:02`, `2026-11-20 14:02`, RFC 3339 such as `2026-11-20T14:02:00Z`, or how long ago, such as `10m`"
    ))
}

impl Mono {
    /// The point `wait` later.
    #[must_use]
    pub fn plus(self, wait: DurationMs) -> Self {
        Self(self.0.saturating_add(wait.0))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

/// How people write it in files; what we write ourselves is always an integer of this unit.
macro_rules! schema_as {
    ($type:ty, $name:literal, written as $unit:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                if generator.contract().is_serialize() {
                    return schemars::json_schema!({"description": $unit, "type": "integer", "minimum": 0});
                }
                schemars::json_schema!($schema)
            }
        }
    };
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

schema_as!(Bytes, "Bytes", written as "A number of bytes.", {
    "description": "A size: bytes as an integer, or a number with kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024).",
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(B|[kKMGT]B|[KMGT]iB|[KMG])?$"}]
});
schema_as!(CpuMillis, "Cpus", written as "Thousandths of a CPU.", {
    "description": "A number of CPUs, in steps of a thousandth: 2, 0.5 or \"500m\".",
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,3})?m?$"}]
});
schema_as!(Amount, "Amount", written as "Thousandths of a counted resource.", {
    "description": "An amount of a counted resource, in steps of a thousandth.",
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,3})?$"}]
});
schema_as!(DurationMs, "Duration", written as "Milliseconds.", {
    "description": "A length of time: a number with ms, s, m, h or d, such as 30s or 1h30m.",
    "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d) ?)+$"
});
schema_as!(Timestamp, "Timestamp", {
    "description": "A point in time, RFC 3339 in UTC.",
    "type": "string", "format": "date-time"
});

/// Splits `1.5 GiB` into `1.5` and `GiB`.
fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `number * factor` in integers, where `number` is a decimal text. `None` where it is no number, loses a digit or does not fit.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if number.contains('.') && (fraction.is_empty() || fraction.len() > 9) {
        return None;
    }
    let tens = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits = whole.parse::<u128>().ok()?.checked_mul(tens)? + if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let product = digits.checked_mul(u128::from(factor))?;
    // A size such as 1.1 KiB is no whole number of bytes: rounding down is what everybody expects there. A thousandth of a CPU that
    // is cut further is refused by the small factors (1 and 1000) alone.
    if factor <= 1000 && product % tens != 0 {
        return None;
    }
    u64::try_from(product / tens).ok()
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let text = match UNITS.iter().find(|(_, size)| self.0 >= *size) {
            None => format!("{} B", self.0),
            Some((unit, size)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(*size);
                if tenths % 10 == 0 { format!("{} {unit}", tenths / 10) } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
            }
        };
        f.pad(&text)
    }
}

fn thousandths(value: u64) -> String {
    if value.is_multiple_of(1000) {
        return (value / 1000).to_string();
    }
    format!("{}.{:03}", value / 1000, value % 1000).trim_end_matches('0').to_owned()
}

impl fmt::Display for CpuMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&thousandths(self.0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&thousandths(self.0))
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        let text = match ms {
            0..1_000 => format!("{ms}ms"),
            1_000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
            60_000..3_600_000 => format!("{}m {:02}s", ms / 60_000, ms % 60_000 / 1000),
            _ => format!("{}h {:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("2GiB", 2 << 30), ("1.5 GB", 1_500_000_000), ("4096", 4096), ("1kB", 1000), ("0.5KiB", 512)] {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "GiB", "-1", "1e9", "2 gib", "99999999999TiB", "1..2"] {
            assert!(Bytes::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Bytes(3 << 29).to_string(), "1.5 GiB");
    }

    #[test]
    fn cpus_and_amounts() {
        assert_eq!(CpuMillis::parse("0.5"), Ok(CpuMillis(500)));
        assert_eq!(CpuMillis::parse("500m"), Ok(CpuMillis(500)));
        assert!(CpuMillis::parse("0.0001").is_err());
        assert_eq!(Amount::parse("0.25"), Ok(Amount(250)));
        assert_eq!(CpuMillis(1500).to_string(), "1.5");
    }

    #[test]
    fn durations() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000), ("2d", 172_800_000)] {
            assert_eq!(DurationMs::parse(text), Ok(DurationMs(ms)), "{text}");
        }
        for bad in ["", "30", "s", "1w", "-1s", "1s30"] {
            assert!(DurationMs::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn points_in_the_past() {
        // 20 November 2025, 09:11:52 in Prague; the clocks went back on 26 October.
        let now = Timestamp::from_micros(1_763_626_312_000_000);
        let zone = TimeZone::get("Europe/Prague").unwrap_or(TimeZone::fixed(jiff::tz::offset(1)));
        let parse = |text: &str, now| Timestamp::parse_past_in(text, now, &zone).map(Timestamp::rfc3339);
        for (text, time) in [
            ("09:00", "2025-11-20T08:00:00Z"),
            ("09:11:52", "2025-11-20T08:11:52Z"),
            ("14:02", "2025-11-19T13:02:00Z"),
            ("2025-11-20 08:30", "2025-11-20T07:30:00Z"),
            ("2025-11-20T08:30:15", "2025-11-20T07:30:15Z"),
            ("2025-11-20", "2025-11-19T23:00:00Z"),
            ("2025-11-20T08:30:00Z", "2025-11-20T08:30:00Z"),
            ("2025-11-20T08:30:00+01:00", "2025-11-20T07:30:00Z"),
            ("10m", "2025-11-20T08:01:52Z"),
            ("1h30m", "2025-11-20T06:41:52Z"),
        ] {
            assert_eq!(parse(text, now).as_deref(), Ok(time), "{text}");
        }
        for bad in ["", "25:00", "soon", "14", "2025-13-01", "-10m", "yesterday"] {
            assert!(parse(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_round_trip() {
        let time = Timestamp::from_micros(1_763_626_312_123_456);
        assert_eq!(time.rfc3339(), "2025-11-20T08:11:52.123456Z");
        assert_eq!(Timestamp::parse_rfc3339(&time.rfc3339()), Ok(time));
    }
}
