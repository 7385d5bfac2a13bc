//! Offline estimate of the way from home to the office.
//!
//! Great circle from the commune of the address to the office, times a detour factor. Deliberately coarse: it needs no network
//! and says when it does not know.

mod communes;
mod estimate;

pub use communes::{Commune, Communes};
pub use estimate::{DETOUR_FACTOR, Estimate, Flag, OFFICE, Position, SOURCE, estimate};
