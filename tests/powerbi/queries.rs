//! The statements that Power BI makes for a visual, in the shape its connectors fold them to, and each one's plain form.

use serde_json::{Value, json};

use super::dax::{self, Reference};
use super::model::{Model, Relationship};
use super::report::{Field, Visual};

/// What Power BI asks the source for: totals of one table; quotients are its own work.
#[derive(Debug, Clone)]
struct Aggregate {
    function: &'static str,
    table: String,
    column: Option<String>,
    filter: Option<(String, String)>,
}

/// One statement for each total that the visual's measures rest on, or one for its columns.
pub(super) fn of(visual: &Visual, model: &Model) -> Result<Vec<Value>, String> {
    let mut groups = Vec::new();
    let mut aggregates = Vec::new();
    for field in &visual.fields {
        match field {
            Field::Column(table, column) => groups.push((table.clone(), column.clone())),
            Field::Measure(_, measure) => aggregates.extend(of_measure(model, measure)?),
        }
    }
    let statements = if aggregates.is_empty() {
        vec![rows(model, &groups)]
    } else {
        aggregates
            .iter()
            .map(|aggregate| total(model, &groups, aggregate))
            .collect()
    };
    let named = |(folded, plain)| json!({"visual": visual.name, "folded": folded, "plain": plain});
    Ok(statements.into_iter().map(named).collect())
}

fn of_measure(model: &Model, measure: &str) -> Result<Vec<Aggregate>, String> {
    let unknown = || format!("[{measure}] is written in a way that these tests do not know");
    let (_, dax) = model.measure(measure).ok_or_else(unknown)?;
    let mut found = Vec::new();
    let mut references = dax::references(dax)?.into_iter();
    while let Some(reference) = references.next() {
        let function = match reference {
            Reference::Bare(inner) => {
                found.extend(of_measure(model, &inner)?);
                continue;
            }
            Reference::Function(function) => function,
            _ => return Err(unknown()),
        };
        match function.as_str() {
            "DIVIDE" | "TRUE" => {}
            "COUNTROWS" => match references.next() {
                Some(Reference::Table(table)) => found.push(Aggregate {
                    function: "count",
                    table,
                    column: None,
                    filter: None,
                }),
                _ => return Err(unknown()),
            },
            "CALCULATE" => match (references.next(), references.next()) {
                (Some(Reference::Bare(inner)), Some(Reference::Qualified(_, column))) => {
                    let filter = Some((column, condition(dax)));
                    found.extend(of_measure(model, &inner)?.into_iter().map(|aggregate| {
                        Aggregate {
                            filter: filter.clone(),
                            ..aggregate
                        }
                    }));
                }
                _ => return Err(unknown()),
            },
            name => match references.next() {
                Some(Reference::Qualified(table, column)) => found.push(Aggregate {
                    function: if name == "SUM" { "sum" } else { "max" },
                    table,
                    column: Some(column),
                    filter: None,
                }),
                _ => return Err(unknown()),
            },
        }
    }
    Ok(found)
}

/// `> 0` of `CALCULATE ( [m], 'T'[c] > 0 )`.
fn condition(dax: &str) -> String {
    let (_, after) = dax.rsplit_once(']').expect("a column");
    let condition = after.trim().replace("TRUE ()", "true");
    condition.trim_end_matches(')').trim().to_owned()
}

fn rows(model: &Model, groups: &[(String, String)]) -> (String, String) {
    let table = &model.tables[&groups[0].0];
    assert!(
        groups.iter().all(|(of, _)| *of == groups[0].0),
        "{groups:?}"
    );
    let columns: Vec<String> = groups
        .iter()
        .map(|(_, column)| quoted(&table.columns[column].source))
        .collect();
    let columns = columns.join(", ");
    let from = format!("\"gold\".{}", quoted(&table.source));
    (
        format!(
            "select {columns} from ( select {columns} from {from} group by {columns} LIMIT 1000001 ) as \"ITBL\" \
             order by {columns}"
        ),
        format!("SELECT DISTINCT {columns} FROM {from}"),
    )
}

