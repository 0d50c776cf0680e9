//! The web page, embedded in the program.

use rust_embed::RustEmbed;

/// The files of `fanout/web`.
#[derive(RustEmbed)]
#[folder = "web/"]
struct Assets;

/// A file of the page and its media type.
pub(super) fn find(path: &str) -> Option<(&'static str, std::borrow::Cow<'static, [u8]>)> {
    let name = match path {
        "/" => "index.html",
        path => path.strip_prefix('/')?,
    };
    let media_type = match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "application/octet-stream",
    };
    Some((media_type, Assets::get(name)?.data))
}
