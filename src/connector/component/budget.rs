//! How often the application may be asked, as the manifest has it.

use serde_json::Map;
use serde_json::Value;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::value::Count;
use crate::connector::component::value::IsoDuration;
use crate::connector::component::value::Pattern;

family! {
    /// How often the application may be asked.
    ApiBudget { HTTPAPIBudget }
}

component! {
    /// Policies for kinds of requests; the first that matches a request counts it, and one that matches none is not counted.
    HTTPAPIBudget {
        /// The policies.
        policies: Vec<CallRatePolicy>;
        /// The header that tells when the window ends, in seconds since 1970.
        ratelimit_reset_header: String = "ratelimit-reset".into();
        /// The header that tells how many requests are left.
        ratelimit_remaining_header: String = "ratelimit-remaining".into();
        /// The statuses that mean that none is left.
        status_codes_for_ratelimit_hit: Vec<u32> = vec![429];
    }
}

family! {
    /// How often requests of one kind may be sent.
    CallRatePolicy { FixedWindowCallRatePolicy, MovingWindowCallRatePolicy, UnlimitedCallRatePolicy }
}

component! {
    /// So many requests in a window of time; the next window begins where it ends.
    FixedWindowCallRatePolicy {
        /// How long a window is.
        period: IsoDuration;
        /// How many requests.
        call_limit: u32;
        /// Which requests; without any, all.
        matchers: Vec<HttpRequestRegexMatcher>;
    }
}

component! {
    /// So many requests in any stretch of time.
    MovingWindowCallRatePolicy {
        /// The rates, all of which hold.
        rates: Vec<Rate>;
        /// Which requests; without any, all.
        matchers: Vec<HttpRequestRegexMatcher>;
    }
}

component! {
    /// Requests that are not limited.
    UnlimitedCallRatePolicy {
        /// Which requests; without any, all.
        matchers: Vec<HttpRequestRegexMatcher>;
    }
}

component! {
    /// So many requests in so long.
    Rate {
        /// How many.
        limit: Count => Spec;
        /// In which time.
        interval: IsoDuration;
    }
}

component! {
    /// Requests that have all that is named.
    HttpRequestRegexMatcher {
        /// The verb.
        method: Option<String>;
        /// Scheme, host and port.
        url_base: Option<String>;
        /// A regular expression that is found in the path.
        url_path_pattern: Option<Pattern>;
        /// Query parameters.
        params: Map<String, Value> = Map::new();
        /// Headers.
        headers: Map<String, Value> = Map::new();
        /// For how many requests one counts; one when it is left out.
        weight: Option<Count> => Spec;
    }
}
