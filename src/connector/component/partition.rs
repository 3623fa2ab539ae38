//! How a stream is cut into parts.

use std::rc::Rc;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Scalar;
use crate::connector::yaml::Node;

family! {
    /// How a stream is cut into parts.
    PartitionRouter { ListPartitionRouter }
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

/// The values of a list router.
#[derive(Debug)]
pub enum PartitionValues {
    /// As written.
    List(Vec<Scalar>),
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
