//! Pages: plain, accessible HTML that works without scripts.

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use data_encoding::BASE64;
use maud::DOCTYPE;
use maud::Markup;
use maud::PreEscaped;
use maud::html;
use ring::digest::SHA256;
use ring::digest::digest;

pub mod callback;
pub mod connect;
pub mod docs;
pub mod fields;
pub mod problems;
pub mod prose;

/// A page and its status.
pub struct Page {
    /// The status.
    pub status: StatusCode,
    /// The title, also the heading.
    pub title: String,
    /// What stands under the heading.
    pub content: Markup,
    /// Another origin that the page's form may lead to, by a redirect.
    pub form_origin: Option<String>,
}

impl Page {
    /// A page that is well.
    pub fn new(title: impl Into<String>, content: Markup) -> Self {
        Page { status: StatusCode::OK, title: title.into(), content, form_origin: None }
    }

    /// The page with another status.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) " · Headgate" }
                    style { (PreEscaped(STYLE)) }
                }
                body { main { h1 { (self.title) } (self.content) } }
            }
        };
        let form = self.form_origin.map(|origin| format!(" {origin}")).unwrap_or_default();
        let style = BASE64.encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
        let policy =
            format!("default-src 'none'; style-src 'sha256-{style}'; form-action 'self'{form}; frame-ancestors 'none'; base-uri 'none'");
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
        let mut response = (self.status, headers, markup.into_string()).into_response();
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// The one style of every page; its digest is in the content policy, so no other style applies.
const STYLE: &str = "\
:root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}\
body{margin:0}main{max-width:44rem;margin:0 auto;padding:1.5rem}\
h1{font-size:1.6rem;line-height:1.2}h2{font-size:1.2rem;margin-top:2rem}\
fieldset{border:1px solid #8888;border-radius:.4rem;margin:1rem 0;padding:.5rem 1rem 1rem}legend{font-weight:600;padding:0 .3rem}\
label{display:block;margin-top:.7rem}label.check{display:flex;gap:.6rem;align-items:flex-start}\
input:not([type=checkbox]),select,textarea{box-sizing:border-box;width:100%;padding:.5rem;font:inherit;margin-top:.2rem}\
input[type=checkbox]{width:1.2rem;height:1.2rem;margin-top:.15rem;flex:none}\
button,a.button{display:inline-block;font:inherit;font-weight:600;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#0b57d0;color:#fff;text-decoration:none;cursor:pointer}\
:focus-visible{outline:3px solid #f5a623;outline-offset:2px}\
.alert{border-left:.3rem solid #c5221f;padding:.5rem 1rem;margin:1rem 0}.hint{opacity:.8;font-size:.9rem}\
pre{white-space:pre-wrap;overflow-wrap:anywhere}code{overflow-wrap:anywhere}\
.policy{max-height:16rem;overflow:auto;border:1px solid #8888;border-radius:.4rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #8884}";
