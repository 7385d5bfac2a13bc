//! Operators whose expressions may make much more than they read: what one of them makes for its next rows is counted.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::Stream;

use crate::functions::{self, room};

/// The plan, with the room of such operators limited.
pub(super) fn limited(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if node.children().is_empty() || !grows(&node)? {
            return Ok(Transformed::no(node));
        }
        let inputs = node.children().into_iter().cloned();
        let inputs = inputs.map(|input| Roomy::around(input, false)).collect();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let node = node.replace_children(inputs, options)?;
        Ok(Transformed::yes(Roomy::around(node, true)))
    })
    .data()
}

fn grows(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(&mut |expr: &Arc<dyn PhysicalExpr>| {
        expr.apply(|part| {
            let call = part.downcast_ref::<ScalarFunctionExpr>();
            found |= call.is_some_and(|call| functions::is_growing(call.fun().name()));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

#[derive(Debug)]
struct Roomy {
    inner: Arc<dyn ExecutionPlan>,
    /// Whether what it makes is counted, or is none of what the operator above it makes.
    is_limited: bool,
}

impl Roomy {
    fn around(inner: Arc<dyn ExecutionPlan>, is_limited: bool) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { inner, is_limited })
    }
}

impl DisplayAs for Roomy {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for Roomy {
    fn name(&self) -> &'static str {
        match self.is_limited {
            true => "LimitedExec",
            false => "InputExec",
        }
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.inner]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(inner) => Ok(Self::around(inner, self.is_limited)),
            None => Ok(self),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(RoomyStream {
            inner: self.inner.execute(partition, context)?,
            is_limited: self.is_limited,
        }))
    }
}

struct RoomyStream {
    inner: SendableRecordBatchStream,
    is_limited: bool,
}

impl Stream for RoomyStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let is_limited = self.is_limited;
        let next = || self.inner.as_mut().poll_next(context);
        match is_limited {
            true => room::limited(next),
            false => room::apart(next),
        }
    }
}

impl RecordBatchStream for RoomyStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
