//! The page of a kind of problem: what its `type` leads to.

use axum::response::IntoResponse;
use axum::response::Response;
use maud::html;

use crate::api::body::Segments;
use crate::api::pages::Page;
use crate::api::problem::Kind;
use crate::api::problem::Problem;

/// `GET /problems/{name}`
pub async fn page(Segments(name): Segments<String>) -> Result<Response, Problem> {
    let kind = Kind::named(&name).ok_or_else(|| Problem::not_found("problem", &name))?;
    // The pages are our own Markdown: a title, headings and paragraphs, nothing else.
    let blocks = kind.page().split("\n\n").skip(1);
    let content = html! {
        @for block in blocks {
            @match block.strip_prefix("## ") {
                Some(heading) => h2 { (heading) },
                None => p { (block) },
            }
        }
    };
    Ok(Page::new(kind.title(), content).into_response())
}
