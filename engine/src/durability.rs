//! What must hold after every crash, power cut and failing disk: acknowledged rows are there once, epochs are whole,
//! gold is right, and the roles go on from there.
//!
//! `SPORTLAKE_CUTS=all` tries every moment instead of a sample, a number so many, `each` one of each named step;
//! `SPORTLAKE_SEED` draws another sample.

mod abort;
mod failures;
mod give_up;
mod power_cut;
mod steps;
mod world;
