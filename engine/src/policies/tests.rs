//! Roles on a real lake, attacked by whatever a statement can do.

mod attacks;
mod file;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;

use crate::error::Result;
use crate::principal::Principal;
use crate::reader::{Reader, ReaderConfig, Session};
use crate::refresh::tests::{World, write};
use crate::session::SourceConfig;

const LOCK: &str = r#"format = 1
[bronze.people]
topic = "t.public.people"
key = ["id"]
[bronze.people.fields]
id = "int64"
name = "string"
bu = "string"
pay = "int64"
"#;

const PEOPLE: &str = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
-- @expect paid: pay > 0 ON VIOLATION QUARANTINE
SELECT CAST(after ->> 'id' AS BIGINT) AS id, after ->> 'name' AS name, after ->> 'bu' AS bu,
       CAST(after ->> 'pay' AS BIGINT) AS pay
FROM bronze.people";

const BONUS: &str = "-- @key id
SELECT id, bu, pay * 5 AS bonus, CASE WHEN pay > 4000 THEN 'high' ELSE 'low' END AS band,
       pay - (SELECT max(p.pay) FROM silver.people p) AS below, row_number() OVER (ORDER BY pay, id) AS place
FROM silver.people";

const BY_BU: &str = "-- @key bu
SELECT bu, count(*) AS n, sum(bonus) AS total FROM gold.bonus GROUP BY bu";

/// `clerk` sees the north without pay; `own` one row; `all` everything; `team` and `own` meet in tests of two roles.
const POLICIES: &str = "CREATE ROLE clerk, own, all_of_it, team;
GRANT SELECT ON SCHEMA gold TO clerk;
GRANT SELECT (id, name, bu) ON silver.people TO clerk;
CREATE POLICY north ON silver.people, gold.bonus, gold.by_bu TO clerk USING (bu = attribute('bu'));
CREATE MASK ON silver.people (pay) TO clerk USING (NULL);

GRANT SELECT ON silver.people TO own;
CREATE POLICY self ON silver.people TO own USING (id = CAST(attribute('id') AS BIGINT));

GRANT SELECT ON SCHEMA bronze, silver, gold, main, quality TO all_of_it;

GRANT SELECT ON silver.people TO team;
CREATE MASK ON silver.people (pay) TO team USING (0);
CREATE TOTALS gold.pay_by_bu TO team AT LEAST 3 id AS
SELECT bu, count(*) AS n, sum(pay) AS pay, avg(pay) AS mean FROM silver.people GROUP BY bu;
";

/// A lake of seven people in three units, one of them deleted and one kept aside, and its policies.
struct Lake {
    world: World,
    reader: Reader,
}

impl Lake {
    async fn new() -> Self {
        Self::with(POLICIES).await
    }

