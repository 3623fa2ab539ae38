//! How a stream is cut into parts.

use std::rc::Rc;

use serde_json::Value;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::Stream;
use crate::connector::component::value::Expression;
use crate::connector::yaml::Node;

family! {
    /// How a stream is cut into parts.
    PartitionRouter { ListPartitionRouter, SubstreamPartitionRouter, GroupingPartitionRouter, UnionPartitionRouter }
}

impl PartitionRouter {
    /// Calls `visit` for every parent in each of its ways, not for the parents of these.
    pub fn parents<'a>(&'a self, visit: &mut dyn FnMut(&'a DeclarativeStream)) {
        match self {
            PartitionRouter::ListPartitionRouter(_) => {}
            PartitionRouter::SubstreamPartitionRouter(router) => {
                for parent in &router.parent_stream_configs {
                    parent.stream.ways().into_iter().for_each(&mut *visit);
                }
            }
            PartitionRouter::GroupingPartitionRouter(router) => router.underlying_partition_router.parents(visit),
            PartitionRouter::UnionPartitionRouter(router) => router.partition_routers.iter().for_each(|router| router.parents(visit)),
        }
    }
}

component! {
    /// One part for every value of a list.
    ListPartitionRouter {
        /// The values: a list, or a text that becomes one.
        values: PartitionValues => PartitionRouter;
        /// The name of the value in the slice.
        cursor_field: Expression => PartitionRouter;
        /// Where the value goes in the request.
        request_option: Option<RequestOption>;
    }
}

component! {
    /// One part for every record of other streams, its parents.
    SubstreamPartitionRouter {
        /// The parents, read one after another.
        parent_stream_configs: Vec<ParentStreamConfig>;
    }
}

component! {
    /// A parent, and what of its records cuts the stream.
    ParentStreamConfig {
        /// The parent.
        stream: Stream;
        /// Where the value is in a record of the parent; slashes separate the steps. A record without one makes no part.
        parent_key: Expression => PartitionRouter;
        /// The name of the value in the slice.
        partition_field: Expression => PartitionRouter;
        /// Where the value goes in the request.
        request_option: Option<RequestOption>;
        /// Paths of more values of the parent's record, found in the slice as `extra_fields` under their names with dots.
        extra_fields: Vec<ExtraPath> => PartitionRouter = Vec::new();
        /// Whether the parent is read from its own state, which is kept within the child's.
        incremental_dependency: bool = false;
        /// Where the parent's record holds the child's first page, so that it need not be asked for.
        lazy_read_pointer: Vec<Expression> => PartitionRouter = Vec::new();
    }
}

component! {
    /// Joins parts to groups, so that one request asks for many.
    GroupingPartitionRouter {
        /// The parts of a full group.
        group_size: u32;
        /// What makes the parts.
        underlying_partition_router: PartitionRouter;
        /// Whether a value is taken once only.
        deduplicate: bool = true;
    }
}

component! {
    /// The parts of several routers, each value once.
    UnionPartitionRouter {
        /// The routers, one after another.
        partition_routers: Vec<PartitionRouter>;
        /// The name of the value, which every router gives.
        partition_field: Expression => PartitionRouter;
    }
}

/// The path of an extra field.
#[derive(Debug)]
pub struct ExtraPath(pub Vec<Expression>);

impl Accept for ExtraPath {
    const ACCEPTS: &'static str = "a list of steps";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        Vec::accept(node, reader).map(ExtraPath)
    }
}

/// The values of a list router.
#[derive(Debug)]
pub enum PartitionValues {
    /// As written; there are no expressions in a list.
    List(Vec<Value>),
    /// An expression for a list.
    Expression(Expression),
}

impl Accept for PartitionValues {
    const ACCEPTS: &'static str = "a list, or an expression for one";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match node.as_list() {
            Some(_) => Vec::accept(node, reader).map(PartitionValues::List),
            None => Expression::accept(node, reader).map(PartitionValues::Expression),
        }
    }
}
