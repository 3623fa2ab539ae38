//! The guard at the only way out: which host, by which scheme, at which address a request may arrive.
//!
//! Three lists meet here. [`AllowedHosts`] is what the connector says; a host that is not on it is refused. [`Egress`] is
//! what the operator says; a `host:port` on it may be private and may be plain http. [`Rewrites`] exist in test
//! directories alone and send an application's public URL to a server on this machine.
//!
//! **Invariant**: names are judged where they are resolved ([`Egress::resolver`]), so that an answer that changes between
//! check and connect gains nothing; literal addresses never reach a resolver and are judged in [`Egress::admit`].

use std::collections::HashSet;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;
use url::Host;
use url::Url;

use super::address;
use super::address::AddressDenied;

/// The cause of a refusal to send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// A list entry that is no host.
    #[error("`{entry}` is no host; write a name or an address, with a port if it is not 443: `api.example.com`, `127.0.0.1:9000`")]
    Entry {
        /// The entry as written.
        entry: String,
    },
    /// A rewrite that is not from a public URL to this machine.
    #[error(
        "rewrite `{from}` = `{to}` is refused; it must lead from an http(s) URL to `http://127.0.0.1:PORT`, `http://[::1]:PORT` or `http://localhost:PORT`"
    )]
    Rewrite {
        /// The public URL.
        from: String,
        /// The target.
        to: String,
    },
    /// A URL with another scheme, or without a host.
    #[error("`{scheme}:` URLs are not fetched; use https")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// A URL that holds `user:password@`.
    #[error("the URL for {host} holds a user name; put credentials into the authenticator")]
    UserInfo {
        /// The host.
        host: String,
    },
    /// A host that the connector does not name.
    #[error("{host} is not one of the connector's hosts ({allowed}); add it to `hosts` in headgate.yaml if the application is there")]
    Host {
        /// Host and port.
        host: String,
        /// The hosts that are allowed.
        allowed: String,
    },
    /// Plain http to a place that the operator does not name.
    #[error(
        "{host} would be reached by plain http; use https, or name it in `[egress] allow` in headgate.toml (`headgate airbyte` takes --allow-loopback)"
    )]
    Plain {
        /// Host and port.
        host: String,
    },
    /// A name that the operator lists with other ports only.
    #[error("{host} is in `[egress] allow` with other ports only; add this port there")]
    Port {
        /// Host and port.
        host: String,
    },
    /// An address that is not public.
    #[error("{host} is refused")]
    Address {
        /// Host and port.
        host: String,
        /// The address and its range.
        #[source]
        source: AddressDenied,
    },
}

/// A host and, if it was written, its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    host: Host<String>,
    port: Option<u16>,
}

/// The hosts of one connection, and where a test directory sends them instead.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts {
    places: Arc<[Place]>,
    rewrites: Arc<Rewrites>,
}

impl AllowedHosts {
    /// From `host` or `host:port` entries; a host without a port means 443, and any port that the operator lists for it.
    ///
    /// # Errors
    /// [`EgressError::Entry`] for the first entry that is no host.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, EgressError> {
        let places = entries.into_iter().map(|entry| Place::parse(entry.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { places, rewrites: Arc::default() })
    }

    /// The host and port of `url` alone: for a token endpoint, a revocation endpoint, a manifest without a host list.
    pub fn of_urls<'a>(urls: impl IntoIterator<Item = &'a Url>) -> Self {
        let place = |url: &'a Url| Some(Place { host: normal(url.host()?.to_owned()), port: url.port_or_known_default() });
        Self { places: urls.into_iter().filter_map(place).collect(), rewrites: Arc::default() }
    }

    /// The same hosts, reached through `rewrites`.
    #[must_use]
    pub fn rewritten(mut self, rewrites: Arc<Rewrites>) -> Self {
        self.rewrites = rewrites;
        self
    }

    /// Both lists together, with this one's rewrites.
    #[must_use]
    pub fn and(&self, other: &AllowedHosts) -> Self {
        Self { places: self.places.iter().chain(other.places.iter()).cloned().collect(), rewrites: Arc::clone(&self.rewrites) }
    }

    /// The public form of a URL: one that begins with a rewrite's target is read as the URL it stands for, so that
    /// absolute links in a test server's answers work and are recorded as they would be in production.
    pub fn public(&self, url: Url) -> Url {
        self.rewrites.public(&url).unwrap_or(url)
    }

    fn covers(&self, host: &Host<String>, port: u16, listed: bool) -> bool {
        self.places.iter().any(|place| place.host == *host && place.port.map_or(listed || port == HTTPS_PORT, |own| own == port))
    }

    fn names(&self) -> String {
        let name = |place: &Place| match place.port {
            Some(port) => format!("{}:{port}", place.host),
            None => place.host.to_string(),
        };
        if self.places.is_empty() { String::from("none") } else { self.places.iter().map(name).collect::<Vec<_>>().join(", ") }
    }
}

