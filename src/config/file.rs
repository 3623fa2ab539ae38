//! The TOML file: what may stand in it, and messages that say on which line something else does.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use toml::Spanned;
use url::Url;

use crate::config::LISTEN_DEFAULT;
use crate::fetch::client::Options as FetchOptions;
use crate::secret::Secret;
use crate::store::DiskLimits;
use crate::store::FLOOR_BYTES_DEFAULT;
use crate::store::LOW_BYTES_DEFAULT;

/// The longest time that a limit of requests can be set to.
const FETCH_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// The least and the most bytes that an answer's body can be limited to.
const FETCH_BODY_BYTES: RangeInclusive<u64> = 1024..=256 * 1024 * 1024;

/// A rewrite takes requests, and what they carry, to another host: harmless among stand-ins alone.
const REWRITE_REFUSED: &str =
    "a rewrite is read only in a data directory that was created with --test; take it out, or use a test directory";

/// The configuration, checked; secrets that it names are read.
#[derive(Debug)]
pub struct Config {
    /// The address of the TCP face.
    pub listen: SocketAddr,
    /// How the gateway is reached from outside, without a slash at the end; the listening address when `None`.
    pub public_url: Option<Url>,
    /// Folders that hold connectors beside the built-in ones, later ones first in precedence.
    pub connector_dirs: Vec<PathBuf>,
    /// Addresses (`host:port`; without a port, 443) that may be reached although they are private or speak plain http.
    pub egress_allow: Vec<String>,
    /// The limits of requests to applications: the built-in ones, or what the file says in their place.
    pub fetch: FetchOptions,
    /// What this operator registered at each application, by connector name.
    pub connectors: BTreeMap<String, ConnectorConfig>,
    /// Where OpenLineage events go, besides each tenant's own graph.
    pub openlineage: Option<OpenLineageConfig>,
    /// When the disk of the data directory is low, and when it is full.
    pub disk: DiskLimits,
}

/// What the operator registered at one application.
#[derive(Debug, Default)]
pub struct ConnectorConfig {
    /// The OAuth client's id.
    pub client_id: Option<String>,
    /// The OAuth client's secret, read from `client_secret_file`.
    pub client_secret: Option<Secret<String>>,
    /// The key that signs the application's webhooks, read from `signal_secret_file`.
    pub signal_secret: Option<Secret<String>>,
    /// Origins that are reached elsewhere; empty outside a test directory.
    pub rewrite: Vec<Rewrite>,
}

/// One origin of an application, and the stand-in that answers for it in a test directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The application's origin, such as `https://api.example.com`.
    pub from: Url,
    /// The stand-in's origin, such as `http://127.0.0.1:9000`.
    pub to: Url,
}

/// Where OpenLineage events go.
#[derive(Debug)]
pub struct OpenLineageConfig {
    /// A file that gets one event a line.
    pub file: Option<PathBuf>,
    /// An HTTP endpoint.
    pub url: Option<Url>,
    /// The endpoint's key, read from `api_key_file`.
    pub api_key: Option<Secret<String>>,
}

/// Why a configuration file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("configuration {path:?} cannot be read; name a readable file in HEADGATE_CONFIG, or remove the variable")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that Headgate does not understand.
    #[error("configuration {path:?} is refused{}", listed(problems))]
    Refused {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it, in the order of lines.
        problems: Vec<ConfigProblem>,
    },
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: LISTEN_DEFAULT,
            public_url: None,
            connector_dirs: Vec::new(),
            egress_allow: Vec::new(),
            fetch: FetchOptions::default(),
            connectors: BTreeMap::new(),
            openlineage: None,
            disk: DiskLimits::default(),
        }
    }
}

