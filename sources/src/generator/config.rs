use std::sync::Arc;

use changes::{Error, Result};
use serde::Deserialize;

use super::chaos::Chaos;
use crate::hr::Workbook;

/// `[generator]` of the configuration: what `up` feeds itself with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Off when a real source feeds the topics.
    pub enabled: bool,
    /// Days of activities before the first start, played once.
    pub days: u32,
    /// Live events a second after that; 0 = none.
    pub rate: f64,
    /// The same seed gives the same activities for the same employees.
    pub seed: u64,
    /// Who plays, instead of the employees that the source knows.
    #[serde(skip)]
    pub employees: Option<Arc<Workbook>>,
    /// What goes wrong.
    #[serde(skip)]
    pub chaos: Chaos,
}

const MAX_DAYS: u32 = 3660;
const MAX_RATE: f64 = 100_000.0;

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            days: 365,
            rate: 1.0,
            seed: 42,
            employees: None,
            chaos: Chaos::default(),
        }
    }
}

impl GeneratorConfig {
    pub fn validate(&self) -> Result<()> {
        if !(1..=MAX_DAYS).contains(&self.days) {
            return Err(Error::invalid(format!("generator.days is {}", self.days))
                .hint(format!("Write a number from 1 to {MAX_DAYS}.")));
        }
        if !(0.0..=MAX_RATE).contains(&self.rate) {
            return Err(Error::invalid(format!("generator.rate is {}", self.rate))
                .hint(format!("Write events a second, from 0 to {MAX_RATE}.")));
        }
        self.chaos.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_out_of_range_are_refused() {
        let with = |days, rate| GeneratorConfig {
            days,
            rate,
            ..GeneratorConfig::default()
        };
        assert!(with(365, 0.0).validate().is_ok());
        for bad in [
            with(0, 1.0),
            with(9999, 1.0),
            with(1, -1.0),
            with(1, f64::NAN),
            with(1, 1e9),
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<GeneratorConfig>("speed = 2").is_err());
        let config: GeneratorConfig = toml::from_str("rate = 2.5").expect("valid");
        assert_eq!(config.rate, 2.5);
        assert_eq!(config.days, 365);
    }
}
