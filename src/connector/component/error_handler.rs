//! What an answer means, and how long to wait before the next try.

use std::rc::Rc;

use regex::Regex;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::value::Count;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Pattern;
use crate::connector::component::value::Scalar;
use crate::connector::component::value::choice;
use crate::connector::expression::ExpressionError;
use crate::connector::expression::Scope;
use crate::connector::yaml::Node;

family! {
    /// What an answer means.
    ErrorHandler { DefaultErrorHandler, CompositeErrorHandler }
}

component! {
    /// Filters tried in order, then the meaning of the status.
    DefaultErrorHandler {
        /// What particular answers mean.
        response_filters: Vec<HttpResponseFilter> = Vec::new();
        /// How long to wait; the first that knows decides.
        backoff_strategies: Vec<BackoffStrategy> = Vec::new();
        /// The tries after the first; five when it is left out.
        max_retries: Option<Count> => Backoff;
    }
}

component! {
    /// Handlers tried in order, until one of them lets the answer pass, ignores it or tries again.
    CompositeErrorHandler {
        /// The handlers.
        error_handlers: Vec<ErrorHandler>;
    }
}

component! {
    /// An answer that means something particular: any of the three conditions is enough.
    HttpResponseFilter {
        /// What it means; without one, what its status means.
        action: Option<ResponseAction>;
        /// What kind of failure it is.
        failure_type: Option<FailureKind>;
        /// What people are told.
        error_message: Option<Expression> => ErrorMessage;
        /// A part of the answer's error text.
        error_message_contains: Option<String>;
        /// Statuses.
        http_codes: Vec<u32> = Vec::new();
        /// A condition on the answer.
        predicate: Option<Expression> => ErrorPredicate;
    }
}

choice! {
    /// What an answer means.
    ResponseAction {
        Success = "SUCCESS",
        Fail = "FAIL",
        Retry = "RETRY",
        Ignore = "IGNORE",
        RateLimited = "RATE_LIMITED",
        RefreshTokenThenRetry = "REFRESH_TOKEN_THEN_RETRY",
        ResetPagination = "RESET_PAGINATION",
        ReducePageSize = "REDUCE_PAGE_SIZE",
        SplitRequestWindow = "SPLIT_REQUEST_WINDOW",
    }
}

choice! {
    /// Whose failure it is.
    FailureKind { System = "system_error", Config = "config_error", Transient = "transient_error" }
}

family! {
    /// How long to wait before the next try.
    BackoffStrategy { ConstantBackoffStrategy, ExponentialBackoffStrategy, WaitTimeFromHeader, WaitTimeFromResponse, WaitUntilTimeFromHeader }
}

component! {
    /// Always the same wait.
    ConstantBackoffStrategy {
        /// Seconds.
        backoff_time_in_seconds: Scalar => Backoff;
        /// Up to twice as many seconds are added, by chance.
        jitter_range_in_seconds: Option<f64>;
    }
}

component! {
    /// Twice as long each time.
    ExponentialBackoffStrategy {
        /// Seconds before the doubling starts.
        factor: Scalar => Backoff = Scalar::Literal(5.into());
        /// Up to twice as many seconds are added, by chance.
        jitter_range_in_seconds: Option<f64>;
    }
}

component! {
    /// The wait that a header names, in seconds.
    WaitTimeFromHeader {
        /// The header.
        header: Expression => Backoff;
        /// What part of the header is the number.
        regex: Option<HeaderPattern> => Backoff;
        /// A wait of so many seconds or more fails the stream.
        max_waiting_time_in_seconds: Option<Scalar> => Backoff;
    }
}

component! {
    /// The wait until the time that a header names, in seconds since 1970.
    WaitUntilTimeFromHeader {
        /// The header.
        header: Expression => Backoff;
        /// The shortest wait, in seconds.
        min_wait: Option<Scalar> => Backoff;
        /// What part of the header is the number.
        regex: Option<HeaderPattern> => Backoff;
        /// A wait of so many seconds or more fails the stream.
        max_waiting_time_in_seconds: Option<Scalar> => Backoff;
    }
}

component! {
    /// The wait that the answer's body names, in seconds.
    WaitTimeFromResponse {
        /// The seconds; what is no number leaves the next strategy to decide.
        wait_time_in_seconds: Expression => ErrorMessage;
        /// A wait of so many seconds or more fails the stream.
        max_waiting_time_in_seconds: Option<Scalar> => Backoff;
    }
}

/// A regular expression for a part of a header, which the configuration may take part in.
#[derive(Debug)]
pub enum HeaderPattern {
    /// As written.
    Written(Pattern),
    /// An expression for one.
    Expression(Expression),
}

impl HeaderPattern {
    /// What it finds at the beginning of `text`; a pattern that is none finds nothing.
    ///
    /// # Errors
    /// When its expression fails.
    pub fn find(&self, text: &str, scope: &Scope) -> Result<Option<String>, ExpressionError> {
        let found = |regex: &Regex| regex.find(text).filter(|found| found.start() == 0).map(|found| found.as_str().to_owned());
        Ok(match self {
            HeaderPattern::Written(Pattern(regex)) => found(regex),
            HeaderPattern::Expression(expression) => Pattern::compile(&expression.text(scope)?).and_then(|Pattern(regex)| found(&regex)),
        })
    }
}

impl Accept for HeaderPattern {
    const ACCEPTS: &'static str = "a regular expression, which may hold expressions";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match node.as_text() {
            Some(text) if text.contains("{{") => Expression::accept(node, reader).map(HeaderPattern::Expression),
            _ => Pattern::accept(node, reader).map(HeaderPattern::Written),
        }
    }
}