impl Config {
    /// Reads and checks `path`; `test` says whether the data directory was created with `--test`.
    ///
    /// Paths in the file are relative to the file's own folder.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML, has a key that is not known here, or names a secret file that cannot be
    /// read. All problems found are listed, each with its line.
    pub fn read(path: &Path, test: bool) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder, test).map_err(|problems| ConfigError::Refused { path: path.into(), problems })
    }

    fn parse(text: &str, folder: &Path, test: bool) -> Result<Config, Vec<ConfigProblem>> {
        let written: Written = toml::from_str(text).map_err(|error| vec![problem(text, error.span().unwrap_or(0..0), error.message())])?;
        let mut checked = Check { text, folder, problems: Vec::new() };
        let config = checked.config(written, test);
        if checked.problems.is_empty() {
            Ok(config)
        } else {
            checked.problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(checked.problems)
        }
    }
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    listen: Option<SocketAddr>,
    public_url: Option<Spanned<String>>,
    #[serde(default)]
    connector_dirs: Vec<PathBuf>,
    #[serde(default)]
    egress: WrittenEgress,
    #[serde(default)]
    fetch: WrittenFetch,
    #[serde(default)]
    connectors: BTreeMap<String, WrittenConnector>,
    openlineage: Option<Spanned<WrittenOpenLineage>>,
    #[serde(default)]
    disk: WrittenDisk,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenDisk {
    low_mib: Option<Spanned<u32>>,
    floor_mib: Option<Spanned<u32>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenEgress {
    #[serde(default)]
    allow: Vec<Spanned<String>>,
}

/// Names as in [`FetchOptions`], so that an error that names a limit says what to write.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenFetch {
    connect_timeout: Option<Spanned<String>>,
    answer_timeout: Option<Spanned<String>>,
    idle_timeout: Option<Spanned<String>>,
    total_timeout: Option<Spanned<String>>,
    body_bytes_max: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenConnector {
    client_id: Option<String>,
    client_secret_file: Option<Spanned<PathBuf>>,
    signal_secret_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    rewrite: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOpenLineage {
    file: Option<PathBuf>,
    url: Option<Spanned<String>>,
    api_key_file: Option<Spanned<PathBuf>>,
}

struct Check<'a> {
    text: &'a str,
    folder: &'a Path,
    problems: Vec<ConfigProblem>,
}

impl Check<'_> {
    fn config(&mut self, written: Written, test: bool) -> Config {
        Config {
            listen: written.listen.unwrap_or(LISTEN_DEFAULT),
            public_url: written.public_url.and_then(|url| self.public_url(&url)),
            connector_dirs: written.connector_dirs.iter().map(|path| self.folder.join(path)).collect(),
            egress_allow: written.egress.allow.into_iter().filter_map(|entry| self.egress(entry)).collect(),
            fetch: self.fetch(written.fetch),
            connectors: written.connectors.into_iter().map(|(name, connector)| (name, self.connector(connector, test))).collect(),
            openlineage: written.openlineage.map(|section| self.openlineage(section)),
            disk: self.disk(&written.disk),
        }
    }

    fn fetch(&mut self, written: WrittenFetch) -> FetchOptions {
        let FetchOptions { connect_timeout, answer_timeout, idle_timeout, total_timeout, body_bytes_max, .. } = FetchOptions::default();
        FetchOptions {
            connect_timeout: self.timeout(written.connect_timeout, connect_timeout),
            answer_timeout: self.timeout(written.answer_timeout, answer_timeout),
            idle_timeout: self.timeout(written.idle_timeout, idle_timeout),
            total_timeout: self.timeout(written.total_timeout, total_timeout),
            body_bytes_max: written.body_bytes_max.and_then(|bytes| self.body_bytes(&bytes)).unwrap_or(body_bytes_max),
            ..FetchOptions::default()
        }
    }

    fn timeout(&mut self, written: Option<Spanned<String>>, default: Duration) -> Duration {
        let Some(written) = written else { return default };
        // jiff also reads `30s`; everything else in Headgate is ISO 8601.
        let parsed = written.get_ref().starts_with('P').then(|| written.get_ref().parse::<SignedDuration>().ok()).flatten();
        match parsed.and_then(|time| Duration::try_from(time).ok()) {
            Some(time) if !time.is_zero() && time <= FETCH_TIMEOUT_MAX => time,
            _ => self.refuse(written.span(), "a time-out is an ISO 8601 duration of at most an hour, like PT30S").unwrap_or(default),
        }
    }

    fn body_bytes(&mut self, written: &Spanned<u64>) -> Option<usize> {
        if FETCH_BODY_BYTES.contains(written.get_ref()) {
            return usize::try_from(*written.get_ref()).ok();
        }
        let (least, most) = (FETCH_BODY_BYTES.start(), FETCH_BODY_BYTES.end());
        self.refuse(written.span(), &format!("a body is limited to a number of bytes from {least} to {most}"))
    }

    fn connector(&mut self, written: WrittenConnector, test: bool) -> ConnectorConfig {
        if let Some((from, _)) = written.rewrite.first_key_value().filter(|_| !test) {
            self.refuse::<()>(from.span(), REWRITE_REFUSED);
        }
        ConnectorConfig {
            client_id: written.client_id,
            client_secret: written.client_secret_file.and_then(|path| self.secret(&path)),
            signal_secret: written.signal_secret_file.and_then(|path| self.secret(&path)),
            rewrite: written
                .rewrite
                .iter()
                .filter_map(|(from, to)| Some(Rewrite { from: self.origin(from)?, to: self.origin(to)? }))
                .collect(),
        }
    }

    fn disk(&mut self, written: &WrittenDisk) -> DiskLimits {
        let bytes = |mib: &Option<Spanned<u32>>| mib.as_ref().map(|mib| u64::from(*mib.get_ref()) << 20);
        let (low_bytes, floor_bytes) = (bytes(&written.low_mib), bytes(&written.floor_mib));
        let (low, floor) = (low_bytes.unwrap_or(LOW_BYTES_DEFAULT), floor_bytes.unwrap_or(FLOOR_BYTES_DEFAULT));
        if let Some(named) = written.floor_mib.as_ref().or(written.low_mib.as_ref()).filter(|_| floor > low) {
            let message = format!("the floor ({} MiB) must not be above what counts as low ({} MiB)", floor >> 20, low >> 20);
            self.refuse::<()>(named.span(), &message);
        }
        DiskLimits { low_bytes, floor_bytes, ..DiskLimits::default() }
    }

    fn openlineage(&mut self, written: Spanned<WrittenOpenLineage>) -> OpenLineageConfig {
        let span = written.span();
        let WrittenOpenLineage { file, url, api_key_file } = written.into_inner();
        match (&file, &url, &api_key_file) {
            (None, None, _) => self.refuse(span, "[openlineage] says nowhere to send events; give `file`, `url`, or both, or take it out"),
            (_, None, Some(key)) => self.refuse(key.span(), "`api_key_file` goes with `url`: nothing is sent with it to a file; add `url`"),
            _ => Some(()),
        };
        OpenLineageConfig {
            file: file.map(|path| self.folder.join(path)),
            url: url.and_then(|url| self.lineage_url(&url)),
            api_key: api_key_file.and_then(|path| self.api_key(&path)),
        }
    }

    /// An address that events are posted to: the key goes into a header, and nothing else is secret.
    fn lineage_url(&mut self, written: &Spanned<String>) -> Option<Url> {
        let url = self.url(written)?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            let message = "an OpenLineage URL has neither user, query nor fragment; put a key into `api_key_file`";
            return self.refuse(written.span(), message);
        }
        Some(url)
    }

    /// A secret that can stand in a header.
    fn api_key(&mut self, written: &Spanned<PathBuf>) -> Option<Secret<String>> {
        let key = self.secret(written)?;
        if key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(key);
        }
        let message =
            format!("the secret file {:?} holds a space, a line's end or a letter beyond ASCII inside the key", written.get_ref());
        self.refuse(written.span(), &message)
    }

    fn public_url(&mut self, written: &Spanned<String>) -> Option<Url> {
        let mut url = self.url(written)?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return self
                .refuse(written.span(), "a public URL has neither user, query nor fragment; write it like https://headgate.example.com");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Some(url)
    }

    /// An http or https URL with a host and nothing behind it.
    fn origin(&mut self, written: &Spanned<String>) -> Option<Url> {
        let url = self.url(written)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if bare { Some(url) } else { self.refuse(written.span(), "write scheme, host and port alone, like https://api.example.com") }
    }

    fn url(&mut self, written: &Spanned<String>) -> Option<Url> {
        match Url::parse(written.get_ref()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => self.refuse(written.span(), "this is no http or https URL; write it like https://headgate.example.com"),
        }
    }

    fn egress(&mut self, written: Spanned<String>) -> Option<String> {
        let parsed = Url::parse(&format!("http://{}/", written.get_ref()));
        let plain = |url: &Url| url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        match parsed {
            Ok(url) if plain(&url) => Some(written.into_inner()),
            _ => self.refuse(written.span(), "an egress entry is host:port, like 127.0.0.1:9000"),
        }
    }

    fn secret(&mut self, written: &Spanned<PathBuf>) -> Option<Secret<String>> {
        let path = self.folder.join(written.get_ref());
        match std::fs::read_to_string(&path) {
            Ok(mut text) => {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
                if text.is_empty() {
                    return self.refuse(written.span(), &format!("the secret file {path:?} is empty; write the secret into it"));
                }
                Some(Secret::new(text))
            }
            Err(error) => self.refuse(written.span(), &format!("the secret file {path:?} cannot be read ({error})")),
        }
    }

    fn refuse<T>(&mut self, span: Range<usize>, message: &str) -> Option<T> {
        self.problems.push(problem(self.text, span, message));
        None
    }
}

