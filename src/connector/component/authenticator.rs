//! Where the credential goes.

use std::rc::Rc;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::records::Decoder;
use crate::connector::component::requester::HttpRequester;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::requester::Requester;
use crate::connector::component::value::Condition;
use crate::connector::component::value::Expression;
use crate::connector::component::value::IsoDuration;
use crate::connector::component::value::Nested;
use crate::connector::component::value::choice;
use crate::connector::yaml::Node;

family! {
    /// Where the credential goes.
    Authenticator {
        NoAuth,
        ApiKeyAuthenticator,
        BearerAuthenticator,
        BasicHttpAuthenticator,
        OAuthAuthenticator,
        SelectiveAuthenticator,
        SessionTokenAuthenticator,
        LegacySessionTokenAuthenticator,
        JwtAuthenticator,
    }
}

impl Authenticator {
    /// Calls `visit` for the logins of this authenticator, whichever of its choices is taken.
    pub fn logins<'a>(&'a self, visit: &mut dyn FnMut(&'a HttpRequester)) {
        match self {
            Authenticator::SessionTokenAuthenticator(session) => {
                let Requester::HttpRequester(login) = &session.login_requester;
                visit(login);
            }
            Authenticator::SelectiveAuthenticator(selective) => {
                selective.authenticators.0.iter().for_each(|(_, choice)| choice.logins(visit));
            }
            _ => {}
        }
    }

    /// Calls `visit` for the expressions that hold credentials. Addresses, scopes and names of parameters are none.
    pub fn credentials<'a>(&'a self, visit: &mut dyn FnMut(&'a Expression)) {
        match self {
            Authenticator::NoAuth(_) => {}
            Authenticator::ApiKeyAuthenticator(key) => key.api_token.iter().for_each(visit),
            Authenticator::BearerAuthenticator(bearer) => visit(&bearer.api_token),
            Authenticator::BasicHttpAuthenticator(basic) => {
                visit(&basic.username);
                basic.password.iter().for_each(visit);
            }
            Authenticator::OAuthAuthenticator(oauth) => {
                let values = [&oauth.client_id, &oauth.client_secret, &oauth.refresh_token, &oauth.access_token_value];
                values.into_iter().flatten().for_each(&mut *visit);
                for nested in [&oauth.refresh_request_body, &oauth.refresh_request_headers].into_iter().flatten() {
                    nested.expressions(visit);
                }
                if let Some(ProfileAssertion::JwtAuthenticator(jwt)) = &oauth.profile_assertion {
                    visit(&jwt.secret_key);
                }
            }
            Authenticator::SelectiveAuthenticator(selective) => {
                selective.authenticators.0.iter().for_each(|(_, choice)| choice.credentials(visit));
            }
            Authenticator::SessionTokenAuthenticator(session) => {
                // What a login sends is a name and a secret, wherever they stand in it.
                let Requester::HttpRequester(login) = &session.login_requester;
                login.expressions(visit);
                if let Some(authenticator) = &login.authenticator {
                    authenticator.credentials(visit);
                }
                if let SessionTokenPlacement::ApiKey(key) = &session.request_authentication {
                    key.api_token.iter().for_each(visit);
                }
            }
            Authenticator::LegacySessionTokenAuthenticator(legacy) => {
                [&legacy.session_token, &legacy.username, &legacy.password].into_iter().flatten().for_each(visit);
            }
            Authenticator::JwtAuthenticator(jwt) => visit(&jwt.secret_key),
        }
    }

    /// Calls `visit` for the paths of the configuration that are kept by [`RefreshTokenUpdater`].
    pub fn updated_paths<'a>(&'a self, visit: &mut dyn FnMut(&'a [String])) {
        match self {
            Authenticator::OAuthAuthenticator(oauth) => {
                if let Some(updater) = &oauth.refresh_token_updater {
                    visit(&updater.access_token_config_path);
                    visit(&updater.refresh_token_config_path);
                }
            }
            Authenticator::SelectiveAuthenticator(selective) => {
                selective.authenticators.0.iter().for_each(|(_, choice)| choice.updated_paths(visit));
            }
            _ => {}
        }
    }
}

component! {
    /// No credential.
    NoAuth {}
}

