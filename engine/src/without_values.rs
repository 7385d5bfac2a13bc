use sqlparser::tokenizer::{Token, Tokenizer};

use sql_files::syntax::DIALECT;

/// Longest text that is looked at, bytes.
const LONGEST: usize = 64 << 10;

/// A statement's text as logs may hold it: without comments, and with `?` for every text and number.
pub fn without_values(sql: &str) -> String {
    if sql.len() > LONGEST {
        return format!("a statement of {} bytes", sql.len());
    }
    let Ok(tokens) = Tokenizer::new(&DIALECT, sql).tokenize() else {
        return "no statement".to_owned();
    };
    let mut text = String::with_capacity(sql.len());
    for token in tokens {
        match token {
            Token::Whitespace(_) => {
                if !text.is_empty() && !text.ends_with(' ') {
                    text.push(' ');
                }
            }
            Token::Word(_)
            | Token::Comma
            | Token::Period
            | Token::LParen
            | Token::RParen
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::SemiColon
            | Token::Colon
            | Token::DoubleColon
            | Token::StringConcat
            | Token::LBracket
            | Token::RBracket
            | Token::LBrace
            | Token::RBrace
            | Token::Arrow
            | Token::LongArrow
            | Token::Placeholder(_) => text.push_str(&token.to_string()),
            // Whatever else there is may be a value.
            _ => text.push('?'),
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_comments_are_gone() {
        for (sql, expected) in [
            (
                "SELECT a -- Dupont\nFROM t WHERE n = 'Anne O''Neill' AND x > 1.5e3;",
                "SELECT a FROM t WHERE n = ? AND x > ?;",
            ),
            ("SELECT $$Dupont$$, E'a', X'ff', N'b'", "SELECT ?, ?, ?, ?"),
            ("SELECT ?, $1", "SELECT ?, $1"),
            ("SELECT 'open", "no statement"),
        ] {
            assert_eq!(without_values(sql), expected);
        }
    }
}