const HTTPS_PORT: u16 = 443;

/// The one name that means this machine everywhere (RFC 6761 section 6.3).
const LOCALHOST: &str = "localhost";

/// The operator's list: `host:port` entries that may be private and may be reached by plain http.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    listed: Arc<HashSet<(Host<String>, u16)>>,
    loopback: bool,
}

impl Egress {
    /// From the entries of `[egress] allow`; an entry without a port means 443.
    ///
    /// # Errors
    /// [`EgressError::Entry`] for the first entry that is no host.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, EgressError> {
        let place = |entry: S| Place::parse(entry.as_ref()).map(|place| (place.host, place.port.unwrap_or(HTTPS_PORT)));
        Ok(Self { listed: Arc::new(entries.into_iter().map(place).collect::<Result<_, _>>()?), loopback: false })
    }

    /// The same list, and every port of this machine: for `airbyte --allow-loopback`.
    #[must_use]
    pub fn with_loopback(self) -> Self {
        Self { loopback: true, ..self }
    }

    fn lists(&self, host: &Host<String>, port: u16) -> bool {
        let here = literal(host).map_or(*host == Host::Domain(LOCALHOST.to_owned()), |address| address.is_loopback());
        self.listed.contains(&(host.clone(), port)) || (self.loopback && here)
    }

    /// Judges a URL and answers where to connect: the URL itself, or its rewritten form.
    ///
    /// # Errors
    /// Every [`EgressError`] except those of parsing lists.
    pub fn admit(&self, url: &Url, hosts: &AllowedHosts) -> Result<Url, EgressError> {
        let (host, port) = origin(url)?;
        let shown = format!("{host}:{port}");
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressError::UserInfo { host: shown });
        }
        let listed = self.lists(&host, port);
        if !hosts.covers(&host, port, listed) {
            // A known host by http alone: that it is another port is not what is wrong with it.
            if url.scheme() == "http" && url.port().is_none() && hosts.covers(&host, HTTPS_PORT, listed) {
                return Err(EgressError::Plain { host: shown });
            }
            return Err(EgressError::Host { host: shown, allowed: hosts.names() });
        }
        if let Some(target) = hosts.rewrites.target(url) {
            return Ok(target);
        }
        if listed {
            return Ok(url.clone());
        }
        if url.scheme() != "https" {
            return Err(EgressError::Plain { host: shown });
        }
        match literal(&host) {
            Some(literal) => address::check(literal).map_err(|source| EgressError::Address { host: shown, source })?,
            // The resolver lets every address of a listed name through and does not see the port, so that is judged here.
            None if self.listed.iter().any(|(name, _)| *name == host) => return Err(EgressError::Port { host: shown }),
            None => {}
        }
        Ok(url.clone())
    }

    /// Whether a URL's host and port are on a list; says nothing about addresses.
    pub(super) fn is_on(&self, hosts: &AllowedHosts, url: &Url) -> bool {
        origin(url).is_ok_and(|(host, port)| {
            let listed = self.lists(&host, port);
            hosts.covers(&host, port, listed)
        })
    }

    /// The resolver for the one client: it answers with public addresses only, except for names on the operator's list.
    pub fn resolver(&self) -> Resolver {
        let name = |(host, _): &(Host<String>, u16)| match host {
            Host::Domain(name) => Some(name.clone()),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        };
        let localhost = self.loopback.then(|| LOCALHOST.to_owned());
        Resolver { lifted: Arc::new(self.listed.iter().filter_map(name).chain(localhost).collect()) }
    }
}

/// Resolves names by the operating system and keeps only addresses that may be reached.
#[derive(Debug, Clone)]
pub struct Resolver {
    lifted: Arc<HashSet<String>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lifted = self.lifted.contains(name.as_str().trim_end_matches('.'));
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(keep(found, lifted).map(|kept| Box::new(kept.into_iter()) as Addrs)?)
        })
    }
}

/// The addresses that may be reached; when there are some but none may be, the first refusal.
fn keep(found: impl Iterator<Item = SocketAddr>, lifted: bool) -> Result<Vec<SocketAddr>, AddressDenied> {
    let mut denied = None;
    let mut kept = Vec::new();
    for address in found {
        match address::check(address.ip()) {
            Err(refusal) if !lifted => denied = denied.or(Some(refusal)),
            _ => kept.push(address),
        }
    }
    match denied {
        Some(refusal) if kept.is_empty() => Err(refusal),
        _ => Ok(kept),
    }
}

/// Test directories only: public URLs and the servers on this machine that play them.
#[derive(Debug, Clone, Default)]
pub struct Rewrites {
    pairs: Vec<(Url, Url)>,
}

