//! Where the credential goes.

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::source::Unread;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Nested;
use crate::connector::component::value::choice;

family! {
    /// Where the credential goes.
    Authenticator { NoAuth, ApiKeyAuthenticator, BearerAuthenticator, BasicHttpAuthenticator, OAuthAuthenticator }
}

component! {
    /// No credential.
    NoAuth {}
}

component! {
    /// A key in a header or another part of the request.
    ApiKeyAuthenticator {
        /// The key.
        api_token: Expression => Authenticator;
        /// Where it goes.
        inject_into: Option<RequestOption>;
        /// The header it goes into, in older manifests.
        header: Option<Expression> => Authenticator;
    }
}

component! {
    /// A token behind the word Bearer in the Authorization header.
    BearerAuthenticator {
        /// The token.
        api_token: Expression => Authenticator;
    }
}

component! {
    /// A name and a password, in the Authorization header (RFC 7617).
    BasicHttpAuthenticator {
        /// The name.
        username: Expression => Authenticator;
        /// The password; without one it is empty.
        password: Option<Expression> => Authenticator;
    }
}

component! {
    /// An access token that is renewed at an endpoint (RFC 6749), sent as a Bearer token.
    OAuthAuthenticator {
        /// The application's name with the authorization server.
        client_id: Option<Expression> => Authenticator;
        /// The application's secret.
        client_secret: Option<Expression> => Authenticator;
        /// The token that buys new access tokens.
        refresh_token: Option<Expression> => Authenticator;
        /// Where tokens are renewed.
        token_refresh_endpoint: Option<Expression> => Authenticator;
        /// The name of the client id in the request.
        client_id_name: String = "client_id".into();
        /// The name of the client secret in the request.
        client_secret_name: String = "client_secret".into();
        /// The name of the refresh token in the request.
        refresh_token_name: String = "refresh_token".into();
        /// The name of the access token in the answer.
        access_token_name: String = "access_token".into();
        /// The name of the lifetime in the answer, in seconds.
        expires_in_name: String = "expires_in".into();
        /// The name of the grant type in the request.
        grant_type_name: String = "grant_type".into();
        /// The kind of grant.
        grant_type: GrantType = GrantType::RefreshToken;
        /// More fields of the request.
        refresh_request_body: Option<Nested> => Authenticator;
        /// Headers of the request; with an Authorization among them the client credentials are left out of the body.
        refresh_request_headers: Option<Nested> => Authenticator;
        /// The scopes asked for.
        scopes: Vec<String> = Vec::new();
        /// An access token that is there already.
        access_token_value: Option<Expression> => Authenticator;
        /// When that one ends; Headgate renews by the answers it got, and does not read it.
        token_expiry_date: Option<Unread>;
        /// How that date is written.
        token_expiry_date_format: Option<Unread>;
        /// Where the original platform keeps rotated tokens in the configuration. Headgate seals every rotated token.
        refresh_token_updater: Option<Unread>;
    } refused { send_refresh_request_as_query_params, refresh_token_error_status_codes, refresh_token_error_key, refresh_token_error_values, profile_assertion, use_profile_assertion }
}

choice! {
    /// The kind of grant that buys access tokens.
    GrantType { RefreshToken = "refresh_token", ClientCredentials = "client_credentials" }
}
