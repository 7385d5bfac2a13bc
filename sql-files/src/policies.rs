//! `policies.sql` as it is written: statements with their places, before any name is looked up.

use sqlparser::ast::{Expr, Query};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::cursor::Cursor;
use crate::depth;
use crate::diagnostic::{Diagnostic, Source};
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
    /// Who may end the statements of others.
    Kill {
        to: Vec<Named>,
    },
    /// Who may have what was kept aside taken in again.
    Replay {
        to: Vec<Named>,
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
    let tokens = match source.tokens() {
        Ok(tokens) => tokens,
        Err(problem) => return (Vec::new(), vec![problem]),
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
        let end = last.span.end;
        let cursor = Cursor::of_statement(source, statement.to_vec(), end, GRANT);
        match Reader(cursor).item() {
            Ok(item) => items.push(item),
            Err(problem) => problems.push(problem),
        }
    }
    (items, problems)
}

fn is_word(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_))
}

struct Reader<'a>(Cursor<'a>);

type Read<T> = Result<T, Diagnostic>;

impl Reader<'_> {
    fn item(&mut self) -> Read<Item> {
        let item = match self.0.one_of(&STATEMENTS)? {
            "CREATE" => match self.0.one_of(&CREATED)? {
                "ROLE" => self.roles()?,
                "POLICY" => self.policy()?,
                "MASK" => self.mask()?,
                _ => self.totals()?,
            },
            _ => self.grant()?,
        };
        match self.0.is_at_end() {
            true => Ok(item),
            false => Err(self.0.expected("\";\"")),
        }
    }

    fn roles(&mut self) -> Read<Item> {
        self.0.show(ROLE);
        Ok(Item::Roles(self.names("the name of a role")?))
    }

    fn grant(&mut self) -> Read<Item> {
        self.0.show(GRANT);
        if self.0.accept_word("KILL") {
            let to = self.to()?;
            return Ok(Item::Kill { to });
        }
        if self.0.accept_word("REPLAY") {
            let to = self.to()?;
            return Ok(Item::Replay { to });
        }
        self.0.words("SELECT")?;
        let columns = match self.0.peek().token {
            Token::LParen => Some(self.columns()?),
            _ => None,
        };
        self.0.words("ON")?;
        if columns.is_none() && self.0.accept_word("SCHEMA") {
            let schemas = self.names("the name of a schema")?;
            let to = self.to()?;
            return Ok(Item::Schemas { schemas, to });
        }
        self.0.accept_word("TABLE");
        let tables = self.tables()?;
        let to = self.to()?;
        Ok(Item::Tables {
            tables,
            columns,
            to,
        })
    }

    fn policy(&mut self) -> Read<Item> {
        self.0.show(POLICY);
        self.name("the name of the policy")?;
        self.0.words("ON")?;
        let tables = self.tables()?;
        let to = self.to()?;
        let condition = self.using("condition")?;
        Ok(Item::Policy {
            tables,
            to,
            condition,
        })
    }

    fn mask(&mut self) -> Read<Item> {
        self.0.show(MASK);
        self.0.words("ON")?;
        let table = self.table()?;
        let columns = self.columns()?;
        let to = self.to()?;
        let value = self.using("value")?;
        Ok(Item::Mask {
            table,
            columns,
            to,
            value,
        })
    }

    fn totals(&mut self) -> Read<Item> {
        self.0.show(TOTALS);
        let table = self.table()?;
        let to = self.to()?;
        self.0.words("AT LEAST")?;
        let at_least = self.0.count(2, "a number of persons from 2 on")?;
        let person = self.name("the column that tells persons apart")?;
        self.0.words("AS")?;
        let (query, span) = self.0.query()?;
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
        self.0.words("TO")?;
        self.names("the name of a role")
    }

    /// `USING (expression)`
    fn using(&mut self, what: &str) -> Read<Expr> {
        self.0.words("USING")?;
        self.0.sign(&Token::LParen)?;
        let expression = self.0.expression(what)?;
        self.0.sign(&Token::RParen)?;
        Ok(expression)
    }

    /// `(a, b)`
    fn columns(&mut self) -> Read<Vec<Named>> {
        self.0.sign(&Token::LParen)?;
        let columns = self.names("a column")?;
        self.0.sign(&Token::RParen)?;
        Ok(columns)
    }

    fn names(&mut self, what: &str) -> Read<Vec<Named>> {
        let mut names = vec![self.name(what)?];
        while self.0.accept(&Token::Comma) {
            names.push(self.name(what)?);
        }
        Ok(names)
    }

    fn tables(&mut self) -> Read<Vec<NamedTable>> {
        let mut tables = vec![self.table()?];
        while self.0.accept(&Token::Comma) {
            tables.push(self.table()?);
        }
        Ok(tables)
    }

    fn table(&mut self) -> Read<NamedTable> {
        let first = self.name("a table")?;
        let (schema, table, end) = match self.0.accept(&Token::Period) {
            true => {
                let table = self.name("the name of a table")?;
                (first.name, table.name, table.span.end)
            }
            false => (DEFAULT_SCHEMA.to_owned(), first.name, first.span.end),
        };
        let span = Span::new(first.span.start, end);
        match TableName::new(&schema, &table) {
            Ok(name) => Ok(NamedTable { name, span }),
            Err(error) => Err(self.0.at(span, error.message).hint(error.hint)),
        }
    }

    fn name(&mut self, what: &str) -> Read<Named> {
        let (name, span) = self.0.identifier(what)?;
        Ok(Named { name, span })
    }
}
