//! The description of the HTTP face as a page, made from the list of routes.

use maud::Markup;
use maud::html;

use crate::api::pages::Page;
use crate::api::route::Access;
use crate::api::route::Content;
use crate::api::route::Route;
use crate::api::routes;
use crate::api::wire::schema;

/// `GET /docs`
pub async fn page() -> Page {
    let content = html! {
        p {
            "Every route, who may use it, and what it answers. For programs: " a href="/openapi.json" { "/openapi.json" } ". "
            "A key goes into the header " code { "Authorization: Bearer hg_…" } "; lists take " code { "limit" } " and " code { "after" }
            "; every POST under /v1 takes an " code { "Idempotency-Key" } "."
        }
        @for route in routes() { (row(route)) }
        h2 { "Shapes" }
        @for (name, shape) in schema::components() {
            details id={ "shape-" (name) } {
                summary { (name) }
                pre { (serde_json::to_string_pretty(&shape).unwrap_or_default()) }
            }
        }
    };
    Page::new("Headgate over HTTP", content)
}

fn row(route: &Route) -> Markup {
    html! {
        h2 { code { (route.verb.name()) " " (route.path) } }
        p { (route.summary) "." }
        table {
            tr { th scope="row" { "Who" } td { (who(route)) } }
            @if route.reads_payload { tr { th scope="row" { "Header" } td { code { "Headgate-Purpose" } ": one of the key's purposes" } } }
            @for parameter in route.query {
                tr { th scope="row" { code { "?" (parameter.name) } } td { (parameter.text) @if parameter.required { " (needed)" } } }
            }
            @if let Some(body) = route.body {
                tr { th scope="row" { "Body" } td { (shape(body.schema.name)) @if body.optional { " (optional)" } } }
            }
            @for answer in route.answers {
                tr {
                    th scope="row" { (answer.status.as_u16()) }
                    td {
                        (answer.text)
                        @match answer.content {
                            Content::Json(schema) => { ": " (shape(schema.name)) }
                            Content::Text(kind) => { " (" (kind) ")" }
                            Content::Empty => {}
                        }
                    }
                }
            }
            @for kind in route.all_problems() {
                tr { th scope="row" { (kind.status().as_u16()) } td { a href=(kind.uri()) { (kind.title()) } } }
            }
        }
    }
}

fn who(route: &Route) -> String {
    match route.access {
        Access::Public => "anyone".into(),
        Access::Roles(roles) => roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", "),
        Access::Local => "the operator, on the machine itself".into(),
    }
}

fn shape(name: &str) -> Markup {
    html! { a href={ "#shape-" (name) } { (name) } }
}
