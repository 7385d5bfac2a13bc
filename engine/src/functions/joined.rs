//! `a || b`, of a size that is limited. As an operator it has none: five words more in a statement double what it makes.

use std::sync::Arc;

use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::bounded::{JOIN, check_added};
use super::columnar;

/// Puts the function in the place of the operator, wherever texts or bytes are joined.
#[derive(Debug)]
pub(crate) struct JoinByFunction(Arc<ScalarUDF>);

impl JoinByFunction {
    pub(crate) fn new() -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self(Arc::new(ScalarUDF::from(Joined { signature })))
    }
}

impl FunctionRewrite for JoinByFunction {
    fn name(&self) -> &str {
        "join_by_function"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let types = (left.get_type(schema), right.get_type(schema));
        let is_ours = op == Operator::StringConcat
            && matches!(&types, (Ok(left), Ok(right)) if joined(left, right).is_ok());
        if !is_ours {
            let same = BinaryExpr::new(left, op, right);
            return Ok(Transformed::no(Expr::BinaryExpr(same)));
        }
        let call = ScalarFunction::new_udf(self.0.clone(), vec![*left, *right]);
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    }
}

/// The type of the result, which both sides become.
fn joined(left: &DataType, right: &DataType) -> Result<DataType> {
    let coerced = BinaryTypeCoercer::new(left, &Operator::StringConcat, right);
    coerced.get_result_type()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    signature: Signature,
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        JOIN
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let names: Vec<String> = arguments
            .iter()
            .map(|argument| argument.schema_name().to_string())
            .collect();
        Ok(names.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = arguments else {
            return datafusion::common::plan_err!("|| has two sides");
        };
        let coerced = BinaryTypeCoercer::new(left, &Operator::StringConcat, right);
        let (left, right) = coerced.get_input_types()?;
        Ok(vec![left, right])
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [left, right] => joined(left, right),
            _ => datafusion::common::plan_err!("|| has two sides"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check_added(&call.args, call.number_rows)?;
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let [left, right] = arrays.as_slice() else {
            return datafusion::common::exec_err!("|| has two sides");
        };
        columnar(&call.args, concat_elements_dyn(left, right)?)
    }
}
