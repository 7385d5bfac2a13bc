//! `policies.sql` as it is written: statements with their places, before any name is looked up.

use sqlparser::ast::{Expr, Query};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::depth;
use crate::diagnostic::{Diagnostic, Source};
use crate::suggest::suggest;
use crate::syntax::{SyntaxError, normal, parser, tokenize};
use crate::table_name::{DEFAULT_SCHEMA, TableName};

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NamedTable {
    pub name: TableName,
    pub span: Span,
}

/// One statement of the file.
#[derive(Debug, Clone)]
pub enum Item {
    Roles(Vec<Named>),
    Schemas {
        schemas: Vec<Named>,
        to: Vec<Named>,
    },
    Tables {
        tables: Vec<NamedTable>,
        /// All of them where none is named.
        columns: Option<Vec<Named>>,
        to: Vec<Named>,
    },
    Policy {
        tables: Vec<NamedTable>,
        to: Vec<Named>,
        condition: Expr,
    },
    Mask {
        table: NamedTable,
        columns: Vec<Named>,
        to: Vec<Named>,
        value: Expr,
    },
    Totals(Box<Totals>),
}

/// A table that only the policies make: totals over enough persons.
#[derive(Debug, Clone)]
pub struct Totals {
    pub table: NamedTable,
    pub to: Vec<Named>,
    pub at_least: u64,
    /// The column that tells persons apart.
    pub person: Named,
    pub query: Query,
    pub span: Span,
}

const ROLE: &str = "CREATE ROLE manager;";
const GRANT: &str = "GRANT SELECT (bu, nb_salaries) ON gold.cout_par_bu TO manager;";
const POLICY: &str =
    "CREATE POLICY own_bu ON gold.eligibilites TO manager USING (bu = attribute('bu'));";
const MASK: &str = "CREATE MASK ON silver.employees (salaire_brut) TO manager USING (NULL);";
const TOTALS: &str = "CREATE TOTALS gold.totals TO manager AT LEAST 5 employee_id AS SELECT bu, sum(x) AS x FROM gold.t GROUP BY bu;";
const STATEMENTS: [&str; 2] = ["CREATE", "GRANT"];
const CREATED: [&str; 4] = ["ROLE", "POLICY", "MASK", "TOTALS"];

/// The statements that can be read, and what is wrong with the others.
pub fn parse(source: Source<'_>) -> (Vec<Item>, Vec<Diagnostic>) {
    let tokens = match tokenize(source.text, Location::new(1, 1)) {
        Ok(tokens) => tokens,
        Err(error) => {
            let place = error.location.unwrap_or(Location::new(1, 1));
            return (Vec::new(), vec![source.at_word(place, error.message)]);
        }
    };
    let words = tokens.iter().filter(|token| is_word(token)).count();
    if words > depth::MAX_TOKENS {
        let problem = Diagnostic::of_file(source.path, "the file is too long");
        return (Vec::new(), vec![problem]);
    }
    let (mut items, mut problems) = (Vec::new(), Vec::new());
    for statement in tokens.split(|token| token.token == Token::SemiColon) {
        let Some(last) = statement.iter().rfind(|token| is_word(token)) else {
            continue;
        };
        let mut reader = Reader {
            source,
            end: last.span.end,
            parser: parser(statement.to_vec()),
            sample: GRANT,
        };
        match reader.item() {
            Ok(item) => items.push(item),
            Err(problem) => problems.push(*problem),
        }
    }
    (items, problems)
}

fn is_word(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_))
}

struct Reader<'a> {
    source: Source<'a>,
    parser: Parser<'static>,
    end: Location,
    sample: &'static str,
}

type Read<T> = Result<T, Box<Diagnostic>>;

