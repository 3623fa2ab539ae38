//! How only what changed is read.

use std::rc::Rc;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::value::Expression;
use crate::connector::expression::Place;
use crate::connector::yaml::Node;

family! {
    /// How only what changed is read.
    IncrementalSync { DatetimeBasedCursor }
}

component! {
    /// Reads windows of time, from where the last run ended.
    DatetimeBasedCursor {
        /// The field of a record that tells its time.
        cursor_field: Expression => Cursor;
        /// How times are written in requests and in the state.
        datetime_format: String;
        /// Where the first run begins.
        start_datetime: Moment;
        /// Where a run ends; without one, now.
        end_datetime: Option<Moment>;
        /// How records write their times, tried in order, then `datetime_format`.
        cursor_datetime_formats: Vec<String> = Vec::new();
        /// Where the window's start goes.
        start_time_option: Option<RequestOption>;
        /// Where the window's end goes.
        end_time_option: Option<RequestOption>;
        /// The length of a window, an ISO 8601 duration; without one there is one window.
        step: Option<Expression> => Cursor;
        /// The smallest difference between two times of the application, an ISO 8601 duration; goes with `step`.
        cursor_granularity: Option<String>;
        /// How far before its state a run begins, an ISO 8601 duration.
        lookback_window: Option<Expression> => Cursor;
        /// The name of the window's start in the slice.
        partition_field_start: Option<Expression> => Cursor;
        /// The name of the window's end in the slice.
        partition_field_end: Option<Expression> => Cursor;
        /// Whether the application cannot filter, and gives the newest first: paging ends at the first page that is known.
        is_data_feed: bool = false;
        /// Whether the application cannot filter, so that records outside the window are dropped here.
        is_client_side_incremental: bool = false;
    } refused { clamping, allow_catalog_defined_cursor_field, is_compare_strictly, global_substream_cursor }
}

component! {
    /// A time, with bounds.
    MinMaxDatetime {
        /// The time.
        datetime: Expression => Cursor;
        /// How it is written; without one, as the cursor's times are.
        datetime_format: Option<String>;
        /// It is never before this.
        min_datetime: Option<Expression> => Cursor;
        /// It is never after this.
        max_datetime: Option<Expression> => Cursor;
    }
}

/// A time with bounds, or an expression for one.
#[derive(Debug)]
pub enum Moment {
    /// A time with bounds.
    Bounded(Box<MinMaxDatetime>),
    /// A time alone.
    Plain(Expression),
}

impl Accept for Moment {
    const ACCEPTS: &'static str = "a time, or a map of type MinMaxDatetime";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        if node.as_map().is_some() {
            return Box::<MinMaxDatetime>::accept(node, reader).map(Moment::Bounded);
        }
        reader.at(Place::Cursor, |reader| Expression::accept(node, reader)).map(Moment::Plain)
    }
}
