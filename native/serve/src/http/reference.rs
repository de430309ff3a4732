//! Inputs that a body refers to: a data URL, an upload by its id, a file of the same form, or a URL of an allowed host.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::app::App;
use super::error::ApiError;
use crate::job::{InputFile, InputId};

/// How long a fetch may take.
const FETCH: Duration = Duration::from_secs(30);

/// The input that a text refers to. `files` are those of the form; `param` is for messages.
///
/// # Errors
/// For a text that refers to nothing, or to a URL that may not be fetched.
pub async fn input(
    app: &Arc<App>,
    text: &str,
    param: &str,
    files: &[(String, InputFile)],
) -> Result<InputFile, ApiError> {
    if let Some(name) = text.strip_prefix('@') {
        let found = files.iter().find(|(field, _)| field == name);
        let missing = || ApiError::param(param, format!("{param}: the form has no file {name}"));
        return found.map(|(_, file)| file.clone()).ok_or_else(missing);
    }
    if let Some(data) = text.strip_prefix("data:") {
        return data_url(app, data, param).await;
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return fetch(app, text.to_owned(), param).await;
    }
    if let Ok(id) = InputId::try_from(text.to_owned()) {
        return match app.inputs.path(&id) {
            Some(_) => Ok(InputFile {
                name: param.to_owned(),
                id,
            }),
            None => Err(ApiError::param(
                param,
                format!("{param}: there is no upload {id} (any more)"),
            )),
        };
    }
    // Plain base64, as A1111's clients send it.
    if let (true, Ok(bytes)) = (text.len() >= 64, base64(text)) {
        return keep(app, bytes, param).await;
    }
    Err(ApiError::param(
        param,
        format!(
            "{param}: must be a data URL, the id of an upload, or @ and the name of a file in the form"
        ),
    ))
}

async fn data_url(app: &Arc<App>, data: &str, param: &str) -> Result<InputFile, ApiError> {
    let (kind, data) = data
        .split_once(',')
        .ok_or_else(|| ApiError::param(param, format!("{param}: the data URL has no data")))?;
    let bytes = match kind.ends_with(";base64") {
        true => base64(data).map_err(|reason| {
            ApiError::param(param, format!("{param}: is not base64: {reason}"))
        })?,
        false => {
            return Err(ApiError::param(
                param,
                format!("{param}: the data URL must be base64"),
            ));
        }
    };
    keep(app, bytes, param).await
}

fn base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    match text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        true => engine.decode(text.split_ascii_whitespace().collect::<String>()),
        false => engine.decode(text),
    }
}

async fn keep(app: &Arc<App>, bytes: Vec<u8>, param: &str) -> Result<InputFile, ApiError> {
    let inputs = app.inputs.clone();
    let kept = tokio::task::spawn_blocking(move || inputs.keep(&bytes)).await;
    let id = kept.map_err(|_| ApiError::param(param, "the input was lost"))??;
    Ok(InputFile {
        id,
        name: param.to_owned(),
    })
}

/// The host of a URL, with its port where that is not the scheme's own; `None` with a user's name in it.
fn place(url: &http::Uri) -> Option<String> {
    let authority = url.authority()?;
    let host = authority.host().to_ascii_lowercase();
    let port = authority.port().map(|port| port.as_str().parse::<u16>());
    let own = match url.scheme_str()? {
        "https" => 443,
        _ => 80,
    };
    match (authority.as_str().contains('@'), port) {
        (true, _) | (_, Some(Err(_))) => None,
        (false, Some(Ok(port))) if port != own => Some(format!("{host}:{port}")),
        (false, _) => Some(host),
    }
}

/// Fetches a URL of an allowed host. Redirects are not followed: they could lead anywhere.
async fn fetch(app: &Arc<App>, url: String, param: &str) -> Result<InputFile, ApiError> {
    let refused = |reason: String| ApiError::param(param, format!("{param}: {reason}"));
    let parsed: http::Uri = url
        .parse()
        .map_err(|_| refused(format!("{url} is no URL")))?;
    let place = place(&parsed).ok_or_else(|| refused(format!("{url} is no URL of a host")))?;
    if !app.limits.fetch.contains(&place) {
        return Err(refused(format!(
            "the server does not fetch from {place}; send the file, or start it with --allow-fetch {place}"
        )));
    }
    let most = app.limits.body as u64;
    let read = tokio::task::spawn_blocking(move || {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(FETCH))
            .max_redirects(0)
            .build();
        let response = agent.new_agent().get(&url).call();
        // One sentence for all that may be wrong there: clients learn nothing of the host.
        let failed = || format!("{url} could not be fetched");
        let response = response
            .ok()
            .filter(|response| response.status().is_success());
        let response = response.ok_or_else(failed)?;
        let mut bytes = vec![];
        let body = response.into_body().into_reader();
        body.take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|_| failed())?;
        match bytes.len() as u64 > most {
            true => Err(format!("{url} has more than {most} bytes")),
            false => Ok(bytes),
        }
    });
    let bytes = read
        .await
        .map_err(|_| refused("the fetch was lost".into()))?
        .map_err(refused)?;
    keep(app, bytes, param).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_allowed_with_its_port() {
        let place = |url: &str| place(&url.parse().unwrap());
        assert_eq!(
            place("http://Files.example/a.png").as_deref(),
            Some("files.example")
        );
        assert_eq!(
            place("https://files.example:443/a").as_deref(),
            Some("files.example")
        );
        assert_eq!(
            place("http://localhost:22/").as_deref(),
            Some("localhost:22")
        );
        assert_eq!(place("http://files.example@evil.example/"), None);
        assert_eq!(place("/a.png"), None);
    }
}
