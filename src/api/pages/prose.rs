//! Our own Markdown as HTML: a title, headings, paragraphs and lists, nothing else.

use maud::Markup;
use maud::html;

/// A text without its title, which the page gives. `below` is the level of the heading that it stands under.
pub fn prose(text: &str, below: u8) -> Markup {
    html! {
        @for block in text.split("\n\n").skip(1) {
            @if let Some(heading) = block.strip_prefix("## ") {
                @if below < 2 { h2 { (heading) } } @else { h3 { (heading) } }
            } @else if block.starts_with("- ") {
                ul { @for item in block.lines().filter_map(|line| line.strip_prefix("- ")) { li { (item) } } }
            } @else {
                p { (block) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headings, paragraphs and lists are told apart, and nothing of the text becomes markup.
    #[test]
    fn blocks_have_their_elements() {
        let html = prose("# Title\n\n## What\n\nRead <this>.\n\n- one\n- two\n", 2).into_string();
        assert_eq!(html, "<h3>What</h3><p>Read &lt;this&gt;.</p><ul><li>one</li><li>two</li></ul>");
    }
}
