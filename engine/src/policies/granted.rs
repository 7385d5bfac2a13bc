//! What somebody sees of each table: one query a table, made of what their roles say about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::{TableType, ViewTable};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, cast, ident};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as PlannerStatement;
use sql_files::policies::Totals;
use sql_files::syntax::{parser, tokenize};
use sql_files::{CATALOG, TableName};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, Query, SelectItem, SetExpr, Statement, Value,
};
use sqlparser::tokenizer::Location;

use super::check::Names;
use super::guarded::GuardedTable;
use super::lineage::Origin;
use super::{Policies, Role, attributes, totals};
use crate::error::{Error, ErrorKind, Result};
use crate::principal::Principal;
use crate::reader::{Session, TableInfo};
use crate::session::Sessions;
use crate::system;

/// A table that somebody sees.
pub(crate) struct Granted {
    pub(crate) name: TableName,
    pub(crate) table: Arc<GuardedTable>,
    /// Columns that are seen as they are stored.
    pub(crate) plain: BTreeSet<String>,
    /// Columns of which something else is seen.
    pub(crate) masked: BTreeSet<String>,
    /// Whether every row and column is seen as it is stored.
    pub(crate) whole: bool,
}

/// What one role sees of a table.
struct View {
    /// The mask of each column, where it has one.
    columns: BTreeMap<String, Option<Expr>>,
    condition: Option<Expr>,
}

impl Policies {
    /// The tables that `principal` sees, out of a session that sees all.
    pub(crate) async fn granted(
        &self,
        principal: &Principal,
        whole: &Session,
        names: &Names,
        sessions: &Sessions,
    ) -> Result<Vec<Granted>> {
        let roles: Vec<(&str, &Role)> = principal
            .roles()
            .filter_map(|name| Some((name, self.roles.get(name)?)))
            .collect();
        let stored: BTreeMap<TableName, &TableInfo> = whole
            .tables()
            .iter()
            .filter_map(|info| Some((TableName::new(&info.schema, &info.name).ok()?, info)))
            .collect();
        for (name, role) in &roles {
            role.fits(name, &stored, whole.epoch())?;
        }
        let covered: Vec<BTreeSet<Origin>> = roles
            .iter()
            .map(|(_, role)| names.covered(role.masked()))
            .collect();
        let mut granted = Vec::new();
        for (table, info) in &stored {
            let mut views = Vec::new();
            views.extend(system::is_system(table).then(|| own_rows(&info.arrow, principal)));
            for ((_, role), covered) in roles.iter().zip(&covered) {
                views.extend(role.view(table, &info.arrow, covered, principal)?);
            }
            if !views.is_empty() {
                granted.push(of_table(whole.context(), table, &info.arrow, views).await?);
            }
        }
        for totals in &self.totals {
            let made = of_totals(
                totals,
                &roles,
                principal,
                whole.context(),
                sessions,
                &stored,
            );
            granted.extend(Box::pin(made).await?);
        }
        Ok(granted)
    }
}

impl Role {
    pub(super) fn masked(&self) -> impl Iterator<Item = Origin> {
        self.masks.iter().flat_map(|(table, columns)| {
            columns.keys().map(|column| (table.clone(), column.clone()))
        })
    }

    /// A mask on a column that is not there would cover nothing: whoever was to see it masked then sees nothing at all.
    /// What a server tells of itself is there only where one serves.
    fn fits(&self, role: &str, stored: &BTreeMap<TableName, &TableInfo>, epoch: u64) -> Result<()> {
        for (table, column) in self.masked() {
            let info = stored.get(&table);
            if info.is_none() && system::is_system(&table) {
                continue;
            }
            if info.is_none_or(|info| info.arrow.field_with_name(&column).is_err()) {
                return Err(suspended(role, epoch));
            }
        }
        Ok(())
    }

