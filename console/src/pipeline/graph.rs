//! The graph of tables: each stands to the right of all that it reads.

use std::collections::BTreeMap;

use engine::{Freshness, TableName, TableState};
use maud::{Markup, html};

use super::Seen;
use crate::visit::Visit;

const WIDTH: usize = 210;
const HEIGHT: usize = 46;
const ACROSS: usize = 64;
const DOWN: usize = 14;
const MARGIN: usize = 4;

/// Characters of a name that fit into its box.
const LONGEST_NAME: usize = 26;

/// Where a table stands: its column and its line.
type Place = (usize, usize);

pub(super) fn drawn(visit: &Visit, seen: &Seen<'_>) -> Markup {
    let tables: BTreeMap<&TableName, &TableState> = seen.tables().collect();
    let places = placed(&tables);
    let columns = places.values().map(|place| place.0 + 1).max().unwrap_or(1);
    let lines = places.values().map(|place| place.1 + 1).max().unwrap_or(1);
    let width = columns * (WIDTH + ACROSS) - ACROSS + 2 * MARGIN;
    let height = lines * (HEIGHT + DOWN) - DOWN + 2 * MARGIN;
    let label = visit.say(
        "Graphe des tables, de gauche à droite ; le tableau qui suit dit la même chose",
        "Graph of the tables, from left to right; the table below says the same",
    );
    html! {
        div.graph role="region" aria-label=(label) tabindex="0" {
            svg width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
                g aria-hidden="true" {
                    @for (name, state) in &tables {
                        @for from in state.inputs.keys().filter_map(|input| places.get(input)) {
                            path.edge d=(edge(*from, places[name])) {}
                        }
                    }
                }
                @for (name, state) in &tables { (node(visit, seen, name, state, places[name])) }
            }
        }
    }
}

fn node(
    visit: &Visit,
    seen: &Seen<'_>,
    name: &TableName,
    state: &TableState,
    place: Place,
) -> Markup {
    let (x, y) = corner(place);
    let held = state.state == Freshness::Held;
    let rows = state.rows.filter(|_| seen.is_whole(name));
    let rows = rows.map(|rows| {
        let lines = visit.say("lignes", "rows");
        format!("{} {lines}", visit.language.whole(rows.into()))
    });
    let about = match (held, rows) {
        (true, _) => visit.say("retenue", "held").to_owned(),
        (false, Some(rows)) => rows,
        (false, None) => visit.say("fraîche", "fresh").to_owned(),
    };
    html! {
        a.node.held[held] href={ "/pipeline/" (name) } {
            title { (name) ", " (about) }
            rect x=(x) y=(y) width=(WIDTH) height=(HEIGHT) rx="7" {}
            text.name x=(x + 12) y=(y + 19) { (shortened(&name.to_string())) }
            text.about x=(x + 12) y=(y + 36) { (about) }
        }
    }
}

/// Columns by the longest way from a table without inputs; lines so that a table is near those it reads.
fn placed<'a>(tables: &BTreeMap<&'a TableName, &TableState>) -> BTreeMap<&'a TableName, Place> {
    let mut depths: BTreeMap<&TableName, usize> = tables.keys().map(|name| (*name, 0)).collect();
    // The graph has no cycles, so its longest way has fewer steps than it has tables.
    for _ in 0..tables.len() {
        let mut moved = false;
        for (name, state) in tables {
            let inputs = state.inputs.keys().filter_map(|input| depths.get(input));
            let depth = inputs.max().map_or(0, |deepest| deepest + 1);
            moved |= depths.insert(name, depth) != Some(depth);
        }
        if !moved {
            break;
        }
    }
    // What reads nothing stands beside the first that reads it.
    let first_reader = |name: &TableName| {
        let readers = tables
            .iter()
            .filter(|(_, state)| state.inputs.contains_key(name));
        readers
            .filter_map(|(reader, _)| depths.get(reader))
            .min()
            .copied()
    };
    let begun: Vec<(&TableName, usize)> = tables
        .iter()
        .filter(|(_, state)| state.inputs.is_empty())
        .filter_map(|(name, _)| Some((*name, first_reader(name)?.saturating_sub(1))))
        .collect();
    depths.extend(begun);
    let mut columns: BTreeMap<usize, Vec<&TableName>> = BTreeMap::new();
    for (name, depth) in depths {
        columns.entry(depth).or_default().push(name);
    }
    let mut places: BTreeMap<&TableName, Place> = BTreeMap::new();
    for (column, mut names) in columns {
        let middle = |name: &TableName| {
            let inputs = tables[name].inputs.keys();
            let lines: Vec<usize> = inputs
                .filter_map(|input| Some(places.get(input)?.1))
                .collect();
            lines.iter().sum::<usize>() * 1_000 / lines.len().max(1)
        };
        names.sort_by_key(|name| (middle(name), *name));
        for (line, name) in names.into_iter().enumerate() {
            places.insert(name, (column, line));
        }
    }
    places
}

fn corner((column, line): Place) -> (usize, usize) {
    (
        MARGIN + column * (WIDTH + ACROSS),
        MARGIN + line * (HEIGHT + DOWN),
    )
}

/// From the right side of one box to the left side of another.
fn edge(from: Place, to: Place) -> String {
    let (from, to) = (corner(from), corner(to));
    let (x1, y1) = (from.0 + WIDTH, from.1 + HEIGHT / 2);
    let (x2, y2) = (to.0, to.1 + HEIGHT / 2);
    let bend = ACROSS / 2;
    format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2 - bend)
}

fn shortened(name: &str) -> String {
    match name.chars().count() > LONGEST_NAME {
        true => name.chars().take(LONGEST_NAME - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