fn problem(text: &str, span: Range<usize>, message: &str) -> ConfigProblem {
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    ConfigProblem {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: message.trim_end().replace('\n', "; "),
    }
}

fn listed(problems: &[ConfigProblem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that uses every key is read, with paths relative to its folder.
    #[test]
    fn every_key_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
        let text = r#"
            listen = "127.0.0.1:9999"
            public_url = "https://headgate.example.com/"
            connector_dirs = ["mine", "/opt/connectors"]
            [egress]
            allow = ["127.0.0.1:9000", "internal.example", "[::1]:8443"]
            [fetch]
            connect_timeout = "PT5S"
            answer_timeout = "PT1M30S"
            idle_timeout = "PT0.5S"
            total_timeout = "PT10M"
            body_bytes_max = 1048576
            [connectors.shop]
            client_id = "abc"
            client_secret_file = "secret"
            signal_secret_file = "secret"
            [connectors.shop.rewrite]
            "https://api.example.com" = "http://127.0.0.1:9000"
            [disk]
            low_mib = 2000
            floor_mib = 200
            [openlineage]
            file = "events.ndjson"
            url = "https://lineage.example.com/api/v1/lineage"
            api_key_file = "secret"
        "#;
        let config = Config::parse(text, folder.path(), true).unwrap();
        assert_eq!(config.listen.port(), 9999);
        assert_eq!(config.public_url.unwrap().as_str().trim_end_matches('/'), "https://headgate.example.com");
        assert_eq!(config.connector_dirs, [folder.path().join("mine"), PathBuf::from("/opt/connectors")]);
        assert_eq!(config.egress_allow.len(), 3);
        assert_eq!((config.disk.low_bytes, config.disk.floor_bytes), (Some(2000 << 20), Some(200 << 20)));
        let FetchOptions { connect_timeout, answer_timeout, idle_timeout, total_timeout, body_bytes_max, .. } = config.fetch;
        let milliseconds = [connect_timeout, answer_timeout, idle_timeout, total_timeout].map(|time| time.as_millis());
        assert_eq!((milliseconds, body_bytes_max), ([5_000, 90_000, 500, 600_000], 1 << 20));
        let shop = &config.connectors["shop"];
        assert_eq!(shop.client_secret.as_ref().unwrap().expose(), "hunter2");
        assert_eq!(shop.rewrite[0].to.port(), Some(9000));
        assert!(!format!("{shop:?}").contains("hunter2"));
        assert_eq!(config.openlineage.unwrap().file.unwrap(), folder.path().join("events.ndjson"));
    }

    /// An empty file is the default.
    #[test]
    fn an_empty_file_is_the_default() {
        let config = Config::parse("", Path::new(""), false).unwrap();
        assert_eq!(config.listen, LISTEN_DEFAULT);
        assert!(config.connectors.is_empty() && config.public_url.is_none());
    }

    /// Each fault is told with its line and with words that lead to the right text.
    #[test]
    fn faults_are_told_with_their_lines() {
        let cases: &[(&str, usize, &str)] = &[
            ("listen = \"127.0.0.1:8080\"\nlistne = 1\n", 2, "unknown field `listne`"),
            ("\n\nlisten = 8080\n", 3, "invalid type"),
            ("listen = \"localhost\"", 1, "socket address"),
            ("public_url = \"headgate.example.com\"", 1, "no http or https URL"),
            ("public_url = \"https://headgate.example.com/?a=b\"", 1, "neither user, query nor fragment"),
            ("[egress]\nallow = [\n  \"127.0.0.1:9000\",\n  \"http://127.0.0.1\"]", 4, "host:port"),
            ("[fetch]\ntotal_timeout = \"5m\"", 2, "like PT30S"),
            ("[fetch]\ntotal_timeout = \"PT0S\"", 2, "like PT30S"),
            ("[fetch]\nidle_timeout = \"P1D\"", 2, "at most an hour"),
            ("[fetch]\n\nbody_bytes_max = 12", 3, "from 1024 to"),
            ("[connectors.shop]\nclient_secret = \"hunter2\"", 2, "unknown field `client_secret`"),
            ("[connectors.shop]\nclient_secret_file = \"/nowhere/at/all\"", 2, "cannot be read"),
            ("[connectors.shop.rewrite]\n\"https://api.example.com\" = \"http://127.0.0.1:1\"", 2, "--test"),
            ("[openlineage]\nurl = \"ftp://x\"", 2, "no http or https URL"),
            ("[openlineage]\nurl = \"https://key@x.example\"", 2, "`api_key_file`"),
            ("[openlineage]\n", 1, "give `file`, `url`, or both"),
            ("[openlineage]\nfile = \"x\"\napi_key_file = \"Cargo.toml\"", 3, "add `url`"),
            ("[openlineage]\nurl = \"https://x.example\"\napi_key_file = \"Cargo.toml\"", 3, "inside the key"),
            ("listen = \"127.0.0.1:8080\"\n[egress\n", 2, "unclosed"),
            ("[disk]\nlow_mib = 10", 2, "must not be above"),
            ("[disk]\nlow_mib = 10\nfloor_mib = 11", 3, "must not be above"),
        ];
        for (text, line, words) in cases {
            let problems = Config::parse(text, Path::new(""), false).unwrap_err();
            assert_eq!(problems[0].line, *line, "{text}: {problems:?}");
            assert!(problems[0].message.contains(words), "{text}: {problems:?}");
            assert!(!problems[0].message.contains("hunter2"), "a value was repeated: {problems:?}");
        }
    }

    /// Checks that come after the parse are all told at once, in the order of lines.
    #[test]
    fn all_faults_are_told_at_once() {
        let text = "public_url = \"x\"\n[connectors.a]\nsignal_secret_file = \"/nowhere/b\"\n[egress]\nallow = [\"/\"]\n";
        let problems = Config::parse(text, Path::new(""), false).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 3, 5]);
    }
}
