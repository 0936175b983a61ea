//! Decimal numbers as they are written, without the detour over binary fractions: 0.1 s are 100 ms, not a little more.

/// `digits * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    digits: u128,
    exponent: i32,
}

/// More digits than any measured time has; the others are cut.
const DIGITS_MAX: usize = 25;

impl Decimal {
    /// One.
    pub const ONE: Self = Self { digits: 1, exponent: 0 };

    /// Parses `12`, `0.5`, `1.5e-3`. `None` for anything else, negative numbers among them (but -0).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, negative) = match text.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.strip_prefix('+').unwrap_or(exponent).parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let all: String = whole.chars().chain(fraction.chars()).collect();
        let significant = all.trim_start_matches('0');
        let kept = &significant[..significant.len().min(DIGITS_MAX)];
        let digits = if kept.is_empty() { 0 } else { kept.parse().ok()? };
        if negative && digits > 0 {
            return None;
        }
        let cut = i32::try_from(significant.len() - kept.len()).ok()?;
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(cut)?;
        Some(Self { digits, exponent })
    }

    /// How many units of `10^unit` it is times `factor`, rounded; `None` where that does not fit.
    #[must_use]
    pub fn times(self, factor: Self, unit: i32) -> Option<u64> {
        let exponent = self.exponent.checked_add(factor.exponent)?.checked_sub(unit)?;
        let mut product = Wide::of(self.digits, factor.digits);
        if product.0 == 0 {
            return Some(0);
        }
        if exponent >= 0 {
            let value = (0..exponent).try_fold(product.0, |value, _| value.checked_mul(10))?;
            let value = (0..product.1).try_fold(value, |value, _| value.checked_mul(10))?;
            return u64::try_from(value).ok();
        }
        let shift = exponent.checked_add(i32::try_from(product.1).ok()?)?;
        if shift >= 0 {
            product.1 = 0;
            return (0..shift).try_fold(product.0, |value, _| value.checked_mul(10)).and_then(|value| u64::try_from(value).ok());
        }
        let mut value = product.0;
        for _ in 0..(-shift - 1) {
            if value == 0 {
                return Some(0);
            }
            value /= 10;
        }
        u64::try_from((value + 5) / 10).ok()
    }
}

/// A product with as many digits as fit, and how many were cut.
struct Wide(u128, u32);

impl Wide {
    fn of(one: u128, other: u128) -> Self {
        let (mut one, mut other, mut cut) = (one, other, 0);
        loop {
            match one.checked_mul(other) {
                Some(product) => return Self(product, cut),
                None if one > other => one /= 10,
                None => other /= 10,
            }
            cut += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_they_are_written() {
        let millis = |text: &str, scale: &str| Decimal::parse(text)?.times(Decimal::parse(scale)?, -3);
        for (text, scale, expected) in [
            ("1", "1", 1000),
            ("534.058", "1", 534_058),
            ("0.0004", "1", 0),
            ("0.0005", "1", 1),
            ("1.5e-3", "1", 2),
            ("1E3", "1", 1_000_000),
            ("1e+2", "0.01", 1000),
            ("-0", "1", 0),
            ("0.1", "3", 300),
            ("534.058", "0.001", 534),
            ("123456789.123456789123456789123456789", "1", 123_456_789_123),
            ("0.123456789123456789123456789", "0.333333333333333333333333", 41),
            ("1e-400", "1", 0),
        ] {
            assert_eq!(millis(text, scale), Some(expected), "{text} * {scale}");
        }
        for bad in ["", "-1", "NaN", "1.2.3", "1e", ".5", "1e99", "0x10", "1e999999999999"] {
            assert_eq!(millis(bad, "1"), None, "{bad}");
        }
    }
}
