//! Addresses without the secrets in them, for tags and logs.

use url::Url;

use crate::secret::Secret;

/// What stands in the place of a secret.
pub const REPLACEMENT: &str = "REDACTED";

/// The secrets that must not be seen in an address.
#[derive(Debug, Default)]
pub struct Redaction {
    secrets: Vec<Secret<String>>,
}

impl Redaction {
    /// The secrets to look for: every secret value of the configuration, and the tokens. Empty ones hide nothing.
    pub fn new(secrets: impl IntoIterator<Item = Secret<String>>) -> Self {
        Redaction { secrets: secrets.into_iter().filter(|secret| !secret.expose().is_empty()).collect() }
    }

    /// The address as it may be recorded: without user and password, and with every parameter and path segment that holds a secret
    /// replaced, however it is encoded.
    pub fn apply(&self, url: &Url) -> String {
        let mut shown = url.clone();
        // An address that cannot have a user has none to remove.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_fragment(None);
        if url.query().is_some() {
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            if pairs.iter().any(|(name, value)| self.holds(name) || self.holds(value)) {
                let hide = |text: String| if self.holds(&text) { REPLACEMENT.to_owned() } else { text };
                shown.query_pairs_mut().clear().extend_pairs(pairs.into_iter().map(|(name, value)| (hide(name), hide(value))));
            }
        }
        if let Some(segments) = url.path_segments() {
            let decoded: Vec<&str> = segments.collect();
            let path: Vec<&str> =
                decoded.iter().map(|segment| if self.holds(&percent_decoded(segment)) { REPLACEMENT } else { segment }).collect();
            if path != decoded {
                shown.set_path(&path.join("/"));
            }
        }
        shown.to_string()
    }

    fn holds(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret.expose().as_str()))
    }
}

fn percent_decoded(segment: &str) -> String {
    // The query decoder of the URL library, with its plus sign put out of force.
    let pair = format!("x={}", segment.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(url: &str, secrets: &[&str]) -> String {
        let redaction = Redaction::new(secrets.iter().map(|secret| Secret::new((*secret).to_owned())));
        redaction.apply(&Url::parse(url).unwrap())
    }

    /// Only what holds a secret is replaced.
    #[test]
    fn secrets_are_replaced() {
        assert_eq!(shown("https://a.example/v1/x?page=2", &["k"]), "https://a.example/v1/x?page=2");
        assert_eq!(shown("https://u:p@a.example/v1?key=a%2Bb%20c&page=2", &["a+b c"]), "https://a.example/v1?key=REDACTED&page=2");
        assert_eq!(shown("https://a.example/bot%31%32/get?q=%7E", &["12"]), "https://a.example/REDACTED/get?q=%7E");
    }

    proptest! {
        /// A secret of some length is never readable in what is recorded, wherever it stood.
        #[test]
        fn no_secret_is_recorded(secret in "[ -~]{8,20}", other in "[a-z]{0,5}") {
            let mut url = Url::parse("https://a.example/").unwrap();
            url.path_segments_mut().unwrap().push(&format!("{other}{secret}")).push("x");
            url.query_pairs_mut().append_pair("key", &secret).append_pair("page", "2");
            let recorded = shown(url.as_str(), &[&secret]);
            prop_assert_eq!(recorded, "https://a.example/REDACTED/x?key=REDACTED&page=2");
        }
    }
}
