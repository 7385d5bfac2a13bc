//! The way from home to the office: measured by a provider, or estimated offline.
//!
//! The estimate is the great circle from the commune of the address to the office, times a detour factor. Deliberately
//! coarse: it needs no network and says when it does not know. A provider is asked about those who come by sport, once for
//! an address and a mode, and its answer is believed where it fits the commune.

mod cache;
mod communes;
mod config;
mod database;
mod estimate;
mod inquiry;
mod judgement;
mod measure;
mod provider;
mod survey;

pub use communes::{Commune, Communes};
pub use config::{CommuteConfig, Key, ProviderName};
pub use database::measure_into;
pub use estimate::{DETOUR_FACTOR, Estimate, Flag, OFFICE, Position, SOURCE, estimate};
pub use measure::{MeasureOptions, MeasureReport, Measured, Progress, measure};

/// What a call that came too soon is told by.
const QUOTA: &str = "too many calls";
