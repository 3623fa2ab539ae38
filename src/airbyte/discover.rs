//! `spec` and `discover`: what a configuration holds, and which streams there are.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::airbyte::AirbyteError;
use crate::airbyte::Source;
use crate::airbyte::message;
use crate::connector::component::incremental::IncrementalSync;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::definition::Connector;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;

impl Source {
    /// The message that says what a configuration holds. It needs none.
    pub fn spec(&self) -> Value {
        let mut spec = Map::new();
        let declared = self.connector.manifest.spec.as_ref();
        let asked = declared.map_or_else(|| json!({"type": "object"}), |spec| spec.connection_specification.clone());
        spec.insert("connectionSpecification".into(), asked);
        if let Some(declared) = declared {
            let address = declared.documentation_url.as_ref().map(|url| ("documentationUrl", Value::from(url.clone())));
            let authorization = declared.advanced_auth.as_ref().map(|authorization| ("advanced_auth", authorization.clone()));
            spec.extend([address, authorization].into_iter().flatten().map(|(name, value)| (name.to_owned(), value)));
        }
        message::spec(Value::Object(spec))
    }

    /// The message that lists the streams, in the order of the manifest. Those that cannot be read are not among them.
    ///
    /// # Errors
    /// When a configuration is given that does not fit.
    pub async fn discover(&self, config: Option<Value>) -> Result<Value, AirbyteError> {
        let mut scope = Scope::new(self.options.clock.clone());
        let (connector, value) = match config {
            Some(value) => {
                let config = self.config(value).await?;
                (config.connector, config.value)
            }
            None => (self.connector.clone(), json!({})),
        };
        scope.set("config", dynamic(&value));
        let streams = connector.manifest.declared().map(|stream| described(&connector, stream, &scope)).collect();
        Ok(message::catalog(streams))
    }
}

fn described(connector: &Connector, stream: &DeclarativeStream, scope: &Scope) -> Value {
    let is_incremental = stream.incremental_sync.is_some();
    let modes = if is_incremental { json!(["full_refresh", "incremental"]) } else { json!(["full_refresh"]) };
    let schema = connector.schema(&stream.name).cloned().unwrap_or_else(|| json!({}));
    let mut described = json!({"name": stream.name, "json_schema": schema, "supported_sync_modes": modes});
    if let Some(IncrementalSync::DatetimeBasedCursor(cursor)) = &stream.incremental_sync {
        described["source_defined_cursor"] = true.into();
        // A name that only a configuration completes is not known without one.
        if let Ok(field) = cursor.cursor_field.text(scope) {
            described["default_cursor_field"] = json!([field]);
        }
    }
    if !stream.primary_key.0.is_empty() {
        described["source_defined_primary_key"] = json!(stream.primary_key.0);
    }
    described["is_resumable"] = is_incremental.into();
    described["is_file_based"] = false.into();
    described
}
