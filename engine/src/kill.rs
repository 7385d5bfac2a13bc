use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, Result};

/// Longest text that may be a KILL, bytes.
const LONGEST: usize = 1024;

/// `KILL [QUERY] id`: the one statement that is no query. It ends a statement of `system.queries`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    pub query_id: u64,
}

impl Kill {
    /// The KILL that a text is; nothing where it does not begin with that word.
    ///
    /// # Errors
    /// `InvalidRequest` for a KILL of something else than a number.
    pub fn read(sql: &str) -> Result<Option<Self>> {
        let may_be = sql.len() <= LONGEST && sql.as_bytes().windows(4).any(is_kill);
        let Some(tokens) = may_be.then(|| Tokenizer::new(&GenericDialect {}, sql).tokenize())
        else {
            return Ok(None);
        };
        let Ok(mut tokens) = tokens else {
            return Ok(None);
        };
        tokens.retain(|token| !matches!(token, Token::Whitespace(_)));
        let mut rest = tokens.as_slice();
        if !accept_word(&mut rest, "kill") {
            return Ok(None);
        }
        accept_word(&mut rest, "query");
        let query_id = match rest {
            [Token::Number(digits, false)] | [Token::Number(digits, false), Token::SemiColon] => {
                digits.parse().ok()
            }
            _ => None,
        };
        match query_id {
            Some(query_id) => Ok(Some(Self { query_id })),
            None => Err(Error::invalid("KILL takes the number of a query")
                .hint("Write KILL 123, with a query_id of system.queries.")),
        }
    }
}

fn is_kill(bytes: &[u8]) -> bool {
    bytes.eq_ignore_ascii_case(b"kill")
}

fn accept_word(rest: &mut &[Token], wanted: &str) -> bool {
    match rest.split_first() {
        Some((Token::Word(word), after))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted) =>
        {
            *rest = after;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_told_from_queries() {
        for sql in ["KILL 7", "kill query 7;", "/* a tool */ Kill\n7 -- now"] {
            let kill = Kill::read(sql).expect("well written");
            assert_eq!(kill, Some(Kill { query_id: 7 }), "{sql}");
        }
        for sql in [
            "SELECT 'kill 7'",
            "SELECT kill FROM t",
            "\"kill\" 7",
            "",
            "KILL '",
        ] {
            assert_eq!(Kill::read(sql).expect("no kill"), None, "{sql}");
        }
    }

    #[test]
    fn a_kill_of_no_number_says_what_to_write() {
        for sql in [
            "KILL",
            "KILL x",
            "KILL -1",
            "KILL 1.5",
            "KILL 1 2",
            "KILL QUERY 'a'",
            "KILL 99999999999999999999999",
        ] {
            let error = Kill::read(sql).expect_err(sql);
            assert!(
                error
                    .hint_text()
                    .is_some_and(|hint| hint.contains("KILL 123"))
            );
        }
    }
}