    /// What this role sees of a table, if anything.
    fn view(
        &self,
        table: &TableName,
        schema: &SchemaRef,
        covered: &BTreeSet<Origin>,
        principal: &Principal,
    ) -> Result<Option<View>> {
        let masks = self.masks.get(table);
        let mut columns = BTreeMap::new();
        for field in schema.fields() {
            let column = field.name();
            if !self.sees(table, column) {
                continue;
            }
            let mask = match masks.and_then(|masks| masks.get(column)) {
                Some(mask) => Some(known(mask, principal)?),
                None if covered.contains(&(table.clone(), column.clone())) => Some(null()),
                None => None,
            };
            columns.insert(column.clone(), mask);
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let condition = self.condition(table, principal)?;
        Ok(Some(View { columns, condition }))
    }

    fn condition(&self, table: &TableName, principal: &Principal) -> Result<Option<Expr>> {
        let mut all: Option<Expr> = None;
        for condition in self.conditions.get(table).into_iter().flatten() {
            let condition = known(condition, principal)?;
            all = Some(match all {
                None => nested(condition),
                Some(others) => both(others, BinaryOperator::And, nested(condition)),
            });
        }
        Ok(all)
    }
}

/// What everybody sees of a table about those who are served: the rows about themselves.
fn own_rows(schema: &SchemaRef, principal: &Principal) -> View {
    let columns = schema.fields().iter().map(|field| field.name().clone());
    let own = Expr::value(Value::SingleQuotedString(principal.name().to_owned()));
    View {
        columns: columns.map(|column| (column, None)).collect(),
        condition: Some(both(column(system::USER), BinaryOperator::Eq, own)),
    }
}

async fn of_table(
    context: &SessionContext,
    table: &TableName,
    schema: &SchemaRef,
    views: Vec<View>,
) -> Result<Granted> {
    let condition = any(views.iter().map(|view| view.condition.clone()));
    let mut columns = Vec::new();
    let mut plain = BTreeSet::new();
    for field in schema.fields() {
        let name = field.name();
        let seen: Vec<(&Option<Expr>, &Option<Expr>)> = views
            .iter()
            .filter_map(|view| Some((&view.condition, view.columns.get(name)?)))
            .collect();
        if seen.is_empty() {
            continue;
        }
        // Whoever sees every row that is given sees the column as it is.
        let everywhere = |condition: &Option<Expr>| condition.is_none() || views.len() == 1;
        let as_is = seen
            .iter()
            .any(|(on, mask)| mask.is_none() && everywhere(on));
        let value = match as_is {
            true => {
                plain.insert(name.clone());
                column(name)
            }
            false => by_role(name, &seen, views.len() == 1),
        };
        columns.push((value, name.clone()));
    }
    let given = columns.iter().map(|(_, name)| name.clone());
    let masked: BTreeSet<String> = given.filter(|name| !plain.contains(name)).collect();
    let whole = condition.is_none() && plain.len() == schema.fields().len();
    let provider = context
        .catalog(CATALOG)
        .and_then(|catalog| catalog.schema(table.schema()));
    let provider = match provider {
        Some(schema) => schema.table(table.name()).await?,
        None => None,
    };
    let bare = provider
        .as_ref()
        .is_some_and(|provider| provider.get_logical_plan().is_none());
    let open = match condition.is_none() && bare {
        true => plain.clone(),
        false => BTreeSet::new(),
    };
    let kind = provider.map_or(TableType::View, |provider| provider.table_type());
    let plan = planned(context, select(table, columns, condition)?).await;
    let plan = plan.map_err(|error| unfit(table, error))?;
    let plan = as_stored(plan, schema)?;
    Ok(Granted {
        name: table.clone(),
        table: Arc::new(GuardedTable::new(table.clone(), kind, plan, open)),
        plain,
        masked,
        whole,
    })
}

/// Totals over the rows that the policies of the roles leave them.
async fn of_totals(
    totals: &Totals,
    roles: &[(&str, &Role)],
    principal: &Principal,
    context: &SessionContext,
    sessions: &Sessions,
    stored: &BTreeMap<TableName, &TableInfo>,
) -> Result<Option<Granted>> {
    let (Some(read), Ok(query)) = (totals::reads(totals), totals::guarded(totals)) else {
        return Ok(None);
    };
    let Some(info) = stored.get(&read) else {
        return Ok(None);
    };
    let mut conditions = Vec::new();
    for (name, role) in roles {
        if totals.to.iter().any(|to| to.name == *name) {
            conditions.push(role.condition(&read, principal)?);
        }
    }
    if conditions.is_empty() {
        return Ok(None);
    }
    let columns = info.arrow.fields().iter();
    let columns = columns.map(|field| (column(field.name()), field.name().clone()));
    let rows = select(&read, columns.collect(), any(conditions.into_iter()))?;
    let rows = planned(context, rows)
        .await
        .map_err(|error| unfit(&read, error))?;
    let rows = Arc::new(ViewTable::new(rows, None));
    let name = &totals.table.name;
    let alone = sessions.context_of([read.schema().to_owned().as_str()], [(read, rows as _)])?;
    let plan = planned(&alone, query).await;
    let plan = plan.map_err(|error| unfit(name, error))?;
    let table = GuardedTable::new(name.clone(), TableType::View, plan, BTreeSet::new());
    Ok(Some(Granted {
        name: name.clone(),
        table: Arc::new(table),
        plain: BTreeSet::new(),
        masked: BTreeSet::new(),
        whole: false,
    }))
}

/// `SELECT expr AS name, ... FROM table WHERE condition`
pub(super) fn select(
    table: &TableName,
    columns: Vec<(Expr, String)>,
    condition: Option<Expr>,
) -> Result<Query> {
    let unreadable = || Error::new(ErrorKind::Internal, "the query of a table cannot be made");
    let sql = format!("SELECT 1 FROM \"{}\".\"{}\"", table.schema(), table.name());
    let tokens = tokenize(&sql, Location::new(1, 1)).map_err(|_| unreadable())?;
    let query = parser(tokens).parse_query();
    let mut query = *query.map_err(|error| unreadable().caused_by(error))?;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(unreadable());
    };
    let named = |(expr, name)| SelectItem::ExprWithAlias {
        expr,
        alias: Ident::with_quote('"', name),
    };
    select.projection = columns.into_iter().map(named).collect();
    select.selection = condition;
    Ok(query)
}

