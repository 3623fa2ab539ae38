//! What is asked of the application.

use crate::connector::component::authenticator::Authenticator;
use crate::connector::component::component;
use crate::connector::component::error_handler::ErrorHandler;
use crate::connector::component::family;
use crate::connector::component::properties::PropertiesFromEndpoint;
use crate::connector::component::properties::PropertyList;
use crate::connector::component::properties::QueryProperties;
use crate::connector::component::properties::RequestParameters;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Nested;
use crate::connector::component::value::choice;

family! {
    /// What is asked of the application.
    Requester { HttpRequester }
}

component! {
    /// One HTTP request.
    HttpRequester {
        /// The whole address; older manifests give `url_base` and `path` instead.
        url: Option<Expression> => Request;
        /// The address that `path` is joined to.
        url_base: Option<Expression> => Request;
        /// What is joined to the base with a single slash.
        path: Option<Expression> => Request;
        /// The verb.
        http_method: Verb = Verb::Get;
        /// Where the credential goes.
        authenticator: Option<Authenticator>;
        /// Query parameters: a map, or a text that becomes one.
        request_parameters: Option<RequestParameters> => Request;
        /// Headers: a map, or a text that becomes one.
        request_headers: Option<Nested> => Request;
        /// The body; newer manifests give this instead of the two below.
        request_body: Option<RequestBody>;
        /// A JSON body.
        request_body_json: Option<Nested> => Request;
        /// A form, or a text that is sent as it is.
        request_body_data: Option<Nested> => Request;
        /// What an answer means, and what follows from it.
        error_handler: Option<ErrorHandler>;
        /// Whether answers are kept for other streams of the same pull that ask the same; those of parents always are.
        use_cache: bool = false;
        /// The properties that the application is asked for, which the manifest puts into the request by its own expressions.
        query_properties: Option<QueryProperties>;
        /// As `query_properties` with a list that is found at the application.
        fetch_properties_from_endpoint: Option<PropertiesFromEndpoint>;
        /// How long a connection may take, in seconds; it counts as part of the wait for the answer here.
        connect_timeout_in_seconds: Option<f64>;
        /// How long the application may be silent, in seconds.
        read_timeout_in_seconds: Option<f64>;
        /// Whether idle connections are probed; they always are here.
        use_tcp_keepalive: bool = false;
    }
}

impl HttpRequester {
    /// Calls `visit` for this requester and for the logins of its authenticators, whichever of them a configuration chooses.
    pub fn with_logins<'a>(&'a self, visit: &mut dyn FnMut(&'a HttpRequester)) {
        visit(self);
        if let Some(authenticator) = &self.authenticator {
            authenticator.logins(&mut |login| login.with_logins(visit));
        }
    }

    /// The stream that names the properties to be asked for, if there is one.
    pub fn property_stream(&self) -> Option<&DeclarativeStream> {
        let queried =
            self.request_parameters.as_ref().and_then(|parameters| parameters.properties.as_ref()).map(|(_, query)| query.as_ref());
        let found = match queried.or(self.query_properties.as_ref()).map(|query| &query.property_list) {
            Some(PropertyList::Found(found)) => Some(found.as_ref()),
            _ => self.fetch_properties_from_endpoint.as_ref(),
        };
        found.map(|found| found.retriever.0.as_ref())
    }

    /// Calls `visit` for every expression of headers, parameters and body.
    pub fn expressions<'a>(&'a self, visit: &mut dyn FnMut(&'a Expression)) {
        let body = match &self.request_body {
            Some(RequestBody::RequestBodyJsonObject(body)) => Some(&body.value),
            Some(RequestBody::RequestBodyGraphQL(body)) => Some(&body.value),
            Some(RequestBody::RequestBodyUrlEncodedForm(body)) => Some(&body.value),
            Some(RequestBody::RequestBodyPlainText(body)) => Some(&body.value),
            None => None,
        };
        let parameters = self.request_parameters.as_ref().map(|parameters| &parameters.values);
        let written = [&self.request_headers, &self.request_body_json, &self.request_body_data];
        for nested in written.into_iter().flatten().chain(body).chain(parameters) {
            nested.expressions(visit);
        }
    }
}

choice! {
    /// The verb of a request.
    Verb { Get = "GET", Post = "POST", Put = "PUT", Patch = "PATCH", Delete = "DELETE", Head = "HEAD", Options = "OPTIONS" }
}

family! {
    /// The body of a request.
    RequestBody { RequestBodyJsonObject, RequestBodyGraphQL, RequestBodyUrlEncodedForm, RequestBodyPlainText }
}

component! {
    /// A JSON body.
    RequestBodyJsonObject {
        /// The object.
        value: Nested => Request;
    }
}

component! {
    /// A GraphQL query, sent as JSON.
    RequestBodyGraphQL {
        /// The object with `query` and `variables`.
        value: Nested => Request;
    }
}

component! {
    /// A form.
    RequestBodyUrlEncodedForm {
        /// The form's fields.
        value: Nested => Request;
    }
}

component! {
    /// A text, sent as it is.
    RequestBodyPlainText {
        /// The text.
        value: Nested => Request;
    }
}

component! {
    /// Where a value is put into a request.
    RequestOption {
        /// The part of the request.
        inject_into: InjectInto;
        /// The name of the parameter, header or field.
        field_name: Option<Expression> => FieldPath;
        /// The path of a nested field of a JSON body, instead of a name.
        field_path: Option<Vec<Expression>> => FieldPath;
    }
}

choice! {
    /// The part of a request that a value is put into.
    InjectInto { Parameter = "request_parameter", Header = "header", BodyData = "body_data", BodyJson = "body_json" }
}

component! {
    /// The value is the whole path of the next request.
    RequestPath {}
}

family! {
    /// Where a page's token is put.
    TokenPlacement { RequestOption, RequestPath }
}
