//! Savepoints over HTTP: how commands reach the state of a pipeline that runs.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /pipelines/PIPELINE/state` | what is in the latest checkpoint |
//! | `GET /pipelines/PIPELINE/savepoints` | all savepoints |
//! | `POST /pipelines/PIPELINE/savepoints?name=NAME` | the savepoint, once it is durable |
//! | `GET /pipelines/PIPELINE/savepoints/NAME` | what is in it |
//! | `DELETE /pipelines/PIPELINE/savepoints/NAME` | nothing |
//! | `GET /pipelines/PIPELINE/savepoints/NAME/file` | its file |
//! | `PUT /pipelines/PIPELINE/savepoints/NAME/file` | the savepoint made of the file |
//!
//! Answers are JSON but for files; failures are a line of text.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use crate::pipeline::{SavepointError, SavepointErrorKind, Savepoints, check_savepoint_name};

/// Finds the savepoints of a pipeline by its name.
pub(super) type Find =
    Arc<dyn Fn(&str) -> Result<Arc<dyn Savepoints>, SavepointError> + Send + Sync>;

/// The routes of savepoints.
pub(super) fn routes(find: Find) -> Router {
    Router::new()
        .route("/pipelines/{pipeline}/state", get(state))
        .route("/pipelines/{pipeline}/savepoints", get(list).post(create))
        .route(
            "/pipelines/{pipeline}/savepoints/{name}",
            get(show).delete(delete),
        )
        .route(
            "/pipelines/{pipeline}/savepoints/{name}/file",
            get(export).put(import),
        )
        // A file is as large as the state.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(refuse_web_pages))
        .with_state(find)
}

/// A web page that somebody on this machine has open could otherwise have their browser ask.
async fn refuse_web_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let message = "requests of web pages are not answered\n";
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    next.run(request).await
}

async fn state(State(find): State<Find>, Path(pipeline): Path<String>) -> Response {
    json(ask(find, pipeline, |savepoints| savepoints.show(None)).await)
}

async fn list(State(find): State<Find>, Path(pipeline): Path<String>) -> Response {
    json(ask(find, pipeline, |savepoints| savepoints.list()).await)
}

async fn create(
    State(find): State<Find>,
    Path(pipeline): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    // Names have no characters that a query would have to escape.
    let query = query.unwrap_or_default();
    let name = query.split('&').find_map(|part| part.strip_prefix("name="));
    let name = name.unwrap_or_default().to_owned();
    json(
        ask(find, pipeline, move |savepoints| {
            check_savepoint_name(&name)?;
            savepoints.create(&name)
        })
        .await,
    )
}

async fn show(
    State(find): State<Find>,
    Path((pipeline, name)): Path<(String, String)>,
) -> Response {
    json(
        ask(find, pipeline, move |savepoints| {
            check_savepoint_name(&name)?;
            savepoints.show(Some(&name))
        })
        .await,
    )
}

async fn delete(
    State(find): State<Find>,
    Path((pipeline, name)): Path<(String, String)>,
) -> Response {
    let deleted = ask(find, pipeline, move |savepoints| {
        check_savepoint_name(&name)?;
        savepoints.delete(&name)
    });
    match deleted.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refusal(&error),
    }
}

async fn export(
    State(find): State<Find>,
    Path((pipeline, name)): Path<(String, String)>,
) -> Response {
    let file = ask(find, pipeline, move |savepoints| {
        check_savepoint_name(&name)?;
        savepoints.export(&name)
    });
    match file.await {
        Ok(file) => ([(header::CONTENT_TYPE, "application/octet-stream")], file).into_response(),
        Err(error) => refusal(&error),
    }
}

async fn import(
    State(find): State<Find>,
    Path((pipeline, name)): Path<(String, String)>,
    file: Bytes,
) -> Response {
    json(
        ask(find, pipeline, move |savepoints| {
            check_savepoint_name(&name)?;
            savepoints.import(&name, &file)
        })
        .await,
    )
}