    async fn with(policies: &str) -> Self {
        let mut world = World::new().await;
        std::fs::remove_file(world.sql("gold/totals.sql")).expect("there");
        std::fs::remove_file(world.sql("gold/below.sql")).expect("there");
        for (path, text) in [
            ("sources.lock", LOCK),
            ("silver/people.sql", PEOPLE),
            ("gold/bonus.sql", BONUS),
            ("gold/by_bu.sql", BY_BU),
            ("policies.sql", policies),
        ] {
            write(&world.sql(path), text);
        }
        let mut refresher = world.refresher().await;
        let row = |id: i64, name: &str, bu: &str, pay: i64| {
            format!(r#"{{"id":{id},"name":"{name}","bu":"{bu}","pay":{pay}}}"#)
        };
        let rows = [
            ("r", row(1, "Anne", "north", 3000)),
            ("r", row(2, "Bob", "north", 4500)),
            ("r", row(3, "Chloe", "south", 5000)),
            ("r", row(4, "Denis", "south", 5100)),
            ("r", row(5, "Eva", "south", 5200)),
            ("r", row(6, "Gone", "north", 7777)),
            ("d", row(6, "Gone", "north", 7777)),
            ("r", row(7, "Aside", "north", -8888)),
        ];
        let events: Vec<(i64, &str, &str)> = (1..)
            .zip(&rows)
            .map(|(lsn, (op, row))| (lsn, *op, row.as_str()))
            .collect();
        world.events(&events).await;
        refresher.turn().await.expect("a turn");
        let config = (ReaderConfig::default(), SourceConfig::default());
        let reader = Reader::new(world.lake.clone(), &config.0, &config.1).expect("a reader");
        let reader = reader.with_policies(&world.sql(""));
        Self { world, reader }
    }

    async fn session(&self, principal: &Principal) -> Result<Session> {
        let newest = self.reader.latest().await?;
        self.reader.session_of(newest, principal).await
    }

    async fn ask(&self, principal: &Principal, sql: &str) -> Result<Vec<String>> {
        let session = self.session(principal).await?;
        let rows = session.prepare(sql).await?.execute().await?;
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        Ok(batches.iter().flat_map(texts).collect())
    }

    async fn rows(&self, principal: &Principal, sql: &str) -> Vec<String> {
        let rows = self.ask(principal, sql).await;
        rows.unwrap_or_else(|error| vec![format!("error: {error}")])
    }

    async fn refusal(&self, principal: &Principal, sql: &str) -> String {
        match self.ask(principal, sql).await {
            Ok(rows) => format!("not refused: {rows:?}"),
            Err(error) => format!("{error} | {}", error.hint_text().unwrap_or_default()),
        }
    }
}

fn somebody(roles: &[&str], attributes: &[(&str, &str)]) -> Principal {
    let roles = roles.iter().map(|role| (*role).to_owned());
    let attributes = attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<BTreeMap<_, _>>();
    Principal::new("somebody", roles, attributes)
}

fn clerk() -> Principal {
    somebody(&["clerk"], &[("bu", "north")])
}

fn operator() -> Principal {
    Principal::operator("anonymous")
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(Arc::as_ref(column), &options).expect("printable"))
        .collect();
    let row = |row| {
        let cells: Vec<String> = columns
            .iter()
            .map(|cells| cells.value(row).to_string())
            .collect();
        cells.join(",")
    };
    (0..batch.num_rows()).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_sees_its_rows_and_columns() {
    let lake = Lake::new().await;
    let people = lake
        .rows(&clerk(), "SELECT * FROM silver.people ORDER BY id")
        .await;
    assert_eq!(people, ["1,Anne,north", "2,Bob,north"]);
    let own = somebody(&["own"], &[("id", "4")]);
    let rows = lake.rows(&own, "SELECT * FROM silver.people").await;
    assert_eq!(rows, ["4,Denis,south,5100"]);
    let all = somebody(&["all_of_it"], &[]);
    let count = lake
        .rows(&all, "SELECT count(*), sum(pay) FROM silver.people")
        .await;
    assert_eq!(count, ["5,22800"]);
    assert_eq!(
        lake.rows(
            &operator(),
            "SELECT count(*) FROM silver.people__quarantine"
        )
        .await,
        ["1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_covers_what_is_computed_from_it() {
    let lake = Lake::new().await;
    let bonus = "SELECT id, bu, bonus, band, below, place FROM gold.bonus ORDER BY id";
    let rows = lake.rows(&clerk(), bonus).await;
    assert_eq!(
        rows,
        ["1,north,NULL,NULL,NULL,NULL", "2,north,NULL,NULL,NULL,NULL"]
    );
    let rows = lake
        .rows(&clerk(), "SELECT bu, n, total FROM gold.by_bu")
        .await;
    assert_eq!(rows, ["north,2,NULL"]);
    let rows = lake.rows(&operator(), bonus).await;
    assert_eq!(rows[0], "1,north,15000,low,-2200,1");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_roles_see_cell_by_cell_what_either_sees() {
    let lake = Lake::new().await;
    let both = somebody(&["clerk", "own"], &[("bu", "north"), ("id", "1")]);
    let rows = lake
        .rows(&both, "SELECT * FROM silver.people ORDER BY id")
        .await;
    assert_eq!(rows, ["1,Anne,north,3000", "2,Bob,north,NULL"]);
    let both = somebody(&["own", "team"], &[("id", "3")]);
    let rows = lake
        .rows(&both, "SELECT id, pay FROM silver.people ORDER BY id")
        .await;
    assert_eq!(rows, ["1,0", "2,0", "3,5000", "4,0", "5,0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_unknown_or_lacks_an_attribute_sees_nothing() {
    let lake = Lake::new().await;
    let sql = "SELECT count(*) FROM silver.people";
    assert_eq!(lake.rows(&somebody(&["clerk"], &[]), sql).await, ["0"]);
    for nobody in [somebody(&[], &[]), somebody(&["stranger"], &[])] {
        let refused = lake.refusal(&nobody, sql).await;
        assert!(
            refused.contains("'sportlake.silver.people' not found"),
            "{refused}"
        );
    }
    let quoting = somebody(&["clerk"], &[("bu", "x' OR 'a' = 'a")]);
    assert_eq!(lake.rows(&quoting, sql).await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_keep_small_groups_back() {
    let lake = Lake::new().await;
    let team = somebody(&["team"], &[]);
    let totals = "SELECT bu, n, pay, mean FROM gold.pay_by_bu ORDER BY bu";
    assert_eq!(lake.rows(&team, totals).await, ["south,3,15300,5100.0"]);
    let total = "SELECT sum(pay) FROM gold.pay_by_bu WHERE bu = 'north'";
    assert_eq!(lake.rows(&team, total).await, ["NULL"]);
    assert!(
        lake.refusal(&operator(), totals)
            .await
            .contains("not found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_that_few_contribute_to_is_kept_back() {
    let policies = "CREATE ROLE team;
        CREATE TOTALS gold.dear TO team AT LEAST 3 id AS
        SELECT sum(below) AS below, count(below) AS counted, count(*) AS n FROM gold.bonus;";
    let lake = Lake::with(policies).await;
    let team = somebody(&["team"], &[]);
    // One of five has nothing below the highest pay, so four contribute.
    assert_eq!(
        lake.rows(&team, "SELECT below, counted, n FROM gold.dear")
            .await,
        ["-3200,5,5"]
    );
    let lake = Lake::with(&policies.replace("LEAST 3", "LEAST 5")).await;
    assert_eq!(
        lake.rows(&team, "SELECT below, counted, n FROM gold.dear")
            .await,
        ["NULL,5,5"]
    );
}
