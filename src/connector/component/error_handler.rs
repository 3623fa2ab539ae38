//! What an answer means, and how long to wait before the next try.

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Pattern;
use crate::connector::component::value::Scalar;
use crate::connector::component::value::choice;

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
        /// The tries after the first.
        max_retries: u32 = 5;
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
    ResponseAction { Success = "SUCCESS", Fail = "FAIL", Retry = "RETRY", Ignore = "IGNORE", RateLimited = "RATE_LIMITED" }
}

choice! {
    /// Whose failure it is.
    FailureKind { System = "system_error", Config = "config_error", Transient = "transient_error" }
}

family! {
    /// How long to wait before the next try.
    BackoffStrategy { ConstantBackoffStrategy, ExponentialBackoffStrategy, WaitTimeFromHeader, WaitUntilTimeFromHeader }
}

component! {
    /// Always the same wait.
    ConstantBackoffStrategy {
        /// Seconds.
        backoff_time_in_seconds: Scalar => Backoff;
    } refused { jitter_range_in_seconds }
}

component! {
    /// Twice as long each time.
    ExponentialBackoffStrategy {
        /// Seconds before the doubling starts.
        factor: Scalar => Backoff = Scalar::Literal(5.into());
    } refused { jitter_range_in_seconds }
}

component! {
    /// The wait that a header names, in seconds.
    WaitTimeFromHeader {
        /// The header.
        header: Expression => Backoff;
        /// What part of the header is the number.
        regex: Option<Pattern>;
        /// A longer wait fails the stream, in seconds.
        max_waiting_time_in_seconds: Option<f64>;
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
        regex: Option<Pattern>;
    } refused { max_waiting_time_in_seconds }
}
