//! What the bytes of a Debezium envelope say about a row: its images, the values left out, and their one form.
//!
//! It holds no Kafka, no Arrow and no DataFusion, and is optimised in every profile: a fold asks it for each message.

mod image;
mod logical;
mod merge;
pub mod unavailable;

pub use image::{RowImages, key_image};
pub use logical::{LogicalTypes, base64_decimal, variable_decimal};
pub use merge::merged;
