//! `check`: whether the application can be read with a configuration.

use serde_json::Value;
use tokio::sync::mpsc;

use crate::airbyte::AirbyteError;
use crate::airbyte::Source;
use crate::airbyte::failure::told;
use crate::airbyte::message;
use crate::airbyte::source::Config;
use crate::fetch::stream;

impl Source {
    /// The message that says whether the application can be read: one page of each stream that the manifest names for this.
    pub async fn check(&self, config: Value) -> Value {
        let config = match self.config(self.connector.manifest.config_for_check(config)).await {
            Ok(config) => config,
            Err(error) => return message::connection_status(Some(&told(&error, &[]))),
        };
        for stream in config.connector.manifest.checked() {
            if let Err(error) = self.first_page(&stream.name, &config).await {
                let text = format!("stream `{}`: {}", stream.name, told(&error, &config.secrets));
                return message::connection_status(Some(&text));
            }
        }
        message::connection_status(None)
    }

    /// Reads the first page of a stream, and no more.
    async fn first_page(&self, stream: &str, config: &Config) -> Result<(), AirbyteError> {
        let (sender, mut pages) = mpsc::channel(1);
        let reading = stream::read(self.order(stream, None, config)?, sender);
        tokio::pin!(reading);
        tokio::select! {
            biased;
            read = &mut reading => read.failure.map_or(Ok(()), |failure| Err(failure.into())),
            _ = pages.recv() => Ok(()),
        }
    }
}
