//! The components of declarative manifests: what each is called, which fields it has, and what they may hold.
//!
//! A component is one `component!` block with its fields, defaults and documentation; a family, such as every authenticator, is one
//! `family!` block that lists its members. What a component *does* is an arm of an exhaustive match over its family in the
//! machines beside this folder and in `fetch`, so a component that nobody runs does not compile. [`ALL`] names every component.
//!
//! Source for names and fields: the component schema of airbyte-cdk (LOWCODE.md sections 2 and 4).

pub mod authenticator;
pub mod budget;
pub mod dynamic;
pub mod error_handler;
pub mod incremental;
pub mod job;
pub mod pagination;
pub mod partition;
pub mod properties;
pub mod reader;
pub mod records;
pub mod requester;
pub mod schema;
pub mod source;
pub mod spec;
pub mod value;

use std::rc::Rc;

use crate::connector::component::reader::Reader;
use crate::connector::problem::Code;
use crate::connector::yaml::Node;

/// A component as the documentation shows it.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// The type's name in a manifest.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
    /// The fields that the language has and that are not run here: a manifest that sets one is refused, never misread.
    pub refused: &'static [&'static str],
}

/// A field of a component as the documentation shows it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The field's name in a manifest.
    pub name: &'static str,
    /// What it holds.
    pub accepts: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// The name of a field in a manifest: as in the code, without what makes a keyword a name there.