impl Rewrites {
    /// From pairs of a public base URL and its target; the longest matching base wins. `localhost` becomes `127.0.0.1`,
    /// so that no resolver takes part.
    ///
    /// # Errors
    /// [`EgressError::Rewrite`] when a side is no http(s) URL or the target is not on this machine.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, EgressError> {
        let mut parsed = pairs
            .into_iter()
            .map(|(from, to)| parse_rewrite(from, to).ok_or_else(|| EgressError::Rewrite { from: from.into(), to: to.into() }))
            .collect::<Result<Vec<_>, _>>()?;
        parsed.sort_by_key(|(from, _)| std::cmp::Reverse(from.path().len()));
        Ok(Self { pairs: parsed })
    }

    /// Where a public URL is played, if anywhere.
    fn target(&self, url: &Url) -> Option<Url> {
        self.pairs.iter().find_map(|(from, to)| move_base(url, from, to))
    }

    /// The public URL that a target's URL stands for.
    fn public(&self, url: &Url) -> Option<Url> {
        self.pairs.iter().find_map(|(from, to)| move_base(url, to, from))
    }
}

fn parse_rewrite(from: &str, to: &str) -> Option<(Url, Url)> {
    let from = Url::parse(from).ok()?;
    let mut to = Url::parse(to).ok()?;
    if to.host_str() == Some(LOCALHOST) {
        to.set_host(Some("127.0.0.1")).ok()?;
    }
    let http = |url: &Url| matches!(url.scheme(), "http" | "https");
    let here = literal(&to.host()?.to_owned()).is_some_and(|address| address.is_loopback());
    (http(&from) && http(&to) && here).then_some((from, to))
}

/// `url` with the base `from` replaced by `to`, if it begins with it at a path boundary.
fn move_base(url: &Url, from: &Url, to: &Url) -> Option<Url> {
    let same = url.scheme() == from.scheme() && url.host() == from.host() && url.port_or_known_default() == from.port_or_known_default();
    let rest = url.path().strip_prefix(from.path().trim_end_matches('/'))?;
    if !same || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let mut moved = to.clone();
    moved.set_path(&format!("{}{rest}", to.path().trim_end_matches('/')));
    moved.set_query(url.query());
    Some(moved)
}

/// Host and port of an http(s) URL.
fn origin(url: &Url) -> Result<(Host<String>, u16), EgressError> {
    let refused = || EgressError::Scheme { scheme: url.scheme().into() };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused());
    }
    let host = url.host().ok_or_else(refused)?.to_owned();
    Ok((normal(host), url.port_or_known_default().ok_or_else(refused)?))
}

/// A name without the dot of the root, which means the same host.
fn normal(host: Host<String>) -> Host<String> {
    match host {
        Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
        literal => literal,
    }
}

fn literal(host: &Host<String>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(v4) => Some(IpAddr::V4(*v4)),
        Host::Ipv6(v6) => Some(IpAddr::V6(*v6)),
    }
}

