mod history;
mod memory;
mod quarantine;
mod restored;
mod truncate;
mod unavailable;
mod values;
mod world;

use self::world::World;
use self::world::{Message, event, published};

/// A table whose rows keep a text and a number, with rules that keep rows out.
const THINGS: &str = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
-- @expect small: n < 100 ON VIOLATION QUARANTINE
-- @expect positive: n > 0 ON VIOLATION DROP
SELECT CAST(after ->> 'id' AS BIGINT) AS id, CAST(after ->> 'n' AS BIGINT) AS n, after ->> 't' AS t
FROM bronze.things";

/// The value of `t` where the source does not know it.
const UNKNOWN: &str = "__debezium_unavailable_value";

async fn things(world: &World) -> Vec<String> {
    world
        .rows("SELECT id, n, t FROM silver.things ORDER BY id")
        .await
}

async fn aside(world: &World) -> Vec<String> {
    world
        .rows("SELECT id, n, rule, _offset FROM silver.things__quarantine ORDER BY _offset")
        .await
}
