//! What a client is to ask for.

use bytes::Bytes;
use http::Method;

/// A line of the plan.
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub range: Option<String>,
    pub body: Option<Bytes>,
    /// Stop in the middle of the body until GOAWAY comes.
    pub half: bool,
    pub trailer: Option<String>,
}

/// Reads the plan and the bodies that it names.
pub fn read(file: &str) -> Result<Vec<Ask>, Box<dyn std::error::Error + Send + Sync>> {
    let text = std::fs::read_to_string(file)?;
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [method, path, range, body, trailer] = words[..] else { return Err("a line has five words".into()) };
            let some = |word: &str| (word != "-").then(|| word.to_owned());
            let file = some(body.strip_prefix("half:").unwrap_or(body));
            Ok(Ask {
                method: method.parse()?,
                path: path.into(),
                range: some(range),
                body: file.map(std::fs::read).transpose()?.map(Bytes::from),
                half: body.starts_with("half:"),
                trailer: some(trailer),
            })
        })
        .collect()
}
