//! `spec` and `discover`: what a configuration holds, and which streams there are.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::airbyte::AirbyteError;
use crate::airbyte::Source;
use crate::airbyte::message;
use crate::airbyte::source::Config;
use crate::connector::component::incremental::IncrementalSync;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;
use crate::fetch::stream::schema;

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
        let (connector, value, told) = match config {
            Some(value) => {
                let config = self.config(value).await?;
                let told = self.told_schemas(&config).await?;
                (config.connector, config.value, told)
            }
            None => (self.connector.clone(), json!({}), HashMap::new()),
        };
        scope.set("config", dynamic(&value));
        let schema = |stream: &DeclarativeStream| match told.get(&stream.name) {
            Some(schema) => schema.clone(),
            None => connector.schema(&stream.name).map_or_else(|| json!({}), Cow::into_owned),
        };
        let streams = connector.manifest.declared().map(|stream| described(stream, schema(stream), &scope)).collect();
        Ok(message::catalog(streams))
    }

    /// The schemas of those streams whose application has to be asked for them.
    async fn told_schemas(&self, config: &Config) -> Result<HashMap<String, Value>, AirbyteError> {
        let mut told = HashMap::new();
        for stream in config.connector.manifest.declared().filter(|stream| stream.asks_for_schema()) {
            let order = self.order(&stream.name, None, config)?;
            if let Some(schema) = schema(&order).await? {
                told.insert(stream.name.clone(), schema);
            }
        }
        Ok(told)
    }
}

fn described(stream: &DeclarativeStream, schema: Value, scope: &Scope) -> Value {
    let is_incremental = stream.incremental_sync.is_some();
    let modes = if is_incremental { json!(["full_refresh", "incremental"]) } else { json!(["full_refresh"]) };
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
