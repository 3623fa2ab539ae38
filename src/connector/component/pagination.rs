//! How one page leads to the next.

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::records::Decoder;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::requester::TokenPlacement;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Scalar;
use crate::connector::component::value::choice;

family! {
    /// How one page leads to the next.
    Paginator { NoPagination, DefaultPaginator }
}

component! {
    /// There is one page.
    NoPagination {}
}

component! {
    /// Puts a page's token, and its size, into the request.
    DefaultPaginator {
        /// Where the token comes from.
        pagination_strategy: PaginationStrategy;
        /// Where the token goes.
        page_token_option: Option<TokenPlacement>;
        /// Where the page size goes.
        page_size_option: Option<RequestOption>;
        /// How the answer is read.
        decoder: Option<Decoder>;
    }
}

family! {
    /// Where a page's token comes from.
    PaginationStrategy { PageIncrement, OffsetIncrement, CursorPagination }
}

component! {
    /// Counts pages.
    PageIncrement {
        /// The records of a full page; a page with fewer is the last.
        page_size: Option<Scalar> => PageSize;
        /// The number of the first page.
        start_from_page: i64 = 0;
        /// Whether the first request names its page too.
        inject_on_first_request: bool = false;
    }
}

component! {
    /// Counts records.
    OffsetIncrement {
        /// The records of a full page; a page with fewer is the last.
        page_size: Option<Scalar> => PageSize;
        /// Whether the first request names its offset too.
        inject_on_first_request: bool = false;
    }
}

component! {
    /// Takes the token from the answer.
    CursorPagination {
        /// The token; empty ends the slice.
        cursor_value: Expression => Paginator;
        /// Ends the slice when true, whatever the token is.
        stop_condition: Option<Expression> => Paginator;
        /// The records asked for.
        page_size: Option<Scalar> => PageSize;
        /// How the answer is read.
        decoder: Option<Decoder>;
    }
}

component! {
    /// When a slice is paged anew from its beginning, because the application does not page to its end.
    PaginationReset {
        /// From where.
        action: ResetAction;
        /// What brings it about, beside an error handler that says so.
        limits: Option<PaginationResetLimits>;
    }
}

choice! {
    /// From where a slice is paged anew.
    ResetAction { Reset = "RESET", SplitUsingCursor = "SPLIT_USING_CURSOR" }
}

component! {
    /// What brings a new paging about.
    PaginationResetLimits {
        /// So many records.
        number_of_records: Option<u32>;
    }
}