impl Reader<'_> {
    fn item(&mut self) -> Read<Item> {
        let item = match self.one_of(&STATEMENTS)? {
            "CREATE" => match self.one_of(&CREATED)? {
                "ROLE" => self.roles()?,
                "POLICY" => self.policy()?,
                "MASK" => self.mask()?,
                _ => self.totals()?,
            },
            _ => self.grant()?,
        };
        if self.peek().token == Token::EOF {
            return Ok(item);
        }
        Err(self.expected("\";\""))
    }

    fn roles(&mut self) -> Read<Item> {
        self.sample = ROLE;
        Ok(Item::Roles(self.names("the name of a role")?))
    }

    fn grant(&mut self) -> Read<Item> {
        self.sample = GRANT;
        self.words("SELECT")?;
        let columns = match self.peek().token {
            Token::LParen => Some(self.columns()?),
            _ => None,
        };
        self.words("ON")?;
        if columns.is_none() && self.accept("SCHEMA") {
            let schemas = self.names("the name of a schema")?;
            let to = self.to()?;
            return Ok(Item::Schemas { schemas, to });
        }
        self.accept("TABLE");
        let tables = self.tables()?;
        let to = self.to()?;
        Ok(Item::Tables {
            tables,
            columns,
            to,
        })
    }

    fn policy(&mut self) -> Read<Item> {
        self.sample = POLICY;
        self.name("the name of the policy")?;
        self.words("ON")?;
        let tables = self.tables()?;
        let to = self.to()?;
        let condition = self.using()?;
        Ok(Item::Policy {
            tables,
            to,
            condition,
        })
    }

    fn mask(&mut self) -> Read<Item> {
        self.sample = MASK;
        self.words("ON")?;
        let table = self.table()?;
        let columns = self.columns()?;
        let to = self.to()?;
        let value = self.using()?;
        Ok(Item::Mask {
            table,
            columns,
            to,
            value,
        })
    }

    fn totals(&mut self) -> Read<Item> {
        self.sample = TOTALS;
        let table = self.table()?;
        let to = self.to()?;
        self.words("AT LEAST")?;
        let number = self.peek();
        let at_least = match &number.token {
            Token::Number(text, false) => text.parse().ok().filter(|least| *least >= 2),
            _ => None,
        };
        let at_least = at_least.ok_or_else(|| self.expected("a number of persons from 2 on"))?;
        self.parser.next_token();
        let person = self.name("the column that tells persons apart")?;
        self.words("AS")?;
        let span = self.peek().span;
        let query = self.parser.parse_query();
        let query = *query.map_err(|error| self.syntax(error.into()))?;
        if depth::is_too_deep(&query, depth::FILE_DEPTH) {
            return Err(Box::new(
                self.source.at(span, "the query is nested too deeply"),
            ));
        }
        Ok(Item::Totals(Box::new(Totals {
            table,
            to,
            at_least,
            person,
            query,
            span,
        })))
    }

    fn to(&mut self) -> Read<Vec<Named>> {
        self.words("TO")?;
        self.names("the name of a role")
    }

    /// `USING (expression)`
    fn using(&mut self) -> Read<Expr> {
        self.words("USING")?;
        let start = self.peek();
        if start.token != Token::LParen {
            return Err(self.expected("\"(\""));
        }
        self.parser.next_token();
        let expression = self.parser.parse_expr();
        let expression = expression.map_err(|error| self.syntax(error.into()))?;
        if !self.parser.consume_token(&Token::RParen) {
            return Err(self.expected("\")\""));
        }
        if depth::is_too_deep(&expression, depth::FILE_DEPTH) {
            let problem = self
                .source
                .at(start.span, "the expression is nested too deeply");
            return Err(Box::new(problem));
        }
        Ok(expression)
    }

    /// `(a, b)`
    fn columns(&mut self) -> Read<Vec<Named>> {
        if !self.parser.consume_token(&Token::LParen) {
            return Err(self.expected("\"(\""));
        }
        let columns = self.names("a column")?;
        if !self.parser.consume_token(&Token::RParen) {
            return Err(self.expected("\")\""));
        }
        Ok(columns)
    }

    fn names(&mut self, what: &str) -> Read<Vec<Named>> {
        let mut names = vec![self.name(what)?];
        while self.parser.consume_token(&Token::Comma) {
            names.push(self.name(what)?);
        }
        Ok(names)
    }

    fn tables(&mut self) -> Read<Vec<NamedTable>> {
        let mut tables = vec![self.table()?];
        while self.parser.consume_token(&Token::Comma) {
            tables.push(self.table()?);
        }
        Ok(tables)
    }

    fn table(&mut self) -> Read<NamedTable> {
        let first = self.name("a table")?;
        let (schema, table, end) = match self.parser.consume_token(&Token::Period) {
            true => {
                let table = self.name("the name of a table")?;
                (first.name, table.name, table.span.end)
            }
            false => (DEFAULT_SCHEMA.to_owned(), first.name, first.span.end),
        };
        let span = Span::new(first.span.start, end);
        match TableName::new(&schema, &table) {
            Ok(name) => Ok(NamedTable { name, span }),
            Err(error) => {
                let problem = self.source.at(span, error.message).hint(error.hint);
                Err(Box::new(problem))
            }
        }
    }

    fn name(&mut self, what: &str) -> Read<Named> {
        let token = self.peek();
        if !matches!(token.token, Token::Word(_)) {
            return Err(self.expected(what));
        }
        let ident = self.parser.parse_identifier();
        let ident = ident.map_err(|error| self.syntax(error.into()))?;
        Ok(Named {
            name: normal(&ident),
            span: token.span,
        })
    }

    fn words(&mut self, words: &str) -> Read<()> {
        match words.split(' ').all(|word| self.accept(word)) {
            true => Ok(()),
            false => Err(self.expected(&format!("\"{words}\""))),
        }
    }

    fn one_of(&mut self, words: &'static [&'static str]) -> Read<&'static str> {
        let token = self.peek();
        if let Some(word) = words.iter().find(|word| self.accept(word)) {
            return Ok(word);
        }
        let near = suggest(
            &token.token.to_string(),
            "It is one of",
            words.iter().copied(),
        );
        let problem = self.expected(&format!("one of {}", words.join(", ")));
        Err(Box::new((*problem).maybe_hint(near)))
    }

    fn accept(&mut self, word: &str) -> bool {
        let next = self.peek();
        let found = matches!(&next.token, Token::Word(w)
            if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
        if found {
            self.parser.next_token();
        }
        found
    }

    fn expected(&self, what: &str) -> Box<Diagnostic> {
        let token = self.peek();
        let problem = match token.token {
            Token::EOF => {
                let message = format!("expected {what} here");
                self.source.at_location(self.end, message)
            }
            _ => {
                let message = format!("expected {what}, found \"{}\"", token.token);
                self.source.at(token.span, message)
            }
        };
        Box::new(problem.hint(format!("Write it as: {}", self.sample)))
    }

    fn syntax(&self, error: SyntaxError) -> Box<Diagnostic> {
        let place = error.location.unwrap_or(self.end);
        let problem = self.source.at_word(place, error.message);
        Box::new(problem.hint(format!("Write it as: {}", self.sample)))
    }

    fn peek(&self) -> TokenWithSpan {
        self.parser.peek_token()
    }
}