async fn planned(context: &SessionContext, query: Query) -> datafusion::error::Result<LogicalPlan> {
    let statement = PlannerStatement::Statement(Box::new(Statement::Query(Box::new(query))));
    context.state().statement_to_plan(statement).await
}

/// A mask has the type of what it covers.
fn as_stored(plan: LogicalPlan, stored: &SchemaRef) -> Result<LogicalPlan> {
    let fields = plan.schema().fields().clone();
    let mut columns = Vec::with_capacity(fields.len());
    for field in &fields {
        let wanted = stored.field_with_name(field.name())?.data_type();
        let value = ident(field.name());
        columns.push(match field.data_type() == wanted {
            true => value,
            false => cast(value, wanted.clone()).alias(field.name()),
        });
    }
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}

/// The value of a column on each row: what the first role that sees the row sees there, plain values first.
fn by_role(name: &str, seen: &[(&Option<Expr>, &Option<Expr>)], alone: bool) -> Expr {
    let value = |mask: &Option<Expr>| mask.clone().unwrap_or_else(|| column(name));
    if let (true, [(_, mask)]) = (alone, seen) {
        return value(mask);
    }
    let (plain, masked): (Vec<_>, Vec<_>) = seen.iter().partition(|(_, mask)| mask.is_none());
    let conditions = plain
        .into_iter()
        .chain(masked)
        .map(|(condition, mask)| CaseWhen {
            condition: condition.clone().unwrap_or_else(always),
            result: nested(value(mask)),
        });
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: conditions.collect(),
        else_result: None,
    }
}

/// Rows that one condition holds for; all where one asks for none.
fn any(conditions: impl Iterator<Item = Option<Expr>>) -> Option<Expr> {
    let conditions: Option<Vec<Expr>> = conditions.collect();
    let nested = conditions?.into_iter().map(nested);
    nested.reduce(|left, right| both(left, BinaryOperator::Or, right))
}

fn known(expr: &Expr, principal: &Principal) -> Result<Expr> {
    let mut expr = expr.clone();
    let put = attributes::put(&mut expr, Some(principal));
    put.map_err(|message| Error::new(ErrorKind::Unavailable, message))?;
    Ok(expr)
}

fn column(name: &str) -> Expr {
    Expr::Identifier(Ident::with_quote('"', name))
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn null() -> Expr {
    Expr::value(Value::Null)
}

fn always() -> Expr {
    Expr::value(Value::Boolean(true))
}

fn both(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

fn suspended(role: &str, epoch: u64) -> Error {
    let message =
        format!("the masks of role \"{role}\" name a column that epoch {epoch} does not hold");
    Error::new(ErrorKind::Unavailable, message)
        .hint("Until policies.sql fits the tables again, the role sees nothing.")
}

fn unfit(table: &TableName, error: datafusion::error::DataFusionError) -> Error {
    tracing::error!(table = %table, error = %error, "the policies of a table cannot be planned");
    let message = format!("the policies of \"{table}\" do not fit its columns");
    Error::new(ErrorKind::Unavailable, message)
        .hint("Until policies.sql fits the tables again, the role sees nothing.")
}
