//! What a file says of its columns: the comment at the end of the line on which a column of the SELECT ends.

use std::collections::BTreeMap;

use sqlparser::ast::{Query, SetExpr};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace, Word};

/// By the names of the columns. Only of a query that is one SELECT: columns of a UNION have no place of their own.
pub(crate) fn read(query: &Query, tokens: &[TokenWithSpan]) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    if !matches!(*query.body, SetExpr::Select(_)) {
        return notes;
    }
    let mut depth = 0_usize;
    let mut is_select = false;
    let mut column = Column::default();
    for token in tokens {
        match &token.token {
            Token::Whitespace(Whitespace::SingleLineComment { comment, .. }) => {
                if column.line == token.span.start.line {
                    column.note = Some(comment.trim());
                }
                continue;
            }
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(word) if depth == 0 && word.keyword == Keyword::SELECT => {
                is_select = true;
                continue;
            }
            Token::Word(word) if depth == 0 && is_select && ends_the_list(word) => break,
            Token::EOF | Token::SemiColon => break,
            _ => {}
        }
        if !is_select {
            continue;
        }
        if depth == 0 && token.token == Token::Comma {
            column.is_whole = true;
            continue;
        }
        if column.is_whole {
            column.keep(&mut notes);
            column = Column::default();
        }
        column.grow(token);
    }
    column.keep(&mut notes);
    notes
}

/// A column as far as it is read.
#[derive(Default)]
struct Column<'a> {
    /// Its last word: the alias, or the column that it shows.
    name: Option<&'a Word>,
    /// Where it ends, so far.
    line: u64,
    note: Option<&'a str>,
    is_whole: bool,
}

impl<'a> Column<'a> {
    /// A comment before this was about a part.
    fn grow(&mut self, token: &'a TokenWithSpan) {
        self.name = match &token.token {
            Token::Word(word) => Some(word),
            _ => None,
        };
        self.line = token.span.end.line;
        self.note = None;
    }

    fn keep(&self, notes: &mut BTreeMap<String, String>) {
        if let (Some(name), Some(note)) = (self.name, self.note)
            && !note.is_empty()
        {
            let name = match name.quote_style {
                Some(_) => name.value.clone(),
                None => name.value.to_lowercase(),
            };
            notes.insert(name, note.to_owned());
        }
    }
}

fn ends_the_list(word: &Word) -> bool {
    matches!(
        word.keyword,
        Keyword::FROM
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::WINDOW
            | Keyword::QUALIFY
            | Keyword::ORDER
            | Keyword::LIMIT
    )
}

#[cfg(test)]
mod tests {
    use crate::{SqlFile, TableName};

    #[track_caller]
    fn check(sql: &str, expected: &[(&str, &str)]) {
        let name = TableName::new("gold", "t").expect("a name");
        let file = SqlFile::parse(name, "gold/t.sql", "gold/t.sql", sql).expect("a file");
        let found: Vec<(&str, &str)> = file
            .column_notes
            .iter()
            .map(|(name, note)| (name.as_str(), note.as_str()))
            .collect();
        assert_eq!(found, expected, "{sql}");
    }

    #[test]
    fn a_note_stands_where_its_column_ends() {
        check(
            "-- The table.
             WITH inner AS (
                 SELECT id AS a, -- not of the table
                     b
                 FROM gold.u
             )
             SELECT -- nothing
                 a AS First, -- the first
                 t.b -- the second
                 , CASE WHEN a > 1 -- a part
                     THEN 2 END AS \"Third\", f(a, b), -- no name
                 round(a, 2) AS c, d, -- of the last on the line
                 -- of no column
                 e
                 -- below
             FROM inner t -- not of a column
             WHERE a IN (SELECT x AS y, -- nor this
                 1)",
            &[
                ("b", "the second"),
                ("d", "of the last on the line"),
                ("first", "the first"),
            ],
        );
        check("SELECT 1 AS a, 2 AS b -- the end\n", &[("b", "the end")]);
        check("SELECT 1 AS a -- left\nUNION ALL SELECT 2 -- right\n", &[]);
        check("SELECT * -- all\nFROM gold.u", &[]);
    }
}