/// Does something with a pipeline's savepoints, on a thread that may wait.
async fn ask<T: Send + 'static>(
    find: Find,
    pipeline: String,
    work: impl FnOnce(Arc<dyn Savepoints>) -> Result<T, SavepointError> + Send + 'static,
) -> Result<T, SavepointError> {
    let savepoints = find(&pipeline)?;
    tokio::task::spawn_blocking(move || work(savepoints))
        .await
        .unwrap_or_else(|_| {
            let message = "the request has failed unexpectedly; please report this";
            Err(SavepointError::new(SavepointErrorKind::Failed, message))
        })
}

fn json(answer: Result<impl Serialize, SavepointError>) -> Response {
    let encoded = answer.and_then(|answer| {
        serde_json::to_vec(&answer)
            .map_err(|error| SavepointError::new(SavepointErrorKind::Failed, error.to_string()))
    });
    match encoded {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &SavepointError) -> Response {
    let status = match error.kind {
        SavepointErrorKind::Invalid => StatusCode::BAD_REQUEST,
        SavepointErrorKind::NotFound => StatusCode::NOT_FOUND,
        SavepointErrorKind::Exists => StatusCode::CONFLICT,
        SavepointErrorKind::Locked | SavepointErrorKind::Failed => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    (status, format!("{error}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use reqwest::Method;
    use tokio::net::TcpListener;

    use super::*;
    use crate::pipeline::{Contents, Inspection, SavepointInfo};

    /// Savepoints that exist by name only, and what was asked of them.
    #[derive(Debug, Default)]
    struct Named(Mutex<Vec<String>>);

    impl Named {
        fn note(&self, what: &str, name: &str) -> Result<(), SavepointError> {
            self.0.lock().unwrap().push(format!("{what} {name}"));
            match name {
                "none" => Err(SavepointError::new(
                    SavepointErrorKind::NotFound,
                    "there is none",
                )),
                "twice" => Err(SavepointError::new(SavepointErrorKind::Exists, "exists")),
                "full" => Err(SavepointError::new(SavepointErrorKind::Failed, "full")),
                _ => Ok(()),
            }
        }
    }

    fn info(name: &str, bytes: u64) -> SavepointInfo {
        SavepointInfo {
            name: name.to_owned(),
            number: 7,
            created_ms: 1_730_621_750_000,
            weir_version: "0.1.0".to_owned(),
            bytes,
        }
    }

    impl Savepoints for Named {
        fn create(&self, name: &str) -> Result<SavepointInfo, SavepointError> {
            self.note("create", name).map(|()| info(name, 1))
        }

        fn list(&self) -> Result<Vec<SavepointInfo>, SavepointError> {
            self.note("list", "").map(|()| vec![info("a", 1)])
        }

        fn show(&self, name: Option<&str>) -> Result<Contents, SavepointError> {
            self.note("show", name.unwrap_or("the latest"))?;
            Ok(Contents {
                pipeline: "cars".to_owned(),
                savepoint: name.map(str::to_owned),
                number: 7,
                created_ms: 0,
                weir_version: "0.1.0".to_owned(),
                bytes: 1,
                stages: Vec::new(),
                inspection: Inspection::default(),
            })
        }

        fn delete(&self, name: &str) -> Result<(), SavepointError> {
            self.note("delete", name)
        }

        fn export(&self, name: &str) -> Result<Vec<u8>, SavepointError> {
            self.note("export", name).map(|()| b"file".to_vec())
        }

        fn import(&self, name: &str, file: &[u8]) -> Result<SavepointInfo, SavepointError> {
            self.note("import", name)
                .map(|()| info(name, file.len() as u64))
        }
    }

    /// A served pipeline `cars`, and its address.
    async fn serve() -> (Arc<Named>, String) {
        let named = Arc::new(Named::default());
        let known = named.clone();
        let find: Find = Arc::new(move |name| match name {
            "cars" => Ok(known.clone()),
            _ => Err(SavepointError::new(
                SavepointErrorKind::NotFound,
                "no pipeline",
            )),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes(find)).await });
        (named, format!("http://{address}/pipelines"))
    }

    async fn request(method: Method, url: &str, body: Vec<u8>) -> (u16, String) {
        crate::model::install_tls();
        let client = reqwest::Client::builder().no_proxy();
        let client = client.tls_certs_only([]).build().unwrap();
        let answer = client.request(method, url).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn each_request_does_its_work_and_answers() {
        let (named, at) = serve().await;
        let created = serde_json::to_string(&info("b", 1)).unwrap();
        let large = vec![0; 5 << 20];
        let imported = serde_json::to_string(&info("b", 5 << 20)).unwrap();
        let shown = |name| serde_json::to_string(&named.show(name).unwrap()).unwrap();
        let (latest, one) = (shown(None), shown(Some("b")));
        named.0.lock().unwrap().clear();
        for (method, path, body, status, answer) in [
            (Method::GET, "/cars/state", vec![], 200, latest),
            (
                Method::GET,
                "/cars/savepoints",
                vec![],
                200,
                format!("[{}]", serde_json::to_string(&info("a", 1)).unwrap()),
            ),
            (
                Method::POST,
                "/cars/savepoints?name=b",
                vec![],
                200,
                created,
            ),
            (Method::GET, "/cars/savepoints/b", vec![], 200, one),
            (
                Method::GET,
                "/cars/savepoints/b/file",
                vec![],
                200,
                "file".to_owned(),
            ),
            (Method::PUT, "/cars/savepoints/b/file", large, 200, imported),
            (
                Method::DELETE,
                "/cars/savepoints/b",
                vec![],
                204,
                String::new(),
            ),
        ] {
            let found = request(method.clone(), &format!("{at}{path}"), body).await;
            assert_eq!(found, (status, answer), "{method} {path}");
        }
        let asked = named.0.lock().unwrap().clone();
        assert_eq!(
            asked,
            [
                "show the latest",
                "list ",
                "create b",
                "show b",
                "export b",
                "import b",
                "delete b"
            ]
        );
    }

    #[tokio::test]
    async fn failures_have_their_status_and_words() {
        let (named, at) = serve().await;
        let bad = check_savepoint_name("a%2Fb").unwrap_err().to_string();
        let missing = check_savepoint_name("").unwrap_err().to_string();
        for (method, path, status, words) in [
            (Method::GET, "/bikes/savepoints", 404, "no pipeline"),
            (Method::GET, "/cars/savepoints/none", 404, "there is none"),
            (Method::POST, "/cars/savepoints?name=twice", 409, "exists"),
            (Method::POST, "/cars/savepoints?name=full", 500, "full"),
            (Method::POST, "/cars/savepoints?name=a%2Fb", 400, &*bad),
            (Method::POST, "/cars/savepoints", 400, &*missing),
        ] {
            let found = request(method.clone(), &format!("{at}{path}"), vec![]).await;
            assert_eq!(found, (status, format!("{words}\n")), "{method} {path}");
        }
        // Nobody was asked about a name that is none.
        let asked = named.0.lock().unwrap().clone();
        assert_eq!(asked, ["show none", "create twice", "create full"]);
    }

    #[tokio::test]
    async fn web_pages_are_refused() {
        let (named, at) = serve().await;
        crate::model::install_tls();
        let client = reqwest::Client::builder().no_proxy();
        let client = client.tls_certs_only([]).build().unwrap();
        let request = client.post(format!("{at}/cars/savepoints?name=b"));
        let answer = request.header("origin", "https://example.com").send();
        assert_eq!(answer.await.unwrap().status(), StatusCode::FORBIDDEN);
        assert_eq!(named.0.lock().unwrap().len(), 0);
    }
}