impl Place {
    fn parse(entry: &str) -> Result<Self, EgressError> {
        let refused = || EgressError::Entry { entry: entry.into() };
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().map_err(|_| refused())?)),
            _ => (entry, None),
        };
        let host = Host::parse(host).map_err(|_| refused())?;
        match normal(host) {
            Host::Domain(name) if name.is_empty() || name.contains('*') => Err(refused()),
            host => Ok(Self { host, port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> EgressError {
        let url = Url::parse(url).expect("a URL");
        let hosts = AllowedHosts::of_urls([&url]);
        Egress::default().admit(&url, &hosts).expect_err(url.as_str())
    }

    /// Every way to write an address that is not public is refused, even where the connector itself names that host.
    #[test]
    fn literal_addresses_are_judged_in_every_encoding() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "0x7F.1",
            "127.0.0.1.",
            "0",
            "0.0.0.0",
            "0x0",
            "10.1.2.3",
            "0xa010203",
            "012.1.2.3",
            "167838211",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "192.168.1.1",
            "3232235777",
            "172.16.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "⑯⑨.254.169.254",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::169.254.169.254]",
            "[2002:7f00:1::]",
            "[2002:a9fe:a9fe::1]",
            "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[100::1]",
        ] {
            match Url::parse(&format!("https://{host}/latest/meta-data")) {
                Err(_) => {} // What is no URL cannot be sent.
                Ok(url) => assert!(matches!(refused(url.as_str()), EgressError::Address { .. }), "{host}"),
            }
        }
    }

    /// Scheme, user name, host and port are each judged.
    #[test]
    fn what_the_connector_does_not_name_is_refused() {
        let check = |hosts: &[&str], egress: &[&str], url: &str| {
            let hosts = AllowedHosts::parse(hosts).expect("hosts");
            Egress::parse(egress).expect("egress").admit(&Url::parse(url).expect("a URL"), &hosts).map(String::from)
        };
        let api = ["api.example.com", "other.example.com:8443", "127.0.0.1", "erp.internal:8000"];
        let operator = ["127.0.0.1:9000", "erp.internal:8000"];
        for good in [
            "https://api.example.com/v1",
            "https://API.example.com./v1",
            "https://other.example.com:8443/",
            "http://127.0.0.1:9000/a",
            "http://erp.internal:8000/",
        ] {
            assert!(check(&api, &operator, good).is_ok(), "{good}: {:?}", check(&api, &operator, good));
        }
        for (bad, why) in [
            ("https://api.example.com:8443/", "not one of"),
            ("https://example.com/", "not one of"),
            ("https://evil-api.example.com/", "not one of"),
            ("https://api.example.com.evil.test/", "not one of"),
            ("https://api.example.com@evil.test/", "user name"),
            ("https://key:secret@api.example.com/", "user name"),
            ("http://api.example.com:443/", "plain http"),
            ("http://api.example.com/", "plain http"),
            ("ftp://api.example.com/", "not fetched"),
            ("file:///etc/passwd", "not fetched"),
            ("https://127.0.0.1/", "is refused"),
            ("https://127.0.0.1:9001/", "not one of"),
            ("https://erp.internal:8001/", "not one of"),
        ] {
            let refusal = check(&api, &operator, bad).expect_err(bad).to_string();
            assert!(refusal.contains(why) && !refusal.contains("secret"), "{bad}: {refusal}");
        }
        let here = Egress::default().with_loopback();
        for (url, allowed) in
            [("http://localhost:7/", true), ("http://127.0.0.1:8/", true), ("http://[::1]:9/", true), ("http://10.0.0.1:9/", false)]
        {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(here.admit(&url, &AllowedHosts::of_urls([&url])).is_ok(), allowed, "{url}");
        }
        let port = check(&["erp.internal:8001"], &operator, "https://erp.internal:8001/");
        assert!(matches!(port, Err(EgressError::Port { .. })), "{port:?}");
    }

    /// Only what a resolver may return is returned; a name with private addresses alone is refused with the reason.
    #[test]
    fn resolved_addresses_are_judged() {
        let found = |texts: &[&str]| texts.iter().map(|text| SocketAddr::new(text.parse().expect("address"), 0)).collect::<Vec<_>>();
        let mixed = found(&["10.0.0.1", "8.8.8.8"]);
        assert_eq!(keep(mixed.clone().into_iter(), false), Ok(found(&["8.8.8.8"])));
        assert_eq!(keep(mixed.clone().into_iter(), true), Ok(mixed));
        assert!(keep(found(&["169.254.169.254", "::1"]).into_iter(), false).is_err_and(|refusal| refusal.range.contains("metadata")));
    }

    /// A rewrite leads from the public URL to this machine and back, at path boundaries only.
    #[test]
    fn rewrites_go_there_and_back() {
        let rewrites = Rewrites::parse([
            ("https://api.example.com/v1", "http://localhost:9000"),
            ("https://api.example.com", "http://127.0.0.1:9001/root/"),
        ]);
        let rewrites = Arc::new(rewrites.expect("rewrites"));
        let hosts = AllowedHosts::parse(["api.example.com"]).expect("hosts").rewritten(rewrites);
        for (public, target) in [
            ("https://api.example.com/v1/orders?a=b%20c", "http://127.0.0.1:9000/orders?a=b%20c"),
            ("https://api.example.com/v1", "http://127.0.0.1:9000/"),
            ("https://api.example.com/v10", "http://127.0.0.1:9001/root/v10"),
        ] {
            let admitted = Egress::default().admit(&Url::parse(public).expect("a URL"), &hosts).expect("admitted");
            assert_eq!(admitted.as_str(), target);
            assert_eq!(hosts.public(admitted).as_str().trim_end_matches('/'), public);
        }
        assert!(Rewrites::parse([("https://api.example.com", "http://10.0.0.1:80")]).is_err());
        let direct = Egress::default().admit(&Url::parse("http://127.0.0.1:9000/").expect("a URL"), &hosts);
        assert!(matches!(direct, Err(EgressError::Host { .. })), "a target is not a host of the connector: {direct:?}");
    }

    /// Entries that are no hosts are refused when read, wildcards among them.
    #[test]
    fn entries_are_hosts() {
        for bad in ["", "https://api.example.com", "*.example.com", "a b", "host:port", "host:99999", "[::1", ":443", "a/b"] {
            assert!(AllowedHosts::parse([bad]).is_err(), "{bad}");
        }
        for good in ["api.example.com", "127.0.0.1:9000", "[::1]:9000", "[::1]", "localhost:1"] {
            assert!(AllowedHosts::parse([good]).is_ok(), "{good}");
        }
    }
}