component! {
    /// A key in a header or another part of the request.
    ApiKeyAuthenticator {
        /// The key; empty when it is left out.
        api_token: Option<Expression> => Authenticator;
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
        /// Where tokens are renewed; without one, the access token that is there already is sent for good.
        token_refresh_endpoint: Option<Expression> => Authenticator;
        /// The name of the client id in the request; `client_id` when it is left out.
        client_id_name: Option<Expression> => Authenticator;
        /// The name of the client secret in the request; `client_secret` when it is left out.
        client_secret_name: Option<Expression> => Authenticator;
        /// The name of the refresh token in the request; `refresh_token` when it is left out.
        refresh_token_name: Option<Expression> => Authenticator;
        /// The name of the access token in the answer; `access_token` when it is left out.
        access_token_name: Option<Expression> => Authenticator;
        /// The name of the lifetime in the answer; `expires_in` when it is left out.
        expires_in_name: Option<Expression> => Authenticator;
        /// The name of the grant type in the request; `grant_type` when it is left out.
        grant_type_name: Option<Expression> => Authenticator;
        /// The kind of grant; `refresh_token` when it is left out.
        grant_type: Option<Expression> => Authenticator;
        /// More fields of the request.
        refresh_request_body: Option<Nested> => Authenticator;
        /// Headers of the request; with an Authorization among them the client credentials are left out of the body.
        refresh_request_headers: Option<Nested> => Authenticator;
        /// Whether the fields of the request go into its address, and its body is empty.
        send_refresh_request_as_query_params: bool = false;
        /// The scopes asked for.
        scopes: Vec<String> = Vec::new();
        /// An access token that is there already.
        access_token_value: Option<Expression> => Authenticator;
        /// When that one ends, as seconds since 1970 or a date of ISO 8601.
        token_expiry_date: Option<Expression> => Authenticator;
        /// That the lifetime in the answer is the date of its end; how the date is written is found out.
        token_expiry_date_format: Option<String>;
        /// The statuses with which the endpoint refuses a refresh token.
        refresh_token_error_status_codes: Vec<u32> = Vec::new();
        /// The member of the answer that says so.
        refresh_token_error_key: Option<String>;
        /// What that member says then.
        refresh_token_error_values: Vec<String> = Vec::new();
        /// Where rotated tokens are kept in the configuration.
        refresh_token_updater: Option<RefreshTokenUpdater>;
        /// A signed assertion in the place of client credentials (RFC 7523).
        profile_assertion: Option<ProfileAssertion>;
        /// Whether the assertion is used.
        use_profile_assertion: Option<Condition> => Authenticator;
    }
}

component! {
    /// Where rotated tokens are kept in the configuration. Headgate seals every rotated token as well.
    RefreshTokenUpdater {
        /// The name of the new refresh token in the answer.
        refresh_token_name: String = "refresh_token".into();
        /// The path of the access token in the configuration.
        access_token_config_path: Vec<String> = vec!["credentials".into(), "access_token".into()];
        /// The path of the refresh token in the configuration.
        refresh_token_config_path: Vec<String> = vec!["credentials".into(), "refresh_token".into()];
        /// The path of the access token's end in the configuration.
        token_expiry_date_config_path: Vec<String> = vec!["credentials".into(), "token_expiry_date".into()];
        /// The statuses with which the endpoint refuses a refresh token.
        refresh_token_error_status_codes: Vec<u32> = Vec::new();
        /// The member of the answer that says so.
        refresh_token_error_key: Option<String>;
        /// What that member says then.
        refresh_token_error_values: Vec<String> = Vec::new();
    }
}

family! {
    /// A signed assertion in the place of client credentials.
    ProfileAssertion { JwtAuthenticator }
}

component! {
    /// One of several authenticators, by what the configuration says.
    SelectiveAuthenticator {
        /// The path of the member of the configuration that names the authenticator.
        authenticator_selection_path: Vec<String>;
        /// The authenticators by name.
        authenticators: Choices;
    }
}

/// The authenticators of a [`SelectiveAuthenticator`] by name, in the manifest's order.
#[derive(Debug)]
pub struct Choices(pub Vec<(String, Authenticator)>);

