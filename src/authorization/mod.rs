//! OAuth 2.0 and API keys: how a connection gets, renews and gives up its credential.