pub const fn field_name(name: &'static str) -> &'static str {
    let bytes = name.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'r' && bytes[1] == b'#' { name.split_at(2).1 } else { name }
}

/// Declares a component: `field: Type;`, with `=> Place` when expressions in it have variables of their own, and `= default` when it
/// may be left out. `refused { … }` behind it names the fields of the language that are not run here; every other member is no
/// field of the language at all, and is ignored with a warning, as the original ignores it.
macro_rules! component {
    (
        $(#[doc = $doc:literal])+
        $name:ident { $( $(#[doc = $field_doc:literal])+ $field:ident: $type:ty $(=> $place:ident)? $(= $default:expr)?; )* }
        $( refused { $( $refused:ident ),+ $(,)? } )?
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $name {
            $( $(#[doc = $field_doc])+ pub $field: $type, )*
            /// The line of the manifest where it begins.
            pub line: u32,
        }

        impl $name {
            /// The component as the documentation shows it.
            pub const ABOUT: $crate::connector::component::Description = $crate::connector::component::Description {
                name: stringify!($name),
                doc: concat!($($doc),+).trim_ascii_start(),
                fields: &[$( $crate::connector::component::Field {
                    name: $crate::connector::component::field_name(stringify!($field)),
                    accepts: <$type as $crate::connector::component::reader::Accept>::ACCEPTS,
                    doc: concat!($($field_doc),+).trim_ascii_start(),
                }, )*],
                refused: &[$( $( stringify!($refused), )+ )?],
            };
        }

        impl $crate::connector::component::reader::Accept for $name {
            const ACCEPTS: &'static str = concat!("a map of type ", stringify!($name));

            fn accept(
                node: &std::rc::Rc<$crate::connector::yaml::Node>,
                reader: &mut $crate::connector::component::reader::Reader,
            ) -> Option<Self> {
                #[allow(unused_variables, reason = "a component may have no fields")]
                let members = reader.open(node, &Self::ABOUT)?;
                // All fields are read before the first failure counts, so that all problems are told.
                $(
                    let default: Option<$type> = [$( $default )?].into_iter().next();
                    let place = [$( $crate::connector::expression::Place::$place )?].first().copied();
                    let $field = reader.field::<$type>(
                        members,
                        &Self::ABOUT,
                        $crate::connector::component::field_name(stringify!($field)),
                        node.line,
                        place,
                        default,
                    );
                )*
                reader.close();
                Some($name { $( $field: $field?, )* line: node.line })
            }
        }
    };
}
pub(crate) use component;

/// Declares a family: the components that may stand in one place, told apart by their `type`.
macro_rules! family {
    ( $(#[doc = $doc:literal])+ $name:ident { $( $member:ident ),+ $(,)? } ) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub enum $name {
            $( #[doc = concat!("See [`", stringify!($member), "`].")] $member(Box<$member>), )+
        }

        impl $name {
            /// The types of the family.
            pub const NAMES: &'static [&'static str] = &[$( stringify!($member), )+];
        }

        impl $crate::connector::component::reader::Accept for $name {
            const ACCEPTS: &'static str = concat!("a map with one of the types", $( " ", stringify!($member) ),+);

            fn accept(
                node: &std::rc::Rc<$crate::connector::yaml::Node>,
                reader: &mut $crate::connector::component::reader::Reader,
            ) -> Option<Self> {
                match node.type_name() {
                    $( Some(stringify!($member)) => Box::<$member>::accept(node, reader).map($name::$member), )+
                    _ => $crate::connector::component::refuse(node, Self::NAMES, reader),
                }
            }
        }
    };
}
pub(crate) use family;

/// Every component, for the documentation and for the tests that hold each to the same checks.
pub const ALL: &[&Description] = &[
    &source::DeclarativeSource::ABOUT,
    &source::CheckStream::ABOUT,
    &source::CheckDynamicStream::ABOUT,
    &source::DynamicStreamCheckConfig::ABOUT,
    &source::ConcurrencyLevel::ABOUT,
    &spec::Spec::ABOUT,
    &spec::ConfigNormalizationRules::ABOUT,
    &spec::ConfigMigration::ABOUT,
    &spec::ConfigRemapField::ABOUT,
    &spec::ConfigAddFields::ABOUT,
    &spec::ConfigRemoveFields::ABOUT,
    &spec::DpathValidator::ABOUT,
    &spec::PredicateValidator::ABOUT,
    &spec::ValidateAdheresToSchema::ABOUT,
    &source::DeclarativeStream::ABOUT,
    &source::StateDelegatingStream::ABOUT,
    &source::ConditionalStreams::ABOUT,
    &source::LegacyToPerPartitionStateMigration::ABOUT,
    &dynamic::DynamicDeclarativeStream::ABOUT,
    &dynamic::HttpComponentsResolver::ABOUT,
    &dynamic::ConfigComponentsResolver::ABOUT,
    &dynamic::ParametrizedComponentsResolver::ABOUT,
    &dynamic::StreamConfig::ABOUT,
    &dynamic::StreamParametersDefinition::ABOUT,
    &dynamic::ComponentMappingDefinition::ABOUT,
    &source::SimpleRetriever::ABOUT,
    &job::AsyncRetriever::ABOUT,
    &job::AsyncJobStatusMap::ABOUT,
    &requester::HttpRequester::ABOUT,
    &properties::GroupByKeyMergeStrategy::ABOUT,
    &properties::PropertiesFromEndpoint::ABOUT,
    &properties::PropertyChunking::ABOUT,
    &properties::QueryProperties::ABOUT,
    &requester::RequestBodyGraphQL::ABOUT,
    &requester::RequestBodyJsonObject::ABOUT,
    &requester::RequestBodyPlainText::ABOUT,
    &requester::RequestBodyUrlEncodedForm::ABOUT,
    &requester::RequestOption::ABOUT,
    &requester::RequestPath::ABOUT,
    &authenticator::ApiKey::ABOUT,
    &authenticator::ApiKeyAuthenticator::ABOUT,
    &authenticator::BasicHttpAuthenticator::ABOUT,
    &authenticator::Bearer::ABOUT,
    &authenticator::BearerAuthenticator::ABOUT,
    &authenticator::JwtAuthenticator::ABOUT,
    &authenticator::JwtHeaders::ABOUT,
    &authenticator::JwtPayload::ABOUT,
    &authenticator::LegacySessionTokenAuthenticator::ABOUT,
    &authenticator::NoAuth::ABOUT,
    &authenticator::OAuthAuthenticator::ABOUT,
    &authenticator::RefreshTokenUpdater::ABOUT,
    &authenticator::SelectiveAuthenticator::ABOUT,
    &authenticator::SessionTokenAuthenticator::ABOUT,
    &budget::FixedWindowCallRatePolicy::ABOUT,
    &budget::HTTPAPIBudget::ABOUT,
    &budget::HttpRequestRegexMatcher::ABOUT,
    &budget::MovingWindowCallRatePolicy::ABOUT,
    &budget::Rate::ABOUT,
    &budget::UnlimitedCallRatePolicy::ABOUT,
    &records::AddFields::ABOUT,
    &records::AddedFieldDefinition::ABOUT,
    &records::CombinedExtractor::ABOUT,
    &records::CsvDecoder::ABOUT,
    &records::DpathExtractor::ABOUT,
    &records::DpathFlattenFields::ABOUT,
    &records::FlattenFields::ABOUT,
    &records::GzipDecoder::ABOUT,
    &records::IterableDecoder::ABOUT,
    &records::JsonDecoder::ABOUT,
    &records::JsonItemsDecoder::ABOUT,
    &records::JsonlDecoder::ABOUT,
    &records::KeyTransformation::ABOUT,
    &records::KeysReplace::ABOUT,
    &records::KeysToLower::ABOUT,
    &records::KeysToSnakeCase::ABOUT,
    &records::ParentFieldPath::ABOUT,
    &records::RecordExpander::ABOUT,
    &records::RecordFilter::ABOUT,
    &records::RecordSelector::ABOUT,
    &records::RemoveFields::ABOUT,
    &records::ResponseToFileExtractor::ABOUT,
    &records::XmlDecoder::ABOUT,
    &records::ZipfileDecoder::ABOUT,
    &schema::DynamicSchemaLoader::ABOUT,
    &schema::InlineSchemaLoader::ABOUT,
    &schema::JsonFileSchemaLoader::ABOUT,
    &schema::SchemaTypeIdentifier::ABOUT,
    &schema::TypesMap::ABOUT,
    &pagination::CursorPagination::ABOUT,
    &pagination::DefaultPaginator::ABOUT,
    &pagination::NoPagination::ABOUT,
    &pagination::OffsetIncrement::ABOUT,
    &pagination::PageIncrement::ABOUT,
    &pagination::PaginationReset::ABOUT,
    &pagination::PaginationResetLimits::ABOUT,
    &incremental::DatetimeBasedCursor::ABOUT,
    &incremental::MinMaxDatetime::ABOUT,
    &error_handler::CompositeErrorHandler::ABOUT,
    &error_handler::ConstantBackoffStrategy::ABOUT,
    &error_handler::DefaultErrorHandler::ABOUT,
    &error_handler::ExponentialBackoffStrategy::ABOUT,
    &error_handler::HttpResponseFilter::ABOUT,
    &error_handler::WaitTimeFromHeader::ABOUT,
    &error_handler::WaitTimeFromResponse::ABOUT,
    &error_handler::WaitUntilTimeFromHeader::ABOUT,
    &incremental::Clamping::ABOUT,
    &incremental::ClampingDetails::ABOUT,
    &incremental::IncrementingCountCursor::ABOUT,
    &partition::ListPartitionRouter::ABOUT,
    &partition::SubstreamPartitionRouter::ABOUT,
    &partition::ParentStreamConfig::ABOUT,
    &partition::GroupingPartitionRouter::ABOUT,
    &partition::UnionPartitionRouter::ABOUT,
];

/// Says why a component of another type cannot stand here.
fn refuse<T>(node: &Rc<Node>, accepted: &[&str], reader: &mut Reader) -> Option<T> {
    let accepted = accepted.join(", ");
    let Some(members) = node.as_map() else { return reader.wrong_kind(node, &format!("a map with one of the types {accepted}")) };
    let line = members.get("type").filter(|member| member.line > 0).map_or(node.line, |member| member.line);
    match node.type_name() {
        _ if members.contains_key("class_name") => {
            let class = node.get("class_name").and_then(|node| node.as_text()).unwrap_or_default().to_owned();
            reader.problem(
                Code::CustomCode,
                line,
                format!("needs the Python class `{class}`, and Python is not run; accepted: {accepted}"),
            );
        }
        Some(name) => reader.problem(Code::UnknownComponent, line, format!("`{name}` is not implemented here; accepted: {accepted}")),
        None => reader.problem(Code::MissingField, line, format!("needs a `type`, one of {accepted}")),
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every component and field is described in a sentence, names are distinct, and every member of a family is a component of the list.
    #[test]
    fn every_component_is_described() {
        let names: BTreeSet<_> = ALL.iter().map(|about| about.name).collect();
        assert_eq!(names.len(), ALL.len());
        for about in ALL {
            assert!(about.doc.ends_with('.'), "{}: {}", about.name, about.doc);
            for field in about.fields {
                assert!(field.doc.ends_with('.') && !field.accepts.is_empty(), "{}.{}", about.name, field.name);
                assert!(!about.refused.contains(&field.name), "{}.{} is run, and refused", about.name, field.name);
            }
        }
        let families: &[&[&str]] = &[
            source::Check::NAMES,
            source::Stream::NAMES,
            source::Retriever::NAMES,
            source::StateMigration::NAMES,
            spec::ConfigTransformation::NAMES,
            spec::ConfigValidator::NAMES,
            spec::ValidationStrategy::NAMES,
            dynamic::ComponentsResolver::NAMES,
            requester::Requester::NAMES,
            requester::RequestBody::NAMES,
            requester::TokenPlacement::NAMES,
            authenticator::Authenticator::NAMES,
            authenticator::ProfileAssertion::NAMES,
            budget::ApiBudget::NAMES,
            properties::RecordMergeStrategy::NAMES,
            budget::CallRatePolicy::NAMES,
            authenticator::SessionTokenPlacement::NAMES,
            records::Selector::NAMES,
            records::Extractor::NAMES,
            records::Filter::NAMES,
            records::Decoder::NAMES,
            records::DownloadExtractor::NAMES,
            records::InnerDecoder::NAMES,
            records::Transformation::NAMES,
            schema::SchemaLoader::NAMES,
            pagination::Paginator::NAMES,
            pagination::PaginationStrategy::NAMES,
            incremental::IncrementalSync::NAMES,
            error_handler::ErrorHandler::NAMES,
            error_handler::BackoffStrategy::NAMES,
        ];
        for name in families.iter().copied().flatten().chain(partition::PartitionRouter::NAMES) {
            assert!(names.contains(name), "{name} is not in the list");
        }
    }
}