fn total(model: &Model, groups: &[(String, String)], aggregate: &Aggregate) -> (String, String) {
    let fact = &model.tables[&aggregate.table];
    let source = |column: &String| quoted(&fact.columns[column].source);
    let mut inner = Vec::new();
    let mut keys = Vec::new();
    let mut plain = Vec::new();
    let mut joined = None;
    for (n, (table, column)) in groups.iter().enumerate() {
        let own = *table == aggregate.table;
        let alias = if own { "OTBL" } else { "ITBL" };
        if !own {
            joined = Some(table);
        }
        let name = quoted(&model.tables[table].columns[column].source);
        inner.push(format!("\"{alias}\".{name} as \"c{n}\""));
        plain.push(format!("\"{alias}\".{name}"));
        keys.push(format!("\"c{n}\""));
    }
    let value = match &aggregate.column {
        Some(column) => {
            inner.push(format!("\"OTBL\".{} as \"x\"", source(column)));
            (
                format!("{}(\"x\")", aggregate.function),
                format!("{}(\"OTBL\".{})", aggregate.function, source(column)),
            )
        }
        None => ("count(*)".to_owned(), "count(*)".to_owned()),
    };
    if let Some((column, _)) = &aggregate.filter {
        inner.push(format!("\"OTBL\".{} as \"f\"", source(column)));
    }
    if inner.is_empty() {
        inner.push("1 as \"one\"".to_owned());
    }
    let from = format!("\"gold\".{} as \"OTBL\"", quoted(&fact.source));
    let (folded_join, plain_join) =
        joined.map_or_else(Default::default, |to| join(model, &aggregate.table, to));
    let (folded_where, plain_where) =
        aggregate
            .filter
            .as_ref()
            .map_or_else(Default::default, |(column, is)| {
                let own = source(column);
                (
                    format!(" where \"f\" {is}"),
                    format!(" WHERE \"OTBL\".{own} {is}"),
                )
            });
    let list = |mut names: Vec<String>, last: String| {
        names.push(last);
        names.join(", ")
    };
    let group = |word: &str, names: &[String]| {
        if names.is_empty() {
            String::new()
        } else {
            format!(" {word} {}", names.join(", "))
        }
    };
    (
        format!(
            "select {} from (select {} from (select {} from {from}{folded_join}) as \"ITBL\"{folded_where}{}) as \"ITBL\" \
             where not \"a0\" is null limit 1000001",
            list(keys.clone(), "\"a0\"".to_owned()),
            list(keys.clone(), format!("{} as \"a0\"", value.0)),
            inner.join(", "),
            group("group by", &keys),
        ),
        format!(
            "SELECT {} FROM {from}{plain_join}{plain_where}{}",
            list(plain.clone(), value.1),
            group("GROUP BY", &plain),
        ),
    )
}

/// Left, and equal where both are unknown: as Power BI joins, and as SQL has it.
fn join(model: &Model, from: &str, to: &str) -> (String, String) {
    let direct = |found: &&Relationship| found.from.0 == from && found.to.0 == to;
    let found = model.relationships.iter().find(direct);
    let found = found.expect("a relationship between the visual's tables");
    let column =
        |(table, column): &(String, String)| quoted(&model.tables[table].columns[column].source);
    let (many, one) = (column(&found.from), column(&found.to));
    let table = quoted(&model.tables[to].source);
    (
        format!(
            " left outer join \"gold\".{table} as \"ITBL\" on (\"OTBL\".{many} = \"ITBL\".{one} \
             or \"OTBL\".{many} is null and \"ITBL\".{one} is null)"
        ),
        format!(
            " LEFT JOIN \"gold\".{table} AS \"ITBL\" ON \"OTBL\".{many} IS NOT DISTINCT FROM \"ITBL\".{one}"
        ),
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