impl Accept for Choices {
    const ACCEPTS: &'static str = "a map of authenticators by name";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let Some(members) = node.as_map() else { return reader.wrong_kind(node, Self::ACCEPTS) };
        let written = members.iter().filter(|(key, member)| !member.inherited && !key.starts_with('$'));
        // All are read before the first failure counts, so that all problems are told.
        let read: Vec<_> = written
            .map(|(key, member)| {
                let choice = reader.within(key.to_string(), |reader| Authenticator::accept(&member.node, reader));
                choice.map(|choice| (key.to_string(), choice))
            })
            .collect();
        read.into_iter().collect::<Option<_>>().map(Choices)
    }
}

component! {
    /// A token that a login gives.
    SessionTokenAuthenticator {
        /// The login.
        login_requester: Requester;
        /// The path of the token in the login's answer.
        session_token_path: Vec<String>;
        /// How long a token is good; without it, the reference engine logs in before every request.
        expiration_duration: Option<IsoDuration>;
        /// Where the token goes.
        request_authentication: SessionTokenPlacement;
        /// How the login's answer is read.
        decoder: Option<Decoder>;
    }
}

family! {
    /// Where a session token goes.
    SessionTokenPlacement { ApiKey, Bearer }
}

component! {
    /// The session token goes into a header or another part of the request.
    ApiKey {
        /// Where it goes.
        inject_into: RequestOption;
        /// What is sent there; the bare token when it is left out.
        api_token: Option<Expression> => Authenticator;
    }
}

component! {
    /// The session token goes behind the word Bearer into the Authorization header.
    Bearer {}
}

component! {
    /// A token from the configuration as long as it is good, else one that a login with name and password gives. Older manifests
    /// have it.
    LegacySessionTokenAuthenticator {
        /// The header that the token goes into.
        header: Expression => Authenticator;
        /// What is put behind the requester's base address for the login.
        login_url: Expression => Authenticator;
        /// The token of the configuration.
        session_token: Option<Expression> => Authenticator;
        /// The member of the login's answer that is the token.
        session_token_response_key: Expression => Authenticator;
        /// The name.
        username: Option<Expression> => Authenticator;
        /// The password.
        password: Option<Expression> => Authenticator;
        /// What is put behind the requester's base address to find out whether a token is good.
        validate_session_url: Expression => Authenticator;
    }
}

component! {
    /// A JSON Web Token that is signed here (RFC 7519).
    JwtAuthenticator {
        /// The key: a text for HS algorithms, else a private key in PEM.
        secret_key: Expression => Authenticator;
        /// Whether the key's text is put into base64 before it is used.
        base64_encode_secret_key: Option<Condition> => Authenticator;
        /// How it is signed.
        algorithm: JwtAlgorithm;
        /// How long it is good, in seconds.
        token_duration: u32 = 1200;
        /// What stands before it in the request, with a space between.
        header_prefix: Option<Expression> => Authenticator;
        /// Fields of the token's header.
        jwt_headers: Option<JwtHeaders>;
        /// More fields of the token's header.
        additional_jwt_headers: Option<Nested> => Authenticator;
        /// Claims.
        jwt_payload: Option<JwtPayload>;
        /// More claims.
        additional_jwt_payload: Option<Nested> => Authenticator;
        /// Where it goes; the Authorization header when it is left out.
        request_option: Option<RequestOption>;
    } refused { passphrase }
}

component! {
    /// Fields of a JSON Web Token's header.
    JwtHeaders {
        /// The key's name.
        kid: Option<Expression> => Authenticator;
        /// The token's type; `JWT` when it is left out.
        typ: Option<Expression> => Authenticator;
        /// The content's type.
        cty: Option<Expression> => Authenticator;
    }
}

component! {
    /// Claims of a JSON Web Token.
    JwtPayload {
        /// Who issues it.
        iss: Option<Expression> => Authenticator;
        /// Whom it is about.
        sub: Option<Expression> => Authenticator;
        /// Whom it is for.
        aud: Option<Expression> => Authenticator;
    }
}

choice! {
    /// How a JSON Web Token is signed (RFC 7518; ES256K and ES512 have no implementation here).
    JwtAlgorithm {
        Hs256 = "HS256",
        Hs384 = "HS384",
        Hs512 = "HS512",
        Es256 = "ES256",
        Es384 = "ES384",
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        EdDsa = "EdDSA",
    }
}
