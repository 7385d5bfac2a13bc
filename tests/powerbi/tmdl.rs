//! TMDL, the text of a semantic model, as a tree of objects: what the report's files use of it, strictly.

use std::collections::BTreeMap;

/// `measure 'Coût total' = SUM ( .. )` with what is indented below it.
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) expression: String,
    pub(super) description: String,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) flags: Vec<String>,
    pub(super) children: Vec<Object>,
}

const OBJECTS: [&str; 11] = [
    "annotation",
    "column",
    "database",
    "dataAccessOptions",
    "expression",
    "measure",
    "model",
    "partition",
    "ref",
    "relationship",
    "table",
];

const FLAGS: [&str; 4] = [
    "isHidden",
    "isKey",
    "legacyRedirects",
    "returnErrorValuesAsNull",
];

const PROPERTIES: [&str; 13] = [
    "compatibilityLevel",
    "culture",
    "dataType",
    "defaultPowerBIDataSourceVersion",
    "displayFolder",
    "formatString",
    "fromColumn",
    "lineageTag",
    "mode",
    "sourceColumn",
    "sourceQueryCulture",
    "summarizeBy",
    "toColumn",
];

impl Object {
    pub(super) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.children.iter().filter(move |child| child.kind == kind)
    }

    #[track_caller]
    pub(super) fn property(&self, name: &str) -> &str {
        let found = self.properties.get(name);
        assert!(found.is_some(), "{} {} has no {name}", self.kind, self.name);
        found.map_or("", String::as_str)
    }
}

/// The objects of a file; a line that is none of what TMDL has is an error.
pub(super) fn parse(text: &str) -> Result<Vec<Object>, String> {
    let lines: Vec<Line<'_>> = text
        .lines()
        .enumerate()
        .map(|(number, text)| Line::new(number + 1, text))
        .collect();
    let mut at = 0;
    let mut root = Object::default();
    while at < lines.len() {
        read(&lines, &mut at, 0, &mut root)?;
    }
    Ok(root.children)
}

struct Line<'a> {
    number: usize,
    depth: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn new(number: usize, text: &'a str) -> Self {
        let bare = text.trim_start_matches('\t');
        Self {
            number,
            depth: text.len() - bare.len(),
            text: bare.trim_end(),
        }
    }
}

/// Reads what stands at `depth` into its parent, until something further out.
fn read(
    lines: &[Line<'_>],
    at: &mut usize,
    depth: usize,
    parent: &mut Object,
) -> Result<(), String> {
    let mut description = String::new();
    while let Some(line) = lines.get(*at) {
        if line.text.is_empty() {
            *at += 1;
            continue;
        }
        if line.depth < depth {
            break;
        }
        if line.depth > depth {
            return Err(format!("line {}: indented too far", line.number));
        }
        *at += 1;
        if let Some(words) = line.text.strip_prefix("///") {
            description = words.trim().to_owned();
            continue;
        }
        let word = line.text.split([' ', ':']).next().unwrap_or_default();
        let rest = line.text[word.len()..].trim_start();
        if OBJECTS.contains(&word) {
            let (name, rest) = name(rest).map_err(|why| format!("line {}: {why}", line.number))?;
            let mut object = Object {
                kind: word.to_owned(),
                name,
                description: std::mem::take(&mut description),
                ..Object::default()
            };
            if let Some(value) = rest.strip_prefix('=') {
                object.expression = value.trim().to_owned();
            } else if word == "ref" {
                // `ref table X`: the kind was read as the name.
                object.name = rest.trim_matches('\'').to_owned();
            } else if !rest.is_empty() {
                return Err(format!("line {}: \"{rest}\" follows the name", line.number));
            }
            read(lines, at, depth + 1, &mut object)?;
            parent.children.push(object);
        } else if let Some(value) = rest
            .strip_prefix(':')
            .filter(|_| PROPERTIES.contains(&word))
        {
            parent
                .properties
                .insert(word.to_owned(), value.trim().to_owned());
        } else if word == "source" && rest == "=" {
            parent.expression = block(lines, at, depth);
        } else if FLAGS.contains(&word) && rest.is_empty() {
            parent.flags.push(word.to_owned());
        } else {
            return Err(format!(
                "line {}: \"{}\" is not known",
                line.number, line.text
            ));
        }
    }
    Ok(())
}

/// The lines of an expression that stands below its `source =`.
fn block(lines: &[Line<'_>], at: &mut usize, depth: usize) -> String {
    let mut text = String::new();
    while let Some(line) = lines
        .get(*at)
        .filter(|line| line.depth > depth && !line.text.is_empty())
    {
        text.push_str(line.text);
        text.push('\n');
        *at += 1;
    }
    text
}

/// A bare or quoted name, and what follows.
fn name(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find([' ', '=']).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), text[end..].trim_start()));
    };
    let mut name = String::new();
    let mut letters = quoted.char_indices().peekable();
    while let Some((place, letter)) = letters.next() {
        if letter != '\'' {
            name.push(letter);
        } else if letters.next_if(|&(_, next)| next == '\'').is_some() {
            name.push('\'');
        } else {
            return Ok((name, quoted[place + 1..].trim_start()));
        }
    }
    Err("a quote is not closed".to_owned())
}

/// `Éligibilités.'Jours accordés'` as table and column.
pub(super) fn place(text: &str) -> Result<(String, String), String> {
    let (table, rest) = if text.starts_with('\'') {
        name(text)?
    } else {
        let dot = text.find('.').ok_or("no dot")?;
        (text[..dot].to_owned(), &text[dot..])
    };
    let (column, rest) = name(rest.strip_prefix('.').ok_or("no dot")?)?;
    if rest.is_empty() {
        Ok((table, column))
    } else {
        Err(format!("\"{rest}\" follows"))
    }
}
